"""A regressor of one's own: its inputs, its test beside ours, its way into service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge

from factory_lib import lab
from factory_lib import settings as factory_settings
from factory_lib.analysis import own_model as analysis
from factory_lib.context import RunContext, open_context
from factory_lib.errors import BadInput, ModelIncompatible, TooFewRows, UnknownSeries
from factory_lib.features.days import DayMatrix, to_slots
from factory_lib.features.prices import price_features
from factory_lib.models import own_model, prediction, registry, retrain_trigger
from factory_lib.models.forecasters import ForecasterConfig, PriceForecaster
from factory_lib.models.history import load_history
from factory_lib.models.train import price_candidate, version_tags
from factory_lib.runs import report
from tests.support.notebooks import execute
from tests.support.stored import store_observed

NAME = "spot_price"
NOON = datetime(2024, 2, 20, 11, tzinfo=UTC)
INPUTS = ["spot_eur_mwh_std_7d", "temperature_c_mean_2d"]


@pytest.fixture
def works(home: Path, market: DayMatrix) -> Iterator[RunContext]:
    """Profile history with 300 days of prices and of an hourly temperature that is its day."""
    settings = factory_settings.load("history", env={"FACTORY_HOME": str(home)})
    prices = pd.concat(map(to_slots, market.days.tolist(), market.grid))
    days = np.repeat(np.arange(len(market.days), dtype=float)[:, None] / 10, 24, axis=1)
    temperature = pd.concat(map(to_slots, market.days.tolist(), days))
    with open_context(settings=settings, as_of=NOON, run_id="test") as ctx:
        for series, place, values in (
            ("spot_eur_mwh", "ES", prices),
            ("temperature_c", "Sevilla", temperature),
        ):
            store_observed(
                ctx, series, values.index, values, place=place, source="imported", at=NOON
            )
        yield ctx


def test_a_figure_holds_what_was_known_at_noon_of_the_day_before(
    works: RunContext, market: DayMatrix
) -> None:
    prices = market.until("2024-02-20")
    made = own_model.own_inputs(works, INPUTS, prices, {})
    assert made["temperature_c_mean_2d"].days[-1] == np.datetime64("2024-02-21")
    row = len(prices.days) - 1
    temperature = made["temperature_c_mean_2d"].grid
    assert temperature[row] == pytest.approx((row - 2 + row - 3) / 2 / 10), "whole days only"
    spread = made["spot_eur_mwh_std_7d"].grid
    assert spread[row] == pytest.approx(market.grid[row - 7 : row].std(axis=0, ddof=1))
    later = DayMatrix(
        prices.days, prices.grid + 1000 * (np.arange(len(prices.days)) == row)[:, None]
    )
    features = price_features(later, 1, made)
    assert features.pooled()[row] == pytest.approx(
        price_features(prices, 1, made).pooled()[row], nan_ok=True
    )


def test_a_forecast_comes_with_those_of_later_days_and_the_spot_of_a_tariff_is_none(
    works: RunContext, market: DayMatrix
) -> None:
    names = ("load_mw", "load_mw_3d_ahead", "wind_mw_3d_ahead", "spot_eur_mwh")
    operator = dict.fromkeys(names, market)
    made = own_model.own_inputs(works, ["load_mw"], market, operator)
    assert set(made) == {"load_mw", "load_mw_3d_ahead"}
    for name in names[1:]:
        with pytest.raises(BadInput, match=r"Name a forecast \(load_mw\)"):
            own_model.own_inputs(works, [name], market, operator)


@pytest.mark.parametrize("name", ["residual_load_mw", "temperature_c_mean_99d", "my_feature"])
def test_what_is_no_input_is_refused_with_what_is(
    works: RunContext, market: DayMatrix, name: str
) -> None:
    with pytest.raises(BadInput, match=r"is no input\. Name a forecast \(load_mw\), or a figure"):
        own_model.own_inputs(works, [name], market, {"load_mw": market})
    with pytest.raises(UnknownSeries, match="gold_price"):
        own_model.own_inputs(works, ["gold_price_mean_3d"], market, {})


def test_it_is_tested_on_the_days_and_beside_the_baselines_of_the_benchmark(
    works: RunContext, small: ForecasterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "ForecasterConfig", lambda: small)
    before = works.state.query("SELECT count(*) FROM mark")
    result = lab.backtest(works, Ridge(100.0), INPUTS, days=7)
    scores = result["scores"].set_index("candidate")
    assert list(scores.index) == ["champion's recipe", "own model"]
    assert scores["best_naive_mae"].nunique() == 1, "the same hours"
    assert (scores["days"] == 7).all()
    assert scores.loc["own model", "mae"] < scores.loc["own model", "best_naive_mae"]
    assert result["forecast"]["p10"].le(result["forecast"]["p90"]).all()
    assert works.state.query("SELECT count(*) FROM mark") == before
    assert not (works.settings.paths.runs / "mlflow.db").exists(), "a test writes nothing"
    with pytest.raises(TooFewRows):
        lab.backtest(works, Ridge(), days=200)


class Home(BaseEstimator):  # type: ignore[misc]
    """A class that nobody but its author has read."""

    def fit(self, x: object, y: object) -> Home:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.zeros(len(x))


def test_the_notebook_registers_it_and_predictions_serve_it(
    works: RunContext, tmp_path: Path, market: DayMatrix
) -> None:
    done = tmp_path / "done.ipynb"
    source = factory_settings.ROOT / "notebooks" / "research" / "own_model.ipynb"
    parameters = {"profile": "history", "as_of": NOON.isoformat(), "days": 3, "register": True}
    said = report.metrics(execute(source, done, parameters))["summary"]
    assert said.startswith("spot_price version 1 is champion: better than best naive")
    served = registry.load_version(works, NAME)
    assert served.tags["recipe"] == "own"
    assert served.tags[registry.LEARNT] == NOON.isoformat(), "prices ahead are not learnt"
    assert list(served.estimator.exogenous_) == sorted(
        ["temperature_c_mean_3d", "spot_eur_mwh_std_7d"]
    )
    outcome = prediction.predict(works, 3)
    hours = outcome.hourly[outcome.hourly["tier"] == "champion"]
    assert len(hours)
    inputs = own_model.figures(works, served.estimator.exogenous_, market.until("2024-02-20"))
    expected = served.estimator.predict(market.until("2024-02-20"), inputs)["p50"]
    assert hours["price_eur_mwh"].to_numpy() == pytest.approx(
        expected.reindex(hours.index).to_numpy()
    )
    assert not outcome.unserved.get("price_inputs")
    later = replace(works, as_of=NOON + timedelta(days=4))
    bare = PriceForecaster(ForecasterConfig((200,), tree_iterations=5), leads=(1,))
    candidate = price_candidate(later, bare.fit(market.until("2024-02-24")), market, {})
    assert candidate.losses_of(served.estimator).notna().any(), "its successor is compared with it"
    assert candidate.is_other_recipe(served.estimator)


def test_champions_of_either_kind_are_compared_with_candidates_of_the_other(
    works: RunContext, market: DayMatrix, small: ForecasterConfig
) -> None:
    prices, earlier = market.until("2024-02-20"), market.until("2024-02-16")
    inputs = own_model.own_inputs(works, INPUTS, prices, {})
    load = {"load_mw": prices}
    own = PriceForecaster(own_model.OwnConfig(estimator=Ridge(100.0)), leads=(1,))
    ours = PriceForecaster(small, leads=(1,))
    own_before, ours_before = clone(own).fit(earlier, inputs), clone(ours).fit(earlier, load)
    own, ours = own.fit(prices, inputs), ours.fit(prices, load)
    assert own.experts()["expert"].tolist() == ["Ridge"]
    candidates = {"ours": (ours, load, own_before), "own": (own, load | inputs, ours_before)}
    for name, (fitted, given, champion) in candidates.items():
        candidate = price_candidate(works, fitted, prices, given)
        assert candidate.losses_of(champion).notna().any(), name
        assert candidate.is_other_recipe(champion), name
        assert not candidate.is_other_recipe(fitted), name
    own.exogenous_ = [*own.exogenous_, "gone_series_mean_3d"]
    with pytest.raises(ModelIncompatible, match="gone_series_mean_3d that are missing"):
        price_candidate(works, ours, prices, load).losses_of(own)


def test_what_is_registered_is_tried_against_a_champion_with_inputs_it_lacks(
    works: RunContext,
    market: DayMatrix,
    small: ForecasterConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prices = market.until("2024-02-20")
    load = {"load_mw": prices}
    history = replace(load_history(works, 300), operator=load)
    monkeypatch.setattr(analysis, "load_history", lambda *_: history)
    ours = PriceForecaster(small, leads=(1,)).fit(prices, load)
    logged = registry.log(
        works,
        name="training",
        params={},
        metrics={},
        models={NAME: ours},
        tags=version_tags(works, history),
        artifacts={},
        figures={},
    )
    registry.assign(works, NAME, logged.versions[NAME], registry.CHAMPION, "better")
    result = lab.register(works, Ridge(100.0), INPUTS)
    assert "0 days are new to the champion, 7 needed to replace it" in result.summary
    assert registry.load_version(works, NAME).number == logged.versions[NAME]


def test_types_that_were_not_reviewed_and_replays_register_nothing(
    works: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelIncompatible, match=r"Home was not reviewed|test_own_model\.Home"):
        registry.check_types(Home())
    monkeypatch.setattr(analysis, "registers", lambda _: False)
    with pytest.raises(BadInput, match="A replay registers no model"):
        lab.register(works, Ridge())
    assert retrain_trigger.registers(works), "no source is enabled in history"
    assert not (works.settings.paths.runs / "mlflow.db").exists()
