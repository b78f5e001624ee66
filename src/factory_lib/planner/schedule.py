"""A schedule on a problem's grid: batches with their starts and kilograms, what it costs and what gave way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult

from factory_lib.domain.plant import Floats
from factory_lib.domain.tariff import local_dates
from factory_lib.planner.model import MilpModel
from factory_lib.planner.problem import Problem, on_grid

LEAST_KG, LEAST_EUR = 0.01, 1e-6
# What may give way, in this order.
KINDS = (
    "preferred_day", "stock", "room_temperature", "room_humidity", "overtime", "late", "lost", "firm_late", "moved",
    "frozen", "pin",
)  # fmt: skip


@dataclass(frozen=True)
class ScheduledBatch:
    """One batch: its job, its kilograms, and the slot in which each stage begins."""

    job: int
    kg: float
    starts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Schedule:
    """Batches in order of their end, and by product and mark the kilograms not delivered and beyond all orders."""

    batches: tuple[ScheduledBatch, ...]
    undelivered_kg: Mapping[str, Floats]
    stock_kg: Mapping[str, Floats]


@dataclass(frozen=True)
class Relaxation:
    """A wish that gave way: ``amount`` in ``unit``, from ``begin`` until ``until`` (None: beyond the window)."""

    kind: str
    subject: str
    amount: float
    unit: str
    eur: float
    begin: pd.Timestamp
    until: pd.Timestamp | None


@dataclass(frozen=True)
class Costs:
    """What production adds to the bill (energy, toll, other terms with tax, excess), and what gave way, EUR."""

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

    What is made between two marks is shared evenly by the batches finished then.
    """
    problem, starts = model.problem, model.starts(result.x)
    chains = [
        (j, chain)
        for j in model.jobs
        for chain in zip(*(slots.tolist() for slots in starts[j]), strict=True)
    ]
    chains.sort(key=lambda item: (item[1][-1] + problem.jobs[item[0]].duration[-1], item[1]))
    batches = [ScheduledBatch(j, problem.jobs[j].max_kg, chain) for j, chain in chains]
    for product, columns in model.made.items():
        marks, made = problem.books[product].marks, np.diff(result.x[columns], prepend=0.0)
        for m in range(len(marks)):
            begin = marks[m - 1] if m else 0
            done = [
                n
                for n, batch in enumerate(batches)
                if begin < _end(problem, batch, product) <= marks[m]
            ]
            fresh = [n for n in done if not problem.jobs[batches[n].job].facts]
            begun_kg = sum(batches[n].kg for n in done if n not in fresh)
            for n in fresh:
                job = problem.jobs[batches[n].job]
                even = np.clip((made[m] - begun_kg) / len(fresh), job.min_kg, job.max_kg)
                batches[n] = replace(batches[n], kg=float(even))
    undelivered = {}
    for product, columns in model.undelivered.items():
        book, values = problem.books[product], result.x[columns]
        undelivered[product] = np.where(book.due, values, book.kg[:, None] - values)
    return Schedule(
        tuple(batches),
        undelivered,
        {name: result.x[columns] for name, columns in model.stock.items()},
    )


def _end(problem: Problem, batch: ScheduledBatch, product: str) -> int:
    job = problem.jobs[batch.job]
    return batch.starts[-1] + job.duration[-1] if job.product == product else -1


def use_of(problem: Problem, schedule: Schedule, weights: Sequence[float]) -> Floats:
    """Return what the batches take in each slot from ``now`` on of what activities take ``weights`` of."""
    total = problem.use([(batch.job, batch.starts) for batch in schedule.batches], weights)
    return total * (np.arange(len(total)) >= problem.now)


def production_kw(problem: Problem, schedule: Schedule) -> Floats:
    """Return the kilowatts of stages and holding in each slot from ``now`` on."""
    return use_of(problem, schedule, [activity.kw for activity in problem.activities])


def costs_of(problem: Problem, schedule: Schedule) -> Costs:
    """Return what a schedule costs from ``now`` on; loads that always run are not in it."""
    kw = production_kw(problem, schedule)
    used = np.minimum(kw, problem.spare_kw)
    total = float(problem.price @ kw - problem.saved @ used) * problem.slot_h / 1000
    market, toll = np.nan_to_num(
        on_grid(problem.request.prices[["market_eur_mwh", "toll_eur_mwh"]], problem.index)
    ).T
    energy_eur, toll_eur = (
        float(price @ (kw - used)) * problem.slot_h / 1000 for price in (market, toll)
    )
    rule, tax = problem.excess, problem.request.contract.electricity_tax_pct / 100
    norms = (rule.norm(problem.meter_kw + at, problem.so_far) for at in (kw, 0 * kw))
    excess = float(rule.rate_eur @ np.subtract(*norms)) * (1 + tax)
    gave_way = sorted(_relaxations(problem, schedule), key=lambda item: KINDS.index(item.kind))
    return Costs(energy_eur, toll_eur, total - energy_eur - toll_eur, excess, tuple(gave_way))


def _relaxations(problem: Problem, schedule: Schedule) -> Iterator[Relaxation]:
    for product in problem.books:
        yield from _off_orders(problem, schedule, product)
    slack, activities = problem.plant.slack, problem.activities
    for s, stage in enumerate(problem.stages):
        running = use_of(
            problem, schedule, [float(act.kind == "run" and act.stage == s) for act in activities]
        )
        by_slot = running * problem.kelvin[s]
        yield from _spread(
            problem, "room_temperature", stage.name, by_slot, "K·h", slack.room_eur_k_h
        )
        by_slot = running * problem.percent[s]
        yield from _spread(
            problem, "room_humidity", stage.name, by_slot, "%·h", slack.room_eur_pct_h
        )
    people = [activity.people for activity in activities]
    facts = problem.use([(j, job.facts) for j, job in enumerate(problem.jobs)], people)
    extra = np.maximum(use_of(problem, schedule, people) - np.maximum(problem.people, facts), 0.0)
    days = local_dates(problem.index)
    for day in np.unique(days[extra > 0]):
        yield from _spread(
            problem, "overtime", str(day), extra * (days == day), "h", slack.overtime_eur_h
        )
    for job in problem.lost:
        eur = job.max_kg * slack.lost_eur_kg
        yield Relaxation(
            "lost",
            f"{job.product} {job.number}",
            job.max_kg,
            "kg",
            eur,
            problem.stamps[problem.now],
            None,
        )
    starts = Counter(
        (problem.jobs[batch.job].product, stage, slot)
        for batch in schedule.batches
        for stage, slot in enumerate(batch.starts)
    )
    for keep in problem.keeps:
        gone = keep.count - starts[keep.product, keep.stage, keep.slot]
        if gone > 0:
            name, at = f"{keep.product} {problem.stages[keep.stage].name}", problem.at(keep.slot)
            yield Relaxation(keep.kind, name, gone, "starts", gone * keep.eur, at, None)


def _off_orders(problem: Problem, schedule: Schedule, product: str) -> Iterator[Relaxation]:
    book, lacking, stock = (
        problem.books[product],
        schedule.undelivered_kg[product],
        schedule.stock_kg[product],
    )
    eur = np.where(book.due, lacking, book.kg[:, None] - lacking) * book.eur_kg
    ends = [problem.stamps[mark] for mark in book.marks]
    for order, mine, late, left in zip(book.orders, eur, book.late, lacking, strict=True):
        until = next((end for end, kg in zip(ends, left, strict=True) if kg < LEAST_KG), None)
        name, wish_eur, late_eur = (
            order.name or product,
            float(mine[~late].sum()),
            float(mine[late].sum()),
        )
        if wish_eur > LEAST_EUR:
            days, begin = wish_eur / order.eur_kg_day, pd.Timestamp(order.due)
            yield Relaxation("preferred_day", name, days, "kg·d", wish_eur, begin, until)
        if late_eur > LEAST_EUR:
            kind, begin = (
                "firm_late" if order.firm else "late",
                pd.Timestamp(order.latest or order.due),
            )
            yield Relaxation(kind, name, float(left[late].max()), "kg", late_eur, begin, until)
    if stock.max(initial=0.0) > LEAST_KG:
        yield Relaxation(
            "stock", product, stock[-1], "kg", float(stock @ book.stock_eur_kg), ends[0], None
        )


def _spread(
    problem: Problem, kind: str, subject: str, by_slot: Floats, unit: str, price: float
) -> Iterator[Relaxation]:
    """Yield what gave way by slot as one relaxation, if anything did."""
    slots, amount = np.flatnonzero(by_slot), float(by_slot.sum()) * problem.slot_h
    if len(slots):
        begin, until = problem.stamps[slots[0]], problem.stamps[slots[-1] + 1]
        yield Relaxation(kind, subject, amount, unit, amount * price, begin, until)
