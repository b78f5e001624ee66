"""Alerts of a plan: what could not be kept, and hours that deserve attention.

One alert for each day and kind, named ``2026-07-15 late``: a day that is over takes its
alerts with it.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from factory_lib.clock import MADRID, market_day
from factory_lib.context import RunContext
from factory_lib.monitoring import alerts
from factory_lib.monitoring.alerts import Event, Severity
from factory_lib.planning.daily import DailyPlan
from factory_lib.planning.overrides import local_time
from factory_lib.planning.summary import RELAXATIONS, SERIOUS
from factory_lib.results import JobResult

CRITICAL = ("lost", "firm_late")
ROOMS = ("room_temperature", "room_humidity")
HEADLINES = {"index": "The outdoor index is poor", "exceptional": "The price is exceptional"}


def raise_alerts(ctx: RunContext, made: DailyPlan, result: JobResult) -> None:
    """Raise the alerts of a plan of now, and end those that no longer hold; a replay has none."""
    if ctx.replay:
        return
    last = market_day(made.request.end)

    def owned(entity: str) -> bool:
        return date.fromisoformat(entity.split()[0]) <= last

    now = ctx.clock.now()
    alerts.reconcile(ctx.state, "plan", events(made, result), now, owned)


def events(made: DailyPlan, result: JobResult) -> Iterator[Event]:
    """Yield the events of a plan, with their hours and the reason.

    An expensive hour alone is no news: it counts where its price is exceptional for the
    last weeks, or where the outdoor index, which contains the price, is poor for the
    month.
    """
    if made.plan.source != "solver":
        day = market_day(made.request.begin)
        yield Event("plan", f"{day} solver", Severity.WARNING, result.summary)
    for (kind, day), items in _gave_way(made).items():
        severity = Severity.CRITICAL if kind in CRITICAL else Severity.WARNING
        text = "; ".join(items)
        yield Event("plan", f"{day} {kind}", severity, f"{RELAXATIONS[kind].capitalize()}: {text}.")
    rows: list[dict[Any, Any]] = result["attention"].to_dict("records")
    for row in rows:
        day = row["start"].tz_convert(MADRID).date()
        text = f"{HEADLINES[row['kind']]} on {day:%A %-d %B}: {_hours(row)}."
        yield Event("plan", f"{day} {row['kind']}", Severity.WARNING, text)


def _gave_way(made: DailyPlan) -> dict[tuple[str, date], list[str]]:
    """Return what a person should know of what gave way, by kind and local day."""
    texts: dict[tuple[str, date], list[str]] = {}
    for item in made.plan.costs.relaxations:
        if item.kind in SERIOUS or item.kind in ROOMS:
            until = f" until {local_time(item.until)}" if item.until is not None else ""
            text = f"{item.subject}, {item.amount:,.1f} {item.unit} from {local_time(item.begin)}"
            texts.setdefault((item.kind, market_day(item.begin)), []).append(text + until)
    return texts


def _hours(row: Mapping[Any, Any]) -> str:
    start = row["start"].tz_convert(MADRID)
    end = row["end"].tz_convert(MADRID)
    energy = f"the plan uses {row['planned_kwh']:.0f} kWh there"
    return f"{start:%H:%M} to {end:%H:%M} ({row['reason']}), {energy}"
