"""Alerts: one state machine for each (topic, entity), so that a fault is told once and not at every tick.

::

    -- raise --> open -- raise --> open             told at once when it is new or worse, then once per cooldown
                 open -- ack ----> acknowledged     silent until it gets worse or ends
    open, acknowledged -- resolve --> resolved      told once
    any -- mute --> the same, silent until then

Raising writes to the shared state alone, so a notebook's kernel may do it; ``deliver``
compares what is with what was told last, and tells the difference to the channels, one
line for all that befell a topic alike. Standard library only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from factory_lib.clock import epoch, from_epoch
from factory_lib.errors import BadInput
from factory_lib.runs.records import RunRecord, stamp
from factory_lib.settings import Settings
from factory_lib.settings.records import AlertSettings
from factory_lib.state import State
from factory_lib.state.marks import DRIFT

if TYPE_CHECKING:
    import pandas as pd

    from factory_lib.context import RunContext
    from factory_lib.models.prediction import PredictionOutcome
    from factory_lib.pipeline.backfill import BackfillOutcome

RESOLVED = "resolved"


class Topic(StrEnum):
    """What an alert is about."""

    JOB = "job"
    GAP = "gap"
    RECOVERY = "recovery"
    CIRCUIT = "circuit"
    KEY = "key"
    PLAN = "plan"
    FORECAST = "forecast"
    TEST = "test"


class Severity(IntEnum):
    """How bad it is; INFO ends an alert and is always told."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Event:
    """Something that somebody should know; the entity is a job, a series, a host or a key."""

    topic: Topic
    entity: str
    severity: Severity
    message: str


# -- the state machine ------------------------------------------------------------------------------------------------


def raise_event(state: State, event: Event, at: datetime) -> None:
    """Open the alert, or count once more; what got worse needs a new acknowledgement."""
    given = (event.topic, event.entity, event.severity, event.message, epoch(at))
    if event.severity == Severity.INFO:
        # as if the trouble had been told: so the good news is
        change = "status = 'resolved', told = 'open'"
    else:
        change = (
            "count = iif(status = 'resolved', 1, count + 1), opened_at = iif(status = 'resolved', ?5, opened_at), "
            "by = iif(status = 'acknowledged' AND ?3 <= severity, by, ''), "
            "status = iif(status = 'acknowledged' AND ?3 <= severity, status, 'open')"
        )
    with state.transaction() as sql:
        sql.execute(
            "INSERT OR IGNORE INTO alert VALUES (?1, ?2, ?3, ?4, 'resolved', ?5, ?5, 0, '', 0, 0, '')",
            given,
        )
        sql.execute(
            f"UPDATE alert SET {change}, severity = ?3, message = ?4, last_at = ?5 WHERE topic = ?1 AND entity = ?2",
            given,
        )


def resolve(state: State, topic: Topic, entity: str, message: str, at: datetime) -> None:
    """End an alert; nothing happens where none is open."""
    with state.transaction() as sql:
        sql.execute(
            "UPDATE alert SET status = 'resolved', message = ?, last_at = ? "
            "WHERE topic = ? AND entity = ? AND status <> 'resolved'",
            (message, epoch(at), topic, entity),
        )


def settle(
    state: State,
    topic: Topic,
    events: Iterable[Event],
    at: datetime,
    owned: Callable[[str], bool] = lambda _: True,
    *,
    over: Callable[[str], str] = lambda _: "It is over.",
) -> None:
    """Take ``events`` for all there is to say of a topic's ``owned`` entities: raise them and resolve the others.

    ``over`` says of an entity how it ended.
    """
    raised = set()
    for event in events:
        raise_event(state, event, at)
        raised.add(event.entity)
    for (entity,) in state.query(
        "SELECT entity FROM alert WHERE topic = ? AND status <> 'resolved'", (topic,)
    ):
        if entity not in raised and owned(entity):
            resolve(state, topic, entity, over(entity), at)


def acknowledge(state: State, pattern: str, by: str, at: datetime) -> int:
    """Say that somebody takes care of the open alerts whose ``topic/entity`` matches; return how many."""
    return _change(
        state, pattern, "status = 'acknowledged', by = ?", (f"{by} {stamp(at)}",), "status = 'open'"
    )


def mute(state: State, pattern: str, until: datetime) -> int:
    """Keep matching alerts silent until then; return how many."""
    return _change(state, pattern, "muted_until = ?", (epoch(until),), "1")


def _change(state: State, pattern: str, change: str, values: tuple[Any, ...], which: str) -> int:
    with state.transaction() as sql:
        done = sql.execute(
            f"UPDATE alert SET {change} WHERE topic || '/' || entity GLOB ? AND {which}",
            (*values, pattern),
        )
    if not done.rowcount:
        raise BadInput(
            f"No alert matches {pattern!r}.", next_step="See `factory alerts list --all`."
        )
    return done.rowcount


def listed(state: State, *, every: bool = False) -> list[dict[str, Any]]:
    """Return the alerts that are not resolved, or all, worst first."""
    names = (
        "topic",
        "entity",
        "severity",
        "status",
        "count",
        "opened_at",
        "last_at",
        "muted_until",
        "by",
        "message",
    )
    rows = state.query(
        f"SELECT {', '.join(names)} FROM alert ORDER BY severity DESC, opened_at DESC, topic, entity"
    )
    shown = [dict(zip(names, row, strict=True)) for row in rows if every or row[3] != RESOLVED]
    times = ("opened_at", "last_at", "muted_until")
    return [
        {**row, "severity": Severity(row["severity"]).name.lower()}
        | {name: stamp(from_epoch(row[name])) if row[name] else "" for name in times}
        for row in shown
    ]


# -- telling ----------------------------------------------------------------------------------------------------------


def deliver(state: State, settings: Settings, at: datetime) -> list[dict[str, Any]]:
    """Tell the channels what is new, worse, still open after the cooldown, or over.

    Returns
    -------
    list of dict
        What was told, worst first: ``at``, ``news``, ``severity``, ``topic``, and the
        message of each of ``entities``.
    """
    groups: dict[tuple[int, str, str], dict[str, str]] = {}
    with state.transaction() as sql:
        uncared_for = epoch(at) - settings.alerts.escalate_after_h * 3600
        sql.execute(
            "UPDATE alert SET severity = ? WHERE status = 'open' AND opened_at <= ?",
            (Severity.CRITICAL, uncared_for),
        )
        # What got better is told no more, but must be told when it gets as bad as it
        # was.
        sql.execute(
            "UPDATE alert SET told = severity WHERE status <> 'resolved' AND told IN ('1', '2') AND told > severity"
        )
        rows = sql.execute(
            "SELECT topic, entity, severity, message, status, told, told_at, muted_until FROM alert"
        ).fetchall()
        for topic, entity, severity, message, status, before, told_at, muted_until in rows:
            news = _news(status, severity, before, epoch(at) - told_at, settings.alerts)
            if not news or muted_until > epoch(at):
                continue
            now_told = RESOLVED if news == RESOLVED else str(severity)
            key = (now_told, epoch(at), topic, entity)
            sql.execute(
                "UPDATE alert SET told = ?, told_at = ? WHERE topic = ? AND entity = ?", key
            )
            groups.setdefault((-severity, topic, news), {})[entity] = settings.secrets.mask(message)
        told = [
            {
                "at": stamp(at),
                "news": news,
                "severity": Severity(-rank).name.lower(),
                "topic": topic,
                "entities": messages,
            }
            for (rank, topic, news), messages in sorted(groups.items(), key=lambda group: group[0])
        ]
        _tell(told, settings)
    return told


def _news(status: str, severity: int, told: str, silent_s: int, rules: AlertSettings) -> str:
    """Return what there is to tell of one alert, or nothing. ``told`` is the severity last told, or ``resolved``."""
    if status == RESOLVED:
        return RESOLVED if told not in ("", RESOLVED) else ""
    if told in ("", RESOLVED, "open"):
        return "opened"
    if severity > int(told):
        return "escalated"
    return "still open" if status == "open" and silent_s >= rules.cooldown_h * 3600 else ""


def _tell(told: list[dict[str, Any]], settings: Settings) -> None:
    if told and "file" in settings.alerts.channels:
        settings.paths.data.mkdir(parents=True, exist_ok=True)
        with (settings.paths.data / "alerts.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in told)
    if "stderr" in settings.alerts.channels:
        for line in told:
            sys.stderr.write(f"{words(line)}\n")


def words(told: Mapping[str, Any]) -> str:
    """Return what ``deliver`` told as one line; entities of which the same is said share it."""
    head, entities = "ALERT {severity} {topic}".format(**told), told["entities"]
    alike: dict[str, list[str]] = {}
    for entity, message in entities.items():
        alike.setdefault(message, []).append(entity)
    if len(entities) == 1:
        (message,), (entity,) = alike, entities
        return f"{head}/{entity} {told['news']}: {message}"
    parts = (f"{', '.join(names)}: {message}" for message, names in alike.items())
    return f"{head} {told['news']} ({len(entities)}): {' '.join(parts)}"


# -- who raises what --------------------------------------------------------------------------------------------------


def after_run(state: State, settings: Settings, record: RunRecord, at: datetime) -> None:
    """Raise what a run's end and the hosts' breakers say, and tell all that is new."""
    if record.status == "ok":
        resolve(state, Topic.JOB, record.job, f"It ran again. {record.summary}", at)
    else:
        why = record.error or record.summary
        raise_event(
            state, Event(Topic.JOB, record.job, Severity.WARNING, f"{record.status}: {why}"), at
        )
    from factory_lib.state import breaker

    hosts = breaker.open_hosts(state, settings.breaker)
    events = (Event(Topic.CIRCUIT, host, Severity.WARNING, why) for host, why in hosts.items())
    settle(state, Topic.CIRCUIT, events, at, over=lambda _: "It answers again.")
    deliver(state, settings, at)


def after_gaps(ctx: RunContext, gaps: pd.DataFrame) -> None:
    """Settle the gap alerts by a whole account of now (``gaps.GAP_COLUMNS``); that of a replay is no news."""
    if ctx.replay:
        return
    bad = gaps[(gaps["state"] == "missing") & gaps["severity"].isin(["moderate", "critical"])]
    slots = gaps.groupby(["series", "state"])["slots"].sum()
    settle(
        ctx.state,
        Topic.GAP,
        (
            Event(
                Topic.GAP,
                str(name),
                Severity.CRITICAL if (found["severity"] == "critical").any() else Severity.WARNING,
                f"{found['slots'].sum():,} slots missing, the longest gap has {found['duration_h'].max():g} h.",
            )
            for name, found in bad.groupby("series")
        ),
        ctx.clock.now(),
        over=lambda name: _left({state: int(slots.get((name, state), 0)) for state in GAP_ENDS}),
    )


GAP_ENDS = {
    "unfillable": "with no source",
    "missing": "in minor gaps",
    "quarantined": "quarantined",
}


def _left(slots: Mapping[str, int]) -> str:
    """Say what has become of a series' gaps by the slots that are not present, by state."""
    left = [f"{slots[state]:,} {words}" for state, words in GAP_ENDS.items() if slots[state]]
    return (
        f"Over, with slots not filled: {', '.join(left)}."
        if left
        else "Filled: no slot is missing any more."
    )


def after_recovery(ctx: RunContext, outcome: BackfillOutcome) -> None:
    """Say how a backfill of now ended; one that found nothing to fill only ends an earlier alert."""
    now = ctx.clock.now()
    if ctx.replay:
        return
    severity = {"ok": Severity.INFO, "warn": Severity.WARNING, "fail": Severity.CRITICAL}[
        outcome.level
    ]
    if outcome.figures["missing"] and not outcome.figures["recovered"]:
        severity = max(
            severity, Severity.WARNING
        )  # nothing came back: no good news, whoever is to blame
    if outcome.figures["missing"] or severity:
        raise_event(ctx.state, Event(Topic.RECOVERY, "backfill", severity, outcome.verdict), now)
    else:
        resolve(ctx.state, Topic.RECOVERY, "backfill", outcome.verdict, now)


def after_predictions(ctx: RunContext, outcome: PredictionOutcome) -> None:
    """Settle the drift alerts by the journal as it stands now, and leave word for the training."""
    if ctx.replay:
        return
    now = ctx.clock.now()
    drifts = outcome.drifts.items()
    settle(
        ctx.state,
        Topic.FORECAST,
        (Event(Topic.FORECAST, name, Severity.WARNING, why) for name, why in drifts),
        now,
    )
    for name in {*outcome.drifts, *ctx.state.marks(DRIFT)}:
        why, before = outcome.drifts.get(name, ""), ctx.state.marked(DRIFT, name)
        if bool(why) != bool(
            before and before[1]
        ):  # the mark says since when, so one that goes on is left alone
            ctx.state.mark(DRIFT, name, ctx.as_of, why)
