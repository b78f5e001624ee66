"""What all parsers share: strict JSON, numbers as they are written, and a door at which every value is judged.

A parser ends in rows, in rejected rows with a reason, or in ``MalformedResponse``; it
guesses nothing. One value that cannot be right loses that value; a structure that
cannot be right loses the answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

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

T = TypeVar("T")
Starts = Sequence[int] | Slots
Column = np.ndarray[Any, np.dtype[np.float64]]
LAST_SUMMED_OCTOBER = 2022  # up to that year REE gives the repeated hour once, as the sum of both


class Rejected(NamedTuple):
    """A value or row that was read and not believed."""

    text: str
    reason: str
    line: int | None = None


@dataclass(frozen=True)
class Parsed:
    """What a parser made of one body: tidy rows, and what it rejected."""

    rows: pd.DataFrame
    rejected: tuple[Rejected, ...] = ()

    def __add__(self, other: Parsed) -> Parsed:
        return Parsed(frames.concat([self.rows, other.rows]), self.rejected + other.rejected)


class Door:
    """Gathers values of one answer and lets in those that can be true.

    Parameters
    ----------
    source, place, kind : str
        Provenance of everything that comes through.
    retrieved_at : datetime
        UTC.
    updated_at : datetime, optional
        When the provider says it last changed the values; an instant still to come is
        not believed.
    """

    def __init__(
        self,
        source: str,
        place: str,
        kind: str,
        retrieved_at: datetime,
        updated_at: datetime | None = None,
    ) -> None:
        self.source, self.place, self.kind, self.retrieved_at = source, place, kind, retrieved_at
        self.updated_at = updated_at if updated_at and updated_at <= retrieved_at else None
        self._names: list[str] = []
        self._parts: list[tuple[Slots, Column, Slots]] = []
        self._rejected: list[Rejected] = []

    def add(
        self, name: str, starts: Starts, values: Sequence[float] | Column, resolution_s: Any
    ) -> None:
        """Let in the finite values; absent ones (NaN) are no rows."""
        column = np.asarray(values, dtype=np.float64)
        index = np.asarray(starts, dtype=np.int64)
        steps = np.broadcast_to(np.asarray(resolution_s, dtype=np.int64), index.shape)
        kept = ~np.isnan(column)
        self._names += [name] * int(kept.sum())
        self._parts.append((index[kept], column[kept], steps[kept]))

    def reject(self, text: str, reason: str, line: int | None = None) -> None:
        """Note what was not believed."""
        self._rejected.append(Rejected(text, reason, line))

    def parsed(self) -> Parsed:
        """Return everything gathered."""
        if not self._names:
            return Parsed(frames.empty_tidy(), tuple(self._rejected))
        starts, values, steps = (
            np.concatenate(column) for column in zip(*self._parts, strict=True)
        )
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
        return Parsed(rows, tuple(self._rejected))


def json_of(source: str, body: Reply | bytes | str) -> Any:
    """Return a JSON body; NaN and Infinity are no JSON.

    Raises
    ------
    MalformedResponse
        If it is not JSON.
    """
    try:
        text = (
            body.text
            if isinstance(body, Reply)
            else body.decode()
            if isinstance(body, bytes)
            else body
        )
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MalformedResponse(source, "the answer is not JSON") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def at(source: str, container: Any, key: str, kind: type[T]) -> T:
    """Return ``container[key]``, which must be there and a ``kind``.

    Raises
    ------
    MalformedResponse
        If it is not.
    """
    found = container.get(key) if isinstance(container, dict) else None
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise MalformedResponse(source, f"{key!r} is missing or no {kind.__name__}")
    return found


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
    """Return a number written the Spanish way, ``1.234,5`` excepted: no service writes thousands; empty is NaN.

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


def instant(source: str, text: str) -> datetime:
    """Return an ISO instant that carries its offset.

    Raises
    ------
    MalformedResponse
        If it is not one.
    """
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None and 1900 <= found.year <= 2200:
            return found
    except ValueError:
        pass
    raise MalformedResponse(source, f"{text!r} is no instant with an offset")


def madrid_epoch(source: str, text: str) -> int:
    """Return seconds since 1970 of an ISO instant whose offset is the one Madrid has then.

    Raises
    ------
    MalformedResponse
        If it has another offset: then either the offset or the hour is wrong, and
        nobody knows which.
    """
    found = instant(source, text)
    if found.utcoffset() != found.astimezone(MADRID).utcoffset():
        raise MalformedResponse(source, f"{text!r} is no instant of Madrid")
    return epoch(found)


def require_ascending(source: str, starts: Starts) -> None:
    """Raise ``MalformedResponse`` unless each start lies after the one before it."""
    if len(starts) > 1 and not (np.diff(np.asarray(starts, dtype=np.int64)) > 0).all():
        raise MalformedResponse(
            source, "the values are not in order of time, or two have the same time"
        )


def require_near(
    source: str, point: Any, axes: tuple[str, str], place: str, within_deg: float
) -> None:
    """Raise ``MalformedResponse`` unless ``point`` lies so near to ``place`` (``latitude,longitude``)."""
    for axis, asked in zip(axes, map(float, place.split(",")), strict=True):
        given = point.get(axis) if isinstance(point, dict) else None
        if (
            not isinstance(given, int | float)
            or not asked - within_deg <= given <= asked + within_deg
        ):
            raise MalformedResponse(source, f"the answer is for {axis} {given}, not {asked}")


def add_days(door: Door, name: str, raw: Mapping[date, T], read: Callable[[T], float]) -> None:
    """Let one value per UTC day through ``door``; what ``read`` cannot read is rejected."""
    starts, values = [], []
    for day, text in raw.items():
        try:
            value = read(text)
        except ValueError as error:
            door.reject(f"{name} {day}", str(error))
            continue
        starts.append(epoch(datetime(day.year, day.month, day.day, tzinfo=UTC)))
        values.append(value)
    door.add(name, starts, values, DAY_S)


def add_prices(door: Door, name: str, starts: Sequence[int], values: Sequence[float]) -> None:
    """Let whole market days of prices through ``door``, as published, and reject the days that cannot be.

    Starts are ascending seconds. Rejected: a slot off the catalogue's grid; hours where
    quarters are due; a day of nothing but zeros, which is how an unpublished day looks;
    the repeated October hour given once, which is a sum.
    """
    points = zip(map(int, starts), map(float, values), strict=True)
    for day, part in groupby(points, key=lambda point: market_day(from_epoch(point[0]))):
        table = np.array(list(part))
        column, prices = table[:, 0].astype(np.int64), table[:, 1]
        step = price_step_s(name, from_epoch(int(column[0])))
        if reason := _unlike_a_day(day, column, prices, step):
            door.reject(f"{name} {day}", reason)
            continue
        once = _summed_hours(day, column) if step == HOUR_S else set()
        for start in once:
            door.reject(
                f"{name} {from_epoch(start):%Y-%m-%dT%H:%MZ}",
                "the repeated hour, given once as a sum",
            )
        kept = ~np.isin(column, list(once))
        door.add(name, column[kept], prices[kept], step)


def price_step_s(name: str, start: datetime) -> int:
    """Return the slot length (s) in which a price is published: the day-ahead market changed to quarters."""
    return QUARTER_S if name == "spot_eur_mwh" and start >= QUARTERS_SINCE else HOUR_S


def reject_outside(parsed: Parsed, catalogue: Catalogue) -> Parsed:
    """Move the values outside of the catalogue's range from the rows to what was rejected."""
    rows = parsed.rows
    outside = np.zeros(len(rows), dtype=bool)
    rejected = list(parsed.rejected)
    for name, at in rows.groupby("series", sort=False).indices.items():
        entry, values = catalogue[str(name)], rows["value"].to_numpy()[at]
        wrong = at[entry.outside(values)]
        outside[wrong] = True
        for start, value in zip(rows["start"].iloc[wrong], rows["value"].iloc[wrong], strict=True):
            rejected.append(
                Rejected(f"{name} {start:%Y-%m-%dT%H:%MZ} {value:g}", f"outside {entry.limits}")
            )
    if not outside.any():
        return parsed
    return Parsed(rows[~outside].reset_index(drop=True), tuple(rejected))


def _unlike_a_day(
    day: date, starts: np.ndarray[Any, Any], values: np.ndarray[Any, Any], step: int
) -> str:
    if (starts % step).any():
        return f"values off the grid of {step} s"
    if step == QUARTER_S and len(starts) > 1 and not (starts % HOUR_S).any():
        return "hourly values where quarters of an hour are due"
    if len(starts) == slots_in_day(day, step) and not values.any():
        return "all zero: not published yet"
    return ""


def _summed_hours(day: date, starts: np.ndarray[Any, Any]) -> set[int]:
    if day.year > LAST_SUMMED_OCTOBER or slots_in_day(day, HOUR_S) != 25:
        return set()
    first = epoch(datetime(day.year, day.month, day.day, 2, tzinfo=MADRID))
    present = {first, first + HOUR_S} & set(starts.tolist())
    return present if len(present) == 1 else set()
