"""Open-Meteo: the archive (reanalysis, five days late), and the forecast with its past days.

Columnar answers. Temperature, humidity, pressure and wind are those of the instant;
rain and radiation those of the hour before it.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from factory_lib.clock import HOUR_S, epoch
from factory_sim.climate import ACCUMULATED, dew_point_c
from factory_sim.exchange import Answer, Ask, Provider, as_json
from factory_sim.noise import Floats, Ints

ARCHIVE_DELAY = timedelta(days=5)
FIRST_DAY = date(1940, 1, 1)
PAST_DAYS, FUTURE_DAYS = 92, 16
# Open-Meteo's name -> ours, its unit, decimals printed.
VARIABLES = {
    "temperature_2m": ("temperature_c", "°C", 1),
    "relative_humidity_2m": ("humidity_pct", "%", 0),
    "precipitation": ("precipitation_mm", "mm", 2),
    "surface_pressure": ("pressure_station_hpa", "hPa", 1),
    "pressure_msl": ("pressure_sea_level_hpa", "hPa", 1),
    "wind_speed_10m": ("wind_speed_ms", "km/h", 2),
    "shortwave_radiation": ("solar_radiation_wm2", "W/m²", 1),
    "dew_point_2m": ("dew_point_c", "°C", 1),
}

QUIRKS = {
    "null_run": "the last 12 hours that should be known are null",
    "frozen": "every value the first one",
    "out_of_range": "every fifth value 9999",
    "short_column": "one column is shorter than the times",
    "error_in_200": "the minute's limit is exceeded, under 200",
}


def answer(ask: Ask) -> Answer:
    """Return what ``/v1/archive`` and ``/v1/forecast`` answer."""
    if ask.path not in ("/v1/archive", "/v1/forecast"):
        return as_json({"error": True, "reason": "Not Found"}, 404)
    if "error_in_200" in ask.quirks:
        reason = "Minutely API request limit exceeded. Please try again in one minute."
        return as_json({"error": True, "reason": reason})
    try:
        latitude, longitude = coordinates(ask)[0]
        offset_s = _offset_s(ask)
        first, last = window_of(ask, _earliest(ask))
        names = _names(ask)
    except Refusal as refusal:
        return as_json({"error": True, "reason": str(refusal)}, 400)
    times = hours_of(first, last) - offset_s
    in_ms = ask.get("wind_speed_unit") == "ms"
    units = {name: VARIABLES[name][1] for name in names}
    if in_ms and "wind_speed_10m" in units:
        units["wind_speed_10m"] = "m/s"
    content = {
        # The grid cell's own centre, not the point asked for.
        "latitude": round(latitude * 16) / 16,
        "longitude": round(longitude * 16) / 16,
        "generationtime_ms": 0.5 + len(times) * len(names) * 1e-4,
        "utc_offset_seconds": offset_s,
        "timezone": ask.get("timezone", "GMT"),
        "timezone_abbreviation": f"GMT{offset_s // HOUR_S:+d}" if offset_s else "GMT",
        "elevation": 515.0,
        "hourly_units": {
            "time": "unixtime" if ask.get("timeformat") == "unixtime" else "iso8601",
            **units,
        },
        "hourly": {"time": _times(ask, times, offset_s), **_columns(ask, names, times, in_ms)},
    }
    return as_json(content, content_type="application/json; charset=utf-8")


class Refusal(Exception):
    """A request the provider answers with 400 and a reason."""


def _names(ask: Ask) -> list[str]:
    names = [name for part in ask.query.get("hourly", []) for name in part.split(",") if name]
    if unknown := [name for name in names if name not in VARIABLES]:
        raise Refusal(
            "Cannot initialize SurfacePressureAndHeightVariable from invalid String value "
            f"{unknown[0]}"
        )
    return names


def _columns(ask: Ask, names: list[str], times: Ints, in_ms: bool) -> dict[str, list[float | None]]:
    factors = {"wind_speed_10m": 1.0 if in_ms else 3.6}
    columns = {name: _column(ask, name, times, factors.get(name, 1.0)) for name in names}
    if "short_column" in ask.quirks and names:
        columns[names[-1]].pop()
    return columns


def coordinates(ask: Ask) -> list[tuple[float, float]]:
    """Return the points asked for, one or several."""
    return list(zip(_axis(ask, "latitude", 90), _axis(ask, "longitude", 180), strict=False))


def _axis(ask: Ask, name: str, limit: int) -> list[float]:
    try:
        values = [float(text) for text in ask.get(name).split(",")]
    except ValueError:
        raise Refusal(f"Parameter '{name}' is required") from None
    for value in values:
        if abs(value) > limit:
            raise Refusal(
                f"{name.capitalize()} must be in range of -{limit} to {limit}°. Given: {value}."
            )
    return values


def hours_of(first: date, last: date) -> Ints:
    """Return the starts of all hours of the UTC days."""
    start = epoch(datetime(first.year, first.month, first.day, tzinfo=UTC))
    return start + np.arange(((last - first).days + 1) * 24, dtype=np.int64) * HOUR_S


def _offset_s(ask: Ask) -> int:
    """Return the present's offset, for all of an answer: wrong beyond a clock change."""
    name = ask.get("timezone", "GMT")
    try:
        zone = ZoneInfo("UTC" if name == "GMT" else name)
    except (ZoneInfoNotFoundError, ValueError):
        raise Refusal("Invalid timezone") from None
    offset = ask.now.astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _earliest(ask: Ask) -> date:
    if ask.path == "/v1/archive":
        return FIRST_DAY
    return ask.now.date() - timedelta(days=PAST_DAYS + 1)


def window_of(ask: Ask, earliest: date) -> tuple[date, date]:
    """Return the first and last day asked for, none before ``earliest``."""
    today = ask.now.date()
    archive = ask.path == "/v1/archive"
    latest = today if archive else today + timedelta(days=FUTURE_DAYS - 1)
    given = "start_date" in ask.query, "end_date" in ask.query
    if not any(given) and not archive:
        past = int(ask.get("past_days", "0"))
        future = int(ask.get("forecast_days", "7"))
        return max(today - timedelta(days=past), earliest), min(
            today + timedelta(days=future - 1), latest
        )
    if not all(given):
        raise Refusal("Both 'start_date' and 'end_date' must be set in the url")
    days = {}
    for name in ("start_date", "end_date"):
        try:
            days[name] = date.fromisoformat(ask.get(name))
        except ValueError:
            raise Refusal("Invalid date format. Make sure to use 'YYYY-MM-DD'") from None
        if not earliest <= days[name] <= latest:
            raise Refusal(f"Parameter '{name}' is out of allowed range from {earliest} to {latest}")
    if days["end_date"] < days["start_date"]:
        raise Refusal("End-date must be larger or equals than start-date.")
    return days["start_date"], days["end_date"]


def _column(ask: Ask, variable: str, times: Ints, factor: float) -> list[float | None]:
    name, _, decimals = VARIABLES[variable]
    slots = times - HOUR_S if name in ACCUMULATED else times
    values = _values(ask, name, slots, times)
    known_until = epoch(ask.now - (ARCHIVE_DELAY if ask.path == "/v1/archive" else timedelta()))
    is_past = times <= known_until
    delivered = np.ones(len(times), dtype=bool)
    delivered[is_past] = ask.holes.delivered(ask.source, name, slots[is_past])
    if ask.path == "/v1/archive":
        delivered &= is_past
    if "null_run" in ask.quirks:
        delivered &= (times <= known_until - 12 * HOUR_S) | (times > known_until)
    if "frozen" in ask.quirks:
        values = np.repeat(values[:1], len(values))
    if "out_of_range" in ask.quirks:
        values = np.where(np.arange(len(values)) % 5 == 0, 9999.0, values)
    rounded = np.round(values * factor, decimals) + 0.0
    return [
        value if there else None
        for value, there in zip(rounded.tolist(), delivered.tolist(), strict=True)
    ]


def _values(ask: Ask, name: str, slots: Ints, times: Ints) -> Floats:
    """Return what the model says of the past, and expects of the future as of the clock's time."""
    if name == "dew_point_c":
        return dew_point_c(
            _values(ask, "temperature_c", slots, times), _values(ask, "humidity_pct", slots, times)
        )
    now = epoch(ask.now)
    values = ask.world.climate.as_seen_by(ask.source, name, slots)
    future = times > now
    values[future] = ask.world.climate.forecast(ask.source, name, slots[future], now)
    return values


def _times(ask: Ask, times: Ints, offset_s: int) -> list[str] | list[int]:
    if ask.get("timeformat") == "unixtime":
        unix: list[int] = times.tolist()
        return unix
    local: list[str] = (
        (times + offset_s).astype("datetime64[s]").astype("datetime64[m]").astype(str).tolist()
    )
    return local


def _reason(status: int, text: str) -> Answer:
    content: dict[str, Any] = {"error": True, "reason": text}
    return as_json(content, status)


PROVIDER = Provider(
    answer,
    QUIRKS,
    {
        "too_many": (
            _reason(429, "Minutely API request limit exceeded. Please try again in one minute."),
            _reason(429, "Too many concurrent requests"),
        ),
        "server_error": (_reason(503, "The service is overloaded. Please try again later."),),
    },
)
