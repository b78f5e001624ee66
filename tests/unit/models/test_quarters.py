"""Hours into quarters."""

import numpy as np
import pytest

from factory_lib.models.evaluation import in_quarters, quarter_factors

RAMP = np.arange(24.0)[None, :] * 10


def quarters_of(hourly: np.ndarray, lean: float) -> np.ndarray:
    steps = lean * (np.arange(4) - 1.5)
    return (hourly[:, :, None] + steps).reshape(len(hourly), 96)


def test_hourly_means_stay_what_they_were():
    rng = np.random.default_rng(2)
    hourly = rng.normal(50, 30, (5, 24))
    factors = quarter_factors(rng.normal(50, 30, (28, 96)))
    assert in_quarters(hourly, factors).reshape(5, 24, 4).mean(axis=2) == pytest.approx(hourly)


def test_without_history_the_line_between_the_hours_is_straight():
    fine = in_quarters(RAMP, quarter_factors(np.empty((0, 96))))[0]
    assert np.diff(fine)[4:-5] == pytest.approx(2.5)


def test_a_steeper_lean_is_learnt():
    known = quarters_of(np.repeat(RAMP, 28, axis=0), lean=5.0)
    fine = in_quarters(RAMP, quarter_factors(known))[0].reshape(24, 4)
    assert 4.0 < np.diff(fine[12]).mean() < 5.0


def test_days_with_holes_teach_nothing():
    known = quarters_of(np.repeat(RAMP, 28, axis=0), lean=5.0)
    known[:, 40] = np.nan
    assert np.array_equal(quarter_factors(known), quarter_factors(np.empty((0, 96))))
