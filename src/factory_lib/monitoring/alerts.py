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
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from factory_lib.errors import BadInput
from factory_lib.runs.records import RunRecord, stamp
from factory_lib.settings import Settings
from factory_lib.settings.records import AlertSettings
from factory_lib.state import State, breaker
from factory_lib.state.alerts import NEVER, AlertRecord, edit_alerts, list_alerts
from factory_lib.state.marks import DRIFT, get_mark, get_marks, set_mark

if TYPE_CHECKING:
    import pandas as pd

    from factory_lib.context import RunContext
    from factory_lib.models.prediction import PredictionOutcome
    from factory_lib.results import JobResult

OPEN, ACKNOWLEDGED, RESOLVED = "open", "acknowledged", "resolved"


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
    topic, entity, severity = str(event.topic), event.entity, int(event.severity)
    with edit_alerts(state) as alerts:
        before = alerts.get((topic, entity)) or AlertRecord(
            topic, entity, severity, event.message, RESOLVED, at, at
        )
        after = replace(before, severity=severity, message=event.message, last_at=at)
        if event.severity == Severity.INFO:
            # as if the channels had been notified of the trouble: so they are of its end
            after = replace(after, status=RESOLVED, notified=OPEN)
        elif before.status == RESOLVED:
            after = replace(after, status=OPEN, count=1, opened_at=at, by="")
        else:
            after = replace(after, count=before.count + 1)
            if before.status == OPEN or severity > before.severity:
                after = replace(after, status=OPEN, by="")
        alerts[topic, entity] = after


def resolve(state: State, topic: Topic, entity: str, message: str, at: datetime) -> None:
    """End an alert; nothing happens where none is open."""
    with edit_alerts(state) as alerts:
        alert = alerts.get((str(topic), entity))
        if alert and alert.status != RESOLVED:
            alerts[alert.topic, entity] = replace(
                alert, status=RESOLVED, message=message, last_at=at
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
    for alert in list_alerts(state):
        if alert.topic == topic and alert.entity not in raised and owned(alert.entity):
            resolve(state, topic, alert.entity, over(alert.entity), at)


def acknowledge(state: State, pattern: str, by: str, at: datetime) -> int:
    """Say that somebody takes care of the open alerts whose ``topic/entity`` matches; return how many."""
    return _change(
        state,
        pattern,
        lambda alert: alert.status == OPEN,
        status=ACKNOWLEDGED,
        by=f"{by} {stamp(at)}",
    )


def mute(state: State, pattern: str, until: datetime) -> int:
    """Keep matching alerts silent until then; return how many."""
    return _change(state, pattern, lambda alert: True, muted_until=until)


def _change(
    state: State, pattern: str, applies: Callable[[AlertRecord], bool], **changes: Any
) -> int:
    with edit_alerts(state) as alerts:
        matching = {
            key: alert
            for key, alert in alerts.items()
            if fnmatchcase("/".join(key), pattern) and applies(alert)
        }
        alerts.update({key: replace(alert, **changes) for key, alert in matching.items()})
    if not matching:
        raise BadInput(
            f"No alert matches {pattern!r}.", next_step="See `factory alerts list --all`."
        )
    return len(matching)


def listed(state: State, *, every: bool = False) -> list[dict[str, Any]]:
    """Return the alerts that are not resolved, or all, worst first."""
    return [
        {
            "topic": alert.topic,
            "entity": alert.entity,
            "severity": Severity(alert.severity).name.lower(),
            "status": alert.status,
            "count": alert.count,
            "opened_at": stamp(alert.opened_at),
            "last_at": stamp(alert.last_at),
            "muted_until": stamp(alert.muted_until) if alert.muted_until > NEVER else "",
            "by": alert.by,
            "message": alert.message,
        }
        for alert in list_alerts(state)
        if every or alert.status != RESOLVED
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
    with edit_alerts(state) as alerts:
        for key, stored in alerts.items():
            alert = _aged(stored, at, settings.alerts)
            news = "" if alert.muted_until > at else _news(alert, at, settings.alerts)
            if news:
                notified = RESOLVED if news == RESOLVED else str(alert.severity)
                alert = replace(alert, notified=notified, notified_at=at)
                group = groups.setdefault((-alert.severity, alert.topic, news), {})
                group[alert.entity] = settings.secrets.mask(alert.message)
            alerts[key] = alert
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


def _aged(alert: AlertRecord, at: datetime, rules: AlertSettings) -> AlertRecord:
    """Return an alert as it is at ``at``: critical where it was open for too long.

    What got better is not told again, but must be told when it gets as bad as it was.
    """
    open_for = at - alert.opened_at
    if alert.status == OPEN and open_for >= timedelta(hours=rules.escalate_after_h):
        alert = replace(alert, severity=int(Severity.CRITICAL))
    if alert.status != RESOLVED and alert.notified.isdigit():
        alert = replace(alert, notified=str(min(int(alert.notified), alert.severity)))
    return alert


def _news(alert: AlertRecord, at: datetime, rules: AlertSettings) -> str:
    """Return the news of one alert since the channels were last notified, or nothing."""
    if alert.status == RESOLVED:
        return RESOLVED if alert.notified not in ("", RESOLVED) else ""
    if alert.notified in ("", RESOLVED, OPEN):
        return "opened"
    if alert.severity > int(alert.notified):
        return "escalated"
    silent_for = at - alert.notified_at
    again = alert.status == OPEN and silent_for >= timedelta(hours=rules.cooldown_h)
    return "still open" if again else ""


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
    hosts = breaker.open_hosts(state.hosts, settings.breaker)
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


def after_recovery(ctx: RunContext, result: JobResult) -> None:
    """Say how a backfill of now ended; one that found nothing to fill only ends an earlier alert."""
    now = ctx.clock.now()
    if ctx.replay:
        return
    severity = {"ok": Severity.INFO, "warn": Severity.WARNING, "fail": Severity.CRITICAL}[
        result.status
    ]
    if result.metrics["missing"] and not result.metrics["recovered"]:
        severity = max(
            severity, Severity.WARNING
        )  # nothing came back: no good news, whoever is to blame
    if result.metrics["missing"] or severity:
        raise_event(ctx.state, Event(Topic.RECOVERY, "backfill", severity, result.summary), now)
    else:
        resolve(ctx.state, Topic.RECOVERY, "backfill", result.summary, now)


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
    for name in {*outcome.drifts, *get_marks(ctx.state, DRIFT)}:
        why, before = outcome.drifts.get(name, ""), get_mark(ctx.state, DRIFT, name)
        if bool(why) != bool(
            before and before.note
        ):  # the mark says since when, so one that goes on is left alone
            set_mark(ctx.state, DRIFT, name, ctx.as_of, why)
