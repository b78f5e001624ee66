"""Slots as int64 seconds: what a series should hold, and when each value can first be known.

The only place where the catalogue's rules meet arrays. ``numpy`` on int64 is some
hundred times faster than sets of timestamps, and a million slots cost well under a
millisecond.
"""

from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.catalogue import AfterSlot, Grid, Publication, Series
from factory_lib.clock import DAY_S, MADRID, day_start, days_between, epoch, from_epoch

Slots = np.ndarray[tuple[int], np.dtype[np.int64]]
Mask = npt.NDArray[np.bool_]
LOCAL_DAY_LOOKBACK = timedelta(days=1)


def local_midnights(start: datetime, end: datetime) -> Slots:
    """Return the UTC starts of the market days that begin inside the half-open window."""
    days = days_between(start, end, MADRID)
    starts = np.array([epoch(day_start(day)) for day in days], dtype=np.int64)
    return starts[starts >= epoch(start)]


def expected(series: Series, start: datetime, end: datetime) -> Slots:
    """Return the starts of every slot of ``series`` inside the half-open window, ascending.

    A slot belongs to the window in which it starts; the window's ends need not lie on
    the grid.
    """
    parts = []
    for first, last, cadence in series.spans(start, end):
        if cadence.grid is Grid.LOCAL_DAY:
            parts.append(local_midnights(first, last))
        else:
            step = cadence.resolution_s
            parts.append(
                np.arange(-(-epoch(first) // step) * step, epoch(last), step, dtype=np.int64)
            )
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def resolutions(series: Series, starts: Slots) -> Slots:
    """Return the resolution (s) valid at each start; a market day counts as 86,400."""
    since = np.array([epoch(c.since) for c in series.cadences], dtype=np.int64)
    steps = np.array([c.resolution_s for c in series.cadences], dtype=np.int64)
    return steps[np.maximum(np.searchsorted(since, starts, side="right") - 1, 0)]


def on_grid(series: Series, starts: Slots, resolution_s: Slots | int) -> Mask:
    """Return a mask of the starts that begin a slot of that resolution.

    They are multiples of it, for market days the local midnights.
    """
    by_day = [c.resolution_s for c in series.cadences if c.grid is Grid.LOCAL_DAY]
    daily = np.isin(np.broadcast_to(resolution_s, starts.shape), by_day)
    good = np.asarray(starts % resolution_s == 0) & ~daily
    if daily.any():
        midnights = local_midnights(
            from_epoch(int(starts.min())), from_epoch(int(starts.max()) + 1)
        )
        good |= daily & np.isin(starts, midnights)
    return good


def available_at(rule: Publication, starts: Slots, resolution_s: Slots | int) -> Slots:
    """Return, for each start, when a value can first be known (seconds since 1970).

    A day-ahead rule is evaluated once per market day: at most one zone conversion a
    day, whatever the number of slots.
    """
    starts = np.asarray(starts, dtype=np.int64)
    if isinstance(rule, AfterSlot):
        return starts + resolution_s + int(rule.delay.total_seconds())
    if not len(starts):
        return starts
    midnights = local_midnights(
        from_epoch(int(starts.min())) - LOCAL_DAY_LOOKBACK, from_epoch(int(starts.max()) + 1)
    )
    published = np.array(
        [epoch(rule.available_at(from_epoch(int(m)), DAY_S)) for m in midnights], dtype=np.int64
    )
    return published[np.searchsorted(midnights, starts, side="right") - 1]


def number_runs(starts: Slots, ends: Slots, *columns: npt.ArrayLike) -> Slots:
    """Return the number of the run that each slot belongs to, from 0 and ascending.

    A slot goes on with the run of the one before where it starts at that one's end and
    has equal values in every column; NaN equals nothing.
    """
    breaks = np.asarray(starts)[1:] != np.asarray(ends)[:-1]
    for column in map(np.asarray, columns):
        breaks |= column[1:] != column[:-1]
    return np.cumsum(np.append(False, breaks))[: len(starts)]


def to_index(starts: Slots) -> pd.DatetimeIndex:
    """Return seconds since 1970 as a UTC index of second resolution."""
    seconds = np.asarray(starts, dtype="datetime64[s]")
    return pd.DatetimeIndex(seconds, name="start").tz_localize("UTC")


def from_index(index: pd.DatetimeIndex | pd.Series) -> Slots:
    """Return an aware index or column as seconds since 1970.

    Raises
    ------
    TypeError
        If it carries no time zone.
    """
    aware = pd.DatetimeIndex(index)
    if aware.tz is None:
        raise TypeError("naive timestamps: localise them first")
    return aware.tz_convert("UTC").as_unit("s").asi8
