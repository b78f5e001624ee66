"""One batch alone: where its stages may begin as part of a whole chain, and what that costs."""

from __future__ import annotations

import numpy as np

from factory_lib.domain.plant import Bools, Floats
from factory_lib.planner.problem import Job, Problem

Masks = list[list[Bools]]
"""For each job and stage, the slots in which it may begin."""


def ahead(values: Floats | Bools, length: int) -> Floats:
    """Return the sum of ``values`` over the ``length`` slots from each, as far as there are."""
    total = np.concatenate([[0.0], np.cumsum(values), np.full(length, np.sum(values))])
    return np.asarray(total[length : length + len(values)] - total[: len(values)])


def start_eur(problem: Problem, job: Job, s: int) -> Floats:
    """Return what starting a stage in each slot adds to the objective, EUR.

    Holding is counted from the end of a stage to the grid's end, and taken back from
    where the next stage begins.
    """
    slack = problem.plant.slack
    price = problem.price / 1000
    room = slack.room_eur_k_h * problem.kelvin[s] + slack.room_eur_pct_h * problem.percent[s]
    to_end = np.append(np.cumsum(price[::-1])[::-1], np.zeros(job.duration[s]))
    hold = problem.stages[s].hold_kw * to_end[job.duration[s] :][: len(price)]
    if s:
        hold = hold - problem.stages[s - 1].hold_kw * to_end[: len(price)]
    run = ahead(price * problem.stages[s].power_kw + room, job.duration[s])
    return (run + hold) * problem.slot_h


def startable(problem: Problem, *, overtime: bool = False) -> Masks:
    """Return, for each job and stage, the slots in which it may begin as part of a whole chain.

    Machines, critical room limits, the connection's limit and, without ``overtime``,
    people of the shifts decide.
    """
    people = np.maximum(problem.people, problem.most_people * overtime)
    masks = []
    for j, job in enumerate(problem.jobs):
        alone = [np.arange(len(problem.index)) >= problem.now for _ in problem.stages]
        for activity in problem.activities:
            lacking = activity.people > people
            if activity.kind == "run":
                limit_kw = problem.plant.power.limit_kw - problem.base_kw
                lacking |= problem.critical[activity.stage] | (activity.kw > limit_kw + 1e-9)
                lacking |= problem.capacity[activity.machine] < 1
            if activity.kind != "hold":
                alone[activity.stage] &= ahead(lacking, activity.slots[j]) == 0
        masks.append(_chain(problem, job, alone))
    return masks


def _chain(problem: Problem, job: Job, masks: list[Bools]) -> list[Bools]:
    """Keep the starts that some start before leads to, and that lead to one after.

    Facts stay where they are; where a batch in progress cannot go on, the stages to
    come have no start.
    """
    slots = np.arange(len(problem.index))
    last = len(masks) - 1
    for s, fact in enumerate(job.facts):
        masks[s] = slots == fact
    if len(job.facts) <= last:
        masks[last] &= slots + job.duration[last] <= len(slots)
    for s in range(max(len(job.facts), 1), last + 1):
        reach = ahead(masks[s - 1][::-1], problem.wait[s - 1] + 1)[::-1]
        masks[s] &= np.append(np.zeros(job.duration[s - 1]), reach)[: len(slots)] > 0.5
    for s in range(last - 1, len(job.facts) - 1, -1):
        reach = np.append(ahead(masks[s + 1], problem.wait[s] + 1), np.zeros(job.duration[s]))
        masks[s] &= reach[job.duration[s] :] > 0.5
    return masks


def chain_eur(problem: Problem, j: int, masks: list[Bools]) -> Floats:
    """Return what one batch of a job costs at least, alone, by the slot it begins in, EUR.

    Infinite where none can begin. A shortest path over the stages, exact by going
    backwards from the last.
    """
    job = problem.jobs[j]
    size = len(problem.index)
    best: Floats = np.zeros(size)
    for s in reversed(range(len(masks))):
        if s < len(masks) - 1:
            later = np.append(best[job.duration[s] :], np.full(size + problem.wait[s], np.inf))
            waits = range(problem.wait[s] + 1)
            best = np.min([later[wait : wait + size] for wait in waits], axis=0)
        best = np.where(masks[s], best + start_eur(problem, job, s), np.inf)
    return best
