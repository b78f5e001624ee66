"""How the house speaks HTTP: one session per host; spacing, quota and circuit breaker shared by all processes."""

from datetime import datetime

from factory_lib.http.client import Http
from factory_lib.http.response import Check, Reply
from factory_lib.state import State

__all__ = ["Check", "Http", "Reply", "forget_after"]


def forget_after(state: State, instant: datetime) -> None:
    """Forget turns and open circuits that lie after ``instant``: of a clock that has since been put back."""
    with state.transaction() as sql:
        sql.execute("DELETE FROM spacing WHERE next_at > ?", (instant.timestamp(),))
        sql.execute("DELETE FROM breaker WHERE open_until > ?", (instant.timestamp(),))
