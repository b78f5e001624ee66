"""The room's air, the people present and the loads that always run."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib.clock import MADRID
from factory_lib.domain.plant import (
    auxiliary_kw,
    day_ends,
    is_open,
    local_days,
    operators,
    room,
)
from factory_lib.settings.plant import (
    Auxiliary,
    Demand,
    Plant,
    Power,
    RoomModel,
    Shift,
    Stage,
    Variant,
    WorksCalendar,
)

EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def plant(*shifts: Shift, **more) -> Plant:
    """Return the least plant around some shifts."""
    return Plant(
        name="least",
        stages=(Stage("mixing", "mixer", 30.0, 60),),
        machines={"mixer": 1},
        variants={"plain": Variant(100, 250)},
        shifts=shifts,
        demand=Demand(),
        power=Power(100.0),
        **more,
    )


def hours(begin: datetime, count: int) -> pd.DatetimeIndex:
    return pd.date_range(begin, periods=count, freq="h", unit="s", name="start")


@pytest.mark.parametrize(
    ("outdoor_c", "room_c"),
    [(20.0, 20.0), (34.0, 20.0), (40.0, 26.0), (-5.0, 20.0), (-8.0, 17.0)],
    ids=["mild", "cooling's reach", "beyond cooling", "heating's reach", "beyond heating"],
)
def test_the_room_keeps_its_set_point_as_far_as_the_plant_reaches(outdoor_c, room_c):
    weather = pd.DataFrame({"temperature_c": [outdoor_c], "humidity_pct": [30.0]})
    assert room(weather, RoomModel())["room_temperature_c"].iloc[0] == pytest.approx(room_c)


def test_the_room_is_dried_to_its_set_point_or_by_its_capacity_and_never_humidified():
    weather = pd.DataFrame(
        {"temperature_c": [20.0, 20.0, 20.0], "humidity_pct": [60.0, 95.0, 30.0]}
    )
    humidity = room(weather, RoomModel())["room_humidity_pct"].to_numpy()
    # Saturated air at 20 °C and 953 hPa holds 15.6 g/kg: 4 g/kg are some 25 points of
    # relative humidity.
    assert humidity == pytest.approx([45.0, 70.0, 30.0], abs=1.0)


def test_unknown_weather_is_an_unknown_room():
    weather = pd.DataFrame({"temperature_c": [np.nan, 20.0], "humidity_pct": [50.0, np.nan]})
    air = room(weather, RoomModel())
    assert air["room_humidity_pct"].isna().all()


@pytest.mark.parametrize(
    ("day", "open_"),
    [
        (date(2026, 2, 28), False),  # Andalusia's own day
        (date(2026, 1, 6), False),
        (date(2026, 3, 3), True),
        (date(2026, 8, 28), False),  # closed by the works
        (date(2026, 12, 8), True),  # a holiday that is worked
    ],
    ids=str,
)
def test_the_works_calendar_joins_public_holidays_and_its_own_days(day, open_):
    calendar = WorksCalendar(closed=(date(2026, 8, 28),), open=(date(2026, 12, 8),))
    assert is_open(calendar, day) is open_


def test_a_plant_in_portugal_closes_on_its_own_holidays():
    calendar = WorksCalendar(region="PT")
    assert not is_open(calendar, date(2026, 6, 10))
    assert is_open(calendar, date(2026, 10, 12))
    assert is_open(calendar, date(2026, 2, 28))


@pytest.mark.parametrize("year", range(2026, 2031))
def test_every_coming_year_has_its_fourteen_holidays(year):
    days = pd.date_range(f"{year}-01-01", f"{year}-12-31", freq="D")
    closed = sum(not is_open(WorksCalendar(), day.date()) for day in days)
    assert 12 <= closed <= 15


def test_a_night_shift_follows_the_wall_clock_through_both_clock_changes():
    night = plant(
        Shift("night", EVERY_DAY, time(22), time(6), 2),
        calendar=WorksCalendar(public_holidays=False),
    )
    spring = operators(night, hours(datetime(2026, 3, 28, 12, tzinfo=UTC), 24), 3600)
    autumn = operators(night, hours(datetime(2026, 10, 24, 12, tzinfo=UTC), 24), 3600)
    assert (spring > 0).sum() == 7
    assert (autumn > 0).sum() == 9


@pytest.mark.parametrize("zone", ["Europe/Lisbon", "Atlantic/Canary"])
@pytest.mark.parametrize(
    "change", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)]
)
def test_a_plant_keeps_the_clock_of_its_own_zone_through_both_clock_changes(zone, change):
    shift = Shift("night", EVERY_DAY, time(22), time(6), 2)
    always = WorksCalendar(public_holidays=False)
    index = hours(change - timedelta(hours=12), 36)
    local = index.tz_convert(zone).hour
    own = plant(shift, calendar=always, time_zone=zone)
    assert (operators(own, index, 3600) > 0).tolist() == ((local >= 22) | (local < 6)).tolist()
    assert (
        operators(own, index, 3600) != operators(plant(shift, calendar=always), index, 3600)
    ).any()
    assert local_days(index, own.zone)[0] == index[0].tz_convert(zone).date()
    assert index[day_ends(index, 3600, own.zone)[0]].tz_convert(zone).time() == time()


def test_a_shift_counts_only_where_it_covers_the_whole_slot():
    late = plant(
        Shift("late", EVERY_DAY, time(8, 30), time(12), 1),
        calendar=WorksCalendar(public_holidays=False),
    )
    assert operators(late, hours(datetime(2026, 7, 1, 5, tzinfo=UTC), 6), 3600).tolist() == [
        0,
        0,
        1,
        1,
        1,
        0,
    ]


def test_auxiliaries_use_the_energy_their_hours_say():
    loads = (
        Auxiliary("cooling", 5.0),
        Auxiliary("hvac", 8.0),
        Auxiliary("light", 2.0, time(6), time(22)),
        Auxiliary("air", 3.0, time(6), time(14)),
    )
    index = hours(datetime(2026, 7, 1, 22, tzinfo=UTC), 24)
    assert auxiliary_kw(plant(auxiliaries=loads), index).sum() == pytest.approx(368.0)


def test_days_end_at_local_midnight_whatever_their_length():
    index = hours(datetime(2026, 3, 27, 23, tzinfo=UTC), 71)
    days = [day.isoformat() for day in local_days(index, MADRID)]
    assert days == ["2026-03-28", "2026-03-29", "2026-03-30"]
    assert day_ends(index, 3600, MADRID).tolist() == [24, 47, 71]
