"""What planning is worth: a rolling year of re-planned days against doing it simply and against perfect foresight.

Every strategy makes the same kilograms on the same shop floor, is re-planned for each
day from what it believes beforehand, and pays what was really charged. Market energy,
tolls if given and excess power are counted; loads that always run, capacity terms,
taxes and labour are the same for all and are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import day_start
from factory_lib.errors import BadInput
from factory_lib.plan import baselines, demand
from factory_lib.plan.problem import lay_out, on_grid, slot_of
from factory_lib.plan.replan import from_now
from factory_lib.plan.request import Request
from factory_lib.plan.schedule import Schedule, excess_kw, production_kw
from factory_lib.plan.solve import Plan, solve
from factory_lib.plan.starts import startable
from factory_lib.settings.plant import Plant

Believed = Callable[[date], pd.DataFrame]
"""Prices as believed when the plan of a local day is made; UTC index ``start``, from its lead-in to its end."""

Planner = Callable[[Request], Plan]

# Doing it simply: a plan is held against the first of these that fits. The fixed start
# is the best simple rule that does not look at tomorrow's prices.
REFERENCE = ("fixed start", "shift begin", "greedy")
WORTH_SAYING_EUR = 500.0  # a year's saving below this is said before anything else


def optimal(gap: float = 0.01, time_limit_s: float = 20.0) -> Planner:
    """Return a planner that solves to ``gap``."""
    return lambda request: solve(request, gap=gap, time_limit_s=time_limit_s)


def simple(name: str) -> Planner:
    """Return a planner that follows one baseline, the greedy one where that does not fit."""

    def plan(request: Request) -> Plan:
        problem = lay_out(request)
        laid: Schedule | None = None
        if problem.jobs:
            laid = baselines.BASELINES[name](problem) or baselines.greedy(problem)
            if laid is None:
                return solve(request)
        return Plan(problem, "solved", laid or (), {}, -np.inf, 0.0)

    return plan


@dataclass(frozen=True)
class Strategy:
    """Who plans, and what they believe."""

    name: str
    believed: Believed
    planner: Planner


def backtest(
    plant: Plant,
    actual: pd.DataFrame,
    strategy: Strategy,
    days: Iterable[date],
    *,
    weather: pd.DataFrame | None = None,
    early: bool = False,
) -> pd.DataFrame:
    """Re-plan each of the consecutive ``days`` and return what was paid.

    Parameters
    ----------
    early : bool
        Whether every day may begin at the lead-in of the day before, or only days that
        need it.
    actual : DataFrame
        What was really charged; UTC index ``start``, one price column (EUR/MWh),
        optional ``toll_eur_mwh``.

    Returns
    -------
    DataFrame
        One row a day: day, strategy, paid_eur, excess_eur (the part of it above the
        contract), energy_kwh, kg, starts (UTC of the day's first stages), status.

    Raises
    ------
    BadInput
        If a day has no plan: a year with a day dropped would be no comparison.
    """
    rows, plan = [], None
    for day in days:
        begin, end = demand.begin(plant, day, early=early), day_start(day + timedelta(days=1))
        owed = demand.by_day(plant, day, day)
        prices = strategy.believed(day)
        if plan is None:
            request = Request(plant, prices, weather, begin, end, owed)
        else:
            rest = from_now(plan, begin, prices=prices, end=end)
            late = {d: kg for d, kg in rest.kilograms.items() if sum(kg.values()) > 1e-6}
            request = replace(rest, kilograms={**late, **owed})
        plan = strategy.planner(request)
        if plan.status == "infeasible":
            raise BadInput(
                f"{strategy.name} has no plan for {day}: {'; '.join(map(str, plan.obstacles))}."
            )
        until = demand.begin(plant, day + timedelta(days=1), early=early)
        rows.append({"day": day, "strategy": strategy.name, **_carried_out(plan, actual, until)})
    return pd.DataFrame(rows)


def _carried_out(plan: Plan, actual: pd.DataFrame, until: datetime) -> dict[str, object]:
    """Return what the plan's window until the next planning really costs."""
    problem = plan.problem
    kw = production_kw(problem, plan.schedule)
    prices = (
        on_grid(actual.select_dtypes("number"), problem.index).sum(axis=1, skipna=False).to_numpy()
    )
    now = slice(problem.now, slot_of(problem.index, until))
    excess = (
        excess_kw(problem, kw)[now].sum() * problem.plant.power.excess_eur_kw * problem.slot_h * 4
    )
    fresh = [batch for batch in plan.schedule if problem.jobs[batch.job].fresh]
    return {
        "paid_eur": float((kw * prices)[now].sum()) * problem.slot_h / 1000 + float(excess),
        "excess_eur": float(excess),
        "energy_kwh": float(kw[now].sum()) * problem.slot_h,
        "kg": sum(batch.kg for batch in fresh),
        "starts": " ".join(f"{problem.index[batch.starts[0]]:%Y-%m-%dT%H:%MZ}" for batch in fresh),
        "status": plan.status,
    }


def shares(paid: pd.DataFrame, *, baseline: str, perfect: str = "perfect") -> dict[str, float]:
    """Return each strategy's share of the saving that perfect foresight makes over the baseline, by name.

    ``paid`` holds rows of :func:`backtest` of all strategies over the same days.
    """
    total = paid.groupby("strategy")["paid_eur"].sum()
    possible = total[baseline] - total[perfect]
    return {str(name): float((total[baseline] - cost) / possible) for name, cost in total.items()}


def by_start_hour(request: Request) -> pd.DataFrame:
    """Return what one batch of each variant costs by the slot its first stage begins in, everything else at its best.

    Columns: variant, start (UTC), cost_eur, cost_eur_kg (of the largest batch). Starts
    that lead nowhere are left out.
    """
    problem = lay_out(request)
    parts = []
    for j, job in enumerate(problem.jobs):
        if job.fresh:
            cost = baselines.cost_by_start(problem, j, startable(problem)[j])
            part = pd.DataFrame({"variant": job.variant, "start": problem.index, "cost_eur": cost})
            part["cost_eur_kg"] = part["cost_eur"] / job.max_kg
            parts.append(part[np.isfinite(part["cost_eur"])])
    columns = ["variant", "start", "cost_eur", "cost_eur_kg"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
