"""Alerts of a plan: what could not be kept, and hours that deserve attention.

One alert for each day and kind, named ``2026-07-15 late``: a day that is over takes its
alerts with it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from factory_lib.clock import display_zone, local_day, local_time
from factory_lib.context import RunContext
from factory_lib.monitoring import alerts
from factory_lib.monitoring.alerts import Event, Severity
from factory_lib.planning import daily, documents, summary
from factory_lib.planning.daily import DailyPlan
from factory_lib.planning.summary import RELAXATIONS, SERIOUS, until_when
from factory_lib.results import JobResult
from factory_lib.state import hold

CRITICAL = ("lost", "firm_late")
ALERTED = (*SERIOUS, "room_temperature", "room_humidity")
LEAST_KWH = 0.5
MAKING = "making a plan"  # the name of the lock


def plan_with_alerts(ctx: RunContext, day: str, days: int) -> tuple[DailyPlan, JobResult]:
    """Plan the next seven days, raise alerts, and return the plan and a view of it.

    Parameters
    ----------
    day, days
        The first local day on the shift sheet (``planning.daily.day_of``), and how many.
    """
    begin, end = daily.view(ctx, daily.day_of(day, ctx.as_of, ctx.settings.plant.zone), days)
    # a person's command and the job may plan at once: each follows the plan that is written
    with hold(ctx.settings, MAKING, wait=True):
        made = daily.make_plan(_after_newest(ctx))
    result = summary.summarise_plan(ctx, made, begin, end)
    raise_alerts(ctx, made, result)
    return made, result


def _after_newest(ctx: RunContext) -> RunContext:
    """Return the context, as one of now where a newer plan was made while this one waited."""
    made_at = documents.latest_plan(ctx).get("made_at")
    now = ctx.clock.now()
    if made_at and not ctx.replay and ctx.as_of < datetime.fromisoformat(made_at) <= now:
        return replace(ctx, as_of=now)
    return ctx


def raise_alerts(ctx: RunContext, made: DailyPlan, result: JobResult) -> None:
    """Raise the alerts of a plan of now, and end those that no longer hold; a replay has none."""
    if not ctx.replay:
        alerts.reconcile(ctx.state, "plan", events(made, result), ctx.clock.now())


def events(made: DailyPlan, result: JobResult) -> Iterator[Event]:
    """Yield the events of a plan, with their hours and the reason.

    An expensive hour alone is no news: it counts where its price is exceptional for the
    last weeks. A poor outdoor index stands on the page only: the plan weighs prices and
    rooms by themselves. An hour in which the plan uses nothing needs no decision.
    """
    if made.plan.source != "solver":
        day = local_day(made.request.begin, display_zone())
        yield Event("plan", f"{day} solver", Severity.WARNING, result.summary)
    texts = defaultdict(list)
    items: list[dict[Any, Any]] = made.plan.gave_way.to_dict("records")
    for item in items:
        begin = local_time(item["begin"])
        amount = "" if item["unit"] == "starts" else ", {amount:,.1f} {unit}".format_map(item)
        text = f"{item['subject']}{amount} from {begin}{until_when(item)}"
        texts[item["kind"], local_day(item["begin"], display_zone())].append(text)
    for (kind, day), lines in texts.items():
        if kind in ALERTED:
            severity = Severity.CRITICAL if kind in CRITICAL else Severity.WARNING
            text = f"{RELAXATIONS[kind].capitalize()}: {'; '.join(lines)}."
            yield Event("plan", f"{day} {kind}", severity, text)
    attention = result["attention"]
    used = (attention["kind"] == "exceptional") & (attention["planned_kwh"] >= LEAST_KWH)
    hours: list[dict[Any, Any]] = attention[used].to_dict("records")
    for row in hours:
        start = row["start"].tz_convert(display_zone())
        end = row["end"].tz_convert(display_zone())
        text = (
            f"The price is exceptional on {start:%A %-d %B}: {start:%H:%M} to {end:%H:%M} "
            f"({row['reason']}), the plan uses {row['planned_kwh']:.0f} kWh there."
        )
        yield Event("plan", f"{start.date()} exceptional", Severity.WARNING, text)
