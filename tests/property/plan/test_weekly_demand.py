"""What a week owes is what was asked of it, however its days are shaped."""

from __future__ import annotations

from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_lib.plan.demand import by_day
from factory_lib.settings.plant import (
    WEEKDAYS,
    Demand,
    Plant,
    Power,
    Shift,
    Stage,
    Variant,
    WorksCalendar,
)

MONDAY = date(2026, 4, 20)
SMALLEST_KG = 100.0


def owed(weekly_kg, shape):
    """Return the kilograms of each day of a week without holidays."""
    days = dict(zip(WEEKDAYS, shape, strict=True))
    plant = Plant(
        "any",
        (Stage("cook", "pot", 30.0, 60),),
        {"pot": 1},
        {"plain": Variant(SMALLEST_KG, 250.0)},
        (Shift("day", WEEKDAYS, time(6), time(22), 2),),
        Demand({"plain": weekly_kg}, {"plain": days}, 0.05),
        Power(100.0, 0.1, 200.0),
        calendar=WorksCalendar(public_holidays=False),
    )
    return [
        of.get("plain", 0.0) for of in by_day(plant, MONDAY, MONDAY + timedelta(days=6)).values()
    ]


@given(
    st.floats(1.0, 3000.0),
    st.lists(st.sampled_from([0.0, 20.0, 100.0, 200.0, 250.0]), min_size=7, max_size=7).filter(any),
)
def test_a_week_owes_its_kilograms_and_no_day_less_than_a_batch(weekly_kg, shape):
    week = owed(weekly_kg, shape)
    assert sum(week) == pytest.approx(weekly_kg)
    if weekly_kg >= SMALLEST_KG:
        assert all(kg == 0 or kg >= SMALLEST_KG - 1e-6 for kg in week)
    else:
        assert sum(kg > 0 for kg in week) == 1


@pytest.mark.parametrize("weekly_kg", [300.0, 500.0, 700.0, 1000.0], ids=str)
def test_a_small_week_is_made_in_fewer_batches(weekly_kg):
    week = owed(weekly_kg, [200.0, 200.0, 200.0, 200.0, 250.0, 100.0, 0.0])
    assert sum(week) == pytest.approx(weekly_kg)
    assert sum(kg > 0 for kg in week) == min(6, weekly_kg // SMALLEST_KG)
