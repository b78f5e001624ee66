"""Price features: names, normalisation, holes, and the shapes models take."""

import numpy as np
import pytest

from factory_lib.errors import BadInput
from factory_lib.features.days import DayMatrix
from factory_lib.features.prices import price_features


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
