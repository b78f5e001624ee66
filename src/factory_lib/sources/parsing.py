"""The means that all parsers share.

A parser ends in rows, in rejected rows with a reason, or in ``MalformedResponse``; it
guesses nothing. One value that cannot be right loses that value; a structure that cannot
be right loses the answer.
"""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby, pairwise, repeat
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import QUARTERS_SINCE, Catalogue
from factory_lib.clock import (
    DAY_S,
    FIRST_YEAR,
    HOUR_S,
    LAST_YEAR,
    MADRID,
    QUARTER_S,
    epoch,
    from_epoch,
    market_day,
    slots_in_day,
)
from factory_lib.errors import MalformedResponse
from factory_lib.http import Reply
from factory_lib.slots import to_index

MARKET_AREA = "ES"
V = TypeVar("V")
LAST_SUMMED_OCTOBER = 2022  # up to that year REE gives the repeated hour once, as the sum of both
TIER = "provider"  # of a forecast
ARCHIVE_TIER = "archive"  # of one fetched later, whose time of issue is an assumption


@contextmanager
def malformed(source: str) -> Iterator[None]:
    """Make ``MalformedResponse`` of the ``ValueError`` of what cannot be read; a decorator, too.

    ``OverflowError`` and ``OSError`` are what a number gives that is no instant.
    """
    try:
        yield
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedResponse(source, str(error)) from None


class Rejected(NamedTuple):
    """A value or row that is not stored, and why."""

    text: str
    reason: str


@dataclass(frozen=True)
class Parsed:
    """The content of one answer.

    Attributes
    ----------
    rows : DataFrame
        Tidy rows (``frames.TIDY_COLUMNS``), of a forecast as well.
    rejected : tuple of Rejected
    issued_at : datetime, optional
        When a forecast was made, as far as the answer says.
    """

    rows: pd.DataFrame
    rejected: tuple[Rejected, ...] = ()
    issued_at: datetime | None = None

    def __add__(self, other: Self) -> "Parsed":
        return Parsed(frames.concat([self.rows, other.rows]), self.rejected + other.rejected)


def number(raw: Any) -> float:
    """Return a JSON number, which a boolean or text is not; None is NaN."""
    if raw is None:
        return math.nan
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"{raw!r} is no number")
    return float(raw)


class RowCollector:
    """Collects the values of one answer.

    Parameters
    ----------
    source, place, kind : str
        Provenance of all rows.
    retrieved_at : datetime
        UTC.
    updated_at : optional
        Text of the instant at which the provider says it last changed the values; what
        is no text, and a later instant than ``retrieved_at``, is ignored.
    """

    def __init__(
        self,
        source: str,
        place: str,
        kind: str,
        retrieved_at: datetime,
        updated_at: object = None,
    ) -> None:
        updated = offset_instant(updated_at) if isinstance(updated_at, str) else None
        self._provenance: dict[str, Any] = {
            "source": source,
            "place": place,
            "kind": kind,
            "retrieved_at": retrieved_at,
            "provider_updated_at": updated if updated and updated <= retrieved_at else None,
        }
        self._rows: list[tuple[str, int, float, int]] = []
        self._rejected: list[Rejected] = []

    def reject(self, text: str, reason: str) -> None:
        """Note a value or row that is not stored."""
        self._rejected.append(Rejected(text, reason))

    def read(self, label: str, raw: V, reader: Callable[[V], float] = number) -> float:
        """Return a raw value as a number; one that cannot be read is rejected and NaN."""
        try:
            return reader(raw)
        except (ValueError, OverflowError) as error:
            self.reject(label, str(error))
            return math.nan

    def points(self, name: str, entries: Sequence[Any]) -> dict[int, float]:
        """Return the ``value`` of each entry by its ``datetime``, an instant of Madrid."""
        times = [require(entry, "datetime", str) for entry in entries]
        starts = list(map(madrid_epoch, times))
        require_ascending(starts)
        require_in_any(entries, "value")
        pairs = zip(times, entries, strict=True)
        values = [self.read(f"{name} {at}", entry.get("value")) for at, entry in pairs]
        return dict(zip(starts, values, strict=True))

    def add(
        self, name: str, starts: Iterable[int], values: Iterable[float], resolution_s: int
    ) -> None:
        """Add the values of a series; absent ones (NaN) are no rows."""
        self._rows += zip(repeat(name), starts, values, repeat(resolution_s))

    def add_days(
        self, name: str, raw: Mapping[date, V], reader: Callable[[V], float] = number
    ) -> None:
        """Add one value per UTC day."""
        starts = [epoch(datetime(day.year, day.month, day.day, tzinfo=UTC)) for day in raw]
        values = [self.read(f"{name} {day}", text, reader) for day, text in raw.items()]
        self.add(name, starts, values, DAY_S)

    def add_hourly_means(self, name: str, points: Mapping[int, float]) -> None:
        """Add the means of whole hours of a series in hours, in parts of them, or first in hours.

        Keys are ascending starts in seconds; NaN is absent, and so is its hour.
        """
        step_s, in_parts_since = _parts_of_hours(list(points))
        for hour, entries in groupby(points.items(), lambda point: point[0] // HOUR_S * HOUR_S):
            values = [value for _, value in entries]
            whole = len(values) * step_s == HOUR_S or hour < in_parts_since
            self.add(name, [hour], [sum(values) / len(values) if whole else math.nan], HOUR_S)

    def add_prices(self, name: str, prices: Mapping[int, float]) -> None:
        """Add whole market days of prices, as published, and reject the days that cannot be.

        Keys are ascending starts in seconds. Rejected: a slot off the market's grid; a
        day of nothing but zeros, which is how an unpublished day looks; the repeated
        October hour given once, which is a sum. A day of hours where quarters are due is
        kept as hours.
        """
        for day, points in groupby(prices.items(), lambda point: market_day(from_epoch(point[0]))):
            kept = dict(points)
            step_s = _step_s(name, kept)
            if reason := _impossible_day(day, kept, step_s):
                self.reject(f"{name} {day}", reason)
                continue
            for start in _summed_hours(day, kept):
                self.reject(
                    f"{name} {from_epoch(start):%Y-%m-%dT%H:%MZ}",
                    "the repeated hour, given once as a sum",
                )
                del kept[start]
            self.add(name, kept, kept.values(), step_s)

    def parsed(self, issued_at: datetime | None = None) -> Parsed:
        """Return everything collected."""
        rejected = tuple(self._rejected)
        if not self._rows:
            return Parsed(frames.empty_tidy(), rejected, issued_at)
        names, starts, values, steps = map(list, zip(*self._rows, strict=True))
        index = to_index(np.array(starts))
        rows = frames.tidy(names, index, values, resolution_s=steps, **self._provenance)
        return Parsed(rows, rejected, issued_at)


def _parts_of_hours(starts: Sequence[int]) -> tuple[int, int]:
    """Return the shortest step (s) of ascending starts, and the hour in which it is first met."""
    steps = [(after - start, start) for start, after in pairwise(starts)]
    step_s = min(steps, default=(HOUR_S, 0))[0]
    if step_s > HOUR_S or HOUR_S % step_s or any(start % step_s for start in starts):
        raise ValueError(f"its values do not come in even parts of an hour ({step_s} s)")
    first = next((start for step, start in steps if step == step_s), 0)
    return step_s, first // HOUR_S * HOUR_S


def price_step_s(name: str, start: datetime) -> int:
    """Return the slot length (s) in which a price is published.

    The day-ahead market changed to quarters of an hour.
    """
    return QUARTER_S if name == "spot_eur_mwh" and start >= QUARTERS_SINCE else HOUR_S


def _step_s(name: str, prices: Mapping[int, float]) -> int:
    """Return the slot length (s) of a day of prices, which may come in hours after the change."""
    hours = len(prices) > 1 and not any(start % HOUR_S for start in prices)
    return HOUR_S if hours else price_step_s(name, from_epoch(min(prices)))


def _impossible_day(day: date, prices: Mapping[int, float], step_s: int) -> str:
    """Return why a day of prices cannot be, or an empty string."""
    if any(start % step_s for start in prices):
        return f"values off the grid of {step_s} s"
    if len(prices) == slots_in_day(day, step_s) and not any(prices.values()):
        return "all zero: not published yet"
    return ""


def _summed_hours(day: date, prices: Mapping[int, float]) -> set[int]:
    """Return the repeated hour of October, in the years in which it came once."""
    if day.year > LAST_SUMMED_OCTOBER or slots_in_day(day, HOUR_S) != 25:
        return set()
    first = epoch(datetime(day.year, day.month, day.day, 2, tzinfo=MADRID))
    present = {first, first + HOUR_S} & set(prices)
    return present if len(present) == 1 else set()


def reject_outside(parsed: Parsed, catalogue: Catalogue) -> Parsed:
    """Move the values outside of the catalogue's range from the rows to the rejected ones."""
    rows = parsed.rows
    code, names = pd.factorize(rows["series"])
    ranges = {name: (catalogue[name].low, catalogue[name].high) for name in names}
    low, high = np.array(list(ranges.values())).reshape(-1, 2)[code].T
    outside = (rows["value"] < low) | (rows["value"] > high)
    if not outside.any():
        return parsed
    rejected = tuple(
        Rejected(
            f"{row.series} {row.start:%Y-%m-%dT%H:%MZ} {row.value:g}",
            "outside {:g} to {:g}".format(*ranges[row.series]),
        )
        for row in rows[outside].itertuples()
    )
    return Parsed(
        rows[~outside].reset_index(drop=True), parsed.rejected + rejected, parsed.issued_at
    )


def forecast_rows(rows: pd.DataFrame, *, model: str, issued_at: datetime) -> pd.DataFrame:
    """Return tidy rows as forecast rows (``frames.FORECAST_COLUMNS``).

    Slots that have begun are left out. A provider gives one value and no spread: it is
    the median, and p10 and p90 are unknown (NaN).
    """
    rows = rows[rows["start"] >= pd.Timestamp(issued_at)]
    rows = rows.rename(columns={"start": "target_start", "value": "p50"}).assign(
        model=model, issued_at=pd.Timestamp(issued_at), tier=TIER, p10=np.nan, p90=np.nan
    )
    return rows[list(frames.FORECAST_COLUMNS)].astype({"issued_at": frames.UTC_S})


def parse_json(body: Reply | bytes | str) -> Any:
    """Return a JSON body; NaN and Infinity are no JSON."""
    try:
        text = body.text if isinstance(body, Reply) else body
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def require(container: Any, key: str, kind: type[V]) -> V:
    """Return ``container[key]``, which must be there and a ``kind``."""
    value = container.get(key) if isinstance(container, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key!r} is missing or no {kind.__name__}")
    return value


def require_in_any(entries: Sequence[Any], key: str) -> None:
    """Require that some entry has ``key``, where there are any.

    Without it nothing would be read, as if the provider had nothing.
    """
    if entries and not any(isinstance(entry, dict) and key in entry for entry in entries):
        raise ValueError(f"no entry has {key!r}")


def instant(text: str) -> datetime:
    """Return an ISO instant, with its offset where it has one."""
    written = datetime.fromisoformat(text)
    if not FIRST_YEAR <= written.year <= LAST_YEAR:
        raise ValueError(f"{text!r} is no instant")
    return written


def offset_instant(text: str) -> datetime:
    """Return an ISO instant that carries its offset."""
    written = instant(text)
    if written.tzinfo is None:
        raise ValueError(f"{text!r} is no instant with an offset")
    return written


def madrid_epoch(text: str) -> int:
    """Return seconds since 1970 of an ISO instant whose offset is the one Madrid has then.

    With another one either the offset or the hour is wrong, and the answer does not say
    which.
    """
    written = offset_instant(text)
    if written.utcoffset() != written.astimezone(MADRID).utcoffset():
        raise ValueError(f"{text!r} is no instant of Madrid")
    return epoch(written)


def require_ascending(starts: Sequence[int]) -> None:
    """Require that each start lies after the one before it."""
    if any(before >= after for before, after in pairwise(starts)):
        raise ValueError("the values are not in order of time, or two have the same time")


def longest_ascending(starts: Sequence[int]) -> list[bool]:
    """Return which starts belong to the longest run that never falls; the others are stray."""
    ends: list[int] = []  # the position of the last element of the best run of each length
    before: list[int] = []
    for position, start in enumerate(starts):
        length = bisect_right(ends, start, key=starts.__getitem__)
        before.append(ends[length - 1] if length else -1)
        ends[length : length + 1] = [position]
    in_order = [False] * len(starts)
    at = ends[-1] if ends else -1
    while at >= 0:
        in_order[at] = True
        at = before[at]
    return in_order


def require_near(point: Any, axes: tuple[str, str], place: str, within_deg: float) -> None:
    """Require that ``point`` lies near ``place`` (``latitude,longitude``)."""
    for axis, expected in zip(axes, map(float, place.split(",")), strict=True):
        given = point.get(axis) if isinstance(point, dict) else None
        if not isinstance(given, int | float) or not abs(given - expected) <= within_deg:
            raise ValueError(f"the answer is for {axis} {given}, not {expected}")


_NUMERIC = re.compile(r"[0-9.,+-]+")


def with_decimal_points(texts: Sequence[str]) -> list[str]:
    """Return the numbers of one column with decimal points; other texts are left as they are.

    Commas alone are decimal signs, and so are points. A number that has both, or one of
    them twice, shows which of them groups thousands; all others must fit it, and beside
    decimals no bare ``1.234`` does, which might be less than two.

    Raises
    ------
    ValueError
        If the signs contradict each other, or nothing tells which is which.
    """
    numbers = list(filter(_NUMERIC.fullmatch, texts))
    signs = {re.sub(r"[^.,]", "", text) for text in numbers}
    if signs <= {"", "."}:
        return list(texts)
    group, decimal = _grouping(signs)
    if not group or not all(_fits(text, group, decimal, signs) for text in numbers):
        shown = f"{min(numbers, key=_has_comma)}, {max(numbers, key=_has_comma)}"
        raise ValueError(f"mixes decimal points and decimal commas ({shown})")
    changed = str.maketrans({group: None, decimal: "."})
    return [text.translate(changed) if _NUMERIC.fullmatch(text) else text for text in texts]


def _has_comma(text: str) -> bool:
    return "," in text


def _grouping(signs: Collection[str]) -> tuple[str, str]:
    """Return the sign of thousands and that of decimals, empty where numbers tell none or both."""
    if "." not in "".join(signs) and max(map(len, signs)) < 2:
        return ".", ","
    first = {sign[0] for sign in signs if len(sign) > 1}
    return {frozenset("."): (".", ","), frozenset(","): (",", ".")}.get(frozenset(first), ("", ""))


def _fits(text: str, group: str, decimal: str, signs: Collection[str]) -> bool:
    """Return whether a number is written with these signs, and cannot be without grouping."""
    whole = rf"(\d+|[1-9]\d{{0,2}}(\{group}\d{{3}})+)"
    bare_group = decimal in "".join(signs) and re.fullmatch(rf"[+-]?\d+\{group}\d+", text)
    return bool(re.fullmatch(rf"[+-]?{whole}?(\{decimal}\d*)?", text)) and not bare_group


def comma_number(text: str) -> float:
    """Return a number with a decimal comma; empty is NaN. No service writes thousands."""
    bare = text.strip()
    if not bare:
        return math.nan
    if not set(bare) <= set("0123456789,-+") or bare.count(",") > 1:
        raise ValueError(f"{text!r} is no number with a decimal comma")
    return float(bare.replace(",", "."))
