"""From a request to a plan: there always is one, with a proven gap where there was time for it.

Simple schedules come from the same program, to measure a plan by: it then looks at no
price, batches begin where a rule says, every further stage as soon as it can, and each
day's kilograms are finished on their day as far as possible.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from factory_lib.clock import MADRID
from factory_lib.domain.plant import Floats, Ints, local_days, shifts_on
from factory_lib.domain.tariff import local_dates
from factory_lib.planner.model import Model
from factory_lib.planner.problem import Problem, laid_on
from factory_lib.planner.request import Batch, PlanRequest

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


SOLVER_SHARE = 0.8  # of the gap asked for; the rest is for the exact excess charge
MOST_ROUNDS = 8  # of describing the excess charge at the latest schedule
FIRST_SHARE = 0.8  # of the time for a plan without overtime; one with it may follow
SOON_EUR = 1e-3  # each slot between begin and end: it only orders what nothing else does
AGAINST_RULE_EUR, LATER_SHIFT_EUR = 3.0, 1.0  # less than a batch a day off
MAKE_EUR = 20.0  # what making each of the batches is worth
SIMPLE_LIMIT_S, SIMPLE_GAP = 10.0, 1e-4
PRICES_BACK = pd.Timedelta(days=28)


def solve(request: PlanRequest, *, gap: float = 0.01, time_limit_s: float = 60.0) -> Plan:
    """Return the cheapest plan to ``gap``, the best one in ``time_limit_s``, or a simple one.

    People beyond the shifts are asked for only where kilograms would be late without
    them; the gap is then proven against all plans with overtime, else against all
    without.

    Raises
    ------
    BadInput
        If the request contradicts itself or its frames do not cover it.
    """
    began = time.perf_counter()
    problem = Problem(request)
    masks = problem.startable(overtime=True)
    lost = tuple(batch for n, batch in enumerate(problem.begun) if not masks[n][-1].any())
    while (plan := _best_plan(Problem(request, lost), began, time_limit_s, gap)) is None:
        lost += tuple(batch for batch in request.begun if batch not in lost)[-1:]
    plan.seconds = time.perf_counter() - began
    return plan


def _best_plan(problem: Problem, began: float, time_limit_s: float, gap: float) -> Plan | None:
    """Return the best plan; None where batches in progress are in each other's way."""
    plan = _search(problem, began + FIRST_SHARE * time_limit_s, gap, overtime=False)
    if plan is None or plan.costs.of("late", "firm_late"):
        more = _search(problem, began + time_limit_s, gap, overtime=True)
        bound = more.bound_eur if more else -np.inf
        plan = _cheapest(plan, more) or _cheapest(_as_before(problem), shift_begin(problem))
        plan = plan or shift_begin(problem, {})  # none to begin: quick, unless they contradict
        if plan is not None:
            plan.bound_eur = bound
            plan.source = plan.source if len(plan.jobs) or plan.source == "solver" else "nothing"
    return plan


def _search(problem: Problem, deadline: float, gap: float, *, overtime: bool) -> Plan | None:
    """Return the best plan until ``deadline`` with the proven bound."""
    model = Model(problem, overtime=overtime)
    best = None
    bound = -np.inf
    for _ in range(MOST_ROUNDS):
        left_s = deadline - time.perf_counter()
        result = model.solve(left_s, SOLVER_SHARE * gap) if left_s > 0 else None
        if result is None or result.x is None:
            break
        latest = Plan(model, result.x, "solver")
        best = _cheapest(best, latest) or latest
        bound = best.bound_eur = max(bound, float(result.mip_dual_bound))
        if best.gap <= gap:
            break
        model.describe(problem.excess.over_kw(problem.meter_kw + latest.production_kw))
    return best


def _cheapest(*plans: Plan | None) -> Plan | None:
    return min(filter(None, plans), key=lambda plan: plan.costs.objective, default=None)


def _as_before(problem: Problem) -> Plan | None:
    """Return the cheapest plan of the starts planned before, None where it cannot go on."""
    masks = problem.startable(overtime=True)
    for j, job in enumerate(problem.jobs):
        for s in range(0 if job.facts else len(problem.stages)):
            slots = [keep[3] for keep in problem.keeps if keep[1:3] == (job.product, s)]
            masks[j][s] &= np.isin(np.arange(len(problem.index)), slots)
    return _solved(Model(problem, masks=masks, overtime=True), "previous")


def shift_begin(problem: Problem, counts: Mapping[str, int] | None = None) -> Plan | None:
    """Begin batches with a shift, as many as each day's kilograms need at least.

    ``counts`` gives the number of batches by product instead. None where batches in
    progress cannot go on.
    """
    against = np.full(len(problem.index), AGAINST_RULE_EUR)
    local = problem.index.tz_convert(MADRID)
    for day in local_days(problem.index):
        for number, shift in enumerate(shifts_on(problem.plant, day)):
            begins = (local.date == day) & (local.time == shift.begin)
            against[begins] = LATER_SHIFT_EUR * (number > 0)
    return _by_rule(problem, against, counts, "shift_begin")


def fixed_start(problem: Problem, counts: Mapping[str, int] | None = None) -> Plan | None:
    """Begin every batch at the time of day that was cheapest over the last 28 days.

    None without their prices, with nothing to make, or no batch that can begin.
    """
    now = problem.index[problem.now]
    back = pd.date_range(now - PRICES_BACK, now, freq=problem.index.freq, inclusive="left")
    (past,) = laid_on(problem.request.prices[["price_eur_mwh"]], back)
    fresh = [j for j, job in enumerate(problem.jobs) if not job.facts]
    if not fresh or np.isnan(past).mean() > 0.5:
        return None
    clock = problem.index.tz_convert(MADRID).time
    usual = copy(problem)
    typical = pd.Series(past).groupby(back.tz_convert(MADRID).time).mean()
    usual.price = typical.reindex(clock).to_numpy()
    cost = pd.Series(usual.chain_eur(fresh[0], usual.startable()[fresh[0]]), clock)
    starts = cost[np.isfinite(cost)].groupby(level=0).agg(["mean", "count"])
    if starts.empty:
        return None
    at = starts.loc[starts["count"] >= starts["count"].max() / 2, "mean"].idxmin()
    return _by_rule(problem, AGAINST_RULE_EUR * np.asarray(clock != at), counts, "fixed_start")


def _by_rule(
    problem: Problem, against: Floats, counts: Mapping[str, int] | None, source: PlanSource
) -> Plan | None:
    """Lay batches where beginning is least ``against`` a rule, EUR by slot."""
    left = Counter(_least_batches(problem) if counts is None else counts)
    left.subtract(batch.product for batch in problem.begun)
    limited = copy(problem)
    limited.jobs = tuple(
        job if job.facts else replace(job, count=max(left[job.product], 0)) for job in problem.jobs
    )
    soon = SOON_EUR * np.arange(len(problem.index))
    first = against - MAKE_EUR - soon  # a batch is short: soon from its begin to its end
    costs = np.array([first, *[0.01 * soon] * (len(problem.stages) - 2), 1.01 * soon])
    return _solved(Model(limited, overtime=True, start_costs=costs), source)


def _solved(model: Model, source: PlanSource) -> Plan | None:
    result = model.solve(SIMPLE_LIMIT_S, SIMPLE_GAP)
    if result.x is None:
        return None
    plan = Plan(model, result.x, source)
    plan.complete = result.status == 0
    return plan


def _least_batches(problem: Problem) -> Counter[str]:
    """Return by product how many batches the kilograms of each due instant need."""
    counts: Counter[str] = Counter()
    orders = problem.request.orders
    for product, due in {(order.product, order.due) for order in orders}:
        kg = sum(order.kg for order in orders if (order.product, order.due) == (product, due))
        counts[product] += math.ceil(kg / problem.plant.variants[product].batch_max_kg)
    return counts
