"""Ticks: the number of ticks of each job by outcome, added up by day."""

from datetime import datetime
from typing import NamedTuple

from factory_lib.clock import epoch
from factory_lib.state.database import State


class Tick(NamedTuple):
    """The number of ticks of a job with the same outcome on one UTC day."""

    job: str
    outcome: str
    ticks: int


def count_tick(state: State, job: str, outcome: str, at: datetime) -> None:
    """Count one tick of a job: ``not_due``, ``ok``, ``failed``, ``killed`` or ``locked``."""
    with state.transaction() as connection:
        connection.execute(
            "INSERT INTO tick VALUES (?, ?, ?, 1, ?)"
            " ON CONFLICT DO UPDATE SET count = count + 1, last_at = excluded.last_at",
            (job, at.date().isoformat(), outcome, epoch(at)),
        )


def ticks_since(state: State, since: datetime) -> list[Tick]:
    """Return the ticks of all days from the UTC day of ``since`` on."""
    rows = state.query(
        "SELECT job, outcome, count FROM tick WHERE day >= ?", (since.date().isoformat(),)
    )
    return [Tick(*row) for row in rows]


def delete_ticks_before(state: State, instant: datetime) -> int:
    """Delete the ticks of the days before that of ``instant`` and return the number of rows."""
    with state.transaction() as connection:
        return connection.execute(
            "DELETE FROM tick WHERE day < ?", (instant.date().isoformat(),)
        ).rowcount
