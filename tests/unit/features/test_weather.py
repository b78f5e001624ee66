"""Hours between daily extremes, bias and climatology of forecasts."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from factory_lib.features.weather import (
    CLIMATE_COLUMNS,
    climatology,
    corrected_forecast,
    hourly_bias,
    hourly_from_daily,
    hourly_from_daily_until,
)


def hours(first: str, count: int) -> pd.DatetimeIndex:
    return pd.date_range(first, periods=count, freq="h", tz="UTC", unit="s", name="start")


def test_a_bias_of_one_hour_is_learnt_for_that_hour_only():
    index = hours("2024-07-01", 24 * 14)
    observed = pd.Series(20.0, index=index)
    forecast = observed + np.where(index.hour == 15, 3.0, 0.0)
    bias = hourly_bias(forecast - observed)
    assert bias[15] == pytest.approx(3.0 * 14 / 19)
    assert (bias.drop(15) == 0).all()


def test_only_the_last_fortnight_counts():
    index = hours("2024-07-01", 24 * 40)
    observed = pd.Series(20.0, index=index)
    forecast = observed + np.where(np.arange(len(index)) < 24 * 20, 10.0, 1.0)
    assert hourly_bias(forecast - observed).max() < 1.0


def test_without_anything_to_compare_there_is_no_bias():
    assert (hourly_bias(pd.Series(index=hours("2024-07-01", 5), dtype=float)) == 0).all()


def test_climatology_looks_at_the_same_hour_and_season_across_new_year():
    index = hours("2023-01-01", 24 * 365)
    observed = pd.Series(
        np.where(index.month.isin([12, 1]), 8.0, 25.0) + index.hour * 0.1, index=index
    )
    found = climatology(observed, hours("2024-12-31T05:00", 1))
    assert found.tolist() == pytest.approx([8.5])


def test_what_no_provider_reaches_comes_from_climatology_and_says_so():
    past = hours("2024-07-01", 24 * 10)
    observed = pd.Series(30.0, index=past)
    index = hours("2024-07-11", 3)
    forecast = pd.Series([25.0], index=index[:1])
    found = corrected_forecast(index, forecast, pd.Series(1.0, index=range(24)), observed)
    assert found["value"].tolist() == [24.0, 30.0, 30.0]
    assert found["source"].tolist() == ["forecast", "climatology", "climatology"]


def test_with_nothing_at_all_it_is_unknown():
    nothing = pd.Series(index=hours("2024-01-01", 0), dtype=float)
    found = corrected_forecast(hours("2024-07-11", 2), nothing, hourly_bias(nothing), nothing)
    assert found["value"].isna().all()
    assert set(found["source"]) == {"unknown"}


@pytest.fixture
def daily() -> pd.DataFrame:
    index = pd.date_range("2024-05-01", periods=4, freq="D", tz="UTC", name="start")
    rows = [(10, 20, 90, 40), (12, 24, 80, 30), (14, 28, 70, 20), (11, 21, 85, 45)]
    return pd.DataFrame(rows, index=index, columns=list(CLIMATE_COLUMNS), dtype=float)


def test_extremes_fall_on_their_hours(daily):
    hours = hourly_from_daily(daily)
    coldest, warmest = (hours[hours.index.hour == h] for h in (5, 15))
    assert coldest["temperature_c"].tolist() == [10, 12, 14, 11]
    assert coldest["humidity_pct"].tolist() == [90, 80, 70, 85]
    assert warmest["temperature_c"].tolist()[:3] == [20, 24, 28]


def test_hours_between_are_halfway_and_never_beyond(daily):
    hours = hourly_from_daily(daily)["temperature_c"]
    assert hours[datetime(2024, 5, 1, 10, tzinfo=UTC)] == pytest.approx(15)
    assert hours[datetime(2024, 5, 1, 22, tzinfo=UTC)] == pytest.approx(
        16
    )  # 20 in the afternoon, 12 next morning
    assert hours.dropna().between(10, 28).all()


def test_a_missing_day_is_not_bridged(daily):
    hours = hourly_from_daily(daily.drop(daily.index[1]))["temperature_c"]
    assert hours["2024-05-02"].isna().all()
    assert hours[datetime(2024, 5, 1, 15, tzinfo=UTC)] == 20
    assert hours["2024-05-03"].notna().sum() == 19  # from the coldest hour on


def test_what_is_known_needs_no_later_day(daily):
    until = hourly_from_daily_until(
        datetime(2024, 5, 4, 7, tzinfo=UTC)
    )  # days that end by then: 1, 2 and 3 May
    changed = daily.copy()
    changed.loc["2024-05-04":] += 5
    before, after = (
        hourly_from_daily(frame)[: until - pd.Timedelta(hours=1)] for frame in (daily, changed)
    )
    pd.testing.assert_frame_equal(before, after)
    assert until == datetime(2024, 5, 3, 16, tzinfo=UTC)
    assert not np.isclose(
        hourly_from_daily(daily).loc[until, "temperature_c"],
        hourly_from_daily(changed).loc[until, "temperature_c"],
    )
