"""The circuit breaker of each host, shared by all processes through ``state.db``.

Closed: requests go out. After ``failures`` in a row it opens for ``open_s`` seconds and
no request goes out. Then it is half open: one probe goes out; its success closes the
circuit, its failure opens it again. A probe whose process died expires after
``open_s``. Standard library only.
"""

from __future__ import annotations

from datetime import datetime

from factory_lib.clock import from_epoch
from factory_lib.errors import CircuitOpen
from factory_lib.settings.records import BreakerSettings
from factory_lib.state.database import State

_ROW = "SELECT failures, open_until, probing FROM breaker WHERE host = ?"
_CLOSED = (0, 0.0, 0)  # a host without a row


def refuse_if_open(state: State, host: str, now: datetime) -> None:
    """Raise ``CircuitOpen`` while the circuit of ``host`` is open; read only."""
    _, open_until, _ = _row(state, host)
    if now.timestamp() < open_until:
        raise CircuitOpen(host, from_epoch(int(open_until)))


def acquire(state: State, host: str, now: datetime, rules: BreakerSettings) -> None:
    """Allow one request to ``host``, as the one probe if the circuit is half open.

    Raises
    ------
    CircuitOpen
        If the circuit is open, or half open with another probe on its way.
    """
    # Read inside the transaction: another process may close the circuit at any moment.
    with state.transaction() as connection:
        failures, open_until, probing = connection.execute(_ROW, (host,)).fetchone() or _CLOSED
        if failures < rules.failures:
            return
        busy_until = max(open_until, probing + rules.open_s if probing else 0.0)
        if now.timestamp() < busy_until:
            raise CircuitOpen(host, from_epoch(int(busy_until)))
        connection.execute(
            "UPDATE breaker SET probing = ? WHERE host = ?", (int(now.timestamp()), host)
        )


def record_success(state: State, host: str) -> None:
    """Close the circuit: ``host`` answered as a working host does."""
    if _row(state, host)[0]:
        with state.transaction() as connection:
            connection.execute("DELETE FROM breaker WHERE host = ?", (host,))


def record_failure(state: State, host: str, now: datetime, rules: BreakerSettings) -> None:
    """Count a failure of ``host``; the last one allowed opens the circuit."""
    with state.transaction() as connection:
        failures = 1 + (connection.execute(_ROW, (host,)).fetchone() or _CLOSED)[0]
        open_until = now.timestamp() + rules.open_s if failures >= rules.failures else 0.0
        connection.execute(
            "INSERT OR REPLACE INTO breaker VALUES (?, ?, ?, 0)", (host, failures, open_until)
        )


def is_open(state: State, host: str, now: datetime) -> bool:
    """Return whether no request may go to ``host`` at ``now``."""
    return now.timestamp() < _row(state, host)[1]


def open_hosts(state: State, rules: BreakerSettings) -> dict[str, str]:
    """Return the reason for each host whose circuit is open, or half open and not yet proven."""
    rows = state.query(
        "SELECT host, failures, open_until, (SELECT status FROM call WHERE room = 'http'"
        " AND target = host ORDER BY at DESC LIMIT 1) FROM breaker WHERE failures >= ?"
        " ORDER BY host",
        (rules.failures,),
    )
    return {
        host: f"{failures} failures in a row, the last one {_cause(status)}; not asked until "
        f"{from_epoch(int(until)):%Y-%m-%d %H:%M:%SZ}, then once to see whether it answers."
        for host, failures, until, status in rows
    }


def _cause(status: str | None) -> str:
    return f"HTTP {status}" if status and status.isdigit() else "without an answer"


def _row(state: State, host: str) -> tuple[int, float, int]:
    rows = state.query(_ROW, (host,))
    return rows[0] if rows else _CLOSED
