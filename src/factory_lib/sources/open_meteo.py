"""Open-Meteo, keyless: the reanalysis archive, the forecast endpoint's past days, and its forecasts.

https://open-meteo.com/en/docs/historical-weather-api. Asked in GMT, since its local
answers use one fixed offset even across a clock change, and in m/s, since its default
is km/h. Answers for any point: the place is the site's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind
from factory_lib.clock import DAY_S, HOUR_S, epoch
from factory_lib.errors import BadRange, MalformedResponse, QuotaError, SourceError
from factory_lib.http import Reply
from factory_lib.sources.base import PointSource, Window
from factory_lib.sources.forecasts import forecast_rows
from factory_lib.sources.parsing import Door, Parsed, at, json_of, number, require_near

# Series -> (variable, unit as the service writes it, whether it covers the hour before
# its time stamp).
VARIABLES: Mapping[str, tuple[str, str, bool]] = {
    "temperature_c": ("temperature_2m", "°C", False),
    "humidity_pct": ("relative_humidity_2m", "%", False),
    "precipitation_mm": ("precipitation", "mm", True),
    "pressure_station_hpa": ("surface_pressure", "hPa", False),
    "pressure_sea_level_hpa": ("pressure_msl", "hPa", False),
    "wind_speed_ms": ("wind_speed_10m", "m/s", False),
    "solar_radiation_wm2": ("shortwave_radiation", "W/m²", True),
}
GRID_CELL_DEG = (
    0.3  # the answer's coordinates are those of its grid cell, a quarter of a degree wide
)
FORECAST_DAYS = 7
PAUSE_S = {"Minutely": 60.0, "Hourly": 3600.0, "Daily": float(DAY_S), "concurrent": 5.0}


class OpenMeteoArchive(PointSource):
    """Reanalysis since 1940, some days behind."""

    kind = Kind.REANALYSIS
    path = "/v1/archive"
    since = datetime(1940, 1, 1, tzinfo=UTC)

    def reach(self, series: str) -> Window:
        """Return the window that can hold values now: the reanalysis is five days behind."""
        rule = self.catalogue[series].publication[Kind.REANALYSIS]
        return self.since, rule.known_until(self.clock.now())

    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask for the UTC days of the window; its last hour's sums carry the time stamp of the window's end."""
        last = min(end, self._last_stamp())
        reply = self._get(
            series,
            place,
            {"start_date": f"{start:%Y-%m-%d}", "end_date": f"{max(start, last):%Y-%m-%d}"},
        )
        stamps, columns = parse_hourly(reply, series, place, source=self.name)
        door = Door(self.name, place, self.kind, self.clock.now())
        for name in series:
            door.add(name, stamps - HOUR_S * VARIABLES[name][2], columns[name], HOUR_S)
        return door.parsed()

    def _last_stamp(self) -> datetime:
        return self.clock.now()

    def _get(self, series: Sequence[str], place: str, window: Mapping[str, str]) -> Reply:
        latitude, longitude = place.split(",")
        query = {
            "latitude": latitude,
            "longitude": longitude,
            "hourly": ",".join(VARIABLES[name][0] for name in series),
            "timezone": "GMT",
            "wind_speed_unit": "ms",
        }
        return self.http.get(
            self.path, {**query, **window}, check=lambda reply: meaning(reply, self.name)
        )


class OpenMeteoRecent(OpenMeteoArchive):
    """The forecast endpoint: analysed hours of the last days, and what it expects for the next ones."""

    path = "/v1/forecast"

    def reach(self, series: str) -> Window:
        """Return the past days that the endpoint keeps; hours still to come are forecasts."""
        now = self.clock.now()
        return now - timedelta(days=self.limits.max_range_days), now

    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask for the window, and keep only the hours that are over."""
        parsed = super().ask(series, place, start, end)
        over = parsed.rows["start"] + pd.Timedelta(hours=1) <= pd.Timestamp(self.clock.now())
        return Parsed(parsed.rows[over], parsed.rejected)

    def forecast(self, series: Sequence[str], place: str | None = None) -> pd.DataFrame:
        """Return the provider's forecast of the next seven days as forecast rows (``frames.FORECAST_COLUMNS``)."""
        issued_at, place = self.clock.now(), place or self.settings.site.grid_place
        reply = self._get(series, place, {"forecast_days": str(FORECAST_DAYS)})
        stamps, columns = parse_hourly(reply, series, place, source=self.name)
        shifted = {name: (stamps - HOUR_S * VARIABLES[name][2], columns[name]) for name in series}
        return forecast_rows(
            self.catalogue, shifted, place=place, model="open_meteo", issued_at=issued_at
        )

    def _last_stamp(self) -> datetime:
        return self.clock.now() + timedelta(days=1)


def meaning(reply: Reply, source: str = "open_meteo") -> SourceError | None:
    """Return the error a reply stands for; the service names its reason."""
    if reply.status not in (400, 429):
        return None
    said = re.search(r'"reason"\s*:\s*"([^"]*)"', reply.text)
    reason = said[1] if said else "no reason given"
    if reply.status == 400:
        return BadRange(source, reason, status=400)
    pause = next((seconds for word, seconds in PAUSE_S.items() if word in reason), 60.0)
    return QuotaError(source, reason, status=429, retry_after_s=reply.retry_after_s or pause)


def parse_hourly(
    body: Reply | bytes, series: Sequence[str], place: str, *, source: str = "open_meteo"
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], dict[str, list[float]]]:
    """Return the time stamps (seconds since 1970) and one column per series, NaN where the answer has null.

    Raises
    ------
    MalformedResponse
        If units, offset, grid cell or the hourly grid are not what was asked for.
    """
    answer = json_of(source, body)
    hourly, units = at(source, answer, "hourly", dict), at(source, answer, "hourly_units", dict)
    _require_what_was_asked(answer, units, series, place, source)
    stamps = _stamps(at(source, hourly, "time", list), source)
    columns = {}
    for name in series:
        raw = at(source, hourly, VARIABLES[name][0], list)
        if len(raw) != len(stamps):
            raise MalformedResponse(
                source, f"{VARIABLES[name][0]} has {len(raw)} values for {len(stamps)} hours"
            )
        try:
            columns[name] = [number(value) for value in raw]
        except ValueError as error:
            raise MalformedResponse(source, f"{VARIABLES[name][0]}: {error}") from None
    return stamps, columns


def _require_what_was_asked(
    answer: dict[str, Any], units: dict[str, Any], series: Sequence[str], place: str, source: str
) -> None:
    if answer.get("utc_offset_seconds") != 0:
        raise MalformedResponse(source, "the answer is not in GMT")
    require_near(source, answer, ("latitude", "longitude"), place, GRID_CELL_DEG)
    for name in series:
        variable, unit, _ = VARIABLES[name]
        if units.get(variable) != unit:
            raise MalformedResponse(
                source, f"{variable} is in {units.get(variable)!r}, not {unit!r}"
            )


def _stamps(times: list[Any], source: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the hourly grid; it has no holes, so its first and last stamp fix all others."""
    try:
        first = epoch(datetime.fromisoformat(times[0]).replace(tzinfo=UTC)) if times else 0
    except (TypeError, ValueError):
        raise MalformedResponse(source, f"{times[0]!r} is no time") from None
    grid = first + HOUR_S * np.arange(len(times), dtype=np.int64)
    written = np.datetime_as_string(grid.astype("datetime64[s]"), unit="m").tolist()
    if written != times:
        raise MalformedResponse(source, "the hours are not one after the other")
    return grid
