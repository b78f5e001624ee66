"""The coverage of a window: the state of every expected slot, and the gaps.

A day's worth of quarter-hours or ten years of them cost the same few array operations,
because slots are int64 seconds on a grid: membership is one lookup table over the grid,
and a gap is the stretch between two edges of a mask.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from math import gcd

import numpy as np

from factory_lib.catalogue import Grid, Series
from factory_lib.clock import HOUR_S, MADRID, epoch
from factory_lib.slots import Mask, Slots, expected, number_runs, resolutions, to_index

NO_SLOTS: Slots = np.empty(0, dtype=np.int64)
LONGEST_SLOT = timedelta(days=2)  # more than the 25 hours of the longest market day
# slots at a time: 128 kB stay in the cache, whole arrays would be written to fresh
# memory
BLOCK = 16_384


class SlotState(IntEnum):
    """State of a slot: the first of present, quarantined, late, unfillable, missing."""

    PRESENT = 0
    LATE = 1  # not yet due
    MISSING = 2
    QUARANTINED = 3  # holds a value with an open quarantine decision
    UNFILLABLE = 4  # requested from every source, and none had it


@dataclass(frozen=True)
class Runs:
    """Maximal half-open stretches, with their number of slots and missing time."""

    starts: Slots
    ends: Slots
    slots: Slots
    seconds: Slots


@dataclass(frozen=True)
class Coverage:
    """The state of every expected slot of one series in a window.

    Attributes
    ----------
    starts, ends : int64 arrays
        Seconds since 1970, ascending; each slot ends where the next one starts.
    states : uint8 array
        ``SlotState`` of each slot, so that the five counts always add up to the number
        of slots.
    """

    series: Series
    starts: Slots
    ends: Slots
    states: np.ndarray[tuple[int], np.dtype[np.uint8]]

    def counts(self) -> dict[str, int]:
        """Return the number of slots by the state's name in small letters."""
        return {
            state.name.lower(): int(np.count_nonzero(self.states == state)) for state in SlotState
        }

    def runs(self, state: SlotState) -> Runs:
        """Return the maximal stretches of neighbouring slots in ``state``."""
        mask = self.states == state
        starts = self.starts[mask]
        ends = self.ends[mask]
        first = np.flatnonzero(np.diff(number_runs(starts, ends), prepend=-1))
        after = np.append(first, len(starts))[1:]
        passed_s = np.append(0, np.cumsum(resolutions(self.series, starts)))
        return Runs(
            starts[first], ends[after - 1], after - first, passed_s[after] - passed_s[first]
        )


def classify(
    series: Series,
    start: datetime,
    end: datetime,
    present: Slots,
    *,
    as_of: datetime,
    quarantined: Slots = NO_SLOTS,
    unfillable: Iterable[tuple[int, int]] = (),
) -> Coverage:
    """Return the state of every slot that ``series`` should have in the half-open window.

    Parameters
    ----------
    present : int64 array
        Starts of the slots that hold a value, in any order, whatever else they contain.
    as_of : datetime
        Due and late are judged at this instant.
    quarantined : int64 array
        Starts of slots with an open quarantine decision; one that is present all the
        same counts as present.
    unfillable : pairs of int
        Half-open stretches that no source has, as of ``as_of``.
    """
    edges = expected(series, start, end + LONGEST_SLOT)
    size = int(np.searchsorted(edges, epoch(end)))
    starts = edges[:size]
    ends = edges[1 : size + 1]
    states = np.full(len(starts), SlotState.MISSING, dtype=np.uint8)
    states[within(starts, unfillable)] = SlotState.UNFILLABLE
    states[np.searchsorted(ends, epoch(series.due_until(as_of)), side="right") :] = SlotState.LATE
    if len(quarantined):
        states[contained(starts, quarantined, grid_step(series))] = SlotState.QUARANTINED
    states[contained(starts, present, grid_step(series))] = SlotState.PRESENT
    return Coverage(series, starts, ends, states)


def within(slots: Slots, stretches: Iterable[tuple[int, int]]) -> Mask:
    """Return which ascending ``slots`` start in one of the half-open stretches."""
    mask = np.zeros(len(slots), dtype=np.bool_)
    for first, last in stretches:
        mask[np.searchsorted(slots, first) : np.searchsorted(slots, last)] = True
    return mask


def contained(slots: Slots, among: Slots, step_s: int) -> Mask:
    """Return which of the ascending ``slots`` are in ``among``.

    All are multiples of ``step_s`` from the first. One pass over a table of the grid;
    values of ``among`` off the grid or outside it match nothing.
    """
    if not len(slots) or not len(among):
        return np.zeros(len(slots), dtype=np.bool_)
    first = int(slots[0])
    size = (int(slots[-1]) - first) // step_s + 1
    table = np.zeros(size, dtype=np.bool_)
    for at in range(0, len(among), BLOCK):
        offset = among[at : at + BLOCK] - first
        place = offset // step_s
        fits = (place * step_s == offset) & (place >= 0) & (place < size)
        table[place if fits.all() else place[fits]] = True
    return table if size == len(slots) else table[(slots - first) // step_s]


def grid_step(series: Series) -> int:
    """Return the step (s) of a grid that all slots lie on, changes of cadence included."""
    return gcd(*(HOUR_S if c.grid is Grid.LOCAL_DAY else c.resolution_s for c in series.cadences))


def day_labels(starts: Slots) -> Slots:
    """Return for each slot the UTC midnight (s) of its market day's date, to group by."""
    wall = to_index(starts).tz_convert(MADRID).tz_localize(None)
    days: Slots = wall.normalize().as_unit("s").asi8
    return days
