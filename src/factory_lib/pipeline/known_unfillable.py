"""What no source has: remembered in the shared state, so that it is reported as such and not asked for every time.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from factory_lib.clock import epoch
from factory_lib.state import State

# A hole is asked for again once it is twice as old: an hour that a provider fills late
# costs little to look for again, and a day lost years ago is looked for once a month.
SOONEST = timedelta(hours=2)
LATEST = timedelta(days=30)


def remember(
    state: State,
    series: str,
    stretches: Iterable[tuple[int, int, int]],
    asked: Iterable[tuple[str, str]],
    now: datetime,
) -> None:
    """Remember half-open stretches (seconds since 1970) of ``series`` that nobody ``asked`` (source, place) has.

    The third number of a stretch is in how many seconds at the latest it is to be asked
    for again.
    """
    at = epoch(now)
    rows = [
        (series, first, last, _key(asked), at, at + min(_wait_s(at - last), most_s))
        for first, last, most_s in stretches
    ]
    with state.transaction() as sql:
        sql.executemany("INSERT OR REPLACE INTO unfillable VALUES (?, ?, ?, ?, ?, ?)", rows)


def forget(state: State, now: datetime) -> None:
    """Forget what is to be asked for again at ``now``: it was, or its hole has been filled by other means."""
    with state.transaction() as sql:
        sql.execute("DELETE FROM unfillable WHERE again_at <= ?", (epoch(now),))


def recall(
    state: State, series: str, doors: Iterable[tuple[str, str]], as_of: datetime
) -> list[tuple[int, int]]:
    """Return the stretches known at ``as_of`` to be behind none of ``doors`` (source, place).

    A door that was not asked makes a stretch missing again.
    """
    at, able = epoch(as_of), set(_key(doors).split())
    return [
        (first, last)
        for first, last, asked, asked_at, again_at in _rows(state, series)
        if asked_at <= at < again_at and able <= set(asked.split())
    ]


def next_look(state: State, series: str) -> int | None:
    """Return when (seconds since 1970) the first of the remembered stretches is to be asked for again."""
    return min((again_at for *_, again_at in _rows(state, series)), default=None)


def _rows(state: State, series: str) -> list[tuple[Any, ...]]:
    return state.query(
        "SELECT first, last, asked, asked_at, again_at FROM unfillable WHERE series = ? ORDER BY first",
        (series,),
    )


def _key(doors: Iterable[tuple[str, str]]) -> str:
    return " ".join(sorted(f"{source}@{place}" for source, place in doors))


def _wait_s(age_s: int) -> int:
    return int(min(max(age_s, SOONEST.total_seconds()), LATEST.total_seconds()))
