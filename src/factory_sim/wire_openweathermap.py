"""OpenWeatherMap: current weather, five-day forecast, and the history of One Call 3.0.

Whole numbers lose their decimal point, and rain or gusts are absent where there are
none.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from factory_lib.clock import DAY_S, HOUR_S, MADRID, epoch, from_epoch
from factory_sim.climate import ACCUMULATED, dew_point_c
from factory_sim.exchange import Answer, Ask, Provider, as_json, number
from factory_sim.noise import Floats, Ints

STEP_S = 3 * HOUR_S
MEASURED_EVERY_S = 600
_KELVIN = 273.15
_WEATHER = (
    "temperature_c",
    "humidity_pct",
    "pressure_station_hpa",
    "pressure_sea_level_hpa",
    "wind_speed_ms",
    "precipitation_mm",
)

QUIRKS = {
    "invalid_key": "the key is refused",
    "no_subscription": "the key is good, One Call is not subscribed",
    "wrong_coordinate": "400 with the code as text",
    "frozen": "the same measurement all day",
    "no_station_pressure": "pressure at sea level only",
    "clock_ahead": "the reading is of two minutes ahead",
}


def answer(ask: Ask) -> Answer:
    """Return what the 2.5 and 3.0 interfaces answer."""
    resource = _RESOURCES.get(ask.path)
    if resource is None:
        return as_json({"cod": "404", "message": "Internal error"}, 404)
    if not ask.get("appid") or "invalid_key" in ask.quirks:
        return _INVALID_KEY
    if ask.path.startswith("/data/3.0") and "no_subscription" in ask.quirks:
        return _NO_SUBSCRIPTION
    for name, label, limit in (("lat", "latitude", 90), ("lon", "longitude", 180)):
        if "wrong_coordinate" in ask.quirks or not _is_within(ask.get(name), limit):
            message = f"wrong {label}" if ask.get(name) else "Nothing to geocode"
            return as_json({"cod": "400", "message": message}, 400)
    return resource(ask)


def _is_within(text: str, limit: int) -> bool:
    try:
        return abs(float(text)) <= limit
    except ValueError:
        return False


# -- what is measured or expected -----------------------------------------------------------------


def _weather(ask: Ask, at_s: Ints) -> dict[str, Floats]:
    """Return the variables at instants, past or future; the rain is that of the hour before."""
    if "frozen" in ask.quirks:
        at_s = at_s // DAY_S * DAY_S
    now = epoch(ask.now)
    climate = ask.world.climate
    values = {}
    for name in _WEATHER:
        slots = at_s - HOUR_S if name in ACCUMULATED else at_s
        measured = climate.as_seen_by(ask.source, name, slots)
        expected = climate.forecast(ask.source, name, slots, now)
        values[name] = np.where(at_s <= now, measured, expected)
    return values


def _temperature(ask: Ask, celsius: float) -> int | float:
    units = ask.get("units", "standard")
    scaled = {"metric": celsius, "imperial": celsius * 1.8 + 32}.get(units, celsius + _KELVIN)
    return number(round(scaled, 2))


def _speed(ask: Ask, metres: float) -> int | float:
    return number(round(metres * 2.23694 if ask.get("units") == "imperial" else metres, 2))


def _main(ask: Ask, values: dict[str, float]) -> dict[str, Any]:
    temperature = _temperature(ask, values["temperature_c"])
    main = {
        "temp": temperature,
        "feels_like": temperature,
        "temp_min": temperature,
        "temp_max": temperature,
        "pressure": round(values["pressure_sea_level_hpa"]),
        "humidity": round(values["humidity_pct"]),
        "sea_level": round(values["pressure_sea_level_hpa"]),
        "grnd_level": round(values["pressure_station_hpa"]),
    }
    if "no_station_pressure" in ask.quirks:
        del main["grnd_level"]
    return main


def _wind(ask: Ask, values: dict[str, float]) -> dict[str, Any]:
    wind: dict[str, Any] = {"speed": _speed(ask, values["wind_speed_ms"]), "deg": 240}
    if values["wind_speed_ms"] > 4:
        wind["gust"] = _speed(ask, 1.6 * values["wind_speed_ms"])
    return wind


def _rain(values: dict[str, float], key: str) -> dict[str, Any]:
    return (
        {"rain": {key: number(round(values["precipitation_mm"], 2))}}
        if values["precipitation_mm"] > 0
        else {}
    )


def _sky(values: dict[str, float]) -> list[dict[str, Any]]:
    if values["precipitation_mm"] > 0:
        return [{"id": 500, "main": "Rain", "description": "light rain", "icon": "10d"}]
    return [{"id": 800, "main": "Clear", "description": "clear sky", "icon": "01d"}]


def _rows(columns: dict[str, Floats]) -> list[dict[str, float]]:
    rows = zip(*map(np.ndarray.tolist, columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _offset_s(ask: Ask) -> int:
    offset = ask.now.astimezone(MADRID).utcoffset()
    return int(offset.total_seconds()) if offset else 0


# -- resources ------------------------------------------------------------------------------------


def _current(ask: Ask) -> Answer:
    """Return what was measured at an odd second of the last ten minutes."""
    dt = epoch(ask.now) // MEASURED_EVERY_S * MEASURED_EVERY_S - 415
    if "clock_ahead" in ask.quirks:
        dt = epoch(ask.now) + 120
    (values,) = _rows(_weather(ask, np.array([dt])))
    day = dt // DAY_S * DAY_S
    return as_json(
        {
            "coord": {"lon": float(ask.get("lon")), "lat": float(ask.get("lat"))},
            "weather": _sky(values),
            "base": "stations",
            "main": _main(ask, values),
            "visibility": 10000,
            "wind": _wind(ask, values),
            **_rain(values, "1h"),
            "clouds": {"all": 0},
            "dt": dt,
            "sys": {
                "type": 1,
                "id": 6426,
                "country": "ES",
                "sunrise": day + 6 * HOUR_S,
                "sunset": day + 18 * HOUR_S,
            },
            "timezone": _offset_s(ask),
            "id": 2515056,
            "name": "Linares",
            "cod": 200,
        }
    )


def _forecast(ask: Ask) -> Answer:
    first = (epoch(ask.now) // STEP_S + 1) * STEP_S
    times = first + np.arange(40) * STEP_S
    entries = [
        {
            "dt": dt,
            "main": {**_main(ask, values), "temp_kf": 0},
            "weather": _sky(values),
            "clouds": {"all": 0},
            "wind": _wind(ask, values),
            "visibility": 10000,
            "pop": number(float(values["precipitation_mm"] > 0)),
            **_rain(values, "3h"),
            "sys": {"pod": "d" if 6 <= dt % DAY_S // HOUR_S < 18 else "n"},
            "dt_txt": f"{from_epoch(dt):%Y-%m-%d %H:%M:%S}",
        }
        for dt, values in zip(times.tolist(), _rows(_weather(ask, times)), strict=True)
    ]
    city = {
        "id": 2515056,
        "name": "Linares",
        "coord": {"lat": float(ask.get("lat")), "lon": float(ask.get("lon"))},
        "country": "ES",
        "population": 61338,
        "timezone": _offset_s(ask),
        "sunrise": first,
        "sunset": first + DAY_S // 2,
    }
    return as_json({"cod": "200", "message": 0, "cnt": len(entries), "list": entries, "city": city})


def _time_machine(ask: Ask) -> Answer:
    try:
        dt = int(ask.get("dt"))
    except ValueError:
        return _invalid("dt")
    if not epoch(datetime(1979, 1, 1, tzinfo=UTC)) <= dt <= epoch(ask.now) + 4 * DAY_S:
        return _invalid("dt")
    (values,) = _rows(_weather(ask, np.array([dt])))
    slot = np.array([dt // HOUR_S * HOUR_S])
    kept = dt > epoch(ask.now) or ask.holes.delivered(ask.source, "temperature_c", slot)[0]
    return as_json({**_header(ask), "data": [_instant(ask, dt, values)] if kept else []})


def _header(ask: Ask) -> dict[str, Any]:
    place = {"lat": float(ask.get("lat")), "lon": float(ask.get("lon"))}
    return {**place, "timezone": "Europe/Madrid", "timezone_offset": _offset_s(ask)}


def _instant(ask: Ask, dt: int, values: dict[str, float]) -> dict[str, Any]:
    dew = float(
        dew_point_c(np.array([values["temperature_c"]]), np.array([values["humidity_pct"]]))[0]
    )
    wind = _wind(ask, values)
    return {
        "dt": dt,
        "temp": _temperature(ask, values["temperature_c"]),
        "feels_like": _temperature(ask, values["temperature_c"]),
        "pressure": round(values["pressure_sea_level_hpa"]),
        "humidity": round(values["humidity_pct"]),
        "dew_point": _temperature(ask, dew),
        "uvi": 0,
        "clouds": 0,
        "visibility": 10000,
        "wind_speed": wind["speed"],
        "wind_deg": wind["deg"],
        **({"wind_gust": wind["gust"]} if "gust" in wind else {}),
        "weather": _sky(values),
        **_rain(values, "1h"),
    }


def _invalid(parameter: str) -> Answer:
    return as_json({"cod": 400, "message": "Invalid parameter", "parameters": [parameter]}, 400)


_RESOURCES: dict[str, Callable[[Ask], Answer]] = {
    "/data/2.5/weather": _current,
    "/data/2.5/forecast": _forecast,
    "/data/3.0/onecall/timemachine": _time_machine,
}
_INVALID_KEY = as_json(
    {
        "cod": 401,
        "message": "Invalid API key. Please see https://openweathermap.org/faq#error401 "
        "for more info.",
    },
    401,
)
_NO_SUBSCRIPTION = as_json(
    {
        "cod": 401,
        "message": "Please note that using One Call 3.0 requires a separate subscription "
        "to the One Call by Call plan. Learn more here https://openweathermap.org/price.",
    },
    401,
)
_BLOCKED = as_json(
    {
        "cod": 429,
        "message": "Your account is temporary blocked due to exceeding of requests limitation "
        "of your subscription type. Please choose the proper subscription "
        "https://openweathermap.org/price",
    },
    429,
)
PROVIDER = Provider(
    answer,
    QUIRKS,
    {
        "too_many": (_BLOCKED,),
        "unauthorised": (_INVALID_KEY,),
        "server_error": tuple(
            as_json({"cod": str(status), "message": "Internal error"}, status)
            for status in (500, 502, 503, 504)
        ),
    },
)
