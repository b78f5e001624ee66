"""From a request to a plan: the program's answer, the simple schedules it must not be worse than, and a proven gap."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from factory_lib.plan import baselines
from factory_lib.plan.diagnose import Obstacle, diagnose
from factory_lib.plan.problem import Problem, lay_out
from factory_lib.plan.request import Request
from factory_lib.plan.schedule import Costs, Schedule, costs, excess_kw, production_kw
from factory_lib.plan.search import Search, gap_of


@dataclass(frozen=True, eq=False)
class Plan:
    """An answer: a schedule with the gap proven against ``bound_eur``, or the obstacles in the way of any.

    ``status`` is ``solved`` (to the gap asked), ``time_out`` (the best found, its gap
    beside it) or ``infeasible``. ``baselines`` are the simple schedules that exist for
    the same request; none is cheaper than the plan.
    """

    problem: Problem
    status: Literal["solved", "time_out", "infeasible"]
    schedule: Schedule
    baselines: Mapping[str, Schedule]
    bound_eur: float
    seconds: float
    obstacles: tuple[Obstacle, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there is a plan; one with nothing to make is."""
        return bool(self.schedule) or self.status == "solved"

    @property
    def costs(self) -> Costs:
        """Return what the plan costs at the prices it was made with."""
        return costs(self.problem, self.schedule)

    @property
    def gap(self) -> float:
        """Return how much cheaper, relatively, any plan could be at most; NaN where nothing was proven."""
        return gap_of(self.costs.objective, self.bound_eur)

    def table(self) -> pd.DataFrame:
        """Return one row for each stage of each batch, instants in UTC; ``begun`` before the window."""
        problem, stamps, rows = self.problem, self.problem.stamps, []
        for number, batch in enumerate(self.schedule, start=1):
            job = problem.jobs[batch.job]
            for s, stage in enumerate(problem.stages):
                end = batch.starts[s] + job.duration[s]
                until = batch.starts[s + 1] if stage.hold_h else end
                times = (stamps[batch.starts[s]], stamps[end], stamps[until])
                begun = batch.starts[s] < problem.now
                rows.append(
                    (number, job.variant, batch.kg, stage.name, *times, stage.power_kw, begun)
                )
        names = [
            "batch",
            "variant",
            "kg",
            "stage",
            "start",
            "end",
            "held_until",
            "power_kw",
            "begun",
        ]
        kinds = {"kg": "float64", "power_kw": "float64", "begun": "bool"} | dict.fromkeys(
            names[4:7], "datetime64[s, UTC]"
        )
        return pd.DataFrame(rows, columns=names).astype(kinds)

    def by_batch(self) -> list[pd.DataFrame]:
        """Return the rows of each batch of :meth:`table`, in order."""
        return [rows for _, rows in self.table().groupby("batch")]

    def power(self) -> pd.DataFrame:
        """Return production, auxiliary, total and excess kilowatts by slot of the window."""
        problem = self.problem
        kw = production_kw(problem, self.schedule)
        frame = {
            "production_kw": kw,
            "auxiliary_kw": problem.base_kw,
            "total_kw": kw + problem.base_kw,
            "excess_kw": excess_kw(problem, kw),
        }
        return pd.DataFrame(frame, index=problem.index).iloc[problem.now :]


def solve(
    request: Request, *, gap: float = 0.01, time_limit_s: float = 60.0, explain: bool = True
) -> Plan:
    """Return the cheapest plan to ``gap``, the best found in ``time_limit_s``, or what makes any plan impossible.

    Without ``explain`` an impossible plan says only that it is.

    Raises
    ------
    BadInput
        If the request contradicts itself or its frames do not cover it; see
        :func:`factory_lib.plan.problem.lay_out`.
    """
    clock = time.perf_counter()
    problem = lay_out(request)
    if not problem.jobs:
        return Plan(problem, "solved", (), {}, 0.0, time.perf_counter() - clock)
    simple = baselines.schedules(problem)
    found = Search(problem, gap, clock + time_limit_s).run(simple.values())
    seconds = time.perf_counter() - clock
    if found.impossible:
        obstacles = diagnose(problem) if explain else ()
        return Plan(problem, "infeasible", (), {}, np.inf, time.perf_counter() - clock, obstacles)
    plan = Plan(problem, "solved", found.best or (), simple, found.bound_eur, seconds)
    return plan if found.best and plan.gap <= gap + 1e-6 else replace(plan, status="time_out")
