"""Pauses: jobs that cron does not start for a while, as a person decided. Standard library only."""

from datetime import datetime
from typing import NamedTuple

from factory_lib.clock import epoch, from_epoch
from factory_lib.errors import BadInput
from factory_lib.state import State, marks


class Pause(NamedTuple):
    """The pause of one job: since when, until when (None: until it is resumed), and why; UTC."""

    since: datetime
    until: datetime | None
    by: str
    reason: str

    def __str__(self) -> str:
        """Return the pause in words."""
        end = f"until {self.until:%Y-%m-%d %H:%M}Z" if self.until else "until it is resumed"
        reason = f" ({self.reason})" if self.reason else ""
        return f"paused {end} by {self.by}{reason}"


def pause(
    state: State, job: str, now: datetime, *, until: datetime | None, by: str, reason: str
) -> Pause:
    """Let no tick start the job; a run with ``--force`` still does.

    Raises
    ------
    BadInput
        If ``until`` is over.
    """
    if until is not None and until <= now:
        raise BadInput(
            f"{until:%Y-%m-%d %H:%M}Z is over.", next_step="Give an instant that lies ahead."
        )
    note = {"until": epoch(until) if until else None, "by": by, "reason": reason}
    marks.set_mark(state, marks.PAUSED, job, now, note)
    return Pause(now, until, by, reason)


def resume(state: State, job: str) -> None:
    """End a pause.

    Raises
    ------
    BadInput
        If the job is not paused.
    """
    if not marks.delete_mark(state, marks.PAUSED, job):
        raise BadInput(f"{job} is not paused.", next_step="`factory jobs` shows what is.")


def pauses(state: State, now: datetime) -> dict[str, Pause]:
    """Return the pauses of now by job."""
    current = {}
    for job, (since, note) in marks.get_marks(state, marks.PAUSED).items():
        until = from_epoch(note["until"]) if note["until"] else None
        if until is None or until > now:
            current[job] = Pause(since, until, note["by"], note["reason"])
    return current
