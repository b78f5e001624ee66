"""What a slot may hold, and how a search narrows and proves."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from msgspec import structs

from factory_lib.plan.modes import modes_at, parts_of
from factory_lib.plan.problem import lay_out
from factory_lib.plan.program import Program
from factory_lib.plan.schedule import costs, starts_of
from factory_lib.plan.search import Search, gap_of
from factory_lib.plan.solve import solve
from factory_lib.plan.starts import around, coarse, startable


@pytest.fixture
def pressed(ask, plant):
    """Two batches a day under a contract below what two stages draw together."""
    power = structs.replace(plant.power, contracted_kw=80.0, limit_kw=115.0)
    demand = structs.replace(plant.demand, weekly_kg={"standard": 1900.0})
    return ask(date(2024, 3, 6), of=structs.replace(plant, power=power, demand=demand))


def test_modes_keep_to_machines_people_and_limit_and_cost_their_excess(pressed):
    problem = lay_out(pressed)
    parts = parts_of(problem)
    slot = int(np.flatnonzero(problem.people)[0])
    modes = modes_at(problem, slot, parts, np.ones(len(parts), dtype=bool))
    kw = modes.counts @ np.array([part.power_kw for part in parts]) + problem.base_kw[slot]
    assert kw.max() <= 115
    assert modes.excess_kw == pytest.approx(np.maximum(0, kw - 80))
    assert modes.counts.max() == 1
    assert (modes.counts @ np.array([part.operators for part in parts])).max() <= problem.people[
        slot
    ]


def test_too_many_combinations_leave_a_slot_to_its_plain_rows(pressed):
    crowded = structs.replace(pressed.plant, machines=dict.fromkeys(pressed.plant.machines, 9))
    problem = lay_out(replace(pressed, plant=crowded))
    parts = parts_of(problem)
    assert modes_at(problem, problem.now + 40, parts, np.ones(len(parts), dtype=bool)) is None


def test_modes_tighten_the_relaxation_and_move_no_optimum(pressed, monkeypatch):
    problem = lay_out(pressed)
    tight = Program(problem)
    monkeypatch.setattr(Program, "_modes", lambda self: None)
    plain = Program(problem)
    best = [program.solve(60.0, 1e-6).fun for program in (tight, plain)]
    assert best[0] == pytest.approx(best[1], rel=1e-5)
    for program in (tight, plain):
        program.rows.whole = [np.zeros_like(whole) for whole in program.rows.whole]
    assert tight.solve(60.0, 0.0).fun > plain.solve(60.0, 0.0).fun + 0.1


def test_a_search_that_is_cut_short_still_proves_what_it_says(pressed):
    problem = lay_out(pressed)
    least = solve(pressed, gap=1e-4).costs.objective
    for limit in (0.05, 0.5, 3.0):
        found = Search(problem, 0.02, time.perf_counter() + limit).run(())
        if found.best is not None:
            assert found.bound_eur <= least + 1e-4
            assert found.best_eur >= least - 1e-2


def test_nothing_below_the_gap_is_a_proof(pressed):
    problem = lay_out(pressed)
    plan = solve(pressed, gap=1e-4)
    search = Search(problem, 0.01, time.perf_counter() + 30)
    search._keep(plan.schedule)
    search._prove(Program(problem))
    assert gap_of(search.best_eur, search.bound_eur) <= 0.01 + 1e-9


def test_narrow_looks_keep_the_schedule_they_start_from(pressed):
    problem = lay_out(pressed)
    plan = solve(pressed)
    near = Program(problem, masks=around(problem, starts_of(problem, plan.schedule), 2))
    assert near.solve(10.0, 1e-4).fun <= costs(problem, plan.schedule).objective + 1e-6
    for narrow, wide in zip(coarse(problem, 60)[0], startable(problem)[0], strict=True):
        assert set(problem.index[narrow].minute) == {0}
        assert not (narrow & ~wide).any()
