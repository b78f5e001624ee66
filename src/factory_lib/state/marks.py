"""Marks: the instant at which something last happened to an entity, and a note."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from factory_lib.clock import epoch, from_epoch
from factory_lib.state.database import State, upsert

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
