"""What the calendar says about local days and slots."""

import numpy as np
import pandas as pd
import pytest

from factory_lib.features.days import (
    day_calendar,
    holiday_flags,
    slot_calendar,
    weekdays,
)


def days(first: str, count: int) -> np.ndarray:
    return np.arange(np.datetime64(first, "D"), np.datetime64(first, "D") + count)


def test_weekdays_agree_with_the_standard_library_across_the_epoch():
    span = days("1969-12-20", 400)
    assert weekdays(span).tolist() == [day.weekday() for day in span.tolist()]


@pytest.mark.parametrize("year", range(2026, 2032))
def test_the_coming_years_have_holidays(year):
    dates = [f"{year}-01-01", f"{year}-05-01", f"{year}-10-12", f"{year}-12-25"]
    assert holiday_flags(np.array(dates, dtype="datetime64[D]")).all()


def test_good_friday_counts_although_its_date_moves():
    assert holiday_flags(
        np.array(["2024-03-29", "2025-04-18", "2025-03-29"], dtype="datetime64[D]")
    ).tolist() == [
        True,
        True,
        False,
    ]


def test_day_calendar_sees_neighbours_and_the_issue_day():
    column = day_calendar(days("2024-12-24", 4), lead=2)
    assert column["holiday"].tolist() == [0, 1, 0, 0]
    assert column["holiday_after"].tolist() == [1, 0, 0, 0]
    assert column["holiday_before"].tolist() == [0, 0, 1, 0]
    assert column["issue_day_holiday"].tolist() == [0, 0, 0, 1]
    assert sum(column[f"weekday_{n}"] for n in range(7)).tolist() == [1, 1, 1, 1]


def test_slots_are_described_in_local_terms():
    index = pd.DatetimeIndex(["2024-06-30T22:15Z", "2024-12-31T23:00Z"]).as_unit("s")
    frame = slot_calendar(index)
    assert frame["hour_local"].tolist() == [0.25, 0.0]
    assert frame["weekday"].tolist() == [0, 2]
    assert frame["holiday"].tolist() == [0, 1]


def test_naive_slots_are_refused():
    with pytest.raises(TypeError, match="naive"):
        slot_calendar(pd.DatetimeIndex(["2024-06-30T22:15"]))
