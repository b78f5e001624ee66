"""Doing it simply: schedules of the same kilograms under the same limits, to measure a plan by.

They come from the same model, which then looks at no price: batches begin where the
rule says, every further stage as soon as it can, and each day's kilograms are finished
on their day as far as possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.domain.plant import Floats, local_days, shifts_on
from factory_lib.planner.chains import startable
from factory_lib.planner.model import MilpModel
from factory_lib.planner.pricing import price
from factory_lib.planner.problem import Problem, laid_on
from factory_lib.planner.schedule import Schedule, schedule_of, starts_of

SOON_EUR = 1e-3  # each slot between begin and end: it only orders what nothing else does
AGAINST_RULE_EUR, LATER_SHIFT_EUR = 3.0, 1.0  # less than a batch a day off
MAKE_EUR = 20.0  # what making each of the batches is worth
TIME_LIMIT_S, GAP = 10.0, 1e-4
PRICES_BACK = pd.Timedelta(days=28)


def shift_begin(problem: Problem, counts: Mapping[str, int] | None = None) -> Schedule | None:
    """Begin batches with a shift, as many as each day's kilograms need at least.

    ``counts`` gives the number of batches by product instead. None where batches in
    progress cannot go on.
    """
    against = np.full(len(problem.index), AGAINST_RULE_EUR)
    local = problem.index.tz_convert(MADRID)
    for day in local_days(problem.index):
        for number, shift in enumerate(shifts_on(problem.plant, day)):
            begins = (local.date == day) & (local.time == shift.begin)
            against[begins] = LATER_SHIFT_EUR * (number > 0)
    return _laid(problem, against, counts)


def fixed_start(problem: Problem, counts: Mapping[str, int] | None = None) -> Schedule | None:
    """Begin every batch at the time of day that was cheapest over the last 28 days.

    None without their prices, or with nothing to make.
    """
    now = problem.index[problem.now]
    slot = problem.index[1] - problem.index[0]
    index = pd.date_range(now - PRICES_BACK, now, freq=slot, inclusive="left")
    (past,) = laid_on(problem.request.prices[["price_eur_mwh"]], index)
    fresh = [j for j, job in enumerate(problem.jobs) if not job.facts]
    if not fresh or np.isnan(past).mean() > 0.5:
        return None
    job = problem.jobs[fresh[0]]
    kw = np.repeat([stage.power_kw for stage in problem.stages], job.duration)
    cost = pd.Series(np.convolve(past, kw[::-1], mode="valid"))
    average = cost.groupby(index.tz_convert(MADRID).time[: len(cost)]).mean()
    clock = problem.index.tz_convert(MADRID).time
    possible = pd.Series(startable(problem)[fresh[0]][0]).groupby(clock).sum()
    usual = possible.index[possible >= possible.max() / 2]
    at = average.reindex(usual).idxmin()
    return _laid(problem, AGAINST_RULE_EUR * np.asarray(clock != at), counts)


def filled(
    problem: Problem,
    starts: Collection[tuple[str, int, int]],
    counts: Mapping[int, int] | None = None,
) -> Schedule | None:
    """Return the cheapest schedule of ``starts`` (product, stage, slot) for what has not begun.

    ``counts`` says how many batches there are, by job. None where batches in progress
    cannot go on.
    """
    masks = startable(problem, overtime=True)
    for j, job in enumerate(problem.jobs):
        for s in range(len(job.duration) if not job.facts else 0):
            masks[j][s] &= [(job.product, s, slot) in starts for slot in range(len(problem.index))]
    model = MilpModel(problem, masks, overtime=True, counts=counts)
    price(model)
    result = model.rows.solve(TIME_LIMIT_S, GAP)
    return None if result.x is None else schedule_of(model, result)


def _laid(problem: Problem, against: Floats, counts: Mapping[str, int] | None) -> Schedule | None:
    """Lay batches where beginning is least ``against`` a rule, EUR by slot, and fill them."""
    left = Counter(_least_batches(problem) if counts is None else counts)
    left.subtract(job.product for job in problem.jobs if job.facts)
    jobs = [
        job if job.facts else replace(job, count=max(left[job.product], 0)) for job in problem.jobs
    ]
    simple = replace(problem, jobs=tuple(jobs), keeps=())
    soon = SOON_EUR * np.arange(len(problem.index))
    first = against - MAKE_EUR - soon  # a batch is short: soon from its begin to its end
    costs = [first, *[0.01 * soon] * (len(problem.stages) - 2), 1.01 * soon]
    model = MilpModel(simple, startable(problem, overtime=True), overtime=True, start_costs=costs)
    result = model.rows.solve(TIME_LIMIT_S, GAP)
    if result.x is None:
        return None
    laid = schedule_of(model, result)
    return filled(simple, starts_of(simple, laid), Counter(laid.jobs.tolist()))


def _least_batches(problem: Problem) -> dict[str, int]:
    """Return, by product, how many batches the kilograms of each due instant need at least."""
    by_due: Counter[tuple[str, datetime]] = Counter()
    for order in problem.request.orders:
        by_due[order.product, order.due] += order.kg  # type: ignore[assignment]
    counts: Counter[str] = Counter()
    for (product, _), kg in by_due.items():
        counts[product] += -int(-kg // problem.plant.variants[product].batch_max_kg)
    return dict(counts)
