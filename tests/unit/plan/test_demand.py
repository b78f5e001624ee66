"""What a week owes, day by day."""

from __future__ import annotations

from datetime import date, time

import pytest
from msgspec import structs

from factory_lib.plan.demand import batches, begin, by_day, can_finish
from factory_lib.settings.plant import Shift, WorksCalendar

MONDAY, SUNDAY = date(2026, 4, 20), date(2026, 4, 26)


def kilograms(plant, first, last):
    return [sum(of.values()) for of in by_day(plant, first, last).values()]


def test_a_plain_week_owes_its_thousand_kilograms_in_the_shape_of_its_days(plant):
    week = kilograms(plant, MONDAY, SUNDAY)
    assert sum(week) == pytest.approx(1000)
    assert week[0] == week[1] == week[2] == week[3] < week[4]
    assert week[5] == 100  # never below the smallest batch
    assert week[6] == 0


@pytest.mark.parametrize(
    "monday", [date(2024, 3, 25), date(2026, 4, 27), date(2026, 12, 21)], ids=str
)
def test_what_falls_on_a_closed_day_moves_within_the_week(plant, monday):
    week = by_day(plant, monday, date.fromordinal(monday.toordinal() + 6))
    assert sum(sum(of.values()) for of in week.values()) == pytest.approx(1000)
    assert all(can_finish(plant, "standard", day) for day, of in week.items() if of)


def test_a_part_of_a_week_owes_what_the_whole_week_laid_on_it(plant):
    assert (
        kilograms(plant, date(2024, 3, 26), date(2024, 3, 27))
        == kilograms(plant, date(2024, 3, 25), date(2024, 3, 31))[1:3]
    )


def test_a_week_without_an_able_day_keeps_its_demand_where_it_is(plant):
    idle = structs.replace(plant, shifts=(Shift("short", ("mon",), time(8), time(10), 2),))
    assert sum(kilograms(idle, MONDAY, SUNDAY)) == pytest.approx(1000)


def test_saturday_begins_the_afternoon_before_and_tuesday_does_not(plant):
    assert begin(plant, date(2026, 4, 25)).isoformat() == "2026-04-24T12:00:00+00:00"
    assert begin(plant, date(2026, 4, 21)).isoformat() == "2026-04-20T22:00:00+00:00"


def test_saturday_after_a_closed_friday_cannot_finish_a_batch(plant):
    closed = structs.replace(plant, calendar=WorksCalendar(closed=(date(2026, 4, 24),)))
    assert not can_finish(closed, "standard", date(2026, 4, 25))
    assert can_finish(plant, "standard", date(2026, 4, 25))


@pytest.mark.parametrize(("kg", "count"), [(0.0, 0), (1.0, 1), (250.0, 1), (250.5, 2)], ids=str)
def test_batches_are_the_fewest_that_hold_a_day(plant, kg, count):
    assert batches(plant, "standard", [kg]) == count
