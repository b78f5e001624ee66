"""Times of the cron schedule: when a job should last have been called.

cron keeps the machine's own time zone. Standard library only: ticks pass through here.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import product

from factory_lib.settings import Settings

GRACE = timedelta(minutes=10)  # for a tick to be recorded: a machine under load, a clock corrected
LONGEST_SILENCE = timedelta(minutes=30)  # of cron: a restart of the machine is shorter
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_FURTHEST_DAYS = 366


def latest(cron: str, until: datetime) -> datetime | None:
    """Return the last instant up to ``until`` at which five cron fields call, UTC.

    None where that is more than a year ago. An hour that comes twice calls twice where the
    hours are not restricted, else once (Debian's cron(8)).
    """
    minutes, hours, *dates = fields(cron)
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


def fields(cron: str) -> list[list[int]]:
    """Return the minutes, hours, days, months and weekdays (0 and 7: Sunday), ascending."""
    pairs = zip(cron.split(), _FIELDS, strict=True)
    return [sorted(_values(field, *ends)) for field, ends in pairs]


def _values(field: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for entry in field.split(","):
        span, _, step = entry.partition("/")
        first, _, last = span.partition("-")
        begin = low if span == "*" else int(first)
        open_end = span == "*" or (bool(step) and not last)
        end = high if open_end else int(last or first)
        values.update(range(begin, end + 1, int(step or 1)))
    return values


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
