"""Alerts: one state machine for each (topic, entity): no tick repeats a known fault.

::

    -- raise --> open -- raise --> open             reported at once when new or worse, then
                                                    once a day, with all others, in a digest
                 open -- ack ----> acknowledged     silent until it gets worse or ends
    open, acknowledged -- resolve --> resolved      reported once
    any -- mute --> the same, silent until then

Raising writes to the shared state alone, so a notebook's kernel may do it; ``deliver``
compares each alert with what the channels were last notified of and sends the difference,
one line for all alerts of a topic with the same news. An incident is so reported when it
opens, when it gets worse and when it is over, and otherwise once a day.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Any, Literal

import pandas as pd

from factory_lib.clock import local_day, local_instant, local_time
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.monitoring import channels
from factory_lib.results import JobResult
from factory_lib.runs.records import RunRecord, stamp
from factory_lib.runs.status import JobStatus
from factory_lib.settings import Settings
from factory_lib.settings.records import AlertSettings
from factory_lib.state import State, hold, limiter, marks
from factory_lib.state.alerts import NEVER, AlertRecord, edit_alerts, list_alerts
from factory_lib.views.words import Language, Words

Topic = Literal[
    "job", "gap", "recovery", "circuit", "key", "plan", "forecast", "schedule", "machine", "test"
]
DIGEST = "digest"
NOTHING_STORED = "all series"  # the entity of the one alert of an empty store
# The job whose report shows more of a topic.
REPORTS = {
    "gap": "gap_analysis",
    "recovery": "auto_backfill_check",
    "key": "health_check",
    "circuit": "health_check",
    "schedule": "health_check",
    "machine": "health_check",
    "plan": "production_optimization",
    "forecast": "ml_predictions",
}
# By severity (negative: worst first), topic and news: the message of each entity.
Groups = dict[tuple[int, str, str], dict[str, str]]
PAUSE_ALERT_AFTER = timedelta(days=1)


class Severity(IntEnum):
    """Severity of an event; INFO ends an alert and is always reported."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Event:
    """Something to report; the entity is a job, a series, a host or a key."""

    topic: Topic
    entity: str
    severity: Severity
    message: str


# -- the state machine -----------------------------------------------------------------


def raise_event(state: State, event: Event, at: datetime) -> None:
    """Open the alert, or count once more; what got worse needs a new acknowledgement."""
    key = (event.topic, event.entity)
    severity = int(event.severity)
    with edit_alerts(state) as alerts:
        before = alerts.get(key) or AlertRecord(*key, severity, event.message, "resolved", at, at)
        after = replace(before, severity=severity, message=event.message, last_at=at)
        if event.severity == Severity.INFO:
            # as if the channels had been notified of the trouble: so they are of its end
            after = replace(after, status="resolved", notified="open")
        elif before.status == "resolved":
            after = replace(after, status="open", count=1, opened_at=at, by="")
        else:
            after = replace(after, count=before.count + 1)
            if before.status == "open" or severity > before.severity:
                after = replace(after, status="open", by="")
        alerts[key] = after


def resolve(state: State, topic: Topic, entity: str, message: str, at: datetime) -> None:
    """End an alert; nothing happens where none is open."""
    with edit_alerts(state) as alerts:
        alert = alerts.get((topic, entity))
        if alert and alert.status != "resolved":
            alerts[alert.topic, entity] = replace(
                alert, status="resolved", message=message, last_at=at
            )


def reconcile(
    state: State,
    topic: Topic,
    events: Iterable[Event],
    at: datetime,
    *,
    resolved: Callable[[str], str] = lambda _: "It is over.",
) -> None:
    """Raise the events, and resolve every other alert of the topic.

    ``resolved`` gives the message of an entity that is in order again.
    """
    raised = set()
    for event in events:
        raise_event(state, event, at)
        raised.add(event.entity)
    for alert in list_alerts(state):
        if alert.topic == topic and alert.entity not in raised:
            resolve(state, topic, alert.entity, resolved(alert.entity), at)


def acknowledge(state: State, pattern: str, by: str, at: datetime) -> int:
    """Mark the open alerts whose ``topic/entity`` matches as taken care of; return how many."""
    return _change(
        state,
        pattern,
        lambda alert: alert.status == "open",
        status="acknowledged",
        by=f"{by} {stamp(at)}",
    )


def mute(state: State, pattern: str, until: datetime) -> int:
    """Keep matching alerts silent until an instant; return how many."""
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


def alert_rows(state: State, *, every: bool = False) -> list[dict[str, Any]]:
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
        if every or alert.status != "resolved"
    ]


# -- delivery --------------------------------------------------------------------------


def deliver(state: State, settings: Settings, at: datetime) -> list[dict[str, Any]]:
    """Notify the channels of alerts that are new, worse or over, and once a day of all open ones.

    Returns
    -------
    list of dict
        The notifications, worst first: ``at``, ``news``, ``severity``, ``topic``, the
        message of each of ``entities``, and the ``link`` to a report.
    """
    # one process at a time: another one's success must not remove what this one could not send
    with hold(settings, "alerts", wait=True):
        digest_is_due = _digest_is_due(state, settings, at)
        with edit_alerts(state) as alerts:
            groups = _news_by_group(alerts, settings, at)
            if digest_is_due:
                groups |= _digest(alerts.values(), settings, at)
        notifications = [
            {
                "at": stamp(at),
                "news": news,
                "severity": Severity(-rank).name.lower(),
                "topic": topic,
                "entities": groups[rank, topic, news],
                "link": _link(state, settings, topic, groups[rank, topic, news]),
            }
            for rank, topic, news in sorted(groups)
        ]
        if digest_is_due:
            marks.set_mark(state, marks.CHANNEL, DIGEST, at)
        _send(state, settings, notifications, at)
    return notifications


def _news_by_group(
    alerts: dict[tuple[str, str], AlertRecord], settings: Settings, at: datetime
) -> Groups:
    """Return what the channels do not know yet, and note in the alerts that they do now."""
    groups: Groups = {}
    for key, stored in alerts.items():
        alert = _aged(stored, at, settings.alerts)
        news = "" if alert.muted_until > at else _news(alert)
        if news:
            notified = "resolved" if news == "resolved" else str(alert.severity)
            alert = replace(alert, notified=notified, notified_at=at)
            group = groups.setdefault((-alert.severity, alert.topic, news), {})
            group[alert.entity] = settings.secrets.mask(alert.message)
        alerts[key] = alert
    return groups


def _digest(alerts: Iterable[AlertRecord], settings: Settings, at: datetime) -> Groups:
    """Return the one group of all that is open and not reported just now."""
    still_open = [
        alert
        for alert in alerts
        if alert.status == "open" and alert.muted_until <= at and alert.notified_at < at
    ]
    if not still_open:
        return {}
    messages = {
        f"{alert.topic}/{alert.entity}": settings.secrets.mask(alert.message)
        for alert in still_open
    }
    return {(-max(alert.severity for alert in still_open), DIGEST, "still open"): messages}


def _digest_is_due(state: State, settings: Settings, at: datetime) -> bool:
    """Return whether the digest of the local day was not sent yet, and its time has come."""
    last = marks.get_mark(state, marks.CHANNEL, DIGEST)
    if last is None:  # an installation's first day has none: all there is, is new
        marks.set_mark(state, marks.CHANNEL, DIGEST, at)
        return False
    zone = settings.plant.zone
    digest_at = time.fromisoformat(settings.alerts.digest_at)
    begin = local_instant(local_day(at, zone), digest_at, zone)
    return last.at < begin <= at


def _link(state: State, settings: Settings, topic: str, entities: Mapping[str, str]) -> str:
    """Return the address or file of the report that shows more, else of all runs."""
    job = next(iter(entities)) if topic == "job" else REPORTS.get(topic, "")
    last = marks.get_mark(state, marks.LAST_RUN, job)
    folder = last.note.get("folder") if last else None
    page = f"{folder}/report.html" if folder else "index.html"
    if settings.alerts.link:
        return f"{settings.alerts.link.rstrip('/')}/{page}"
    return str(settings.paths.runs / page)


def _aged(alert: AlertRecord, at: datetime, rules: AlertSettings) -> AlertRecord:
    """Return an alert as it is at ``at``: critical where it was open for too long.

    Those of a plan are not: each plan judges them anew.
    What got better is not reported again, but must be when it gets as bad as it was.
    """
    open_for = at - alert.opened_at
    too_long = open_for >= timedelta(hours=rules.escalate_after_h)
    if alert.status == "open" and alert.topic != "plan" and too_long:
        alert = replace(alert, severity=int(Severity.CRITICAL))
    if alert.status != "resolved" and alert.notified.isdigit():
        alert = replace(alert, notified=str(min(int(alert.notified), alert.severity)))
    return alert


def _news(alert: AlertRecord) -> str:
    """Return the news of one alert since the channels were last notified, or nothing."""
    if alert.status == "resolved":
        return "resolved" if alert.notified not in ("", "resolved") else ""
    if alert.notified in ("", "resolved", "open"):
        return "opened"
    return "escalated" if alert.severity > int(alert.notified) else ""


def _send(
    state: State, settings: Settings, notifications: list[dict[str, Any]], at: datetime
) -> None:
    if notifications and "file" in settings.alerts.channels:
        settings.paths.data.mkdir(parents=True, exist_ok=True)
        with (settings.paths.data / "alerts.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(each, ensure_ascii=False)}\n" for each in notifications)
    lines = [message(each, settings.service.language) for each in notifications]
    if "stderr" in settings.alerts.channels:
        sys.stderr.writelines(f"{line}\n" for line in lines)
    lines = [f"{line}\n  {each['link']}" for line, each in zip(lines, notifications, strict=True)]
    if problem := channels.send(state, settings, lines, at):
        sys.stderr.write(f"Alerts are kept and sent later: {problem}\n")


def message(notification: Mapping[str, Any], language: Language = "en") -> str:
    """Return a notification as one line; entities with the same message share it.

    In another language than English it names what happened, and the report says the rest.
    """
    if language != "en":
        return _title(notification, Words(language))
    head = "ALERT {severity} {topic}".format(**notification)
    by_text: dict[str, list[str]] = {}
    for entity, text in notification["entities"].items():
        by_text.setdefault(text, []).append(entity)
    count = len(notification["entities"])
    if count == 1:
        ((text, (entity,)),) = by_text.items()
        return f"{head}/{entity} {notification['news']}: {text}"
    parts = (f"{', '.join(names)}: {text}" for text, names in by_text.items())
    return f"{head} {notification['news']} ({count}): {' '.join(parts)}"


def _title(notification: Mapping[str, Any], words: Words) -> str:
    """Return what happened to which things, in the language of the pages."""
    topic = notification["topic"]
    names = notification["entities"]
    pairs = [name.split("/", 1) if topic == DIGEST else (topic, name) for name in names]
    titles = [words.alert(*pair) for pair in pairs]
    severity = words.name(notification["severity"]).upper()
    return f"{severity} ({words('news_' + notification['news'])}): {' '.join(titles)}"


# -- what raises alerts ----------------------------------------------------------------


def after_run(state: State, settings: Settings, record: RunRecord, at: datetime) -> None:
    """Raise the alerts of a run's end and of the hosts' breakers, and deliver.

    A run that ended well also calls the heartbeat's address.
    """
    if record.status == "ok":
        resolve(state, "job", record.job, f"It ran again. {record.summary}", at)
    else:
        text = f"{record.status}: {record.error or record.summary}"
        raise_event(state, Event("job", record.job, Severity.WARNING, text), at)
    hosts = limiter.open_hosts(state.hosts, settings.breaker)
    events = (
        Event("circuit", host, Severity.WARNING, why)
        for host, why in hosts.items()
        # another profile of the installation may use hosts that this one does not
        if host in settings.sources and settings.sources[host].enabled
    )
    reconcile(state, "circuit", events, at, resolved=lambda _: "It answers again.")
    deliver(state, settings, at)
    if record.status == "ok" and (problem := channels.ping(settings)):
        sys.stderr.write(f"No heartbeat: {problem}\n")


def after_interruption(
    state: State,
    settings: Settings,
    forgotten: Sequence[str],
    silent_since: datetime | None,
    at: datetime,
) -> None:
    """Report what a tick found of the time before it: a clock put back, a silence of cron."""
    if forgotten:
        names = ", ".join(forgotten)
        text = f"The clock was ahead once: {names} of after {local_time(at)} are forgotten."
        raise_event(state, Event("schedule", "clock", Severity.WARNING, text), at)
    if silent_since:
        hours = (at - silent_since) / timedelta(hours=1)
        since = local_time(silent_since)
        text = f"cron started no job from {since} to {local_time(at)} ({hours:.1f} h)."
        raise_event(state, Event("schedule", "cron", Severity.WARNING, text), at)
    if forgotten or silent_since:
        deliver(state, settings, at)


def after_health(state: State, statuses: Iterable[JobStatus], at: datetime) -> None:
    """Reconcile the alerts of the schedule: jobs that cron does not call, or long paused ones."""
    events = []
    for job in statuses:
        if job.overdue_since:
            text = f"It was due to be called at {local_time(job.overdue_since)}, and was not."
        elif job.status == "hanging":
            text = f"It has been running since {local_time(job.started_at or at)}."
        elif job.pause and at - job.pause.since >= PAUSE_ALERT_AFTER:
            text = f"It is {job.pause}, since {local_time(job.pause.since)}."
        else:
            continue
        events.append(Event("schedule", job.job, Severity.WARNING, text))
    reconcile(state, "schedule", events, at)


def after_gaps(ctx: RunContext, gaps: pd.DataFrame) -> None:
    """Reconcile the gap alerts with all gaps of now (``gaps.GAP_COLUMNS``), but not of a replay."""
    if ctx.replay:
        return
    severe = gaps[(gaps["state"] == "missing") & gaps["severity"].isin(["moderate", "critical"])]
    events = [_gap_event(str(name), rows) for name, rows in severe.groupby("series")]
    if events and not marks.get_marks(ctx.state, marks.LATEST_SLOT):
        events = [Event("gap", NOTHING_STORED, Severity.WARNING, _NOTHING)]
    slots = gaps.groupby(["series", "state"])["slots"].sum()

    def resolved(name: str) -> str:
        rest = (
            f"{int(slots[name, state]):,} {text}"
            for state, text in _NOT_FILLED.items()
            if slots.get((name, state), 0)
        )
        parts = ", ".join(rest)
        return f"Over, with slots not filled: {parts}." if parts else _FILLED

    reconcile(ctx.state, "gap", events, ctx.clock.now(), resolved=resolved)


_NOTHING = "There is no data yet. Load it with `make backfill SINCE=2022-01-01`."
_FILLED = "Filled: no slot is missing any more."
_NOT_FILLED = {
    "unfillable": "with no source",
    "missing": "in minor gaps",
    "quarantined": "quarantined",
}


def _gap_event(series: str, gaps: pd.DataFrame) -> Event:
    critical = (gaps["severity"] == "critical").any()
    slots = f"{gaps['slots'].sum():,} slots missing"
    return Event(
        "gap",
        series,
        Severity.CRITICAL if critical else Severity.WARNING,
        f"{slots}, the longest gap has {gaps['duration_h'].max():g} h.",
    )


SEVERITIES = {"ok": Severity.INFO, "warn": Severity.WARNING, "fail": Severity.CRITICAL}


def after_recovery(ctx: RunContext, result: JobResult) -> None:
    """Raise how a backfill of now ended; one without a gap to fill only ends an earlier alert."""
    if ctx.replay:
        return
    severity = SEVERITIES[result.status]
    if result.metrics["missing"] and not result.metrics["recovered"]:
        # Nothing was recovered: no good news, whatever the cause.
        severity = max(severity, Severity.WARNING)
    if result.metrics["missing"] or severity:
        event = Event("recovery", "backfill", severity, result.summary)
        raise_event(ctx.state, event, ctx.clock.now())
    else:
        resolve(ctx.state, "recovery", "backfill", result.summary, ctx.clock.now())


def after_predictions(ctx: RunContext, drifts: Mapping[str, str]) -> None:
    """Reconcile the drift alerts with the drifts of now, and mark them for the next training."""
    if ctx.replay:
        return
    events = [Event("forecast", name, Severity.WARNING, why) for name, why in drifts.items()]
    reconcile(ctx.state, "forecast", events, ctx.clock.now())
    for name in {*drifts, *marks.get_marks(ctx.state, marks.DRIFT)}:
        before = marks.get_mark(ctx.state, marks.DRIFT, name)
        drifting = name in drifts
        # The mark holds the beginning: a drift that goes on leaves it alone.
        if drifting != bool(before and before.note):
            marks.set_mark(ctx.state, marks.DRIFT, name, ctx.as_of, drifts.get(name, ""))
