"""The price model's way through the registry.

Tried, promoted, served, held against its successor, refused.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from factory_lib import lab
from factory_lib.analysis.price_backtest import log_backtest
from factory_lib.context import RunContext
from factory_lib.errors import ModelIncompatible
from factory_lib.features.days import DayMatrix, to_slots
from factory_lib.models import history as histories
from factory_lib.models import prediction, price_forecast, registry, retrain_trigger
from factory_lib.models.forecasters import ForecasterConfig, PriceForecaster
from factory_lib.models.price_forecast import whole_days
from factory_lib.models.summary import summarise_prediction
from factory_lib.models.train import CandidateEvaluation, decide, evaluate_price_model

# one worker builds what they share

NAME = "spot_price"
LAST_DAY = np.datetime64("2024-02-24")  # the market's last; the store has all of it
NOON = datetime(2024, 2, 20, 11, tzinfo=UTC)  # of the fixture `works`


def trained(
    ctx: RunContext, market: DayMatrix, config: ForecasterConfig, until: str, as_of: datetime
) -> SimpleNamespace:
    prices = market.until(until)
    fitted = PriceForecaster(config, leads=(1, 2)).fit(prices)
    return decided(ctx, fitted, as_of, evaluate_price_model(NAME, fitted, prices, {}))


def decided(
    ctx: RunContext, fitted: PriceForecaster, as_of: datetime, evaluation: CandidateEvaluation
) -> SimpleNamespace:
    """Store a version, and return what was decided on it."""
    logged = registry.log(
        ctx,
        name="test",
        params={},
        metrics={},
        models={NAME: fitted},
        tags={"as_of": as_of.isoformat()},
        artifacts={},
        figures={},
    )
    return SimpleNamespace(**decide(ctx, evaluation, logged.versions[NAME]))


@pytest.fixture(scope="module")
def first(works: RunContext, market: DayMatrix, small: ForecasterConfig) -> SimpleNamespace:
    return trained(works, market, small, "2024-01-10", datetime(2024, 1, 10, 11, tzinfo=UTC))


@pytest.fixture(autouse=True)
def as_it_was(works: RunContext, first: SimpleNamespace) -> Iterator[None]:
    """Give the first version its alias back: the tests share a registry, in any order."""
    yield
    registry.assign(works, NAME, first.version, registry.CHAMPION, first.reason)


def test_the_first_version_is_champion_when_better_than_the_best_naive(first):
    assert first.alias == "champion"
    assert first.error < first.benchmark_error
    assert f"{first.error:#.3g} against {first.benchmark_error:#.3g}" in first.reason


def test_a_version_is_judged_as_it_is_served(works, market, first):
    fitted = registry.load_version(works, NAME).estimator
    fitted.rmae_ = {1: 0.5, 2: 1.2}
    fitted.p_values_ = {1: 0.01, 2: 0.9}
    prices = market.until("2024-01-10")
    losses = fitted.losses(prices, {})
    judged = evaluate_price_model(NAME, fitted, prices, {}).losses["model"]
    second = losses["lead"] == 2
    assert judged[second].equals(losses["naive"][second])
    assert judged[~second].equals(losses["model"][~second])


def test_its_file_is_small_and_no_pickle(works, first):
    files = [file for file in works.settings.paths.mlflow_artifacts.rglob("*") if file.is_file()]
    assert not [file for file in files if file.suffix in (".pkl", ".pickle", ".joblib")]
    assert max(file.stat().st_size for file in files) < 10e6


def test_predictions_are_the_champions_where_it_was_better(works, first):
    outcome = prediction.predict(works, 3)
    tiers = outcome.hourly["tier"].value_counts()
    served = registry.load_version(works, NAME).estimator
    assert tiers["champion"] == 24 * (2 - len(served.naive_leads))
    expected = served.predict(
        whole_days(histories.load_history(works, 400).hourly["price_eur_mwh"].dropna())
    )
    forecast = outcome.hourly.loc[outcome.hourly["tier"] == "champion", "price_eur_mwh"]
    assert forecast.to_numpy() == pytest.approx(expected["p50"].reindex(forecast.index).to_numpy())


def test_a_champion_that_knows_the_future_is_not_used_for_the_past(works, first):
    outcome = prediction.predict(replace(works, as_of=NOON - timedelta(days=60)), 3)
    assert "champion" not in set(outcome.hourly["tier"])
    assert any(
        "unknown at this instant" in note
        for note in summarise_prediction(outcome, pd.DataFrame()).notes
    )


def test_a_replay_says_what_was_said_then(works, market, small, first):
    before = prediction.predict(works, 3)
    later = NOON + timedelta(days=2, hours=9)
    second = trained(works, market, small, "2024-02-20", later)
    assert second.champion == first.version
    again = prediction.predict(works, 3)
    assert "champion" in set(again.hourly["tier"])
    pd.testing.assert_frame_equal(again.slots, before.slots)
    learnt_until = {
        as_of: registry.champion(replace(works, as_of=as_of), NAME)[0].fitted_until_
        for as_of in (later - timedelta(hours=1), later)
    }
    assert list(learnt_until.values()) == [
        np.datetime64("2024-01-10"),
        np.datetime64("2024-02-20"),
    ]


def test_a_version_built_elsewhere_is_refused_and_naive_serves(works, first, monkeypatch):
    monkeypatch.setattr(registry, "_built_with", lambda: {"scikit-learn": "9.9.9", "skops": "1"})
    outcome = prediction.predict(works, 2)
    assert "champion" not in set(outcome.hourly["tier"])
    assert any(
        "was built with scikit-learn" in note and "naive" in note
        for note in summarise_prediction(outcome, pd.DataFrame()).notes
    )


def test_a_damaged_version_is_refused_and_naive_serves(works, first):
    file = min(
        works.settings.paths.mlflow_artifacts.rglob("*.skops"),
        key=lambda made: made.stat().st_mtime,
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    outcome = prediction.predict(works, 2)
    file.write_bytes(whole)
    assert any(
        "cannot be loaded" in note for note in summarise_prediction(outcome, pd.DataFrame()).notes
    )
    assert set(outcome.hourly["tier"]) == {"published", "naive"}


def test_a_version_of_another_recipe_is_held_against_the_champion_and_a_worse_one_loses(
    works, market, small, first
):
    at = datetime(2024, 2, 20, 11, tzinfo=UTC)
    soon = trained(
        works,
        market,
        replace(small, lasso_penalty=9.0),
        "2024-01-14",
        datetime(2024, 1, 14, 11, tzinfo=UTC),
    )
    assert "days are new to the champion" in soon.reason
    worse = trained(
        works, market, replace(small, lasso_penalty=9.0, tree_weight=0.0), "2024-02-20", at
    )
    assert worse.alias == "challenger"
    assert worse.champion == first.version
    assert worse.error_on_same_hours > worse.champion_error
    listed = registry.versions(works)
    assert set(listed["model"]) == {NAME}
    assert (listed["decision"] != "").all()


@pytest.mark.parametrize(
    ("days", "worse_by", "retired"),
    [
        (60, 0.01, False),  # an older fit would be no better
        (20, 2.0, False),  # a bad week is no reason
        (60, 2.0, True),
    ],
)
def test_a_refit_replaces_the_champion_unless_it_is_clearly_behind(
    works, first, days, worse_by, retired
):
    draw = np.random.default_rng(5)
    issued = pd.Series(pd.date_range("2024-01-15", periods=days * 24, freq="h", tz="UTC"))
    naive = draw.uniform(5, 9, len(issued))
    model = naive + worse_by + draw.normal(0, 1, len(issued))
    losses = pd.DataFrame({"model": model, "naive": naive})
    evaluation = CandidateEvaluation(NAME, "MAE", losses, issued, lambda _: losses["model"])
    fitted = registry.load_version(works, NAME).estimator
    decision = decided(works, fitted, NOON, evaluation)
    assert decision.error > decision.benchmark_error
    assert decision.serving == ("" if retired else decision.version)
    assert ("retired" in decision.reason) == retired
    if retired:
        with pytest.raises(registry.ModelMissing):
            registry.load_version(works, NAME)
        assert registry.rollback(works, NAME) == first.version
    serving = registry.load_version(works, NAME).number
    assert serving == (first.version if retired else decision.serving)


OPERATOR = ("load_mw", "wind_mw", "solar_mw")


def store_operator_forecasts(
    ctx, days, model, place="ES", value=100.0, hours_late=0, names=OPERATOR
):
    """Store load, wind and sun of whole days, as issued at 11:00 of the day before or later."""
    starts = pd.DatetimeIndex(pd.concat([to_slots(day, np.zeros(24)) for day in days]).index)
    issued = (
        starts.tz_convert("Europe/Madrid").tz_localize(None).normalize() - timedelta(hours=13)
    ).tz_localize("Europe/Madrid") + timedelta(hours=hours_late)
    frame = {
        "place": place,
        "model": model,
        "issued_at": issued.tz_convert("UTC").as_unit("s"),
        "target_start": starts,
        "resolution_s": 3600,
        "p10": np.nan,
        "p50": value,
        "p90": np.nan,
        "tier": "provider",
    }
    for name in names:
        ctx.store.write_forecasts(pd.DataFrame({"series": name, **frame}), run_id="test")


@pytest.mark.parametrize("model", ["energy_charts", "entsoe"])
def test_the_forecasts_of_any_source_of_the_catalogue_are_inputs(own_works, market, model):
    store_operator_forecasts(own_works, market.days[-63:].tolist(), model)
    assert "residual_load_mw" in histories.load_history(own_works, 70).operator


def test_weather_forecast_ahead_gives_wind_and_load_of_days_two_to_seven(ctx, market):
    days = market.days[-100:].tolist()
    store_operator_forecasts(ctx, days, "ree")
    for lead in (1, 3):  # of day two nothing newer than day three's is stored
        late = -24 * (lead - 1)
        names = ("wind_speed_100m_ms", "solar_radiation_wm2")
        store_operator_forecasts(ctx, days, "open_meteo", "ES", 8.0, late, names)
    operator = histories.load_history(replace(ctx, as_of=NOON), 300).operator
    ahead = {name for name in operator if name.endswith("_ahead")}
    quantities = ("residual_load_mw", "load_mw", "wind_mw")
    assert ahead == {f"{name}_{lead}d_ahead" for name in quantities for lead in (2, 3)}
    wind = operator["wind_mw_3d_ahead"]
    assert wind.grid[wind.row("2024-02-20")] == pytest.approx(100.0, rel=0.01)
    assert np.isfinite(wind.grid[wind.row("2024-02-23")]).all(), "issued at noon of the 20th"
    assert wind.days[-1] == np.datetime64("2024-02-23")


def test_what_was_first_seen_after_noon_counts_from_then_on(own_works, market):
    # cron missed the morning: seen at 12:20
    store_operator_forecasts(own_works, market.days[-70:].tolist(), "ree", hours_late=4 / 3)
    for minutes, last in ((10, "2024-02-20"), (30, "2024-02-21")):
        as_of = NOON + timedelta(minutes=minutes)
        load = histories.load_history(replace(own_works, as_of=as_of), 300).operator["load_mw"]
        assert load.days[-1] == np.datetime64(last)


def test_the_operators_forecasts_enter_if_issued_by_noon_of_the_day_before(own_works, market):
    days = market.days[-200:].tolist()
    sources = [("ES", "ree"), ("PT", "energy_charts"), ("ES", "energy_charts")]
    for number, (place, model) in enumerate(sources):
        for late in (0, 2):
            value = 100.0 + 899 * (late == 2) + number
            store_operator_forecasts(own_works, days, model, place, value, late)
    operator = histories.load_history(own_works, 300).operator
    assert set(operator) == {"residual_load_mw", "load_mw", "wind_mw", "pt_residual_load_mw"}
    assert set(np.unique(operator["load_mw"].grid)) == {100.0}, (
        "the afternoon's issue came too late, and the operator's own is trusted most"
    )
    assert set(np.unique(operator["pt_residual_load_mw"].grid)) == {-101.0}
    assert operator["load_mw"].days[-1] == np.datetime64("2024-02-21"), (
        "at noon of the 20th, that of the 21st"
    )
    assert (
        histories.load_history(replace(own_works, as_of=NOON - timedelta(days=150)), 300).operator
        == {}
    ), "too few days"


def test_a_backtest_is_a_run_without_a_model(works, small):
    run_id = log_backtest(
        works, "board", vars(small), {"mae": 3.2, "best_naive": "standard", "days": 14}
    )
    with registry.client_for(works, "look") as client:
        run = client.get_run(run_id)
    assert run.data.metrics == {"price_mae_eur_mwh": 3.2, "days": 14.0}
    assert run.data.params["tree_iterations"] == "5"
    assert run.data.tags["kind"] == "backtest"


@pytest.fixture(scope="module")
def operator(market: DayMatrix) -> dict[str, DayMatrix]:
    """What drives the made-up prices, seen a little blurred; a day further than they."""
    days = np.append(market.days, market.days[-1] + 1)
    seen = np.vstack([market.grid, market.grid[-1:]]) * 300
    blur = np.random.default_rng(4).normal(0, 300, (3, *seen.shape))
    names = ("residual_load_mw", "load_mw", "wind_mw")
    return {name: DayMatrix(days, seen + part) for name, part in zip(names, blur, strict=True)}


@pytest.fixture(scope="module")
def aided(
    market: DayMatrix, small: ForecasterConfig, operator: dict[str, DayMatrix]
) -> PriceForecaster:
    return PriceForecaster(small, leads=(1, 2)).fit(market.until("2024-02-20"), operator)


def test_a_champion_of_prices_alone_is_run_on_the_same_hours(works, market, first, aided, operator):
    prices = market.until("2024-02-20")
    evaluation = evaluate_price_model(NAME, aided, prices, operator)
    decision = SimpleNamespace(**decide(works, evaluation, first.version))
    assert decision.champion == first.version
    assert decision.error_on_same_hours < decision.champion_error, (
        "the operator's forecasts tell the price"
    )
    assert decision.alias == "champion"


def test_a_champion_that_needs_them_cannot_be_run_without(market, small, aided):
    bare = PriceForecaster(small, leads=(1, 2)).fit(market.until("2024-02-20"))
    evaluation = evaluate_price_model(NAME, bare, market.until("2024-02-20"), {})
    with pytest.raises(
        ModelIncompatible, match="forecasts of load_mw, residual_load_mw, wind_mw that are missing"
    ):
        evaluation.losses_of(aided)


def test_it_is_served_with_them_and_without_them_naive_says_why(
    works, market, first, aided, operator, monkeypatch
):
    logged = registry.log(
        works,
        name="test",
        params={},
        metrics={},
        models={NAME: aided},
        tags={"as_of": datetime(2024, 2, 20, 10, tzinfo=UTC).isoformat()},
        artifacts={},
        figures={},
    )
    registry.assign(works, NAME, logged.versions[NAME], registry.CHAMPION, "by hand")
    known = {name: matrix.until("2024-02-21") for name, matrix in operator.items()}
    monkeypatch.setattr(histories, "_operator", lambda *_: known)
    served = prediction.predict(works, 3).hourly
    day = served["price_eur_mwh"][served["tier"] == "champion"]
    expected = aided.predict(market.until("2024-02-20"), known)["p50"]
    assert len(day) == 48
    assert day.to_numpy() == pytest.approx(expected.reindex(day.index).to_numpy())
    afternoon = prediction.predict(replace(works, as_of=NOON + timedelta(hours=3)), 2).hourly
    forecast = aided.predict(market.until("2024-02-20"), known)
    tomorrow = forecast.index[forecast["lead"] == 1]
    miss = (afternoon["price_eur_mwh"] - forecast["p50"]).reindex(tomorrow)
    assert set(afternoon.loc[tomorrow, "tier"]) == {"published"}
    later = afternoon[afternoon["tier"] == "champion"]
    moved = (later["price_eur_mwh"] - forecast["p50"].reindex(later.index)).to_numpy()
    assert len(moved) == 15, "14:00 to midnight is published, and tomorrow; of 48 hours 15 are left"
    assert moved == pytest.approx(price_forecast.PERSISTING_MISS * miss.mean()), (
        "what was published since is not left unused"
    )
    monkeypatch.setattr(histories, "_operator", lambda *_: {})
    bare = prediction.predict(works, 3)
    day = bare.hourly["price_eur_mwh"][bare.hourly["tier"] == "champion"]
    alone = aided.predict(market.until("2024-02-20"))["p50"]
    assert day.to_numpy() == pytest.approx(alone.reindex(day.index).to_numpy())
    assert any(
        "needs forecasts of load_mw" in note and "prices alone serves" in note
        for note in summarise_prediction(bare, pd.DataFrame()).notes
    )
    monkeypatch.setattr(PriceForecaster, "expert_errors_", {})
    monkeypatch.setattr(PriceForecaster, "__setstate__", without_expert_errors)
    earlier = prediction.predict(works, 3)
    assert "champion" not in set(earlier.hourly["tier"])
    assert any("naive" in note for note in summarise_prediction(earlier, pd.DataFrame()).notes)


def without_expert_errors(forecaster: PriceForecaster, state: dict[str, object]) -> None:
    """Load as from a file of earlier code."""
    vars(forecaster).update({k: v for k, v in state.items() if k != "expert_errors_"})


def test_prices_without_weather_make_a_price_model_and_no_score(own_works, small, monkeypatch):
    fit = PriceForecaster.fit

    def fit_two_leads(self, prices, exogenous=None, *, jobs=None):
        self.config, self.leads = small, (1, 2)
        return fit(self, prices, exogenous, jobs=1)

    monkeypatch.setattr(PriceForecaster, "fit", fit_two_leads)
    result = retrain_trigger.train(own_works, force=True, draw=lab.training_charts)
    assert result.metrics["promoted"] in ("", NAME)
    assert len(result["price"]) == 2
    assert len(result["experts"]) == 2 * 5
    assert result["decisions"]["model"].tolist() == [NAME]
    assert result["scores"].empty
    assert "price of tomorrow" in result.summary
    assert any("No model of the score yet" in note for note in result.notes)
    again = retrain_trigger.train(own_works)
    assert again.metrics["skipped"]
    assert "No chart" in lab.training_charts(again.tables)["importances.png"]
