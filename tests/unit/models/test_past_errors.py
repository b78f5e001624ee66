"""Errors of past forecasts on the hours ahead."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from factory_lib.features.days import DayMatrix
from factory_lib.models.price_forecast import SCENARIO_DAYS, forecast_prices, past_errors

DAYS = np.arange("2025-01-01", "2025-06-10", dtype="datetime64[D]")
INDEX = pd.date_range("2025-06-09T22:00Z", periods=72, freq="h", unit="s")  # from the day after


# Errors that say where they are from: 1000 leads, days before the end, and the hour.
DAYS_BACK = np.arange(112)[::-1, None]
ERRORS = {lead: 1000.0 * lead - DAYS_BACK + np.arange(24) / 100 for lead in range(1, 8)}


def test_a_scenario_holds_the_errors_of_one_issue_at_their_lead_and_hour():
    flat = DayMatrix(DAYS, np.full((len(DAYS), 24), 10.0))
    errors = past_errors(flat, INDEX, SimpleNamespace(errors_=ERRORS))
    spread = 0.15 * 10 + 1  # of flat prices: a share of the level, and a euro
    assert errors.shape == (SCENARIO_DAYS, 72)
    newest = errors[-1] / spread
    # the last issue whose seven days are all over is a week before the end
    assert newest[0] == pytest.approx(1000 - 6)
    assert newest[24 + 5] == pytest.approx(2000 - 5 + 0.05)
    assert newest[48 + 23] == pytest.approx(3000 - 4 + 0.23)
    assert errors[-2, 0] / spread == pytest.approx(1000 - 7)


def test_without_a_champion_they_are_differences_to_the_week_before():
    level = 10.0 + np.arange(len(DAYS)) // 7
    errors = past_errors(DayMatrix(DAYS, np.repeat(level[:, None], 24, axis=1)), INDEX, None)
    assert errors.shape == (SCENARIO_DAYS, 72)
    assert errors == pytest.approx(1.0)


def test_published_hours_have_no_error_and_no_history_has_one_scenario():
    index = pd.date_range("2025-01-01", "2025-06-12", freq="h", tz="Europe/Madrid")
    prices = pd.Series(np.arange(len(index)) / 10.0, index.tz_convert("UTC").as_unit("s"))
    published = prices[: INDEX[11]]
    forecast = forecast_prices(published, INDEX, None)
    assert (forecast.errors[:, :12] == 0).all()
    assert (forecast.errors[:, 12:] > 0).all()
    nothing = forecast_prices(published * np.nan, INDEX, None)
    assert (nothing.errors == np.zeros((1, 72))).all()


@pytest.mark.parametrize("days", [1, 3, 6, 7, 8, 10, 20])
def test_the_first_days_of_a_site_are_no_obstacle(days: int) -> None:
    first = DayMatrix(DAYS[-days:], np.full((days, 24), 10.0))
    errors = past_errors(first, INDEX, None)
    assert errors.shape[1] == len(INDEX)
    assert (errors == 0.0).all()
