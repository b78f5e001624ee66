"""Old trainings go with their files.

What is in use or young, and what a rollback returns to, stays.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs
from sklearn.linear_model import LinearRegression

from factory_lib.context import RunContext
from factory_lib.errors import ModelIncompatible, ModelMissing, RegistryUnavailable
from factory_lib.models import registry, tracking
from factory_lib.state.calls import calls_since

MODEL = "energy_optimisation"
HORIZON = datetime.now(UTC) + timedelta(days=1)  # everything logged here began before it


def train(ctx: RunContext, tags: Mapping[str, str] | None = None) -> registry.Logged:
    estimator = LinearRegression().fit(np.arange(4.0).reshape(-1, 1), np.arange(4.0))
    return registry.log(
        ctx,
        name="training",
        params={},
        metrics={},
        models={MODEL: estimator},
        tags=tags or {},
        artifacts={},
        figures={},
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the last version alone."""
    monkeypatch.setattr(registry, "VERSIONS_KEPT", 1)


@pytest.mark.usefixtures("few")
def test_only_what_is_old_and_has_no_alias_goes(ctx: RunContext) -> None:
    assert registry.prune(ctx, HORIZON) == 0
    first, second = train(ctx), train(ctx)
    registry.assign(ctx, MODEL, second.versions[MODEL], registry.CHAMPION, "better")
    folder = ctx.settings.paths.mlflow_artifacts
    before = sum(file.is_file() for file in folder.rglob("*"))
    assert registry.prune(ctx, HORIZON - timedelta(days=2)) == 0, "the run keeps its figures"
    assert registry.prune(ctx, HORIZON) == 1
    assert list(registry.versions(ctx)["run_id"]) == [second.run_id]
    assert registry.load_version(ctx, MODEL).run_id == second.run_id
    after = sum(file.is_file() for file in folder.rglob("*"))
    assert after < before, f"the files of {first.run_id} are still there"
    assert registry.prune(ctx, HORIZON) == 0


def test_the_last_seven_versions_are_kept_however_young_the_others_are(ctx: RunContext) -> None:
    numbers = [train(ctx).versions[MODEL] for _ in range(9)]
    registry.assign(ctx, MODEL, numbers[0], registry.CHAMPION, "better")
    files = ctx.settings.paths.mlflow_artifacts.rglob
    assert registry.prune(ctx, HORIZON - timedelta(days=2)) == 0
    left = registry.versions(ctx)["version"]
    assert sorted(left) == [int(numbers[0]), *map(int, numbers[2:])]
    assert len(list(files("*.skops"))) == 8
    assert registry.prune(ctx, HORIZON) == 1, "the run of the one that went"


@pytest.mark.usefixtures("few")
def test_what_a_rollback_returns_to_stays(ctx: RunContext) -> None:
    numbers = [train(ctx).versions[MODEL] for _ in range(3)]
    for number in numbers:
        registry.assign(ctx, MODEL, number, registry.CHAMPION, "better")
    assert registry.prune(ctx, HORIZON) == 1, "the first is two promotions back"
    registry.retire(ctx, MODEL, "behind the naive forecast")
    assert registry.prune(ctx, HORIZON) == 0
    assert registry.rollback(ctx, MODEL) == numbers[2], "the retirement is undone"
    assert registry.rollback(ctx, MODEL) == numbers[1], "and the promotion before it"
    with pytest.raises(ModelMissing, match="there is no earlier one"):
        registry.rollback(ctx, MODEL)


def test_that_no_version_serves_is_an_answer_of_the_registry(ctx: RunContext) -> None:
    train(ctx)
    with pytest.raises(ModelMissing, match="has no champion"):
        registry.load_version(ctx, MODEL)
    recorded = calls_since(ctx.state, ctx.clock.now())
    assert [(call.target, call.status) for call in recorded] == [("log", "ok"), ("load", "ok")]


def test_a_registry_of_another_origin_serves_nothing_and_the_environment_stays(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    logged = train(ctx, {"origin": "simulated"})
    registry.assign(ctx, MODEL, logged.versions[MODEL], registry.CHAMPION, "better")
    with pytest.raises(ModelIncompatible, match="trained on simulated data"):
        registry.load_version(ctx, MODEL)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://elsewhere"


def test_a_folder_that_was_copied_finds_its_own_artifacts_and_no_pickle_is_loaded(
    ctx: RunContext, tmp_path: Path
) -> None:
    logged = train(ctx)
    registry.assign(ctx, MODEL, logged.versions[MODEL], registry.CHAMPION, "better")
    paths = ctx.settings.paths
    copy = replace(paths, runs=tmp_path / "elsewhere" / "runs")
    shutil.copytree(paths.runs, copy.runs)
    shutil.rmtree(paths.mlflow_artifacts)
    for file in copy.mlflow_artifacts.rglob("MLmodel"):
        text = file.read_text("utf-8").replace("serialization_format: skops", "x: cloudpickle")
        file.write_text(text, "utf-8")
    moved = replace(ctx, settings=structs.replace(ctx.settings, paths=copy))
    before = (copy.runs / "mlflow.db").read_bytes()
    assert registry.load_version(moved, MODEL).number == logged.versions[MODEL]
    assert len(registry.versions(moved)) == 1
    assert (copy.runs / "mlflow.db").read_bytes() == before, "looking leaves it as it is"
    train(moved)
    assert not paths.mlflow_artifacts.exists(), "nothing is written to the old place"
    assert registry.has_run(moved, logged.run_id)
    shutil.rmtree(copy.mlflow_artifacts)
    assert not registry.has_run(moved, logged.run_id)


def test_a_run_whose_process_was_killed_is_ended_by_the_next(ctx: RunContext) -> None:
    train(ctx)
    with registry.client_for(ctx, "look") as client:
        experiment = client.get_experiment_by_name("factory").experiment_id
        began = int(1000 * (time.time() - 3 * 3600))
        dead = client.create_run(experiment, start_time=began).info.run_id
    train(ctx)
    with registry.client_for(ctx, "look") as client:
        assert client.get_run(dead).info.status == "KILLED"


def test_a_server_that_is_away_is_noticed_in_seconds_and_named_without_its_password(
    ctx: RunContext,
) -> None:
    uri = "http://ana:planted-5512@127.0.0.1:9"
    away = replace(ctx, settings=structs.replace(ctx.settings, tracking_uri=uri))
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable) as raised:
        registry.load_version(away, MODEL)
    assert time.monotonic() - began < 20
    assert "planted" not in str(raised.value)
    assert raised.value.exit_code == 69
    assert not registry.has_run(away, "x")


def test_names_on_a_server_say_whose_they_are(ctx: RunContext) -> None:
    shared = replace(ctx, settings=structs.replace(ctx.settings, tracking_uri="http://x"))
    assert tracking.registered_name(shared, MODEL) == f"factory-live-real-{MODEL}"
    assert tracking.experiment_name(shared) == "factory-live-real"
    assert tracking.registered_name(ctx, MODEL) == MODEL


class FullServer:
    """A server whose first page of answers holds the models of others alone."""

    def search_registered_models(self, filter_string: str = "") -> list[SimpleNamespace]:
        name = "factory-live-real-ours" if "factory-live-real-" in filter_string else "another"
        return [SimpleNamespace(name=name, aliases={"champion": "2"})]

    def search_model_versions(self, filter_string: str = "") -> list[SimpleNamespace]:
        number = {"version": "2", "creation_timestamp": 0, "tags": {}, "run_id": "run"}
        return [SimpleNamespace(name="factory-live-real-ours", **number)]


def test_a_server_full_of_others_models_hides_none_of_ours(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = replace(ctx, settings=structs.replace(ctx.settings, tracking_uri="http://x"))
    monkeypatch.setattr(registry, "client_for", lambda *_: nullcontext(FullServer()))
    row = registry.versions(shared).iloc[0]
    assert (row["model"], row["alias"]) == ("ours", "champion")


def test_a_registry_of_ones_own_is_asked_without_mlflow(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = train(ctx)
    registry.assign(ctx, MODEL, logged.versions[MODEL], registry.CHAMPION, "better")
    monkeypatch.setattr(registry, "client_for", None)
    paths = ctx.settings.paths.of_site("coast")
    coast = replace(ctx, settings=structs.replace(ctx.settings, site_id="coast", paths=paths))
    for each in (ctx, coast):
        assert registry.has_run(each, logged.run_id), "the registry is one for all sites"
        assert not registry.has_run(each, "another")
