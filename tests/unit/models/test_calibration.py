"""Bands from trailing errors: what goes in, and that they cover."""

import numpy as np
import pytest

from factory_lib.errors import TooFewRows
from factory_lib.models.evaluation import band, error_quantiles, trailing_bands


def test_bands_of_steady_errors_cover_four_in_five():
    errors = np.random.default_rng(3).normal(0, 2, (400, 24))
    quantiles = trailing_bands(errors, 112, lead=1)
    low, _, high = band(np.zeros((288, 24)), quantiles, 1.0)
    inside = ((errors[112:] >= low) & (errors[112:] <= high)).mean()
    assert inside == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("lead", [1, 4])
def test_only_errors_known_at_issue_go_in(lead):
    errors = np.random.default_rng(3).normal(0, 2, (60, 24))
    changed = errors.copy()
    changed[50 - lead + 1 :] = 1e6
    assert np.array_equal(trailing_bands(errors, 50, lead)[0], trailing_bands(changed, 50, lead)[0])
    changed[50 - lead] = 1e6
    assert not np.array_equal(
        trailing_bands(errors, 50, lead)[0], trailing_bands(changed, 50, lead)[0]
    )


def test_days_without_an_actual_are_left_out():
    errors = np.random.default_rng(3).normal(0, 2, (60, 24))
    holed = np.vstack([errors, np.full((5, 24), np.nan)])
    assert np.array_equal(error_quantiles(holed), error_quantiles(errors))


def test_an_hour_learns_from_its_neighbours_only():
    errors = np.zeros((40, 24))
    errors[:, 12] = 9.0
    assert np.flatnonzero(error_quantiles(errors)[2]).tolist() == [11, 12, 13]


def test_ends_never_cross_the_median():
    quantiles = np.array([[1.0], [2.0], [3.0]])
    assert band(np.array([10.0]), quantiles, 2.0)[:, 0].tolist() == [10.0, 10.0, 16.0]


def test_too_few_errors_are_said_so():
    with pytest.raises(TooFewRows, match="bands"):
        error_quantiles(np.zeros((27, 24)))


def test_a_storm_widens_the_band_within_days_most_on_its_side_and_calm_narrows_it_again():
    errors = np.random.default_rng(3).normal(0, 2, (300, 24))
    errors[150:170] += 15.0
    bands = trailing_bands(errors, 112, lead=1)
    calm = bands[150 - 112]
    stormy = bands[160 - 112]
    still = trailing_bands(np.vstack([errors[:150], errors[200:]]), 160, lead=1)[0]
    assert stormy[2].mean() > 1.5 * calm[2].mean()
    assert stormy[2].mean() > still[2].mean()
    assert stormy[2].mean() / calm[2].mean() > stormy[0].mean() / calm[0].mean()
    assert bands[-1, 2].mean() < bands[175 - 112, 2].mean()
