"""OMIE, the Iberian market operator: one file of day-ahead prices per market day, keyless.

``marginalpdbc_YYYYMMDD.N``: year; month; day; period; price Portugal; price Spain, in
EUR/MWh with a decimal point. Period *n* is the *n*-th interval since local midnight: 24
a day (23 and 25 at the clock changes) until 2025-09-30, 96 (92, 100) since. A
republished file has the suffix ``.2``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise

from factory_lib.clock import HOUR_S, QUARTER_S, day_start, epoch, market_day, slots_in_day
from factory_lib.errors import BadRange, MalformedResponse, NoDataYet, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.sources.base import MARKET_AREA, PriceSource
from factory_lib.sources.parsing import Door, Parsed, add_prices, price_step_s

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

    def ask(self, series: Sequence[str], place: str, start: datetime, end: datetime) -> Parsed:
        """Ask for the day's file; where it was withdrawn, for its second edition."""
        day = market_day(start)
        try:
            reply = self._file(day, SUFFIXES[0])
        except NoDataYet:
            if start >= self.reach(SERIES)[1]:
                raise  # not published yet, so not republished either
            reply = self._file(day, SUFFIXES[1])
        return parse_marginalpdbc(reply, self.clock.now(), day=day, source=self.name)

    def _file(self, day: date, suffix: str) -> Reply:
        name = f"marginalpdbc_{day:%Y%m%d}.{suffix}"
        return self.http.get(
            DOWNLOAD, {"parents": "marginalpdbc", "filename": name}, check=self._meaning
        )

    def _meaning(self, reply: Reply) -> SourceError | None:
        """Return what the general rules do not know: a missing file may be a 400 too, and files have an end."""
        if reply.status in (400, 404):
            return NoDataYet(self.name, "no file of that day", status=reply.status)
        if reply.content.startswith(HEADER.encode()) and not reply.content.rstrip().endswith(
            END.encode()
        ):
            return ServerError(self.name, "the file is cut off", status=reply.status)
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
        The day the file was asked for or named after; without it the file's own rows
        say so.

    Raises
    ------
    MalformedResponse
        If it is not the file of one day from header to end mark, periods in order.
    """
    text = (
        body
        if isinstance(body, str)
        else (body.content if isinstance(body, Reply) else body).decode("latin-1")
    )
    lines = [line.strip() for line in text.replace("\x00", "\ufffd").splitlines() if line.strip()]
    if len(lines) < 2 or lines[0] != HEADER or lines[-1] != END:
        raise MalformedResponse(
            source, f"no marginalpdbc file: it begins {lines[0] if lines else ''!r}"
        )
    matches = [_ROW.fullmatch(line) for line in lines[1:-1]]
    rows = [match.groups() for match in matches if match]
    if len(rows) != len(lines) - 2:
        raise MalformedResponse(source, f"{len(lines) - 2 - len(rows)} of its rows cannot be read")
    file_day = _day_of(rows, day, source)
    step = price_step_s(SERIES, day_start(file_day))
    periods = [int(row[3]) for row in rows]
    slots = slots_in_day(file_day, step)
    in_order = all(before < after for before, after in pairwise([0, *periods, slots + 1]))
    if not in_order or (
        step == QUARTER_S and len(periods) == periods[-1] == slots_in_day(file_day, HOUR_S)
    ):
        raise MalformedResponse(
            source, f"periods {periods[0]} to {periods[-1]} on {file_day}, which has {slots}"
        )
    first = epoch(day_start(file_day))
    door = Door(source, MARKET_AREA, Omie.kind, retrieved_at)
    add_prices(
        door, SERIES, [first + step * (n - 1) for n in periods], [float(row[5]) for row in rows]
    )
    return door.parsed()


def _day_of(rows: Sequence[tuple[str, ...]], day: date | None, source: str) -> date:
    days = {row[:3] for row in rows}
    try:
        (only,) = days
        found = date(*map(int, only))
    except ValueError:
        raise MalformedResponse(source, f"its rows name {len(days)} days, or no day") from None
    if day is not None and found != day:
        raise BadRange(source, f"the file is of {found}, not of {day}")
    return found
