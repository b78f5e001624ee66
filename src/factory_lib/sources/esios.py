"""ESIOS, the system operator's information system: indicators with a token, the PVPC archive without.

Indicators are keyed by ``datetime`` with its offset: on the 25-hour day the server
repeats ``datetime_utc``. Archive 70 gives one market day per call, as text with decimal
commas; its rows are counted from local midnight, since on clock change days its labels
are not wall hours. https://api.esios.ree.es
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta

import pandas as pd

from factory_lib.catalogue import QUARTERS_SINCE
from factory_lib.clock import HOUR_S, QUARTER_S, day_start, epoch, market_day, slots_in_day
from factory_lib.errors import MalformedResponse, NoDataYet, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.settings.secrets import Secret
from factory_lib.sources.base import MARKET_AREA, PriceSource, Window, local_days
from factory_lib.sources.forecasts import forecast_rows
from factory_lib.sources.parsing import (
    Door,
    Parsed,
    add_prices,
    at,
    comma_number,
    instant,
    json_of,
    madrid_epoch,
    number,
    require_ascending,
)

INDICATORS = {
    "pvpc_eur_mwh": (1001, 8741),
    "spot_eur_mwh": (600, 3),
}  # indicator, geography: peninsula, Spain
# The operator's day-ahead forecasts of the peninsula ("previsión diaria D+1": demanda,
# eólica, fotovoltaica).
FORECASTS = {"load_mw": (1775, 8741), "wind_mw": (1777, 8741), "solar_mw": (1779, 8741)}
OPERATOR = "ree"  # whose forecasts they are, whatever door they come through
ARCHIVE = "/archives/70/download_json"
NO_VALUES = "No values for specified archive"
PVPC_2_0TD_SINCE = date(2021, 6, 1)
ACCEPT = "application/json; application/vnd.esios-api-v1+json"


class Esios(PriceSource):
    """Spot, PVPC and the operator's forecasts by token; PVPC also without."""

    since = day_start(date(2014, 4, 1))

    def windows(self, start: datetime, end: datetime, series: Sequence[str] = ()) -> list[Window]:
        """Split at the range limit: of the indicators with a token, else of the archive (one market day)."""
        return local_days(start, end, self.limits.max_range_days if self._token else 1)

    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask the archive, or with a token each indicator in turn."""
        if not self._token:
            return self._archive(market_day(start))
        parts, reasons = [], []
        for name in series:
            try:
                parts.append(self._indicator(name, start, end))
            except NoDataYet as nothing:
                reasons.append(nothing)
        if not parts:
            raise reasons[0]
        return sum(parts[1:], start=parts[0])

    @property
    def _token(self) -> Secret:
        return self.settings.secrets.esios_token

    def _archive(self, day: date) -> Parsed:
        reply = self.http.get(
            ARCHIVE,
            {"locale": "es", "date": day.isoformat()},
            {"Accept": "application/json"},
            check=meaning,
        )
        return parse_archive_70(reply, self.clock.now(), day=day, source=self.name)

    def forecast(self, series: Sequence[str], place: str | None = None) -> pd.DataFrame:
        """Return the operator's forecasts of the hours to come, today's and tomorrow's, as forecast rows.

        They are taken as issued when they were asked for. One that is not there yet is
        left out.
        """
        issued_at, columns = self.clock.now(), {}
        day = market_day(issued_at)
        for name in series:
            reply = self._values(*FORECASTS[name], day, day + timedelta(days=1))
            with suppress(NoDataYet):
                columns[name] = hourly_means(
                    indicator_points(reply, *FORECASTS[name], source=self.name)[0]
                )
        if not columns:
            raise NoDataYet(self.name, f"no forecast of {', '.join(series)}")
        return forecast_rows(
            self.catalogue,
            columns,
            place=place or MARKET_AREA,
            model=OPERATOR,
            issued_at=issued_at,
        )

    def _indicator(self, name: str, start: datetime, end: datetime) -> Parsed:
        reply = self._values(
            *INDICATORS[name], market_day(start), market_day(end - timedelta(seconds=1))
        )
        return parse_indicator(reply, name, self.clock.now(), source=self.name)

    def _values(self, identity: int, geo: int, first: date, last: date) -> Reply:
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
            check=meaning,
        )


def meaning(reply: Reply) -> SourceError | None:
    """Return the error a reply stands for; 403 is a passing mood of the firewall, only 401 is about the token."""
    if reply.status == 403:
        return ServerError("esios", "its firewall refused the request", status=403)
    if reply.content.startswith(b"PK\x03\x04"):
        return ServerError("esios", "a ZIP archive came instead of data", status=reply.status)
    return None


def parse_indicator(
    body: Reply | bytes, name: str, retrieved_at: datetime, *, source: str = "esios"
) -> Parsed:
    """Return one indicator's values for its own geography, in the catalogue's resolution.

    Days before the quarter-hour market come re-expanded, each hour as four equal
    quarters: they are one value.

    Raises
    ------
    NoDataYet, MalformedResponse
        If it is empty, or not the documented structure.
    """
    points, refused, updated_at = indicator_points(body, *INDICATORS[name], source=source)
    door = Door(source, MARKET_AREA, Esios.kind, retrieved_at, updated_at)
    for text, error in refused:
        door.reject(text, error)
    starts, values = (
        _collapsed(points)
        if name == "spot_eur_mwh"
        else ([s for s, _ in points], [v for _, v in points])
    )
    add_prices(door, name, starts, values)
    return door.parsed()


def indicator_points(
    body: Reply | bytes, identity: int, geo: int, *, source: str = "esios"
) -> tuple[list[tuple[int, float]], list[tuple[str, str]], datetime | None]:
    """Return an indicator's (start, value) points, the rows that are none with why, and when it was last updated.

    Raises
    ------
    NoDataYet, MalformedResponse
        If it is empty, or not the documented structure.
    """
    indicator = at(source, json_of(source, body), "indicator", dict)
    if indicator.get("id") != identity:
        raise MalformedResponse(source, f"indicator {indicator.get('id')!r} came for {identity}")
    rows = [
        row
        for row in at(source, indicator, "values", list)
        if isinstance(row, dict) and row.get("geo_id") == geo
    ]
    if not rows:
        raise NoDataYet(source, f"no value of indicator {identity}")
    updated = indicator.get("values_updated_at")
    points, refused = [], []
    for row in rows:
        try:
            points.append(
                (madrid_epoch(source, at(source, row, "datetime", str)), number(row.get("value")))
            )
        except ValueError as error:
            refused.append((str(row), str(error)))
    require_ascending(source, [start for start, _ in points])
    return points, refused, instant(source, updated) if isinstance(updated, str) else None


def hourly_means(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Return the mean of what there is of each hour: forecasts come in hours, quarters or five minutes."""
    hours: dict[int, list[float]] = {}
    for start, value in points:
        hours.setdefault(start - start % HOUR_S, []).append(value)
    return list(hours), [sum(values) / len(values) for values in hours.values()]


def _collapsed(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Take an hour's four equal quarters before the quarter-hour market for the hour they are."""
    known, last = dict(points), epoch(QUARTERS_SINCE)
    starts, values = [], []
    for start, value in points:
        hour = start - start % HOUR_S
        quarters = {known.get(hour + n * QUARTER_S) for n in range(4)}
        if start < last and start != hour and quarters == {value}:
            continue
        starts.append(start)
        values.append(value)
    return starts, values


def parse_archive_70(
    body: Reply | bytes, retrieved_at: datetime, *, day: date | None = None, source: str = "esios"
) -> Parsed:
    """Return the peninsula's PVPC of one day of archive 70.

    Parameters
    ----------
    day : date, optional
        The day that was asked for; without it the rows say so.

    Raises
    ------
    NoDataYet
        If the day is not published: a message in place of values, or nothing but zeros.
    MalformedResponse
        If it is not of one market day, in order.
    """
    answer = json_of(source, body)
    if isinstance(answer, dict) and str(answer.get("message", "")).startswith(NO_VALUES):
        raise NoDataYet(source, "no archive of that day")
    rows = at(source, answer, "PVPC", list)
    named = {at(source, row, "Dia", str) for row in rows}
    try:
        (only,) = named
        found = datetime.strptime(only, "%d/%m/%Y").date()  # noqa: DTZ007 - a date alone
        values = [comma_number(at(source, row, "PCB", str)) for row in rows]
    except ValueError as error:
        raise MalformedResponse(source, f"archive 70 of {sorted(named)}: {error}") from None
    if (day is not None and found != day) or found < PVPC_2_0TD_SINCE:
        raise MalformedResponse(source, f"the archive is of {found}, not of {day}")
    position = {label: n for n, label in enumerate(_labels(found))}
    hours = [position.get(at(source, row, "Hora", str), -1) for row in rows]
    if -1 in hours:
        raise MalformedResponse(source, f"its hours are not those of {found}")
    require_ascending(source, hours)
    first = epoch(day_start(found))
    door = Door(source, MARKET_AREA, Esios.kind, retrieved_at)
    add_prices(door, "pvpc_eur_mwh", [first + HOUR_S * n for n in hours], values)
    return door.parsed()


def _labels(day: date) -> list[str]:
    """Return the labels archive 70 gives: ``24-25`` on the long day, no ``02-03`` on the short one."""
    hours = slots_in_day(day, HOUR_S)
    skipped = 2 if hours == 23 else None
    return [f"{n:02d}-{n + 1:02d}" for n in range(25 if hours == 25 else 24) if n != skipped]
