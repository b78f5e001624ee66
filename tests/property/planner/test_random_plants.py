"""Plans of random factories, checked by limit, by euro and against an independent optimum."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from factory_lib.planner.plan import SMALLEST_EUR
from factory_lib.planner.solve import solve
from tests.support.batches import batches, stages_of

STRESS = float(os.environ.get("FACTORY_STRESS", "1"))
CHUNKS = 6


def seeds(chunk: int, cases: int) -> range:
    """Return the seeds of one chunk: few tests with many cases."""
    each = max(1, int(cases * STRESS) // CHUNKS)
    return range(chunk * each, (chunk + 1) * each)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_hard_limit_is_kept_and_every_euro_is_right(chunk, world, checked):
    made = 0
    for seed in seeds(chunk, 24):
        plan = solve(world(seed), gap=0.02, time_limit_s=4)
        assert checked(plan) == pytest.approx(plan.costs.objective, abs=1e-4, rel=1e-6), (
            f"seed {seed}"
        )
        assert plan.bound_eur <= plan.costs.objective + 1e-4, f"seed {seed}"
        made += bool(batches(plan))
    assert made


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_plan_is_cheaper_than_the_gap_allows(chunk, world, checked, least):
    for seed in seeds(chunk, 12):
        request = world(1000 + seed, linear=True)
        plan = solve(request, gap=0.005, time_limit_s=20)
        best = least(request)
        assert checked(plan) == pytest.approx(plan.costs.objective, abs=1e-4, rel=1e-6), (
            f"seed {1000 + seed}"
        )
        allowed = 0.005 * max(abs(best), abs(plan.costs.objective), SMALLEST_EUR)
        assert best - 1e-3 <= plan.costs.objective <= best + allowed + 1e-3, (
            f"seed {1000 + seed}: {best}"
        )


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_planning_again_keeps_facts_numbers_and_frozen_starts(chunk, world, checked):
    for seed in seeds(chunk, 12):
        request = world(2000 + seed)
        first = solve(request, gap=0.02, time_limit_s=4)
        if not batches(first):
            continue
        rng = np.random.default_rng(seed)
        hours = int(rng.integers(1, 8))
        now = request.begin + timedelta(hours=hours)
        ends = first.stages.groupby("batch")["end"].max()
        finished = set(ends[ends <= now].index)
        left = [batch for batch in batches(first) if batch.number not in finished]
        begun = [batch for batch in left if min(batch.starts.values()) < now]
        again = replace(request, begin=now, previous=stages_of(*left), pins=())
        plan = solve(again, gap=0.02, time_limit_s=4)
        assert checked(plan) == pytest.approx(plan.costs.objective, abs=1e-4, rel=1e-6), (
            f"seed {2000 + seed}"
        )
        kept = {batch.number: batch for batch in batches(plan)}
        assert {batch.number for batch in begun} <= set(kept), (
            f"seed {2000 + seed}: a batch in progress is gone"
        )
        frozen = now + timedelta(hours=request.plant.replanning.freeze_h)
        for batch in left:
            soon = [at for at in batch.starts.values() if now <= at < frozen]
            if soon and batch.number in kept and not finished:
                assert set(soon) <= {at for one in batches(plan) for at in one.starts.values()}, (
                    f"seed {2000 + seed}"
                )


def test_no_schedule_is_cheaper_by_the_exact_excess_rule(tiny, checked, enumerated):
    overlaps = 0
    for seed in range(3000, 3000 + int(6 * STRESS)):
        request = tiny(seed)
        plan = solve(request, gap=0.001, time_limit_s=20)
        if len(batches(plan)) > 2:
            continue
        best = enumerated(request)
        assert checked(plan) == pytest.approx(plan.costs.objective, abs=1e-4)
        allowed = 0.001 * max(abs(best), SMALLEST_EUR)
        assert best - 1e-3 <= plan.costs.objective <= best + allowed + 1e-3, f"seed {seed}"
        overlaps += plan.costs.excess > 0
    assert overlaps
