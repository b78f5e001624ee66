"""Planning again from now: what is finished is done, what has begun stays as it is, the rest is free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from factory_lib.clock import epoch, from_epoch, market_day
from factory_lib.plan.request import Request, Running
from factory_lib.plan.solve import Plan

LEAST_KG = 1e-6

Finished = tuple[str, float, datetime]
"""A finished batch: variant, kilograms, and when it was finished."""


def from_now(plan: Plan, now: datetime, **changes: Any) -> Request:
    """Return the request that remains of ``plan`` at ``now``, taking its schedule as carried out until then.

    Parameters
    ----------
    plan : Plan
        A plan with a schedule.
    now : datetime
        UTC; the new window begins with the first whole slot from it.
    **changes
        Fields of the :class:`~factory_lib.plan.request.Request` to replace: newer
        prices, a later end, pins, outages.
    """
    old, slot_s = plan.problem.request, plan.problem.plant.slot_min * 60
    begin = from_epoch(-(-epoch(now) // slot_s) * slot_s)
    table = plan.table()
    rows = table[(table["stage"] == plan.problem.stages[-1].name) & (table["end"] <= begin)]
    rest = still_owed(
        replace(old, begin=begin), zip(rows["variant"], rows["kg"], rows["end"], strict=True)
    )
    pins = tuple(pin for pin in old.pins if pin.start >= begin)
    return replace(rest, **{"running": in_progress(plan, begin), "pins": pins, **changes})


def in_progress(plan: Plan, now: datetime) -> tuple[Running, ...]:
    """Return the batches of a plan that have begun by ``now`` and are not finished."""
    running = []
    for batch in plan.by_batch():
        begun = batch[batch["start"] < now]
        if len(begun) and batch["end"].iloc[-1] > now:
            starts = {
                stage: at.to_pydatetime()
                for stage, at in zip(begun["stage"], begun["start"], strict=True)
            }
            running.append(Running(batch["variant"].iloc[0], float(batch["kg"].iloc[0]), starts))
    return tuple(running)


def still_owed(request: Request, finished: Iterable[Finished]) -> Request:
    """Return the request less what is finished by its begin, with what is late wanted at once.

    A finished batch keeps the firm orders it was in time for, then pays what is owed,
    earliest first. What an order lacks whose time has passed is owed like other
    kilograms.
    """
    today = market_day(request.begin)
    orders = sorted(request.orders, key=lambda order: order.due)
    lack_kg = [order.kg for order in orders]
    owed: dict[Any, dict[str, float]] = {}
    for day, by_variant in request.kilograms.items():
        for variant, kg in by_variant.items():
            _add(owed.setdefault(max(day, today), {}), variant, kg)
        owed.setdefault(max(day, today), {})
    for variant, made_kg, end in finished:
        kg = float(made_kg)
        for n, order in enumerate(orders):
            if order.variant == variant and end <= order.due:
                kept = min(kg, lack_kg[n])
                lack_kg[n] -= kept
                kg -= kept
        for day in sorted(owed):
            paid = min(kg, owed[day].get(variant, 0.0))
            _add(owed[day], variant, -paid)
            kg -= paid
    firm = []
    for order, kg in zip(orders, lack_kg, strict=True):
        if kg > LEAST_KG and order.due > request.begin:
            firm.append(replace(order, kg=kg))
        elif kg > LEAST_KG:
            _add(owed.setdefault(today, {}), order.variant, kg)
    left = {
        day: {name: kg for name, kg in wanted.items() if kg > LEAST_KG}
        for day, wanted in owed.items()
    }
    return replace(request, kilograms=left, orders=tuple(firm))


def _add(wanted: dict[str, float], variant: str, kg: float) -> None:
    wanted[variant] = wanted.get(variant, 0.0) + kg
