"""Training on a small store: what is learnt, judged, logged, decided, skipped and refused."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

import factory_lib
from factory_lib import settings as factory_settings
from factory_lib.clock import HOUR_S, from_epoch
from factory_lib.context import RunContext, open_context
from factory_lib.errors import ModelIncompatible, ModelMissing, TooFewRows
from factory_lib.features.days import DayMatrix
from factory_lib.models import history as histories
from factory_lib.models import prediction, registry, retrain_trigger, scores, train
from factory_lib.models.forecasters import ForecasterConfig, PriceForecaster
from factory_lib.models.scores import OUTDOOR_CLASS, SCORE
from factory_lib.models.summary import summarise_prediction
from factory_lib.results import JobResult
from factory_lib.settings.records import TrainingSettings
from factory_lib.state.marks import CHAMPION, get_marks, set_mark
from factory_sim.clock import SimulatedClock
from tests.support.stored import store_observed

# one worker builds what they share

NOW = datetime(2025, 6, 10, 10, tzinfo=UTC)
DAYS = 125
SMALL = {"n_estimators": 12, "max_leaf_nodes": 64, "max_features": 0.5, "min_samples_leaf": 5}


def made_up_hours(days: int, until: datetime) -> pd.DataFrame:
    """Weather and prices with a daily shape and a level that wanders from day to day."""
    draw = np.random.default_rng(3)
    index = (
        pd.date_range(until - timedelta(days=days), until, freq="h", inclusive="left")
        .floor("h")
        .as_unit("s")
    )
    phase = np.asarray(index.hour) / 24 * 2 * np.pi
    day = (np.arange(len(index)) + index[0].hour) // 24
    level, mild = (
        np.cumsum(draw.normal(0, 4, day[-1] + 1))[day],
        np.cumsum(draw.normal(0, 1, day[-1] + 1))[day],
    )
    return pd.DataFrame(
        {
            "spot_eur_mwh": 70 + level - 25 * np.cos(2 * phase) + draw.normal(0, 4, len(index)),
            "temperature_c": 20 + mild - 6 * np.cos(phase) + draw.normal(0, 0.5, len(index)),
            "humidity_pct": np.clip(
                55 + 20 * np.cos(phase) + draw.normal(0, 4, len(index)), 5, 100
            ),
        },
        index=index,
    )


def fill(ctx: RunContext, hours: pd.DataFrame) -> None:
    for name, place, source in (
        ("spot_eur_mwh", "ES", "ree"),
        ("temperature_c", "5279X", "aemet"),
        ("humidity_pct", "5279X", "aemet"),
    ):
        store_observed(ctx, name, hours.index, hours[name], place=place, source=source, at=NOW)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunContext]:
    """A profile with 125 days of hours in its store, and small forests."""
    settings = factory_settings.load(
        "live", env={"FACTORY_HOME": str(tmp_path_factory.mktemp("training"))}
    )
    settings = structs.replace(
        settings, training=TrainingSettings(minimum_rows=1000, history_days=200, folds=2, seed=1)
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        open_context(settings=settings, as_of=NOW, clock=SimulatedClock(NOW), run_id="test") as ctx,
    ):
        patch.setattr(scores, "FOREST", SMALL)
        fill(ctx, made_up_hours(DAYS, NOW + timedelta(days=30)))
        yield ctx


@pytest.fixture(scope="module")
def trained(workshop: RunContext) -> JobResult:
    from matplotlib.figure import Figure

    return retrain_trigger.train(workshop, draw=lambda _: {"empty.png": Figure()})


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give the first versions their alias back: the tests share a registry, in any order."""
    yield
    if "trained" in request.fixturenames:
        workshop, made = (request.getfixturevalue(name) for name in ("workshop", "trained"))
        for row in made["decisions"].itertuples():
            registry.assign(workshop, row.model, row.version, registry.CHAMPION, row.reason)


def at(ctx: RunContext, instant: datetime) -> RunContext:
    return replace(ctx, as_of=instant)


def test_the_first_versions_are_champions_when_better_than_naive(trained):
    found = trained.metrics
    assert trained.status == "ok"
    assert set(trained.metrics["promoted"].split(", ")) == {SCORE, OUTDOOR_CLASS}
    assert found["mae"] < found["naive_mae"]
    assert found["accuracy"] > max(found["persistence_accuracy"], found["majority_accuracy"])
    assert "rMAE" in trained.summary


def test_every_question_is_judged_beside_the_naive_forecasts(trained):
    assert trained["scores"]["question"].tolist()[0] == scores.HEADLINE
    assert len(trained["scores"]) == 3
    assert trained["scores"].notna().all().all()
    assert trained["scores"]["rmae"].to_numpy() == pytest.approx(
        trained["scores"]["mae"] / trained["scores"]["naive_mae"]
    )
    published = trained["scores"].set_index("question")["mae"]
    assert published.iloc[2] < published.iloc[1], "knowing tomorrow's prices helps"


def test_the_run_holds_what_it_was_made_of(workshop, trained):
    run_id = trained.metrics["mlflow_run_id"]
    with registry.client_for(workshop, "look") as client:
        run = client.get_run(run_id)
        files = {artifact.path for artifact in client.list_artifacts(run_id)}
    assert {"metrics.csv", "tested.csv", "empty.png"} <= files
    assert run.data.metrics[train.METRIC_NAMES["rmae"]] == pytest.approx(trained.metrics["rmae"])
    assert run.data.params["seed"] == "1"
    assert run.data.tags["data_hash"] == trained.metrics["data_hash"]
    assert run.data.tags["origin"] == "real"


def test_the_versions_carry_aliases_and_their_decisions(workshop, trained):
    versions = registry.versions(workshop)
    assert set(versions.loc[versions["alias"] == "champion", "model"]) == {SCORE, OUTDOOR_CLASS}
    assert (versions["decision"] != "").all()
    assert trained["decisions"]["reason"].str.startswith("better than ").all()
    assert any("No price model yet" in note for note in trained.notes)


def test_a_loaded_champion_forecasts_as_it_did_when_it_was_made(workshop, trained):
    version = registry.load_version(workshop, SCORE)
    history = histories.load_history(workshop, 100)
    known = scores.build_examples(history, NOW - timedelta(days=3), NOW)
    said = version.estimator.predict(known.x)
    assert len(said) > 100
    assert (
        np.abs(said - known.y["score"]).mean()
        < np.abs(known.y["score"] - known.y["score"].mean()).mean()
    )


def test_a_training_with_nothing_new_shows_the_last_one(workshop, trained):
    again = retrain_trigger.train(workshop)
    assert again.metrics["skipped"]
    assert again.summary.startswith("Nothing new")
    assert again.metrics["mlflow_run_id"] == trained.metrics["mlflow_run_id"]
    for name in ("scores", "fold_mae", "example", "confusion", "importances", "price"):
        pd.testing.assert_frame_equal(
            again[name],
            trained[name],
            check_dtype=False,
            check_names=False,
            check_index_type=False,
        )


@pytest.mark.parametrize(
    ("instant", "why"),
    [
        pytest.param(NOW + timedelta(hours=3), "Not due", id="the same day"),
        pytest.param(
            datetime(2025, 6, 10, 18, 44, tzinfo=UTC), "Not due", id="a minute before 20:45 local"
        ),
    ],
)
def test_more_hours_of_the_same_day_are_not_learnt_yet(workshop, trained, instant, why):
    assert retrain_trigger.train(at(workshop, instant)).summary.startswith(why)


def test_a_replay_leaves_registry_and_marks_alone(workshop, trained):
    def left():
        return registry.versions(workshop), get_marks(workshop.state, retrain_trigger.TOPIC)

    before = left()
    made = retrain_trigger.train(
        replace(at(workshop, NOW - timedelta(days=2)), explicit_as_of=True), force=True
    )
    assert made.summary.endswith("A replay registers no model.")
    assert len(made["decisions"]) == 0
    pd.testing.assert_frame_equal(left()[0], before[0])
    assert left()[1] == before[1]
    settings = structs.replace(
        workshop.settings, sources={}
    )  # a profile of imported files has no present to keep apart
    past = replace(at(workshop, NOW - timedelta(days=2)), explicit_as_of=True, settings=settings)
    assert len(retrain_trigger.train(past, force=True)["decisions"]) == 2


@pytest.mark.parametrize("pattern", retrain_trigger._CODE)
def test_the_code_whose_changes_cause_a_training_exists(pattern):
    assert list(Path(factory_lib.__file__).parent.glob(pattern))


def test_drift_since_the_last_training_makes_another_one_worth_it(workshop, trained):
    later = at(workshop, NOW + timedelta(hours=5))
    set_mark(workshop.state, retrain_trigger.DRIFT, "spot_eur_mwh", later.as_of, "worse than naive")
    made = retrain_trigger.train(later)
    set_mark(workshop.state, retrain_trigger.DRIFT, "spot_eur_mwh", later.as_of, "")
    assert not made.metrics["skipped"]


def test_a_refit_on_newer_days_replaces_the_champion_without_a_trial(workshop, trained):
    evening = at(workshop, datetime(2025, 6, 12, 18, 45, tzinfo=UTC))
    made = retrain_trigger.train(evening)
    assert not made.metrics["skipped"]
    decisions = made["decisions"].set_index("model")
    retired = decisions["reason"].str.contains("is retired")
    assert (decisions["alias"] == "champion").tolist() == (~retired).tolist()
    assert decisions["reason"].str.contains("a refit of champion 1 on newer days").all()
    assert decisions.loc[SCORE, "error"] < decisions.loc[SCORE, "benchmark_error"]
    champion = registry.load_version(evening, SCORE)
    assert champion.run_id == made.metrics["mlflow_run_id"]
    mark = get_marks(workshop.state, CHAMPION)[SCORE]
    prices = get_marks(workshop.state, retrain_trigger.TOPIC).values()
    until = max(note["prices_until"] for at, note in prices if at <= evening.as_of)
    assert mark.at == min(from_epoch(until + HOUR_S), evening.as_of)
    assert registry.rollback(workshop, SCORE) == "1"
    assert get_marks(workshop.state, CHAMPION)[SCORE].at < mark.at


def test_too_few_rows_are_refused_with_both_numbers(workshop):
    early = at(workshop, NOW - timedelta(days=DAYS - 30 - 70))
    with pytest.raises(TooFewRows) as refused:
        retrain_trigger.train(early)
    assert refused.value.needed == 1000
    assert refused.value.rows < 1000


def test_an_empty_store_is_too_few_rows(ctx):
    with pytest.raises(TooFewRows):
        retrain_trigger.train(ctx)


def test_weather_without_prices_is_forecast_and_what_lacks_is_named(ctx):
    hours = made_up_hours(60, NOW)
    fill(ctx, hours.assign(spot_eur_mwh=np.nan))
    trained = retrain_trigger.train(ctx)
    assert trained.status == "warn"
    assert trained.summary.startswith("Nothing was trained, for want of prices: load some with")
    assert "No model of the price: there is no whole day of prices." in trained.notes
    predicted = summarise_prediction(prediction.predict(ctx), pd.DataFrame())
    assert predicted["hourly"]["temperature_c"].notna().all()
    assert "no recent day of prices is stored. The weather is forecast: " in predicted.summary


@pytest.mark.parametrize(
    "call", [registry.load_version, registry.rollback], ids=["load", "rollback"]
)
def test_a_model_without_champion_is_said_so(workshop, call):
    with pytest.raises(ModelMissing, match="no champion"):
        call(workshop, "unheard_of")


def test_a_version_built_elsewhere_is_refused(workshop, trained, monkeypatch):
    monkeypatch.setattr(registry, "_built_with", lambda: {"scikit-learn": "9.9.9", "skops": "1"})
    with pytest.raises(ModelIncompatible, match=r"scikit-learn 1\.\d+"):
        registry.load_version(workshop, SCORE)


def test_training_rows_end_before_the_first_issue_of_their_fold(workshop, trained):
    history = histories.load_history(workshop, 120)
    known = scores.build_examples(history, NOW - timedelta(days=50), NOW)
    for learnt, tested in scores.split_folds(known.rows, history.known_until, 3):
        assert learnt.any()
        first_issue = known.rows["issued_at"][tested].min()
        assert known.rows["target_start"][learnt].max() + timedelta(hours=2) <= first_issue


def test_a_result_survives_its_file(trained):
    again = retrain_trigger.result_from_json(retrain_trigger.result_to_json(trained))
    assert (again.status, again.summary, again.metrics, again.notes) == (
        trained.status,
        trained.summary,
        trained.metrics,
        trained.notes,
    )
    assert again["example"].index.equals(trained["example"].index)


def test_a_refused_champion_is_named_and_each_model_has_its_own_source(
    workshop, trained, monkeypatch
):
    hours = pd.date_range(NOW, periods=12, freq="h").as_unit("s")
    hourly = pd.DataFrame(
        {"score": 50.0, "score_source": "rule", "outdoor_index_class_source": "rule"}, index=hours
    )
    history = histories.load_history(workshop, 120)
    load_version = registry.load_version

    def load(ctx: RunContext, name: str, **options: Any) -> registry.Version:
        if name == SCORE:
            raise ModelIncompatible(f"{name} version 1 cannot be loaded: damaged.")
        return load_version(ctx, name, **options)

    monkeypatch.setattr(registry, "load_version", load)
    assert prediction._serve(workshop, SCORE, history, hourly) == (
        0,
        f"{SCORE} version 1 cannot be loaded: damaged.",
    )
    assert prediction._serve(workshop, OUTDOOR_CLASS, history, hourly) == (12, "")
    assert set(hourly["score_source"]) == {"rule"}
    assert set(hourly["outdoor_index_class_source"]) == {"champion"}


def test_new_forecasts_of_the_operator_are_new_data(workshop, trained):
    history = histories.load_history(workshop, 120)
    days = np.datetime64("2025-01-01") + np.arange(3)
    aided = replace(history, operator={"load_mw": DayMatrix(days, np.ones((3, 24)))})
    assert retrain_trigger.data_hash(aided) != retrain_trigger.data_hash(history)


def test_with_a_longer_history_and_the_operators_forecasts_a_price_model_is_trained_and_served(
    tmp_path, monkeypatch
):
    config = ForecasterConfig(
        lasso_windows_days=(200,), tree_window_days=200, tree_iterations=5, tree_weight=0.1
    )
    monkeypatch.setattr(train, "PriceForecaster", partial(PriceForecaster, config, (1, 2)))
    monkeypatch.setattr(train.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(scores, "FOREST", SMALL)
    monkeypatch.setattr(histories, "LEAST_OPERATOR_DAYS", 150)
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(tmp_path)})
    settings = structs.replace(
        settings, training=TrainingSettings(minimum_rows=1000, history_days=200, folds=2, seed=1)
    )
    hours = made_up_hours(230, datetime(2025, 6, 11, 22, tzinfo=UTC))
    with open_context(
        settings=settings, as_of=NOW, clock=SimulatedClock(NOW), run_id="test"
    ) as ctx:
        fill(ctx, hours)
        morning = hours.index.tz_convert("Europe/Madrid").tz_localize(None).normalize() - timedelta(
            hours=13
        )
        for name, value in (("load_mw", 25_000.0), ("wind_mw", 6_000.0), ("solar_mw", 4_000.0)):
            rows = pd.DataFrame(
                {
                    "series": name,
                    "place": "ES",
                    "model": "ree",
                    "target_start": hours.index,
                    "resolution_s": 3600,
                    "issued_at": morning.tz_localize("Europe/Madrid")
                    .tz_convert("UTC")
                    .as_unit("s"),
                    "p10": np.nan,
                    "p50": value + 50 * hours["spot_eur_mwh"].to_numpy(),
                    "p90": np.nan,
                    "tier": "provider",
                }
            )
            ctx.store.write_forecasts(rows, run_id="test")
        made = retrain_trigger.train(ctx)
        assert "spot_price" in made.metrics["promoted"]
        assert made["price"]["day_ahead"].tolist() == [1, 2]
        assert made.metrics["price_mae"] < made.metrics["price_naive_mae"]
        assert (
            f"the rule over the forecasts is {made.metrics['rule_mae']:.1f} points off"
            in made.summary
        )
        assert made["fold_mae"]["rule over the forecasts"].iloc[-1] > 0
        served = registry.load_version(ctx, "spot_price").estimator
        assert served.exogenous_ == ["load_mw", "residual_load_mw", "wind_mw"]
        outcome = prediction.predict(ctx, 2)
        assert "champion" in set(outcome.hourly["tier"])
        assert (
            "forecast by the champion until"
            in summarise_prediction(outcome, pd.DataFrame()).summary
        )
