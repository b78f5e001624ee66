"""Calls: one row for each HTTP request, store operation and registry operation.

They are for the metrics; no parameter and no secret is part of a row.
"""

from datetime import UTC, datetime
from typing import Literal, NamedTuple

from factory_lib.state.database import State

Component = Literal["http", "store", "registry"]


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
    with state.transaction() as connection:
        connection.execute(
            "INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, ?)", (call.at.timestamp(), *call[1:])
        )


def calls_since(state: State, since: datetime) -> list[Call]:
    """Return the calls from ``since`` on, oldest first."""
    rows = state.query(
        "SELECT * FROM call WHERE at >= ? ORDER BY at",
        (since.timestamp(),),
    )
    return [Call(datetime.fromtimestamp(at, UTC), *rest) for at, *rest in rows]


def delete_calls_before(state: State, instant: datetime) -> int:
    """Delete the calls before ``instant`` and return how many there were."""
    with state.transaction() as connection:
        return connection.execute("DELETE FROM call WHERE at < ?", (instant.timestamp(),)).rowcount
