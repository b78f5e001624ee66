"""Alerts of a plan: no plan, hours that moved a stage, hours that are poor for the month.

One alert for each day and kind, named ``2026-07-15 heat``: planning one day raises and
ends nothing of another, and a day that is over takes its alerts with it.
"""

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

HEADLINES = {
    "critical": "The room spoils a batch",
    "heat": "The room is out of limits",
    "index": "The outdoor index is poor",
    "exceptional": "The price is exceptional",
}
CHANGED = [summary.MOVED, summary.REMOVED, summary.RUNS]


def raise_alerts(ctx: RunContext, outcome: PlanOutcome) -> None:
    """Raise the alerts of a plan of now, and end those that no longer hold; a replay has none."""
    if ctx.replay:
        return
    today = market_day(ctx.clock.now())
    request = outcome.plan.problem.request
    last = market_day(request.end - timedelta(seconds=1))

    def owned(entity: str) -> bool:
        day_text, kind = entity.split()
        day = date.fromisoformat(day_text)
        # The stages of a day's plan may begin the day before.
        first = outcome.day if kind == "plan" else market_day(request.begin)
        return day < today or first <= day <= last

    alerts.reconcile(ctx.state, Topic.PLAN, events(outcome), ctx.clock.now(), owned)


def events(outcome: PlanOutcome) -> Iterator[Event]:
    """Yield the events of a plan, with their hours and what the plan did about them.

    An expensive hour alone is no news: it counts where its price is exceptional for the
    last weeks, or where the outdoor index, which contains the price, is poor for the
    month. So is a room out of limits at hours in which nothing would run.
    """
    if outcome.plan.status != "solved":
        yield Event(Topic.PLAN, f"{outcome.day} plan", Severity.WARNING, outcome.verdict)
    table = outcome.watched
    news = table["watch"].isin(["index", "exceptional"]) | table["the_plan"].isin(CHANGED)
    rows = table[news]
    days = rows["start"].map(lambda start: start.tz_convert(MADRID).date())
    for (kind, day), group in rows.groupby(["watch", days]):
        by_stage = group.groupby("stage", sort=False)
        hours = "; ".join(_describe(str(stage), part) for stage, part in by_stage)
        yield Event(
            Topic.PLAN,
            f"{day} {kind}",
            Severity.CRITICAL if kind == "critical" else Severity.WARNING,
            f"{HEADLINES[str(kind)]} on {day:%A %-d %B}: {hours}.",
        )


def _describe(stage: str, rows: pd.DataFrame) -> str:
    spans = zip(rows["start"], rows["end"], strict=True)
    hours = ", ".join(_span(begin, end) for begin, end in spans)
    name = f"for {stage} " if stage else ""
    return f"{name}{hours} ({rows['why'].iloc[0]}), the plan {rows['the_plan'].iloc[0]}"


def _span(begin: pd.Timestamp, end: pd.Timestamp) -> str:
    first = begin.tz_convert(MADRID)
    last = end.tz_convert(MADRID)
    day = f" on {last:%A}" if end - begin >= pd.Timedelta(days=1) else ""
    return f"{time_of_day(first)} to {time_of_day(last)}{day}"
