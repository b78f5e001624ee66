"""Measures against values worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from factory_lib.models.evaluation import (
    coverage,
    day_kinds,
    diebold_mariano,
    mean_absolute_error,
    saving_share,
    score,
)


def day(actual: np.ndarray, label: str = "2024-07-01", **columns: object) -> pd.DataFrame:
    index = pd.date_range("2024-07-01", periods=len(actual), freq="h", tz="UTC", name="start")
    return pd.DataFrame(
        {"market_day": label, "actual": actual, **columns}, index=index
    ).reset_index()


def test_errors_leave_out_what_is_unknown():
    actual, forecast = np.array([0.0, -2.0, np.nan]), np.array([3.0, 2.0, 5.0])
    assert mean_absolute_error(actual, forecast) == 3.5


def test_coverage_counts_the_ends():
    assert coverage(
        np.array([1.0, 2.0, 3.0, np.nan]), np.full(4, 1.0), np.full(4, 2.0)
    ) == pytest.approx(2 / 3)


def test_foresight_saves_all_and_its_opposite_less_than_nothing():
    actual = np.arange(24.0)
    assert saving_share(day(actual, p50=actual)) == 1.0
    assert saving_share(day(actual, p50=-actual)) == pytest.approx(-1.0)


def test_half_right_hours_save_half_of_it():
    actual = np.repeat([0.0, 10.0], 12)
    believed = np.r_[np.zeros(4), np.full(8, 9.0), np.zeros(4), np.full(8, 9.0)]
    assert saving_share(day(actual, p50=believed)) == pytest.approx(0.0)
    assert (
        saving_share(
            day(actual, p50=np.r_[np.zeros(6), np.full(6, 9.0), np.zeros(2), np.full(10, 9.0)])
        )
        == 0.5
    )


def test_quarters_count_a_quarter_of_an_hour():
    actual = np.repeat(np.arange(24.0), 4)
    assert saving_share(day(actual, p50=actual)) == 1.0


def test_a_day_with_an_unknown_hour_is_left_out_of_the_saving():
    actual = np.arange(24.0)
    broken = day(np.where(actual == 3, np.nan, actual), "2024-07-02", p50=-actual)
    assert saving_share(pd.concat([day(actual, p50=actual), broken])) == 1.0


def test_scores_stand_beside_both_naive_forecasts():
    actual = np.tile(np.arange(24.0), 30)
    labels = np.repeat([f"d{n:02}" for n in range(30)], 24)
    rows = day(
        actual,
        p10=actual - 2,
        p50=actual + 1,
        p90=actual + 2,
        day_before=actual + 2,
        week_before=actual + 8,
        standard=actual + 4,
        simple=actual + 3,
    ).assign(market_day=labels)
    found = score(rows)
    assert (found["simple_mae"], found["rmae_simple"]) == (3.0, pytest.approx(1 / 3))
    assert sum(found["coverage_by_month"].values()) == len(found["coverage_by_month"])
    assert (found["best_naive"], found["best_naive_mae"]) == ("day_before", 2.0)
    assert found["pinball"] == pytest.approx((0.1 * 2 + 0.5 * 1 + 0.1 * 2) / 3)
    assert (found["days"], found["mae"], found["rmae"], found["rmae_best"]) == (30, 1.0, 0.25, 0.5)
    assert (found["coverage_80"], found["save8"], found["p_value"]) == (1.0, 1.0, 0.0)


def test_significance_is_small_only_where_losses_differ_more_than_they_vary():
    rng = np.random.default_rng(5)
    losses = rng.normal(10, 1, 300)
    assert diebold_mariano(losses, losses + rng.normal(0.5, 1, 300)) < 1e-4
    assert 0.05 < diebold_mariano(losses, losses + rng.normal(0, 1, 300)) < 0.95
    assert diebold_mariano(losses + rng.normal(0.5, 1, 300), losses) > 0.999
    assert diebold_mariano(losses, losses) == 0.5


def test_losses_that_persist_for_days_count_as_fewer():
    rng = np.random.default_rng(5)
    single = rng.normal(-0.15, 1, 300)
    persistent = np.repeat(single[:60], 5)
    shuffled = rng.permutation(persistent)
    assert diebold_mariano(persistent, np.zeros(300)) > diebold_mariano(shuffled, np.zeros(300))


def test_days_with_a_spike_or_negative_prices_stand_apart():
    prices = np.full((40, 24), 50.0)
    prices[35, 20] = 90.0
    prices[36, 20] = 70.0
    prices[37, 12] = -0.5
    prices[38] = np.nan
    assert day_kinds(prices)[34:].tolist() == [
        "usual",
        "spike",
        "usual",
        "negative",
        "usual",
        "usual",
    ]
