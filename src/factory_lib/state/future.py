"""Instants that lie after now: the clock was ahead once, and what it left is not believed.

Standard library only: every tick looks.
"""

from datetime import datetime, timedelta

from factory_lib.clock import epoch
from factory_lib.state import limiter
from factory_lib.state.database import State
from factory_lib.state.marks import OF_RUNS

# A clock that is corrected by the network moves by less.
TOLERANCE = timedelta(minutes=5)

_MARKS = ", ".join(f"'{topic}'" for topic in OF_RUNS)
# By what a person calls it; the limits that lie ahead on purpose (the next attempt, the
# end of a silence) go with the row they belong to.
_FUTURE = {
    "marks of jobs and series": f"mark WHERE topic IN ({_MARKS}) AND at > ?",
    "attempts": "attempt WHERE at > ?",
    "calls": "call WHERE at > ?",
    "ticks": "tick WHERE last_at > ?",
}
_ALERT_TIMES = ("opened_at", "last_at", "notified_at")


def forget_future(state: State, now: datetime) -> list[str]:
    """Delete what was stored at instants after ``now``; return what it was, in words.

    Alerts stay, as if they had been opened and reported now. Where anything was found,
    the turns and open circuits of the hosts after ``now`` go as well.
    """
    limit = epoch(now + TOLERANCE)
    names = [name for name, rows in _FUTURE.items() if _exists(state, rows, limit)]
    ahead = [f"alert WHERE {column} > ?" for column in _ALERT_TIMES]
    if any(_exists(state, rows, limit) for rows in ahead):
        names.append("alerts")
    if not names:
        return []
    with state.transaction() as connection:
        for rows in _FUTURE.values():
            connection.execute(f"DELETE FROM {rows}", (limit,))
        for column in _ALERT_TIMES:
            values = (epoch(now), epoch(now))
            connection.execute(f"UPDATE alert SET {column} = ? WHERE {column} > ?", values)
    limiter.forget_from(state.hosts, now + TOLERANCE)
    return names


def _exists(state: State, rows: str, limit: int) -> bool:
    return bool(state.query(f"SELECT 1 FROM {rows} LIMIT 1", (limit,)))
