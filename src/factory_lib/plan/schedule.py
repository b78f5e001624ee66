"""A schedule on a problem's grid: batches with their starts, their kilograms, power and money.

Plans and baselines are priced here by the same code, whoever made them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from factory_lib.domain.plant import Floats, Ints
from factory_lib.plan.problem import Problem, on_grid
from factory_lib.plan.starts import ahead


@dataclass(frozen=True)
class Batch:
    """One batch: the job it belongs to, its kilograms, and the slot in which each stage begins."""

    job: int
    kg: float
    starts: tuple[int, ...]


Schedule = tuple[Batch, ...]


@dataclass(frozen=True)
class Costs:
    """What a schedule costs from ``now`` on, EUR; loads that always run are not in it.

    ``energy`` is market price, ``tolls`` its adder, ``excess`` power above the
    contract; they are paid. ``preferences``, ``heat`` and ``band`` are stated prices
    that only steer the choice.
    """

    energy: float
    tolls: float
    excess: float
    preferences: float
    heat: float
    band: float

    @property
    def paid(self) -> float:
        """Return what appears on a bill."""
        return self.energy + self.tolls + self.excess

    @property
    def objective(self) -> float:
        """Return what the optimiser minimises."""
        return self.paid + self.preferences + self.heat + self.band


def production_kw(problem: Problem, schedule: Schedule) -> Floats:
    """Return the kilowatts of stages and holding in each slot."""
    step = np.zeros(len(problem.index) + 1)
    for batch in schedule:
        ends = [
            start + span
            for start, span in zip(batch.starts, problem.jobs[batch.job].duration, strict=True)
        ]
        for s, stage in enumerate(problem.stages):
            step[batch.starts[s]] += stage.power_kw
            step[ends[s]] -= stage.power_kw
            if stage.hold_kw and s + 1 < len(ends):
                step[ends[s]] += stage.hold_kw
                step[batch.starts[s + 1]] -= stage.hold_kw
    return np.cumsum(step)[:-1]


def keeps_limits(problem: Problem, schedule: Schedule) -> bool:
    """Whether machines, operators and the power limit are kept in every slot from ``now`` on."""
    size = len(problem.index)
    used = {name: np.zeros(size + 1) for name in problem.capacity}
    people = np.zeros(size + 1)
    for batch in schedule:
        job = problem.jobs[batch.job]
        for s, stage in enumerate(problem.stages):
            start = batch.starts[s]
            free = batch.starts[s + 1] if stage.hold_h else start + job.duration[s]
            used[stage.machine][[start, free]] += (1, -1)
            people[start] += stage.operators
            people[start + problem.attention(job, s)] -= stage.operators
    kw = production_kw(problem, schedule)
    over = [kw - np.maximum(problem.plant.power.limit_kw - problem.base_kw, 0.0)]
    over += [np.cumsum(used[name])[:-1] - capacity for name, capacity in problem.capacity.items()]
    over.append(np.cumsum(people)[:-1] - problem.people)
    return all(bool((by_slot[problem.now :] <= 1e-6).all()) for by_slot in over)


def excess_kw(problem: Problem, kw: Floats) -> Floats:
    """Return the kilowatts above the contract that production, not the loads that always run, is the cause of."""
    contract = np.maximum(problem.plant.power.contracted_kw, problem.base_kw)
    over = np.maximum(0.0, kw + problem.base_kw - contract)
    over[: problem.now] = 0.0
    return over


def costs(problem: Problem, schedule: Schedule, prices: pd.DataFrame | None = None) -> Costs:
    """Price a schedule at the request's own prices, or at ``prices`` (what was really charged)."""
    kw, hours = production_kw(problem, schedule), problem.slot_h
    frame = on_grid(
        (problem.request.prices if prices is None else prices).select_dtypes("number"),
        problem.index,
    )
    own = next(name for name in frame.columns if name not in ("p10", "p90", "toll_eur_mwh"))
    toll = frame["toll_eur_mwh"].to_numpy(float) if "toll_eur_mwh" in frame else np.zeros(len(kw))
    ahead_of_now = slice(problem.now, None)
    energy = float((frame[own].to_numpy(float) * kw)[ahead_of_now].sum()) * hours / 1000
    tolls = float((toll * kw)[ahead_of_now].sum()) * hours / 1000
    heat = sum(
        float(ahead(problem.heat_eur[s], problem.jobs[batch.job].duration[s])[start])
        for batch in schedule
        for s, start in enumerate(batch.starts)
    )
    return Costs(
        energy=energy,
        tolls=tolls,
        excess=float(excess_kw(problem, kw).sum()) * problem.plant.power.excess_eur_kw * hours * 4,
        preferences=_preference_eur(problem, schedule),
        heat=heat,
        band=float((problem.price * kw).sum()) * hours / 1000 - energy - tolls
        if prices is None
        else 0.0,
    )


def _finish_days(problem: Problem, schedule: Schedule) -> list[int]:
    """Return, for each batch, the number of the local day on which it is finished."""
    return [int(np.searchsorted(problem.day_end, end)) for end in _ends(problem, schedule)]


def _preference_eur(problem: Problem, schedule: Schedule) -> float:
    off = 0.0
    for variant, wanted in problem.wanted_kg.items():
        made = np.zeros(len(wanted))
        for batch, day in zip(schedule, _finish_days(problem, schedule), strict=True):
            if problem.jobs[batch.job].variant == variant:
                made[day] += batch.kg
        off += float(np.abs(np.cumsum(made - wanted)).sum())
    return off * problem.plant.demand.preference_eur_kg_day


def keeps_promises(problem: Problem, schedule: Schedule) -> bool:
    """Whether pins, firm orders and the deadline are kept: what a simple schedule does not look at."""
    ends = _ends(problem, schedule)
    in_time = all(end <= problem.deadline for end in ends) and all(
        _made_kg(problem, schedule, variant, due) >= kg - 1e-6
        for variant in problem.wanted_kg
        for due, kg in problem.due_kg(variant).items()
    )
    return in_time and all(
        any(b.job in jobs and b.starts[s] == slot for b in schedule)
        for jobs, s, slot in problem.pins
    )


def _ends(problem: Problem, schedule: Schedule) -> list[int]:
    return [batch.starts[-1] + problem.jobs[batch.job].duration[-1] for batch in schedule]


def _made_kg(problem: Problem, schedule: Schedule, variant: str, due: int) -> float:
    made = zip(schedule, _ends(problem, schedule), strict=True)
    return sum(
        batch.kg for batch, end in made if problem.jobs[batch.job].variant == variant and end <= due
    )


def filled(problem: Problem, schedule: Schedule) -> Schedule:
    """Return the schedule with the kilograms that follow the daily preferences best, within each batch's limits.

    Firm orders are filled by when they are due; a schedule whose batches are too late
    for one is filled without them.
    """
    days, ends = _finish_days(problem, schedule), _ends(problem, schedule)
    kg = [problem.jobs[batch.job].min_kg for batch in schedule]
    for variant, wanted in problem.wanted_kg.items():
        mine = [i for i, batch in enumerate(schedule) if problem.jobs[batch.job].variant == variant]
        if not mine:
            continue
        jobs = [problem.jobs[schedule[i].job] for i in mine]
        size = len(
            wanted
        )  # unknowns: kilograms of each batch, then how far each day's total is off
        totals = np.array([[days[i] <= day for i in mine] for day in range(size)], dtype=float)
        near = np.block([[totals, -np.eye(size)], [-totals, -np.eye(size)]])
        goal = np.cumsum(wanted)
        enough = np.concatenate([-np.ones(len(mine)), np.zeros(size)])
        due = problem.due_kg(variant)
        in_time = np.array([[ends[i] <= slot for i in mine] for slot in due], dtype=float).reshape(
            -1, len(mine)
        )
        firm = np.array(list(due.values()))
        if (in_time @ [job.max_kg for job in jobs] < firm - 1e-9).any():
            in_time, firm = in_time[:0], firm[:0]
        late = np.hstack([-in_time, np.zeros((len(firm), size))])
        found = linprog(
            np.concatenate([np.zeros(len(mine)), np.ones(size)]),
            A_ub=np.vstack([near, enough, late]),
            b_ub=np.concatenate([goal, -goal, [-goal[-1]], -firm]),
            bounds=[(job.min_kg, job.max_kg) for job in jobs] + [(0, None)] * size,
        )
        share = [(days[i], schedule[i].job, sum(ends[i] <= slot for slot in due)) for i in mine]
        for i, of in zip(
            mine, share, strict=True
        ):  # like batches of one day and due share its kilograms evenly
            kg[i] = float(found.x[[n for n, other in enumerate(share) if other == of]].mean())
    return tuple(replace(batch, kg=amount) for batch, amount in zip(schedule, kg, strict=True))


def starts_of(problem: Problem, schedule: Schedule) -> list[list[Ints]]:
    """Return, for each job and stage, the slots in which the batches of a schedule begin."""
    return [
        [
            np.array([batch.starts[s] for batch in schedule if batch.job == j])
            for s in range(len(problem.stages))
        ]
        for j in range(len(problem.jobs))
    ]


def chains(problem: Problem, starts: list[list[Ints]]) -> Schedule:
    """Pair the k-th starts of all stages of each job into batches, in order of their end, and fill them."""
    found = [
        Batch(j, 0.0, tuple(int(slot) for slot in chain))
        for j, job in enumerate(starts)
        for chain in zip(*job, strict=True)
    ]
    return filled(problem, tuple(sorted(found, key=lambda batch: batch.starts[-1])))
