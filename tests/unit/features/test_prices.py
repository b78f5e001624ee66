"""Price features: names, normalisation, holes, and the shapes models take."""

import numpy as np
import pandas as pd
import pytest

from factory_lib.errors import BadInput
from factory_lib.features.days import DayMatrix
from factory_lib.features.prices import (
    ahead_name,
    operator_days,
    price_features,
    supply_curve,
)


def matrix(days: int = 90, *, scale: float = 1.0, shift: float = 0.0) -> DayMatrix:
    rng = np.random.default_rng(7)
    grid = 50 + 15 * np.sin(np.arange(24) / 24 * 2 * np.pi) + rng.normal(0, 8, (days, 24))
    return DayMatrix(np.datetime64("2024-01-01") + np.arange(days), grid * scale + shift)


@pytest.mark.parametrize("lead", range(1, 8))
def test_names_and_shapes_belong_together(lead):
    prices = matrix()
    features = price_features(prices, lead, {"load_mw": matrix(scale=500)})
    assert features.hourly.shape == (90, len(features.hourly_names), 24)
    assert features.daily.shape == (90, len(features.daily_names))
    assert features.flat().shape == (
        90,
        24 * len(features.hourly_names) + len(features.daily_names),
    )
    assert features.pooled().shape[:2] == (90, 24)
    assert len({*features.hourly_names, *features.daily_names}) == len(
        features.hourly_names + features.daily_names
    )


def test_the_latest_day_comes_first_and_is_the_issue_day():
    prices = matrix()
    for lead in (1, 5):
        features = price_features(prices, lead)
        assert features.hourly_names[0] == f"lag_{lead}d"
        back = features.hourly[:, 0] * features.spread[:, None] + features.level[:, None]
        assert back[60:] == pytest.approx(prices.grid[60 - lead : -lead])


def test_a_market_ten_times_as_dear_has_the_same_shapes():
    cheap, dear = (price_features(matrix(scale=scale), 1) for scale in (20, 200))
    assert dear.hourly[40:] == pytest.approx(cheap.hourly[40:], abs=0.02)


def test_prices_of_a_row_are_moved_and_nothing_else():
    features = price_features(matrix(), 1, {"load_mw": matrix(scale=500)})
    moved = features.flat() - features.flat(features.latest)
    names = [name for name in features.hourly_names for _ in range(24)] + [*features.daily_names]
    is_price = np.array(["mw" not in name and ("lag" in name or "mean" in name) for name in names])
    assert moved[60] == pytest.approx(np.where(is_price, features.latest[60], 0.0))
    assert features.in_eur_mwh(features.latest)[60, 0] == pytest.approx(matrix().grid[59].mean())


def test_zero_and_negative_prices_are_ordinary():
    features = price_features(matrix(scale=0.0, shift=-3.0), 1)
    assert np.isfinite(features.hourly[40:]).all()
    assert (features.spread[40:] > 0).all()


def test_a_missing_day_is_unknown_and_breaks_nothing_else():
    prices = matrix()
    prices.grid[70] = np.nan
    features = price_features(prices, 1)
    assert np.isnan(features.hourly[71, 0]).all()
    assert np.isfinite(features.level[71])


@pytest.mark.parametrize("lead", [0, 8])
def test_a_lead_outside_the_week_is_refused(lead):
    with pytest.raises(BadInput, match="lead"):
        price_features(matrix(), lead)


def test_the_order_in_which_the_operators_forecasts_come_changes_no_column():
    prices = matrix()
    parts = {"wind_mw": prices, "load_mw": DayMatrix(prices.days, prices.grid[::-1])}
    one, other = (
        price_features(prices, 1, dict(order)) for order in (parts.items(), reversed(parts.items()))
    )
    assert one.hourly_names == other.hourly_names
    np.testing.assert_array_equal(one.flat(), other.flat())


def test_the_supply_curve_finds_the_price_of_a_load_whatever_the_hour_it_had():
    load = np.random.default_rng(1).uniform(5e3, 25e3, (60, 24))
    prices = load / 200
    for lead in (1, 3):
        curve = supply_curve(prices, load, load, lead)
        assert np.abs(curve - prices)[30:].mean() < 4.0
        assert np.isnan(curve[:lead]).all()
    assert np.isnan(supply_curve(prices, load, np.full_like(load, np.nan), 1)).all()


def test_the_supply_curve_follows_the_latest_level():
    load = np.random.default_rng(1).uniform(5e3, 25e3, (60, 24))
    prices = np.where(np.arange(60)[:, None] < 40, load / 200, load / 200 + 50)
    curve = supply_curve(prices, load, load, 1)
    assert np.abs(curve - prices)[52:].mean() < 15.0


def test_a_forecast_of_the_target_day_serves_its_own_lead():
    prices, load = matrix(), matrix(scale=500)
    ahead = DayMatrix(load.days, load.grid + 1000)
    inputs = {"residual_load_mw": load, ahead_name("residual_load_mw", 3): ahead}
    with_it, other = (price_features(prices, lead, inputs) for lead in (3, 4))
    latest = with_it.hourly_names.index("residual_load_mw_latest")
    assert np.array_equal(with_it.hourly[:, latest], ahead.grid)
    assert np.isfinite(with_it.curve[40:]).all()
    assert np.isnan(other.curve).all()


def test_missing_hours_and_days_of_the_operator_are_filled_from_what_was_known_before():
    index = pd.date_range("2024-01-09T23:00Z", periods=10 * 24, freq="h", unit="s")
    hours = pd.Series(np.tile(np.arange(24.0), 10), index=index)
    parts = {"load_mw": hours + 100, "wind_mw": hours * 0, "solar_mw": hours.copy()}
    frame = pd.DataFrame(parts)
    frame.loc[index[30:32], "load_mw"] = np.nan
    frame.loc[index[72:96], "solar_mw"] = np.nan
    frame.loc[index[:24], "wind_mw"] = np.nan
    days = operator_days(frame)
    assert days["residual_load_mw"].grid[1:] == pytest.approx(100.0)
    assert np.isnan(days["residual_load_mw"].grid[0]).all()
    assert set(operator_days(frame, "pt")) == {"pt_residual_load_mw"}
