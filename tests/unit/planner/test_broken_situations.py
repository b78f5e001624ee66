"""Broken situations: each gets a plan, and the plan says what gave way."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.clock import MADRID, day_start
from factory_lib.errors import BadInput
from factory_lib.planner import solve as solver
from factory_lib.planner.problem import Problem
from factory_lib.planner.request import Order, Outage, Pin, with_peak_limit
from factory_lib.planner.solve import shift_begin, solve
from factory_lib.settings.plant import RoomLimits, WorksCalendar
from tests.support.batches import Batch, batches, stages_of

MONDAY = date(2026, 3, 2)
HOUR = timedelta(hours=1)
STAGES = ("mixing", "refining", "conching", "tempering", "moulding")


def at(day: int, hour: int) -> datetime:
    """An hour of the week's day, local time, as UTC."""
    return (day_start(MONDAY + timedelta(days=day)).astimezone(MADRID) + hour * HOUR).astimezone(
        day_start(MONDAY).tzinfo
    )


def kinds(plan) -> set[str]:
    return set(plan.gave_way["kind"])


def late_kg(plan) -> float:
    return plan.gave_way.query("kind == 'late'")["amount"].sum()


def total_kg(plan) -> float:
    return plan.kg.sum()


def test_a_conche_out_for_a_week_leaves_everything_late_and_says_how_much(ask):
    plan = solve(ask(outages=(Outage("conche", at(0, 0), at(7, 0)),)))
    assert not batches(plan)
    assert late_kg(plan) == pytest.approx(1000)
    assert plan.gave_way.query("kind == 'late'")["until"].isna().all()


def test_planned_maintenance_is_planned_around(ask):
    out = Outage("conche", at(1, 0), at(3, 0))
    plan = solve(ask(outages=(out,)))
    table = plan.stages
    busy = table[
        (table["machine"] == "conche") & (table["start"] < out.end) & (table["end"] > out.begin)
    ]
    assert busy.empty
    assert total_kg(plan) == pytest.approx(1000)
    assert "late" not in kinds(plan)


def test_a_mixer_out_until_friday_makes_what_is_left_of_the_week(ask):
    plan = solve(ask(outages=(Outage("mixer", at(0, 0), at(4, 10)),)))
    assert {"overtime"} <= kinds(plan)
    assert 0 < total_kg(plan) <= 1000 + 1e-6
    assert late_kg(plan) == pytest.approx(1000 - total_kg(plan), abs=1e-3)


def test_a_week_without_shifts_is_worked_in_overtime(ask, plant):
    closed = tuple(MONDAY + timedelta(days=n) for n in range(-1, 7))
    idle = structs.replace(plant, calendar=WorksCalendar(public_holidays=False, closed=closed))
    plan = solve(ask(plant=idle))
    hours = plan.gave_way.query("kind == 'overtime'")["amount"].sum()
    assert total_kg(plan) == pytest.approx(1000)
    assert hours == pytest.approx(17.0 + 0.0, abs=4.0)  # 4.25 h a batch, whole slots of an hour


def test_a_hot_room_is_paid_for_and_a_critical_one_is_never_used(ask, plant, prices):
    hour = np.asarray(prices.index.tz_convert(MADRID).hour)
    outdoors = np.where((hour >= 9) & (hour < 21), 44.0, 38.5)  # 30 °C and 24.5 °C in the room
    weather = pd.DataFrame({"temperature_c": outdoors, "humidity_pct": 15.0}, index=prices.index)
    plan = solve(ask(weather=weather))
    table = plan.stages
    temper = table[table["stage"] == "tempering"]
    assert "room_temperature" in kinds(plan)
    assert (temper["start"].dt.tz_convert(MADRID).dt.hour < 9).all()
    assert total_kg(plan) == pytest.approx(1000)


def test_a_room_critical_all_week_makes_nothing(ask, prices):
    weather = pd.DataFrame({"temperature_c": 50.0, "humidity_pct": 15.0}, index=prices.index)
    plan = solve(ask(weather=weather))
    assert not batches(plan)
    assert late_kg(plan) == pytest.approx(1000)


def test_more_than_the_machines_can_make_is_late_and_firm_orders_go_first(ask):
    orders = (
        Order("standard", 9000.0, at(5, 0), name="much"),
        Order("standard", 500.0, at(2, 0), firm=True, name="firm"),
    )
    plan = solve(ask(orders=orders), gap=0.02)
    assert "firm_late" not in kinds(plan)
    assert set(plan.gave_way.query("kind == 'late'")["subject"]) == {"much"}
    assert late_kg(plan) >= 9500 - total_kg(plan) > 0


def test_a_firm_order_that_cannot_be_made_in_time_says_until_when(ask):
    plan = solve(ask(orders=(Order("standard", 200.0, at(0, 8), firm=True, name="bakery"),)))
    (late,) = plan.gave_way.query("kind == 'firm_late'").itertuples()
    assert (late.subject, late.amount) == ("bakery", pytest.approx(200))
    done = plan.stages["end"].max()
    assert done <= late.until <= done + 9 * HOUR


def test_a_bakery_gets_its_chocolate_by_five(ask):
    plan = solve(ask(orders=(Order("standard", 200.0, at(2, 5), firm=True),)))
    assert plan.stages["end"].max() <= pd.Timestamp(at(2, 5))
    assert "firm_late" not in kinds(plan)


def test_a_batch_that_cannot_go_on_is_lost_and_made_again(ask, monkeypatch):
    laid = []
    monkeypatch.setattr(solver, "Problem", lambda request: laid.append(1) or Problem(request))
    begun = Batch(4, "standard", 250.0, {"mixing": at(0, 6), "refining": at(0, 7)})
    out = Outage("conche", at(0, 0), at(2, 0))
    plan = solve(ask(begin=at(0, 9), previous=stages_of(begun), outages=(out,)))
    (lost,) = plan.gave_way.query("kind == 'lost'").itertuples()
    assert (lost.subject, lost.amount) == ("standard 4", 250.0)
    assert len(laid) == 1, "the request is laid on its grid once"
    assert plan.gap <= 0.01
    assert 4 not in {batch.number for batch in batches(plan)}
    assert total_kg(plan) == pytest.approx(1000)


@pytest.mark.parametrize(
    ("machine", "hour", "lost"),
    [
        ("mixer", 6, True),
        ("refiner", 8, True),
        ("conche", 14, True),
        ("moulder", 19, True),  # the last stage
        ("mixer", 8, False),  # it is through
        ("temperer", 8, False),  # tempering waits
    ],
)
def test_a_machine_that_fails_takes_the_batch_in_it(ask, plant, machine, hour, lost):
    longer = tuple(
        structs.replace(stage, duration_min=max(stage.duration_min, 120)) for stage in plant.stages
    )
    slow = structs.replace(plant, stages=longer)
    chain = dict(zip(STAGES, (5, 7, 11, 16, 18), strict=True))
    starts = {name: at(0, h) for name, h in chain.items() if h < hour}
    batch = Batch(7, "standard", 250.0, starts)
    out = Outage(machine, at(0, hour), at(0, hour + 3))
    plan = solve(
        ask(days=2, plant=slow, begin=at(0, hour), previous=stages_of(batch), outages=(out,)),
        gap=0.05,
    )
    assert ("lost" in kinds(plan)) == lost
    assert (7 in {one.number for one in batches(plan)}) != lost
    table = plan.stages
    used = table[(table["machine"] == machine) & (table["end"] > pd.Timestamp(out.begin))]
    assert not (used["start"] < pd.Timestamp(out.end)).any()


def test_without_any_time_a_batch_in_progress_goes_on(ask, monkeypatch):
    monkeypatch.setattr(solver, "_as_before", lambda _: None)  # as where both run out of time
    rule = solver.shift_begin
    monkeypatch.setattr(
        solver, "shift_begin", lambda problem, counts=None: counts == {} and rule(problem, counts)
    )
    batch = Batch(7, "standard", 250.0, {"mixing": at(0, 6)})
    plan = solve(ask(days=2, begin=at(0, 7), previous=stages_of(batch)), time_limit_s=0.0)
    assert "lost" not in kinds(plan)
    assert [one.number for one in batches(plan)] == [7]
    assert solve(ask(days=2), time_limit_s=0.0).source == "nothing"


def test_a_lost_batch_leaves_its_number_to_no_other(ask):
    first = solve(ask())
    batch = batches(first)[0]
    starts = {name: t for name, t in batch.starts.items() if name in ("mixing", "refining")}
    begin = max(starts.values()) + HOUR
    out = Outage("conche", begin, begin + 48 * HOUR)
    plan = solve(ask(begin=begin, previous=first.stages, outages=(out,)))
    assert "lost" in kinds(plan)
    moved = plan.gave_way.query("kind in ('moved', 'frozen')")["begin"]
    assert not set(map(pd.Timestamp, batch.starts.values())) & set(moved)
    assert batch.number not in {one.number for one in batches(plan)}


def test_batches_in_each_others_way_are_given_up_one_by_one(ask):
    starts = {"mixing": at(0, 5), "refining": at(0, 6)}
    begun = [Batch(n, "standard", 200.0, starts) for n in (1, 2)]  # one conche, no wait
    plan = solve(ask(begin=at(0, 9), previous=stages_of(*begun)))
    assert plan.gave_way.query("kind == 'lost'")["subject"].tolist() == ["standard 2"]
    assert 1 in {batch.number for batch in batches(plan)}


def test_a_connection_too_small_for_the_largest_stage_makes_nothing(ask):
    plan = solve(with_peak_limit(ask(), 60.0))
    assert not batches(plan)
    assert late_kg(plan) == pytest.approx(1000)


def test_a_peak_limit_is_kept_by_the_whole_load(ask):
    plan = solve(with_peak_limit(ask(), 66.0))
    assert plan.power()["import_kw"].max() <= 66.0
    assert total_kg(plan) == pytest.approx(1000)


def test_a_pin_that_cannot_be_kept_is_named(ask):
    out = Outage("mixer", at(1, 5), at(1, 12))
    plan = solve(ask(pins=(Pin("standard", "mixing", at(1, 6)),), outages=(out,)))
    (pin,) = plan.gave_way.query("kind == 'pin'").itertuples()
    assert (pin.subject, pin.begin) == ("standard mixing", pd.Timestamp(at(1, 6)))


def test_a_pin_is_kept(ask):
    plan = solve(ask(pins=(Pin("standard", "mixing", at(1, 9)),)))
    assert at(1, 9) in {batch.starts["mixing"] for batch in batches(plan)}


def test_without_time_the_plan_before_goes_on(ask):
    first = solve(ask())
    again = solve(ask(previous=first.stages), time_limit_s=0.0)
    assert again.source == "previous"
    assert {b.number: b.starts for b in batches(again)} == {
        b.number: b.starts for b in batches(first)
    }


def test_without_time_and_a_plan_before_the_shifts_begin(ask):
    plan = solve(ask(), time_limit_s=0.0)
    local = [batch.starts["mixing"].astimezone(MADRID).hour for batch in batches(plan)]
    assert plan.source == "shift_begin"
    assert set(local) <= {6, 14}
    assert total_kg(plan) == pytest.approx(1000)
    assert plan.gap == np.inf


def test_nothing_to_make_is_a_plan(ask):
    plan = solve(ask(orders=()))
    assert (plan.source, plan.costs.objective) == ("solver", 0.0)
    assert plan.stages.empty


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"outages": (Outage("oven", at(0, 0), at(1, 0)),)}, "no machine 'oven'"),
        ({"orders": (Order("nougat", 100.0, at(3, 0)),)}, "no product 'nougat'"),
        ({"pins": (Pin("standard", "baking", at(1, 0)),)}, "no stage 'baking'"),
        (
            {"previous": stages_of(Batch(1, "standard", 100.0, {"refining": at(0, 0)}))},
            "not the plant's: its stages are mixing",
        ),
        ({"end": at(0, 0)}, "no window"),
    ],
)
def test_what_contradicts_the_plant_is_refused(ask, broken, words):
    with pytest.raises(BadInput, match=words):
        solve(ask(**broken))


def test_a_slot_without_a_price_is_refused(ask, prices):
    with pytest.raises(BadInput, match="3 of 168 slots of the window have no price"):
        solve(
            ask(
                prices=prices.drop(
                    prices.index[(prices.index >= at(1, 0)) & (prices.index < at(1, 3))]
                )
            )
        )


def test_replanning_keeps_numbers_and_moves_nothing_without_need(ask):
    first = solve(ask())
    again = solve(ask(previous=first.stages))
    assert {b.number: b.starts for b in batches(again)} == {
        b.number: b.starts for b in batches(first)
    }
    assert "moved" not in kinds(again)


def test_frozen_starts_stay_though_prices_change(ask, prices):
    first = solve(ask())
    soon = min(batch.starts["mixing"] for batch in batches(first))
    begin = soon - 3 * HOUR
    upside_down = prices.assign(price_eur_mwh=200 - prices["price_eur_mwh"])
    again = solve(ask(begin=begin, prices=upside_down, previous=first.stages))
    kept = {at for batch in batches(again) for at in batch.starts.values()}
    frozen = [t for b in batches(first) for t in b.starts.values() if t < begin + 12 * HOUR]
    assert set(frozen) <= kept
    assert "moved" in kinds(again)


def test_a_dropped_batch_keeps_its_number_from_being_used_again(ask):
    first = solve(ask())
    fewer = tuple(order for order in ask().orders if order.kg)[:2]
    again = solve(ask(orders=fewer, previous=first.stages))
    more = solve(ask(previous=again.stages, next_number=10))
    assert len(batches(again)) < len(batches(first))
    assert {b.number for b in batches(more)} - {b.number for b in batches(again)} == {10, 11}


def test_cleaning_keeps_two_products_apart(ask, plant):
    dirty = structs.replace(plant, cleaning_min={"conche": 180})
    orders = (Order("standard", 250.0, at(2, 0)), Order("premium", 250.0, at(2, 0)))
    table = solve(ask(days=3, plant=dirty, orders=orders)).stages
    conche = (
        table[table["machine"] == "conche"].groupby("product").agg({"start": "min", "end": "max"})
    )
    first, second = conche.sort_values("start").itertuples()
    assert second.start - first.end >= 3 * HOUR


def test_solar_power_moves_production_into_the_day(ask, plant, prices):
    sunny = pd.Series(0.0, index=prices.index, name="pv_kw")
    sunny[(prices.index.hour > 9) & (prices.index.hour < 16)] = 100.0
    dark, light = solve(ask()), solve(ask(pv_kw=sunny))
    inside = [
        pl.power()["production_kw"][sunny[pl.power().index] > 0].sum() for pl in (dark, light)
    ]
    assert inside[1] > inside[0]
    assert light.costs.paid < dark.costs.paid


def test_the_room_without_limits_costs_nothing(ask, plant, prices):
    free = structs.replace(
        plant, stages=tuple(structs.replace(stage, room=RoomLimits()) for stage in plant.stages)
    )
    weather = pd.DataFrame({"temperature_c": 50.0, "humidity_pct": 99.0}, index=prices.index)
    assert (
        solve(ask(plant=free, weather=weather)).stated_eur("room_temperature", "room_humidity") == 0
    )


def test_two_batches_at_least_a_day_are_fewer_than_the_plan_needs(ask):
    plan = solve(ask())
    simple = shift_begin(plan.problem)
    assert len(simple.jobs) == 6
    assert len(batches(plan)) < 6
