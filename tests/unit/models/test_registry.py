"""Old trainings go with their files.

What is in use or young, and what a rollback returns to, stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from msgspec import structs
from sklearn.linear_model import LinearRegression

from factory_lib import settings as factory_settings
from factory_lib.context import RunContext, open_context
from factory_lib.errors import ModelIncompatible, ModelMissing, RegistryUnavailable
from factory_lib.models import registry, tracking
from factory_lib.monitoring import diagnostics
from factory_lib.results import NOTEBOOK_ENV
from factory_lib.settings import Settings
from factory_lib.state.calls import calls_since

MODEL = "energy_optimisation"
HORIZON = datetime.now(UTC) + timedelta(days=1)  # everything logged here began before it


def train(ctx: RunContext, tags: Mapping[str, str] | None = None) -> registry.Logged:
    estimator = LinearRegression().fit(np.arange(4.0).reshape(-1, 1), np.arange(4.0))
    return registry.log(
        ctx,
        name="training first",
        params={},
        metrics={},
        models={MODEL: estimator},
        tags=tags or {},
        artifacts={},
        figures={},
    )


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a registry without runs: to make its tables takes MLflow a second."""
    home = tmp_path_factory.mktemp("registry")
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
    with open_context(settings=settings) as opened, registry.client_for(opened, "log"):
        return settings.paths.registry


@pytest.fixture
def ctx(ctx: RunContext, empty_registry: Path) -> RunContext:
    """A profile with a copy of that registry."""
    shutil.copytree(empty_registry, ctx.settings.paths.registry, dirs_exist_ok=True)
    return ctx


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
    assert tracking.counts(ctx.settings)[1] == 1, "MLflow keeps the rows of what it deleted"
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


@pytest.mark.parametrize("lost", ["model.skops", "mlflow.db"])
def test_a_champion_that_is_gone_is_a_finding(ctx: RunContext, lost: str) -> None:
    logged = train(ctx, {registry.LEARNT: datetime.now(UTC).isoformat()})
    registry.assign(ctx, MODEL, logged.versions[MODEL], registry.CHAMPION, "better")

    def models() -> diagnostics.DiagnosticCheck:
        return {check.name: check for check in diagnostics.examine(ctx.settings)}["models"]

    assert models().status == "ok"
    for file in ctx.settings.paths.runs.rglob(lost):
        file.unlink()
    found = models()
    assert (found.status, lost in found.finding) == ("warn", True)
    assert "factory restore" in found.next_step


def test_a_run_whose_process_was_killed_is_ended_by_the_next(ctx: RunContext) -> None:
    train(ctx)
    with registry.client_for(ctx, "look") as client:
        experiment = client.get_experiment_by_name("factory-trainings").experiment_id
        began = int(1000 * (time.time() - 3 * 3600))
        dead = client.create_run(experiment, start_time=began).info.run_id
    train(ctx)
    with registry.client_for(ctx, "look") as client:
        assert client.get_run(dead).info.status == "KILLED"


def test_a_run_says_what_it_was_made_from_and_where_its_report_is(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = ctx.settings.paths.root / "notebooks" / "05_model_training.ipynb"
    monkeypatch.setenv(NOTEBOOK_ENV, str(notebook))
    x = pd.DataFrame({"hour": np.arange(4.0), "price": np.arange(4.0)})
    estimator = LinearRegression().fit(x, x["price"])
    logged = registry.log(
        ctx,
        name="training",
        params={},
        metrics={"price_mae_eur_mwh": 1.0},
        models={MODEL: estimator},
        tags={},
        artifacts={},
        figures={},
        data=registry.Data("history", x, "abc"),
        examples={MODEL: registry.Example(x.head(2), estimator.predict(x.head(2)))},
    )
    folder = ctx.settings.paths.runs / "2026-04-15" / "100000Z-ml_training"
    folder.mkdir(parents=True)
    (folder / "notebook.ipynb").write_text("{}", encoding="utf-8")
    registry.attach(ctx, logged.run_id, folder)
    with registry.client_for(ctx, "look") as client:
        run = client.get_run(logged.run_id)
        files = {each.path for each in client.list_artifacts(logged.run_id)}
        place = client.get_logged_model(run.outputs.model_outputs[0].model_id).artifact_location
    source = run.inputs.dataset_inputs[0].dataset
    assert (source.name, source.digest) == ("history", "abc")
    assert run.data.tags["mlflow.source.name"] == "notebooks/05_model_training.ipynb"
    assert "/runs/2026-04-15/100000Z-ml_training)" in run.data.tags["mlflow.note.content"]
    assert files == {"notebook.ipynb"}
    model = Path(place.removeprefix("file://"))
    assert '"name": "price"' in (model / "MLmodel").read_text("utf-8").replace("\\", "")
    assert (model / "input_example.json").is_file()
    loaded = mlflow.sklearn.load_model(str(model))
    assert loaded.predict(x.head(2)).tolist() == estimator.predict(x.head(2)).tolist()
    with zipfile.ZipFile(model / registry.MODEL_FILE) as file:
        assert {each.compress_type for each in file.infolist()} == {zipfile.ZIP_DEFLATED}


def test_the_commit_of_the_checkout_is_noted_and_that_of_a_folder_around_it_is_not(
    ctx: RunContext, tmp_path: Path
) -> None:
    def made_in(root: Path) -> dict[str, str]:
        paths = replace(ctx.settings.paths, root=root)
        moved = replace(ctx, settings=structs.replace(ctx.settings, paths=paths))
        with registry.client_for(ctx, "look") as client:
            return dict(client.get_run(train(moved).run_id).data.tags)

    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    (tmp_path / "inner").mkdir()
    assert len(made_in(tmp_path)["mlflow.source.git.commit"]) == 40
    assert "mlflow.source.git.commit" not in made_in(tmp_path / "inner")


def test_where_nothing_was_ever_logged_there_are_no_pages(settings: Settings) -> None:
    assert tracking.experiment_pages(settings, "http://x") == {}


def test_each_kind_of_run_has_its_experiment_and_what_earlier_code_left_serves_on(
    ctx: RunContext,
) -> None:
    logged = train(ctx)
    registry.assign(ctx, MODEL, logged.versions[MODEL], registry.CHAMPION, "better")
    with registry.client_for(ctx, "look") as client:  # which had one experiment for all
        first = client.get_run(logged.run_id).info.experiment_id
        client.rename_experiment(first, "factory")
    log = partial(
        registry.log, ctx, params={}, metrics={}, models={}, tags={}, artifacts={}, figures={}
    )
    for kind in tracking.RUN_KINDS:
        log(name="training again", kind=kind)
    with registry.client_for(ctx, "look") as client:
        made = {each.name: each.experiment_id for each in client.search_experiments()}
    assert set(made) == {"Default", "factory", *(f"factory-{kind}" for kind in tracking.RUN_KINDS)}
    assert made["factory"] == first
    pages = tracking.experiment_pages(ctx.settings, "http://x")
    number = made["factory-plans"]
    assert pages["plans"] == f"http://x/#/experiments/{number}/runs?workflowType=machine_learning"
    assert set(pages) == set(tracking.RUN_KINDS)
    page = tracking.run_page(ctx.settings, logged.run_id)
    view = "?workflowType=machine_learning"
    assert page == f"{tracking.PAGES}/#/experiments/{first}/runs/{logged.run_id}{view}"
    assert registry.load_version(ctx, MODEL).run_id == logged.run_id
    assert registry.has_run(ctx, logged.run_id)
    assert len(registry.logged_runs(ctx)) == 4, "earlier ones are compared with later ones"
    assert registry.prune(ctx, HORIZON) == 3, "the unused ones of every kind"
    assert registry.load_version(ctx, MODEL).run_id == logged.run_id


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
    assert tracking.experiment_name(shared.settings, "plans") == "factory-live-real-plans"
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


def test_a_registry_of_ones_own_is_read_without_mlflow_as_with_it(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reason in ("better", "worse", "best"):
        logged = train(ctx, {"as_of": ctx.as_of.isoformat(), "origin": "real"})
        alias = registry.CHALLENGER if reason == "worse" else registry.CHAMPION
        registry.assign(ctx, MODEL, logged.versions[MODEL], alias, reason)
    with registry.client_for(ctx, "prune") as client:
        client.delete_model_version(MODEL, "2")

    def found() -> tuple[pd.DataFrame, tuple[object, ...]]:
        version = registry.load_version(ctx, MODEL)
        return registry.versions(ctx), (version.number, version.tags, version.run_id)

    own = found()
    monkeypatch.setattr(tracking, "LOADING", ())
    monkeypatch.setattr(registry, "is_shared", lambda _: True)  # versions as of a server
    by_mlflow = found()
    pd.testing.assert_frame_equal(own[0], by_mlflow[0])
    assert own[1] == by_mlflow[1]
    assert own[0]["version"].tolist() == [3, 1]


def test_a_champion_is_loaded_in_a_process_without_mlflow(ctx: RunContext, home: Path) -> None:
    registry.assign(ctx, MODEL, train(ctx).versions[MODEL], registry.CHAMPION, "better")
    program = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from factory_lib.context import open_context; from factory_lib.models import registry\n"
        "with open_context('live') as ctx:\n"
        f"    registry.load_version(ctx, {MODEL!r}); registry.versions(ctx)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_mlflow_reports_nothing_to_its_makers(ctx: RunContext, home: Path) -> None:
    program = (
        "from factory_lib.context import open_context; from factory_lib.models import tracking\n"
        "with open_context('live') as ctx, tracking.client_for(ctx, 'log'):\n"
        "    from mlflow.telemetry import get_telemetry_client\n"
        "    assert get_telemetry_client() is None\n"
    )
    silent = ("PYTEST_CURRENT_TEST", "CI", "DO_NOT_TRACK")  # under which it never does
    plain = {name: value for name, value in os.environ.items() if name not in silent}
    done = subprocess.run(
        [sys.executable, "-c", program], env=plain, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


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
    assert list(registry.versions(ctx)["alias"]) == ["champion"]
    assert registry.versions(coast).empty, "a site shows its own models"
