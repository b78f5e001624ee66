"""Which published day each naive forecast repeats."""

import numpy as np
import pytest

from factory_lib.features.days import DayMatrix
from factory_lib.models.evaluation import naive_forecasts

MONDAY = np.datetime64("2024-07-01")


def numbered(days: int = 21) -> DayMatrix:
    """Each day's price is its row number; the first is a Monday."""
    return DayMatrix(
        MONDAY + np.arange(days), np.repeat(np.arange(float(days))[:, None], 24, axis=1)
    )


@pytest.mark.parametrize(
    ("row", "repeats"),
    [(14, 7), (15, 14), (18, 17), (19, 12), (20, 13)],
    ids=["Monday", "Tuesday", "Friday", "Saturday", "Sunday"],
)
def test_the_standard_naive_repeats_last_week_around_the_weekend(row, repeats):
    assert naive_forecasts(numbered(), 1)["standard"][row, 0] == repeats


@pytest.mark.parametrize("lead", range(1, 8))
def test_at_every_lead_the_latest_day_is_the_issue_day(lead):
    forecasts = naive_forecasts(numbered(), lead)
    assert forecasts["day_before"][20, 0] == 20 - lead
    assert forecasts["week_before"][20, 0] == 13


def test_a_missing_day_is_replaced_by_the_one_before():
    prices = numbered()
    prices.grid[14] = np.nan
    assert naive_forecasts(prices, 1)["day_before"][15, 0] == 13


def test_the_simple_forecast_is_the_mean_of_three():
    prices = numbered(40)
    same_weekday = np.mean([39 - 7, 39 - 14, 39 - 21, 39 - 28])
    expected = np.mean([36, np.mean(np.arange(30, 37)), same_weekday])
    assert naive_forecasts(prices, 3)["simple"][39, 0] == pytest.approx(expected)
