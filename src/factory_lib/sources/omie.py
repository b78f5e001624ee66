"""OMIE, the Iberian market operator: one file of day-ahead prices per market day, keyless.

``marginalpdbc_YYYYMMDD.N``: year; month; day; period; price Portugal; price Spain, in
EUR/MWh with a decimal point. Period *n* is the *n*-th interval since local midnight: 24
a day (23 and 25 at the clock changes) until 2025-09-30, 96 (92, 100) since. A
republished file has the suffix ``.2``.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise

from factory_lib.clock import HOUR_S, QUARTER_S, day_start, epoch, market_day, slots_in_day
from factory_lib.errors import BadRange, MalformedResponse, NoDataYet, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.sources.base import MARKET_AREA, PriceSource
from factory_lib.sources.parsing import Parsed, RowCollector, price_step_s

DOWNLOAD = "/es/file-download"
SERIES = "spot_eur_mwh"
HEADER = "MARGINALPDBC;"
END = "*"
SUFFIXES = ("1", "2")
_ROW = re.compile(
    r"(\d{4});(\d{1,2});(\d{1,2});(\d{1,3});(-?\d{1,9}(?:\.\d*)?);(-?\d{1,9}(?:\.\d*)?);"
)


class Omie(PriceSource):
    """Spot price of Spain, one request a day."""

    since = day_start(date(1998, 1, 1))

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the day's file; where it was withdrawn, its second edition."""
        day = market_day(start)
        try:
            reply = self._file(day, SUFFIXES[0])
        except NoDataYet:
            if start >= self.available_window(SERIES)[1]:
                raise  # not published yet, so not republished either
            reply = self._file(day, SUFFIXES[1])
        return parse_marginalpdbc(reply, self.clock.now(), day=day, source=self.name)

    def _file(self, day: date, suffix: str) -> Reply:
        query = {"parents": "marginalpdbc", "filename": f"marginalpdbc_{day:%Y%m%d}.{suffix}"}
        return self.http.get(DOWNLOAD, query, check=lambda reply: classify_response(reply))


def classify_response(reply: Reply, source: str = "omie") -> SourceError | None:
    """Return the error a reply stands for: a missing file may be a 400, and files have an end."""
    if reply.status in (400, 404):
        return NoDataYet(source, "no file of that day", status=reply.status)
    whole = reply.content.rstrip().endswith(END.encode())
    if reply.content.startswith(HEADER.encode()) and not whole:
        return ServerError(source, "the file is cut off", status=reply.status)
    return None


def parse_marginalpdbc(
    body: Reply | bytes | str,
    retrieved_at: datetime,
    *,
    day: date | None = None,
    source: str = "omie",
) -> Parsed:
    """Return the Spanish prices of one daily file.

    Parameters
    ----------
    day : date, optional
        The day the file was requested for or named after; without it the file's own
        rows say so.

    Raises
    ------
    MalformedResponse
        If it is not the file of one day from header to end mark, periods in order.
    BadRange
        If it is of another day.
    """
    cells = _cells(body, source)
    file_day = _day_of(cells, source)
    if day is not None and file_day != day:
        raise BadRange(source, f"the file is of {file_day}, not of {day}")
    step_s = price_step_s(SERIES, day_start(file_day))
    periods = [int(row[3]) for row in cells]
    _check_periods(periods, file_day, step_s, source)
    first = epoch(day_start(file_day))
    starts = [first + step_s * (number - 1) for number in periods]
    rows = RowCollector(source, MARKET_AREA, Omie.kind, retrieved_at)
    rows.add_prices(SERIES, starts, [float(row[5]) for row in cells])
    return rows.parsed()


def _cells(body: Reply | bytes | str, source: str) -> list[tuple[str, ...]]:
    """Return the cells of each row between header and end mark."""
    content = body.content if isinstance(body, Reply) else body
    text = content if isinstance(content, str) else content.decode("latin-1")
    header, *lines = [*filter(None, map(str.strip, text.splitlines())), ""]
    if header != HEADER or lines[-2:] != [END, ""]:
        raise MalformedResponse(source, f"no marginalpdbc file: it begins {header!r}")
    matches = list(map(_ROW.fullmatch, lines[:-2]))
    cells = [match.groups() for match in matches if match]
    if len(cells) != len(matches):
        raise MalformedResponse(source, f"{len(matches) - len(cells)} of its rows cannot be read")
    return cells


def _day_of(cells: Sequence[tuple[str, ...]], source: str) -> date:
    days = {row[:3] for row in cells}
    try:
        (only,) = days
        return date(*map(int, only))
    except ValueError:
        raise MalformedResponse(source, f"its rows name {len(days)} days, or no day") from None


def _check_periods(periods: Sequence[int], day: date, step_s: int, source: str) -> None:
    """Refuse periods that are not in order, not of that day, or hours where quarters are due."""
    slots = slots_in_day(day, step_s)
    ascending = all(before < after for before, after in pairwise([0, *periods, slots + 1]))
    hours = step_s == QUARTER_S and len(periods) == periods[-1] == slots_in_day(day, HOUR_S)
    if hours or not ascending:
        raise MalformedResponse(
            source, f"periods {periods[0]} to {periods[-1]} on {day}, which has {slots}"
        )
