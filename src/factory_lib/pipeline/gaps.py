"""Gaps: what is not there, how bad that is, and what is to be done about it.

``analyse`` reads nothing but slots, verdicts and what is remembered as unfillable. A
store that cannot be reached raises; it is never read as "no gaps".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import pandas as pd

from factory_lib.catalogue import ALWAYS, Series
from factory_lib.clock import HOUR_S, from_epoch
from factory_lib.context import RunContext
from factory_lib.pipeline.coverage import NO_SLOTS, Account, Runs, SlotState, account, local_days
from factory_lib.pipeline.targets import Door, Target, targets
from factory_lib.settings.records import GapSettings, SeverityRule
from factory_lib.slots import Slots, from_index, to_index
from factory_lib.state.attempts import unfillable_stretches

GAP_COLUMNS = (
    "series",
    "place",
    "start",
    "end",
    "slots",
    "duration_h",
    "severity",
    "strategy",
    "priority",
    "state",
)


@dataclass(frozen=True)
class Ledger:
    """A target and the account of its slots.

    Attributes
    ----------
    barred : mapping of Door to int64 array
        Which slots have an open verdict against the value that this door gave.
    nowhere : tuple of pairs of int
        Half-open stretches known to be with no source; a quarantined slot may lie in
        one.
    """

    target: Target
    account: Account
    barred: Mapping[Door, Slots] = field(default_factory=dict)
    nowhere: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class GapReport:
    """The account of every series that is expected here.

    Attributes
    ----------
    ledgers : tuple of Ledger
        One per series and place that has slots in the window.
    as_of : datetime
        The instant at which due and late were judged.
    """

    ledgers: tuple[Ledger, ...]
    as_of: datetime
    policy: GapSettings = field(repr=False)

    @cached_property
    def accounting(self) -> pd.DataFrame:
        """One row per series: window, slots in each of the five states, and their sum."""
        return pd.DataFrame(
            [
                {
                    "series": book.target.name,
                    "place": book.target.place,
                    "start": from_epoch(int(book.account.starts[0])),
                    "end": from_epoch(int(book.account.ends[-1])),
                    "expected": len(book.account.starts),
                    **book.account.counts(),
                }
                for book in self.ledgers
            ],
            columns=[
                "series",
                "place",
                "start",
                "end",
                "expected",
                *(state.name.lower() for state in SlotState),
            ],
        )

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """One row per gap (``GAP_COLUMNS``), most severe first; ``state`` is missing, unfillable or quarantined."""
        parts = [
            gap_table(book.target, book.account.runs(state), self.policy, state)
            for book in self.ledgers
            for state in (SlotState.MISSING, SlotState.UNFILLABLE, SlotState.QUARANTINED)
        ]
        filled = [part for part in parts if len(part)]
        if not filled:
            return gap_table_empty()
        table = pd.concat(filled, ignore_index=True)
        return table.sort_values(
            ["state", "duration_h", "start"], ascending=[True, False, False], ignore_index=True
        )

    @cached_property
    def calendar(self) -> pd.DataFrame:
        """Share (0 to 1) of the due slots that are present, per market day (index ``day``) and series."""
        columns = {book.target.name: completeness(book.account) for book in self.ledgers}
        return pd.DataFrame(columns).sort_index().rename_axis("day")

    @property
    def figures(self) -> dict[str, int | float | str]:
        """Key figures for the run record."""
        totals = self.accounting[["expected", *(state.name.lower() for state in SlotState)]].sum()
        found = self.gaps[self.gaps["state"] == "missing"]
        return {
            **{str(name): int(total) for name, total in totals.items()},
            "gaps": len(found),
            "critical_gaps": int((found["severity"] == "critical").sum()),
            "longest_gap_h": float(found["duration_h"].max()) if len(found) else 0.0,
        }

    @property
    def level(self) -> str:
        """``ok`` where nothing is missing, else ``warn``; ``fail`` where nothing at all was expected."""
        if not self.ledgers:
            return "fail"
        return "warn" if self.figures["missing"] or self.figures["quarantined"] else "ok"

    @property
    def verdict(self) -> str:
        """One sentence for the top of the page."""
        if not self.ledgers:
            return "No series is expected here: no source is configured and nothing was imported."
        found = self.figures
        due = int(found["expected"]) - int(found["late"])
        share = f"{int(found['present']):,} of {due:,} due slots of {len(self.ledgers)} series are present"
        if self.level == "ok":
            rest = (
                f"; the other {found['unfillable']:,} are with no source"
                if found["unfillable"]
                else ""
            )
            return f"{share}{rest}."
        return (
            f"{share}; {found['missing']:,} are missing in {found['gaps']} gaps ({found['critical_gaps']} critical, "
            f"longest {found['longest_gap_h']:g} h), {found['quarantined']:,} quarantined, "
            f"{found['unfillable']:,} with no source."
        )


def analyse(
    ctx: RunContext,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    series: Sequence[str] | None = None,
) -> GapReport:
    """Account for every expected slot.

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
    verdicts = (
        ctx.store.read_verdicts()
    )  # they hold for replays too, as they do in every view of the store
    books = (_ledger(ctx, target, since, until, verdicts) for target in targets(ctx, series))
    return GapReport(
        tuple(book for book in books if book is not None), ctx.as_of, ctx.settings.gaps
    )


def _ledger(
    ctx: RunContext,
    target: Target,
    since: datetime | None,
    until: datetime | None,
    verdicts: pd.DataFrame,
) -> Ledger | None:
    end = until or known_until(target.series, ctx.as_of)
    present = ctx.store.slots(
        target.name, places=target.places, start=since or ALWAYS, end=end, as_of=ctx.as_of
    )
    if not len(present) and not target.doors:
        return None  # neither imported nor served: not expected here
    look_back = ctx.as_of - timedelta(days=ctx.settings.gaps.look_back_days)
    start = since or (from_epoch(int(present[0])) if len(present) else look_back)
    doubted = barred(verdicts, target)
    nowhere = unfillable_stretches(ctx.state, target.name, target.doors, ctx.as_of)
    books = account(
        target.series,
        start,
        end,
        present,
        as_of=ctx.as_of,
        quarantined=np.unique(np.concatenate([NO_SLOTS, *doubted.values()])),
        unfillable=nowhere,
    )
    return Ledger(target, books, doubted, tuple(nowhere)) if len(books.starts) else None


def barred(verdicts: pd.DataFrame, target: Target) -> dict[Door, Slots]:
    """Return the slots of ``target`` with an open verdict, by who gave the value."""
    mine = verdicts[(verdicts["series"] == target.name) & verdicts["place"].isin(target.places)]
    given = mine.groupby(["source", "place"])["start"]
    return {Door(str(source), str(place)): from_index(starts) for (source, place), starts in given}


def known_until(series: Series, as_of: datetime) -> datetime:
    """Return the end of the slots to account for: tomorrow's too once they can be published, else up to ``as_of``."""
    return max(as_of, *(rule.known_until(as_of) for rule in series.publication.values()))


def gap_table(
    target: Target, found: Runs, policy: GapSettings, state: SlotState = SlotState.MISSING
) -> pd.DataFrame:
    """Return one row per run (``GAP_COLUMNS``); duration is missing slots times cadence."""
    hours = found.seconds / HOUR_S
    rules = [policy.severities[n] for n in severity_index(hours, policy)]
    return pd.DataFrame(
        {
            "series": target.name,
            "place": target.place,
            "start": to_index(found.starts),
            "end": to_index(found.ends),
            "slots": found.slots,
            "duration_h": hours,
            "severity": [rule.name for rule in rules],
            "strategy": [rule.strategy for rule in rules],
            "priority": [rule.priority for rule in rules],
            "state": state.name.lower(),
        },
        columns=list(GAP_COLUMNS),
    )


def gap_table_empty() -> pd.DataFrame:
    """Return a gap table without rows."""
    return pd.DataFrame({name: [] for name in GAP_COLUMNS}).astype(
        {
            "slots": "int64",
            "duration_h": "float64",
            "start": "datetime64[s, UTC]",
            "end": "datetime64[s, UTC]",
        }
    )


def severity_index(hours: np.ndarray, policy: GapSettings) -> np.ndarray:
    """Return for each duration (h) which of the policy's severities it is; upper ends are inclusive."""
    return np.searchsorted(upper_ends(policy.severities), hours, side="left")


def upper_ends(rules: Sequence[SeverityRule]) -> list[float]:
    """Return the upper ends (h) of all severities but the last, which has none."""
    return [rule.up_to_h for rule in rules if rule.up_to_h is not None]


def completeness(books: Account) -> pd.Series:
    """Return the share of due slots that are present, indexed by market day (a naive calendar date)."""
    due = books.states != SlotState.LATE
    days = local_days(books.starts[due])
    names, groups = np.unique(days, return_inverse=True)
    share = np.bincount(groups, weights=books.states[due] == SlotState.PRESENT) / np.bincount(
        groups
    )
    return pd.Series(
        share, index=pd.DatetimeIndex(names.astype("datetime64[s]"), name="day"), dtype="float64"
    )
