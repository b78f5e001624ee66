"""Rolling origin: blocks, shapes, and that the future changes nothing."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from factory_lib.analysis.price_backtest import NEEDED_DAYS, backtest_prices, days_within
from factory_lib.errors import TooFewRows
from factory_lib.features.days import DayMatrix

FIRST, LAST = date(2024, 1, 20), date(2024, 2, 20)


def test_each_slot_of_each_day_is_forecast_once_per_lead(market, small):
    rows = backtest_prices(market, FIRST, LAST, config=small, leads=(1, 3))
    assert len(rows) == 2 * 32 * 24
    assert not rows.duplicated(["start", "lead"]).any()
    assert (
        rows[["p10", "p50", "p90", "day_before", "week_before", "standard"]].notna().all(axis=None)
    )
    assert set(rows["market_day"]) == {
        str(day) for day in np.arange(FIRST, date(2024, 2, 21), dtype="datetime64[D]")
    }


@pytest.mark.parametrize("lead", [1, 5])
def test_what_happens_later_changes_no_earlier_forecast(market, small, lead):
    """Prices from day D on are disturbed.

    Forecasts issued before D, for D - 1 + lead and earlier, must not move.
    """
    disturbed = market.grid.copy()
    since = market.row(date(2024, 2, 5))
    disturbed[since:] = np.random.default_rng(4).normal(500, 200, disturbed[since:].shape)
    tables = [
        backtest_prices(
            DayMatrix(market.days, grid), FIRST, LAST, config=small, leads=(lead,), refit_days=28
        )
        for grid in (market.grid, disturbed)
    ]
    last_safe = str(market.days[since - 1 + lead])
    before, after = (
        table[table["market_day"] <= last_safe].reset_index(drop=True) for table in tables
    )
    pd.testing.assert_frame_equal(before, after)
    assert not tables[0]["p50"].equals(tables[1]["p50"])


def test_quarters_share_the_hours_mean(market, small):
    quarters = DayMatrix(market.days, market.grid.repeat(4, axis=1))
    fine = backtest_prices(market, FIRST, FIRST, config=small, leads=(1,), quarters=quarters)
    coarse = backtest_prices(market, FIRST, FIRST, config=small, leads=(1,))
    assert len(fine) == 96
    assert fine["p50"].to_numpy().reshape(24, 4).mean(axis=1) == pytest.approx(
        coarse["p50"].to_numpy()
    )


def test_a_history_too_short_to_calibrate_on_is_refused(market, small):
    with pytest.raises(TooFewRows):
        backtest_prices(
            market, market.days[100].item(), market.days[110].item(), config=small, leads=(1,)
        )


def test_a_window_is_as_long_as_the_time_allows(market):
    assert days_within(market, 1e-6, 4, 56) == 7
    assert days_within(market, 1e6, 1, 56) == len(market.days) - NEEDED_DAYS


def test_another_phase_refits_on_other_days(market, small):
    first, second = (
        backtest_prices(market, FIRST, LAST, config=small, leads=(1,), phase=phase)
        for phase in (0.0, 0.5)
    )
    assert first["start"].equals(second["start"])
    assert not np.allclose(first["p50"], second["p50"])
