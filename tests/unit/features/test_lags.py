"""Market days as a matrix, through clock changes, quarters and holes."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from factory_lib.clock import day_start
from factory_lib.features.days import (
    DayMatrix,
    day_matrix,
    known_mean,
    lag,
    to_slots,
    trailing_mean,
)


def slots(first: date, end: date, freq: str = "h") -> pd.DatetimeIndex:
    return pd.date_range(
        day_start(first), day_start(end), freq=freq, inclusive="left", unit="s", name="start"
    )


def ramp(index: pd.DatetimeIndex) -> pd.Series:
    return pd.Series(np.arange(len(index), dtype=float), index=index)


def test_an_ordinary_day_is_a_row_of_local_hours():
    matrix = day_matrix(ramp(slots(date(2024, 7, 1), date(2024, 7, 3))))
    assert matrix.days.tolist() == [date(2024, 7, 1), date(2024, 7, 2)]
    assert matrix.grid.tolist() == [list(range(24)), list(range(24, 48))]


def test_the_hour_left_out_in_spring_is_the_mean_of_its_neighbours():
    matrix = day_matrix(ramp(slots(date(2024, 3, 31), date(2024, 4, 1))))
    assert matrix.grid[0, :5].tolist() == [0, 1, 1.5, 2, 3]


def test_the_hour_repeated_in_autumn_is_the_mean_of_both():
    matrix = day_matrix(ramp(slots(date(2024, 10, 27), date(2024, 10, 28))))
    assert matrix.grid[0, :5].tolist() == [0, 1, 2.5, 4, 5]


@pytest.mark.parametrize(
    ("day", "count"),
    [(date(2024, 3, 31), 23), (date(2024, 7, 1), 24), (date(2024, 10, 27), 25)],
    ids=["spring", "ordinary", "autumn"],
)
@pytest.mark.parametrize("per_hour", [1, 4], ids=["hours", "quarters"])
def test_a_row_becomes_the_slots_that_the_day_really_has(day, count, per_hour):
    found = to_slots(day, np.arange(24.0 * per_hour))
    assert len(found) == count * per_hour
    assert found.index[0] == day_start(day)
    assert found.iloc[0] == 0
    assert found.iloc[-1] == 24 * per_hour - 1


def test_slots_of_an_autumn_day_say_the_repeated_hour_twice():
    assert to_slots(date(2024, 10, 27), np.arange(24.0)).iloc[1:5].tolist() == [1, 2, 2, 3]


def test_an_hour_is_the_mean_of_four_quarters_and_unknown_with_three():
    quarters = ramp(slots(date(2025, 10, 1), date(2025, 10, 2), "15min")).drop(
        day_start(date(2025, 10, 1))
    )
    grid = day_matrix(quarters).grid[0]
    assert np.isnan(grid[0])
    assert grid[1:4].tolist() == [5.5, 9.5, 13.5]


def test_hours_may_be_followed_by_quarters():
    hours, quarters = (
        slots(date(2025, 9, 30), date(2025, 10, 1)),
        slots(date(2025, 10, 1), date(2025, 10, 2), "15min"),
    )
    series = pd.concat([pd.Series(10.0, index=hours), pd.Series(20.0, index=quarters)])
    assert day_matrix(series).grid.tolist() == [[10.0] * 24, [20.0] * 24]
    fine = day_matrix(series, 900)
    assert fine.grid[0].reshape(24, 4)[:, 0].tolist() == [10.0] * 24
    assert np.isnan(fine.grid[0].reshape(24, 4)[:, 1:]).all()
    assert fine.grid[1].tolist() == [20.0] * 96


def test_a_missing_day_stays_unknown():
    index = slots(date(2024, 7, 1), date(2024, 7, 2)).append(
        slots(date(2024, 7, 3), date(2024, 7, 4))
    )
    grid = day_matrix(ramp(index)).grid
    assert np.isnan(grid[1]).all()
    assert np.isfinite(grid[[0, 2]]).all()


def test_a_matrix_can_be_asked_for_days_it_does_not_hold():
    matrix = DayMatrix(
        np.arange(np.datetime64("2024-07-01"), np.datetime64("2024-07-04")), np.ones((3, 24))
    )
    wider = matrix.spanning(date(2024, 6, 30), date(2024, 7, 5))
    assert wider.days.tolist()[::5] == [date(2024, 6, 30), date(2024, 7, 5)]
    assert np.isfinite(wider.grid[:, 0]).tolist() == [False, True, True, True, False, False]
    assert matrix.until(date(2024, 7, 2)).days.tolist() == [date(2024, 7, 1), date(2024, 7, 2)]


def test_lags_and_trailing_means_end_where_they_should():
    values = np.arange(6.0)[:, None]
    assert lag(values, 2)[2:, 0].tolist() == [0, 1, 2, 3]
    assert lag(values, 0)[:, 0].tolist() == values[:, 0].tolist()
    assert trailing_mean(values, 3, 1)[1:, 0].tolist() == [0, 0.5, 1, 2, 3]
    assert np.isnan(trailing_mean(values, 3, 1, at_least=3)[:3]).all()


def test_a_mean_over_what_is_known_ignores_holes_and_stays_unknown_without_any():
    mean = known_mean([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert mean[:2].tolist() == [2.0, 5.0]
    assert np.isnan(mean[2])
