"""Health of an installation: its jobs, providers, series and machine."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.monitoring import alerts, diagnostics
from factory_lib.monitoring.diagnostics import DiagnosticReport
from factory_lib.results import JobResult
from factory_lib.state.calls import Call, calls_since
from factory_lib.state.marks import LAST_RUN, LATEST_SLOT, get_marks
from factory_lib.state.ticks import Tick, ticks_since

_DAY = timedelta(days=1)
ENDED = ["ok", "failed", "killed"]
ALERT_COLUMNS = ["severity", "topic", "entity", "status", "opened_at", "count", "message"]


def check_health(ctx: RunContext, *, keys_only: bool = False) -> JobResult:
    """Examine the machine and sum up the shared state; asks AEMET once where its key is set.

    Returns
    -------
    JobResult
        With the tables ``checks`` (of ``diagnostics``); ``jobs``: last run, its status,
        ``success_rate`` = ok ÷ (ok + failed + killed) since yesterday, idle ticks;
        ``calls`` of the last 24 h per component and host or operation: number, share that
        succeeded, median and 95th percentile in ms; ``latest``: per series the end of its
        newest slot, until when it is due, and how many hours it is behind; ``alerts``
        that are not resolved.
    """
    now = ctx.clock.now()
    report = diagnostics.examine(ctx.settings, keys_only=keys_only, notify=not ctx.replay)
    tables = {
        "checks": report.table(),
        "jobs": _jobs(ctx, now),
        "calls": _calls(ctx, now),
        "latest": _latest(ctx, now),
        "alerts": pd.DataFrame(alerts.alert_rows(ctx.state), columns=ALERT_COLUMNS),
    }
    return summarise(report, tables)


def summarise(report: DiagnosticReport, tables: Mapping[str, pd.DataFrame]) -> JobResult:
    """Compose the result: ``warn`` also where a job's last run failed or a series is behind."""
    jobs = tables["jobs"]
    latest = tables["latest"]
    failing = list(jobs.loc[jobs["status"] != "ok", "job"])
    behind = list(latest.loc[latest["behind_h"] > 0, "series"])
    status = report.status
    if status == "ok" and (failing or behind):
        status = "warn"
    parts = [
        f"Last run failed: {', '.join(failing)}." if failing else "",
        f"Behind: {', '.join(behind)}." if behind else "",
        _problems(report) or "Keys, store and machine are well.",
    ]
    sentence = " ".join(filter(None, parts))
    if status == "ok":
        sentence = (
            "All is well: keys, store and machine, the last run of every job, and every series."
        )
    statuses = list(tables["checks"]["status"])
    metrics = {
        "checks_ok": statuses.count("ok"),
        "checks_warn": statuses.count("warn"),
        "checks_fail": statuses.count("fail"),
        "jobs_failing": len(failing),
        "series_behind": len(behind),
        "open_alerts": len(tables["alerts"]),
    }
    return JobResult(status, sentence, metrics, tables)


def _problems(report: DiagnosticReport) -> str:
    """Return a sentence that names every check that is not ok."""
    bad = [f"{check.name}: {check.finding}" for check in report.checks if check.status != "ok"]
    return "; ".join(bad) + "." if bad else ""


def _jobs(ctx: RunContext, now: datetime) -> pd.DataFrame:
    ticks = pd.DataFrame(ticks_since(ctx.state, now - _DAY), columns=Tick._fields).pivot_table(
        index="job", columns="outcome", values="ticks", aggfunc="sum", fill_value=0
    )
    ticks = ticks.reindex(columns=[*ENDED, "not_due", "locked"], fill_value=0)
    marks = get_marks(ctx.state, LAST_RUN)
    lines = [
        {
            "job": job,
            "last_run": at,
            "status": end["status"],
            "summary": end["error"] or end.get("summary") or end.get("verdict", ""),
        }
        for job, (at, end) in marks.items()
        if job in ctx.settings.jobs
    ]
    jobs = pd.DataFrame(lines, columns=["job", "last_run", "status", "summary"])
    share = (ticks["ok"] / ticks[ENDED].sum(axis=1)).rename("success_rate")
    return jobs.merge(share, "left", on="job").merge(ticks[["not_due", "locked"]], "left", on="job")


def _calls(ctx: RunContext, now: datetime) -> pd.DataFrame:
    calls = pd.DataFrame(calls_since(ctx.state, now - _DAY), columns=Call._fields)
    calls["ok"] = calls["status"].isin(["ok", "200"])
    grouped = calls.groupby(["component", "target"], as_index=False)
    return grouped.agg(
        calls=("duration_ms", "size"),
        ok_share=("ok", "mean"),
        median_ms=("duration_ms", "median"),
        p95_ms=("duration_ms", lambda ms: ms.quantile(0.95)),
    )


def _latest(ctx: RunContext, now: datetime) -> pd.DataFrame:
    lines = []
    for name, (until, _) in get_marks(ctx.state, LATEST_SLOT).items():
        due_until = ctx.catalogue[name].due_until(now)
        behind_h = max(0.0, (due_until - until) / timedelta(hours=1))
        lines.append((name, until, due_until, behind_h))
    return pd.DataFrame(lines, columns=["series", "until", "due_until", "behind_h"])
