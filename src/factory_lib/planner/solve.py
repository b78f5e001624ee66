"""From a request to a plan: there always is one, with a proven gap where the solver had the time for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from factory_lib.domain.plant import Floats
from factory_lib.planner.chains import startable
from factory_lib.planner.model import MilpModel
from factory_lib.planner.pricing import price
from factory_lib.planner.problem import Problem, lay_out, slot_of
from factory_lib.planner.request import Batch, PlanRequest
from factory_lib.planner.schedule import Costs, Schedule, costs_of, production_kw, schedule_of
from factory_lib.planner.simple import filled, shift_begin

SMALLEST_EUR = 10.0  # a plan worth less is compared with this: a ratio to nothing proves nothing
SOLVER_SHARE = 0.8  # of the gap asked for; the rest is for the exact excess charge
MOST_ROUNDS = 4  # of describing the excess charge at the latest schedule
FIRST_SHARE = 0.6  # of the time for a plan without overtime, where one with overtime may follow

PlanSource = Literal["solver", "previous", "shift_begin", "nothing"]


@dataclass(frozen=True, eq=False)
class Plan:
    """A schedule, the gap proven against ``bound_eur``, and what gave way.

    ``source`` says where it is from: the ``solver``, the ``previous`` plan, ``shift_begin``, or ``nothing`` could be
    planned. ``numbers`` are the identities of the schedule's batches.
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
        """How much cheaper, relatively, any plan could be at most; infinite where nothing was proven."""
        return gap_of(self.costs.objective, self.bound_eur)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """The batches with their numbers and all starts, as the next request's ``previous``."""
        problem, names = self.problem, [stage.name for stage in self.problem.stages]
        found = []
        for number, batch in zip(self.numbers, self.schedule.batches, strict=True):
            instants = [problem.stamps[slot].to_pydatetime() for slot in batch.starts]
            starts = dict(zip(names, instants, strict=True))
            found.append(Batch(number, problem.jobs[batch.job].product, batch.kg, starts))
        return tuple(found)

    def table(self) -> pd.DataFrame:
        """Return one row for each activity of each batch, instants in UTC.

        Columns: batch, product, kg, stage, activity (run, attend, hold), machine, kw, people, start, end, begun.
        """
        problem, rows = self.problem, []
        for batch, at in zip(self.batches, self.schedule.batches, strict=True):
            for act in problem.activities:
                begin, end = act.span(problem.jobs[at.job], at.starts)
                if end > begin:
                    own = (batch.number, batch.product, batch.kg, problem.stages[act.stage].name)
                    span = (problem.stamps[begin], problem.stamps[end], begin < problem.now)
                    rows.append((*own, act.kind, act.machine, act.kw, act.people, *span))
        names = [
            "batch",
            "product",
            "kg",
            "stage",
            "activity",
            "machine",
            "kw",
            "people",
            "start",
            "end",
            "begun",
        ]
        return pd.DataFrame(rows, columns=names)

    def power(self) -> pd.DataFrame:
        """Return production, base, solar and imported kilowatts by slot of the window."""
        problem = self.problem
        kw = production_kw(problem, self.schedule)
        frame = {
            "production_kw": kw,
            "base_kw": problem.base_kw,
            "solar_kw": problem.base_kw - problem.meter_kw,
            "import_kw": np.maximum(problem.meter_kw + kw, 0.0),
            "excess_kw": problem.excess.over_kw(problem.meter_kw + kw),
        }
        return pd.DataFrame(frame, index=problem.index).iloc[problem.now :]


def gap_of(objective_eur: float, bound_eur: float) -> float:
    """Return how much cheaper, relatively, any plan could be at most."""
    return max(0.0, objective_eur - bound_eur) / max(abs(objective_eur), SMALLEST_EUR)


def solve(request: PlanRequest, *, gap: float = 0.01, time_limit_s: float = 60.0) -> Plan:
    """Return the cheapest plan to ``gap``, the best found in ``time_limit_s``, or a simple one.

    People beyond the shifts are asked for only where kilograms would be late without them; the gap is then proven
    against all plans with overtime, else against all without.

    Raises
    ------
    BadInput
        If the request contradicts itself or its frames do not cover it.
    """
    began = time.perf_counter()
    problem = _without_lost(lay_out(request))
    best, bound = _search(problem, began + FIRST_SHARE * time_limit_s, gap, overtime=False)
    if best is None or costs_of(problem, best).of("late", "firm_late") > 0:
        more, bound = _search(problem, began + time_limit_s, gap, overtime=True)
        found = [schedule for schedule in (best, more) if schedule is not None]
        best = min(found, key=lambda schedule: costs_of(problem, schedule).objective, default=None)
    source: PlanSource = "solver"
    if best is None:
        source, best = _fallback(problem)
    seconds = time.perf_counter() - began
    return Plan(
        problem, best, costs_of(problem, best), source, bound, seconds, _numbers(problem, best)
    )


def _without_lost(problem: Problem) -> Problem:
    """Give up batches in progress that cannot go on, with overtime or without."""
    masks = startable(problem, overtime=True)
    lost = tuple(
        job
        for job, of_job in zip(problem.jobs, masks, strict=True)
        if job.facts and not of_job[-1].any()
    )
    return replace(problem, jobs=tuple(job for job in problem.jobs if job not in lost), lost=lost)


def _search(
    problem: Problem, deadline: float, gap: float, *, overtime: bool
) -> tuple[Schedule | None, float]:
    """Return the best schedule found until ``deadline`` and the proven bound."""
    masks = startable(problem, overtime=overtime)
    best, lowest, bound = None, np.inf, -np.inf
    tangents: list[Floats] = []
    while len(tangents) < MOST_ROUNDS and time.perf_counter() < deadline:
        model = MilpModel(problem, masks, overtime=overtime)
        price(model, tangents)
        result = model.rows.solve(deadline - time.perf_counter(), SOLVER_SHARE * gap)
        if result.mip_dual_bound is not None:
            bound = max(bound, float(result.mip_dual_bound))
        if result.x is None:
            break
        schedule = schedule_of(model, result)
        objective = costs_of(problem, schedule).objective
        if objective < lowest:
            best, lowest = schedule, objective
        if gap_of(lowest, bound) <= gap:
            break
        tangents.append(problem.excess.over_kw(problem.meter_kw + production_kw(problem, schedule)))
    return best, bound


def _fallback(problem: Problem) -> tuple[PlanSource, Schedule]:
    """Return the cheaper of the plan before, as far as it still fits, and of beginning with the shifts."""
    starts = []
    for job in problem.jobs:
        planned = [batch for batch in problem.request.previous if batch.product == job.product]
        starts.append(
            [
                [slot_of(problem.index, batch.starts[s.name]) for batch in planned]
                for s in problem.stages
            ]
        )
    found: dict[PlanSource, Schedule] = {
        "previous": filled(problem, starts),
        "shift_begin": shift_begin(problem),
    }
    source = min(found, key=lambda name: costs_of(problem, found[name]).objective)
    return (source if found[source].batches else "nothing"), found[source]


def _numbers(problem: Problem, schedule: Schedule) -> tuple[int, ...]:
    """Return the number of each batch: its own, that of the batch planned before in its place, or a new one.

    Batches that begin when one of the plan before began take its number first, the others follow in order of start.
    """
    request, first = problem.request, problem.stages[0].name
    begun = {batch.number for batch in request.begun}
    left = [batch for batch in request.previous if batch.number not in begun]
    left.sort(key=lambda batch: batch.starts[first])
    order = sorted(range(len(schedule.batches)), key=lambda n: schedule.batches[n].starts)
    jobs = {n: problem.jobs[schedule.batches[n].job] for n in order}
    numbers = {n: job.number for n, job in jobs.items() if job.facts}
    for in_place in (True, False):
        for n in (n for n in order if n not in numbers):
            start = problem.stamps[schedule.batches[n].starts[0]]
            alike = [
                b
                for b in left
                if b.product == jobs[n].product and (b.starts[first] == start or not in_place)
            ]
            if alike:
                left.remove(alike[0])
                numbers[n] = alike[0].number
    new = max(
        [request.next_number, *(batch.number + 1 for batch in (*request.begun, *request.previous))]
    )
    unnumbered = [n for n in order if n not in numbers]
    numbers |= {n: new + k for k, n in enumerate(unnumbered)}
    return tuple(numbers[n] for n in range(len(order)))
