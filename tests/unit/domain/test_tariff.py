"""The tariff calendars against the published tables, holidays and clock changes."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest

from factory_lib.clock import MADRID
from factory_lib.domain import tariff
from factory_lib.settings import ROOT
from factory_lib.settings.tariff import PERIODS, ContractSettings, TariffSettings

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
    numbers = tariff.period_table(area, three=three).numbers
    assert numbers[..., :3, :].all()  # a holiday is asked for only where it is a kind of day
    assert len(np.unique(numbers[..., :3, :])) == (
        4 if area.startswith("portugal") else 3 if three else 6
    )


def test_the_tables_name_their_sources() -> None:
    spain, portugal = (
        pd.read_csv(tariff.CALENDARS / f"periods_{country}.csv") for country in ("es", "pt")
    )
    assert spain["source"].str.startswith("BOE-A-2020-1066").all()
    assert portugal["source"].str.contains("ERSE").all()
    assert spain["until"].isna().all()
    assert (portugal["until"] == "2027-03-31").all()


# ERSE, periods of mainland Portugal: begins of the periods of a day, as HH:MM and number.
WINTER_WORKING = "0000-3 0200-4 0600-3 0700-2 0930-1 1200-2 1830-1 2100-2"
WINTER_SATURDAY = "0000-3 0200-4 0600-3 0930-2 1300-3 1830-2 2200-3"
SUMMER_WORKING = "0000-3 0200-4 0600-3 0700-2 0915-1 1215-2"
SUMMER_SATURDAY = "0000-3 0200-4 0600-3 0900-2 1400-3 2000-2 2200-3"
SUNDAY = "0000-3 0200-4 0600-3"
WINTER_DAILY = "0000-3 0200-4 0600-3 0800-2 0900-1 1030-2 1800-1 2030-2 2200-3"
SUMMER_DAILY = "0000-3 0200-4 0600-3 0800-2 1030-1 1300-2 1930-1 2100-2 2200-3"


def begins(day: str, area: str) -> str:
    start = pd.Timestamp(day, tz="Europe/Lisbon")
    index = pd.date_range(start, start + pd.DateOffset(days=1), freq="15min", inclusive="left")
    numbers = pd.Series(tariff.periods(index.tz_convert("UTC"), area=area), index)
    changed = numbers[numbers.ne(numbers.shift())]
    return " ".join(f"{at:%H%M}-{number}" for at, number in changed.items())


@pytest.mark.parametrize(
    ("day", "cycle", "expected"),
    [
        pytest.param("2026-11-25", "weekly", WINTER_WORKING, id="winter, Wednesday"),
        pytest.param("2026-11-28", "weekly", WINTER_SATURDAY, id="winter, Saturday"),
        pytest.param("2026-11-29", "weekly", SUNDAY, id="winter, Sunday"),
        pytest.param("2026-07-01", "weekly", SUMMER_WORKING, id="summer, Wednesday"),
        pytest.param("2026-07-04", "weekly", SUMMER_SATURDAY, id="summer, Saturday"),
        pytest.param("2026-07-05", "weekly", SUNDAY, id="summer, Sunday"),
        pytest.param("2026-03-27", "weekly", WINTER_WORKING, id="last Friday of winter time"),
        pytest.param("2026-03-30", "weekly", SUMMER_WORKING, id="first Monday of summer time"),
        pytest.param("2026-12-08", "weekly", WINTER_WORKING, id="holidays left out"),
        pytest.param("2026-12-08", "weekly_holidays", SUNDAY, id="a holiday as a Sunday"),
        pytest.param("2026-06-04", "weekly_holidays", SUNDAY, id="Corpus Christi"),
        pytest.param("2026-04-25", "weekly_holidays", SUNDAY, id="a holiday on a Saturday"),
        pytest.param("2026-10-12", "weekly_holidays", SUMMER_WORKING, id="Spain's day"),
        pytest.param("2026-11-29", "daily", WINTER_DAILY, id="winter, by day"),
        pytest.param("2026-07-01", "daily", SUMMER_DAILY, id="summer, by day"),
    ],
)
def test_portugals_periods_are_those_of_the_regulator(day: str, cycle: str, expected: str) -> None:
    assert begins(day, f"portugal_{cycle}") == expected


def test_an_hour_of_two_periods_costs_the_mean_of_its_quarters() -> None:
    own = tariff.own_tariff({"P1": 40.0, "P2": 20.0}, "portugal_weekly")
    hours = pd.date_range("2026-07-01T07:00Z", periods=3, freq="h")  # 08:00 to 11:00 in Lisbon
    tolls = tariff.all_in(hours, [0.0] * 3, own, ContractSettings())["toll_eur_mwh"]
    assert tolls.tolist() == [20.0, 35.0, 40.0]


def test_what_is_not_known_of_a_tariff_is_said() -> None:
    own = tariff.own_tariff({}, "portugal_daily")
    days = np.array(["2027-03-31", "2027-04-01"], "datetime64[D]")
    (tolls,) = own.notes(days[:1])
    assert "contract.toll_eur_mwh" in tolls
    until, same = own.notes(days)
    assert "known until 2027-03-31" in until
    assert same == tolls
    published = tariff.read_tariff(ROOT / "config" / "tariffs_es.csv")
    assert published.notes(np.array(["2026-11-28"], "datetime64[D]")) == ()


def test_without_a_power_term_there_is_no_excess_and_no_cheaper_contract() -> None:
    own = tariff.own_tariff({"P1": 40.0}, "portugal_weekly")
    index = pd.date_range("2026-11-25", periods=96, freq="15min", tz="UTC")
    load = pd.Series(300.0, index)
    for kw in (40.0, 150.0):
        contract = ContractSettings(kw=dict.fromkeys(PERIODS, kw))
        prices = tariff.all_in(index, [50.0] * 96, own, contract)
        costs = tariff.bill(load, prices, contract, own).iloc[0]
        assert (costs["excess_eur"], costs["power_term_eur"]) == (0.0, 0.0)
        assert costs["toll_eur"] == pytest.approx(300 * 5 * 0.04)
        assert tariff.best_contract(load, contract, own) == contract


def test_a_later_version_of_a_calendar_holds_from_its_day_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(tariff.CALENDARS / "periods_pt.csv", dtype=str, keep_default_na=False)
    later = table.assign(since="2027-04-01", until="")
    later["hours"] = later["hours"].str.translate(str.maketrans("12", "21"))
    pd.concat([table, later]).to_csv(tmp_path / "periods_pt.csv", index=False)
    monkeypatch.setattr(tariff, "CALENDARS", tmp_path)
    tariff.period_table.cache_clear()
    try:
        noon = pd.DatetimeIndex(["2027-03-31T10:00Z", "2027-04-01T10:00Z"])
        assert tariff.periods(noon, area="portugal_weekly").tolist() == [1, 2]
        own = tariff.own_tariff({}, "portugal_weekly")
        assert len(own.notes(np.array(["2027-04-01"], "datetime64[D]"))) == 1
    finally:
        tariff.period_table.cache_clear()


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
    days = {area: tariff.local_dates(turn, tariff.zone_of(of.area)) for area, of in by_area.items()}
    assert {area: str(day[0]) for area, day in days.items()} == {
        "peninsula": "2026-01-01",
        "canaries": "2025-12-31",
    }
    tolls = [
        tariff.all_in(turn, [0.0], of, ContractSettings())["toll_eur_mwh"].item()
        for of in by_area.values()
    ]
    assert tolls[0] != tolls[1]
