"""Health of an installation: jobs against their schedule, series, alerts, and the diagnostics."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pandas as pd

from factory_lib import sources
from factory_lib.clock import DAY, SystemClock
from factory_lib.context import RunContext
from factory_lib.monitoring import alerts, growth
from factory_lib.monitoring.diagnostics import (
    UNUSABLE,
    DiagnosticCheck,
    examine,
    refused,
    tell,
    worst,
)
from factory_lib.pipeline.targets import is_offered
from factory_lib.results import JobResult, ResultStatus
from factory_lib.runs.status import JobStatus, job_statuses
from factory_lib.settings import Settings
from factory_lib.state import State, calls, empty_state, marks, open_state

ENDED = ["ok", "failed", "killed"]
# How a call that succeeded ended. With 404 a provider says that it has nothing there: OMIE where a
# file has no second edition, others of a day to come.
SUCCEEDED = ["ok", "200", "404"]
ALERT_COLUMNS = ["severity", "topic", "entity", "status", "opened_at", "count", "message"]
# How a job's state is called where a person should look, in this order.
BAD_STATES = {"failed": "Last run failed", "killed": "Killed", "hanging": "Hanging"}
OF_MACHINE = ("disk", "growth", "hosts", "store", "mlflow", "inbox", "backup", "models")


def check_health(ctx: RunContext, *, keys_only: bool = False, notify: bool = True) -> JobResult:
    """Examine the machine and sum up the shared state; asks AEMET once where its key is set.

    ``notify`` is that of ``examine``, and also reconciles the alerts of the schedule; a
    replay raises no alert.

    Returns
    -------
    JobResult
        With the tables ``checks`` (of ``examine``); ``jobs``: state of every job
        (``runs.status.JobStatus``), ``success_rate`` = ok ÷ (ok + failed + killed) since
        yesterday, idle ticks; ``calls`` of the last 24 h per component and host or
        operation: number, share that succeeded, median and 95th percentile in ms;
        ``latest``: per series the end of its newest slot (missing where it never
        arrived), until when it is due, and how many hours it is behind; ``alerts`` that
        are not resolved.
    """
    now = ctx.clock.now()
    notify = notify and not ctx.replay
    checks = examine(ctx.settings, keys_only=keys_only, notify=notify)
    if notify:
        alerts.after_health(ctx.state, job_statuses(ctx.settings, ctx.state, now), now)
        if not keys_only:
            # those that no other topic tells of
            of_machine = [check for check in checks if check.name in OF_MACHINE]
            tell(ctx.state, "machine", of_machine, now)
            growth.keep_size(ctx.settings, ctx.state, now)
    return summarise(checks, {"checks": pd.DataFrame(checks), **state_tables(ctx)})


def look(settings: Settings) -> JobResult:
    """Return the health of a profile, whatever of it is damaged; nothing is written.

    What cannot be read is a finding, and counts as empty. Tables as of ``check_health``.
    """
    checks = examine(settings, notify=False)
    now = SystemClock(settings.clock_offset_s).now()
    try:
        with open_state(settings, read_only=True) as state:
            tables = _state_tables(settings, state, now)
    except UNUSABLE as error:
        if all(check.name != "state" for check in checks):
            checks.insert(0, refused("state", settings.paths.state, error))
        with empty_state() as state:
            tables = _state_tables(settings, state, now)
    return summarise(checks, {"checks": pd.DataFrame(checks), **tables})


def state_tables(ctx: RunContext) -> dict[str, pd.DataFrame]:
    """Return what the shared state knows, the tables of ``check_health``; asks no provider."""
    return _state_tables(ctx.settings, ctx.state, ctx.clock.now())


def _state_tables(settings: Settings, state: State, now: datetime) -> dict[str, pd.DataFrame]:
    return {
        "jobs": _jobs(state, job_statuses(settings, state, now), now),
        "calls": _calls(state, now),
        "latest": _latest(settings, state, now),
        "alerts": pd.DataFrame(alerts.alert_rows(state), columns=ALERT_COLUMNS),
    }


def summarise(checks: Sequence[DiagnosticCheck], tables: Mapping[str, pd.DataFrame]) -> JobResult:
    """Compose the result.

    ``warn`` also where a job or a series is not as it should be, or an alert is open;
    ``fail`` also where a critical one is.
    """
    jobs = tables["jobs"]
    arrived = tables["latest"]["until"].notna()
    findings = _findings(jobs, tables["latest"])
    unseen = _unseen(jobs, arrived)
    well = not (any(findings.values()) or len(tables["alerts"]) or unseen)
    critical = (tables["alerts"]["severity"] == "critical").any()
    status: ResultStatus = "fail" if critical else worst(checks)
    if status == "ok" and not well:
        status = "warn"
    metrics = {
        **_counts(checks, jobs),
        "series_behind": len(findings["Behind"]),
        "series_never_arrived": int((~arrived).sum()),
        "open_alerts": len(tables["alerts"]),
    }
    sentence = _sentence(checks, findings, unseen)
    if metrics["open_alerts"]:
        sentence = f"{sentence} Open alerts: {metrics['open_alerts']}."
    paused = jobs.loc[jobs["pause"] != ""]
    notes = tuple(f"{row['job']} is {row['pause']}." for row in paused.to_dict("records"))
    return JobResult(status, sentence, metrics, tables, notes)


def _unseen(jobs: pd.DataFrame, arrived: pd.Series) -> str:
    """Return what a new installation has not done yet, in one line for all of it."""
    if (jobs["status"] == "never").all():
        return "no job has run"
    return "" if arrived.any() else "nothing was ingested"


def _findings(jobs: pd.DataFrame, latest: pd.DataFrame) -> dict[str, list[str]]:
    """Return the jobs and series that are not as they should be, by what is wrong."""
    by_state = {title: jobs["status"] == state for state, title in BAD_STATES.items()}
    overdue = jobs["overdue_since"].notna() & ~jobs["status"].isin(BAD_STATES)
    arrived = latest["until"].notna()
    return {
        **{title: list(jobs.loc[rows, "job"]) for title, rows in by_state.items()},
        "Not called by cron": list(jobs.loc[overdue, "job"]),
        "Behind": list(latest.loc[latest["behind_h"] > 0, "series"]),
        # an empty store is one line of its own, not one for each series
        "Never arrived": list(latest.loc[~arrived, "series"]) if arrived.any() else [],
    }


def _counts(checks: Sequence[DiagnosticCheck], jobs: pd.DataFrame) -> dict[str, int]:
    statuses = [check.status for check in checks]
    return {
        "checks_ok": statuses.count("ok"),
        "checks_warn": statuses.count("warn"),
        "checks_fail": statuses.count("fail"),
        "jobs_failing": int(jobs["status"].isin(BAD_STATES).sum()),
        "jobs_overdue": int(jobs["overdue_since"].notna().sum()),
        "jobs_never_run": int((jobs["status"] == "never").sum()),
    }


def _sentence(
    checks: Sequence[DiagnosticCheck], findings: Mapping[str, list[str]], unseen: str
) -> str:
    problems = [
        f"{check.name}: {check.finding.rstrip('.')}" for check in checks if check.status != "ok"
    ]
    parts = [f"{head}: {', '.join(names)}." for head, names in findings.items() if names]
    if problems or parts:
        machine = "; ".join(problems) or "Keys, store and machine are well"
        return " ".join([*parts, f"{machine}.", *([f"{unseen} yet.".capitalize()] * bool(unseen))])
    if unseen:
        return f"Keys, store and machine are well; {unseen} yet."
    return "Keys, store and machine, the last run of every job, and every series are well."


# -- jobs and series -------------------------------------------------------------------


def _jobs(state: State, statuses: Sequence[JobStatus], now: datetime) -> pd.DataFrame:
    rows = pd.DataFrame(calls.ticks_since(state, now - DAY), columns=calls.Tick._fields)
    counts = rows.pivot_table(
        index="job", columns="outcome", values="ticks", aggfunc="sum", fill_value=0
    ).reindex(columns=[*ENDED, "not_due", "locked"], fill_value=0)
    counts.insert(0, "success_rate", counts["ok"] / counts[ENDED].sum(axis=1))
    jobs = pd.DataFrame(statuses, columns=JobStatus._fields)
    jobs["pause"] = [str(job.pause) if job.pause else "" for job in statuses]
    for name in ("started_at", "ended_at", "called_at", "overdue_since"):
        jobs[name] = pd.to_datetime(jobs[name], utc=True)
    shown = jobs.drop(columns=["notebook", "folder"])
    return shown.merge(counts.drop(columns=ENDED), "left", on="job")


def _calls(state: State, now: datetime) -> pd.DataFrame:
    rows = pd.DataFrame(calls.calls_since(state, now - DAY), columns=calls.Call._fields)
    rows = rows[rows["component"].isin(calls.TIMED)]
    rows["ok"] = rows["status"].isin(SUCCEEDED)
    grouped = rows.groupby(["component", "target"], as_index=False)
    return grouped.agg(
        calls=("duration_ms", "size"),
        ok_share=("ok", "mean"),
        median_ms=("duration_ms", "median"),
        p95_ms=("duration_ms", lambda ms: ms.quantile(0.95)),
    )


def _latest(settings: Settings, state: State, now: datetime) -> pd.DataFrame:
    """Return the newest slot of the series that arrived, and of those that an open provider has."""
    latest = marks.get_marks(state, marks.LATEST_SLOT)
    usable = [name for name in settings.sources if not sources.missing(name, settings)]
    served = {series for name in usable for series in sources.SOURCES[name].served(settings)}
    served = {name for name in served if is_offered(settings, settings.catalogue[name])}
    lines = []
    for name in sorted(served | set(latest)):
        until = latest[name].at if name in latest else None
        due_until = settings.catalogue[name].due_until(now)
        behind_h = max(0.0, (due_until - until) / timedelta(hours=1)) if until else 0.0
        lines.append((name, until, due_until, behind_h))
    frame = pd.DataFrame(lines, columns=["series", "until", "due_until", "behind_h"])
    return frame.assign(until=pd.to_datetime(frame["until"], utc=True))
