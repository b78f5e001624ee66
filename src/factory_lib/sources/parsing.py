"""The means that all parsers share: strict JSON, numbers as written, a collector of rows.

A parser ends in rows, in rejected rows with a reason, or in ``MalformedResponse``; it
guesses nothing. One value that cannot be right loses that value; a structure that
cannot be right loses the answer.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import QUARTERS_SINCE, Catalogue
from factory_lib.clock import (
    DAY_S,
    HOUR_S,
    MADRID,
    QUARTER_S,
    epoch,
    from_epoch,
    market_day,
    slots_in_day,
)
from factory_lib.errors import MalformedResponse
from factory_lib.http import Reply
from factory_lib.slots import Slots

V = TypeVar("V")
Starts = Sequence[int] | Slots
Values = Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]
LAST_SUMMED_OCTOBER = 2022  # up to that year REE gives the repeated hour once, as the sum of both
TIER = "provider"  # of a forecast


class Rejected(NamedTuple):
    """A value or row that is not stored, and why."""

    text: str
    reason: str
    line: int | None = None


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
    """Return a JSON number; None is NaN.

    Raises
    ------
    ValueError
        If it is something else, a boolean or text included.
    """
    if raw is None:
        return math.nan
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"{raw!r} is no number")
    try:
        return float(raw)
    except OverflowError:
        raise ValueError("the number is too large") from None


def comma_number(text: str) -> float:
    """Return a number with a decimal comma; empty is NaN. No service writes thousands.

    Raises
    ------
    ValueError
        If it is not one.
    """
    bare = text.strip()
    if not bare:
        return math.nan
    if not set(bare) <= set("0123456789,-+") or bare.count(",") > 1:
        raise ValueError(f"{text!r} is no number with a decimal comma")
    return float(bare.replace(",", "."))


class RowCollector:
    """Collects the values of one answer.

    Parameters
    ----------
    source, place, kind : str
        Provenance of all rows.
    retrieved_at : datetime
        UTC.
    updated_at : datetime, optional
        When the provider says it last changed the values; a later instant than
        ``retrieved_at`` is ignored.
    """

    def __init__(
        self,
        source: str,
        place: str,
        kind: str,
        retrieved_at: datetime,
        updated_at: datetime | None = None,
    ) -> None:
        self.source = source
        self.place = place
        self.kind = kind
        self.retrieved_at = retrieved_at
        self.updated_at = updated_at if updated_at and updated_at <= retrieved_at else None
        self._names: list[str] = []
        self._parts: list[tuple[Slots, Any, Slots]] = []
        self._rejected: list[Rejected] = []

    def reject(self, text: str, reason: str, line: int | None = None) -> None:
        """Note a value or row that is not stored."""
        self._rejected.append(Rejected(text, reason, line))

    def read(self, label: str, raw: V, reader: Callable[[V], float] = number) -> float:
        """Return a raw value as a number; one that cannot be read is rejected and NaN."""
        try:
            return reader(raw)
        except ValueError as error:
            self.reject(label, str(error))
            return math.nan

    def add(self, name: str, starts: Starts, values: Values, resolution_s: int) -> None:
        """Add the values of a series; absent ones (NaN) are no rows."""
        index = np.asarray(starts, dtype=np.int64)
        self._names += [name] * len(index)
        self._parts.append((index, np.asarray(values), np.full(len(index), resolution_s)))

    def add_days(
        self, name: str, raw: Mapping[date, V], reader: Callable[[V], float] = number
    ) -> None:
        """Add one value per UTC day."""
        starts = [epoch(datetime(day.year, day.month, day.day, tzinfo=UTC)) for day in raw]
        values = [self.read(f"{name} {day}", text, reader) for day, text in raw.items()]
        self.add(name, starts, values, DAY_S)

    def add_prices(self, name: str, starts: Sequence[int], values: Sequence[float]) -> None:
        """Add whole market days of prices, as published, and reject the days that cannot be.

        Starts are ascending seconds. Rejected: a slot off the market's grid; hours
        where quarters are due; a day of nothing but zeros, which is how an unpublished
        day looks; the repeated October hour given once, which is a sum.
        """
        points = zip(map(int, starts), map(float, values), strict=True)
        for day, part in groupby(points, key=lambda point: market_day(from_epoch(point[0]))):
            slots, prices = np.array(list(part)).T
            slots = slots.astype(np.int64)
            step_s = price_step_s(name, from_epoch(int(slots[0])))
            if reason := _impossible_day(day, slots, prices, step_s):
                self.reject(f"{name} {day}", reason)
                continue
            summed = _summed_hours(day, slots) if step_s == HOUR_S else set()
            for start in summed:
                label = f"{name} {from_epoch(start):%Y-%m-%dT%H:%MZ}"
                self.reject(label, "the repeated hour, given once as a sum")
            kept = ~np.isin(slots, list(summed))
            self.add(name, slots[kept], prices[kept], step_s)

    def parsed(self, issued_at: datetime | None = None) -> Parsed:
        """Return everything collected."""
        rows = frames.empty_tidy()
        if self._parts:
            columns = zip(*self._parts, strict=True)
            starts, values, steps = (np.concatenate(column) for column in columns)
            rows = frames.tidy(
                self._names,
                starts,
                values,
                place=self.place,
                source=self.source,
                kind=self.kind,
                resolution_s=steps,
                retrieved_at=self.retrieved_at,
                provider_updated_at=self.updated_at,
            )
        return Parsed(rows, tuple(self._rejected), issued_at)


def price_step_s(name: str, start: datetime) -> int:
    """Return the slot length (s) in which a price is published.

    The day-ahead market changed to quarters of an hour.
    """
    return QUARTER_S if name == "spot_eur_mwh" and start >= QUARTERS_SINCE else HOUR_S


def _impossible_day(day: date, starts: Slots, prices: Values, step_s: int) -> str:
    """Return why a day of prices cannot be, or an empty string."""
    if (starts % step_s).any():
        return f"values off the grid of {step_s} s"
    if step_s == QUARTER_S and len(starts) > 1 and not (starts % HOUR_S).any():
        return "hourly values where quarters of an hour are due"
    if len(starts) == slots_in_day(day, step_s) and not np.any(prices):
        return "all zero: not published yet"
    return ""


def _summed_hours(day: date, starts: Slots) -> set[int]:
    """Return the repeated hour of October, in the years in which it came once."""
    if day.year > LAST_SUMMED_OCTOBER or slots_in_day(day, HOUR_S) != 25:
        return set()
    first = epoch(datetime(day.year, day.month, day.day, 2, tzinfo=MADRID))
    present = {first, first + HOUR_S} & set(starts.tolist())
    return present if len(present) == 1 else set()


def reject_outside(parsed: Parsed, catalogue: Catalogue) -> Parsed:
    """Move the values outside of the catalogue's range from the rows to the rejected ones."""
    rows = parsed.rows
    ranges = {name: catalogue.forecast_range(name) for name in rows["series"].unique()}
    limits = np.array([ranges[name] for name in rows["series"]]).reshape(-1, 2)
    outside = (rows["value"] < limits[:, 0]) | (rows["value"] > limits[:, 1])
    if not outside.any():
        return parsed
    rejected = tuple(
        Rejected(
            f"{row.series} {row.start:%Y-%m-%dT%H:%MZ} {row.value:g}",
            "outside {:g} to {:g}".format(*ranges[row.series]),
        )
        for row in rows[outside].itertuples()
    )
    inside = rows[~outside].reset_index(drop=True)
    return Parsed(inside, parsed.rejected + rejected, parsed.issued_at)


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


def parse_json(source: str, body: Reply | bytes | str) -> Any:
    """Return a JSON body; NaN and Infinity are no JSON.

    Raises
    ------
    MalformedResponse
        If it is not JSON.
    """
    try:
        text = body.text if isinstance(body, Reply) else body
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedResponse(source, "the answer is not JSON") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def require(source: str, container: Any, key: str, kind: type[V]) -> V:
    """Return ``container[key]``, which must be there and a ``kind``.

    Raises
    ------
    MalformedResponse
        If it is not.
    """
    value = container.get(key) if isinstance(container, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise MalformedResponse(source, f"{key!r} is missing or no {kind.__name__}")
    return value


def offset_instant(source: str, text: str) -> datetime:
    """Return an ISO instant that carries its offset.

    Raises
    ------
    MalformedResponse
        If it is not one.
    """
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None and 1900 <= instant.year <= 2200:
            return instant
    except ValueError:
        pass
    raise MalformedResponse(source, f"{text!r} is no instant with an offset")


def madrid_epoch(source: str, text: str) -> int:
    """Return seconds since 1970 of an ISO instant whose offset is the one Madrid has then.

    Raises
    ------
    MalformedResponse
        If it has another offset: either the offset or the hour is wrong then, and the
        answer does not say which.
    """
    instant = offset_instant(source, text)
    if instant.utcoffset() != instant.astimezone(MADRID).utcoffset():
        raise MalformedResponse(source, f"{text!r} is no instant of Madrid")
    return epoch(instant)


def require_ascending(source: str, starts: Starts) -> None:
    """Raise ``MalformedResponse`` unless each start lies after the one before it."""
    if len(starts) > 1 and not (np.diff(np.asarray(starts, dtype=np.int64)) > 0).all():
        raise MalformedResponse(
            source, "the values are not in order of time, or two have the same time"
        )


def require_near(
    source: str, point: Any, axes: tuple[str, str], place: str, within_deg: float
) -> None:
    """Raise ``MalformedResponse`` unless ``point`` lies near ``place`` (``latitude,longitude``)."""
    for axis, expected in zip(axes, map(float, place.split(",")), strict=True):
        given = point.get(axis) if isinstance(point, dict) else None
        if not isinstance(given, int | float) or not abs(given - expected) <= within_deg:
            raise MalformedResponse(source, f"the answer is for {axis} {given}, not {expected}")
