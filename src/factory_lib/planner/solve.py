"""From a request to a plan: there always is one, with a proven gap where there was time for it.

Simple schedules come from the same program, to measure a plan by: it then looks at no
price, batches begin where a rule says, every further stage as soon as it can, and each
day's kilograms are finished on their day as far as possible.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping
from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd

from factory_lib.domain.plant import Floats, local_days, shifts_on
from factory_lib.planner.model import Model
from factory_lib.planner.plan import Plan, PlanSource
from factory_lib.planner.problem import Problem, laid_on
from factory_lib.planner.request import PlanRequest

SOLVER_SHARE = 0.8  # of the gap asked for; the rest is for the exact excess charge
MOST_ROUNDS = 8  # of describing the excess charge at the latest schedule
FIRST_SHARE = 0.8  # of the time for a plan without overtime; one with it may follow
SOON_EUR = 1e-3  # each slot between begin and end: it only orders what nothing else does
AGAINST_RULE_EUR, LATER_SHIFT_EUR = 3.0, 1.0  # less than a batch a day off
MAKE_EUR = 20.0  # what making each of the batches is worth
SIMPLE_LIMIT_S, SIMPLE_GAP = 30.0, 1e-4
PRICES_BACK = pd.Timedelta(days=28)


def solve(request: PlanRequest, *, gap: float = 0.01, time_limit_s: float = 60.0) -> Plan:
    """Return the cheapest plan to ``gap``, the best one in ``time_limit_s``, or a simple one.

    People beyond the shifts are asked for only where kilograms would be late without
    them; the gap is then proven against all plans with overtime, else against all
    without.

    Raises
    ------
    BadInput
        If the request contradicts itself or its frames do not cover it.
    """
    began = time.perf_counter()
    problem = Problem(request)
    while (plan := _best_plan(problem, began, time_limit_s, gap)) is None:
        problem.give_up([n for n, job in enumerate(problem.jobs) if job.facts and job.count][-1:])
    plan.seconds = time.perf_counter() - began
    return plan


def _best_plan(problem: Problem, began: float, time_limit_s: float, gap: float) -> Plan | None:
    """Return the best plan; None where batches in progress are in each other's way."""
    plan = _search(problem, began + FIRST_SHARE * time_limit_s, gap, overtime=False)
    if plan is None or plan.stated_eur("late", "firm_late"):
        more = _search(problem, began + time_limit_s, gap, overtime=True)
        bound = more.bound_eur if more else -np.inf
        plan = _cheapest(plan, more) or _cheapest(_as_before(problem), shift_begin(problem))
        plan = plan or shift_begin(problem, {})  # none to begin: quick, unless they contradict
        if plan is not None:
            plan.bound_eur = bound
            plan.source = plan.source if len(plan.jobs) or plan.source == "solver" else "nothing"
    return plan


def _search(problem: Problem, deadline: float, gap: float, *, overtime: bool) -> Plan | None:
    """Return the best plan until ``deadline`` with the proven bound."""
    model = Model(problem, overtime=overtime)
    best = None
    bound = -np.inf
    for _ in range(MOST_ROUNDS):
        left_s = deadline - time.perf_counter()
        result = model.solve(left_s, SOLVER_SHARE * gap) if left_s > 0 else None
        if result is None or result.x is None:
            break
        latest = Plan(model, result.x, "solver")
        best = _cheapest(best, latest) or latest
        bound = best.bound_eur = max(bound, float(result.mip_dual_bound))
        if best.gap <= gap:
            break
        model.describe(problem.excess.over_kw(problem.meter_kw + latest.production_kw))
    return best


def _cheapest(*plans: Plan | None) -> Plan | None:
    return min(filter(None, plans), key=lambda plan: plan.costs["objective"], default=None)


def _as_before(problem: Problem) -> Plan | None:
    """Return the cheapest plan of the starts planned before, None where it cannot go on."""
    masks = problem.startable(overtime=True)
    for j, job in enumerate(problem.jobs):
        for s in range(0 if job.facts else len(problem.stages)):
            slots = [keep[3] for keep in problem.keeps if keep[1:3] == (job.product, s)]
            masks[j][s] &= np.isin(np.arange(len(problem.index)), slots)
    return _solved(Model(problem, masks=masks, overtime=True), "previous")


def shift_begin(problem: Problem, counts: Mapping[str, int] | None = None) -> Plan | None:
    """Begin batches with a shift, as many as each day's kilograms need at least.

    ``counts`` gives the number of batches by product instead. None where batches in
    progress cannot go on.
    """
    against = np.full(len(problem.index), AGAINST_RULE_EUR)
    zone = problem.plant.zone
    local = problem.index.tz_convert(zone)
    for day in local_days(problem.index, zone):
        for number, shift in enumerate(shifts_on(problem.plant, day)):
            begins = (local.date == day) & (local.time == shift.begin)
            against[begins] = LATER_SHIFT_EUR * (number > 0)
    return _by_rule(problem, against, counts, "shift_begin")


def fixed_start(problem: Problem, counts: Mapping[str, int] | None = None) -> Plan | None:
    """Begin every batch at the time of day that was cheapest over the last 28 days.

    None without their prices, with nothing to make, or no batch that can begin.
    """
    now = problem.index[problem.now]
    back = pd.date_range(now - PRICES_BACK, now, freq=problem.index.freq, inclusive="left")
    (past,) = laid_on(problem.request.prices[["price_eur_mwh"]], back)
    fresh = [j for j, job in enumerate(problem.jobs) if not job.facts]
    if not fresh or np.isnan(past).mean() > 0.5:
        return None
    zone = problem.plant.zone
    clock = problem.index.tz_convert(zone).time
    usual = copy(problem)
    typical = pd.Series(past).groupby(back.tz_convert(zone).time).mean()
    usual.price = typical.reindex(clock).to_numpy()
    cost = pd.Series(usual.chain_eur(fresh[0], usual.startable()[fresh[0]]), clock)
    starts = cost[np.isfinite(cost)].groupby(level=0).agg(["mean", "count"])
    if starts.empty:
        return None
    at = starts.loc[starts["count"] >= starts["count"].max() / 2, "mean"].idxmin()
    return _by_rule(problem, AGAINST_RULE_EUR * np.asarray(clock != at), counts, "fixed_start")


def _by_rule(
    problem: Problem, against: Floats, counts: Mapping[str, int] | None, source: PlanSource
) -> Plan | None:
    """Lay batches where beginning is least ``against`` a rule, EUR by slot.

    People beyond the shifts are asked for only where a batch would lack or be late without.
    """
    batches = Counter(least_batches(problem) if counts is None else counts)
    left = batches - Counter(job.product for job in problem.jobs if job.facts and job.count)
    limited = copy(problem)
    limited.jobs = tuple(
        job if job.facts else replace(job, count=left[job.product]) for job in problem.jobs
    )
    soon = SOON_EUR * np.arange(len(problem.index))
    first = against - MAKE_EUR - soon  # a batch is short: soon from its begin to its end
    costs = np.array([first, *[0.01 * soon] * (len(problem.stages) - 2), 1.01 * soon])
    plan = _solved(Model(limited, start_costs=costs), source)
    if plan and Counter(plan.products) >= batches and not plan.stated_eur("late", "firm_late"):
        return plan
    return _solved(Model(limited, overtime=True, start_costs=costs), source)


def _solved(model: Model, source: PlanSource) -> Plan | None:
    result = model.solve(SIMPLE_LIMIT_S, SIMPLE_GAP)
    if result.x is None:
        return None
    plan = Plan(model, result.x, source)
    plan.complete = result.status == 0
    return plan


def least_batches(problem: Problem) -> Counter[str]:
    """Return by product how many batches the kilograms of each due instant need at least."""
    counts: Counter[str] = Counter()
    orders = problem.request.orders
    for product, due in {(order.product, order.due) for order in orders}:
        kg = sum(order.kg for order in orders if (order.product, order.due) == (product, due))
        counts[product] += math.ceil(kg / problem.plant.variants[product].batch_max_kg)
    return counts
