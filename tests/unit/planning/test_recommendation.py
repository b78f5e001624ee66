"""Advice by hour from the plant's own chains."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from benchmarks._plants import committed_plant, tariff_of
from factory_lib.context import RunContext
from factory_lib.domain.indices import CLASSES
from factory_lib.features.horizon import PRICE
from factory_lib.frames import tidy
from factory_lib.models.history import load_history
from factory_lib.models.prediction import predict
from factory_lib.planning import documents
from factory_lib.planning.recommendation import (
    ADVICE,
    ADVICE_FILE,
    OneBatch,
    advise,
    load_advice,
    one_batch,
    read_advice,
    recommend,
    save_advice,
)
from tests.support.week import EVENING, NOON

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


def issued(ctx: RunContext, at: datetime) -> pd.DataFrame:
    then = replace(ctx, as_of=at)
    made = predict(then, days=4)
    return advise(then, made.hourly, made.price_errors)


def plant_later_values(ctx: RunContext, after: datetime) -> None:
    """Store other prices and weather of the coming days, and a correction of past prices."""
    coming = pd.date_range(after.date() + timedelta(days=1), periods=288, freq="15min", tz="UTC")
    past = pd.date_range(end=after, periods=192, freq="15min")
    for series, place, source, index, value in (
        ("spot_eur_mwh", "ES", "ree", coming, np.linspace(900.0, 100.0, 288)),
        ("spot_eur_mwh", "ES", "ree", past, np.linspace(-300.0, 700.0, 192)),
        ("temperature_c", "5279X", "aemet", coming[::4], np.full(72, 44.0)),
    ):
        rows = tidy(
            series,
            index.as_unit("s"),
            value,
            place=place,
            source=source,
            kind="observed",
            resolution_s=900 if series == "spot_eur_mwh" else 3600,
            retrieved_at=after + timedelta(hours=2),
            provider_updated_at=after + timedelta(hours=2),
        )
        ctx.store.write(rows, run_id="planted")


def test_a_value_available_later_leaves_the_advice_of_before_as_it_was(works):
    before = issued(works, NOON)
    assert len(before)
    plant_later_values(works, NOON)
    pd.testing.assert_frame_equal(issued(works, NOON), before)
    known_later = load_history(replace(works, as_of=EVENING), 3).hourly[PRICE]
    assert known_later.max() > 600  # both plants are seen once they are known
    assert known_later.min() < -200


def test_kept_advice_names_its_issue_both_times_and_every_probability(works):
    advice = recommend(lay(np.where(HOURS.hour < 6, 10.0, 150.0)), 50.0, np.zeros((1, 96)))
    save_advice(works, advice)
    document = json.loads((documents.plans_folder(works) / ADVICE_FILE).read_text())
    assert document["issued_at"] == f"{works.as_of:%Y-%m-%dT%H:%M:%SZ}"
    assert document["simulated"] is works.simulated
    morning = next(row for row in document["hours"] if row["start"] == "2026-03-02T07:00:00Z")
    assert morning["start_local"] == "2026-03-02T08:00:00+01:00"
    assert morning["best_start_local"] > morning["start_local"]
    assert set(morning["probability"]) == set(CLASSES)
    night = document["hours"][2]  # nobody is there: no number stands for no chain
    assert night["production_recommendation"] == "Halt Production"
    assert night["regret_eur"] is None
    kept = load_advice(works)
    finite = advice.replace(np.inf, np.nan)
    assert kept["regret_eur"].to_numpy() == pytest.approx(finite["regret_eur"], nan_ok=True)
    assert (kept["best_start"] == advice["best_start"]).sum() == advice["best_start"].notna().sum()
    assert list(kept["production_recommendation"]) == list(advice["production_recommendation"])


def test_without_advice_there_is_none(works):
    assert read_advice(works) is None
    assert load_advice(works).empty
    save_advice(works, pd.DataFrame(columns=ADVICE, index=HOURS[:0]))
    assert read_advice(works)["hours"] == []
    assert load_advice(works).empty


def test_a_replay_leaves_the_advice_of_the_present_as_it_is(works):
    advice = recommend(lay(np.where(HOURS.hour < 6, 10.0, 150.0)), 50.0, np.zeros((1, 96)))
    save_advice(works, advice)
    save_advice(replace(works, explicit_as_of=True), advice.iloc[:3])
    assert len(load_advice(works)) == len(advice)
