"""The indices at the values that their definitions fix."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib.domain import indices

ISSUE = datetime(2026, 6, 30, 10, tzinfo=UTC)


def prices(days: float, value: np.ndarray | float = 0.1, *, until: datetime = ISSUE) -> pd.Series:
    index = pd.date_range(until - timedelta(days=days), until, freq="h", inclusive="left")
    return pd.Series(value, index=index, dtype=float)


@pytest.mark.parametrize(
    ("price", "expected"),
    [(0.05, 0.0), (0.15, 50.0), (0.25, 100.0), (-0.5, 0.0), (9.0, 100.0), (np.nan, np.nan)],
)
def test_energy_cost_lies_between_the_band_ends(price, expected):
    assert indices.energy_cost_index(price, 0.05, 0.25) == pytest.approx(expected, nan_ok=True)


def test_energy_cost_of_a_flat_band_is_the_middle():
    assert indices.energy_cost_index([0.1, 0.3, np.nan], 0.1, 0.1) == pytest.approx(
        [50, 50, np.nan], nan_ok=True
    )


def test_energy_cost_works_where_the_whole_band_is_negative():
    assert indices.energy_cost_index([-0.04, -0.03, -0.02], -0.04, -0.02) == pytest.approx(
        [0, 50, 100]
    )


def test_the_band_needs_sixty_days_of_hours():
    assert np.isnan(indices.price_band(prices(60 - 1 / 24), ISSUE).low_eur_kwh)
    assert indices.price_band(prices(60), ISSUE).low_eur_kwh == pytest.approx(0.1)
    soon = ISSUE + timedelta(microseconds=7)  # a clock shows fractions of a second
    assert indices.price_band(prices(60), soon) == indices.price_band(prices(60), ISSUE)


def test_the_band_looks_at_ninety_days_and_not_at_the_future():
    calm = prices(90, np.linspace(0.0, 0.1, 90 * 24))
    before = prices(10, 5.0, until=ISSUE - timedelta(days=90))
    after = prices(2, 7.0, until=ISSUE + timedelta(days=2))
    band = indices.price_band(pd.concat([before, calm, after]), ISSUE)
    assert (band.low_eur_kwh, band.high_eur_kwh) == pytest.approx((0.005, 0.095))


@pytest.mark.parametrize(
    ("temperature", "expected"), [(21, 100), (26, 50), (16, 50), (31, 0), (45, 0), (-5, 0)]
)
def test_temperature_comfort(temperature, expected):
    assert indices.temperature_comfort_index(temperature) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("humidity", "expected"), [(55, 0), (0, 100), (100, 100 * 45 / 55), (27.5, 50)]
)
def test_humidity_stress(humidity, expected):
    assert indices.humidity_stress_factor(humidity) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("temperature", "humidity", "expected"),
    [
        pytest.param(30.0, 100.0, 30.0, id="saturated air: the air's own temperature"),
        pytest.param(14.5, 20.0, 14.5, id="the formula's fixed point"),
        pytest.param(40.0, 20.0, 40.0 - 0.55 * 0.8 * 25.5, id="a dry summer afternoon"),
    ],
)
def test_discomfort_index_of_thom(temperature, humidity, expected):
    assert indices.discomfort_index(temperature, humidity) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(10, 0), (21, 0), (26.5, 50), (32, 100), (48, 100)]
)
def test_heat_stress_of_saturated_air(temperature, expected):
    assert indices.heat_stress_factor(temperature, 100.0) == pytest.approx(expected)


def test_production_index_and_score_by_hand():
    assert indices.chocolate_production_index(90, 40, 20) == pytest.approx(90 - 20 - 6)
    assert indices.energy_optimization_score(40, 90) == pytest.approx(0.7 * 60 + 0.3 * 90)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (100.0, "Optimal"),
        (75.0, "Optimal"),
        (74.999, "Moderate"),
        (50.0, "Moderate"),
        (49.999, "Reduced"),
        (25.0, "Reduced"),
        (24.999, "Halt Production"),
        (0.0, "Halt Production"),
    ],
)
def test_a_class_begins_at_its_limit(index, name):
    assert list(indices.outdoor_index_class(index)) == [name]


def test_an_unknown_index_has_no_class():
    shown = indices.outdoor_index_class([np.nan, 80.0])
    assert shown.isna().tolist() == [True, False]
    assert list(shown.categories) == ["Optimal", "Moderate", "Reduced", "Halt Production"]
