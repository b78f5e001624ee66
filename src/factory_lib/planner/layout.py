"""Lay a request on a grid of slots."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S, epoch
from factory_lib.domain.bill import excess_rule, norm_so_far
from factory_lib.domain.plant import (
    Bools,
    Ints,
    auxiliary_kw,
    beyond_limits,
    day_ends,
    operators,
    room,
)
from factory_lib.errors import BadInput
from factory_lib.planner.problem import Activity, Job, Keep, Problem, as_column, laid_on, slot_of
from factory_lib.planner.request import PlanRequest
from factory_lib.settings.plant import Plant

FIRM_MARKS_H = (1, 2, 4, 8, 16)  # after a firm order is due, lateness is looked at this often


def lay_out(request: PlanRequest) -> Problem:
    """Lay a request on its grid.

    Raises
    ------
    BadInput
        If the window is empty or off the grid, a price is missing, or a name is not the
        plant's.
    """
    plant = request.plant
    index, now = _grid(request)
    jobs = (*_begun_jobs(request, index), *_fresh_jobs(request))
    rule = excess_rule(index, request.contract, request.tariff)
    wait_min = [max(stage.wait_min, stage.hold_h * 60) for stage in plant.stages]
    future = np.arange(len(index)) >= now
    return Problem(
        request=request,
        index=index,
        now=now,
        slot_h=plant.slot_min / 60,
        jobs=jobs,
        activities=tuple(_activities(plant, jobs)),
        wait=np.array(wait_min, np.int64) // plant.slot_min,
        people=operators(plant, index, plant.slot_min * 60),
        capacity=_capacity(request, index),
        excess=rule,
        so_far=norm_so_far(rule, request.load_so_far, request.contract, request.tariff),
        keeps=tuple(_keeps(request, index, now)),
        **_orders(request, index, now),
        **_meter(request, index, future),
        **_room(request, index, future),
    )


def _grid(request: PlanRequest) -> tuple[pd.DatetimeIndex, int]:
    slot_s = request.plant.slot_min * 60
    begin, end = map(epoch, (request.begin, request.end))
    if begin % slot_s or end % slot_s or end < begin + 2 * slot_s:
        raise BadInput(
            f"{request.begin} … {request.end} is no window of whole slots of {slot_s // 60} min."
        )
    starts = [request.begin]
    for batch in request.begun:
        starts += batch.starts.values()
    first = pd.Timestamp(min(starts)).floor(f"{slot_s}s")
    index = pd.date_range(
        first, request.end, freq=f"{slot_s}s", inclusive="left", unit="s", name="start"
    )
    return index, slot_of(index, request.begin)


def _meter(request: PlanRequest, index: pd.DatetimeIndex, future: Bools) -> dict[str, Any]:
    (price,) = laid_on(request.prices[["price_eur_mwh"]], index)
    if missing := int(np.isnan(price[future]).sum()):
        raise BadInput(
            f"{missing} of {future.sum()} slots of the window have no price.",
            next_step="Forecast them first.",
        )
    base_kw = auxiliary_kw(request.plant, index)
    pv_kw = np.zeros(len(index))
    if request.pv_kw is not None:  # an inverter is throttled where importing is paid for
        pv_kw = np.nan_to_num(laid_on(request.pv_kw.to_frame(), index)[0]) * (price > 0)
    surplus = np.clip(price, 0.0, request.plant.pv.surplus_eur_mwh)
    return {
        "price": np.where(future, price, 0.0),
        "base_kw": base_kw,
        "meter_kw": np.where(future, base_kw - pv_kw, 0.0),
        "spare_kw": np.where(future, np.maximum(pv_kw - base_kw, 0.0), 0.0),
        "saved": np.where(future, price - surplus, 0.0),
    }


def _room(request: PlanRequest, index: pd.DatetimeIndex, future: Bools) -> dict[str, Any]:
    air = np.full((2, len(index)), np.nan)
    if request.weather is not None:
        air = laid_on(room(request.weather, request.plant.room), index)
    kelvin, percent, critical = beyond_limits(request.plant, *air)
    return {
        "kelvin": kelvin * future,
        "percent": percent * future,
        "critical": critical & future,
    }


def _capacity(request: PlanRequest, index: pd.DatetimeIndex) -> dict[str, Ints]:
    """Return the usable units of each machine by slot; a slot touched by an outage is lost."""
    machines = request.plant.machines
    capacity = {name: np.full(len(index), count) for name, count in machines.items()}
    for outage in request.outages:
        begin = max(slot_of(index, outage.begin), 0)
        end = max(slot_of(index, outage.end - timedelta(seconds=1)) + 1, 0)
        capacity[_checked(outage.machine, machines, "machine")][begin:end] -= outage.count
    return {name: np.maximum(count, 0) for name, count in capacity.items()}


def _begun_jobs(request: PlanRequest, index: pd.DatetimeIndex) -> Iterator[Job]:
    names = [stage.name for stage in request.plant.stages]
    for batch in request.begun:
        if not batch.starts or list(batch.starts) != names[: len(batch.starts)]:
            raise BadInput(
                f"Batch {batch.number} began {list(batch.starts)}; stages: {', '.join(names)}."
            )
        facts = tuple(slot_of(index, at) for at in batch.starts.values())
        duration = _duration(request.plant, batch.product)
        yield Job(batch.product, 1, batch.kg, batch.kg, duration, facts, batch.number)


def _fresh_jobs(request: PlanRequest) -> Iterator[Job]:
    """Yield a job for each product, with as many batches as could be of use."""
    kept = Counter(pin.product for pin in request.pins)
    kept.update(batch.product for batch in request.previous)
    kg = dict.fromkeys(kept, 0.0)
    for order in request.orders:
        kg[order.product] = kg.get(order.product, 0.0) + order.kg
    for product in sorted(kg):
        duration = _duration(request.plant, product)
        size = request.plant.variants[product]
        count = math.ceil(kg[product] / size.batch_min_kg) + kept[product]
        yield Job(product, count, size.batch_min_kg, size.batch_max_kg, duration)


def _duration(plant: Plant, product: str) -> Ints:
    own = plant.variants[_checked(product, plant.variants, "product")].duration_min
    minutes = [own.get(stage.name, stage.duration_min) for stage in plant.stages]
    return -(-np.array(minutes, np.int64) // plant.slot_min)


def _activities(plant: Plant, jobs: Sequence[Job]) -> Iterator[Activity]:
    for s, stage in enumerate(plant.stages):
        duration = np.array([job.duration[s] for job in jobs], np.int64)
        people = stage.operators * (stage.attended == "always")
        yield Activity(s, "run", stage.machine, stage.power_kw, people, duration)
        if stage.attended == "start":
            first = np.minimum(-(-stage.attended_min // plant.slot_min), duration)
            yield Activity(s, "attend", "", 0.0, stage.operators, first)
        if stage.hold_h:
            longest = np.full(
                len(jobs), int(max(stage.wait_min, stage.hold_h * 60)) // plant.slot_min
            )
            yield Activity(s, "hold", stage.machine, stage.hold_kw, 0, longest)


def _orders(request: PlanRequest, index: pd.DatetimeIndex, now: int) -> dict[str, Any]:
    """Return the orders and their marks: midnights, instants they are due, and hours after."""
    orders = sorted(request.orders, key=lambda order: order.due)
    slot_s = request.plant.slot_min * 60
    due = as_column([slot_of(index, order.due) for order in orders])
    latest = as_column([slot_of(index, order.latest or order.due) for order in orders])
    firm = as_column([order.firm for order in orders])
    after = due + firm * np.array(FIRM_MARKS_H) * HOUR_S // slot_s
    days = day_ends(index, slot_s)[1]
    marks = np.unique([*days, *due.flat, *latest.flat, *after.flat, len(index)]).astype(np.int64)
    marks = marks[(marks > now) & (marks <= len(index))]
    late = (due <= marks) & ((latest <= marks) | (marks == len(index)))
    slack = request.plant.slack
    must = np.where(firm, slack.firm_eur_kg_day, slack.late_eur_kg_day)
    wish = as_column([order.eur_kg_day for order in orders])
    mark_days = np.append(np.diff(marks) * slot_s / DAY_S, 1.0)
    return {
        "orders": tuple(orders),
        "marks": marks,
        "mark_days": mark_days,
        "due": due <= marks,
        "late": late,
        "eur_kg": np.where(late, must, wish) * mark_days,
    }


def _keeps(request: PlanRequest, index: pd.DatetimeIndex, now: int) -> Iterator[Keep]:
    """Yield pinned starts, and the starts of the plan before that still lie ahead."""
    plant = request.plant
    names = [stage.name for stage in plant.stages]
    for pin in request.pins:
        stage = names.index(_checked(pin.stage, names, "stage"))
        yield Keep("pin", pin.product, stage, slot_of(index, pin.start), 1, plant.slack.pin_eur)
    planned: Counter[tuple[str, int, int]] = Counter()
    for batch in request.previous:
        slots = (slot_of(index, batch.starts[name]) for name in names)
        planned.update((batch.product, stage, slot) for stage, slot in enumerate(slots))
    frozen = now + plant.replanning.freeze_h * 60 // plant.slot_min
    for (product, stage, slot), count in planned.items():
        if now <= slot < frozen:
            yield Keep("frozen", product, stage, slot, count, plant.slack.pin_eur)
        elif frozen <= slot < len(index):
            yield Keep("moved", product, stage, slot, count, plant.replanning.move_eur)


def _checked(name: str, names: Collection[str], kind: str) -> str:
    if name not in names:
        raise BadInput(f"There is no {kind} {name!r}; there are {', '.join(names)}.")
    return name
