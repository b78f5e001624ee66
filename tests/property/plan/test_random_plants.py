"""Plans of random factories, checked promise by promise by code that shares nothing with the optimiser."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from factory_lib.plan.problem import Pin
from factory_lib.plan.replan import from_now
from factory_lib.plan.solve import Plan, solve

STRESS = float(os.environ.get("FACTORY_STRESS", "1"))
CHUNKS = 12
CASES = int(300 * STRESS) // CHUNKS


def seeds(chunk: int) -> range:
    """Return the seeds of one chunk: few tests with many cases, so that a failing one still names its neighbourhood."""
    return range(chunk * CASES, (chunk + 1) * CASES)


@pytest.mark.parametrize("chunk", range(CHUNKS), ids=lambda n: f"chunk{n}")
def test_every_promise_is_kept(chunk, world, checker):
    solved = 0
    for seed in seeds(chunk):
        request = world(seed)
        plan = solve(request, gap=0.02, time_limit_s=10)
        if plan.status == "infeasible":
            continue
        check = checker(request)
        assert check.violations(plan.table()) == [], f"seed {seed}"
        if plan.schedule:
            assert check.objective(plan.table()) == pytest.approx(plan.costs.objective, abs=1e-6), f"seed {seed}"
            assert plan.bound_eur <= plan.costs.objective + 1e-6
        for name, simple in plan.baselines.items():
            table = replace(plan, schedule=simple).table()
            assert check.violations(table) == [], f"seed {seed}, {name}"
            assert plan.costs.objective <= check.objective(table) + 1e-6, f"seed {seed}, {name}"
            assert len(simple) == len(plan.schedule), f"seed {seed}, {name}"
        solved += 1
    assert solved > CASES / 3
