"""The order book that a weekly demand generates, and costs of single chains."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from msgspec import structs

from factory_lib.clock import day_start, market_day
from factory_lib.planner.problem import Problem
from factory_lib.planner.request import Outage, open_demand, weekly_orders
from factory_lib.planner.solve import fixed_start, shift_begin, solve
from factory_lib.settings.plant import Demand, WorksCalendar
from tests.support.batches import batches

MONDAY = date(2026, 3, 2)


def by_day(orders) -> dict[int, float]:
    return {(market_day(o.due) - MONDAY).days - 1: o.kg for o in orders}


def test_a_week_is_laid_on_its_preferred_days(plant):
    orders = weekly_orders(plant, MONDAY, MONDAY + timedelta(days=6))
    assert by_day(orders) == pytest.approx(
        {n: kg * 1000 / 1150 for n, kg in enumerate((200, 200, 200, 200, 250, 100))}
    )
    assert {order.latest for order in orders} == {day_start(MONDAY + timedelta(days=7))}


def test_kilograms_of_a_closed_day_go_into_the_batches_of_the_others(plant):
    closed = structs.replace(plant, calendar=WorksCalendar(closed=(MONDAY,)))
    orders = by_day(weekly_orders(closed, MONDAY, MONDAY + timedelta(days=6)))
    assert 0 not in orders
    assert sum(orders.values()) == pytest.approx(1000)
    assert max(orders.values()) <= 250 + 1e-6


def test_a_week_without_any_shift_keeps_its_kilograms(plant):
    closed = tuple(MONDAY + timedelta(days=n) for n in range(7))
    idle = structs.replace(plant, calendar=WorksCalendar(closed=closed))
    orders = weekly_orders(idle, MONDAY, MONDAY + timedelta(days=6))
    assert sum(order.kg for order in orders) == pytest.approx(1000)


def test_parts_of_weeks_are_parts_of_their_orders(plant):
    whole = weekly_orders(plant, MONDAY, MONDAY + timedelta(days=13))
    part = weekly_orders(plant, MONDAY + timedelta(days=3), MONDAY + timedelta(days=9))
    assert set(part) <= set(whole)
    assert len(part) == 6


def test_no_demand_is_no_order(plant):
    assert weekly_orders(structs.replace(plant, demand=Demand()), MONDAY, MONDAY) == ()


def test_what_is_made_serves_the_earliest_order_first(plant):
    orders = weekly_orders(plant, MONDAY, MONDAY + timedelta(days=6))
    rest = open_demand(orders, {"standard": orders[0].kg + 50})
    assert [order.name for order in rest] == [order.name for order in orders[1:]]
    assert rest[0].kg == pytest.approx(orders[1].kg - 50)


def test_the_cheapest_chain_is_what_one_batch_costs(ask):
    request = ask(orders=(replace(ask().orders[4], kg=250.0, eur_kg_day=0.0),))
    plan = solve(request, gap=0.0)
    problem = Problem(request)
    cost = problem.chain_eur(0, problem.startable()[0])
    assert cost.min() == pytest.approx(plan.costs.objective, abs=1e-6)
    assert int(np.argmin(cost)) == plan.starts[0, 0]


def test_simple_schedules_make_the_same_kilograms(ask):
    plan = solve(ask())
    full = shift_begin(plan.problem, {"standard": len(batches(plan))})
    fixed = fixed_start(plan.problem)
    assert plan.kg.sum() == pytest.approx(full.kg.sum()) == pytest.approx(fixed.kg.sum())
    assert len(full.jobs) == len(batches(plan))
    local = plan.problem.index.tz_convert("Europe/Madrid")
    hours = Counter(local[slots[0]].hour for slots in fixed.starts)
    assert hours.most_common(1)[0][1] >= len(fixed.jobs) - 2


def test_no_fixed_start_is_laid_where_no_batch_can_begin(ask):
    begin = day_start(MONDAY)
    problem = Problem(ask(outages=(Outage("mixer", begin, begin + timedelta(days=7)),)))
    assert fixed_start(problem) is None
    assert not len(shift_begin(problem).jobs)
