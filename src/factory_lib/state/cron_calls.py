"""Calls of cron: when it last called, and since when it does so without a long silence.

Standard library only: every tick records one.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from factory_lib.clock import epoch, from_epoch
from factory_lib.state import marks
from factory_lib.state.database import State

CALLER, NAME = "FACTORY_CALLER", "cron"  # an environment variable of cron's lines
_ENTITY = "calls"


class Calls(NamedTuple):
    """The last call, and the first one after the last long silence; UTC."""

    last: datetime
    since: datetime


def cron_calls(state: State, now: datetime) -> Calls | None:
    """Return cron's calls; None where it never called, or only in what is the future now."""
    mark = marks.get_mark(state, marks.CRON, _ENTITY)
    if mark is None or mark.at > now + timedelta(minutes=5):
        return None
    return Calls(mark.at, from_epoch(mark.note))


def record_call(state: State, now: datetime, *, was_silent: bool) -> None:
    """Store that cron called; ``was_silent`` says that a long silence ends now."""
    before = cron_calls(state, now)
    since = now if before is None or was_silent else before.since
    marks.set_mark(state, marks.CRON, _ENTITY, now, epoch(since))
