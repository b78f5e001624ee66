"""The circuit breaker of each host, shared by all processes through ``hosts.db``.

Closed: requests go out. After ``failures`` in a row it opens for ``open_s`` seconds and
no request goes out. Then it is half open: one probe goes out; its success closes the
circuit, its failure opens it again. A probe whose process died expires after
``open_s``. Standard library only.
"""

from datetime import datetime

from factory_lib.clock import from_epoch
from factory_lib.errors import CircuitOpen
from factory_lib.settings.records import BreakerSettings
from factory_lib.state.database import Hosts

_ROW = "SELECT failures, open_until, probing FROM breaker WHERE host = ?"
_CLOSED = (0, 0.0, 0)  # a host without a row


def refuse_if_open(hosts: Hosts, host: str, now: datetime) -> None:
    """Raise ``CircuitOpen`` while the circuit of ``host`` is open; read only."""
    _, open_until, _ = _row(hosts, host)
    if now.timestamp() < open_until:
        raise CircuitOpen(host, from_epoch(int(open_until)))


def acquire(hosts: Hosts, host: str, now: datetime, rules: BreakerSettings) -> None:
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
        if now.timestamp() < busy_until:
            raise CircuitOpen(host, from_epoch(int(busy_until)))
        connection.execute(
            "UPDATE breaker SET probing = ? WHERE host = ?", (int(now.timestamp()), host)
        )


def record_success(hosts: Hosts, host: str) -> None:
    """Close the circuit: ``host`` answered as a working host does."""
    if _row(hosts, host)[0]:
        with hosts.transaction() as connection:
            connection.execute("DELETE FROM breaker WHERE host = ?", (host,))


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
            "INSERT OR REPLACE INTO breaker VALUES (?, ?, ?, 0, ?)",
            (host, failures, open_until, cause),
        )


def open_hosts(hosts: Hosts, rules: BreakerSettings) -> dict[str, str]:
    """Return the reason for each host whose circuit is open, or half open and not yet proven."""
    rows = hosts.query(
        "SELECT host, failures, open_until, cause FROM breaker WHERE failures >= ? ORDER BY host",
        (rules.failures,),
    )
    return {
        host: f"{failures} failures in a row, the last one {_cause(cause)}; not asked until "
        f"{from_epoch(int(until)):%Y-%m-%d %H:%M:%SZ}, then once to see whether it answers."
        for host, failures, until, cause in rows
    }


def _cause(cause: str) -> str:
    return f"HTTP {cause}" if cause.isdigit() else "without an answer"


def _row(hosts: Hosts, host: str) -> tuple[int, float, int]:
    rows = hosts.query(_ROW, (host,))
    return rows[0] if rows else _CLOSED
