"""Documents of AEMET's second step: observations, daily climatology, stations, hourly forecast.

Observations are JSON numbers stamped with the end of the hour; daily climatology is
strings with decimal commas, words among them, and absent keys; the forecast is strings
with decimal points by local hour.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from factory_lib.clock import DAY_S, HOUR_S, MADRID, day_bounds, epoch, from_epoch, market_day
from factory_sim.climate import dew_point_c
from factory_sim.exchange import Ask
from factory_sim.noise import Floats, Ints

OBSERVED_AFTER = timedelta(minutes=25)
OBSERVATIONS_KEPT = timedelta(hours=24)
DAILY_DELAY = timedelta(days=4)
LONGEST_ONE_STATION = timedelta(days=184)
LONGEST_ALL = timedelta(days=15)
# Indicative, name, province, altitude, packed latitude and longitude, degrees.
STATIONS = {
    "5279X": ("LINARES", "JAEN", 515, "380904N", "033746W", 38.151107, -3.629453),
    "5298X": ("ANDÚJAR", "JAEN", 202, "380247N", "040320W", 38.046390, -4.055560),
    "5270B": ("JAÉN", "JAEN", 580, "374639N", "034829W", 37.777500, -3.808056),
}


class Refusal(Exception):
    """A request that ends in an ``estado`` other than 200."""

    def __init__(self, estado: int, text: str) -> None:
        super().__init__(text)
        self.estado = estado


def observations(ask: Ask, *stations: str) -> list[Any]:
    """Return the last hours of some stations, stamped with their end, some minutes after it."""
    last = epoch(ask.now - OBSERVED_AFTER) // HOUR_S * HOUR_S
    ends = np.arange(last - int(OBSERVATIONS_KEPT.total_seconds()) + HOUR_S, last + 1, HOUR_S)
    return [
        record for station in stations or STATIONS for record in _of_station(ask, station, ends)
    ]


def _of_station(ask: Ask, station: str, ends: Ints) -> list[dict[str, Any]]:
    if station not in STATIONS:
        return []
    name, _, altitude, _, _, latitude, longitude = STATIONS[station]
    seen = ask.world.climate.as_seen_by
    temperature = seen("aemet", "temperature_c", ends)
    humidity = seen("aemet", "humidity_pct", ends)
    columns = {
        "ta": temperature,
        "hr": humidity,
        "tpr": dew_point_c(temperature, humidity),
        "pres": seen("aemet", "pressure_station_hpa", ends),
        "pres_nmar": seen("aemet", "pressure_sea_level_hpa", ends),
        "vv": seen("aemet", "wind_speed_ms", ends),
        "dv": ask.world.climate.wind_direction_deg(ends),
        "prec": seen("aemet", "precipitation_mm", ends - HOUR_S),
        "tamin": np.minimum(temperature, seen("aemet", "temperature_c", ends - HOUR_S)),
        "tamax": np.maximum(temperature, seen("aemet", "temperature_c", ends - HOUR_S)),
    }
    if "dead_sensor" in ask.quirks:
        columns = {
            key: column
            for key, column in columns.items()
            if key not in ("vv", "dv", "pres", "pres_nmar")
        }
    kept = ask.holes.delivered(ask.source, "temperature_c", ends)
    place = {"lon": longitude, "lat": latitude, "alt": float(altitude), "ubi": name}
    suffix = "" if "naive_fint" in ask.quirks else "+0000"
    rows = zip(*(np.round(column, 1).tolist() for column in columns.values()), strict=True)
    return [
        {
            "idema": station,
            "fint": f"{from_epoch(end):%Y-%m-%dT%H:%M:%S}{suffix}",
            **place,
            **dict(zip(columns, row, strict=True)),
        }
        for end, row, there in zip(ends.tolist(), rows, kept.tolist(), strict=True)
        if there
    ]


def daily_climate(ask: Ask, first: str, last: str, stations: str) -> list[Any]:
    """Return daily climatology, four days late: half a year at a time, 15 days of all stations."""
    try:
        start, end = (
            datetime.strptime(text, "%Y-%m-%dT%H:%M:%SUTC").replace(tzinfo=UTC)
            for text in (first, last)
        )
    except ValueError:
        raise Refusal(404, "El formato de las fechas no es correcto") from None
    everyone = stations == "todasestaciones"
    if end - start > (LONGEST_ALL if everyone else LONGEST_ONE_STATION):
        raise Refusal(
            404,
            f"El rango de fechas no puede ser superior a {'15 dias' if everyone else '6 meses'}",
        )
    last_known = (epoch(ask.now - DAILY_DELAY) // DAY_S) * DAY_S
    days = np.arange(-(-epoch(start) // DAY_S) * DAY_S, min(epoch(end) + 1, last_known), DAY_S)
    names = STATIONS if everyone else stations.removeprefix("estacion/").split(",")
    return [
        record for station in names if station in STATIONS for record in _days(ask, station, days)
    ]


def _days(ask: Ask, station: str, days: Ints) -> list[dict[str, str]]:
    name, province, altitude, *_ = STATIONS[station]
    daily = ask.world.climate.daily
    chance = ask.world.noise.uniform("varias", days // DAY_S)
    low = daily("temperature_min_c", days)
    high = daily("temperature_max_c", days)
    columns = {
        "tmed": _comma((low + high) / 2),
        "prec": _rain(ask, days),
        "tmin": _comma(low),
        "tmax": _comma(high),
        "velmedia": _comma(daily("wind_speed_mean_ms", days)),
        "sol": _comma(np.minimum(daily("solar_radiation_mj_m2", days) / 2.3, 14)),
        "hrMedia": _comma(daily("humidity_mean_pct", days), 0),
        "hrMax": _comma(daily("humidity_max_pct", days), 0),
        "hrMin": _comma(daily("humidity_min_pct", days), 0),
    }
    if "missing_keys" in ask.quirks:
        columns = {
            key: column for key, column in columns.items() if not key.startswith(("hr", "sol"))
        }
    kept = ask.holes.delivered(ask.source, "temperature_mean_c", days)
    place = {"indicativo": station, "nombre": name, "provincia": province, "altitud": str(altitude)}
    rows = zip(*columns.values(), strict=True)
    return [
        {
            "fecha": f"{from_epoch(day):%Y-%m-%d}",
            **place,
            **dict(zip(columns, row, strict=True)),
            "horatmin": "Varias" if some < 0.1 else "06:10",
            "horatmax": "14:50",
        }
        for day, row, some, there in zip(
            days.tolist(), rows, chance.tolist(), kept.tolist(), strict=True
        )
        if there
    ]


def _rain(ask: Ask, days: Ints) -> list[str]:
    """Return rain from 07 to 07 UTC: ``Ip`` below 0.1 mm, ``Acum`` if the next figure holds it."""
    hours = (days[:, None] + (7 + np.arange(24)) * HOUR_S).ravel()
    total = ask.world.climate.hourly("precipitation_mm", hours).reshape(-1, 24).sum(axis=1)
    traces = (total == 0) & (ask.world.noise.uniform("trace", days // DAY_S) < 0.04)
    words: list[str] = np.where(traces, "Ip", _comma(total)).tolist()
    if "accumulated" in ask.quirks:
        for position in np.flatnonzero(total[:-1] > 0)[::3].tolist():
            words[position] = "Acum"
            total[position + 1] += total[position]
            words[position + 1] = _comma(total)[position + 1]
    return words


def _comma(values: Floats, decimals: int = 1) -> list[str]:
    return [
        f"{value:.{decimals}f}".replace(".", ",")
        for value in (np.round(values, decimals) + 0.0).tolist()
    ]


def inventory(_: Ask) -> list[Any]:
    """Return the stations."""
    return [
        {
            "latitud": latitude,
            "provincia": province,
            "altitud": str(altitude),
            "indicativo": station,
            "nombre": name,
            "indsinop": "",
            "longitud": longitude,
        }
        for station, (name, province, altitude, latitude, longitude, _, _) in STATIONS.items()
    ]


def hourly_forecast(ask: Ask, municipality: str) -> list[Any]:
    """Return the forecast of a municipality by local hour, from now to the end of the third day."""
    today = market_day(ask.now)
    days = [_forecast_day(ask, today + timedelta(days=ahead)) for ahead in range(3)]
    return [
        {
            "origen": {
                "productor": "Agencia Estatal de Meteorología - AEMET. Gobierno de España",
                "web": "https://www.aemet.es",
                "enlace": "https://www.aemet.es/es/eltiempo/prediccion/municipios/horas/",
                "language": "es",
                "copyright": "© AEMET. Autorizado el uso de la información y su reproducción "
                "citando a AEMET como autora de la misma.",
                "notaLegal": "https://www.aemet.es/es/nota_legal",
            },
            "elaborado": f"{ask.now.astimezone(MADRID):%Y-%m-%dT%H:%M:%S}",
            "nombre": "Linares",
            "provincia": "Jaén",
            "prediccion": {"dia": days},
            "id": municipality,
            "version": "1.0",
        }
    ]


def _forecast_day(ask: Ask, day: date) -> dict[str, Any]:
    midnight, next_midnight = day_bounds(day)
    hours = np.arange(epoch(midnight), epoch(next_midnight), HOUR_S)
    hours = hours[hours + HOUR_S > epoch(ask.now)]
    periods = [f"{from_epoch(hour).astimezone(MADRID):%H}" for hour in hours.tolist()]

    def listed(name: str, slots: Ints, decimals: int = 0) -> list[dict[str, str]]:
        values = np.round(
            ask.world.climate.forecast("aemet", name, slots, epoch(ask.now)), decimals
        ).tolist()
        return [
            {"value": f"{value:.{decimals}f}", "periodo": period}
            for value, period in zip(values, periods, strict=True)
        ]

    wind = listed("wind_speed_ms", hours, 1)
    alternating: list[dict[str, Any]] = []
    for entry in wind:  # km/h, and after each wind its gust
        speed = 3.6 * float(entry["value"])
        alternating.append(
            {"direccion": ["SO"], "velocidad": [f"{speed:.0f}"], "periodo": entry["periodo"]}
        )
        alternating.append({"value": f"{1.7 * speed:.0f}", "periodo": entry["periodo"]})
    rain = [
        {**entry, "value": "Ip" if entry["value"] == "0.1" else entry["value"].removesuffix(".0")}
        for entry in listed("precipitation_mm", hours, 1)
    ]
    return {
        "estadoCielo": [
            {"value": "11", "periodo": period, "descripcion": "Despejado"} for period in periods
        ],
        "precipitacion": rain,
        "probPrecipitacion": [
            {"value": "" if block == "0107" and len(periods) < 18 else "5", "periodo": block}
            for block in ("0107", "0713", "1319", "1901")
        ],
        "temperatura": listed("temperature_c", hours),
        "sensTermica": listed("temperature_c", hours),
        "humedadRelativa": listed("humidity_pct", hours),
        "vientoAndRachaMax": alternating,
        "fecha": f"{day.isoformat()}T00:00:00",
        "orto": "07:10",
        "ocaso": "20:15",
    }
