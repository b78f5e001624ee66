"""One batch alone: where its stages may begin as part of a whole chain, what that costs, and when to begin."""

from __future__ import annotations

import numpy as np
import pandas as pd

from factory_lib.domain.plant import Bools, Floats
from factory_lib.planner.problem import Job, Problem

Masks = list[list[Bools]]
"""For each job and stage, the slots in which it may begin."""

REGRET_CLASSES = np.array(["Optimal", "Moderate", "Reduced", "Halt Production"])
NEAR_SHARE, NEAR_EUR = 0.05, 1.0  # Optimal: within either of the best start of the next day
MODERATE_SHARE, REDUCED_SHARE = 0.25, 0.60  # of a usual batch, saved by waiting
AHEAD = pd.Timedelta(hours=24)


def ahead(values: Floats | Bools, length: int) -> Floats:
    """Return the sum of ``values`` over the ``length`` slots from each; slots past the grid count nothing."""
    total = np.concatenate([[0.0], np.cumsum(values), np.full(length, np.sum(values))])
    return np.asarray(total[length : length + len(values)] - total[: len(values)])


def start_eur(problem: Problem, job: Job, s: int) -> Floats:
    """Return what starting a stage in each slot adds to the objective, EUR.

    Holding is counted from the end of a stage to the grid's end, and taken back from where the next stage begins.
    """
    slack, price = problem.plant.slack, problem.price / 1000
    room = slack.room_eur_k_h * problem.kelvin[s] + slack.room_eur_pct_h * problem.percent[s]
    to_end = np.append(np.cumsum(price[::-1])[::-1], np.zeros(job.duration[s]))
    held = problem.stages[s].hold_kw * to_end[job.duration[s] :][: len(price)]
    if s:
        held = held - problem.stages[s - 1].hold_kw * to_end[: len(price)]
    return (
        ahead(price * problem.stages[s].power_kw + room, job.duration[s]) + held
    ) * problem.slot_h


def startable(problem: Problem, *, overtime: bool = False) -> Masks:
    """Return, for each job and stage, the slots in which it may begin as part of some whole chain.

    Machines, critical room limits, the connection's limit and, without ``overtime``, people of the shifts decide.
    """
    people = np.maximum(problem.people, problem.most_people * overtime)
    masks = []
    for job in problem.jobs:
        alone = [np.ones(len(problem.index), bool) for _ in problem.stages]
        for activity in problem.activities:
            lacking = activity.people > people
            if activity.kind == "run":
                s = activity.stage
                lacking |= (problem.capacity[activity.machine] < 1) | problem.critical[s]
                lacking |= problem.base_kw + activity.kw > problem.plant.power.limit_kw + 1e-9
            if activity.kind != "hold":
                begin, end = activity.span(job, [0] * len(alone))
                alone[activity.stage] &= ahead(lacking, end - begin) == 0
        masks.append(_chain(problem, job, alone))
    return masks


def _chain(problem: Problem, job: Job, masks: list[Bools]) -> list[Bools]:
    """Keep the starts that some start of the stage before leads to, and that lead to one of the stage after.

    What has begun is where it is; where it cannot go on, the stages after it have no start.
    """
    size, last, slots = len(problem.index), len(masks) - 1, np.arange(len(problem.index))
    for s in range(last + 1):
        masks[s] &= slots >= problem.now
        if s < len(job.facts):
            masks[s] = slots == job.facts[s]
        elif s == last:
            masks[s] &= slots + job.duration[s] <= size
    for s in range(max(len(job.facts), 1), last + 1):
        reach = ahead(masks[s - 1][::-1], problem.wait[s - 1] + 1)[::-1]
        masks[s] &= np.append(np.zeros(job.duration[s - 1]), reach)[:size] > 0.5
    for s in range(last - 1, len(job.facts) - 1, -1):
        reach = np.append(ahead(masks[s + 1], problem.wait[s] + 1), np.zeros(job.duration[s]))
        masks[s] &= reach[job.duration[s] :] > 0.5
    return masks


def chain_eur(problem: Problem, j: int, masks: list[Bools]) -> Floats:
    """Return what one batch of job ``j`` costs at least, alone, by the slot it begins in, EUR; infinite where none can.

    A shortest path over the stages, found exactly by going backwards from the last.
    """
    job, size, best = problem.jobs[j], len(problem.index), np.zeros(len(problem.index))
    for s in reversed(range(len(masks))):
        if s < len(masks) - 1:
            later = np.append(best, np.full(job.duration[s] + problem.wait[s], np.inf))[
                job.duration[s] :
            ]
            best = np.min([later[gap : gap + size] for gap in range(problem.wait[s] + 1)], axis=0)
        best = np.where(masks[s], best + start_eur(problem, job, s), np.inf)
    return best


def start_regret(index: pd.DatetimeIndex, cost_eur: Floats, usual_eur: float) -> pd.DataFrame:
    """Judge every start by what waiting for the best start of the next 24 hours would save.

    Parameters
    ----------
    cost_eur : array
        :func:`chain_eur`: cost of the cheapest whole chain by start, infinite where none can begin.
    usual_eur : float
        What a batch usually costs.

    Returns
    -------
    DataFrame
        Index ``start``: cost_eur, regret_eur (infinite where no chain can begin), best_start (NaT where there is none
        within 24 hours), class (Optimal, Moderate, Reduced, Halt Production).
    """
    slots = int(AHEAD / (index[1] - index[0]))
    view = np.lib.stride_tricks.sliding_window_view(
        np.append(cost_eur, np.full(slots - 1, np.inf)), slots
    )
    best = view.min(axis=1)
    possible, any_ahead = np.isfinite(cost_eur), np.isfinite(best)
    regret = np.where(possible, cost_eur - np.where(any_ahead, best, 0.0), np.inf)
    limits = (
        np.maximum(NEAR_EUR, NEAR_SHARE * np.abs(best)),
        MODERATE_SHARE * usual_eur,
        REDUCED_SHARE * usual_eur,
    )
    number = np.select([possible & (regret <= limit) for limit in limits], [0, 1, 2], 3)
    start = pd.Series(index[(np.arange(len(index)) + view.argmin(axis=1)) % len(index)]).where(
        any_ahead
    )
    frame = {"cost_eur": cost_eur, "regret_eur": regret, "best_start": start.array}
    return pd.DataFrame(
        {**frame, "class": pd.Categorical(REGRET_CLASSES[number], REGRET_CLASSES, ordered=True)},
        index=index,
    )
