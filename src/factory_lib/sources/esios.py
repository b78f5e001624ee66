"""ESIOS, the system operator's data service: indicators with a token, the PVPC archive without.

Indicators are keyed by ``datetime`` with its offset: on the 25-hour day the server
repeats ``datetime_utc``. Archive 70 gives one market day per call, as text with decimal
commas; its rows are counted from local midnight, since on clock change days its labels
are not wall hours. https://api.esios.ree.es
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from math import isnan
from typing import Any

from factory_lib.catalogue import QUARTERS_SINCE
from factory_lib.clock import HOUR_S, QUARTER_S, day_start, epoch, market_day, slots_in_day
from factory_lib.errors import MalformedResponse, NoDataYet, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.settings.secrets import Secret
from factory_lib.sources.base import MARKET_AREA, Interval, PriceSource, split_days
from factory_lib.sources.parsing import (
    Parsed,
    RowCollector,
    comma_number,
    madrid_epoch,
    offset_instant,
    parse_json,
    require,
    require_ascending,
)

# Series -> indicator and geography: prices of the peninsula and of Spain, and the
# operator's day-ahead forecasts of the peninsula ("previsión diaria D+1": demanda,
# eólica, fotovoltaica).
INDICATORS = {
    "pvpc_eur_mwh": (1001, 8741),
    "spot_eur_mwh": (600, 3),
    "load_mw": (1775, 8741),
    "wind_mw": (1777, 8741),
    "solar_mw": (1779, 8741),
}
ARCHIVE = "/archives/70/download_json"
NO_VALUES = "No values for specified archive"
PVPC_2_0TD_SINCE = date(2021, 6, 1)
ACCEPT = "application/json; application/vnd.esios-api-v1+json"
Points = list[tuple[int, float]]


class Esios(PriceSource):
    """Spot, PVPC and the operator's forecasts by token; PVPC also without."""

    since = day_start(date(2014, 4, 1))
    forecast_model = "ree"  # the operator, whose forecasts this service publishes

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Interval]:
        """Split at the indicators' range limit, or without a token at each market day."""
        return split_days(start, end, self.limits.max_range_days if self._token else 1, self.zone)

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the archive, or with a token each indicator in turn."""
        first = market_day(start)
        if not self._token:
            return self._archive(first)
        last = market_day(end - timedelta(seconds=1))

        def fetch(name: str) -> Parsed:
            reply = self._indicator(name, first, last)
            return parse_indicator(reply, name, self.clock.now(), source=self.name)

        return self._each(series, fetch)

    def forecast_place(self) -> str:
        """Return the market area."""
        return MARKET_AREA

    def fetch_forecast(self, series: Sequence[str], place: str) -> Parsed:
        """Fetch the operator's forecasts of today and tomorrow, taken as issued now."""
        today = market_day(self.clock.now())

        def fetch(name: str) -> Parsed:
            reply = self._indicator(name, today, today + timedelta(days=1))
            return parse_forecast(reply, name, place, self.clock.now(), source=self.name)

        return self._each(series, fetch)

    @property
    def _token(self) -> Secret:
        return self.settings.secrets.esios_token

    def _archive(self, day: date) -> Parsed:
        query = {"locale": "es", "date": day.isoformat()}
        headers = {"Accept": "application/json"}
        reply = self.http.get(ARCHIVE, query, headers, check=classify_response)
        return parse_archive_70(reply, self.clock.now(), day=day, source=self.name)

    def _indicator(self, name: str, first: date, last: date) -> Reply:
        identity, geo = INDICATORS[name]
        query: dict[str, str | list[str]] = {
            "start_date": f"{first}T00:00",
            "end_date": f"{last}T23:59",
            "locale": "es",
            "geo_ids[]": [str(geo)],
        }
        return self.http.get(
            f"/indicators/{identity}",
            query,
            {"Accept": ACCEPT, "Content-Type": "application/json"},
            secret_headers={"x-api-key": self._token},
            check=classify_response,
        )

    def _each(self, series: Sequence[str], fetch: Callable[[str], Parsed]) -> Parsed:
        """Join the indicators that have data; if none has, the first one's error stands."""
        parts: list[Parsed] = []
        missing: list[NoDataYet] = []
        for name in series:
            try:
                parts.append(fetch(name))
            except NoDataYet as nothing:
                missing.append(nothing)
        if not parts:
            raise missing[0]
        return sum(parts[1:], start=parts[0])


def classify_response(reply: Reply) -> SourceError | None:
    """Return the error a reply stands for: its firewall gives 403, only 401 is about the token."""
    if reply.status == 403:
        return ServerError("esios", "its firewall refused the request", status=403)
    if reply.content.startswith(b"PK\x03\x04"):
        return ServerError("esios", "a ZIP archive came instead of data", status=reply.status)
    return None


def parse_indicator(
    body: Reply | bytes, name: str, retrieved_at: datetime, *, source: str = "esios"
) -> Parsed:
    """Return the prices of one indicator for its own geography, in the market's resolution.

    Days before the quarter-hour market come re-expanded, each hour as four equal
    quarters: they are one value.

    Raises
    ------
    NoDataYet, MalformedResponse
        If it is empty, or not the documented structure.
    """
    rows, points = _points(body, name, MARKET_AREA, retrieved_at, source)
    if name == "spot_eur_mwh":
        points = _collapsed(points)
    rows.add_prices(name, [start for start, _ in points], [value for _, value in points])
    return rows.parsed()


def parse_forecast(
    body: Reply | bytes, name: str, place: str, retrieved_at: datetime, *, source: str = "esios"
) -> Parsed:
    """Return one indicator's forecast as means of hours: it may come in quarters or five minutes.

    Raises
    ------
    NoDataYet, MalformedResponse
        If it is empty, or not the documented structure.
    """
    rows, points = _points(body, name, place, retrieved_at, source)
    hours: dict[int, list[float]] = {}
    for start, value in points:
        hours.setdefault(start - start % HOUR_S, []).append(value)
    rows.add(name, list(hours), [sum(part) / len(part) for part in hours.values()], HOUR_S)
    return rows.parsed()


def _points(
    body: Reply | bytes, name: str, place: str, retrieved_at: datetime, source: str
) -> tuple[RowCollector, Points]:
    """Return a collector and the (start, value) points of one indicator."""
    identity, geo = INDICATORS[name]
    indicator = require(source, parse_json(source, body), "indicator", dict)
    if indicator.get("id") != identity:
        raise MalformedResponse(source, f"indicator {indicator.get('id')!r} came for {identity}")
    own = [row for row in require(source, indicator, "values", list) if _is_of(row, geo)]
    if not own:
        raise NoDataYet(source, f"no value of indicator {identity}")
    updated = indicator.get("values_updated_at")
    updated_at = offset_instant(source, updated) if isinstance(updated, str) else None
    rows = RowCollector(source, place, Esios.kind, retrieved_at, updated_at)
    starts = [madrid_epoch(source, require(source, row, "datetime", str)) for row in own]
    require_ascending(source, starts)
    values = [rows.read(str(row), row.get("value")) for row in own]
    return rows, [point for point in zip(starts, values, strict=True) if not isnan(point[1])]


def _is_of(row: object, geo: int) -> bool:
    return isinstance(row, dict) and row.get("geo_id") == geo


def _collapsed(points: Points) -> Points:
    """Take an hour's four equal quarters before the quarter-hour market for the hour they are."""
    by_start = dict(points)
    market_change = epoch(QUARTERS_SINCE)

    def repeats_hour(start: int, value: float) -> bool:
        hour = start - start % HOUR_S
        quarters = {by_start.get(hour + number * QUARTER_S) for number in range(4)}
        return start < market_change and start != hour and quarters == {value}

    return [point for point in points if not repeats_hour(*point)]


def parse_archive_70(
    body: Reply | bytes, retrieved_at: datetime, *, day: date | None = None, source: str = "esios"
) -> Parsed:
    """Return the peninsula's PVPC of one day of archive 70.

    Parameters
    ----------
    day : date, optional
        The requested day; without it the rows say so.

    Raises
    ------
    NoDataYet
        If the day is not published: a message in place of values, or nothing but zeros.
    MalformedResponse
        If it is not of one market day, in order.
    """
    answer = parse_json(source, body)
    if isinstance(answer, dict) and str(answer.get("message", "")).startswith(NO_VALUES):
        raise NoDataYet(source, "no archive of that day")
    records = require(source, answer, "PVPC", list)
    archive_day = _archive_day(records, source)
    if day not in (None, archive_day) or archive_day < PVPC_2_0TD_SINCE:
        raise MalformedResponse(source, f"the archive is of {archive_day}, not of {day}")
    try:
        labels = _labels(archive_day)
        hours = [labels.index(require(source, row, "Hora", str)) for row in records]
        values = [comma_number(require(source, row, "PCB", str)) for row in records]
    except ValueError as error:
        raise MalformedResponse(source, f"archive 70 of {archive_day}: {error}") from None
    require_ascending(source, hours)
    first = epoch(day_start(archive_day))
    rows = RowCollector(source, MARKET_AREA, Esios.kind, retrieved_at)
    rows.add_prices("pvpc_eur_mwh", [first + HOUR_S * number for number in hours], values)
    return rows.parsed()


def _archive_day(records: list[Any], source: str) -> date:
    days = {require(source, row, "Dia", str) for row in records}
    try:
        (only,) = days
        return datetime.strptime(only, "%d/%m/%Y").date()  # noqa: DTZ007 - a date alone
    except ValueError as error:
        raise MalformedResponse(source, f"archive 70 of {sorted(days)}: {error}") from None


def _labels(day: date) -> list[str]:
    """Return the hours' labels: ``24-25`` on the long day, no ``02-03`` on the short one."""
    hours = slots_in_day(day, HOUR_S)
    skipped = 2 if hours == 23 else None
    return [f"{n:02d}-{n + 1:02d}" for n in range(25 if hours == 25 else 24) if n != skipped]
