"""A small made-up market, and a forecaster small enough to fit in a moment."""

import numpy as np
import pytest

from factory_lib.features.days import DayMatrix, weekdays
from factory_lib.models.forecasters import ForecasterConfig


@pytest.fixture(scope="module")
def market() -> DayMatrix:
    """300 days with a daily shape, cheaper weekends, a wandering level and noise."""
    rng = np.random.default_rng(11)
    days = np.datetime64("2023-05-01") + np.arange(300)
    level = 60 + np.cumsum(rng.normal(0, 2, 300))
    shape = 12 * np.sin(np.arange(24) / 24 * 4 * np.pi)
    weekend = np.where(weekdays(days) >= 5, -15.0, 0.0)
    return DayMatrix(days, level[:, None] + shape + weekend[:, None] + rng.normal(0, 3, (300, 24)))


@pytest.fixture(scope="module")
def small() -> ForecasterConfig:
    """One window and few trees."""
    return ForecasterConfig(lasso_windows_days=(200,), tree_window_days=200, tree_iterations=5)
