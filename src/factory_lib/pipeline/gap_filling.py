"""What a backfill is after, slot by slot: who was asked for it, who had it, and why it is still missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from factory_lib.clock import epoch, from_epoch
from factory_lib.context import RunContext
from factory_lib.pipeline.coverage import (
    Mask,
    Runs,
    SlotState,
    contained,
    grid_step,
    runs,
    slot_seconds,
    within,
)
from factory_lib.pipeline.fetch import Answer
from factory_lib.pipeline.gaps import GapReport, Ledger, severity_index
from factory_lib.pipeline.ingest_stats import COUNTS
from factory_lib.pipeline.request_plan import Wanted, in_order
from factory_lib.pipeline.targets import Door
from factory_lib.slots import Slots, from_index, to_index
from factory_lib.state.attempts import RetryPass

if TYPE_CHECKING:
    from factory_lib.sources.base import Source

NEVER_S = np.int64(2**40)
NOBODY = "no configured source reaches it"
NO_SOURCE_HAS_IT = "no source has it"
NONE_IN_REACH_HAS_IT = "no source in reach has it"  # one that is not in reach was not asked
ONLY_BARRED = "its value is quarantined, and no other source in reach has one"
KNOWN_LATER = "it is stored, but was not known then"
NEXT_LOOK = "tried as often as its severity is; the next look at the whole account tries again"
TOO_SHORT = "too short to be filled unasked: left to daily_backfill"
LEFT_COLUMNS = ["series", "place", "start", "end", "slots", "severity", "reason"]


class Hunt:
    """The slots of one target that hold no trusted value: missing ones, and those whose value is quarantined.

    Attributes
    ----------
    starts, ends, severity : int64 arrays
        The slots, and the position of their gap's severity in the settings.
    turn : bool array
        To be asked for in this run.
    tried, asked, answered : bool arrays, doors × slots
        Not to be planned again; asked for; answered by a provider that was reached,
        whether it had the value or not.
    spoken : bool array, doors × slots
        Gave the value that is quarantined: not asked for it again.
    found : bool array
        Present in the store when it was last read.
    known_later : bool array
        Present, but not yet known at the instant that a replay tells of.
    opens_in_s : int64 array
        Seconds until a door that is closed to so young a slot opens.
    """

    def __init__(self, ledger: Ledger, at: Slots, severity: Slots, turn: Mask) -> None:
        self.ledger, self.target = ledger, ledger.target
        self.severity, self.turn = severity, turn
        self.starts, self.ends = ledger.account.starts[at], ledger.account.ends[at]
        self.was_barred: Mask = ledger.account.states[at] == SlotState.QUARANTINED
        self.doors = in_order(self.target)
        shape = (len(self.doors), len(at))
        self.tried, self.asked, self.answered = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
        self.brought, self.in_reach, self.spoken = (
            np.zeros(shape, dtype=np.bool_) for _ in range(3)
        )
        for row, door in enumerate(self.doors):
            if door in ledger.barred:
                self.spoken[row] = contained(
                    self.starts, ledger.barred[door], grid_step(self.target.series)
                )
        self.found, self.known_later = (np.zeros(len(at), dtype=np.bool_) for _ in range(2))
        self.opens_in_s = np.full(len(at), NEVER_S)
        self.errors: dict[Door, str] = {}

    def wanted(self, opened: Mapping[str, Source]) -> list[Wanted]:
        """Return, for each door, the slots whose next door it is."""
        open_ = self.turn & ~self.found
        parts = []
        for row, door in enumerate(self.doors):
            if door.source not in opened:
                continue
            first, last = (epoch(edge) for edge in opened[door.source].reach(self.target.name))
            self.in_reach[row] = (self.starts >= first) & (self.ends <= last)
            too_young = np.where(self.ends > last, self.ends - last, NEVER_S)
            self.opens_in_s = np.minimum(self.opens_in_s, too_young)
            now = open_ & self.in_reach[row] & ~self.tried[row] & ~self.spoken[row]
            open_ &= ~now
            parts.append(
                Wanted(self.target, door, self.starts[now], self.ends[now], self.severity[now])
            )
        return parts

    def note(self, answer: Answer) -> None:
        """Take down an answer to a request that included this series."""
        request = answer.request
        row = self.doors.index(Door(request.source, request.place))
        inside = (self.starts >= int(request.start.timestamp())) & (
            self.starts < int(request.end.timestamp())
        )
        self.tried[row] |= inside
        self.asked[row] |= inside & answer.sent
        if answer.settled:
            self.answered[row] |= inside
            came = from_index(answer.rows.loc[answer.rows["series"] == self.target.name, "start"])
            self.brought[row] |= contained(self.starts, came, grid_step(self.target.series))
        elif answer.error is not None:
            self.errors.setdefault(self.doors[row], answer.error.message.rstrip("."))

    def read_again(self, ctx: RunContext) -> None:
        """Ask the store which of the slots it holds now."""
        if not len(self.starts):
            return
        self.found = self._stored(ctx, ctx.as_of)
        if ctx.replay:
            self.known_later = self._stored(ctx, None) & ~self.found

    def _stored(self, ctx: RunContext, as_of: datetime | None) -> Mask:
        window = {"start": from_epoch(int(self.starts[0])), "end": from_epoch(int(self.ends[-1]))}
        present = ctx.store.slots(
            self.target.name, places=self.target.places, **window, as_of=as_of
        )
        return contained(self.starts, present, grid_step(self.target.series))

    def failed(self) -> Mask:
        """Return the slots that a provider may have and could not be asked for."""
        return (self.tried & ~self.answered).any(axis=0) & ~self.found

    def settled(self) -> Mask:
        """Return the slots that every provider within reach was asked for, and none has a value to trust."""
        return (
            ~self.found
            & ~self.known_later
            & self.in_reach.any(axis=0)
            & (~self._blocking()).all(axis=0)
        )

    def barred(self) -> Mask:
        """Return the slots that are settled, and hold a value that is quarantined."""
        return self.settled() & (self.was_barred | self.brought.any(axis=0))

    def unfillable(self) -> Mask:
        """Return the slots that are settled, and hold nothing."""
        return self.settled() & ~self.barred()

    def _blocking(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return who could still have what: doors × slots."""
        return self.in_reach & ~self.answered & ~self.spoken

    def nowhere(self) -> list[tuple[int, int, int]]:
        """Return settled stretches (start, end), and in how many seconds somebody else can be asked."""
        found = self.stretches(self.settled())
        first, after = (
            np.searchsorted(self.starts, found.starts),
            np.searchsorted(self.starts, found.ends),
        )
        waits = [int(self.opens_in_s[a:b].min()) for a, b in zip(first, after, strict=True)]
        return list(zip(found.starts.tolist(), found.ends.tolist(), waits, strict=True))

    def unreached(self) -> Mask:
        """Return the slots that no configured source reaches: too old for all of them, or only imported."""
        return ~self.found & ~self.known_later & ~self.in_reach.any(axis=0)

    @property
    def missing(self) -> int:
        """Slots that were missing at the start."""
        return len(self.starts)

    @property
    def recovered(self) -> int:
        """Slots of them that are present now."""
        return int(self.found.sum())

    def reasons(self) -> Iterator[tuple[str, Mask]]:
        """Yield why slots are still missing, each reason with its slots."""
        blocking = self._blocking()
        reached, whole = self.in_reach.any(axis=0), self.in_reach.all(axis=0)
        barred, nothing = self.barred(), self.unfillable()
        settled = (
            (KNOWN_LATER, self.known_later),
            (NOBODY, ~reached & ~self.known_later),
            (ONLY_BARRED, barred),
            (NO_SOURCE_HAS_IT, nothing & whole),
            (NONE_IN_REACH_HAS_IT, nothing & ~whole),
        )
        for pattern in np.unique(blocking[:, ~self.found], axis=1).T:
            alike = ~self.found & (blocking == pattern[:, None]).all(axis=0)
            said = [
                self.errors.get(door, "not asked")
                for door, blocks in zip(self.doors, pattern, strict=True)
                if blocks
            ]
            if said:
                yield "; ".join(dict.fromkeys(said)), alike & self.turn
                yield NEXT_LOOK, alike & ~self.turn
            else:
                yield from ((why, alike & mask) for why, mask in settled)

    def stretches(self, mask: Mask) -> Runs:
        """Return slots of the hunt as maximal stretches of neighbours."""
        books = self.ledger.account
        whole = np.zeros(len(books.starts), dtype=np.bool_)
        whole[np.searchsorted(books.starts, self.starts[mask])] = True
        return runs(whole, books.starts, books.ends, None)


def hunts(report: GapReport, turn: RetryPass | None) -> list[Hunt]:
    """Return what to go after; unasked, in a ``turn``: only gaps above the settings' limit, if it is their pass."""
    return [found for ledger in report.ledgers if (found := _hunt(ledger, report, turn)).missing]


def _hunt(ledger: Ledger, report: GapReport, turn: RetryPass | None) -> Hunt:
    books = ledger.account
    missing, barred = books.states == SlotState.MISSING, books.states == SlotState.QUARANTINED
    parts = []
    for mask in (missing, barred & ~within(books.starts, ledger.nowhere)):
        gaps = runs(mask, books.starts, books.ends, slot_seconds(books.series))
        hours = gaps.seconds / 3600
        taken = (
            np.ones(len(gaps), dtype=np.bool_)
            if turn is None
            else hours > report.policy.automatic_above_h
        )
        gap = np.repeat(
            np.arange(len(gaps)), gaps.slots
        )  # the runs are in the order of their slots
        parts.append(
            (
                np.flatnonzero(mask)[taken[gap]],
                severity_index(hours, report.policy)[gap[taken[gap]]],
            )
        )
    at, severity = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(at)
    now = np.array([turn is None or turn.includes(rule) for rule in report.policy.severities])
    return Hunt(ledger, at[order], severity[order], now[severity[order]])


def left_alone(report: GapReport, turn: RetryPass | None) -> pd.DataFrame:
    """Return the gaps (``LEFT_COLUMNS``) that are too short for a ``turn`` unasked."""
    gaps = report.gaps
    short = (gaps["state"] == "missing") & (gaps["duration_h"] <= report.policy.automatic_above_h)
    return gaps[short & (turn is not None)].assign(reason=TOO_SHORT)[LEFT_COLUMNS]


def by_series(quarry: Sequence[Hunt]) -> pd.DataFrame:
    """Return missing, recovered and rate per series."""
    return _with_rate(
        [{"series": each.target.name, **_counts([each])} for each in quarry], "series"
    )


def by_severity(quarry: Sequence[Hunt], severities: Sequence[str]) -> pd.DataFrame:
    """Return missing, recovered and rate per severity of the gap the slots lay in."""
    return _with_rate(
        [{"severity": name, **_counts(quarry, at)} for at, name in enumerate(severities)],
        "severity",
    )


def _counts(quarry: Sequence[Hunt], severity: int | None = None) -> dict[str, int]:
    """Return how many slots were missing, and are there now; of one severity, or of all."""
    found = [
        each.found[slice(None) if severity is None else each.severity == severity]
        for each in quarry
    ]
    return {"missing": sum(map(len, found)), "recovered": sum(int(part.sum()) for part in found)}


def by_source(
    quarry: Sequence[Hunt], counted: Mapping[str, Mapping[str, int | str]]
) -> pd.DataFrame:
    """Return, per source, the slots it was asked for, those that are there because it brought them, and its requests.

    A slot that two sources brought counts for the first.
    """
    missing, recovered = dict.fromkeys(counted, 0), dict.fromkeys(counted, 0)
    for each in quarry:
        credited = np.zeros(each.missing, dtype=np.bool_)
        for row, door in enumerate(each.doors):
            if door.source in counted:
                mine = each.brought[row] & each.found & ~credited
                credited |= mine
                missing[door.source] += int(each.asked[row].sum())
                recovered[door.source] += int(mine.sum())
    lines = [
        {"source": name, "missing": missing[name], "recovered": recovered[name], **line}
        for name, line in counted.items()
    ]
    return _with_rate(lines, "source", "requests", "failed", *COUNTS, "error")


def _with_rate(lines: Sequence[Mapping[str, object]], key: str, *extra: str) -> pd.DataFrame:
    table = pd.DataFrame(lines, columns=[key, "missing", "recovered", *extra])
    table.insert(
        3,
        "rate",
        table["recovered"].astype("float64") / table["missing"].where(table["missing"] > 0),
    )
    return table


def remaining_table(
    quarry: Sequence[Hunt], severities: Sequence[str], left_alone: pd.DataFrame
) -> pd.DataFrame:
    """Return the stretches still missing (``LEFT_COLUMNS``), with the severity of their gap and the reason."""
    parts = [
        _stretches(each, mask, severities).assign(reason=reason)
        for each in quarry
        for reason, mask in each.reasons()
        if mask.any()
    ]
    filled = [part for part in (*parts, left_alone) if len(part)]
    return (
        pd.concat(filled, ignore_index=True)
        if filled
        else pd.DataFrame({name: [] for name in LEFT_COLUMNS})
    )


def _stretches(each: Hunt, mask: Mask, severities: Sequence[str]) -> pd.DataFrame:
    left = each.stretches(mask)
    return pd.DataFrame(
        {
            "series": each.target.name,
            "place": each.target.place,
            "start": to_index(left.starts),
            "end": to_index(left.ends),
            "slots": left.slots,
            "severity": [
                severities[s] for s in each.severity[np.searchsorted(each.starts, left.starts)]
            ],
        }
    )
