"""Open-Meteo, keyless: the reanalysis archive, and the forecast endpoint with its past days.

https://open-meteo.com/en/docs/historical-weather-api. Asked in GMT, since its local
answers use one fixed offset even across a clock change, and in m/s, since its default
is km/h. Answers for any point: the place is the site's own.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind
from factory_lib.clock import DAY_S, HOUR_S, epoch
from factory_lib.errors import BadRange, QuotaError, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.slots import Slots
from factory_lib.sources.base import Interval, PointSource
from factory_lib.sources.parsing import (
    Parsed,
    RowCollector,
    malformed,
    number,
    parse_json,
    require,
    require_near,
)

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
# The answer's coordinates are those of its grid cell, a quarter of a degree wide.
GRID_CELL_DEG = 0.3
FORECAST_DAYS = 7
PAUSE_S = {"Minutely": 60.0, "Hourly": 3600.0, "Daily": float(DAY_S), "concurrent": 5.0}


class OpenMeteoArchive(PointSource):
    """Reanalysis since 1940, some days behind."""

    kind = Kind.REANALYSIS
    since = datetime(1940, 1, 1, tzinfo=UTC)
    path = "/v1/archive"
    ahead = timedelta(0)  # how far the endpoint answers beyond the present

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the UTC days of the window; the sums of its last hour are stamped with its end."""
        last = max(start, min(end, self.clock.now() + self.ahead))
        days = {"start_date": f"{start:%Y-%m-%d}", "end_date": f"{last:%Y-%m-%d}"}
        return self._hours(series, place, days)

    def _hours(self, series: Sequence[str], place: str, days: Mapping[str, str]) -> Parsed:
        latitude, longitude = place.split(",")
        query = {
            "latitude": latitude,
            "longitude": longitude,
            "hourly": ",".join(VARIABLES[name][0] for name in series),
            "timezone": "GMT",
            "wind_speed_unit": "ms",
        }
        reply = self.http.get(
            self.path, {**query, **days}, check=lambda reply: classify_response(reply, self.name)
        )
        return parse_hourly(
            reply, series, place, self.clock.now(), kind=self.kind, source=self.name
        )


class OpenMeteoRecent(OpenMeteoArchive):
    """The forecast endpoint: analysed hours of the last days, and forecasts of the next ones."""

    path = "/v1/forecast"
    ahead = timedelta(days=1)
    forecast_model = "open_meteo"

    def available_window(self, series: str) -> Interval:
        """Return the past days that the endpoint keeps; hours still to come are forecasts."""
        now = self.clock.now()
        return now - timedelta(days=self.limits.max_range_days), now

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the window, and keep only the hours that are over."""
        parsed = super().fetch_window(series, place, start, end)
        over = parsed.rows["start"] + pd.Timedelta(hours=1) <= pd.Timestamp(self.present())
        return Parsed(parsed.rows[over], parsed.rejected)

    def fetch_forecast(self, series: Sequence[str], place: str) -> Parsed:
        """Fetch the forecast of the next seven days."""
        return self._hours(series, place, {"forecast_days": str(FORECAST_DAYS)})


def classify_response(reply: Reply, source: str = "open_meteo") -> SourceError | None:
    """Return the error a reply stands for; the service names its reason, sometimes under 200."""
    is_error = re.match(r'\s*{\s*"error"\s*:\s*true', reply.text)
    if reply.status not in (400, 429) and not (is_error and reply.status == 200):
        return None
    match = re.search(r'"reason"\s*:\s*"([^"]*)"', reply.text)
    return _error_of(match[1] if match else "no reason given", reply, source)


def _error_of(reason: str, reply: Reply, source: str) -> SourceError:
    pause = next((seconds for word, seconds in PAUSE_S.items() if word in reason), None)
    if pause or reply.status == 429:
        retry_after_s = reply.retry_after_s or pause or 60.0
        return QuotaError(source, reason, status=reply.status, retry_after_s=retry_after_s)
    kind = ServerError if "overload" in reason else BadRange
    return kind(source, reason, status=reply.status)


def parse_hourly(
    body: Reply | bytes,
    series: Sequence[str],
    place: str,
    retrieved_at: datetime,
    *,
    kind: Kind = Kind.REANALYSIS,
    source: str = "open_meteo",
) -> Parsed:
    """Return the hours of each series; null is absent.

    Raises
    ------
    MalformedResponse
        If units, offset, grid cell or the hourly grid are not the requested ones.
    """
    rows = RowCollector(source, place, kind, retrieved_at)
    with malformed(source):
        answer = parse_json(body)
        stamps = hours_of(answer, place)
        for name in series:
            variable, unit, covers_hour_before = VARIABLES[name]
            values = values_of(answer, variable, unit, len(stamps))
            rows.add(name, stamps - HOUR_S * covers_hour_before, values, HOUR_S)
    return rows.parsed()


def hours_of(answer: Any, place: str) -> Slots:
    """Return the hours of an answer; it must be in GMT, and for this place.

    The grid has no holes, so its first stamp fixes all others.
    """
    times = require(require(answer, "hourly", dict), "time", list)
    if answer.get("utc_offset_seconds") != 0:
        raise ValueError("the answer is not in GMT")
    require_near(answer, ("latitude", "longitude"), place, GRID_CELL_DEG)
    first = epoch(datetime.fromisoformat(str(times[0])).replace(tzinfo=UTC)) if times else 0
    grid = first + HOUR_S * np.arange(len(times), dtype=np.int64)
    if np.datetime_as_string(grid.astype("datetime64[s]"), unit="m").tolist() != times:
        raise ValueError("the hours are not one after the other")
    return grid


def values_of(answer: Any, variable: str, unit: str, hours: int) -> list[float]:
    """Return a column of an answer; it must be in this unit, with a value for each hour."""
    values = [number(value) for value in require(answer["hourly"], variable, list)]
    given = require(answer, "hourly_units", dict).get(variable)
    if given != unit:
        raise ValueError(f"{variable} is in {given!r}")
    if len(values) != hours:
        raise ValueError(f"{len(values)} of {hours} hours of {variable}")
    return values
