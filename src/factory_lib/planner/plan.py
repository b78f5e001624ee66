"""A plan: the batches of a program's solution, what they cost, and what gave way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from factory_lib.domain.plant import Floats, Ints
from factory_lib.domain.tariff import local_dates
from factory_lib.planner.model import Model
from factory_lib.planner.request import Batch

LEAST_EUR = 1e-6
NEGLIGIBLE = 1e-3  # share of the largest amount that says neither since nor until when
SMALLEST_EUR = 10.0  # a plan worth less is compared with this: a ratio needs a base
# Kinds of wishes in the order in which they give way, and the units they are counted in.
KINDS = {
    "preferred_day": "kg·d",
    "extra_kg": "kg·d",
    "room_temperature": "K·h",
    "room_humidity": "%·h",
    "overtime": "h",
    "late": "kg",
    "lost": "kg",
    "firm_late": "kg",
    "moved": "starts",
    "frozen": "starts",
    "pin": "starts",
}
Wish = tuple[str, str, Floats, Floats, Ints]
"""Kind and subject, by how much it gave way and for how many euros, by slot; and the slots.

One slot more says until when the last amount is.
"""
PlanSource = Literal["solver", "previous", "shift_begin", "fixed_start", "nothing"]


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
    """Additions to the bill by production (``other`` with taxes), and relaxations, EUR."""

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


class Plan:
    """The plan of a program's solution, and the bound that its gap is proven against.

    ``source`` says where it is from: the solver, the plan before, a simple rule, or that
    nothing could be planned. Arrays over batches are in order of their end; ``starts``
    has a column for each stage. The k-th starts of all stages of a job are a batch, and
    the kilograms made between two marks are shared by the batches finished then.
    ``production_kw`` is 0 in history. A simple schedule whose solver ran out of time is
    not ``complete``: it may make less than its rule would.
    """

    def __init__(self, model: Model, solution: Floats, source: PlanSource) -> None:
        self.problem = problem = model.problem
        self.source = source
        self.bound_eur = -np.inf
        self.seconds = 0.0
        self.complete = True
        by_job = [model.starts(solution, j) for j in range(len(problem.jobs))]
        jobs = np.repeat(np.arange(len(by_job)), [len(starts) for starts in by_job])
        starts = np.concatenate([np.empty((0, len(problem.stages)), np.int64), *by_job])
        ends = starts[:, -1] + problem.duration[jobs, -1]
        order = np.lexsort((starts[:, 0], ends))
        self.jobs = jobs[order]
        self.starts = starts[order]
        self.products = np.array([job.product for job in problem.jobs], object)[self.jobs]
        marks = np.searchsorted(problem.marks, ends[order])
        made = np.diff(solution[model.made], prepend=0.0)
        number = np.zeros(made.shape)
        np.add.at(number, (self.jobs, marks), 1)
        self.kg = made[self.jobs, marks] / number[self.jobs, marks]
        self.production_kw = model.used(model.kw, solution) * problem.future
        self.costs = self._costs(model, solution)
        self.numbers = self._numbers()

    @property
    def gap(self) -> float:
        """Relative saving that any other plan could bring; infinite where unproven."""
        eur = self.costs.objective
        return max(0.0, eur - self.bound_eur) / max(abs(eur), SMALLEST_EUR)

    def _costs(self, model: Model, solution: Floats) -> Costs:
        """Return costs from now on by the exact rules, without loads that always run."""
        problem = self.problem
        kw = self.production_kw
        used = np.minimum(kw, problem.spare_kw)
        mwh = problem.slot_h / 1000
        energy = float(problem.market @ (kw - used)) * mwh
        toll = float(problem.toll @ (kw - used)) * mwh
        total = float(problem.price @ kw - problem.saved @ used) * mwh
        more = problem.excess.norm(problem.meter_kw + kw) - problem.unavoidable
        excess = float(problem.excess.rate_eur @ more) * problem.taxed
        items = [item for item in self._off_wishes(model, solution) if item[3].sum() > LEAST_EUR]
        items.sort(key=lambda item: [*KINDS].index(item[0]))
        gave_way = tuple(self._relaxation(*item) for item in items)
        return Costs(energy, toll, total - energy - toll, excess, gave_way)

    def _off_wishes(self, model: Model, solution: Floats) -> Iterator[Wish]:
        problem = self.problem
        slack = problem.plant.slack
        yield from self._off_orders(solution[model.off_orders])
        slots = np.arange(len(problem.stamps))
        for s, stage in enumerate(problem.stages):
            runs = [float(act.kind == "run" and act.stage == s) for act in problem.activities]
            hours = model.used(runs, solution) * problem.slot_h
            kelvin = hours * problem.kelvin[s]
            yield "room_temperature", stage.name, kelvin, kelvin * slack.room_eur_k_h, slots
            percent = hours * problem.percent[s]
            yield "room_humidity", stage.name, percent, percent * slack.room_eur_pct_h, slots
        extra_h = solution[model.extra_people] * problem.slot_h
        days = local_dates(problem.index)
        for day in np.unique(days):
            on_day = extra_h * (days == day)
            yield "overtime", str(day), on_day, on_day * slack.overtime_eur_h, slots
        for batch in problem.lost:
            kg = np.array([batch.kg])
            name = f"{batch.product} {batch.number}"
            yield "lost", name, kg, kg * slack.lost_eur_kg, slots[[problem.now]]
        for (kind, product, s, slot), count in problem.keeps.items():
            kept = np.sum((self.products == product) & (self.starts[:, s] == slot))
            gone = np.array([max(0.0, count - kept)])
            name = f"{product} {problem.stages[s].name}"
            yield kind, name, gone, gone * problem.keep_eur[kind], slots[[slot]]

    def _off_orders(self, off_kg: Floats) -> Iterator[Wish]:
        problem = self.problem
        eur = off_kg * problem.eur_kg
        for o, order in enumerate(problem.orders):
            name = order.name or order.product
            late = problem.late[o]
            wish = "preferred_day" if np.isfinite(order.kg) else "extra_kg"
            days = problem.mark_days * ~late
            yield wish, name, off_kg[o] * days, eur[o] * ~late, problem.marks
            must = "firm_late" if order.firm else "late"
            yield must, name, off_kg[o] * late, eur[o] * late, problem.marks

    def _relaxation(
        self, kind: str, subject: str, amounts: Floats, eur: Floats, slots: Ints
    ) -> Relaxation:
        unit = KINDS[kind]
        amount = amounts.max() if unit == "kg" else amounts.sum()
        here = np.flatnonzero(amounts > NEGLIGIBLE * amounts.max())
        after = self.problem.stamps[slots[here[-1] + 1 :]]
        begin = self.problem.stamps[slots[here[0]]]
        until = after[0] if len(after) else None
        return Relaxation(kind, subject, float(amount), unit, float(eur.sum()), begin, until)

    def _numbers(self) -> Ints:
        """Return a number for each batch: its own, the one planned nearest, or a new one.

        New numbers follow the order of start.
        """
        request = self.problem.request
        numbers = np.array([job.number for job in self.problem.jobs], np.int64)[self.jobs]
        first = self.problem.stages[0].name
        for product in set(self.products):
            planned = [batch for batch in self.problem.previous if batch.product == product]
            slots = [self.problem.slot(batch.starts[first]) for batch in planned]
            fresh = np.flatnonzero((self.products == product) & (numbers == 0))
            rows, columns = linear_sum_assignment(np.abs(self.starts[fresh, :1] - np.array(slots)))
            numbers[fresh[rows]] = [planned[column].number for column in columns]
        order = np.argsort(self.starts[:, 0], kind="stable")
        new = order[numbers[order] == 0]
        used = [batch.number + 1 for batch in (*request.begun, *request.previous)]
        numbers[new] = max([request.next_number, *used]) + np.arange(len(new))
        return numbers

    @property
    def batches(self) -> tuple[Batch, ...]:
        """The batches with numbers and starts, as the next request's ``previous``."""
        names = [stage.name for stage in self.problem.stages]
        rows = zip(self.numbers.tolist(), self.products, self.kg.tolist(), self.starts, strict=True)
        return tuple(
            Batch(
                number,
                product,
                kg,
                dict(zip(names, self.problem.stamps[slots].to_pydatetime(), strict=True)),
            )
            for number, product, kg, slots in rows
        )

    def table(self) -> pd.DataFrame:
        """Return one row for each activity of each batch, instants in UTC."""
        problem = self.problem
        parts = []
        for activity in problem.activities:
            begin = self.starts[:, activity.stage] + activity.begin[self.jobs]
            end = self.starts[:, activity.end_stage] + activity.end[self.jobs]
            rows = {
                "batch": self.numbers,
                "product": self.products,
                "kg": self.kg,
                "stage": problem.stages[activity.stage].name,
                "activity": activity.kind,
                "machine": activity.machine,
                "kw": activity.kw,
                "people": activity.people,
                "start": problem.stamps[begin],
                "end": problem.stamps[end],
                "begun": begin < problem.now,
            }
            parts.append(pd.DataFrame(rows)[end > begin])
        return pd.concat(parts).sort_values(["batch", "start"], ignore_index=True)

    def power(self) -> pd.DataFrame:
        """Return production, base, solar, import and excess kilowatts by slot."""
        problem = self.problem
        load = problem.meter_kw + self.production_kw
        frame = {
            "production_kw": self.production_kw,
            "base_kw": problem.base_kw,
            "solar_kw": problem.base_kw - problem.meter_kw,
            "import_kw": np.maximum(load, 0.0),
            "excess_kw": problem.excess.over_kw(load),
        }
        return pd.DataFrame(frame, index=problem.index).iloc[problem.now :]
