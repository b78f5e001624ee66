"""Calls and ticks, counted for the metrics.

One row for each HTTP request, store operation and registry operation, without parameters
and secrets; and for each job the number of its ticks by outcome and day.
"""

from datetime import UTC, datetime
from typing import Literal, NamedTuple

from factory_lib.clock import epoch, from_epoch
from factory_lib.state.database import State

Component = Literal["http", "store", "registry", "ingest", "backfill"]
TIMED = ("http", "store", "registry")  # the others count values and slots


class Call(NamedTuple):
    """One call.

    Attributes
    ----------
    target : str
        A provider or an operation.
    status : str
        An HTTP status, ``ok``, ``failed`` or an error's name.
    size : int
        Bytes of the body.
    """

    at: datetime
    component: Component
    target: str
    status: str
    rows: int = 0
    size: int = 0
    duration_ms: float = 0.0


def record_call(state: State, call: Call) -> None:
    """Store one call."""
    row = (call.at.timestamp(), *call[1:])
    state.change("INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, ?)", [row])


def calls_since(state: State, since: datetime) -> list[Call]:
    """Return the calls from ``since`` on, oldest first."""
    rows = state.query(
        "SELECT * FROM call WHERE at >= ? ORDER BY at",
        (since.timestamp(),),
    )
    return [Call(datetime.fromtimestamp(at, UTC), *rest) for at, *rest in rows]


def delete_calls_before(state: State, instant: datetime) -> int:
    """Delete the calls before ``instant`` and return how many there were."""
    return state.change("DELETE FROM call WHERE at < ?", [(instant.timestamp(),)])


class Tick(NamedTuple):
    """The number of ticks of a job with the same outcome on one UTC day."""

    job: str
    outcome: str
    ticks: int


def count_tick(state: State, job: str, outcome: str, at: datetime) -> None:
    """Count one tick of a job: ``not_due``, ``ok``, ``failed``, ``killed`` or ``locked``."""
    state.change(
        "INSERT INTO tick VALUES (?, ?, ?, 1, ?)"
        " ON CONFLICT (job, day, outcome)"
        " DO UPDATE SET count = tick.count + 1, last_at = excluded.last_at",
        [(job, at.date().isoformat(), outcome, epoch(at))],
    )


def ticks_since(state: State, since: datetime) -> list[Tick]:
    """Return the ticks of all days from the UTC day of ``since`` on."""
    rows = state.query(
        "SELECT job, outcome, count FROM tick WHERE day >= ?", (since.date().isoformat(),)
    )
    return [Tick(*row) for row in rows]


def last_ticks(state: State, now: datetime) -> dict[str, datetime]:
    """Return the last tick of each job up to ``now``."""
    rows = state.query(
        "SELECT job, max(last_at) FROM tick WHERE last_at <= ? GROUP BY job", (epoch(now),)
    )
    return {job: from_epoch(at) for job, at in rows}


def delete_ticks_before(state: State, instant: datetime) -> int:
    """Delete the ticks of the days before that of ``instant`` and return the number of rows."""
    return state.change("DELETE FROM tick WHERE day < ?", [(instant.date().isoformat(),)])
