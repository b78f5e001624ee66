"""A planning problem: a request laid on a grid of slots as arrays.

Identical batches are counted, not named: a job is a number of like batches whose k-th start of one stage belongs to the
k-th start of the next. Every batch in progress is a job of its own; its starts are facts on slots before ``now``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S, epoch
from factory_lib.domain.plant import Bools, Floats, Ints, auxiliary_kw, day_ends, operators, room
from factory_lib.errors import BadInput
from factory_lib.planner.bill import ExcessRule, excess_rule, norm_so_far
from factory_lib.planner.request import Order, PlanRequest
from factory_lib.settings.plant import Plant, Stage

FIRM_MARKS_H = (1, 2, 4, 8, 16)  # after a firm order is due, lateness is looked at this often


@dataclass(frozen=True)
class Job:
    """Up to ``count`` like batches; ``facts`` are the slots in which the stages of batch ``number`` began."""

    product: str
    count: int
    min_kg: float
    max_kg: float
    duration: tuple[int, ...]
    attention: tuple[int, ...]
    facts: tuple[int, ...] = ()
    number: int = 0


@dataclass(frozen=True)
class Activity:
    """What a batch does to a plant: a stage that runs, its first minutes that people attend, or mass that is held."""

    stage: int
    kind: str
    machine: str
    kw: float
    people: int

    def span(self, job: Job, starts: Sequence[int]) -> tuple[int, int]:
        """Return from which slot to which a batch does it; nothing while it is not known."""
        begin = starts[self.stage] if self.stage < len(starts) else 0
        if self.kind == "hold":
            return begin + job.duration[self.stage], starts[self.stage + 1] if self.stage + 1 < len(
                starts
            ) else 0
        length = job.attention if self.kind == "attend" else job.duration
        return begin, begin + length[self.stage] * (self.stage < len(starts))


@dataclass(frozen=True)
class Keep:
    """A start that should stay where it is: ``count`` batches of a product begin a stage in a slot, else ``eur``."""

    kind: str
    product: str
    stage: int
    slot: int
    count: int
    eur: float


@dataclass(frozen=True, eq=False)
class OrderBook:
    """The orders of a product, looked at after the slots ``marks``; arrays of orders by marks.

    A kilogram delivered at a mark before its order is due costs ``eur_kg`` there, one not delivered at a mark at or
    after it, too. ``stock_eur_kg`` is the price of kilograms beyond all orders: twice that of a preferred day.
    """

    orders: tuple[Order, ...]
    kg: Floats
    marks: Ints
    due: Bools
    late: Bools
    eur_kg: Floats
    stock_eur_kg: Floats


@dataclass(frozen=True, eq=False)
class Problem:
    """A request on its grid: arrays of length T over ``index``, whose slots before ``now`` are history.

    ``price`` is the whole price by slot, EUR/MWh, 0 in history, which is sunk. ``spare_kw`` is solar power beyond the
    loads that always run, ``saved`` what using it saves, EUR/MWh. ``kelvin`` and ``percent`` are how far the room is
    beyond each stage's limits, ``critical`` where it would spoil a batch. ``meter_kw`` is the import without
    production, negative where the sun gives more; ``so_far`` the norm of the months' excess power until now.
    """

    request: PlanRequest
    index: pd.DatetimeIndex
    now: int
    slot_h: float
    jobs: tuple[Job, ...]
    activities: tuple[Activity, ...]
    wait: tuple[int, ...]
    people: Ints
    capacity: Mapping[str, Ints]
    base_kw: Floats
    meter_kw: Floats
    price: Floats
    spare_kw: Floats
    saved: Floats
    kelvin: Floats
    percent: Floats
    critical: Bools
    excess: ExcessRule
    so_far: Floats
    books: Mapping[str, OrderBook]
    keeps: tuple[Keep, ...]
    lost: tuple[Job, ...] = ()

    @property
    def plant(self) -> Plant:
        """The plant the request is for."""
        return self.request.plant

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The plant's stages in order."""
        return self.request.plant.stages

    @property
    def most_people(self) -> int:
        """Most people of any shift: as many may be asked for at any time, for the price of overtime."""
        return max((shift.operators for shift in self.plant.shifts), default=0)

    @property
    def stamps(self) -> pd.DatetimeIndex:
        """Return the starts of all slots and the end of the last."""
        return pd.date_range(
            self.index[0], periods=len(self.index) + 1, freq=self.index.freq, unit="s"
        )

    def at(self, slot: int) -> pd.Timestamp:
        """Return the start of a slot, which may lie outside the grid."""
        return self.index[0] + slot * (self.index[1] - self.index[0])

    def use(self, batches: Iterable[tuple[int, Sequence[int]]], weights: Sequence[float]) -> Floats:
        """Return what batches (job, starts) take in each slot of something that activities take ``weights`` of."""
        total = np.zeros(len(self.index))
        for job, starts in batches:
            for activity, weight in zip(self.activities, weights, strict=True):
                total[slice(*activity.span(self.jobs[job], starts))] += weight
        return total


def lay_out(request: PlanRequest) -> Problem:
    """Lay a request on its grid.

    Raises
    ------
    BadInput
        If the window is empty or off the grid, a price is missing, or a name is not the plant's.
    """
    plant, slot_s = request.plant, request.plant.slot_min * 60
    index, now = _grid(request, slot_s)
    future = np.arange(len(index)) >= now
    price = on_grid(request.prices[["price_eur_mwh"]], index)[:, 0]
    if missing := int(np.isnan(price[now:]).sum()):
        raise BadInput(
            f"{missing} of {future.sum()} slots of the window have no price.",
            next_step="Forecast them.",
        )
    base_kw, pv_kw = auxiliary_kw(plant, index), np.zeros(len(index))
    if request.pv_kw is not None:  # an inverter is throttled where importing is paid for
        pv_kw = np.nan_to_num(on_grid(request.pv_kw.to_frame(), index)[:, 0]) * (price > 0)
    air = np.full((2, len(index)), np.nan)
    if request.weather is not None:
        air = on_grid(room(request.weather, plant.room), index).T
    low, high, worst, wet = np.array([list(vars(stage.room).values()) for stage in plant.stages]).T[
        :, :, None
    ]
    rule = excess_rule(index, request.contract, request.tariff)
    books = {
        name: _book(request, name, index, now)
        for name in sorted({order.product for order in request.orders})
    }
    return Problem(
        request=request,
        index=index,
        now=now,
        slot_h=slot_s / HOUR_S,
        jobs=tuple(_jobs(request, index, books)),
        activities=tuple(_activities(plant)),
        wait=tuple(int(max(s.wait_min, s.hold_h * 60)) // plant.slot_min for s in plant.stages),
        people=operators(plant, index, slot_s),
        capacity=_capacity(request, index),
        base_kw=base_kw,
        meter_kw=np.where(future, base_kw - pv_kw, 0.0),
        price=np.where(future, price, 0.0),
        spare_kw=np.where(future, np.maximum(pv_kw - base_kw, 0.0), 0.0),
        saved=np.where(future, price - np.clip(price, 0.0, plant.pv.surplus_eur_mwh), 0.0),
        kelvin=np.nan_to_num(np.maximum(np.maximum(air[0] - high, low - air[0]), 0.0)) * future,
        percent=np.nan_to_num(np.maximum(air[1] - wet, 0.0)) * future,
        critical=(air[0] > worst) & future,
        excess=rule,
        so_far=norm_so_far(rule, request.load_so_far, request.contract, request.tariff),
        books=books,
        keeps=tuple(_keeps(request, index, now)),
    )


def slot_of(index: pd.DatetimeIndex, instant: datetime) -> int:
    """Return the number of the slot in which ``instant`` lies, counted from the index's first; may lie outside."""
    return int((pd.Timestamp(instant) - index[0]) // (index[1] - index[0]))


def on_grid(frame: pd.DataFrame, index: pd.DatetimeIndex) -> Floats:
    """Lay a regular frame on the index: coarser values are repeated, finer ones averaged where all are known."""
    slot, step = index[1] - index[0], frame.index[1] - frame.index[0]
    if step < slot:
        parts = frame.groupby(pd.DatetimeIndex(frame.index).floor(slot))
        frame = parts.mean().where(parts.count() == slot // step)
    return frame.reindex(index.floor(max(step, slot))).to_numpy(float)


def _grid(request: PlanRequest, slot_s: int) -> tuple[pd.DatetimeIndex, int]:
    begin, end = epoch(request.begin), epoch(request.end)
    if begin % slot_s or end % slot_s or end < begin + 2 * slot_s:
        raise BadInput(
            f"{request.begin} … {request.end} is no window of whole slots of {slot_s // 60} minutes."
        )
    facts = [epoch(at) for batch in request.begun for at in batch.starts.values()]
    first = min([begin, *facts]) // slot_s * slot_s
    start = pd.Timestamp(first, unit="s", tz="UTC")
    index = pd.date_range(
        start, periods=(end - first) // slot_s, freq=f"{slot_s}s", unit="s", name="start"
    )
    return index, (begin - first) // slot_s


def _activities(plant: Plant) -> Iterator[Activity]:
    for s, stage in enumerate(plant.stages):
        yield Activity(
            s, "run", stage.machine, stage.power_kw, stage.operators * (stage.attended == "always")
        )
        if stage.attended == "start":
            yield Activity(s, "attend", "", 0.0, stage.operators)
        if stage.hold_h:
            yield Activity(s, "hold", stage.machine, stage.hold_kw, 0)


def _capacity(request: PlanRequest, index: pd.DatetimeIndex) -> dict[str, Ints]:
    """Return the units of each machine that can be used in each slot; a slot touched by an outage is lost."""
    capacity = {
        name: np.full(len(index), count, np.int64) for name, count in request.plant.machines.items()
    }
    for outage in request.outages:
        last = slot_of(index, outage.end - timedelta(seconds=1))
        span = slice(max(slot_of(index, outage.begin), 0), max(last + 1, 0))
        capacity[_known(outage.machine, capacity, "machine")][span] -= outage.count
    return {name: np.maximum(count, 0) for name, count in capacity.items()}


def _jobs(
    request: PlanRequest, index: pd.DatetimeIndex, books: Mapping[str, OrderBook]
) -> Iterator[Job]:
    plant, names = request.plant, [stage.name for stage in request.plant.stages]
    for batch in request.begun:
        if not batch.starts or list(batch.starts) != names[: len(batch.starts)]:
            raise BadInput(
                f"Batch {batch.number} began {list(batch.starts)}; stages are {', '.join(names)}."
            )
        facts = tuple(slot_of(index, at) for at in batch.starts.values())
        yield Job(
            batch.product,
            1,
            batch.kg,
            batch.kg,
            *_lengths(plant, batch.product),
            facts,
            batch.number,
        )
    for product, book in books.items():
        spec = plant.variants[product]
        most = math.ceil(book.kg.sum() / spec.batch_min_kg - 1e-9)
        yield Job(product, most, spec.batch_min_kg, spec.batch_max_kg, *_lengths(plant, product))


def _lengths(plant: Plant, product: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return for how many slots each stage of a product runs, and for how many it needs its people."""
    minutes = plant.variants[_known(product, plant.variants, "product")].duration_min
    runs = [
        math.ceil(minutes.get(stage.name, stage.duration_min) / plant.slot_min)
        for stage in plant.stages
    ]
    first = [math.ceil(stage.attended_min / plant.slot_min) for stage in plant.stages]
    return tuple(runs), tuple(min(pair) for pair in zip(runs, first, strict=True))


def _book(request: PlanRequest, product: str, index: pd.DatetimeIndex, now: int) -> OrderBook:
    _known(product, request.plant.variants, "product")
    orders = tuple(
        sorted((o for o in request.orders if o.product == product), key=lambda order: order.due)
    )
    slack, slot_s, end = request.plant.slack, request.plant.slot_min * 60, len(index)
    due = np.array([slot_of(index, order.due) for order in orders])[:, None]
    latest = np.array([slot_of(index, order.latest or order.due) for order in orders])[:, None]
    firm = np.array([order.firm for order in orders])
    after_firm = due[firm] + np.array(FIRM_MARKS_H) * HOUR_S // slot_s
    marks = np.unique(
        np.concatenate(
            [day_ends(index, slot_s)[1], due[:, 0], latest[:, 0], after_firm.ravel(), [end]]
        )
    )
    marks = marks[(marks > now) & (marks <= end)]
    days = np.append(np.diff(marks) * slot_s / DAY_S, 1.0)
    late = (due <= marks) & ((latest <= marks) | (marks == end))
    must = np.where(firm, slack.firm_eur_kg_day, slack.late_eur_kg_day)[:, None]
    wish = np.array([[order.eur_kg_day] for order in orders])
    return OrderBook(
        orders=orders,
        kg=np.array([order.kg for order in orders]),
        marks=marks,
        due=due <= marks,
        late=late,
        eur_kg=np.where(late, must, wish) * days,
        stock_eur_kg=2 * request.plant.demand.preference_eur_kg_day * days,
    )


def _keeps(request: PlanRequest, index: pd.DatetimeIndex, now: int) -> Iterator[Keep]:
    """Yield pinned starts, and the starts of the plan before that still lie ahead."""
    plant, names = request.plant, [stage.name for stage in request.plant.stages]
    for pin in request.pins:
        stage = names.index(_known(pin.stage, names, "stage"))
        yield Keep("pin", pin.product, stage, slot_of(index, pin.start), 1, plant.slack.pin_eur)
    planned = Counter(
        (batch.product, stage, slot_of(index, batch.starts[name]))
        for batch in request.previous
        for stage, name in enumerate(names)
    )
    frozen = now + int(plant.replanning.freeze_h * HOUR_S) // (plant.slot_min * 60)
    for (product, stage, slot), count in planned.items():
        if now <= slot < len(index):
            kind = (
                ("frozen", plant.slack.pin_eur)
                if slot < frozen
                else ("moved", plant.replanning.move_eur)
            )
            yield Keep(kind[0], product, stage, slot, count, kind[1])


def _known(name: str, names: Collection[str], kind: str) -> str:
    if name not in names:
        raise BadInput(f"There is no {kind} {name!r}; there are {', '.join(names)}.")
    return name
