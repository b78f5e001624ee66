"""Starts chosen by a forecast, judged at the prices that came."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from benchmarks._plants import committed_plant, tariff_of
from factory_lib.clock import HOUR_S, MADRID
from factory_lib.domain.plant import operators
from factory_lib.planning.recommendation import one_batch
from factory_lib.planning.review import REGRETS, forecast_regret, regret_by_day

HOURS = pd.date_range("2026-03-01 23:00", periods=120, freq="h", tz="UTC", unit="s", name="start")
DAY = date(2026, 3, 3)
ACTUAL = np.where(HOURS.tz_convert(MADRID).hour < 12, 40.0, 140.0)


def judged(forecast: np.ndarray, hours: int = 72) -> pd.DataFrame:
    plant, contract = committed_plant("default", 60)
    columns = {"price_eur_mwh": ACTUAL, "temperature_c": 18.0, "humidity_pct": 50.0}
    batch = one_batch(plant, contract, tariff_of(2026), pd.DataFrame(columns, HOURS), tolls=False)
    table = pd.DataFrame({"p50": forecast, "naive": 80.0, "actual": ACTUAL}, HOURS)
    since = HOURS[HOURS.tz_convert(MADRID).date >= DAY]
    path = table.loc[since].head(hours)
    return regret_by_day(batch, operators(plant, HOURS, HOUR_S) > 0, {DAY: path})


def test_a_right_forecast_costs_nothing_and_so_does_one_wrong_by_a_constant():
    for forecast in (ACTUAL, ACTUAL + 25.0):
        row = judged(forecast).iloc[0]
        assert row["regret_eur"] == pytest.approx(0.0)
        assert row["mae"] == pytest.approx((forecast - ACTUAL).mean())
    assert row["market_day"] == "2026-03-03"


def test_a_forecast_that_turns_the_day_round_costs_the_dear_hours():
    row = judged(180.0 - ACTUAL).iloc[0]
    assert row["regret_eur"] > 3.0
    assert row["mae"] == pytest.approx(100.0)


def test_a_day_whose_chains_would_outlast_the_forecast_is_left_out():
    short = judged(ACTUAL, hours=20)
    assert short.empty
    assert list(short.columns) == list(REGRETS)


def test_without_a_forecast_there_is_no_row(ctx):
    assert forecast_regret(ctx).empty
