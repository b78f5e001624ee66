"""Passes: what a provider failed to answer for is asked for again, the more often the longer the gap.

Every two hours the whole account is looked at; passes are counted in minutes from there
(``[gaps]`` of the settings) and remembered in the shared state, for each is a run of
its own. Standard library only: every tick asks for the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory_lib.clock import epoch, from_epoch
from factory_lib.settings.records import SeverityRule
from factory_lib.state import State
from factory_lib.state.marks import get_mark, set_mark

AGAIN = "backfill again"  # mark: when gaps are looked for again; the note holds the pass before
JOB = "automatic"
LOOK_EVERY = timedelta(hours=2)


@dataclass(frozen=True)
class Pass:
    """One run's turn: the passes that fell due after one minute and until another, counted from ``first``."""

    first: datetime
    after_min: float = -1.0
    until_min: float = 0.0

    def includes(self, rule: SeverityRule) -> bool:
        """Return whether gaps of a severity are asked for now."""
        return any(self.after_min < minute <= self.until_min for minute in rule.passes_at_min)


def begin(state: State, now: datetime) -> Pass:
    """Return the turn of a run at ``now``: the next passes if they are due, else a look at the whole account."""
    found = get_mark(state, AGAIN, JOB)
    if found and found[1] and found[0] <= now:
        first, minutes = from_epoch(found[1]["first"]), found[1]["until_min"]
        if now - first < LOOK_EVERY:
            return Pass(first, minutes, (now - first).total_seconds() / 60)
    return Pass(
        now.replace(second=0, microsecond=0)
    )  # cron's minute: its next tick is not to come seconds too early


def leave(state: State, turn: Pass, failed: Iterable[SeverityRule]) -> None:
    """Leave word of a turn, and of when what ``failed`` is tried again."""
    minutes = [
        minute for rule in failed for minute in rule.passes_at_min if minute > turn.until_min
    ]
    wait = min([LOOK_EVERY, *(timedelta(minutes=minute) for minute in minutes)])
    note = {"first": epoch(turn.first), "until_min": turn.until_min, "failed": bool(minutes)}
    set_mark(state, AGAIN, JOB, turn.first + wait, note)


def waiting(state: State) -> tuple[datetime, bool] | None:
    """Return when gaps are looked for again, and whether a pass is due then; None: nobody left word."""
    found = get_mark(state, AGAIN, JOB)
    return (found[0], found[1]["failed"]) if found and found[1] else None
