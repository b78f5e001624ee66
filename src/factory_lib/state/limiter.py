"""Whose turn it is: at most one request of a host per spacing, over all processes of the machine.

A turn is an absolute instant handed out in one transaction of ``state.db``, so eight
processes queue like one. Capacity is one: what was not used is not saved up. Standard
library only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from factory_lib.clock import Clock, from_epoch
from factory_lib.errors import QuotaError
from factory_lib.settings.records import SourceSettings
from factory_lib.state import State

# A provider counts arrivals, we space departures. Two per cent more than the limit asks
# lets an arrival be 1.2 s late (60 s × 2 %) before any 60 seconds hold one request too
# many, and costs two per cent of the rate.
MARGIN = 1.02
LATEST_START_S = 0.5  # a turn that the machine slept through is given up and another one taken
LONGEST_WAIT_S = 300.0  # a turn further off is not worth holding a process for


def step_s(limits: SourceSettings) -> float:
    """Return the seconds between two turns."""
    return max(limits.spacing_s, 60.0 / limits.requests_per_minute) * MARGIN


def wait_for_turn(state: State, host: str, limits: SourceSettings, clock: Clock) -> None:
    """Sleep until it is this caller's turn to ask ``host``.

    Raises
    ------
    QuotaError
        If the day's quota is used up, or the host asked to be left alone for longer
        than a process should wait.
    """
    while True:
        turn = _reserve(state, host, limits, clock.now().timestamp())
        clock.sleep(turn - clock.now().timestamp())
        if clock.now().timestamp() - turn <= LATEST_START_S:
            return


def hold(state: State, host: str, until: datetime) -> None:
    """Give no turn of ``host`` before ``until``: what one process was told by a 429 holds for all."""
    with state.transaction() as sql:
        sql.execute(
            "INSERT INTO spacing VALUES (?, ?, '', 0)"
            " ON CONFLICT DO UPDATE SET next_at = max(next_at, excluded.next_at)",
            (host, until.timestamp()),
        )


def _reserve(state: State, host: str, limits: SourceSettings, now: float) -> float:
    today = datetime.fromtimestamp(now, UTC).date()
    with state.transaction() as sql:
        row = sql.execute(
            "SELECT next_at, day, used FROM spacing WHERE host = ?", (host,)
        ).fetchone()
        next_at, day, used = row or (0.0, "", 0)
        used = used if day == today.isoformat() else 0
        turn = max(now, next_at)
        if limits.requests_per_day and used >= limits.requests_per_day:
            tomorrow = datetime.combine(
                today + timedelta(days=1), datetime.min.time(), UTC
            ).timestamp()
            raise QuotaError(
                host, f"all {used} requests of the day are used", retry_after_s=tomorrow - now
            )
        if turn - now > LONGEST_WAIT_S:
            raise QuotaError(
                host,
                f"not asked before {from_epoch(int(turn)):%H:%M:%SZ}",
                retry_after_s=turn - now,
            )
        sql.execute(
            "INSERT OR REPLACE INTO spacing VALUES (?, ?, ?, ?)",
            (host, turn + step_s(limits), today.isoformat(), used + 1),
        )
    return turn
