"""What is demanded over many days: neither more nor less than the weeks add up to."""

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from factory_lib.clock import day_start, market_day
from factory_lib.context import RunContext
from factory_lib.planner.request import Order
from factory_lib.planning import daily, documents
from factory_lib.planning.overrides import add, parse
from tests.support.stored import store_observed
from tests.support.week import NOON

WEEKS = 6
DAY = timedelta(days=1)


def kept(
    ctx: RunContext, carried: dict[str, Any], kg: float, number: int
) -> documents.PlanDocument:
    """Return a plan of one batch, finished on the day that it is made."""
    begin = pd.Timestamp(ctx.as_of)
    times = {"start": begin + pd.Timedelta("1h"), "end": begin + pd.Timedelta("2h")}
    last = ctx.settings.plant.stages[-1]
    row = {"batch": number, "product": "standard", "kg": kg, "kw": 1.0, **times}
    row |= {"stage": last.name, "machine": last.machine}
    return documents.PlanDocument(
        made_at=ctx.as_of,
        begin=ctx.as_of,
        end=ctx.as_of + 7 * DAY,
        stages=documents._stages(pd.DataFrame, [row] if kg else []),
        **carried,
    )


def run(ctx, days: int, makes) -> tuple[list[documents.PlanDocument], list[float], list[float]]:
    """Plan each day, make ``makes(day, orders)`` kilograms; return plans, made and open kg."""
    plans: list[documents.PlanDocument] = []
    made, still = [], []
    for n in range(days):
        today = daily.replace(ctx, as_of=NOON + n * DAY)
        recent = [p for p in plans if p.made_at >= today.as_of - documents.MONTH]
        orders, carried = daily.demand(today, recent, today.as_of, daily.DAYS)
        kg = makes(n, orders, day_start(market_day(today.as_of) + DAY))
        plans.append(kept(today, carried, kg, n + 1))
        made.append(kg)
        still.append(sum(order.kg for order in orders))
    return plans, made, still


def due_by(orders: tuple[Order, ...], until) -> float:
    return sum(order.kg for order in orders if order.due <= until)


def test_a_plant_that_makes_each_days_kilograms_is_asked_for_the_same_every_week(ctx):
    _, made, _ = run(ctx, WEEKS * 7, lambda _, orders, tonight: due_by(orders, tonight))
    weeks = [sum(made[n : n + 7]) for n in range(5, WEEKS * 7 - 7, 7)]  # from a Monday
    assert weeks == pytest.approx([1000.0] * len(weeks))


def test_full_batches_made_ahead_are_counted_for_ever(ctx):
    def makes(_, orders, tonight):
        return 250.0 if due_by(orders, tonight) > 0 else 0.0

    _, made, _ = run(ctx, WEEKS * 7, makes)
    assert sum(made[5:]) == pytest.approx(1000 * (WEEKS * 7 - 5) / 7, abs=500)
    assert all(0 < sum(made[n : n + 7]) <= 1250 for n in range(0, WEEKS * 7 - 7, 7))


def test_a_backlog_that_was_made_up_for_takes_nothing_from_later_weeks(ctx):
    def makes(n, orders, tonight):
        return due_by(orders, tonight) if not 5 <= n < 12 else 0.0

    _, made, _ = run(ctx, WEEKS * 7, makes)
    assert made[12] >= 1000
    weeks = [sum(made[n : n + 7]) for n in range(19, WEEKS * 7 - 7, 7)]
    assert weeks == pytest.approx([1000.0] * len(weeks))


def test_what_stayed_open_for_two_weeks_is_dropped_once(ctx):
    def makes(n, orders, tonight):
        return due_by(orders, tonight) if not 5 <= n < 26 else 0.0

    _, made, still = run(ctx, WEEKS * 7, makes)
    assert max(still) <= 3100
    assert made[26] == pytest.approx(still[26] - (still[0] - made[0]), abs=500)
    weeks = [sum(made[n : n + 7]) for n in range(33, WEEKS * 7 - 7, 7)]
    assert weeks == pytest.approx([1000.0] * len(weeks))


def test_what_was_produced_counts_on_a_day_without_a_plan_too(ctx):
    ctx = daily.replace(ctx, as_of=NOON)
    plans = [kept(ctx, {"first_demand": NOON.date(), "surplus_kg": {}}, 250.0, 1)]
    (before, _), later = daily.demand(ctx, plans, NOON + 2 * DAY, 7), NOON + 4 * DAY
    store_observed(
        ctx,
        "produced_kg",
        pd.DatetimeIndex([day_start(NOON.date() + n * DAY) for n in (0, 1, 2)]).as_unit("s"),
        [200.0, 0.0, 300.0],
        place="site",
        source="production_file",
        at=later,
        step_s=86400,
    )
    after, _ = daily.demand(daily.replace(ctx, as_of=later), plans, NOON + 2 * DAY, 7)
    assert sum(o.kg for o in before) - sum(o.kg for o in after) == pytest.approx(-50.0)
    after, _ = daily.demand(daily.replace(ctx, as_of=later), plans, NOON + 3 * DAY, 6)
    assert sum(o.kg for o in before) - sum(o.kg for o in after) == pytest.approx(250.0)


def test_an_order_that_was_made_is_never_demanded_again(ctx):
    plant = ctx.settings.plant
    item = parse("order standard 200 2025-11-24T08:00", plant, NOON.date(), NOON)
    add(documents.plans_folder(ctx), [item], NOON)
    names = []

    def makes(n, orders, tonight):
        names.extend(order.name for order in orders if n > 5)
        return due_by(orders, tonight + (n == 3) * 2 * DAY)  # made on Saturday, due on Monday

    _, made, _ = run(ctx, WEEKS * 7, makes)
    assert "order 1" not in names
    weeks = [sum(made[n : n + 7]) for n in range(12, WEEKS * 7 - 7, 7)]
    assert weeks == pytest.approx([1000.0] * len(weeks))
