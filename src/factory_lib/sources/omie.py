"""OMIE, the Iberian market operator: one file of day-ahead prices per market day, keyless.

``marginalpdbc_YYYYMMDD.N``: year; month; day; period; price Portugal; price Spain, in
EUR/MWh with a decimal point. Period *n* is the *n*-th interval since local midnight: 24
a day (23 and 25 at the clock changes) until 2025-09-30, 96 (92, 100) since. A day
stands under any suffix from ``.1`` to ``.5``; of several the highest is a correction.
A missing file is a 404, an empty answer or a page of the site, both with 200.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime

from factory_lib.clock import HOUR_S, QUARTER_S, day_start, epoch, market_day, slots_in_day
from factory_lib.errors import BadRange, NoDataYet, ServerError, SourceError
from factory_lib.http import Reply
from factory_lib.sources.base import PriceSource
from factory_lib.sources.parsing import (
    MARKET_AREA,
    Parsed,
    RowCollector,
    malformed,
    price_step_s,
    require_ascending,
)

SERIES = "spot_eur_mwh"
HEADER = "MARGINALPDBC;"
END = "*"
LAST_EDITION = 5
AREA_COLUMNS = {MARKET_AREA: 5, "PT": 4}  # of each market area
SITE_PAGE = re.compile(r"omie|no encontrad|not found", re.IGNORECASE)  # and not a firewall's
_ROW = re.compile(
    r"(\d{4});(\d{1,2});(\d{1,2});(\d{1,3});(-?\d{1,9}(?:\.\d*)?);(-?\d{1,9}(?:\.\d*)?);"
)


class Omie(PriceSource):
    """Spot price of Spain and of Portugal, a file for each day."""

    place_pattern = "|".join(AREA_COLUMNS)
    since = day_start(date(2023, 1, 1))  # older days are in yearly archives alone

    def fetch_window(
        self, series: Sequence[str], place: str, start: datetime, end: datetime
    ) -> Parsed:
        """Fetch the day's file, the last of its editions."""
        day = market_day(start)
        latest: Reply | None = None
        missing: NoDataYet | None = None
        for edition in range(1, LAST_EDITION + 1):
            try:
                latest = self._file(day, edition)
            except NoDataYet as error:
                missing = missing or error
                # A day not published is not republished either.
                if latest or start >= self.available_window(SERIES)[1]:
                    break
        if latest is None:
            raise missing or NoDataYet(self.name, "no file of that day")
        return parse_marginalpdbc(latest, self.clock.now(), day=day, area=place)

    def _file(self, day: date, suffix: int) -> Reply:
        query = {"parents": "marginalpdbc", "filename": f"marginalpdbc_{day:%Y%m%d}.{suffix}"}
        return self.http.get("/es/file-download", query, check=classify_response)


def classify_response(reply: Reply) -> SourceError | None:
    """Return the error a reply stands for: a missing file has many forms, and files have an end."""
    page = reply.status == 200 and reply.is_html and SITE_PAGE.search(reply.text)
    empty = reply.status == 200 and not reply.content.strip()
    if reply.status in (400, 404) or page or empty:
        return NoDataYet("omie", "no file of that day", status=reply.status)
    whole = reply.content.rstrip().endswith(END.encode())
    if reply.content.startswith(HEADER.encode()) and not whole:
        return ServerError("omie", "the file is cut off", status=reply.status)
    return None


@malformed("omie")
def parse_marginalpdbc(
    body: Reply | bytes | str,
    retrieved_at: datetime,
    *,
    day: date | None = None,
    area: str = MARKET_AREA,
) -> Parsed:
    """Return the prices of one daily file in a market area of ``AREA_COLUMNS``.

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
    cells = _cells(body)
    days = {row[:3] for row in cells}
    if len(days) != 1:
        raise ValueError(f"its rows name {len(days)} days")
    file_day = date(*map(int, days.pop()))
    if day is not None and file_day != day:
        raise BadRange("omie", f"the file is of {file_day}, not of {day}")
    step_s = price_step_s(SERIES, day_start(file_day))
    periods = [int(row[3]) for row in cells]
    _check_periods(periods, file_day, step_s)
    first = epoch(day_start(file_day))
    prices = {first + step_s * (int(row[3]) - 1): float(row[AREA_COLUMNS[area]]) for row in cells}
    rows = RowCollector("omie", area, Omie.kind, retrieved_at)
    rows.add_prices(SERIES, prices)
    return rows.parsed()


def _cells(body: Reply | bytes | str) -> list[tuple[str, ...]]:
    """Return the cells of each row between header and end mark."""
    content = body.content if isinstance(body, Reply) else body
    text = content if isinstance(content, str) else content.decode("latin-1")
    header, *lines = [*filter(None, map(str.strip, text.splitlines())), ""]
    if header != HEADER or lines[-2:] != [END, ""]:
        raise ValueError(f"no marginalpdbc file: it begins {header!r}")
    matches = list(map(_ROW.fullmatch, lines[:-2]))
    cells = [match.groups() for match in matches if match]
    if len(cells) != len(matches):
        raise ValueError(f"{len(matches) - len(cells)} of its rows cannot be read")
    return cells


def _check_periods(periods: Sequence[int], day: date, step_s: int) -> None:
    """Refuse periods that are not in order, not of that day, or hours where quarters are due."""
    slots = slots_in_day(day, step_s)
    hours = step_s == QUARTER_S and len(periods) == periods[-1] == slots_in_day(day, HOUR_S)
    if hours or not 1 <= periods[0] <= periods[-1] <= slots:
        raise ValueError(f"periods {periods[0]} to {periods[-1]} on {day}, which has {slots}")
    require_ascending(periods)
