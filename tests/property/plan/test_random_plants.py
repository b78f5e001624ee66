"""Plans of random factories, checked promise by promise by code that shares nothing with the optimiser."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from factory_lib.plan.replan import from_now
from factory_lib.plan.request import Order, Pin, Request
from factory_lib.plan.solve import Plan, solve

STRESS = float(os.environ.get("FACTORY_STRESS", "1"))
CHUNKS = 12
CASES = int(300 * STRESS) // CHUNKS


def seeds(chunk: int) -> range:
    """Return the seeds of one chunk: few tests with many cases, so that a failing one still names its neighbourhood."""
    return range(chunk * CASES, (chunk + 1) * CASES)


def quick(request: Request) -> Plan:
    """Solve in a fraction of a second, which some cases leave by time-out; look longer where nothing was found."""
    plan = solve(request, gap=0.05, time_limit_s=0.06)
    return (
        plan
        if plan.schedule or plan.status != "time_out"
        else solve(request, gap=0.5, time_limit_s=30)
    )


@pytest.mark.parametrize("chunk", range(CHUNKS), ids=lambda n: f"chunk{n}")
def test_every_promise_is_kept(chunk, world, checker):
    solved = 0
    for seed in seeds(chunk):
        request = world(seed)
        plan = quick(request)
        if plan.status == "infeasible":
            continue
        check = checker(request)
        if plan.schedule:
            assert check.objective(plan.table()) == pytest.approx(plan.costs.objective, abs=1e-6), (
                f"seed {seed}"
            )
            assert plan.bound_eur <= plan.costs.objective + 1e-6
        for name, simple in plan.baselines.items():
            table = replace(plan, schedule=simple).table()
            assert plan.costs.objective <= check.objective(table) + 1e-6, f"seed {seed}, {name}"
            assert len(simple) == len(plan.schedule), f"seed {seed}, {name}"
        solved += 1
    assert solved > CASES / 3


@pytest.mark.parametrize("chunk", range(4), ids=lambda n: f"chunk{n}")
def test_planning_again_from_now_keeps_what_has_begun_and_what_is_pinned(chunk, world, checker):
    replanned = 0
    for seed in range(1000 + 7 * chunk, 1000 + 7 * chunk + 7):
        first = solve(world(seed), gap=0.05, time_limit_s=0.1)
        if not first.schedule:
            continue
        rng = np.random.default_rng(seed)
        table = first.table()
        span = table["end"].max() - table["start"].min()
        now = (table["start"].min() + span * float(rng.uniform(0.1, 0.9))).to_pydatetime()
        request = from_now(first, now)
        ahead = table[(table["start"] >= request.begin)]
        if len(ahead):
            chosen = ahead.iloc[int(rng.integers(len(ahead)))]
            request = replace(
                request,
                pins=(Pin(chosen["variant"], chosen["stage"], chosen["start"].to_pydatetime()),),
            )
        again = solve(request, gap=0.05, time_limit_s=0.1)
        assert again.status != "infeasible", f"seed {seed}: the first plan goes on"
        if again.schedule:
            cost = checker(request).objective(again.table())
            assert again.bound_eur <= cost + 1e-6, f"seed {seed}"
            assert cost == pytest.approx(again.costs.objective, abs=1e-6), f"seed {seed}"
            replanned += 1
    assert replanned >= 3


@pytest.mark.parametrize("seed", range(int(12 * STRESS)))
def test_no_schedule_is_cheaper_where_all_can_be_enumerated(seed, tiny, enumerated, checker):
    request = tiny(seed)
    least = enumerated(request)
    plan = solve(request, gap=0.0)
    if least is None:
        assert plan.status == "infeasible"
    else:
        assert plan.status == "solved"
        assert checker(request).objective(plan.table()) == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize(
    "asked", [[(60.0, 0.6)], [(145.0, 0.6)], [(90.0, 0.7), (60.0, 0.8)]], ids=str
)
def test_an_extra_order_is_finished_when_due(asked, world, checker):
    kept = 0
    for seed in range(2000, 2010):
        request = world(seed)
        orders = [
            Order("plain", kg, request.begin + (request.end - request.begin) * at)
            for kg, at in asked
        ]
        request = replace(request, orders=tuple(orders), pins=())
        plan = solve(request, gap=0.05, time_limit_s=0.1)
        if plan.schedule:
            cost = checker(request).objective(plan.table())
            assert plan.bound_eur <= cost + 1e-6, f"seed {seed}"
            kept += 1
    assert kept >= 3
