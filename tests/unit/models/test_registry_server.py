"""A registry that is an MLflow server on PostgreSQL: trained, served, pruned, and away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import requests
from msgspec import structs

from factory_lib.context import RunContext
from factory_lib.errors import ModelMissing, RegistryUnavailable
from factory_lib.features.days import DayMatrix
from factory_lib.models import prediction, registry, tracking
from factory_lib.models.forecasters import ForecasterConfig, PriceForecaster
from factory_lib.models.summary import summarise_prediction
from factory_lib.monitoring.diagnostics import machine_checks
from tests.support.postgres_server import QUOTED, PostgresServer, free_port

NAME = "spot_price"
HORIZON = datetime.now(UTC) + timedelta(days=1)  # everything logged here began before it
SECONDS = 20  # within which a server that is away is given up


@dataclass
class MlflowServer:
    """MLflow's own server, its runs in PostgreSQL and its artifacts in a folder."""

    dsn: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = str(Path(sys.executable).with_name("mlflow"))
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        data = ["--backend-store-uri", self.dsn]
        models = ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "server", *address, *data, *models],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text("utf-8")[-2000:]
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.uri}/health", timeout=2).ok
        return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            self.process.wait(30)
            self.process = None


@pytest.fixture(scope="module")
def server(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    started = MlflowServer(postgres.dsn, tmp_path_factory.mktemp("mlflow"), free_port())
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def shared(works: RunContext, server: MlflowServer) -> RunContext:
    """The market's store with the server as registry."""
    return replace(works, settings=structs.replace(works.settings, tracking_uri=server.uri))


@pytest.fixture(scope="module")
def fitted(market: DayMatrix, small: ForecasterConfig) -> PriceForecaster:
    return PriceForecaster(small, leads=(1, 2)).fit(market.until("2024-01-10"))


def train(ctx: RunContext, fitted: PriceForecaster) -> registry.Logged:
    return registry.log(
        ctx,
        name="training",
        params={"trees": 5},
        metrics={"mae": 3.5, "text": "left out"},
        models={NAME: fitted},
        tags={"as_of": "2024-01-10T11:00:00+00:00", "origin": "real"},
        artifacts={"note.txt": "as seen"},
        figures={},
    )


def stored_files(server: MlflowServer) -> set[Path]:
    return {file for file in (server.folder / "artifacts").rglob("*") if file.is_file()}


@contextmanager
def seconds() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


def test_it_is_trained_promoted_served_and_pruned(
    shared: RunContext,
    server: MlflowServer,
    fitted: PriceForecaster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "VERSIONS_KEPT", 1)
    others = stored_files(server)
    first = train(shared, fitted)
    files = stored_files(server) - others
    registry.assign(shared, NAME, first.versions[NAME], registry.CHAMPION, "the first")
    assert prediction.predict(shared, 2).hourly["tier"].eq("champion").any()
    assert registry.has_run(shared, first.run_id)
    later = [train(shared, fitted) for _ in range(2)]
    for each in later:
        registry.assign(shared, NAME, each.versions[NAME], registry.CHAMPION, "better")
    assert registry.prune(shared, HORIZON) >= 1, "a rollback returns to the second"
    assert not files & stored_files(server), "the files of the first are gone"
    listed = registry.versions(shared)
    assert set(listed["run_id"]) == {each.run_id for each in later}
    assert list(listed["model"].unique()) == [NAME], "called as in the library"
    assert registry.rollback(shared, NAME) == later[0].versions[NAME]
    assert registry.load_version(shared, NAME).run_id == later[0].run_id
    assert not list(server.folder.rglob("*.pkl"))
    with tracking.client_for(shared, "look") as client:
        names = {each.name for each in client.search_registered_models()}
        experiment = client.get_experiment_by_name("factory-live-real-trainings").experiment_id
        runs = client.search_runs([experiment])
    assert names == {f"factory-live-real-{NAME}"}
    assert {run.info.run_id: run.info.status for run in runs} == {
        each.run_id: "FINISHED" for each in later
    }
    assert not (shared.settings.paths.runs / "mlflow.db").exists()


def test_who_looks_creates_nothing_on_it(shared: RunContext, server: MlflowServer) -> None:
    unseen = replace(shared, settings=structs.replace(shared.settings, profile="unseen"))
    assert registry.versions(unseen).empty
    assert not registry.has_run(unseen, "none")
    with tracking.client_for(unseen, "look") as client:
        assert not tracking.experiments(unseen.settings, client)


def test_another_profile_on_the_same_server_sees_none_of_it(
    shared: RunContext, fitted: PriceForecaster
) -> None:
    logged = train(shared, fitted)
    registry.assign(shared, NAME, logged.versions[NAME], registry.CHAMPION, "the first")
    other = replace(shared, settings=structs.replace(shared.settings, profile="history"))
    assert registry.versions(other).empty
    assert registry.prune(other, HORIZON) == 0
    with pytest.raises(ModelMissing):
        registry.load_version(other, NAME)
    assert registry.load_version(shared, NAME).run_id == logged.run_id


def test_a_server_that_goes_in_the_middle_of_a_training_is_given_up_and_its_run_ended_later(
    shared: RunContext,
    server: MlflowServer,
    fitted: PriceForecaster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = train(shared, fitted)
    registry.assign(shared, NAME, kept.versions[NAME], registry.CHAMPION, "better")
    register = registry._register
    began = 0.0

    def killed_first(*arguments: object) -> str:
        nonlocal began
        server.stop(signal.SIGKILL)
        began = time.monotonic()
        return str(register(*arguments))  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "_register", killed_first)
    with pytest.raises(RegistryUnavailable, match=server.uri) as raised:
        train(shared, fitted)
    assert time.monotonic() - began < 2 * SECONDS
    assert raised.value.exit_code == 69
    monkeypatch.undo()
    with seconds():
        estimator, reason = registry.champion(shared, NAME)
    assert estimator is None
    outcome = prediction.predict(shared, 2)
    assert set(outcome.hourly["tier"]) == {"published", "naive"}, "the documented rules serve"
    notes = summarise_prediction(outcome, pd.DataFrame()).notes
    assert any(reason in note for note in notes), "and the page says why"
    (check, *_) = machine_checks(shared.settings)
    assert (check.name, check.status) == ("mlflow", "fail")
    server.start()
    assert registry.load_version(shared, NAME).run_id == kept.run_id
    monkeypatch.setattr(registry, "LONGEST_RUN_S", 0.0)
    train(shared, fitted)
    with tracking.client_for(shared, "look") as client:
        experiment = client.get_experiment_by_name("factory-live-real-trainings").experiment_id
        statuses = [run.info.status for run in client.search_runs([experiment])]
    assert statuses.count("KILLED") == 1
    assert "RUNNING" not in statuses


def test_a_database_that_is_away_is_noticed_in_seconds_and_comes_back(
    shared: RunContext, postgres: PostgresServer, fitted: PriceForecaster
) -> None:
    kept = train(shared, fitted)
    registry.assign(shared, NAME, kept.versions[NAME], registry.CHAMPION, "better")
    postgres.stop()
    try:
        with seconds():
            estimator, reason = registry.champion(shared, NAME)
        with seconds(), pytest.raises(RegistryUnavailable) as raised:
            train(shared, fitted)
    finally:
        postgres.start()
    assert estimator is None
    for secret in (QUOTED, QUOTED.partition("%")[0]):
        assert secret not in reason + str(raised.value)
    assert registry.load_version(shared, NAME).run_id == kept.run_id
