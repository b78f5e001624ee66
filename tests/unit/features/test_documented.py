"""The thirteen features of an hour, against the rules by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib.domain import indices
from factory_lib.features.horizon import documented_features

DOCUMENTED_FEATURES = (
    "price_eur_kwh",
    "energy_cost_index",
    "tariff_period",
    "temperature_c",
    "humidity_pct",
    "temperature_comfort_index",
    "humidity_stress_factor",
    "chocolate_production_index",
    "energy_optimization_score",
    "heat_stress_factor",
    "outdoor_index_class",
    "price_trend_1h",
    "price_volatility_24h",
)

ISSUE = datetime(2026, 6, 30, 10, tzinfo=UTC)


@pytest.fixture
def hourly() -> pd.DataFrame:
    index = pd.date_range(
        ISSUE - timedelta(days=91),
        ISSUE + timedelta(days=1),
        freq="h",
        inclusive="left",
        name="start",
    )
    wave = np.sin(np.arange(len(index)) * 2 * np.pi / 24)
    return pd.DataFrame(
        {
            "price_eur_mwh": 60 + 50 * wave,
            "temperature_c": 22 + 8 * wave,
            "humidity_pct": 50 - 20 * wave,
        },
        index=index,
    )


def test_all_thirteen_in_order_for_every_hour(hourly):
    made = documented_features(hourly, ISSUE)
    assert tuple(made.columns) == DOCUMENTED_FEATURES
    assert made.index.equals(hourly.index)


def test_an_hour_by_hand(hourly):
    band = indices.price_band(hourly["price_eur_mwh"] / 1000, ISSUE)
    hour = ISSUE - timedelta(hours=5)
    price, temperature, humidity = hourly.loc[hour]
    row = documented_features(hourly, ISSUE).loc[hour]
    eci = np.clip(
        100 * (price / 1000 - band.low_eur_kwh) / (band.high_eur_kwh - band.low_eur_kwh), 0, 100
    )
    tci, hsf = max(0, 100 - 10 * abs(temperature - 21)), 100 * abs(humidity - 55) / 55
    assert row["price_eur_kwh"] == pytest.approx(price / 1000)
    assert row["energy_cost_index"] == pytest.approx(eci)
    assert row["chocolate_production_index"] == pytest.approx(
        np.clip(tci - 0.5 * eci - 0.3 * hsf, 0, 100)
    )
    assert row["energy_optimization_score"] == pytest.approx(0.7 * (100 - eci) + 0.3 * tci)
    assert row["price_trend_1h"] == pytest.approx(
        (price - hourly["price_eur_mwh"][hour - timedelta(hours=1)]) / 1000
    )
    last_24 = hourly["price_eur_mwh"][hour - timedelta(hours=23) : hour] / 1000
    assert row["price_volatility_24h"] == pytest.approx(last_24.std())
    assert row["tariff_period"] == "P6"  # 07:00 local


def test_one_band_serves_past_and_future_hours(hourly):
    raised = hourly.copy()
    raised.loc[ISSUE:, "price_eur_mwh"] += 500
    before = slice(None, ISSUE - timedelta(hours=1))
    pd.testing.assert_frame_equal(
        documented_features(raised, ISSUE)[before], documented_features(hourly, ISSUE)[before]
    )


def test_unknown_weather_leaves_price_features_known(hourly):
    hourly.loc[ISSUE:, ["temperature_c", "humidity_pct"]] = np.nan
    row = documented_features(hourly, ISSUE).loc[ISSUE]
    assert row[["price_eur_kwh", "energy_cost_index", "price_trend_1h"]].notna().all()
    assert (
        row[["energy_optimization_score", "outdoor_index_class", "heat_stress_factor"]].isna().all()
    )


def test_negative_prices_are_data(hourly):
    hourly["price_eur_mwh"] -= 70
    made = documented_features(hourly, ISSUE)
    assert (made["price_eur_kwh"] < 0).any()
    assert made["energy_cost_index"].notna().all()
