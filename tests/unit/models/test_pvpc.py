"""The tariff from the spot prices of its day."""

import numpy as np
import pandas as pd
import pytest

from factory_lib.clock import day_start
from factory_lib.features.days import DayMatrix, to_slots, weekdays
from factory_lib.features.pvpc import pvpc_from_spot
from factory_lib.models.price_forecast import FROM_SPOT, forecast_prices

DAYS = np.arange("2024-01-08", "2024-05-20", dtype="datetime64[D]")
TOLLS = np.where((np.arange(24) >= 10) & (np.arange(24) < 22), 90.0, 30.0)


def market() -> DayMatrix:
    rng = np.random.default_rng(6)
    level = 60 + np.cumsum(rng.normal(0, 6, len(DAYS)))
    return DayMatrix(DAYS, level[:, None] + rng.normal(0, 15, (len(DAYS), 24)))


def tariff(spot: DayMatrix) -> DayMatrix:
    mean = spot.grid.mean(axis=1, keepdims=True)
    tolls = np.where(weekdays(DAYS)[:, None] < 5, TOLLS, 20.0)
    return DayMatrix(DAYS, 1.1 * (spot.grid - mean) + 0.8 * mean + tolls)


def test_slopes_and_tolls_of_like_days_are_learnt():
    spot = market()
    day = len(DAYS) - 20
    made = pvpc_from_spot(tariff(spot), spot, day)
    # workdays and weekends; the first of May has the tolls of a weekend in the forecast
    usual = DAYS[day:] != np.datetime64("2024-05-01")
    error = np.abs(made - tariff(spot).grid[day:])[usual]
    assert error.mean() < 1.0


def test_no_tariff_of_the_day_or_later_is_used():
    spot = market()
    known = tariff(spot)
    later = DayMatrix(DAYS, known.grid.copy())
    later.grid[100:] = 1e4
    assert np.array_equal(pvpc_from_spot(known, spot, 100)[0], pvpc_from_spot(later, spot, 100)[0])
    assert not np.array_equal(
        pvpc_from_spot(known, spot, 100)[1], pvpc_from_spot(later, spot, 100)[1]
    )


@pytest.mark.parametrize("published", [True, False])
def test_it_serves_the_day_whose_spot_prices_are_published(published):
    spot = market()
    known = tariff(spot).until(DAYS[-2])
    prices, hours = (
        pd.concat(
            [to_slots(day, row) for day, row in zip(part.days.tolist(), part.grid, strict=True)]
        )
        for part in (known, spot if published else spot.until(DAYS[-2]))
    )
    index = pd.date_range(day_start(DAYS[-1].item()), periods=48, freq="h", unit="s")
    made = forecast_prices(prices, index, None, spot=hours).slots
    assert (made["tier"].iloc[:24] == (FROM_SPOT if published else "naive")).all()
    assert (made["tier"].iloc[24:] == "naive").all()
    if published:
        first = made.iloc[:24]
        assert first["p50"].to_numpy() == pytest.approx(tariff(spot).grid[-1], abs=4)
        assert (first["p10"] <= first["p50"]).all()
        assert (first["p90"] >= first["p50"]).all()
