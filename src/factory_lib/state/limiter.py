"""The rate limiter and the circuit breaker of each host, for all processes of the machine.

Limiter: at most one request of a host per spacing. A turn is an absolute instant given
out in one transaction of ``hosts.db``, so eight processes queue like one. Capacity is
one: an unused turn is not saved up.

Breaker: closed, requests go out. After ``failures`` in a row it opens for ``open_s``
seconds and no request goes out. Then it is half open: one probe goes out; its success
closes the circuit, its failure opens it again. A probe whose process died expires after
``open_s``. Standard library only.
"""

from datetime import UTC, datetime, timedelta

from factory_lib.clock import Clock, from_epoch, local_time
from factory_lib.errors import CircuitOpen, QuotaError
from factory_lib.settings.records import BreakerSettings, SourceSettings
from factory_lib.state.database import Hosts, upsert

# A provider counts arrivals, we space departures. Two per cent more than the limit asks
# lets an arrival be 1.2 s late (60 s × 2 %) before any 60 seconds hold one request too
# many, and costs two per cent of the rate.
MARGIN = 1.02
LATEST_START_S = 0.5  # a turn that the machine slept through is given up for another one
LONGEST_WAIT_S = 300.0  # no process waits for a turn further off
# A turn or an open circuit further off was stored while the clock was ahead: no provider
# closes itself for longer than a day.
LONGEST_BLOCK_S = 86_400.0


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
    hosts.change(
        "INSERT INTO spacing VALUES (?, ?, '', 0) ON CONFLICT (host)"
        " DO UPDATE SET next_at = excluded.next_at WHERE excluded.next_at > spacing.next_at",
        [(host, until.timestamp())],
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
        turn = max(now, next_at) if next_at - now <= LONGEST_BLOCK_S else now
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
                f"not asked before {local_time(from_epoch(int(turn)))}",
                retry_after_s=turn - now,
            )
        connection.execute(
            upsert("spacing", ("host", "next_at", "day", "used"), keys=1),
            (host, turn + step_s(limits), today.isoformat(), used + 1),
        )
    return turn


# -- the circuit breaker ---------

_ROW = "SELECT failures, open_until, probing FROM breaker WHERE host = ?"
_CLOSED = (0, 0.0, 0)  # a host without a row


def refuse_if_open(hosts: Hosts, host: str, now: datetime) -> None:
    """Raise ``CircuitOpen`` while the circuit of ``host`` is open; read only."""
    _, open_until, _ = _row(hosts, host)
    if 0 < open_until - now.timestamp() <= LONGEST_BLOCK_S:
        raise _circuit_open(host, open_until)


def pass_breaker(hosts: Hosts, host: str, now: datetime, rules: BreakerSettings) -> None:
    """Allow one request to ``host``, as the one probe if the circuit is half open.

    Raises
    ------
    CircuitOpen
        If the circuit is open, or half open with another probe on its way.
    """
    # Read inside the transaction: another process may close the circuit at any moment.
    with hosts.transaction() as connection:
        failures, open_until, probing = connection.execute(_ROW, (host,)).fetchone() or _CLOSED
        if failures < rules.failures:
            return
        busy_until = max(open_until, probing + rules.open_s if probing else 0.0)
        if 0 < busy_until - now.timestamp() <= LONGEST_BLOCK_S:
            raise _circuit_open(host, busy_until)
        connection.execute(
            "UPDATE breaker SET probing = ? WHERE host = ?", (int(now.timestamp()), host)
        )


def _circuit_open(host: str, until_s: float) -> CircuitOpen:
    until = from_epoch(int(until_s))
    return CircuitOpen(host, until, local_time(until))


def record_success(hosts: Hosts, host: str) -> None:
    """Close the circuit: ``host`` answered as a working host does."""
    if _row(hosts, host)[0]:
        hosts.change("DELETE FROM breaker WHERE host = ?", [(host,)])


def record_failure(
    hosts: Hosts, host: str, now: datetime, rules: BreakerSettings, cause: str
) -> None:
    """Count a failure of ``host``; the last one allowed opens the circuit.

    ``cause`` is the HTTP status, or the error where there was no answer.
    """
    with hosts.transaction() as connection:
        failures = 1 + (connection.execute(_ROW, (host,)).fetchone() or _CLOSED)[0]
        open_until = now.timestamp() + rules.open_s if failures >= rules.failures else 0.0
        connection.execute(
            upsert("breaker", ("host", "failures", "open_until", "probing", "cause"), keys=1),
            (host, failures, open_until, 0, cause),
        )


def open_hosts(hosts: Hosts, rules: BreakerSettings) -> dict[str, str]:
    """Return the reason for each host whose circuit is open, or half open and not yet proven."""
    rows = hosts.query(
        "SELECT host, failures, open_until, cause FROM breaker WHERE failures >= ? ORDER BY host",
        (rules.failures,),
    )
    return {
        host: f"{failures} failures in a row, the last one {_cause(cause)}; not asked until "
        f"{local_time(from_epoch(int(until)))}, then once to see whether it answers."
        for host, failures, until, cause in rows
    }


def _cause(cause: str) -> str:
    return f"HTTP {cause}" if cause.isdigit() else "without an answer"


def _row(hosts: Hosts, host: str) -> tuple[int, float, int]:
    rows = hosts.query(_ROW, (host,))
    return rows[0] if rows else _CLOSED
