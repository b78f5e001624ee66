"""Gaps: the slots that are not there, how severe each stretch of them is, and its treatment.

``classify`` gives the state of every expected slot. A day's worth of quarter-hours or ten
years of them cost the same few array operations, because slots are int64 seconds on a
grid: membership is one lookup table over the grid, and a gap is the stretch between two
edges of a mask.

``analyse`` reads nothing but slots, quarantine decisions and the stretches remembered as
unfillable. A store that cannot be reached raises; it is never read as "no gaps".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from functools import cached_property
from math import gcd

import numpy as np
import pandas as pd

from factory_lib.catalogue import ALWAYS, Grid, Series
from factory_lib.clock import HOUR_S, MADRID, epoch, from_epoch
from factory_lib.context import RunContext
from factory_lib.pipeline.targets import SourcePlace, Target, targets
from factory_lib.settings.records import GapSettings
from factory_lib.slots import Mask, Slots, expected, from_index, number_runs, resolutions, to_index
from factory_lib.state import marks
from factory_lib.state.attempts import unfillable_stretches

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


# of an unfillable gap, whose sources have all been asked
NOTHING = "none: no source has it; they are asked again when it is twice as old"
STATES = [state.name.lower() for state in SlotState]
GAP_COLUMNS = {
    "series": "str",
    "place": "str",
    "start": "datetime64[s, UTC]",
    "end": "datetime64[s, UTC]",
    "slots": "int64",
    "duration_h": "float64",
    "severity": "str",
    "strategy": "str",
    "priority": "str",
    "state": "str",
}


@dataclass(frozen=True)
class TargetCoverage:
    """A target and the coverage of its slots.

    Attributes
    ----------
    quarantined : mapping of SourcePlace to int64 array
        Slots with an open decision against the value that this source gave.
    no_source_has : tuple of pairs of int
        Half-open stretches that no source has; a quarantined slot may lie in one.
    by_the_hour : int
        Slots that are due and not present, but of whose hour a source gave the mean.
    """

    target: Target
    coverage: Coverage
    quarantined: Mapping[SourcePlace, Slots] = field(default_factory=dict)
    no_source_has: tuple[tuple[int, int], ...] = ()
    by_the_hour: int = 0


@dataclass(frozen=True)
class GapReport:
    """The coverage of every series that is expected here.

    Attributes
    ----------
    coverages : tuple of TargetCoverage
        One per series and place that has slots in the window.
    as_of : datetime
        The instant at which due and late were judged.
    """

    coverages: tuple[TargetCoverage, ...]
    as_of: datetime
    policy: GapSettings = field(repr=False)

    @cached_property
    def accounting(self) -> pd.DataFrame:
        """One row per series: window, slots in each of the five states, and their sum."""
        lines = [
            {
                "series": part.target.name,
                "place": part.target.place,
                "start": from_epoch(int(part.coverage.starts[0])),
                "end": from_epoch(int(part.coverage.ends[-1])),
                "expected": len(part.coverage.starts),
                **part.coverage.counts(),
            }
            for part in self.coverages
        ]
        return pd.DataFrame(lines, columns=["series", "place", "start", "end", "expected", *STATES])

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """One row per gap (``GAP_COLUMNS``), most severe first.

        ``state`` is missing, unfillable or quarantined.
        """
        runs = (
            (part.target, part.coverage.runs(state), state)
            for part in self.coverages
            for state in (SlotState.MISSING, SlotState.UNFILLABLE, SlotState.QUARANTINED)
        )
        tables = [
            gap_table(target, stretches, self.policy, state)
            for target, stretches, state in runs
            if len(stretches.starts)
        ]
        no_gaps = pd.DataFrame(columns=list(GAP_COLUMNS)).astype(GAP_COLUMNS)
        return pd.concat([no_gaps, *tables], ignore_index=True).sort_values(
            ["state", "duration_h", "start"], ascending=[True, False, False], ignore_index=True
        )

    @cached_property
    def calendar(self) -> pd.DataFrame:
        """Share (0 to 1) of the due slots that are present, per market day and series."""
        columns = {part.target.name: completeness(part.coverage) for part in self.coverages}
        return pd.DataFrame(columns).sort_index().rename_axis("day")

    @property
    def metrics(self) -> dict[str, int | float | str]:
        """Key figures for the run record."""
        totals = self.accounting[["expected", *STATES]].sum()
        missing = self.gaps[self.gaps["state"] == "missing"]
        return {
            **{str(name): int(total) for name, total in totals.items()},
            "gaps": len(missing),
            "critical_gaps": int((missing["severity"] == "critical").sum()),
            "longest_gap_h": float(missing["duration_h"].max()) if len(missing) else 0.0,
            "by_the_hour": sum(part.by_the_hour for part in self.coverages),
        }


def analyse(
    ctx: RunContext,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    series: Sequence[str] | None = None,
) -> GapReport:
    """Return the state of every expected slot.

    Parameters
    ----------
    since : datetime, optional
        Default: each series' first stored slot, or the look-back of the settings where
        nothing is stored.
    until : datetime, optional
        Default: the end of what can be known at ``ctx.as_of``.

    Raises
    ------
    StoreUnavailable
        If nothing can be known about what is stored.
    """
    # quarantine decisions hold for replays too, as they do in every view of the store
    decisions = ctx.store.read_verdicts()
    parts = (_coverage(ctx, target, since, until, decisions) for target in targets(ctx, series))
    return GapReport(
        tuple(part for part in parts if part is not None), ctx.as_of, ctx.settings.gaps
    )


def announce(ctx: RunContext, gaps: pd.DataFrame) -> None:
    """Make a recovery due where a gap is new that the automatic backfill fills.

    One that was known before is left to the backfill's own passes.

    Parameters
    ----------
    gaps : DataFrame
        All of now, ``GAP_COLUMNS``.
    """
    long = gaps["duration_h"] > ctx.settings.gaps.automatic_above_h
    missing = gaps[(gaps["state"] == "missing") & long]
    starts = missing["start"].dt.strftime("%Y-%m-%dT%H:%MZ")
    names = sorted(missing["series"].str.cat(starts, sep=" "))
    before = marks.get_mark(ctx.state, marks.NEW_GAP, marks.NEW_GAP)
    if before is None or not set(names) <= set(before.note):
        ctx.set_mark(marks.NEW_GAP, marks.NEW_GAP, ctx.as_of, names)
    elif names != before.note:
        ctx.set_mark(marks.NEW_GAP, marks.NEW_GAP, before.at, names)


def _coverage(
    ctx: RunContext,
    target: Target,
    since: datetime | None,
    until: datetime | None,
    decisions: pd.DataFrame,
) -> TargetCoverage | None:
    end = until or expected_until(target.series, ctx.as_of)
    present = ctx.store.slots(
        target.name, places=target.places, start=since or ALWAYS, end=end, as_of=ctx.as_of
    )
    if not len(present) and not target.source_places:
        return None  # neither imported nor served: not expected here
    look_back = ctx.as_of - timedelta(days=ctx.settings.gaps.look_back_days)
    start = since or (from_epoch(int(present[0])) if len(present) else look_back)
    quarantined = quarantined_slots(decisions, target)
    no_source_has = unfillable_stretches(ctx.state, target.name, target.source_places, ctx.as_of)
    coverage = classify(
        target.series,
        start,
        end,
        present,
        as_of=ctx.as_of,
        quarantined=np.unique(np.concatenate([NO_SLOTS, *quarantined.values()])),
        unfillable=no_source_has,
    )
    if not len(coverage.starts):
        return None
    hours_alone = by_the_hour(ctx, target, coverage)
    return TargetCoverage(target, coverage, quarantined, tuple(no_source_has), hours_alone)


def by_the_hour(ctx: RunContext, target: Target, coverage: Coverage) -> int:
    """Return how many absent quarters lie in hours that a source gave as a whole."""
    absent = coverage.starts[~np.isin(coverage.states, (SlotState.PRESENT, SlotState.LATE))]
    absent = absent[resolutions(target.series, absent) < HOUR_S]
    if len(target.series.cadences) == 1 or not len(absent):
        return 0
    hours = ctx.store.read(
        target.name,
        places=target.places,
        start=from_epoch(int(absent[0]) // HOUR_S * HOUR_S),
        end=from_epoch(int(absent[-1]) + 1),
        as_of=ctx.as_of,
        grid_s=HOUR_S,
    )
    return int(np.isin(absent // HOUR_S * HOUR_S, from_index(hours["start"])).sum())


def quarantined_slots(decisions: pd.DataFrame, target: Target) -> dict[SourcePlace, Slots]:
    """Return the slots of ``target`` with an open decision, by the source of the value."""
    mine = decisions[(decisions["series"] == target.name) & decisions["place"].isin(target.places)]
    return {
        SourcePlace(*map(str, at)): from_index(starts)
        for at, starts in mine.groupby(["source", "place"])["start"]
    }


def expected_until(series: Series, as_of: datetime) -> datetime:
    """Return the end of the slots that can be known at ``as_of``, tomorrow's once published."""
    return max(as_of, *(rule.known_until(as_of) for rule in series.publication.values()))


def gap_table(target: Target, gaps: Runs, policy: GapSettings, state: SlotState) -> pd.DataFrame:
    """Return one row per run; its duration is missing slots times cadence."""
    hours = gaps.seconds / HOUR_S
    rules = [policy.severities[n] for n in severity_index(hours, policy)]
    hopeless = state is SlotState.UNFILLABLE
    return pd.DataFrame(
        {
            "series": target.name,
            "place": target.place,
            "start": to_index(gaps.starts),
            "end": to_index(gaps.ends),
            "slots": gaps.slots,
            "duration_h": hours,
            "severity": [rule.name for rule in rules],
            "strategy": [NOTHING if hopeless else rule.strategy for rule in rules],
            "priority": ["none" if hopeless else rule.priority for rule in rules],
            "state": state.name.lower(),
        }
    ).astype(GAP_COLUMNS)


def severity_index(hours: np.ndarray, policy: GapSettings) -> np.ndarray:
    """Return the position of each duration's severity in the policy; upper ends are inclusive."""
    upper_ends = [rule.up_to_h for rule in policy.severities if rule.up_to_h is not None]
    return np.searchsorted(upper_ends, hours, side="left")


def completeness(coverage: Coverage) -> pd.Series:
    """Return the share of due slots that are present, by market day (a naive calendar date)."""
    due = coverage.states != SlotState.LATE
    days = day_labels(coverage.starts[due]).astype("datetime64[s]")
    present = pd.Series(coverage.states[due] == SlotState.PRESENT, pd.DatetimeIndex(days))
    return present.groupby(level=0).mean().rename_axis("day")
