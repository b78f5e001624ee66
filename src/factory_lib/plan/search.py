"""How the time for a plan is spent: the whole program first, and where that is not enough, closer looks.

HiGHS alone settles a day, and a week of most plants, within seconds. What it leaves
open is taken in two steps. Smaller programs look for a better schedule: among starts on
the hour and the half-hour, and among starts near those of the best one so far. Then the
whole program is asked only for something cheaper than the gap allows: that there is
nothing is the proof.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
from scipy.optimize import OptimizeResult

from factory_lib.plan import baselines
from factory_lib.plan.problem import Problem
from factory_lib.plan.program import Program
from factory_lib.plan.schedule import Schedule, chains, costs, keeps_limits, starts_of
from factory_lib.plan.starts import Masks, around, coarse

HIGHS_INFEASIBLE = 2
SMALLEST_EUR = (
    1.0  # a plan worth less than this is compared with this: a ratio to nothing proves nothing
)
FIRST_S, FIRST_SHARES = (
    8.0,
    (0.25, 0.8),
)  # the first look takes that long, but no less or more of the time
COARSE_SHARE, NEAR_SHARE = 0.15, 0.05  # of the time: most for each look
COARSE_MIN = (60, 30)
CLOSER = 4  # a narrow look goes on to this fraction of the gap asked for
NEAR_H = 2.0
WORTH_ANOTHER_LOOK = 1e-3  # relative improvement


def gap_of(objective_eur: float, bound_eur: float) -> float:
    """Return how much cheaper, relatively, any plan could be at most."""
    return max(0.0, objective_eur - bound_eur) / max(abs(objective_eur), SMALLEST_EUR)


class Search:
    """One search for the cheapest schedule; ``best``, ``bound_eur`` and ``impossible`` are what it found.

    ``best`` is None where there was no time to find any; ``impossible`` that none
    exists is proven.
    """

    def __init__(self, problem: Problem, gap: float, deadline: float) -> None:
        self.problem, self.wanted, self.deadline = problem, gap, deadline
        self.time_s = self._left_s()
        self.best: Schedule | None = None
        self.best_eur = np.inf
        self.bound_eur = -np.inf
        self.impossible = False

    def run(self, known: Iterable[Schedule]) -> Search:
        """Search until the gap is proven or the time is up; nothing found is dearer than what is ``known``."""
        whole = Program(self.problem)
        least_s, most_s = (share * self.time_s for share in FIRST_SHARES)
        first_s = min(max(FIRST_S, least_s), most_s)
        first = whole.solve(first_s, self.wanted) if whole.feasible else None
        if first is None or first.status == HIGHS_INFEASIBLE:
            self.impossible = True
            return self
        self.bound_eur = max(baselines.bound_eur(self.problem), _bound(first))
        self._learn(whole, first)
        for schedule in known:
            self._keep(schedule)
        if self.best is None:
            self._learn(whole, whole.solve(self._left_s(), self.wanted, any_plan=True))
        self._look_around()
        for minutes in COARSE_MIN:
            if minutes > self.problem.plant.slot_min:
                self._look(coarse(self.problem, minutes), COARSE_SHARE)
                self._look_around()
        self._prove(whole)
        return self

    def _look_around(self) -> None:
        """Improve the best among starts near its own, as long as that helps."""
        slots, before = round(NEAR_H / self.problem.slot_h), np.inf
        while before - self.best_eur > WORTH_ANOTHER_LOOK * max(abs(self.best_eur), SMALLEST_EUR):
            before = self.best_eur
            self._look(
                around(self.problem, starts_of(self.problem, self.best or ()), slots), NEAR_SHARE
            )

    def _look(self, masks: Masks, share: float) -> None:
        """Look for a schedule among some starts, if the gap is still open."""
        if self._open():
            narrow = Program(self.problem, masks=masks)
            if narrow.feasible:
                self._learn(
                    narrow,
                    narrow.solve(min(share * self.time_s, self._left_s()), self.wanted / CLOSER),
                )

    def _prove(self, whole: Program) -> None:
        """Ask for something cheaper than the gap allows; that there is none is the bound."""
        while self.best is not None and self._open():
            below = self.best_eur - self.wanted * max(abs(self.best_eur), SMALLEST_EUR)
            result = whole.solve(self._left_s(), self.wanted, below=below)
            if result.status == HIGHS_INFEASIBLE:
                self.bound_eur = max(self.bound_eur, below)
            self.bound_eur = max(self.bound_eur, min(below, _bound(result)))
            before = self.best_eur
            self._learn(whole, result)
            if self.best_eur >= before:
                return

    def _open(self) -> bool:
        return gap_of(self.best_eur, self.bound_eur) > self.wanted and self._left_s() > 0

    def _left_s(self) -> float:
        return max(0.0, self.deadline - time.perf_counter())

    def _learn(self, program: Program, result: OptimizeResult) -> None:
        if result.x is not None:
            self._keep(chains(self.problem, program.starts(result.x)))

    def _keep(self, schedule: Schedule) -> None:
        """Remember a schedule if it is the cheapest so far; whoever made it, one that breaks a limit is none."""
        objective = costs(self.problem, schedule).objective
        if objective < self.best_eur and keeps_limits(self.problem, schedule):
            self.best, self.best_eur = schedule, objective


def _bound(result: OptimizeResult) -> float:
    return -np.inf if result.mip_dual_bound is None else float(result.mip_dual_bound)
