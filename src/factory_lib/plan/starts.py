"""Where a stage may begin, and what beginning it there costs: one batch alone, before any of them meet."""

from __future__ import annotations

import numpy as np

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.plan.problem import Job, Problem

Masks = list[list[Bools]]
"""For each job and stage, the slots in which it may begin."""


def ahead(values: Floats | Bools, length: int) -> Floats:
    """Return the sum of ``values`` over the ``length`` slots from each; what lies past the grid counts nothing."""
    total = np.concatenate([[0.0], np.cumsum(values), np.zeros(length)])
    total[len(values) + 1 :] = total[len(values)]
    return np.asarray(total[length : length + len(values)] - total[: len(values)])


def start_cost(problem: Problem, job: Job, s: int) -> Floats:
    """Return what starting a stage in each slot adds to the objective, EUR.

    Holding is counted from the end of a stage to the grid's end, and taken back from
    where the next stage begins.
    """
    stage, hours = problem.stages[s], problem.slot_h
    cost = ahead(
        problem.price * stage.power_kw * hours / 1000 + problem.heat_eur[s], job.duration[s]
    )
    held = np.concatenate([[0.0], np.cumsum(problem.price)]) * hours / 1000
    slots = np.arange(len(problem.index))
    if stage.hold_kw:
        cost = cost + stage.hold_kw * (
            held[-1] - held[np.minimum(slots + job.duration[s], len(slots))]
        )
    if s and problem.stages[s - 1].hold_kw:
        cost = cost - problem.stages[s - 1].hold_kw * (held[-1] - held[slots])
    return cost


def startable(problem: Problem, relaxed: frozenset[str] = frozenset()) -> Masks:
    """Return, for each job and stage, the slots in which it may begin as part of some whole chain."""
    return [
        _chain(
            problem,
            job,
            [_alone(problem, job, s, relaxed) for s in range(len(problem.stages))],
            relaxed,
        )
        for job in problem.jobs
    ]


def around(problem: Problem, starts: list[list[Ints]], slots: int) -> Masks:
    """Return the startable slots within ``slots`` of the given starts of each job and stage."""
    near = np.ones(2 * slots + 1)
    narrow: Masks = []
    for mask_of, starts_of in zip(startable(problem), starts, strict=True):
        marked = [np.bincount(at, minlength=len(problem.index)) for at in starts_of]
        wide = [np.convolve(at, near)[slots : slots + len(at)] > 0.5 for at in marked]
        narrow.append([mask & at for mask, at in zip(mask_of, wide, strict=True)])
    return narrow


def coarse(problem: Problem, minutes: int) -> Masks:
    """Return the startable slots that begin a multiple of ``minutes`` after the hour; facts and pins stay."""
    on_time = np.asarray(problem.index.minute % minutes == 0)
    masks = startable(problem)
    for j, job in enumerate(problem.jobs):
        for s in range(len(problem.stages)):
            pinned = [slot for jobs, stage, slot in problem.pins if j in jobs and stage == s]
            masks[j][s] &= on_time | bool(job.facts[s]) | np.isin(np.arange(len(on_time)), pinned)
    return masks


def _alone(problem: Problem, job: Job, s: int, relaxed: frozenset[str]) -> Bools:
    mask = np.zeros(len(problem.index), dtype=bool)
    if job.facts[s]:
        mask[list(job.facts[s])] = True
        return mask
    mask[problem.now :] = True
    for family, lack in problem.hurdle.items():
        length = problem.attention(job, s) if family == "operators" else job.duration[s]
        if family not in relaxed and length:
            mask &= ahead(lack[s], length) <= 1e-9
    return mask


def _chain(problem: Problem, job: Job, masks: list[Bools], relaxed: frozenset[str]) -> list[Bools]:
    """Keep the starts that some start of the stage before leads to, and that lead to one of the stage after."""
    size = len(problem.index)
    wait = [size if "waits" in relaxed else w for w in problem.wait]
    masks[-1][max(size - job.duration[-1] + 1, 0) :] = False
    for s in range(1, len(masks)):
        reach = np.concatenate(
            [np.zeros(job.duration[s - 1]), ahead(masks[s - 1][::-1], wait[s - 1] + 1)[::-1]]
        )[:size]
        masks[s] = masks[s] & (reach > 0.5)
    for s in range(len(masks) - 2, -1, -1):
        reach = np.concatenate([ahead(masks[s + 1], wait[s] + 1), np.zeros(job.duration[s])])[
            job.duration[s] :
        ]
        masks[s] = masks[s] & (reach > 0.5)
    return masks
