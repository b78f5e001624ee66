"""Why there is no plan: which family of constraints is in the way, and the least that would have to give.

Each family in turn is allowed to give way at a price while all others stay hard; where
that leaves a plan, the slack of the cheapest one is the smallest change that would
help. What no family can mend alone is asked of two, then of all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.domain.plant import Floats
from factory_lib.plan.problem import Problem, lay_out, on_grid
from factory_lib.plan.program import FAMILIES, Program
from factory_lib.plan.starts import startable

UNITS = {
    "pins": "pins",
    "room": "K or %",
    "machines": "machine-hours",
    "operators": "operator-hours",
    "power": "kW",
    "waits": "hours",
    "time": "hours",
    "demand": "kg",
}
LONGEST_DELAY = timedelta(days=3)
TIME_LIMIT_S, TOGETHER_S = 30.0, 5.0
GAP = 0.02


@dataclass(frozen=True)
class Obstacle:
    """One family of constraints that, loosened by ``amount`` of ``unit``, leaves a plan; ``detail`` says where.

    ``share`` is the change relative to what there is, by which obstacles are ordered.
    ``alone`` is false where the change helps only together with the others listed.
    """

    family: str
    amount: float
    unit: str
    detail: str
    share: float
    alone: bool = True

    def __str__(self) -> str:
        return f"{self.family}: {measured(self.amount, self.unit)} ({self.detail})"


def measured(amount: float, unit: str) -> str:
    """Return an amount as a person writes it."""
    number = f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}"


def diagnose(problem: Problem) -> tuple[Obstacle, ...]:
    """Return what stands in the way, smallest change first; a pin, being a wish, before everything else."""
    families = [family for family in FAMILIES if family != "pins" or problem.pins]
    alone = [obstacle for family in families if (obstacle := _loosen(problem, family))]
    if alone:
        return tuple(
            sorted(alone, key=lambda obstacle: (obstacle.family != "pins", obstacle.share))
        )
    physical = [family for family in families if family not in ("time", "demand")]
    pairs = [found for pair in combinations(physical, 2) if (found := _together(problem, pair))]
    least = (
        min(pairs, key=lambda two: sum(one.share for one in two))
        if pairs
        else _together(problem, physical)
    )
    return tuple(sorted(least, key=lambda obstacle: obstacle.share))


def _together(problem: Problem, families: Iterable[str]) -> tuple[Obstacle, ...]:
    """Return by how much each of some families would have to give way, all at once; nothing where that is no help."""
    program = Program(problem, frozenset(families))
    result = program.solve(TOGETHER_S, GAP) if program.feasible else None
    if result is None or result.x is None:
        return ()
    gave = [_obstacle(program, result.x, family) for family in families]
    return tuple(replace(obstacle, alone=False) for obstacle in gave if obstacle.amount > 1e-6)


def _loosen(problem: Problem, family: str) -> Obstacle | None:
    if family == "waits":
        return _patience(problem)
    if family == "time":
        problem = _longer(problem)
    masks = startable(_warmer(problem)) if family == "room" else None
    program = Program(problem, frozenset({family}), masks=masks)
    result = program.solve(TIME_LIMIT_S, GAP) if program.feasible else None
    if result is None or result.x is None:
        return None
    found = _obstacle(program, result.x, family)
    return found if found.amount > 1e-6 else None


def _warmer(problem: Problem) -> Problem:
    """Widen the room's limits by the least that leaves a plan, all of them alike; as they are where nothing does."""
    lack = problem.hurdle["room"]
    levels = np.unique(lack[lack > 0])

    def wider(level: float) -> Problem:
        return replace(
            problem, hurdle={**problem.hurdle, "room": np.where(lack <= level, 0.0, lack)}
        )

    def helps(level: float) -> bool:
        program = Program(wider(level))
        return program.feasible and program.solve(TIME_LIMIT_S, GAP, any_plan=True).x is not None

    least = bisect_left(levels, True, key=helps)
    return wider(float(levels[least])) if least < len(levels) else problem


def _patience(problem: Problem) -> Obstacle | None:
    """Name the least longer wait that leaves a plan, and a stage after which it is enough."""
    stages, size = range(len(problem.stages) - 1), len(problem.index)

    def helps(slots: int, after: Iterable[int] = stages) -> bool:
        waits = tuple(wait + slots * (s in after) for s, wait in enumerate(problem.wait))
        program = Program(replace(problem, wait=waits))
        return program.feasible and program.solve(TIME_LIMIT_S, GAP, any_plan=True).x is not None

    if not helps(size):
        return None
    least = bisect_left(range(size), True, lo=1, key=helps)
    enough = [problem.stages[s].name for s in stages if helps(least, (s,))]
    hours = least * problem.slot_h
    where = f"after {' or '.join(enough) or 'any stage'}"
    return Obstacle("waits", hours, UNITS["waits"], where, hours / _there_is(problem, "waits"))


def _longer(problem: Problem) -> Problem:
    """Lay the same request on a longer window; its prices do not matter, its weather repeats the last day."""
    request, slot = problem.request, timedelta(hours=problem.slot_h)
    end = request.end + LONGEST_DELAY
    index = pd.date_range(
        problem.index[0], end, freq=slot, inclusive="left", unit="s", name="start"
    )
    weather = request.weather
    if weather is not None:
        hours = pd.date_range(
            weather.index[0], max(end, weather.index[-1]), freq="h", unit="s", name="start"
        )
        known = on_grid(weather, hours)
        for _ in range(LONGEST_DELAY.days + 1):
            known = known.fillna(known.shift(24))
        weather = known
    prices = pd.DataFrame({"p50": np.zeros(len(index))}, index=index)
    return lay_out(replace(request, prices=prices, weather=weather, end=end), deadline=request.end)


def _obstacle(program: Program, solution: Floats, family: str) -> Obstacle:
    problem = program.problem
    if family == "room":
        return _room(program, solution)
    gave: dict[str, tuple[float, Floats]] = {}
    for of, columns, slots in (slack[1:] for slack in program.gave_way if slack[0] == family):
        by_slot = np.zeros(len(problem.index) + 1)
        by_slot[slots] = solution[columns]
        amount, before = gave.get(of, (0.0, np.zeros(len(problem.index) + 1)))
        gave[of] = (amount + float(solution[columns].sum()), before + by_slot)
    total = sum(amount for amount, _ in gave.values())
    most = max((float(by_slot.max()) for _, by_slot in gave.values()), default=0.0)
    late = max((int(np.count_nonzero(by_slot > 1e-6)) for _, by_slot in gave.values()), default=0)
    amount = {
        "pins": total,
        "demand": total,
        "power": most,
        "time": late * problem.slot_h,
    }.get(family, total * problem.slot_h)
    names = [
        of if family == "time" else f"{of} {_when(problem, by_slot)}".strip()
        for of, (amount_of, by_slot) in gave.items()
        if amount_of > 1e-6
    ]
    return Obstacle(
        family, amount, UNITS[family], ", ".join(names), amount / _there_is(problem, family)
    )


def _there_is(problem: Problem, family: str) -> float:
    """Return how much of a family's unit there is, so that kilograms and hours can be put in one order."""
    window_h = (problem.deadline - problem.now) * problem.slot_h
    chain_h = sum(max((job.duration for job in problem.jobs), key=sum)) * problem.slot_h
    return {
        "pins": float(len(problem.pins)),
        "machines": window_h,
        "operators": float(problem.people[problem.now :].sum()) * problem.slot_h,
        "power": problem.plant.power.limit_kw,
        "waits": chain_h,
        "time": window_h,
        "demand": float(sum(wanted.sum() for wanted in problem.wanted_kg.values())),
    }[family] or 1e-3


def _room(program: Program, solution: Floats) -> Obstacle:
    """Say for each stage by how much its limits would have to move for the starts that were chosen."""
    problem, worst = program.problem, dict[str, tuple[float, str]]()
    for j, job in enumerate(program.starts(solution)):
        for s, starts in enumerate(job):
            slots = (starts[:, None] + np.arange(problem.jobs[j].duration[s])).ravel()
            if len(slots) and (over := float(problem.hurdle["room"][s][slots].max())) > 0:
                at = slots[int(problem.hurdle["room"][s][slots].argmax())]
                found = (over, "%" if problem.humid[s][at] else "K")
                worst[problem.stages[s].name] = max(found, worst.get(problem.stages[s].name, found))
    amount = max((over for over, _ in worst.values()), default=0.0)
    units = {unit for _, unit in worst.values()}
    detail = ", ".join(f"{name} limit by {over:.1f} {unit}" for name, (over, unit) in worst.items())
    return Obstacle(
        "room", amount, units.pop() if len(units) == 1 else UNITS["room"], detail, amount / 100
    )


def _when(problem: Problem, by_slot: Floats) -> str:
    """Return the local span from the first to the last slot that gave way."""
    slots = np.flatnonzero(by_slot[:-1] > 1e-6)
    if not len(slots):
        return ""
    first, end = (problem.stamps[n].tz_convert(MADRID) for n in (slots[0], slots[-1] + 1))
    return f"{first:%a %d %H:%M} to {end:%a %d %H:%M}"
