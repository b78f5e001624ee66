"""What deserves a look: rooms that keep a stage from running, prices that stand out, and what the plan did about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S
from factory_lib.domain.plant import Bools, Floats, operators
from factory_lib.plan.problem import Problem
from factory_lib.plan.schedule import production_kw
from factory_lib.plan.solve import Plan, solve

SPIKE_SHARE = 0.95  # a slot is dear above this quantile of the window's own expected prices …
SPIKE_EUR_MWH = 20.0  # … and at least this far above their median
USUAL_DAYS = 28
LEAST_DAYS = 7  # of prices behind the window: fewer do not say what is usual
EXCEPTIONAL_EUR_MWH = (
    50.0  # beyond the 95th percentile of their working hours: an ordinary evening peak stays below
)


@dataclass(frozen=True)
class Watch:
    """One thing to watch: what ``kind`` it is, the UTC half-open spans, and what the plan runs there.

    For heat, ``stage`` is what the room forbids then and ``moved`` whether the cheapest
    plan would have run it there. Critical are the hours in which a batch that is in the
    stage would be lost. A spike stands out of its own window; an exceptional price also
    of the last ``USUAL_DAYS``. Index is an outdoor index that is poor for the month;
    who knows the months says so, with ``why``.
    """

    kind: str
    spans: tuple[tuple[pd.Timestamp, pd.Timestamp], ...]
    stage: str = ""
    moved: bool = False
    running_kwh: float = 0.0
    why: str = ""


def watch(plan: Plan) -> tuple[Watch, ...]:
    """Return what to watch in the plan's window; empty where nothing stands out."""
    problem = plan.problem
    ahead = np.arange(len(problem.index)) >= problem.now
    kwh = production_kw(problem, plan.schedule) * problem.slot_h
    found = []
    moved = _moved_by_the_room(plan)
    for s, stage in enumerate(problem.stages):
        inside = _inside(plan, s) & ahead
        if (lost := inside & problem.critical[s]).any():
            why = f"above {stage.room.temperature_critical_c:g} °C what is in it is lost"
            found.append(Watch("critical", spans(problem.stamps, lost), stage.name, why=why))
        lack = problem.hurdle["room"][s] * ahead
        if lack.any():
            running = float(inside[lack > 0].sum()) * stage.power_kw * problem.slot_h
            why = f"up to {_most(lack, problem.humid[s])} beyond the room's limits"
            item = Watch(
                "heat",
                spans(problem.stamps, lack > 0),
                stage.name,
                stage.name in moved,
                running,
                why,
            )
            found.append(item)
    price = problem.price
    exceptional, usual = _exceptional(problem)
    exceptional &= ahead
    if exceptional.any():
        most = price[exceptional].max()
        why = f"up to {most:.0f} EUR/MWh, 95 % of the working hours of {USUAL_DAYS} days were below {usual:.0f}"
        running = float(kwh[exceptional].sum())
        found.append(
            Watch("exceptional", spans(problem.stamps, exceptional), running_kwh=running, why=why)
        )
    # A plateau as long as the quantile's share equals it.
    top, margin = np.quantile(price[ahead], SPIKE_SHARE), np.median(price[ahead]) + SPIKE_EUR_MWH
    dear = ahead & (price >= top) & (price > margin) & ~exceptional
    if dear.any():
        why = f"up to {price[dear].max():.0f} EUR/MWh, the window's median is {np.median(price[ahead]):.0f}"
        found.append(
            Watch("spike", spans(problem.stamps, dear), running_kwh=float(kwh[dear].sum()), why=why)
        )
    return tuple(found)


def _inside(plan: Plan, s: int) -> Bools:
    """Return the slots in which a batch is in stage ``s``, running or held."""
    inside = np.zeros(len(plan.problem.index), dtype=bool)
    for batch in plan.schedule:
        end = batch.starts[s] + plan.problem.jobs[batch.job].duration[s]
        inside[batch.starts[s] : batch.starts[s + 1] if plan.problem.stages[s].hold_h else end] = (
            True
        )
    return inside


def _most(lack: Floats, humid: Bools) -> str:
    """Return the worst of what a room lacks, kelvin and percent each for itself."""
    worst = (
        (float(lack[~humid].max(initial=0.0)), "K"),
        (float(lack[humid].max(initial=0.0)), "%"),
    )
    return " and ".join(f"{most:.1f} {unit}" for most, unit in worst if most)


def _exceptional(problem: Problem) -> tuple[Bools, float]:
    """Return the slots whose expected price is far beyond the 95th percentile of the last weeks' working hours.

    And that percentile. Of all hours it would call an ordinary evening exceptional one
    day in twenty.
    """
    prices = problem.request.prices.select_dtypes("number")
    expected = (
        prices["p50"]
        if "p50" in prices
        else prices.drop(columns="toll_eur_mwh", errors="ignore").iloc[:, 0]
    )
    begin = problem.index[problem.now]
    behind = expected[
        (expected.index < begin) & (expected.index >= begin - pd.Timedelta(days=USUAL_DAYS))
    ].dropna()
    index = pd.DatetimeIndex(behind.index)
    behind = behind[operators(problem.plant, index, round(problem.slot_h * HOUR_S)) > 0]
    if behind.empty or begin - behind.index[0] < pd.Timedelta(days=LEAST_DAYS):
        return np.zeros(len(problem.index), dtype=bool), np.nan
    usual = float(behind.quantile(SPIKE_SHARE))
    ahead = expected.reindex(problem.index, method="ffill").to_numpy(dtype=float)
    return ahead > usual + EXCEPTIONAL_EUR_MWH, usual


def spans(stamps: pd.DatetimeIndex, mask: Bools) -> tuple[tuple[pd.Timestamp, pd.Timestamp], ...]:
    """Return the half-open spans of consecutive slots in which ``mask`` holds; ``stamps`` end one later."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return tuple((stamps[first], stamps[last]) for first, last in edges.reshape(-1, 2))


def _moved_by_the_room(plan: Plan) -> set[str]:
    """Return the stages that the cheapest plan would run in an unfit room if no room had limits."""
    problem = plan.problem
    if not plan.schedule or not problem.hurdle["room"].any():
        return set()
    free = solve(replace(problem.request, weather=None), gap=0.02, time_limit_s=10.0)
    return set(_in_unfit_rooms(problem, free))


def _in_unfit_rooms(problem: Problem, free: Plan) -> list[str]:
    return [
        stage.name
        for s, stage in enumerate(problem.stages)
        for batch in free.schedule
        if batch.starts[s] >= problem.now  # what runs already nobody can move
        and problem.hurdle["room"][s][
            batch.starts[s] : batch.starts[s] + problem.jobs[batch.job].duration[s]
        ].any()
    ]
