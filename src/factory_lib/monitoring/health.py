"""Health: do the jobs run, do the providers answer, does every series keep up, and is the machine sound."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.monitoring import alerts, diagnostics
from factory_lib.monitoring.diagnostics import Examination, Level
from factory_lib.state.calls import Call, calls_since
from factory_lib.state.marks import LAST_RUN, LATEST, get_marks
from factory_lib.state.ticks import Tick, ticks_since

DAY = timedelta(days=1)
ENDED = ["ok", "failed", "killed"]


@dataclass(frozen=True)
class Health:
    """One look at everything.

    Attributes
    ----------
    jobs : DataFrame
        Per job: last run, its status, ``success_rate`` = ok ÷ (ok + failed + killed)
        since yesterday, idle ticks.
    calls : DataFrame
        Per component and host or operation, last 24 h: calls, share that succeeded, median
        and 95th percentile in ms.
    latest : DataFrame
        Per series: the end of its newest slot, until when it is due, and how many hours
        it is behind.
    alerts : DataFrame
        The alerts that are not resolved.
    """

    examination: Examination
    jobs: pd.DataFrame
    calls: pd.DataFrame
    latest: pd.DataFrame
    alerts: pd.DataFrame

    @property
    def checks(self) -> pd.DataFrame:
        """The doctor's lines."""
        return pd.DataFrame(self.examination.rows())

    @property
    def level(self) -> Level:
        """That of the examination; ``warn`` also where a job's last run failed or a series is behind."""
        trouble = len(self._failing) or len(self._behind)
        return "warn" if self.examination.level == "ok" and trouble else self.examination.level

    @property
    def figures(self) -> dict[str, int]:
        """Key figures for the run record."""
        return {
            **{f"checks_{level}": count for level, count in self.examination.figures.items()},
            "jobs_failing": len(self._failing),
            "series_behind": len(self._behind),
            "open_alerts": len(self.alerts),
        }

    @property
    def verdict(self) -> str:
        """One sentence."""
        failing = f"Last run failed: {', '.join(self._failing)}. " if self._failing else ""
        behind = f"Behind: {', '.join(self._behind)}. " if self._behind else ""
        if not failing and not behind and self.examination.level == "ok":
            return (
                "All is well: keys, store and machine, the last run of every job, and every series."
            )
        rest = (
            "Keys, store and machine are well."
            if self.examination.level == "ok"
            else self.examination.verdict
        )
        return f"{failing}{behind}{rest}"

    @property
    def _failing(self) -> list[str]:
        return list(self.jobs.loc[self.jobs["status"] != "ok", "job"])

    @property
    def _behind(self) -> list[str]:
        return list(self.latest.loc[self.latest["behind_h"] > 0, "series"])


def look(ctx: RunContext, *, keys_only: bool = False) -> Health:
    """Examine the machine and sum up what the shared state remembers; asks AEMET once where its key is set."""
    now = ctx.clock.now()
    open_alerts = alerts.listed(ctx.state)
    return Health(
        diagnostics.examine(ctx.settings, keys_only=keys_only, tell=not ctx.replay),
        _jobs(ctx, now),
        _calls(ctx, now),
        _latest(ctx, now),
        pd.DataFrame(
            open_alerts,
            columns=["severity", "topic", "entity", "status", "opened_at", "count", "message"],
        ),
    )


def _jobs(ctx: RunContext, now: datetime) -> pd.DataFrame:
    ticks = pd.DataFrame(ticks_since(ctx.state, now - DAY), columns=Tick._fields).pivot_table(
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
    calls = pd.DataFrame(calls_since(ctx.state, now - DAY), columns=Call._fields)
    calls["ok"] = calls["status"].isin(["ok", "200"])
    grouped = calls.groupby(["component", "target"], as_index=False)
    return grouped.agg(
        calls=("duration_ms", "size"),
        ok_share=("ok", "mean"),
        median_ms=("duration_ms", "median"),
        p95_ms=("duration_ms", lambda ms: ms.quantile(0.95)),
    )


def _latest(ctx: RunContext, now: datetime) -> pd.DataFrame:
    marks = get_marks(ctx.state, LATEST)
    lines = [
        {
            "series": name,
            "until": until,
            "due_until": ctx.catalogue[name].due_until(now),
            "behind_h": max(0.0, (ctx.catalogue[name].due_until(now) - until) / timedelta(hours=1)),
        }
        for name, (until, _) in marks.items()
    ]
    return pd.DataFrame(lines, columns=["series", "until", "due_until", "behind_h"])
