"""Energy-Charts of Fraunhofer ISE, keyless: the operators' day-ahead forecasts since 2018.

``/public_power_forecast`` answers for one country and one production type at a time, in
quarters or hours by country and year: ``unix_seconds`` and ``forecast_values`` (MW or
null) side by side. Wind is that on land and, where there is any, at sea.
https://api.energy-charts.info
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from factory_lib.catalogue import Kind
from factory_lib.clock import day_start
from factory_lib.errors import NoDataYet
from factory_lib.http import Reply
from factory_lib.settings import Settings
from factory_lib.sources.base import PriceSource
from factory_lib.sources.parsing import (
    Parsed,
    RowCollector,
    malformed,
    number,
    parse_json,
    require,
    require_ascending,
)

PATH = "/public_power_forecast"
FORECAST_TYPE = "day-ahead"
AREAS = ("ES", "FR", "PT")
AT_SEA = ("FR", "PT")
# The part of a series' name after its area -> production types, the first one required.
TYPES: Mapping[str, tuple[str, ...]] = {
    "load_mw": ("load",),
    "solar_mw": ("solar",),
    "wind_mw": ("wind_onshore", "wind_offshore"),
}


class EnergyCharts(PriceSource):
    """Day-ahead forecasts of load, wind and sun of three countries."""

    kind = Kind.FORECAST
    since = day_start(date(2018, 1, 1))

    @classmethod
    def places_of(cls, settings: Settings) -> tuple[str, ...]:
        """Return the countries, whatever the site's own places are."""
        return AREAS

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch each production type of the series in turn."""
        return self.joined(series, lambda name: self._series(name, place, start, end))

    def _series(self, name: str, place: str, start: datetime, end: datetime) -> Parsed:
        replies = self._replies(self.catalogue[name].forecast_of, place, start, end)
        return parse_forecast(replies, name, place, self.clock.now())

    def _replies(
        self, quantity: str, place: str, start: datetime, end: datetime
    ) -> dict[str, Reply]:
        """Return the answer of each production type; there may be no wind at sea."""
        required, *others = TYPES[quantity]
        replies = {required: self._reply(required, place, start, end)}
        for production_type in others if place in AT_SEA else ():
            try:
                replies[production_type] = self._reply(production_type, place, start, end)
            except NoDataYet:
                continue
        return replies

    def _reply(self, production_type: str, place: str, start: datetime, end: datetime) -> Reply:
        # Days are the country's own: those of UTC and one more hold any country's.
        query = {
            "country": place.lower(),
            "production_type": production_type,
            "forecast_type": FORECAST_TYPE,
            "start": f"{start:%Y-%m-%d}",
            "end": f"{end + timedelta(days=1):%Y-%m-%d}",
        }
        return self.http.get(PATH, query, {"Accept": "application/json"})


@malformed("energy_charts")
def parse_forecast(
    replies: Mapping[str, Reply | bytes], name: str, place: str, retrieved_at: datetime
) -> Parsed:
    """Return the hourly means of one series, the sum of its production types.

    Parameters
    ----------
    replies : mapping of str to Reply or bytes
        By production type, the required one first; another one adds to it where it has a
        value.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no value, or the structure is not the documented one.
    """
    required, *others = (_points(body, kind) for kind, body in replies.items())
    for other in others:
        for start, value in other.items():
            if start in required and value == value:  # NaN is none at sea
                required[start] += value
    if not any(value == value for value in required.values()):
        raise NoDataYet("energy_charts", f"no value of {name}")
    rows = RowCollector("energy_charts", place, Kind.FORECAST, retrieved_at)
    rows.add_hourly_means(name, required)
    return rows.parsed()


def _points(body: Reply | bytes, production_type: str) -> dict[int, float]:
    """Return the values of one production type by their start."""
    answer = parse_json(body)
    starts = require(answer, "unix_seconds", list)
    values = require(answer, "forecast_values", list)
    for key, expected in (("production_type", production_type), ("forecast_type", FORECAST_TYPE)):
        if answer.get(key, expected) != expected:
            raise ValueError(f"{key} {answer[key]!r} came for {expected}")
    if len(starts) != len(values):
        raise ValueError(f"{len(values)} values for {len(starts)} instants")
    if not all(type(start) is int for start in starts):
        raise ValueError("an instant is no whole number")
    require_ascending(starts)
    return dict(zip(starts, map(number, values), strict=True))
