"""From a request to a plan: there always is one, with a proven gap where there was time for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from factory_lib.domain.plant import Floats
from factory_lib.planner.chains import startable
from factory_lib.planner.layout import lay_out
from factory_lib.planner.model import MilpModel
from factory_lib.planner.pricing import price
from factory_lib.planner.problem import Job, Problem, slot_of
from factory_lib.planner.request import Batch, PlanRequest
from factory_lib.planner.schedule import Costs, Schedule, costs_of, production_kw, schedule_of
from factory_lib.planner.simple import filled, shift_begin

SMALLEST_EUR = 10.0  # a plan worth less is compared with this: a ratio to nothing proves nothing
SOLVER_SHARE = 0.8  # of the gap asked for; the rest is for the exact excess charge
MOST_ROUNDS = 8  # of describing the excess charge at the latest schedule
FAR = 10**6  # slots between batches of different products: neither takes the other's number
FIRST_SHARE = 0.8  # of the time for a plan without overtime, where one with overtime may follow

PlanSource = Literal["solver", "previous", "shift_begin", "nothing"]


@dataclass(frozen=True, eq=False)
class Plan:
    """A schedule with its costs, and the bound that its gap is proven against.

    ``source`` says where it is from: the solver, the plan before, the shifts' begin, or
    that nothing could be planned. ``numbers`` are the identities of the schedule's
    batches.
    """

    problem: Problem
    schedule: Schedule
    costs: Costs
    source: PlanSource
    bound_eur: float
    seconds: float
    numbers: tuple[int, ...]

    @property
    def gap(self) -> float:
        """Relative saving that any other plan could bring at most; infinite where unproven."""
        return gap_of(self.costs.objective, self.bound_eur)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """The batches with their numbers and all starts, as the next request's ``previous``."""
        names = [stage.name for stage in self.problem.stages]
        batches = []
        for n, number in enumerate(self.numbers):
            product = self.problem.jobs[self.schedule.jobs[n]].product
            stamps = self.problem.stamps[self.schedule.starts[n]].to_pydatetime()
            starts = dict(zip(names, stamps, strict=True))
            batches.append(Batch(number, product, float(self.schedule.kg[n]), starts))
        return tuple(batches)

    def table(self) -> pd.DataFrame:
        """Return one row for each activity (run, attend, hold) of each batch, instants in UTC."""
        parts = []
        for activity in self.problem.activities:
            begin, end = self.problem.span(activity, self.schedule.jobs, self.schedule.starts)
            columns = {
                "batch": self.numbers,
                "product": [self.problem.jobs[j].product for j in self.schedule.jobs],
                "kg": self.schedule.kg,
                "stage": self.problem.stages[activity.stage].name,
                "activity": activity.kind,
                "machine": activity.machine,
                "kw": activity.kw,
                "people": activity.people,
                "start": self.problem.stamps[begin],
                "end": self.problem.stamps[end],
                "begun": begin < self.problem.now,
            }
            parts.append(pd.DataFrame(columns)[end > begin])
        return pd.concat(parts).sort_values(["batch", "start"], ignore_index=True)

    def power(self) -> pd.DataFrame:
        """Return production, base, solar, import and excess kilowatts by slot of the window."""
        problem = self.problem
        load = problem.meter_kw + production_kw(problem, self.schedule)
        frame = {
            "production_kw": load - problem.meter_kw,
            "base_kw": problem.base_kw,
            "solar_kw": problem.base_kw - problem.meter_kw,
            "import_kw": np.maximum(load, 0.0),
            "excess_kw": problem.excess.over_kw(load),
        }
        return pd.DataFrame(frame, index=problem.index).iloc[problem.now :]


def gap_of(objective_eur: float, bound_eur: float) -> float:
    """Return how much cheaper, relatively, any plan could be at most."""
    return max(0.0, objective_eur - bound_eur) / max(abs(objective_eur), SMALLEST_EUR)


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
    problem = lay_out(request)
    masks = startable(problem, overtime=True)
    on = [of_job[-1].any() for of_job in masks]
    problem = _without(problem, [job for j, job in enumerate(problem.jobs) if not on[j]])
    best, source, bound = _best_plan(problem, began, time_limit_s, gap)
    for _ in request.begun:  # those in each other's way are given up, the latest first
        if best is None:
            problem = _without(problem, [job for job in problem.jobs if job.facts][-1:])
            best, source, bound = _best_plan(problem, began, time_limit_s, gap)
    assert best is not None, "making nothing is always possible"
    seconds = time.perf_counter() - began
    costs = costs_of(problem, best)
    return Plan(problem, best, costs, source, bound, seconds, _numbers(problem, best))


def _without(problem: Problem, jobs: list[Job]) -> Problem:
    """Give up batches in progress."""
    lost = [*problem.lost, *(job for job in jobs if job.facts)]
    numbers = {job.number for job in lost}
    begun = tuple(batch for batch in problem.request.begun if batch.number not in numbers)
    rest = lay_out(replace(problem.request, begun=begun)) if numbers else problem
    return replace(rest, request=problem.request, lost=tuple(lost))


def _best_plan(
    problem: Problem, began: float, time_limit_s: float, gap: float
) -> tuple[Schedule | None, PlanSource, float]:
    """Return the best schedule, where it is from, and the bound; None where there cannot be any."""
    best, bound = _search(problem, began + FIRST_SHARE * time_limit_s, gap, overtime=False)
    if best is None or costs_of(problem, best).of("late", "firm_late"):
        more, bound = _search(problem, began + time_limit_s, gap, overtime=True)
        best = _cheapest(problem, best, more)
    if best is not None:
        return best, "solver", bound
    planned = {(keep.product, keep.stage, keep.slot) for keep in problem.keeps}
    previous = filled(problem, planned)
    best = _cheapest(problem, previous, shift_begin(problem))
    if best is None or len(best.jobs):
        return best, "previous" if best is previous else "shift_begin", bound
    return best, "nothing", bound


def _search(
    problem: Problem, deadline: float, gap: float, *, overtime: bool
) -> tuple[Schedule | None, float]:
    """Return the best schedule until ``deadline`` and the proven bound."""
    masks = startable(problem, overtime=overtime)
    best = None
    bound = -np.inf
    tangents: list[Floats] = []
    while len(tangents) < MOST_ROUNDS and time.perf_counter() < deadline:
        model = MilpModel(problem, masks, overtime=overtime)
        price(model, tangents)
        result = model.rows.solve(deadline - time.perf_counter(), SOLVER_SHARE * gap)
        if result.x is None:
            break
        bound = max(bound, float(result.mip_dual_bound))
        schedule = schedule_of(model, result)
        best = _cheapest(problem, best, schedule) or schedule
        if gap_of(costs_of(problem, best).objective, bound) <= gap:
            break
        load = problem.meter_kw + production_kw(problem, schedule)
        tangents.append(problem.excess.over_kw(load))
    return best, bound


def _cheapest(problem: Problem, *schedules: Schedule | None) -> Schedule | None:
    ready = [schedule for schedule in schedules if schedule is not None]
    return min(ready, key=lambda one: costs_of(problem, one).objective, default=None)


def _numbers(problem: Problem, schedule: Schedule) -> tuple[int, ...]:
    """Return the number of each batch: its own, that of the one planned nearest, or a new one.

    New numbers follow the order of start.
    """
    request = problem.request
    numbers = np.array([problem.jobs[j].number for j in schedule.jobs], np.int64)
    begun = [batch.number for batch in request.begun]
    before = [batch for batch in request.previous if batch.number not in begun]
    fresh = np.flatnonzero(numbers == 0)
    apart = np.full((len(fresh), len(before)), np.inf)
    for column, batch in enumerate(before):
        slot = slot_of(problem.index, batch.starts[problem.stages[0].name])
        alike = [problem.jobs[schedule.jobs[n]].product == batch.product for n in fresh]
        apart[:, column] = np.abs(schedule.starts[fresh, 0] - slot) + FAR * ~np.array(alike, bool)
    rows, columns = linear_sum_assignment(apart)
    near = apart[rows, columns] < FAR
    numbers[fresh[rows[near]]] = [before[column].number for column in columns[near]]
    used = [batch.number + 1 for batch in (*request.begun, *request.previous)]
    order = np.argsort(schedule.starts[:, 0], kind="stable")
    new = order[numbers[order] == 0]
    numbers[new] = max([request.next_number, *used]) + np.arange(len(new))
    return tuple(numbers.tolist())
