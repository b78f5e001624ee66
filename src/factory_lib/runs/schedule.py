"""The schedule: when a job should last have been called, and pauses that a person decided.

cron keeps the machine's own time zone. Standard library only: ticks pass through here.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import NamedTuple

from factory_lib.clock import epoch, from_epoch, local_time
from factory_lib.errors import BadInput
from factory_lib.settings import Settings
from factory_lib.settings.records import cron_fields
from factory_lib.state import State, marks

GRACE = timedelta(minutes=10)  # for a tick to be recorded: a machine under load, a clock corrected
LONGEST_SILENCE = timedelta(minutes=30)  # of cron: a restart of the machine is shorter
_FURTHEST_DAYS = 366


def latest(cron: str, until: datetime) -> datetime | None:
    """Return the last instant up to ``until`` at which five cron fields call, UTC.

    None where that is more than a year ago. An hour that comes twice calls twice where the
    hours are not restricted, else once (Debian's cron(8)).
    """
    minutes, hours, *dates = cron_fields(cron)
    is_hourly = cron.split()[1].startswith("*")
    today = until.astimezone().date()
    for back in range(_FURTHEST_DAYS):
        day = today - timedelta(days=back)
        if not _calls_on(day, dates, either=either_day(cron)):
            continue
        for hour, later in product(reversed(hours), (True, False)):
            if later and not (is_hourly and _comes_twice(day, hour)):
                continue
            for minute in reversed(minutes):
                instant = _instant(day, hour, minute, fold=later)
                if instant <= until:
                    return instant
    return None


def _instant(day: date, hour: int, minute: int = 0, *, fold: bool) -> datetime:
    """Return a wall time of the machine as UTC, the later one of two if ``fold``."""
    wall = datetime(day.year, day.month, day.day, hour, minute, fold=fold)  # noqa: DTZ001
    return datetime.fromtimestamp(wall.timestamp(), UTC)  # astimezone errs where none was


def _comes_twice(day: date, hour: int) -> bool:
    """Return whether the clock is put back over a wall hour of the machine."""
    return _instant(day, hour, fold=True) > _instant(day, hour, fold=False)


def cron_was_silent(settings: Settings, last: datetime, now: datetime) -> bool:
    """Return whether cron, which called at ``last``, should have called long before ``now``."""
    cadences = {spec.cron for spec in settings.jobs.values() if spec.cron}
    calls = (latest(cron, now - LONGEST_SILENCE) for cron in cadences)
    return any(call is not None and call > last + GRACE for call in calls)


def _calls_on(day: date, dates: Sequence[Sequence[int]], *, either: bool) -> bool:
    """Return whether the fields of day, month and weekday name a day."""
    days, months, weekdays = dates
    if day.month not in months:
        return False
    by_day = day.day in days
    by_weekday = not {day.isoweekday(), day.isoweekday() % 7}.isdisjoint(weekdays)
    return (by_day or by_weekday) if either else (by_day and by_weekday)


def either_day(cron: str) -> bool:
    """Return whether day and weekday are both restricted, so that either will do (crontab(5))."""
    _, _, day, _, weekday = cron.split()
    return not (day.startswith("*") or weekday.startswith("*"))


# -- pauses ----------------------------------------------------------------------------


class Pause(NamedTuple):
    """A job that cron does not start: since when, until when (None: until resumed), why; UTC."""

    since: datetime
    until: datetime | None
    by: str
    reason: str

    def __str__(self) -> str:
        """Return the pause in words."""
        end = f"until {local_time(self.until)}" if self.until else "until it is resumed"
        reason = f" ({self.reason})" if self.reason else ""
        return f"paused by {self.by} {end}{reason}"


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
            f"{local_time(until)} is over.", next_step="Give an instant that lies ahead."
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
