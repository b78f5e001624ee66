"""Advice by hour from the plant's own chains."""

import numpy as np
import pandas as pd
import pytest

from benchmarks._plants import committed_plant, tariff_of
from factory_lib.domain.indices import CLASSES
from factory_lib.planning.recommendation import OneBatch, one_batch, recommend

HOURS = pd.date_range("2026-03-02", periods=96, freq="h", tz="UTC", unit="s", name="start")


def lay(price: np.ndarray, temperature_c: float = 18.0) -> OneBatch:
    plant, contract = committed_plant("default", 60)
    columns = {"price_eur_mwh": price, "temperature_c": temperature_c, "humidity_pct": 50.0}
    return one_batch(plant, contract, tariff_of(2026), pd.DataFrame(columns, HOURS), tolls=False)


def test_a_chain_costs_the_price_of_its_hours_and_begins_where_people_are():
    batch = lay(np.full(96, 100.0))
    eur = pd.Series(batch.eur(), HOURS)
    assert np.isinf(eur["2026-03-02 02:00"])  # nobody is there to mix
    # 30 + 4 * 42 + 5 * 48 + 2 * 36 + 24 kWh at 0.1 EUR, nothing held
    assert eur["2026-03-02 05:00"] == pytest.approx(53.4)
    assert batch.usual_eur() == pytest.approx(53.4, rel=0.1)
    dearer = batch.eur(np.full(96, 50.0))
    assert dearer[5] == pytest.approx(1.5 * 53.4)


def test_a_start_before_a_cheap_night_should_wait_and_scenarios_say_how_surely():
    price = np.where(HOURS.hour < 6, 10.0, 150.0)
    batch = lay(price)
    errors = np.array([np.zeros(96), 150.0 - price])  # as forecast, or flat after all
    advice = recommend(batch, batch.usual_eur(), errors)
    morning = advice.loc["2026-03-02 07:00"]
    assert morning["production_recommendation"] != "Optimal"
    assert morning["regret_eur"] > 1.0
    assert morning["best_start"] > morning.name
    assert morning["p_Optimal"] == pytest.approx(0.5)
    chances = advice[[f"p_{name}" for name in CLASSES]].sum(axis=1)
    assert chances.to_numpy() == pytest.approx(1.0)


def test_hours_whose_better_starts_may_lie_beyond_the_prices_are_not_judged():
    advice = recommend(lay(np.full(96, 100.0)), 50.0, np.zeros((1, 96)))
    assert len(advice) == 96 - 24 - 25  # a chain takes 13 hours and may be held for 12


def test_a_room_too_hot_for_a_batch_halts():
    advice = recommend(lay(np.full(96, 100.0), temperature_c=45.0), 50.0, np.zeros((1, 96)))
    assert set(advice["production_recommendation"]) == {"Halt Production"}
    assert (advice["p_Halt Production"] == 1.0).all()
