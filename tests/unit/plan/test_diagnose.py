"""Ten ways to ask for the impossible, and what the planner says is in the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from msgspec import structs

from factory_lib.plan.request import Order, Outage, Pin
from factory_lib.plan.solve import solve
from factory_lib.settings.plant import Auxiliary, Power, RoomLimits, Shift, Stage, Variant

BEGIN = datetime(2024, 3, 4, 13, tzinfo=UTC)
DAY = datetime(2024, 3, 5, tzinfo=UTC)
WEEK = ("mon", "tue", "wed", "thu", "fri")


def too_hot(ask, plant, mild):
    weather = mild.assign(temperature_c=37.5, humidity_pct=10.0)
    return ask(weather=weather)


def too_humid(ask, plant, mild):
    return ask(weather=mild.assign(temperature_c=24.0, humidity_pct=70.0))


def conche_out(ask, plant, mild):
    return ask(outages=(Outage("conche", datetime(2024, 3, 5, 20, tzinfo=UTC)),))


def limit_too_low(ask, plant, mild):
    return ask(of=structs.replace(plant, power=Power(50.0, 0.1, limit_kw=58.0)))


def pinned_at_night(ask, plant, mild):
    return ask(pins=(Pin("standard", "mixing", datetime(2024, 3, 5, 2, tzinfo=UTC)),))


def pinned_too_late(ask, plant, mild):
    return ask(pins=(Pin("standard", "mixing", datetime(2024, 3, 5, 17, tzinfo=UTC)),))


def nobody_there(ask, plant, mild):
    shift = Shift("short", WEEK, time(8), time(9, 30), 2)
    return ask(of=structs.replace(plant, shifts=(shift,)))


def no_patience(ask, plant, mild):
    stages = tuple(structs.replace(s, wait_min=0, hold_h=0.0, hold_kw=0.0) for s in plant.stages)
    shifts = (Shift("early", WEEK, time(6), time(8), 2), Shift("late", WEEK, time(17), time(20), 2))
    return ask(of=structs.replace(plant, stages=stages, shifts=shifts, lead_in=time(23)), begin=DAY)


def too_much(ask, plant, mild):
    return ask(kilograms={DAY.date(): {"standard": 2000.0}})


def order_too_soon(ask, plant, mild):
    return ask(kilograms={}, orders=(Order("standard", 200.0, BEGIN + timedelta(hours=11)),))


@pytest.mark.parametrize(
    ("case", "family", "low", "high"),
    [
        (too_hot, "room", 1.4, 1.6),
        (too_humid, "room", 1.0, 30.0),
        (conche_out, "machines", 1.0, 6.0),
        (limit_too_low, "power", 2.0, 10.0),
        (pinned_at_night, "pins", 1.0, 1.0),
        (pinned_too_late, "pins", 1.0, 1.0),
        (nobody_there, "operators", 0.25, 3.5),
        (no_patience, "waits", 0.25, 0.25),
        (too_much, "demand", 1000.0, 1750.0),
        (order_too_soon, "time", 8.0, 8.0),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_obstacle_is_named_with_the_smallest_change(case, family, low, high, ask, plant, mild):
    plan = solve(case(ask, plant, mild))
    assert plan.status == "infeasible"
    named = {obstacle.family: obstacle for obstacle in plan.obstacles}
    assert plan.obstacles[0].family == family
    assert low - 1e-6 <= named[family].amount <= high + 1e-6


def test_the_power_limit_is_raised_by_the_least_that_helps_even_for_longer(ask, plant):
    """By night two slots lack 6 kW each, at noon one lacks 11: fewer kilowatt-hours, but the higher limit."""
    loads = ((16.0, 0, 12), (21.0, 12, 13), (0.0, 13, 14), (30.0, 14, 0))
    tight = structs.replace(
        plant,
        stages=(Stage("heat", "oven", 30.0, 120), Stage("pack", "line", 10.0, 60, wait_min=600)),
        machines={"oven": 1, "line": 1},
        variants={"standard": Variant(100.0, 100.0)},
        shifts=(Shift("all day", WEEK, time(), time(), 1),),
        auxiliaries=tuple(
            Auxiliary(f"load {n}", kw, time(a), time(b)) for n, (kw, a, b) in enumerate(loads)
        ),
        power=Power(40.0, 0.1, limit_kw=40.0),
        slot_min=60,
    )
    request = ask(
        of=tight, begin=DAY - timedelta(hours=1), kilograms={DAY.date(): {"standard": 100.0}}
    )
    (obstacle,) = [one for one in solve(request).obstacles if one.family == "power"]
    assert obstacle.amount == pytest.approx(6.0)
    raised = structs.replace(tight, power=Power(46.0, 0.1, limit_kw=46.0))
    assert solve(replace(request, plant=raised)).status == "solved"


def test_the_room_is_widened_by_the_least_that_helps_even_for_longer(ask, plant, mild):
    """Early both hours are 1 K too warm, at noon one is 1.8: fewer kelvin-hours, but the wider limit."""
    warm = structs.replace(
        plant,
        stages=(
            Stage("temper", "oven", 30.0, 120, room=RoomLimits(temperature_max_c=22.0)),
            Stage("pack", "line", 10.0, 60, wait_min=600),
        ),
        machines={"oven": 1, "line": 1},
        variants={"standard": Variant(100.0, 100.0)},
        shifts=(Shift("all day", WEEK, time(), time(), 1),),
        slot_min=60,
    )
    outdoors = {2: 37.0, 3: 37.0, 12: 37.8, 13: 36.0}  # the room is cooled by at most 14 K
    weather = mild.assign(
        temperature_c=mild.index.hour.map(lambda hour: outdoors.get(hour, 50.0)), humidity_pct=10.0
    )
    request = ask(
        of=warm,
        weather=weather,
        begin=DAY - timedelta(hours=1),
        kilograms={DAY.date(): {"standard": 100.0}},
    )
    (obstacle,) = [one for one in solve(request).obstacles if one.family == "room"]
    assert obstacle.amount == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("case", "unit"), [(too_hot, "K"), (too_humid, "%")], ids=["too hot", "too humid"]
)
def test_a_room_is_out_of_its_limits_by_kelvin_or_percent(case, unit, ask, plant, mild):
    (obstacle,) = solve(case(ask, plant, mild)).obstacles
    assert obstacle.unit == unit
    assert f"{obstacle.amount:.1f} {unit}" in obstacle.detail


def test_what_only_helps_together_is_each_family_s_own_change_smallest_first(ask, plant, mild):
    hot = mild.assign(temperature_c=37.5, humidity_pct=10.0)
    low = structs.replace(plant, power=Power(50.0, 0.1, limit_kw=58.0))
    obstacles = solve(ask(of=low, weather=hot)).obstacles
    assert [obstacle.alone for obstacle in obstacles] == [False, False]
    assert [obstacle.family for obstacle in obstacles] == ["room", "power"]
    assert obstacles[1].amount == pytest.approx(3.0)
    assert obstacles[1].detail.startswith("limit ")


def test_a_wait_grows_by_the_least_that_helps_every_batch(ask, plant):
    """Two batches on two lines wait 2 h each for the packers to come at 16:00; 4 batch-hours are a wait of 2."""
    two = structs.replace(
        plant,
        stages=(
            Stage("heat", "oven", 10.0, 120, attended="always"),
            Stage("pack", "line", 10.0, 60, attended="always"),
        ),
        machines={"oven": 2, "line": 2},
        variants={"standard": Variant(100.0, 100.0)},
        shifts=(
            Shift("early", WEEK, time(12), time(14), 2),
            Shift("late", WEEK, time(16), time(17), 2),
        ),
        slot_min=60,
    )
    kilograms = {DAY.date(): {"standard": 200.0}}
    named = {
        one.family: one for one in solve(ask(of=two, begin=DAY, kilograms=kilograms)).obstacles
    }
    assert named["waits"].amount == pytest.approx(2.0)
    assert named["waits"].detail == "after heat"
