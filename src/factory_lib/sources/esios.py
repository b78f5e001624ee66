"""ESIOS, the system operator's data service: indicators with a token, the PVPC archive without.

The day-ahead forecasts of load, wind and sun (1775, 1777, 1779) are published by 11:00 of
the day before and never rewritten; indicator 460 forecasts the load of a week.
Indicators are keyed by ``datetime`` with its offset: on the 25-hour day the server
repeats ``datetime_utc``. Archive 70 gives one market day per call, as text with decimal
commas; its rows are counted from local midnight, since on clock change days its labels
are not wall hours. https://api.esios.ree.es
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from math import isnan

from factory_lib.catalogue import MARKET_PRICES, QUARTERS_SINCE, Kind
from factory_lib.clock import HOUR_S, QUARTER_S, day_start, epoch, market_day, slots_in_day
from factory_lib.errors import AuthError, NoDataYet, ReadTimeout, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.settings.secrets import Secret
from factory_lib.sources.base import Interval, PriceSource, split_days
from factory_lib.sources.parsing import (
    MARKET_AREA,
    Parsed,
    RowCollector,
    comma_number,
    malformed,
    parse_json,
    require,
    require_ascending,
    require_in_any,
    with_decimal_points,
)

# Series -> indicator and geography: prices of the peninsula and of Spain, the operator's
# day-ahead forecasts of the peninsula ("previsión diaria D+1": demanda, eólica,
# fotovoltaica), and its forecast of the load to D+7.
INDICATORS = {
    "pvpc_eur_mwh": (1001, 8741),
    "spot_eur_mwh": (600, 3),
    "es_load_forecast_mw": (1775, 8741),
    "es_wind_forecast_mw": (1777, 8741),
    "es_solar_forecast_mw": (1779, 8741),
    "load_mw": (460, 8741),
}
FORECASTS_SINCE = day_start(date(2019, 1, 1))
DAYS_AHEAD = timedelta(days=7)
ARCHIVE = "/archives/70/download_json"
NO_VALUES = "No values for specified archive"
PVPC_2_0TD_SINCE = date(2021, 6, 1)
ACCEPT = "application/json; application/vnd.esios-api-v1+json"


class Esios(PriceSource):
    """Spot, PVPC and the operator's forecasts by token; PVPC also without."""

    since = day_start(date(2014, 4, 1))
    forecast_model = "ree_week"  # beside the day-ahead forecasts, which are more certain

    def available_window(self, series: str) -> Interval:
        """Return the window of a price, or of a forecast, which begins later."""
        first, last = super().available_window(series)
        return (max(first, FORECASTS_SINCE) if self.catalogue[series].forecast_of else first), last

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
        return self.joined(series, lambda name: self._halving(name, first, last))

    def fetch_forecast(self, series: Sequence[str], place: str) -> Parsed:
        """Fetch the operator's forecast of today and the next seven days, as issued now."""
        today = market_day(self.clock.now())
        return self.joined(series, lambda name: self._halving(name, today, today + DAYS_AHEAD))

    def check_key(self) -> tuple[str, str]:
        """Ask for one indicator of today."""
        today = market_day(self.clock.now())
        self._indicator("pvpc_eur_mwh", today, today)
        return "accepts the token", ""

    @property
    def _token(self) -> Secret:
        return self.settings.secrets.esios_token

    def _archive(self, day: date) -> Parsed:
        reply = self.http.get(
            ARCHIVE,
            {"locale": "es", "date": day.isoformat()},
            {"Accept": "application/json"},
            check=classify_response,
        )
        return parse_archive_70(reply, self.clock.now(), day=day)

    def _halving(self, name: str, first: date, last: date) -> Parsed:
        """Fetch one indicator; half a year of quarters may take the service too long."""
        parse = parse_indicator if name in MARKET_PRICES else parse_forecast
        try:
            return parse(self._indicator(name, first, last), name, self.clock.now())
        except ReadTimeout:
            if first == last:
                raise
        middle = first + (last - first) / 2
        earlier = self._halving(name, first, middle)
        return earlier + self._halving(name, middle + timedelta(days=1), last)

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
            retry_timeout=first == last,
        )


def classify_response(reply: Reply) -> SourceError | None:
    """Return the error a reply stands for: a page with 403 is its firewall, JSON the token."""
    if reply.status == 403:
        if reply.is_html or "Incapsula" in reply.text[:2000]:
            return ServerError("esios", "its firewall refused the request", status=403)
        return AuthError("esios", "the token is missing or was refused", status=403)
    if reply.content.startswith(b"PK\x03\x04"):
        return ServerError("esios", "a ZIP archive came instead of data", status=reply.status)
    return None


@malformed("esios")
def parse_indicator(body: Reply | bytes, name: str, retrieved_at: datetime) -> Parsed:
    """Return the prices of one indicator for its own geography, in the market's resolution.

    Days before the quarter-hour market come re-expanded, each hour as four equal
    quarters: they are one value.

    Raises
    ------
    NoDataYet, MalformedResponse
        If it is empty, or not the documented structure.
    """
    rows, points = _points(body, name, retrieved_at)
    rows.add_prices(name, _collapsed(points) if name == "spot_eur_mwh" else points)
    return rows.parsed()


@malformed("esios")
def parse_download(lines: Sequence[Mapping[str, str]], name: str, retrieved_at: datetime) -> Parsed:
    """Return one indicator of an export of the site: text in the columns of the service.

    Raises
    ------
    NoDataYet, MalformedResponse
        If there is no value of its geography, or a line cannot be read.
    """
    identity, geo = INDICATORS[name]
    filled = [line for line in lines if line.get("value")]
    numbers = with_decimal_points([line["value"].strip() for line in filled])
    values = [
        {
            "geo_id": int(line.get("geoid") or geo),
            "value": float(number),
            "datetime": require(line, "datetime", str).strip(),
        }
        for line, number in zip(filled, numbers, strict=True)
    ]
    body = json.dumps({"indicator": {"id": identity, "values": values}}).encode()
    return (parse_indicator if name in MARKET_PRICES else parse_forecast)(body, name, retrieved_at)


@malformed("esios")
def parse_forecast(body: Reply | bytes, name: str, retrieved_at: datetime) -> Parsed:
    """Return one indicator's forecast as means of hours: it may come in quarters or less.

    Raises
    ------
    NoDataYet, MalformedResponse
        If it is empty, or not the documented structure.
    """
    rows, points = _points(body, name, retrieved_at, Kind.FORECAST)
    rows.add_hourly_means(name, points)
    return rows.parsed()


def _points(
    body: Reply | bytes, name: str, retrieved_at: datetime, kind: Kind = Kind.OBSERVED
) -> tuple[RowCollector, dict[int, float]]:
    """Return a collector and the values of one indicator by their start."""
    identity, geo = INDICATORS[name]
    indicator = require(parse_json(body), "indicator", dict)
    if indicator.get("id") != identity:
        raise ValueError(f"indicator {indicator.get('id')!r} came for {identity}")
    entries = require(indicator, "values", list)
    require_in_any(entries, "geo_id")
    own = [row for row in entries if isinstance(row, dict) and row.get("geo_id") == geo]
    if not own:
        raise NoDataYet("esios", f"no value of indicator {identity}")
    # of forecasts it would be taken for the time of issue, which it is not
    updated_at = indicator.get("values_updated_at") if kind is Kind.OBSERVED else None
    rows = RowCollector("esios", MARKET_AREA, kind, retrieved_at, updated_at)
    points = rows.points(name, own).items()
    return rows, {start: value for start, value in points if not isnan(value)}


def _collapsed(points: Mapping[int, float]) -> dict[int, float]:
    """Take an hour's four equal quarters before the quarter-hour market for the hour they are."""
    kept = dict(points)
    for start, value in points.items():
        hour = start - start % HOUR_S
        quarters = {points.get(hour + number * QUARTER_S) for number in range(4)}
        if start < epoch(QUARTERS_SINCE) and start != hour and quarters == {value}:
            del kept[start]
    return kept


@malformed("esios")
def parse_archive_70(
    body: Reply | bytes, retrieved_at: datetime, *, day: date | None = None
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
    answer = parse_json(body)
    if isinstance(answer, dict) and str(answer.get("message", "")).startswith(NO_VALUES):
        raise NoDataYet("esios", "no archive of that day")
    records = require(answer, "PVPC", list)
    days = {require(row, "Dia", str) for row in records}
    if len(days) != 1:
        raise ValueError(f"the archive is of {len(days)} days")
    archive_day = datetime.strptime(days.pop(), "%d/%m/%Y").date()  # noqa: DTZ007 - a date alone
    if day not in (None, archive_day) or archive_day < PVPC_2_0TD_SINCE:
        raise ValueError(f"the archive is of {archive_day}, not of {day}")
    labels = list(map(_label, archive_hours(archive_day)))
    hours = [labels.index(require(row, "Hora", str)) for row in records]
    require_ascending(hours)
    first = epoch(day_start(archive_day))
    starts = [first + HOUR_S * number for number in hours]
    values = [comma_number(require(row, "PCB", str)) for row in records]
    rows = RowCollector("esios", MARKET_AREA, Esios.kind, retrieved_at)
    rows.add_prices("pvpc_eur_mwh", dict(zip(starts, values, strict=True)))
    return rows.parsed()


def archive_hours(day: date) -> list[int]:
    """Return the hours by which archives label a day: 24 on the long one, no 2 on the short one."""
    hours = slots_in_day(day, HOUR_S)
    skipped = 2 if hours == 23 else None
    return [hour for hour in range(max(hours, 24)) if hour != skipped]


def _label(hour: int) -> str:
    return f"{hour:02d}-{hour + 1:02d}"
