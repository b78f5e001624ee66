"""`[scale] dask`: sites on the workers of a cluster, and one of the workers lost on the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.cli import fan_out
from factory_lib.errors import FactoryError
from factory_lib.runs import records
from factory_lib.settings import Settings
from factory_lib.settings.records import ScaleSettings
from tests.support.sites import with_sites

distributed = pytest.importorskip("distributed")
SITES = ("north", "south", "east")
JOB = "feature_engineering"  # fails soon where nothing is stored, which is all it takes here


@pytest.fixture
def first(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    tables = "\n".join(f"[sites.{name}]" for name in SITES)
    for name, value in with_sites(home, tables).items():
        monkeypatch.setenv(name, value)
    return factory_settings.load("history")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two workers that are processes of this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as local:
        yield local


def on(settings: Settings, address: str) -> Settings:
    return structs.replace(settings, scale=ScaleSettings(dask=address))


def commands(settings: Settings) -> list[list[str]]:
    whose = ["--profile", settings.profile, "--site"]
    return [["run", JOB, "--force", *whose, name] for name in SITES]


def pids(settings: Settings) -> list[int]:
    """Return the processes of the runs that have begun."""
    sites = [settings.for_site(name) for name in SITES]
    folders = [folder for site in sites for folder in records.folders(site.paths.runs)]
    return [records.read_record(folder).pid for folder in folders]


def lose_one_worker(settings: Settings, cluster: Any) -> None:
    """Kill a worker as soon as both are at a run."""
    until = time.monotonic() + 120
    while len(pids(settings)) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    worker = next(iter(cluster.workers.values()))
    os.kill(worker.process.process.pid, signal.SIGKILL)


def test_what_a_lost_worker_was_at_is_run_again(first: Settings, cluster: Any) -> None:
    loss = Thread(target=lose_one_worker, args=(first, cluster))
    loss.start()
    settings = on(first, cluster.scheduler_address)
    answers = list(fan_out.run_commands(settings, commands(first)))
    loss.join()
    assert len(answers) == len(SITES)
    assert all("TooFewRows" in output for _, output in answers), answers
    ended = [
        [records.read_record(folder) for folder in records.folders(first.for_site(name).paths.runs)]
        for name in SITES
    ]
    assert all(site[0].status == "failed" for site in ended)
    assert sum(map(len, ended)) > len(SITES)
    assert not [pid for pid in pids(first) if records.is_alive(pid)]


def test_a_cluster_that_is_not_there_is_named(first: Settings) -> None:
    with pytest.raises(FactoryError, match=r"tcp://127\.0\.0\.1:9 does not answer"):
        list(fan_out.run_commands(on(first, "tcp://127.0.0.1:9"), commands(first)))
