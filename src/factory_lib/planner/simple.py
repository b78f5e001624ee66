"""Doing it simply: schedules of the same kilograms under the same limits, that a plan is measured against.

They come from the same model, which then looks at no price: batches begin where the rule says, every further stage as
soon as it can, and each day's kilograms are finished on their day as far as possible.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.domain.plant import Floats, local_days, shifts_on
from factory_lib.planner.chains import startable
from factory_lib.planner.model import MilpModel
from factory_lib.planner.pricing import price
from factory_lib.planner.problem import Problem, on_grid
from factory_lib.planner.schedule import Schedule, schedule_of

SOON_EUR = 1e-3  # what each slot between begin and end costs: it only orders what nothing else does
AGAINST_RULE_EUR, LATER_SHIFT_EUR = (
    3.0,
    1.0,
)  # what beginning at another time costs, less than a batch a day off
MAKE_EUR = 20.0  # what making each of the batches is worth
TIME_LIMIT_S, GAP = 10.0, 1e-4
LOOK_BACK = pd.Timedelta(days=28)


def shift_begin(problem: Problem, counts: Mapping[str, int] | None = None) -> Schedule:
    """Begin batches with a shift: of each day's kilograms as many as they need at least, or ``counts`` by product."""
    against, local = np.full(len(problem.index), AGAINST_RULE_EUR), problem.index.tz_convert(MADRID)
    for day in local_days(problem.index):
        for number, shift in enumerate(shifts_on(problem.plant, day)):
            against[(local.date == day) & (local.time == shift.begin)] = LATER_SHIFT_EUR * (
                number > 0
            )
    return _laid(problem, against, counts)


def fixed_start(problem: Problem, counts: Mapping[str, int] | None = None) -> Schedule | None:
    """Begin every batch at the time of day that was cheapest over the last 28 days; None without their prices."""
    end, slot = problem.index[problem.now], problem.index[1] - problem.index[0]
    index = pd.date_range(end - LOOK_BACK, end, freq=slot, inclusive="left")
    past = on_grid(problem.request.prices[["price_eur_mwh"]], index)[:, 0]
    fresh = next((j for j, job in enumerate(problem.jobs) if not job.facts), None)
    if fresh is None or np.isnan(past).mean() > 0.5:
        return None
    kw = np.repeat([stage.power_kw for stage in problem.stages], problem.jobs[fresh].duration)
    cost = pd.Series(np.convolve(past, kw[::-1], mode="valid"))
    average = cost.groupby(index.tz_convert(MADRID).time[: len(cost)]).mean()
    clock = problem.index.tz_convert(MADRID).time
    days = (
        pd.Series(startable(problem)[fresh][0])
        .groupby(clock)
        .sum()
        .reindex(average.index, fill_value=0)
    )
    at = average[days >= days.max() / 2].idxmin()
    return _laid(problem, AGAINST_RULE_EUR * np.asarray(clock != at), counts)


def least_batches(problem: Problem) -> dict[str, int]:
    """Return, by product, how many batches the kilograms of each due instant need at least."""
    by_due: Counter[tuple[str, object]] = Counter()
    for order in problem.request.orders:
        by_due[order.product, order.due] += order.kg  # type: ignore[assignment]
    counts: Counter[str] = Counter()
    for (product, _), kg in by_due.items():
        counts[product] += math.ceil(kg / problem.plant.variants[product].batch_max_kg - 1e-9)
    return dict(counts)


def _laid(problem: Problem, against: Floats, counts: Mapping[str, int] | None) -> Schedule:
    """Lay batches where beginning is least ``against`` a rule, EUR by slot, and fill them for the orders."""
    counts = least_batches(problem) if counts is None else counts
    begun = Counter(job.product for job in problem.jobs if job.facts)
    jobs = [
        job
        if job.facts
        else replace(job, count=max(counts.get(job.product, 0) - begun[job.product], 0))
        for job in problem.jobs
    ]
    soon = SOON_EUR * np.arange(len(problem.index))
    first = against - MAKE_EUR - soon  # a batch is short: soon from its begin to its end
    costs = [first, *[0.01 * soon] * (len(problem.stages) - 2), 1.01 * soon]
    few = replace(problem, jobs=tuple(jobs), keeps=())
    model = MilpModel(few, startable(problem), start_costs=costs)
    starts = model.starts(model.rows.solve(TIME_LIMIT_S, GAP).x)
    return filled(few, starts, {j: len(starts[j][0]) for j in model.jobs})


def filled(
    problem: Problem,
    starts: Sequence[Sequence[npt.ArrayLike]],
    counts: Mapping[int, int] | None = None,
) -> Schedule:
    """Return the cheapest schedule whose batches begin their stages in ``starts`` (by job and stage) only."""
    masks = startable(problem)
    for j, job in enumerate(problem.jobs):
        if not job.facts:
            masks[j] = [
                mask & np.isin(np.arange(len(mask)), slots)
                for mask, slots in zip(masks[j], starts[j], strict=True)
            ]
    model = MilpModel(problem, masks, counts=counts)
    price(model)
    return schedule_of(model, model.rows.solve(TIME_LIMIT_S, GAP))
