"""Weather ahead: bias, climatology, and which of them was used."""

import numpy as np
import pandas as pd
import pytest

from factory_lib.features.weather import climatology, hourly_bias, weather_ahead


def hours(first: str, count: int) -> pd.DatetimeIndex:
    return pd.date_range(first, periods=count, freq="h", tz="UTC", unit="s", name="start")


def test_a_bias_of_one_hour_is_learnt_for_that_hour_only():
    index = hours("2024-07-01", 24 * 14)
    observed = pd.Series(20.0, index=index)
    forecast = observed + np.where(index.hour == 15, 3.0, 0.0)
    bias = hourly_bias(forecast, observed)
    assert bias[15] == pytest.approx(3.0 * 14 / 19)
    assert (bias.drop(15) == 0).all()


def test_only_the_last_fortnight_counts():
    index = hours("2024-07-01", 24 * 40)
    observed = pd.Series(20.0, index=index)
    forecast = observed + np.where(np.arange(len(index)) < 24 * 20, 10.0, 1.0)
    assert hourly_bias(forecast, observed).max() < 1.0


def test_without_anything_to_compare_there_is_no_bias():
    assert (
        hourly_bias(pd.Series(index=hours("2024-07-01", 5), dtype=float), pd.Series(dtype=float))
        == 0
    ).all()


def test_climatology_looks_at_the_same_hour_and_season_across_new_year():
    index = hours("2023-01-01", 24 * 365)
    observed = pd.Series(
        np.where(index.month.isin([12, 1]), 8.0, 25.0) + index.hour * 0.1, index=index
    )
    found = climatology(observed, hours("2024-12-31T05:00", 1))
    assert found.iloc[0].tolist() == pytest.approx([8.5, 8.5, 8.5])


def test_what_no_provider_reaches_comes_from_climatology_and_says_so():
    past = hours("2024-07-01", 24 * 10)
    observed = pd.Series(30.0, index=past)
    index = hours("2024-07-11", 3)
    forecast = pd.Series([25.0], index=index[:1])
    found = weather_ahead(index, forecast, pd.Series(1.0, index=range(24)), observed)
    assert found["value"].tolist() == [24.0, 30.0, 30.0]
    assert found["source"].tolist() == ["forecast", "climatology", "climatology"]


def test_with_nothing_at_all_it_is_unknown():
    nothing = pd.Series(index=hours("2024-01-01", 0), dtype=float)
    found = weather_ahead(hours("2024-07-11", 2), nothing, hourly_bias(nothing, nothing), nothing)
    assert found["value"].isna().all()
    assert set(found["source"]) == {"unknown"}
