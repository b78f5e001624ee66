"""Times of the cron schedule: when a job should last have been called.

cron keeps the machine's own time zone. Standard library only: ticks pass through here.
"""

from datetime import UTC, date, datetime, timedelta

from factory_lib.settings import Settings

GRACE = timedelta(minutes=10)  # for a tick to be recorded: a machine under load, a clock corrected
LONGEST_SILENCE = timedelta(minutes=30)  # of cron: a restart of the machine is shorter
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_FURTHEST_DAYS = 366


def latest(cron: str, until: datetime) -> datetime | None:
    """Return the last instant up to ``until`` at which five cron fields call, UTC.

    None where that is more than a year ago.
    """
    minutes, hours, *_ = fields(cron)
    today = until.astimezone().date()
    for back in range(_FURTHEST_DAYS):
        day = today - timedelta(days=back)
        if not _calls_on(cron, day):
            continue
        for hour in reversed(hours):
            for minute in reversed(minutes):
                local = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001
                instant = local.astimezone(UTC)
                if instant <= until:
                    return instant
    return None


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


def _calls_on(cron: str, day: date) -> bool:
    """Return whether the fields of day, month and weekday name a day.

    Where both day and weekday are restricted, either will do (crontab(5)).
    """
    _, _, days, months, weekdays = cron.split()
    if day.month not in _values(months, 1, 12):
        return False
    by_day = day.day in _values(days, 1, 31)
    by_weekday = bool({day.isoweekday(), day.isoweekday() % 7} & _values(weekdays, 0, 7))
    if days.startswith("*") or weekdays.startswith("*"):
        return by_day and by_weekday
    return by_day or by_weekday
