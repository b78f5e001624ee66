"""The rate limiter: at most one request of a host per spacing, over all processes of the machine.

A turn is an absolute instant handed out in one transaction of ``hosts.db``, so eight
processes queue like one. Capacity is one: an unused turn is not saved up. Standard
library only.
"""

from datetime import UTC, datetime, timedelta

from factory_lib.clock import Clock, from_epoch
from factory_lib.errors import QuotaError
from factory_lib.settings.records import SourceSettings
from factory_lib.state.database import Hosts

# A provider counts arrivals, we space departures. Two per cent more than the limit asks
# lets an arrival be 1.2 s late (60 s × 2 %) before any 60 seconds hold one request too
# many, and costs two per cent of the rate.
MARGIN = 1.02
LATEST_START_S = 0.5  # a turn that the machine slept through is given up for another one
LONGEST_WAIT_S = 300.0  # no process waits for a turn further off


def step_s(limits: SourceSettings) -> float:
    """Return the seconds between two turns."""
    return max(limits.spacing_s, 60.0 / limits.requests_per_minute) * MARGIN


def acquire(hosts: Hosts, host: str, limits: SourceSettings, clock: Clock) -> None:
    """Sleep until it is this caller's turn to send a request to ``host``.

    Raises
    ------
    QuotaError
        If the day's quota is used up, or the host is blocked for longer than a process
        should wait.
    """
    while True:
        turn = _reserve(hosts, host, limits, clock.now().timestamp())
        clock.sleep(turn - clock.now().timestamp())
        if clock.now().timestamp() - turn <= LATEST_START_S:
            return


def block_until(hosts: Hosts, host: str, until: datetime) -> None:
    """Give no turn of ``host`` before ``until``, to any process: the host answered 429."""
    with hosts.transaction() as connection:
        connection.execute(
            "INSERT INTO spacing VALUES (?, ?, '', 0)"
            " ON CONFLICT DO UPDATE SET next_at = max(next_at, excluded.next_at)",
            (host, until.timestamp()),
        )


def forget_from(hosts: Hosts, instant: datetime) -> None:
    """Delete turns and open circuits from ``instant`` on: the clock was put back to it."""
    with hosts.transaction() as connection:
        connection.execute("DELETE FROM spacing WHERE next_at >= ?", (instant.timestamp(),))
        connection.execute("DELETE FROM breaker WHERE open_until >= ?", (instant.timestamp(),))


def _reserve(hosts: Hosts, host: str, limits: SourceSettings, now: float) -> float:
    today = datetime.fromtimestamp(now, UTC).date()
    with hosts.transaction() as connection:
        next_at, day, used = connection.execute(
            "SELECT next_at, day, used FROM spacing WHERE host = ?", (host,)
        ).fetchone() or (0.0, "", 0)
        used = used if day == today.isoformat() else 0
        turn = max(now, next_at)
        if limits.requests_per_day and used >= limits.requests_per_day:
            midnight = datetime.combine(today, datetime.min.time(), UTC) + timedelta(days=1)
            raise QuotaError(
                host,
                f"all {used} requests of the day are used",
                retry_after_s=midnight.timestamp() - now,
            )
        if turn - now > LONGEST_WAIT_S:
            raise QuotaError(
                host,
                f"not asked before {from_epoch(int(turn)):%H:%M:%SZ}",
                retry_after_s=turn - now,
            )
        connection.execute(
            "INSERT OR REPLACE INTO spacing VALUES (?, ?, ?, ?)",
            (host, turn + step_s(limits), today.isoformat(), used + 1),
        )
    return turn
