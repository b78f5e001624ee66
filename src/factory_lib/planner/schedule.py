"""A schedule on a problem's grid: its batches, what they cost, and what gave way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult

from factory_lib.domain.plant import Floats, Ints
from factory_lib.domain.tariff import local_dates
from factory_lib.planner.model import MilpModel
from factory_lib.planner.problem import Problem, laid_on

LEAST_KG, LEAST_EUR = 0.01, 1e-6
# Kinds of wishes in the order in which they give way.
KINDS = (
    "preferred_day",
    "extra_kg",
    "room_temperature",
    "room_humidity",
    "overtime",
    "late",
    "lost",
    "firm_late",
    "moved",
    "frozen",
    "pin",
)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Batches in order of their end: their jobs, kilograms, and starts (batches by stages).

    ``undelivered_kg`` holds orders by marks, ``extra_kg`` by product and mark what is
    beyond all orders.
    """

    jobs: Ints
    kg: Floats
    starts: Ints
    undelivered_kg: Floats
    extra_kg: Mapping[str, Floats]


@dataclass(frozen=True)
class Relaxation:
    """A wish that gave way: from ``begin`` until ``until`` (None: beyond the window)."""

    kind: str
    subject: str
    amount: float
    unit: str
    eur: float
    begin: pd.Timestamp
    until: pd.Timestamp | None


@dataclass(frozen=True)
class Costs:
    """Additions to the bill by production (``other`` with all taxes), and relaxations, EUR."""

    energy: float
    toll: float
    other: float
    excess: float
    relaxations: tuple[Relaxation, ...]

    @property
    def paid(self) -> float:
        """Return what appears on a bill."""
        return self.energy + self.toll + self.other + self.excess

    @property
    def objective(self) -> float:
        """Return what the optimiser minimises."""
        return self.paid + self.of(*KINDS)

    def of(self, *kinds: str) -> float:
        """Return what relaxations of some kinds cost, EUR."""
        return sum(item.eur for item in self.relaxations if item.kind in kinds)


def schedule_of(model: MilpModel, result: OptimizeResult) -> Schedule:
    """Read a schedule from a solution: the k-th starts of all stages of a job are a batch.

    The kilograms made between two marks are shared evenly by the batches finished then.
    """
    problem = model.problem
    by_job = [np.array(starts).T for starts in model.starts(result.x)]
    jobs = np.repeat(np.arange(len(by_job)), [len(batches) for batches in by_job])
    starts = np.concatenate([np.empty((0, len(problem.stages)), np.int64), *by_job])
    duration = np.array([job.duration[-1] for job in problem.jobs], np.int64)
    order = np.lexsort((starts[:, 0], starts[:, -1] + duration[jobs]))
    jobs = jobs[order]
    starts = starts[order]
    kg = np.array([job.max_kg for job in problem.jobs], float)[jobs]
    for j, columns in model.made.items():
        mark = np.searchsorted(problem.marks, (starts[:, -1] + duration[jobs])[jobs == j])
        number = np.bincount(mark, minlength=len(columns))
        kg[jobs == j] = (np.diff(result.x[columns], prepend=0.0) / np.maximum(number, 1))[mark]
    values = result.x[model.undelivered]
    undelivered = np.where(problem.due, values, problem.order_kg - values)
    extra = {product: result.x[columns] for product, columns in model.extra.items()}
    return Schedule(jobs, kg, starts, undelivered, extra)


def use_of(problem: Problem, schedule: Schedule, weights: Sequence[float]) -> Floats:
    """Return what the batches take from now on of what activities take ``weights`` of."""
    total = problem.use(schedule.jobs, schedule.starts, weights)
    return total * (np.arange(len(total)) >= problem.now)


def production_kw(problem: Problem, schedule: Schedule) -> Floats:
    """Return the kilowatts of stages and holding in each slot from now on."""
    return use_of(problem, schedule, [activity.kw for activity in problem.activities])


def starts_of(problem: Problem, schedule: Schedule) -> Counter[tuple[str, int, int]]:
    """Return how many batches of a product begin a stage in a slot: (product, stage, slot)."""
    starts: Counter[tuple[str, int, int]] = Counter()
    for j, slots in zip(schedule.jobs, schedule.starts.tolist(), strict=True):
        starts.update((problem.jobs[j].product, stage, slot) for stage, slot in enumerate(slots))
    return starts


def costs_of(problem: Problem, schedule: Schedule) -> Costs:
    """Return what a schedule costs from now on; loads that always run are not in it."""
    kw = production_kw(problem, schedule)
    used = np.minimum(kw, problem.spare_kw)
    mwh = problem.slot_h / 1000
    parts = laid_on(problem.request.prices[["market_eur_mwh", "toll_eur_mwh"]], problem.index)
    energy, toll = np.nan_to_num(parts) @ (kw - used) * mwh
    total = float(problem.price @ kw - problem.saved @ used) * mwh
    rule = problem.excess
    more = rule.norm(problem.meter_kw + kw, problem.so_far)
    more = more - rule.norm(problem.meter_kw, problem.so_far)
    excess = float(rule.rate_eur @ more)
    excess *= 1 + problem.request.contract.electricity_tax_pct / 100
    gave_way = sorted(_relaxations(problem, schedule), key=lambda item: KINDS.index(item.kind))
    other = total - energy - toll
    return Costs(float(energy), float(toll), float(other), excess, tuple(gave_way))


def _relaxations(problem: Problem, schedule: Schedule) -> Iterator[Relaxation]:
    slack = problem.plant.slack
    yield from _off_orders(problem, schedule.undelivered_kg)
    for product, extra in schedule.extra_kg.items():
        eur = float(extra @ problem.extra_eur_kg)
        if eur > LEAST_EUR:
            begin = problem.stamps[problem.marks[np.flatnonzero(extra)[0]]]
            yield Relaxation("extra_kg", product, float(extra.max()), "kg", eur, begin, None)
    yield from _room_and_people(problem, schedule)
    for job in problem.lost:
        eur = job.max_kg * slack.lost_eur_kg
        name = f"{job.product} {job.number}"
        yield Relaxation("lost", name, job.max_kg, "kg", eur, problem.index[problem.now], None)
    starts = starts_of(problem, schedule)
    for keep in problem.keeps:
        gone = keep.count - starts[keep.product, keep.stage, keep.slot]
        if gone > 0:
            name = f"{keep.product} {problem.stages[keep.stage].name}"
            begin = problem.index[0] + keep.slot * (problem.index[1] - problem.index[0])
            yield Relaxation(keep.kind, name, gone, "starts", gone * keep.eur, begin, None)


def _off_orders(problem: Problem, undelivered_kg: Floats) -> Iterator[Relaxation]:
    off = np.where(problem.due, undelivered_kg, problem.order_kg - undelivered_kg)
    for o, order in enumerate(problem.orders):
        name = order.name or order.product
        late = problem.late[o]
        eur = off[o] * problem.eur_kg[o]
        done = problem.marks[undelivered_kg[o] < LEAST_KG]
        until = problem.stamps[done[0]] if len(done) else None
        wish_eur = float(eur[~late].sum())
        if wish_eur > LEAST_EUR:
            days = wish_eur / order.eur_kg_day
            due = pd.Timestamp(order.due)
            yield Relaxation("preferred_day", name, days, "kg·d", wish_eur, due, until)
        late_eur = float(eur[late].sum())
        if late_eur > LEAST_EUR:
            kind = "firm_late" if order.firm else "late"
            latest = pd.Timestamp(order.latest or order.due)
            kg = float(off[o, late].max())
            yield Relaxation(kind, name, kg, "kg", late_eur, latest, until)


def _room_and_people(problem: Problem, schedule: Schedule) -> Iterator[Relaxation]:
    slack = problem.plant.slack
    for s, stage in enumerate(problem.stages):
        runs = [float(act.kind == "run" and act.stage == s) for act in problem.activities]
        running = use_of(problem, schedule, runs)
        kelvin = running * problem.kelvin[s]
        percent = running * problem.percent[s]
        yield from _spread(problem, "room_temperature", stage.name, kelvin, slack.room_eur_k_h)
        yield from _spread(problem, "room_humidity", stage.name, percent, slack.room_eur_pct_h)
    people = [activity.people for activity in problem.activities]
    present = np.maximum(problem.people, problem.facts(people))
    extra = np.maximum(use_of(problem, schedule, people) - present, 0.0)
    days = local_dates(problem.index)
    for day in np.unique(days[extra > 0]):
        on_day = extra * (days == day)
        yield from _spread(problem, "overtime", str(day), on_day, slack.overtime_eur_h)


def _spread(
    problem: Problem, kind: str, subject: str, by_slot: Floats, price: float
) -> Iterator[Relaxation]:
    """Yield as one relaxation what gave way by slot, if anything did."""
    units = {"room_temperature": "K·h", "room_humidity": "%·h", "overtime": "h"}
    slots = np.flatnonzero(by_slot)
    if len(slots):
        amount = float(by_slot.sum()) * problem.slot_h
        until = problem.stamps[slots[-1] + 1]
        begin = problem.stamps[slots[0]]
        yield Relaxation(kind, subject, amount, units[kind], amount * price, begin, until)
