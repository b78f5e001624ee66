"""Open-Meteo, keyless: the reanalysis archive, the forecast endpoint, and its earlier runs.

https://open-meteo.com/en/docs/historical-weather-api. Asked in GMT, since its local
answers use one fixed offset even across a clock change, and in m/s, since its default
is km/h. Answers for any point: the place is the site's own.

The Previous Runs API gives forecasts as they were issued: for each hour the values of the
runs of one to seven days before it (``…_previous_day1`` and on), and without a suffix that
of the newest run. A run of ECMWF begins every six hours, so that of ``…_previous_day1`` is
the last one which began a day or more before the hour. Several points are one request,
answered by a list. https://open-meteo.com/en/docs/previous-runs-api
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind
from factory_lib.clock import DAY_S, HOUR_S, day_start, epoch, market_day
from factory_lib.errors import BadRange, NoDataYet, QuotaError, ServerError, SourceError
from factory_lib.frames import concat, tidy
from factory_lib.http import Reply
from factory_lib.settings import Settings
from factory_lib.slots import Slots, to_index
from factory_lib.sources.base import Interval, PointSource, PriceSource
from factory_lib.sources.parsing import (
    MARKET_AREA,
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
    "wind_speed_100m_ms": ("wind_speed_100m", "m/s", False),
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


# -- forecasts as they were issued: wind and sun at weighted points of Spain ---------

MODEL = "ecmwf_ifs025"
ECMWF_RUN_S = 6 * HOUR_S
DAYS_BEFORE = range(1, 8)  # days between run and hour


class OpenMeteoRuns(PriceSource):
    """Weighted means of forecasts, of today and before as issued, of the days ahead the newest."""

    kind = Kind.FORECAST

    @classmethod
    def places_of(cls, settings: Settings) -> tuple[str, ...]:
        """Return the country, whatever the site's own places are."""
        return (MARKET_AREA,)

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch each series in turn, since each has points of its own."""
        return self.joined(series, lambda name: self._series(name, start, end))

    def _series(self, name: str, start: datetime, end: datetime) -> Parsed:
        quantity = self.catalogue[name].forecast_of
        points = self.limits.points[quantity]
        now = self.clock.now()
        tomorrow = day_start(market_day(now) + timedelta(days=1))
        leads = (*([0] if end > tomorrow else []), *(DAYS_BEFORE if start < tomorrow else []))
        variable = VARIABLES[quantity][0]
        latitudes, longitudes = zip(*(point.split(",") for point in points), strict=True)
        query = {
            "latitude": ",".join(latitudes),
            "longitude": ",".join(longitudes),
            "hourly": ",".join(column(variable, lead) for lead in leads),
            "models": MODEL,
            "timezone": "GMT",
            "wind_speed_unit": "ms",
            "start_date": f"{start:%Y-%m-%d}",
            "end_date": f"{end:%Y-%m-%d}",
        }
        reply = self.http.get(
            "/v1/forecast", query, check=lambda reply: classify_response(reply, self.name)
        )
        delay = timedelta(hours=self.limits.archive_delay_h)
        return parse_runs(reply, name, quantity, points, leads, now, tomorrow, delay)


def column(variable: str, lead: int) -> str:
    """Return the name under which a variable stands, as forecast so many days before."""
    return f"{variable}_previous_day{lead}" if lead else variable


@malformed("open_meteo_runs")
def parse_runs(
    body: Reply | bytes,
    name: str,
    quantity: str,
    points: Mapping[str, float],
    leads: Sequence[int],
    retrieved_at: datetime,
    tomorrow: datetime,
    delay: timedelta,
) -> Parsed:
    """Return the weighted means of all points; an hour that one of them lacks is absent.

    Parameters
    ----------
    points : mapping of place to weight
        In the order of the answer.
    leads : sequence of int
        Days between run and hour; 0 is the newest run, which counts from ``tomorrow``
        on, the others before it.
    delay : timedelta
        From the start of a run until it is known; that instant is the rows'
        ``provider_updated_at``.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no value, or the structure is not the documented one.
    """
    answers = _answers(body, points)
    covers_before = VARIABLES[quantity][2]
    stamps = _common_stamps(answers, points)
    starts = stamps - HOUR_S * covers_before
    weights = np.array(list(points.values())) / sum(points.values())
    parts = []
    for lead in leads:
        values = weights @ np.array(
            [_values(each, quantity, lead, len(stamps)) for each in answers]
        )
        issued = (stamps - DAY_S * lead) // ECMWF_RUN_S * ECMWF_RUN_S + int(delay.total_seconds())
        mine = (starts >= epoch(tomorrow)) == (lead == 0)
        mine &= (lead == 0) | (issued <= epoch(retrieved_at))
        issues = to_index(issued[mine]) if lead else None
        parts.append(_rows(name, starts[mine], values[mine], issues, retrieved_at))
    rows = concat(parts)
    if rows.empty:
        raise NoDataYet("open_meteo_runs", f"no value of {name}")
    return Parsed(rows)


def _rows(
    name: str,
    starts: Slots,
    values: np.ndarray,
    issues: pd.DatetimeIndex | None,
    retrieved_at: datetime,
) -> pd.DataFrame:
    return tidy(
        name,
        starts,
        values,
        place=MARKET_AREA,
        source="open_meteo_runs",
        kind=Kind.FORECAST,
        resolution_s=HOUR_S,
        retrieved_at=retrieved_at,
        provider_updated_at=issues,
    )


def _answers(body: Reply | bytes, points: Mapping[str, float]) -> list[Any]:
    """Return one answer per point; of a single point it comes bare."""
    answer = parse_json(body)
    answers = answer if isinstance(answer, list) else [answer]
    if len(answers) != len(points):
        raise ValueError(f"{len(answers)} answers for {len(points)} points")
    return answers


def _common_stamps(answers: Sequence[Any], points: Mapping[str, float]) -> Slots:
    """Return the hours of all answers, each in the order of its point."""
    stamps = [hours_of(answer, place) for answer, place in zip(answers, points, strict=True)]
    if not all(np.array_equal(each, stamps[0]) for each in stamps):
        raise ValueError("the points have different hours")
    return stamps[0]


def _values(answer: Any, quantity: str, lead: int, hours: int) -> np.ndarray:
    """Return one column of an answer; a service that names its model behind it is read, too."""
    variable, unit, _ = VARIABLES[quantity]
    name = column(variable, lead)
    named = name if name in answer["hourly"] else f"{name}_{MODEL}"
    return np.array(values_of(answer, named, unit, hours))
