"""Open-Meteo's forecasts as they were issued: wind and sun at weighted points of Spain.

The Previous Runs API gives for each hour the values of the runs of one to seven days
before it (``…_previous_day1`` and on), and without a suffix that of the newest run. A run
of ECMWF begins every six hours, so that of ``…_previous_day1`` is the last one which
began a day or more before the hour. Several points are one request, answered by a list.
https://open-meteo.com/en/docs/previous-runs-api
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind
from factory_lib.clock import DAY_S, HOUR_S, day_start, epoch, market_day
from factory_lib.errors import NoDataYet
from factory_lib.frames import concat, tidy
from factory_lib.http import Reply
from factory_lib.slots import Slots, to_index
from factory_lib.sources.base import PriceSource
from factory_lib.sources.open_meteo import VARIABLES, classify_response, hours_of, values_of
from factory_lib.sources.parsing import MARKET_AREA, Parsed, malformed, parse_json

NAME = "open_meteo_runs"
MODEL = "ecmwf_ifs025"
ECMWF_RUN_S = 6 * HOUR_S
DAYS_BEFORE = range(1, 8)  # days between run and hour
# Quantity -> variable, unit, whether it covers the hour before its time stamp.
QUANTITIES: Mapping[str, tuple[str, str, bool]] = {
    "wind_speed_100m_ms": ("wind_speed_100m", "m/s", False),
    "solar_radiation_wm2": VARIABLES["solar_radiation_wm2"],
}


class OpenMeteoRuns(PriceSource):
    """Weighted means of forecasts, of today and before as issued, of the days ahead the newest."""

    kind = Kind.FORECAST

    def places(self) -> tuple[str, ...]:
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
        variable = QUANTITIES[quantity][0]
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


@malformed(NAME)
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
    covers_before = QUANTITIES[quantity][2]
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
        raise NoDataYet(NAME, f"no value of {name}")
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
        source=NAME,
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
    variable, unit, _ = QUANTITIES[quantity]
    name = column(variable, lead)
    named = name if name in answer["hourly"] else f"{name}_{MODEL}"
    return np.array(values_of(answer, named, unit, hours))
