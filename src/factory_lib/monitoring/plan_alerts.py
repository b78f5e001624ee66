"""What of a plan deserves an alert: that there is none, rooms that moved a stage, hours that are poor for the month.

One alert for each day and kind, named ``2026-07-15 heat``: planning one day says
nothing of another, and a day that is over takes its alerts with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pandas as pd

from factory_lib.clock import MADRID, market_day
from factory_lib.context import RunContext
from factory_lib.monitoring import alerts
from factory_lib.monitoring.alerts import Event, Severity, Topic
from factory_lib.plan.brief import time_of_day
from factory_lib.planning import summary
from factory_lib.planning.daily import PlanOutcome

WORDS = {
    "critical": "The room spoils a batch",
    "heat": "The room is out of limits",
    "index": "The outdoor index is poor",
    "exceptional": "The price is exceptional",
}


def raise_alerts(ctx: RunContext, outcome: PlanOutcome) -> None:
    """Tell what a plan of now gives cause for, and end what no longer holds; a replay says nothing."""
    if ctx.replay:
        return
    today = market_day(ctx.clock.now())
    request = outcome.plan.problem.request
    last = market_day(request.end - timedelta(seconds=1))

    def owned(entity: str) -> bool:
        named, kind = entity.split()
        day = date.fromisoformat(named)
        first = (
            outcome.day if kind == "plan" else market_day(request.begin)
        )  # its stages may begin the day before
        return day < today or first <= day <= last

    alerts.settle(ctx.state, Topic.PLAN, events(outcome), ctx.clock.now(), owned)


def events(outcome: PlanOutcome) -> Iterator[Event]:
    """Yield what a plan gives cause for, hours and what the plan did about them included.

    An expensive hour alone is no news: it counts where its price is exceptional for the
    last weeks, or where the outdoor index, which contains the price, is poor for the
    month. So is a room out of limits at hours in which nothing would run.
    """
    if outcome.plan.status != "solved":
        yield Event(Topic.PLAN, f"{outcome.day} plan", Severity.WARNING, outcome.verdict)
    watched, changed = outcome.watched, [summary.MOVED, summary.REMOVED, summary.RUNS]
    rows = watched[
        watched["watch"].isin(["index", "exceptional"]) | watched["the_plan"].isin(changed)
    ]
    days = rows["start"].map(lambda start: start.tz_convert(MADRID).date())
    for (kind, day), found in rows.groupby(["watch", days]):
        told = "; ".join(
            _told(str(stage), part) for stage, part in found.groupby("stage", sort=False)
        )
        words = WORDS[str(kind)]
        said = f"{words} on {day:%A %-d %B}: {told}."
        yield Event(
            Topic.PLAN,
            f"{day} {kind}",
            Severity.CRITICAL if kind == "critical" else Severity.WARNING,
            said,
        )


def _told(stage: str, rows: pd.DataFrame) -> str:
    hours = ", ".join(_span(*span) for span in zip(rows["start"], rows["end"], strict=True))
    name = f"for {stage} " if stage else ""
    return f"{name}{hours} ({rows['why'].iloc[0]}), the plan {rows['the_plan'].iloc[0]}"


def _span(begin: pd.Timestamp, end: pd.Timestamp) -> str:
    first, last = begin.tz_convert(MADRID), end.tz_convert(MADRID)
    day = f" on {last:%A}" if end - begin >= pd.Timedelta(days=1) else ""
    return f"{time_of_day(first)} to {time_of_day(last)}{day}"
