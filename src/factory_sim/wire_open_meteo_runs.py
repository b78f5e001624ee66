"""Open-Meteo's Previous Runs: what each hour was forecast to be one to seven days before.

Several points are answered by a list. Wind is that of the instant, radiation that of the
hour before it. The archive begins in March 2024.
"""

import re
from datetime import date

import numpy as np

from factory_lib.clock import DAY_S, HOUR_S, epoch
from factory_sim.exchange import Answer, Ask, Provider, as_json
from factory_sim.noise import Ints
from factory_sim.wire_open_meteo import PROVIDER as FORECAST
from factory_sim.wire_open_meteo import Refusal, coordinates, hours_of, window_of

FIRST_DAY = date(2024, 3, 15)
RUN_S = 6 * HOUR_S
DELAY_S = 7 * HOUR_S  # from the start of a run until it is served
# Open-Meteo's name -> ours, unit, decimals printed, whether it covers the hour before.
VARIABLES = {
    "wind_speed_100m": ("wind_speed_100m_ms", "m/s", 2, False),
    "shortwave_radiation": ("solar_radiation_wm2", "W/m²", 1, True),
}
QUIRKS = {
    "null_run": "one lead is null throughout",
    "short_column": "one column is shorter than the times",
    "error_in_200": "the minute's limit is exceeded, under 200",
    "model_named": "the model's name stands behind each variable",
}


def answer(ask: Ask) -> Answer:
    """Return what ``/v1/forecast`` of the previous runs answers."""
    if ask.path != "/v1/forecast" or "error_in_200" in ask.quirks:
        return FORECAST.answer(ask)
    try:
        points = coordinates(ask)
        first, last = window_of(ask, FIRST_DAY)
        names = [name for name in ask.get("hourly").split(",") if name]
        times = hours_of(first, last)
        answers = [_point(ask, at, number, names, times) for number, at in enumerate(points)]
    except Refusal as refusal:
        return as_json({"error": True, "reason": str(refusal)}, 400)
    return as_json(answers if len(answers) > 1 else answers[0])


def _point(
    ask: Ask, at: tuple[float, float], number: int, names: list[str], times: Ints
) -> dict[str, object]:
    latitude, longitude = at
    place = f"{latitude:.2f},{longitude:.2f}"
    columns = {_written(ask, name): _column(ask, place, name, times) for name in names}
    if "short_column" in ask.quirks:
        next(iter(columns.values())).pop()
    units = {_written(ask, name): VARIABLES[_parts(name)[0]][1] for name in names}
    stamps = times.astype("datetime64[s]").astype("datetime64[m]").astype(str).tolist()
    return {
        "latitude": round(latitude * 4) / 4,
        "longitude": round(longitude * 4) / 4,
        "generationtime_ms": 0.5,
        "utc_offset_seconds": 0,
        "timezone": "GMT",
        "timezone_abbreviation": "GMT",
        "elevation": 515.0,
        **({"location_id": number} if number else {}),
        "hourly_units": {"time": "iso8601", **units},
        "hourly": {"time": stamps, **columns},
    }


def _written(ask: Ask, name: str) -> str:
    return f"{name}_{ask.get('models')}" if "model_named" in ask.quirks else name


def _parts(name: str) -> tuple[str, int]:
    """Return variable and days before of a requested name."""
    match = re.fullmatch(r"(\w+?)(?:_previous_day([1-7]))?", name)
    if not match or match[1] not in VARIABLES:
        raise Refusal(f"Cannot initialize ForecastVariable from invalid String value {name}")
    return match[1], int(match[2] or 0)


def _column(ask: Ask, place: str, name: str, times: Ints) -> list[float | None]:
    variable, days = _parts(name)
    quantity, unit, decimals, covers_before = VARIABLES[variable]
    newest = (epoch(ask.now) - DELAY_S) // RUN_S * RUN_S
    runs = np.minimum((times - DAY_S * days) // RUN_S * RUN_S, newest)
    starts = times - HOUR_S * covers_before
    values = ask.world.market.weather_forecast(quantity, starts, runs, place)
    factor = 3.6 if unit == "m/s" and ask.get("wind_speed_unit") != "ms" else 1.0
    nothing = "null_run" in ask.quirks and days == 1
    is_known = (runs <= newest) & (starts <= epoch(ask.now) + 15 * DAY_S)
    return [
        value if there and not nothing else None
        for value, there in zip(np.round(values * factor, decimals).tolist(), is_known, strict=True)
    ]


PROVIDER = Provider(answer, QUIRKS, FORECAST.refusals)
