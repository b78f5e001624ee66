"""Time: an injectable clock, UTC instants, and the market day of Europe/Madrid.

Clock changes live here and nowhere else. A market day runs from local midnight to the
next, so it has 23, 24 or 25 hours (92, 96 or 100 quarters). Because Madrid's offset is
a whole number of hours, every UTC hour and quarter lies inside one local hour: slots
are counted in UTC and only the day's ends need the zone. Standard library only: a
scheduled tick with nothing to do must not pay for numpy.
"""

import time as _time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from factory_lib.errors import BadInput
from factory_lib.files import write_atomically

MADRID = ZoneInfo("Europe/Madrid")
HOUR_S = 3600
QUARTER_S = 900
DAY_S = 86400
DAY = timedelta(days=1)
REPLAY_AFTER = DAY  # a run as of longer ago is a replay, whatever started it
# environment: the instant that a run of the present gives its kernel as ``as_of``
AS_OF_ENV = "FACTORY_PRESENT"


class Clock(Protocol):
    """A source of the time that can wait; injected, so that no test waits."""

    def now(self) -> datetime:
        """Return the present instant, UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clock, or one that runs beside it.

    The demo's processes live at the simulator's time.

    Parameters
    ----------
    offset_s : float
        Seconds ahead of the machine's clock.
    """

    def __init__(self, offset_s: float = 0.0) -> None:
        self._offset = timedelta(seconds=offset_s)

    def now(self) -> datetime:
        """Return the present instant, UTC."""
        return datetime.now(UTC) + self._offset

    def sleep(self, seconds: float) -> None:
        """Wait for real."""
        if seconds > 0:
            _time.sleep(seconds)


def load_clock(file: Path) -> datetime | None:
    """Return the instant at which a simulated profile's clock was left; None if it never ran."""
    try:
        return require_utc(datetime.fromisoformat(file.read_text(encoding="utf-8").strip()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadInput(
            f"{file} holds no instant.", next_step="Remove it: `make demo` writes it again."
        ) from error


def save_clock(file: Path, now: datetime) -> None:
    """Leave a simulated profile's clock for the next command, which goes on from there.

    An earlier instant than the one in the file is ignored.
    Of two commands that end in the same moment either may have the last word: they are
    seconds apart.
    """
    if now > (load_clock(file) or now - timedelta(seconds=1)):
        write_atomically(file, now.isoformat())


def require_utc(instant: datetime) -> datetime:
    """Return ``instant`` in UTC; a naive one is an error, never a guess.

    Raises
    ------
    BadInput
        If ``instant`` carries no time zone.
    """
    if instant.tzinfo is None:
        raise BadInput(
            f"{instant.isoformat()} has no time zone.", next_step="Give it an offset, or Z for UTC."
        )
    return instant.astimezone(UTC)


FIRST_YEAR, LAST_YEAR = 1900, 2100  # beyond them an instant is a slip of the pen


def parse_instant(text: str) -> datetime:
    """Read an ISO instant with offset; a bare date is that market day's local midnight.

    Raises
    ------
    BadInput
        If it is not ISO 8601, or has a time of day and no offset.
    """
    try:
        instant = (
            day_start(date.fromisoformat(text)) if len(text) == 10 else datetime.fromisoformat(text)
        )
        if not FIRST_YEAR <= instant.year <= LAST_YEAR:
            raise ValueError(f"year {instant.year}")
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"{text!r} is not a date or an instant between {FIRST_YEAR} and {LAST_YEAR}.",
            next_step="Write 2026-01-31 or 2026-01-31T12:00:00Z.",
        ) from error
    return require_utc(instant)


def epoch(instant: datetime) -> int:
    """Seconds since 1970-01-01T00:00Z of an aware instant."""
    return int(require_utc(instant).timestamp())


def from_epoch(seconds: int) -> datetime:
    """Return the UTC instant of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def floored(instant: datetime, step_s: int) -> datetime:
    """Return the last whole step of ``step_s`` seconds since 1970 up to an instant."""
    # In whole seconds: a real clock has fractions, and a slot never ends at one.
    return from_epoch(epoch(instant) // step_s * step_s)


def market_day(instant: datetime) -> date:
    """Return the market's calendar day that ``instant`` falls in."""
    return local_day(instant, MADRID)


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """Return a zone's calendar day that ``instant`` falls in."""
    return require_utc(instant).astimezone(zone).date()


def local_instant(day: date, at: time, zone: ZoneInfo = MADRID) -> datetime:
    """Return the UTC instant of a local wall time; the first one where it happens twice."""
    return datetime.combine(day, at, zone).astimezone(UTC)


def day_start(day: date, zone: ZoneInfo = MADRID) -> datetime:
    """Return the UTC instant of local midnight that begins ``day``."""
    return local_instant(day, time(), zone)


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the half-open UTC interval of the market day."""
    return day_start(day), day_start(day + timedelta(days=1))


def slots_in_day(day: date, resolution_s: int) -> int:
    """Return how many slots the market day has: 23, 24, 25 hours or 92, 96, 100 quarters."""
    start, end = day_bounds(day)
    return int((end - start).total_seconds()) // resolution_s


def days_between(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[date]:
    """Yield every day of a zone that the half-open window touches."""
    day = local_day(start, zone)
    while day_start(day, zone) < require_utc(end):
        yield day
        day += timedelta(days=1)


# -- what people read --------------------------------------------------------------------

_displayed: ContextVar[ZoneInfo] = ContextVar("displayed", default=MADRID)


def display_zone() -> ZoneInfo:
    """Return the zone in which times are shown: that of the plant that is worked with."""
    return _displayed.get()


def local_time(instant: datetime) -> str:
    """Return an instant as the plant's clock shows it: ``Thu 20 Nov 11:20``."""
    return f"{instant.astimezone(display_zone()):%a %-d %b %H:%M}"


def display_midnight(now: datetime, days: int = 0) -> datetime:
    """Return the UTC instant that begins the local day of ``now``, or one ``days`` later."""
    zone = display_zone()
    return day_start(local_day(now, zone) + timedelta(days=days), zone)


@contextmanager
def displayed_in(zone: ZoneInfo) -> Iterator[None]:
    """Show times in a zone; nothing is computed by it."""
    before = _displayed.get()
    _displayed.set(zone)
    try:
        yield
    finally:
        _displayed.set(before)  # no reset: a notebook's context ends in another thread of it
