"""The tariff calendar against the published table, holidays and clock changes."""

from datetime import UTC, date, datetime, timedelta
from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest

from factory_lib.clock import MADRID
from factory_lib.domain import tariff
from factory_lib.settings import ROOT
from factory_lib.settings.tariff import ContractSettings, TariffSettings

# Circular CNMC 3/2020, peninsula, a working day: periods of the hours 0–8, 8–9, 9–14,
# 14–18, 18–22, 22–24.
SPANS = (8, 1, 5, 4, 4, 2)
SIX = {
    (1, 2, 7, 12): (6, 2, 1, 2, 1, 2),
    (3, 11): (6, 3, 2, 3, 2, 3),
    (6, 8, 9): (6, 4, 3, 4, 3, 4),
    (4, 5, 10): (6, 5, 4, 5, 4, 5),
}
SIX_BY_MONTH = {month: row for months, row in SIX.items() for month in months}
# One Wednesday of each month of 2026 that is no holiday.
WEDNESDAYS = {
    m: next(date(2026, m, d) for d in range(9, 16) if date(2026, m, d).weekday() == 2)
    for m in range(1, 13)
}
FIXED = {(1, 1), (1, 6), (5, 1), (8, 15), (10, 12), (11, 1), (12, 6), (12, 8), (12, 25)}


def local_hours(day: date, freq: str = "h") -> pd.DatetimeIndex:
    start, end = (
        datetime(d.year, d.month, d.day, tzinfo=MADRID) for d in (day, day + timedelta(days=1))
    )
    return pd.date_range(start, end, freq=freq, inclusive="left").tz_convert("UTC")


@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("access", ["3.0TD", "6.1TD"])
def test_six_periods_follow_the_published_table(month, access):
    expected = np.repeat(SIX_BY_MONTH[month], SPANS)
    assert tariff.periods(local_hours(WEDNESDAYS[month]), access).tolist() == expected.tolist()


@pytest.mark.parametrize("month", range(1, 13))
def test_three_periods_are_the_same_all_year(month):
    expected = [3] * 8 + [2] * 2 + [1] * 4 + [2] * 4 + [1] * 4 + [2] * 2
    assert tariff.periods(local_hours(WEDNESDAYS[month]), "2.0TD").tolist() == expected


@pytest.mark.parametrize(("access", "valley"), [("2.0TD", 3), ("3.0TD", 6), ("6.1TD", 6)])
@pytest.mark.parametrize(
    "day",
    [
        pytest.param(date(2026, 11, 14), id="Saturday"),
        pytest.param(date(2026, 11, 15), id="Sunday"),
        pytest.param(date(2026, 1, 6), id="Epiphany"),
        pytest.param(date(2025, 12, 8), id="national, a Monday"),
        pytest.param(date(2026, 10, 12), id="national day, a Monday"),
    ],
)
def test_weekends_and_holidays_are_valley_all_day(day, access, valley):
    assert set(tariff.periods(local_hours(day), access)) == {valley}


@pytest.mark.parametrize(
    "day",
    [
        pytest.param(date(2026, 4, 3), id="Good Friday moves"),
        pytest.param(date(2026, 11, 2), id="All Saints moved to Monday in some regions"),
        pytest.param(date(2026, 12, 7), id="Constitution Day moved to Monday in some regions"),
        pytest.param(date(2025, 2, 28), id="Andalusia's own day"),
    ],
)
def test_days_that_are_only_sometimes_free_are_working_days(day):
    assert len(set(tariff.periods(local_hours(day)))) == 3


@pytest.mark.parametrize("year", [2021, *range(2024, 2032)])
def test_the_holiday_rule_gives_the_same_nine_dates_every_year(year):
    assert {(d.month, d.day) for d in tariff.tariff_holidays(year)} == FIXED


def test_the_holiday_table_does_not_end_within_five_years():
    this_year = datetime.now(UTC).year
    for year in range(this_year, this_year + 6):
        assert {(d.month, d.day) for d in tariff.tariff_holidays(year)} == FIXED


@pytest.mark.parametrize(
    ("day", "slots"),
    [
        pytest.param(date(2026, 3, 29), 92, id="23 hours"),
        pytest.param(date(2026, 10, 25), 100, id="25 hours"),
        pytest.param(date(2026, 11, 18), 96, id="24 hours"),
    ],
)
def test_quarters_carry_the_period_of_their_hour(day, slots):
    quarters = local_hours(day, "15min")
    assert len(quarters) == slots
    hours = tariff.periods(quarters.floor("h"), "2.0TD")
    assert tariff.periods(quarters, "2.0TD").tolist() == hours.tolist()


def test_local_wall_time_decides_on_both_sides_of_the_clock_change():
    monday_after = local_hours(date(2026, 3, 30))
    monday_before = local_hours(date(2026, 3, 23))
    assert tariff.periods(monday_after).tolist() == tariff.periods(monday_before).tolist()
    assert (monday_before.hour[0], monday_after.hour[0]) == (23, 22)


def test_order_and_repetition_do_not_matter():
    index = local_hours(WEDNESDAYS[7])
    shuffled = index[::-1].append(index)
    numbers = tariff.periods(index)
    assert tariff.periods(shuffled).tolist() == [*numbers[::-1], *numbers]


def test_a_naive_index_is_refused():
    with pytest.raises(TypeError, match="naive"):
        tariff.periods(pd.date_range("2026-01-01", periods=3, freq="h"))


def test_nothing_in_nothing_out():
    assert tariff.periods(pd.DatetimeIndex([], tz="UTC")).tolist() == []


def test_labels_are_ordered_from_the_dearest():
    shown = tariff.labels(np.array([1, 6, 3], dtype=np.int8))
    assert list(shown) == ["P1", "P6", "P3"]
    assert shown.ordered


@pytest.mark.parametrize("three", [True, False])
@pytest.mark.parametrize("area", get_args(get_type_hints(TariffSettings)["area"]))
def test_every_area_has_a_period_for_each_hour_of_the_year(area: str, three: bool) -> None:
    table = tariff.period_table(area, three=three)
    assert (len(table.hours), len(table.peak), len(table.shoulder)) == (24, 12, 12)
    assert set(table.hours) == {"V", "S", "P"}
    assert (table.peak < table.shoulder).all()
    assert table.shoulder.max() == (2 if three else 5)
    assert pd.read_csv(tariff.CALENDAR)["source"].str.startswith("BOE-A-2020-1066").all()


@pytest.mark.parametrize(
    ("area", "wall", "expected"),
    [
        pytest.param("balearics", "2026-05-06 14:00", 2, id="May is dearer in the Balearics"),
        pytest.param("canaries", "2026-07-08 10:00", 3, id="nine o'clock in the Canaries"),
        pytest.param("canaries", "2026-07-08 11:00", 1, id="ten o'clock in the Canaries"),
        pytest.param("ceuta", "2026-01-14 22:00", 1, id="an hour later in Ceuta"),
        pytest.param("melilla", "2026-03-11 10:00", 4, id="March is cheap in Melilla"),
        pytest.param("melilla", "2026-03-14 10:00", 6, id="a Saturday"),
    ],
)
def test_areas_differ_in_seasons_and_hours(area: str, wall: str, expected: int) -> None:
    instant = pd.DatetimeIndex([wall]).tz_localize("Europe/Madrid").tz_convert("UTC")
    assert tariff.periods(instant, "3.0TD", area).tolist() == [expected]


def test_a_year_of_rates_begins_at_the_midnight_of_the_area() -> None:
    turn = pd.DatetimeIndex(["2025-12-31T23:30Z"])  # 2026 in Madrid, not yet in the Canaries
    by_area = {
        area: tariff.read_tariff(ROOT / "config" / "tariffs_es.csv", area=area)
        for area in ("peninsula", "canaries")
    }
    days = {area: tariff.local_dates(turn, of.zone) for area, of in by_area.items()}
    assert {area: str(day[0]) for area, day in days.items()} == {
        "peninsula": "2026-01-01",
        "canaries": "2025-12-31",
    }
    tolls = [
        tariff.all_in(turn, [0.0], of, ContractSettings())["toll_eur_mwh"].item()
        for of in by_area.values()
    ]
    assert tolls[0] != tolls[1]
