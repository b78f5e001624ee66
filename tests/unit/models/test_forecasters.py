"""The forecaster as production uses it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from sklearn.base import clone
from sklearn.utils.parallel import Parallel

from factory_lib.analysis.price_backtest import backtest_prices
from factory_lib.clock import day_start, slots_in_day
from factory_lib.domain.tariff import tariff_holidays
from factory_lib.errors import TooFewRows
from factory_lib.features.days import DayMatrix
from factory_lib.features.prices import ahead_name, price_features
from factory_lib.models import forecasters, registry
from factory_lib.models.forecasters import (
    ForecasterConfig,
    LeadModel,
    PriceForecaster,
    hourly_rows,
)

DAY = timedelta(days=1)

# one worker builds what they share


@pytest.fixture(scope="module")
def fitted(market, small) -> PriceForecaster:
    return PriceForecaster(small, leads=(1, 7)).fit(market.until("2024-02-10"))


def test_every_slot_of_the_target_days_gets_a_band(market, fitted):
    known = market.until("2024-02-10")
    forecast = fitted.predict(known)
    first, seventh = (
        known.days[-1].item() + timedelta(days=1),
        known.days[-1].item() + timedelta(days=7),
    )
    assert forecast.index.name == "start"
    assert forecast["lead"].value_counts().to_dict() == {1: 24, 7: 24}
    assert forecast.index[0] == pd.Timestamp(day_start(first))
    assert forecast.index[24] == pd.Timestamp(day_start(seventh))
    assert (forecast["p10"] <= forecast["p50"]).all()
    assert (forecast["p50"] <= forecast["p90"]).all()
    assert (forecast["p10"] < forecast["p90"]).all()


def test_a_day_of_a_clock_change_has_its_own_number_of_slots(market, small):
    moved = DayMatrix(market.days + (np.datetime64("2024-03-30") - market.days[-1]), market.grid)
    forecast = PriceForecaster(small, leads=(1,)).fit(moved).predict(moved)
    assert len(forecast) == slots_in_day(moved.days[-1].item() + timedelta(days=1), 3600) == 23


@pytest.mark.parametrize("lead", [1, 3])
def test_production_says_what_the_backtest_says_also_days_after_its_fit(market, small, lead):
    first = market.row("2024-02-01")
    begin = first - 40  # of the quarters
    noise = np.random.default_rng(3).normal(0, 2, (len(market.days) - begin, 96))
    quarters = DayMatrix(market.days[begin:], market.grid[begin:].repeat(4, axis=1) + noise)
    days = market.days[[first, first + 5]].tolist()
    for fine in (None, quarters):
        rows = backtest_prices(market, *days, config=small, leads=(lead,), quarters=fine)
        fitted = PriceForecaster(small, leads=(lead,)).fit(market.until(days[0] - lead * DAY))
        for day in days:
            known = market.until(day - lead * DAY)
            ours = fitted.predict(known, quarters=fine)
            scored = rows[rows["market_day"] == str(day)]
            for name in ("p10", "p50", "p90"):
                assert ours[name].to_numpy() == pytest.approx(scored[name].to_numpy(), abs=1e-4)


def test_the_band_follows_errors_made_after_the_fit(market, fitted):
    wild = market.grid.copy()
    wild[-10:] += np.random.default_rng(1).normal(0, 60, (10, 24))
    known = DayMatrix(market.days, wild)
    width = {}
    for name, forecaster in (("after", fitted), ("frozen", clone(fitted))):
        if name == "frozen":
            forecaster.models_, forecaster.errors_ = fitted.models_, fitted.errors_
            forecaster.fitted_until_ = known.days[-1]
        forecast = forecaster.predict(known)
        width[name] = (forecast["p90"] - forecast["p10"])[forecast["lead"] == 1].mean()
    assert width["after"] > width["frozen"]


def test_quarters_are_forecast_where_quarters_are_known(market, fitted):
    known = market.until("2024-02-10")
    quarters = DayMatrix(known.days, known.grid.repeat(4, axis=1))
    fine, coarse = fitted.predict(known, quarters=quarters), fitted.predict(known)
    assert len(fine) == 4 * len(coarse)
    assert fine["p50"].to_numpy().reshape(-1, 4).mean(axis=1) == pytest.approx(
        coarse["p50"].to_numpy()
    )


def test_a_missing_issue_day_is_survived_and_a_broken_history_is_unknown(market, fitted):
    known = market.until("2024-02-10")
    holed = DayMatrix(known.days, known.grid.copy())
    holed.grid[-1] = np.nan
    assert fitted.predict(holed)["p50"].notna().all()
    holed.grid[-40:] = np.nan
    assert fitted.predict(holed)["p50"].isna().all()


def test_a_short_history_is_refused_and_no_process_is_started_for_it(market, small, monkeypatch):
    used = []

    def parallel(n_jobs):
        used.append(n_jobs)
        return Parallel(n_jobs=n_jobs)

    monkeypatch.setattr(forecasters, "Parallel", parallel)
    with pytest.raises(TooFewRows):
        PriceForecaster(small).fit(market.until(market.days[150]), jobs=2)
    assert used == [1]


def test_inputs_that_began_yesterday_are_unknown_to_earlier_fits(market, small):
    known = market.until("2024-02-10")
    young = np.full(known.grid.shape, np.nan)
    young[-3:] = 20_000.0
    inputs = {name: DayMatrix(known.days, young) for name in ("load_mw", ahead_name("wind_mw", 7))}
    forecast = PriceForecaster(small, leads=(1, 7)).fit(known, inputs).predict(known, inputs)
    assert forecast["p50"].notna().all()


def test_a_model_survives_storage_without_pickle(market, fitted, tmp_path):
    file = tmp_path / "model.skops"
    skops.io.dump(fitted, file)
    trusted = skops.io.get_untrusted_types(file=file)
    assert {name.partition(".")[0] for name in trusted} <= {"factory_lib", "numpy", "sklearn"}
    known = market.until("2024-02-10")
    loaded = skops.io.load(file, trusted=trusted)
    pd.testing.assert_frame_equal(loaded.predict(known), fitted.predict(known))


def test_a_champion_stored_under_the_former_names_still_forecasts(market):
    """The file was written when ``ForecasterConfig`` was ``Recipe`` and ``config`` ``recipe``."""
    if not sklearn.__version__.startswith("1.9."):
        pytest.skip("the registry refuses versions of another scikit-learn anyway")
    file = Path(__file__).with_name("stored_champion.skops")
    assert "factory_lib.models.forecasters.Recipe" in skops.io.get_untrusted_types(file=file)
    champion = skops.io.load(file, trusted=registry.TRUSTED_TYPES)
    assert isinstance(champion, PriceForecaster)
    assert champion.config == ForecasterConfig(
        lasso_windows_days=(60,),
        lasso_penalty=0.01,
        tree_window_days=60,
        tree_iterations=1,
        tree_weight=0.4,
    )
    assert champion.models_[1].config == champion.config
    forecast = champion.predict(market.until("2024-02-10"))
    assert forecast[["p10", "p50", "p90"]].sum().tolist() == pytest.approx(
        [1396.061670791119, 1577.170128596516, 1771.851887393224]
    )


def test_a_day_without_the_load_is_forecast_from_prices_alone(market, small):
    days = np.append(market.days, market.days[-1] + 1)
    load = DayMatrix(days, 300 * np.vstack([market.grid, market.grid[-1:]]))
    known = market.until("2024-02-10")
    made = PriceForecaster(small, leads=(1,)).fit(known, {"residual_load_mw": load})
    blind = made.predict(known, {"residual_load_mw": load.until("2024-02-10")})
    changed = DayMatrix(days, load.grid.copy())
    changed.grid[known.row("2024-02-11")] += 5000
    assert blind["p50"].notna().all()
    assert not np.allclose(made.predict(known, {"residual_load_mw": changed})["p50"], blind["p50"])
    sighted = made.predict(known, {"residual_load_mw": load})["p50"].to_numpy()
    actual = market.grid[market.row("2024-02-11")]
    error = {"sighted": sighted, "blind": blind["p50"].to_numpy()}
    mae = {name: np.abs(forecast - actual).mean() for name, forecast in error.items()}
    assert mae["sighted"] < 0.7 * mae["blind"]


def test_rows_of_all_inputs_are_forecast_as_the_matrices_they_were(market, small):
    days = np.append(market.days, market.days[-1] + np.arange(1, 8))
    load = DayMatrix(days, 300 * np.vstack([market.grid, *[market.grid[-1:]] * 7]))
    known = market.until("2024-02-10")
    inputs = {"load_mw_7d_ahead": load}
    made = PriceForecaster(small, leads=(1, 7)).fit(known, inputs)
    empty = DayMatrix(days, np.full_like(load.grid, np.nan))
    rows = hourly_rows(known, {**inputs, "wind_mw": empty}, 60)
    answer = made.predict(rows)
    expected = made.predict(known.spanning(known.days[-61], known.days[-1]), inputs)
    assert answer["start"].iloc[0] == "2024-02-10T23:00:00Z"
    assert answer["p50"].to_numpy() == pytest.approx(expected["p50"].to_numpy(), abs=0.01)


def test_each_expert_has_a_weight_and_is_worth_what_the_mixture_loses_without_it(market, fitted):
    experts = fitted.experts()
    assert "supply curve" not in set(experts["expert"]), "it slept: no load was given"
    for _, own in experts.groupby("day_ahead"):
        assert own["weight"].sum() == pytest.approx(1)
        assert len(own) == 5
    poor = experts.sort_values("error").iloc[-1]
    assert poor["weight"] < experts["weight"].max()
    spoiled = {lead: errors.copy() for lead, errors in fitted.expert_errors_.items()}
    spoiled[1][0] *= 20.0
    changed = PriceForecaster(fitted.config, fitted.leads)
    changed.models_, changed.expert_errors_ = fitted.models_, spoiled
    first = changed.experts().iloc[0]
    assert first["weight"] < 0.01 < experts.iloc[0]["weight"]
    assert first["worth"] < 0 < first["error"] - 5


def test_no_expert_falls_below_the_lowest_price_of_four_weeks(market, small):
    features = price_features(market, 1)
    rows = np.arange(len(market.days) - 30, len(market.days))
    for row in rows:
        lowest = features.in_eur_mwh(features.lowest[:, None])[row, 0]
        assert lowest == pytest.approx(market.grid[row - 28 : row].min())
    model = LeadModel(small).fit(features, market.grid, rows[0])
    held = model.predict(replace(features, lowest=np.full(len(market.days), 0.2)), rows)
    free = model.predict(features, rows)
    assert np.array_equal(held, np.maximum(free, 0.2), equal_nan=True)
    assert (free < 0.2).any()


def test_a_tariff_is_forecast_from_the_spot_too(market, small):
    """Tolls of weekdays and a slope on the spot, which alone is known before the summer."""
    free = [day.weekday() > 4 or day in tariff_holidays(day.year) for day in market.days.tolist()]
    tolls = np.where(np.array(free)[:, None], 15.0, np.linspace(20, 120, 24))
    since = market.row("2023-07-01")
    tariff = DayMatrix(market.days[since:], (0.8 * market.grid + tolls)[since:])
    known = tariff.until("2024-02-10")
    spot = {"spot_eur_mwh": market}
    made = PriceForecaster(small, leads=(1, 7)).fit(known, spot)
    experts = made.experts()
    from_spot = experts["expert"].str.endswith("from the spot")
    assert from_spot.sum() == len(experts) / 2
    assert experts[from_spot]["weight"].sum() > experts[~from_spot]["weight"].sum()
    forecast = made.predict(known, spot)
    later = DayMatrix(market.days, market.grid.copy())
    later.grid[market.row("2024-02-11") :] += 50.0
    pd.testing.assert_frame_equal(made.predict(known, {"spot_eur_mwh": later}), forecast)
    assert made.predict(known)["p50"].notna().all(), "without it, the tariff's own experts serve"
