"""Planning again from now: what is finished is done, what has begun stays as it is, the rest is free."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from factory_lib.clock import epoch, from_epoch, market_day
from factory_lib.plan.request import Request, Running
from factory_lib.plan.solve import Plan


def from_now(plan: Plan, now: datetime, **changes: Any) -> Request:
    """Return the request that remains of ``plan`` at ``now``, taking its schedule as carried out until then.

    Parameters
    ----------
    plan : Plan
        A plan with a schedule.
    now : datetime
        UTC; the new window begins with the first whole slot from it.
    **changes
        Fields of the :class:`~factory_lib.plan.request.Request` to replace: newer prices, a later end, pins, outages.
    """
    old, slot_s = plan.problem.request, plan.problem.plant.slot_min * 60
    begin = from_epoch(-(-epoch(now) // slot_s) * slot_s)
    owed = {day: dict(by_variant) for day, by_variant in old.kilograms.items()}
    for batch in plan.by_batch():
        if batch["end"].iloc[-1] <= begin:
            settle(owed, batch["variant"].iloc[0], float(batch["kg"].iloc[0]))
    today = market_day(begin)
    for day in [day for day in owed if day < today]:  # what is late is wanted at once
        for variant, kg in owed.pop(day).items():
            owed.setdefault(today, {})
            owed[today][variant] = owed[today].get(variant, 0.0) + kg
    kept = tuple(pin for pin in old.pins if pin.start >= begin)
    state = {"begin": begin, "kilograms": owed, "running": in_progress(plan, begin), "pins": kept}
    return replace(old, **{**state, **changes})


def in_progress(plan: Plan, now: datetime) -> tuple[Running, ...]:
    """Return the batches of a plan that have begun by ``now`` and are not finished."""
    running = []
    for batch in plan.by_batch():
        begun = batch[batch["start"] < now]
        if len(begun) and batch["end"].iloc[-1] > now:
            starts = {stage: at.to_pydatetime() for stage, at in zip(begun["stage"], begun["start"], strict=True)}
            running.append(Running(batch["variant"].iloc[0], float(batch["kg"].iloc[0]), starts))
    return tuple(running)


def settle(owed: dict[date, dict[str, float]], variant: str, kg: float) -> None:
    """Take finished kilograms off what is owed, earliest day first."""
    for day in sorted(owed):
        paid = min(kg, owed[day].get(variant, 0.0))
        if paid:
            owed[day][variant] -= paid
            kg -= paid
