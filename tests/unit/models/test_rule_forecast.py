"""Score and recommendation to expect from forecasts and their errors."""

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib.domain import indices
from factory_lib.features import horizon
from factory_lib.features.horizon import HUMIDITY, PRICE, TEMPERATURE, VALUES
from factory_lib.features.weather import with_vapour
from factory_lib.models.rule_forecast import EXPECTATION_COLUMNS, expect, rolling_expectations
from factory_lib.models.weather_forecast import rolling_weather

BAND = np.array([0.02]), np.array([0.12])


def one(price: float, temperature: float, humidity: float) -> pd.DataFrame:
    return pd.DataFrame([(price, temperature, humidity)], columns=list(VALUES))


def test_without_error_the_expectation_is_the_rule():
    found = expect(one(45, 20, 50), np.zeros((40, 3)), *BAND).iloc[0]
    eci = indices.energy_cost_index(0.045, 0.02, 0.12)
    tci = indices.temperature_comfort_index(20)
    cpi = indices.chocolate_production_index(tci, eci, indices.humidity_stress_factor(50))
    assert found[["score", "score_p10", "score_p90"]].tolist() == pytest.approx(
        [float(indices.energy_optimization_score(eci, tci))] * 3
    )
    assert found["outdoor_index_class"] == next(iter(indices.outdoor_index_class(cpi)))
    assert found[f"p_{found['outdoor_index_class']}"] == 1


def test_probabilities_are_the_shares_of_what_may_come():
    errors = np.zeros((40, 3))
    errors[:10, 1] = 30.0  # one time in four it becomes far too hot
    found = expect(one(20, 21, 55), errors, *BAND).iloc[0]
    assert found["outdoor_index_class"] == "Optimal"
    assert (found["p_Optimal"], found["p_Halt Production"]) == (0.75, 0.25)
    assert found["score_p10"] == pytest.approx(70)
    assert found["score"] == pytest.approx(100)


def test_an_unknown_forecast_has_no_expectation():
    found = expect(one(np.nan, 21, 55), np.zeros((40, 3)), *BAND)
    assert found.isna().all().all()


@pytest.fixture(scope="module")
def spring() -> tuple[pd.DataFrame, horizon.AsOfView]:
    """150 days of made-up hours and two issues a day."""
    index = pd.date_range(
        datetime(2025, 1, 1, tzinfo=UTC), periods=150 * 24, freq="h", name="start"
    ).as_unit("s")
    draw, phase = np.random.default_rng(5), np.asarray(index.hour) / 24 * 2 * np.pi
    mild = np.repeat(pd.Series(draw.normal(0, 3, 150)).ewm(span=3).mean().to_numpy(), 24)
    hourly = pd.DataFrame(
        {
            PRICE: 60 + 20 * np.sin(phase) + draw.normal(0, 5, len(index)),
            TEMPERATURE: 18 + mild - 6 * np.cos(phase) + draw.normal(0, 0.4, len(index)),
            HUMIDITY: np.clip(55 + 20 * np.cos(phase) - mild, 5, 100),
        },
        index=index,
    )
    known = {name: lambda instant: instant - timedelta(hours=1) for name in VALUES}
    rows = horizon.horizon_rows(
        horizon.issue_times(date(2025, 2, 5), date(2025, 5, 20), [time(12)])
    )
    hours, known_until = with_vapour(hourly, known)
    return rows, horizon.AsOfView(hours, rows, known_until)


def test_weather_from_the_past_beats_the_same_hour_of_the_last_day(spring):
    rows, view = spring
    refits = pd.date_range("2025-04-20", "2025-05-20", freq="14D", tz="UTC")
    forecast = rolling_weather(view, rows, refits)
    late = (rows["issued_at"] >= refits[0]).to_numpy()
    assert forecast[~late].isna().all().all()
    actual, latest = view.actual(TEMPERATURE, view.target_s), view.same_hour(TEMPERATURE)[0]
    assert np.abs(forecast[TEMPERATURE] - actual)[late].mean() < 0.9 * np.nanmean(
        np.abs(latest - actual)[late]
    )
    assert forecast[HUMIDITY][late].between(0, 100).all()


def test_errors_come_from_before_the_refit_only(spring):
    rows, view = spring
    rows = rows.assign(group="noon")
    actual = pd.DataFrame(
        {name: view.actual(name, view.target_s) for name in VALUES}, index=rows.index
    )
    forecast = actual + 1.0
    refits = pd.DatetimeIndex(["2025-05-12T00:00Z"])
    band = np.full(len(rows), 0.03), np.full(len(rows), 0.09)
    first = rolling_expectations(rows, forecast, actual, band, refits)
    assert list(first.columns) == list(EXPECTATION_COLUMNS)
    changed = actual.copy()
    changed[(rows["target_start"] > refits[0] - timedelta(hours=2)).to_numpy()] += 50
    pd.testing.assert_frame_equal(
        rolling_expectations(rows, forecast, changed, band, refits), first
    )
    assert first["score"].notna().sum() == (rows["issued_at"] >= refits[0]).sum()
