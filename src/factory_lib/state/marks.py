"""Marks: the instant at which something last happened to an entity, and a note.

Among them the calls of cron: the last one, and since when without a long silence. What
lies after now was left by a clock that was ahead once, and is not believed. Standard
library only: every tick reads and writes marks.
"""

import json
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from factory_lib.clock import epoch, from_epoch
from factory_lib.state import limiter
from factory_lib.state.database import State, upsert

# A clock that is corrected by the network moves by less.
TOLERANCE = timedelta(minutes=5)

LATEST_SLOT = "latest"  # the end of the newest slot of a series
STORED = "stored"  # when a series last got a new or revised value
DRIFT = "drift"  # since when the forecasts of a series have been out of line; the note says how
LAST_RUN = "job"  # when a job last began; the note holds how it ended, and its folder
STARTED = "start"  # a run that has not ended: when it began; the note holds process and folder
PAUSED = "pause"  # since when a job is paused; the note says until when, and by whom
CRON = "cron"  # when cron last called; the note says since when without a long silence
CHAMPION = "champion"  # the instant up to which the serving version of a model has learnt
NEW_GAP = "gap"  # when a gap was found that was not known before; the note names all of them
SIZE = "size"  # when the size was last taken; the note holds that of each day
REFUSED = "refused"  # when files of the inbox were last refused; the note says which, and why
CHANNEL = "channel"  # what a channel was last sent, or could not be
# Topics whose instants are those of a run: none of them can lie after now.
OF_RUNS = (STORED, DRIFT, LAST_RUN, STARTED, PAUSED, CRON, NEW_GAP, SIZE, REFUSED, CHANNEL)


class Mark(NamedTuple):
    """An instant, and anything that JSON can hold."""

    at: datetime
    note: Any


def set_mark(state: State, topic: str, entity: str, at: datetime, note: Any = None) -> None:
    """Remember when ``topic`` last happened to ``entity``."""
    row = (topic, entity, epoch(at), json.dumps(note))
    state.change(upsert("mark", ("topic", "entity", "at", "note"), keys=2), [row])


def delete_mark(state: State, topic: str, entity: str) -> int:
    """Forget that ``topic`` happened to ``entity``; return how many marks that removed."""
    return state.change("DELETE FROM mark WHERE topic = ? AND entity = ?", [(topic, entity)])


def get_mark(state: State, topic: str, entity: str) -> Mark | None:
    """Return the mark of one entity, or None."""
    return get_marks(state, topic).get(entity)


def get_marks(state: State, topic: str) -> dict[str, Mark]:
    """Return the marks of a topic by entity."""
    rows = state.query("SELECT entity, at, note FROM mark WHERE topic = ?", (topic,))
    return {entity: Mark(from_epoch(at), json.loads(note)) for entity, at, note in rows}


# -- calls of cron ---------

CALLER = "FACTORY_CALLER"  # variable of cron's lines, which is ``CRON`` there
_CALLS = "calls"


class Calls(NamedTuple):
    """The last call, and the first one after the last long silence; UTC."""

    last: datetime
    since: datetime


def cron_calls(state: State, now: datetime) -> Calls | None:
    """Return cron's calls; None where it never called, or only in what is the future now."""
    mark = get_mark(state, CRON, _CALLS)
    if mark is None or mark.at > now + TOLERANCE:
        return None
    return Calls(mark.at, from_epoch(mark.note))


def record_cron_call(state: State, now: datetime, *, was_silent: bool) -> None:
    """Store that cron called; ``was_silent`` says that a long silence ends now."""
    before = cron_calls(state, now)
    since = now if before is None or was_silent else before.since
    set_mark(state, CRON, _CALLS, now, epoch(since))


# -- instants after now ---------

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
