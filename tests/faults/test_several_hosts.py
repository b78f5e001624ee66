"""Several hosts share one state: processes with homes of their own and one PostgreSQL database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psycopg
import pytest

from factory_lib import settings as factory_settings
from factory_lib.admin.backup import restore_backup, take_backup
from factory_lib.cli import main
from factory_lib.context import open_context
from factory_lib.errors import JobLocked, LockLost, StoreUnavailable
from factory_lib.monitoring import alerts, diagnostics
from factory_lib.runs import records, runner, status
from factory_lib.settings import Settings
from factory_lib.state import calls, hold, hold_all, limiter, marks, open_state, shared
from factory_lib.state.shared import SharedState
from factory_sim.clock import SimulatedClock
from tests.support.postgres_server import PostgresServer

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
JOB = "gap_analysis"
HOLD = f"""
import sys, time
from factory_lib.settings import load
from factory_lib.state import hold
with hold(load("live"), "{JOB}"):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
from datetime import UTC, datetime
from factory_lib.settings import load
from factory_lib.state import calls, open_state
with open_state(load("live")) as state:
    for _ in range(50):
        calls.count_tick(state, "job", "ok", datetime(2026, 4, 15, 10, 0, tzinfo=UTC))
"""
RUN = f"""
import sys
from factory_lib.cli import main
sys.exit(main(["run", "{JOB}", "--json"]))
"""
ASK = """
import time
from msgspec import structs
from factory_lib.clock import SystemClock
from factory_lib.settings import load
from factory_lib.state import limiter, open_hosts
settings = load("live")
limits = structs.replace(settings.sources["ree"], spacing_s=0.1, requests_per_minute=600)
with open_hosts(settings) as hosts:
    for _ in range(15):
        limiter.acquire(hosts, "ree", limits, SystemClock())
        print(time.time(), flush=True)
"""


@pytest.fixture
def environment(
    postgres: PostgresServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let this process and its children be hosts of one installation, with this one's home."""
    committed = (factory_settings.ROOT / "config" / "factory.toml").read_text("utf-8")
    config = home / "factory.toml"
    shared = committed.replace('[state]\nbackend = "sqlite"', '[state]\nbackend = "postgres"')
    config.write_text(shared, "utf-8")
    monkeypatch.setenv("FACTORY_CONFIG", str(config))
    monkeypatch.setenv("POSTGRES_DSN", postgres.dsn)
    postgres.drop_schemas()
    yield
    postgres.drop_schemas()


@pytest.fixture
def here(environment: None) -> Settings:
    return factory_settings.load("live")


def other_host(code: str, home: Path) -> subprocess.Popen[str]:
    """Start a process with a home of its own."""
    env = {**os.environ, "FACTORY_HOME": str(home)}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def test_what_hosts_count_at_once_is_all_there(here: Settings, tmp_path: Path) -> None:
    hosts = [other_host(COUNT, tmp_path / name) for name in ("a", "b")]
    for host in hosts:
        host.communicate(timeout=120)
    assert [host.returncode for host in hosts] == [0, 0]
    with open_state(here, read_only=True) as state:
        assert calls.ticks_since(state, NOW) == [("job", "ok", 100)]


def test_a_provider_has_one_limit_over_all_hosts(here: Settings, tmp_path: Path) -> None:
    hosts = [other_host(ASK, tmp_path / name) for name in ("a", "b")]
    lines = " ".join(host.communicate(timeout=120)[0] for host in hosts).split()
    instants = sorted(map(float, lines))
    assert len(instants) == 30
    # a turn may begin late by what the limiter allows, and never early
    turns = np.arange(30) * 0.1 * limiter.MARGIN
    assert (np.array(instants) - instants[0] >= turns - limiter.LATEST_START_S).all()


def test_a_job_is_held_by_one_host_and_free_when_that_is_killed(
    here: Settings, tmp_path: Path
) -> None:
    other = other_host(HOLD, tmp_path / "other")
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with open_state(here, read_only=True) as state:
        assert state.is_held(JOB)
        assert not state.is_held("ml_training")
    with pytest.raises(JobLocked, match="on another host"), hold(here, JOB):
        pass
    with hold(here, "ml_training"):
        pass
    other.send_signal(signal.SIGKILL)
    other.communicate()
    _until_free(here)


def test_a_lock_in_another_database_of_the_server_is_another_one(
    here: Settings, postgres: PostgresServer
) -> None:
    dsn = postgres.dsn.removesuffix("postgres") + "elsewhere"
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE elsewhere")
        try:
            there = factory_settings.load("live", env={**os.environ, "POSTGRES_DSN": dsn})
            with hold(there, JOB), open_state(here) as ours, open_state(there) as theirs:
                assert (ours.is_held(JOB), theirs.is_held(JOB)) == (False, True)
        finally:
            admin.execute("DROP DATABASE elsewhere WITH (FORCE)")


def drop_locks(server: PostgresServer) -> int:
    """End the connections that hold a lock, as a server or a network does that goes away."""
    locks = "FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        ended = admin.execute(f"SELECT pg_terminate_backend(pid) {locks}").fetchall()
        deadline = time.monotonic() + 20  # the server says so before it has done it
        while admin.execute(f"SELECT 1 {locks}").fetchall() and time.monotonic() < deadline:
            time.sleep(0.02)
        return len(ended)


def test_work_ends_soon_after_its_lock_was_lost(here: Settings, postgres: PostgresServer) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell's background has it
    began = time.monotonic()
    try:
        with pytest.raises(LockLost, match=JOB), hold(here, JOB):
            assert drop_locks(postgres) == 1
            time.sleep(30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 15
    with hold(here, JOB) as require_held:
        require_held()
        drop_locks(postgres)
        with pytest.raises(LockLost):
            require_held()


def test_work_that_is_done_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    def lost_at_the_end(_: str) -> None:
        looked.set()
        time.sleep(0.3)
        raise StoreUnavailable("The server went away.")

    monkeypatch.setattr(shared, "LOOK_EVERY_S", 0.01)
    fake = SimpleNamespace(reported=nullcontext, execute=lost_at_the_end)
    with shared._watched(fake, fake, JOB):  # type: ignore[arg-type]
        assert looked.wait(5)


def test_many_jobs_are_held_by_one_connection(here: Settings, postgres: PostgresServer) -> None:
    with hold_all([(here, job) for job in here.jobs]):
        with open_state(here, read_only=True) as state:
            assert all(map(state.is_held, here.jobs))
        with psycopg.connect(postgres.dsn) as admin:
            query = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory'"
            assert len(admin.execute(query).fetchall()) == 1
    with hold_all([(here, job) for job in here.jobs]):
        pass


def test_a_run_whose_lock_was_lost_is_stopped_and_not_taken_for_the_jobs_last(
    here: Settings, postgres: PostgresServer, tmp_path: Path
) -> None:
    home = tmp_path / "a"
    running = other_host(RUN, home)
    deadline = time.monotonic() + 60
    with open_state(here) as state:
        while not list(home.rglob(records.WORKING_COPY)):
            assert time.monotonic() < deadline, "the run does not begin"
            time.sleep(0.1)
        assert drop_locks(postgres) == 1
        with hold(here, JOB):
            running.communicate(timeout=100)
            assert running.returncode == LockLost.exit_code
            (folder,) = records.folders(home / "runs")
            record = records.read_record(folder)
            assert (record.status, (record.error or "")[:8]) == ("killed", "LockLost")
            assert not marks.get_marks(state, marks.LAST_RUN)
            assert runner.settle_killed(here, state, NOW, alerts.after_run, JOB) == 1
        assert marks.get_marks(state, marks.LAST_RUN)[JOB].note["status"] == "killed"


def _until_free(settings: Settings) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with hold(settings, JOB):
                return
        except JobLocked:
            time.sleep(0.1)
    raise AssertionError("the lock of a killed process stays")


def test_a_run_of_another_host_lives_while_it_holds_the_lock_and_is_settled_after(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number means nothing here: it is that of a process of this host that is not there."""
    other = other_host(HOLD, tmp_path / "other")
    assert other.stdout is not None
    other.stdout.readline()
    note = {"pid": 2**22 + 1, "folder": "2026-04-15/100000Z-gap_analysis", "host": "elsewhere"}
    with open_state(here) as state:
        marks.set_mark(state, marks.STARTED, JOB, NOW, note)
        assert runner.settle_killed(here, state, NOW, alerts.after_run) == 0
        shown = {each.job: each.status for each in status.job_statuses(here, state, NOW)}
        assert shown[JOB] == "running"
        other.send_signal(signal.SIGKILL)
        other.communicate()
        _until_free(here)
        assert runner.settle_killed(here, state, NOW, alerts.after_run) == 1
        assert marks.get_marks(state, marks.LAST_RUN)[JOB].note["status"] == "killed"
        assert [alert.status for alert in alerts.list_alerts(state)] == ["open"]


def test_a_job_that_is_due_on_two_hosts_runs_once(here: Settings, tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("a", "b")]
    hosts = [other_host(RUN, home) for home in homes]
    outputs = [host.communicate(timeout=280)[0] for host in hosts]
    results = [json.loads(output.splitlines()[-1])["status"] for output in outputs]
    assert sorted(results) in (["ok", "skipped"], ["not_due", "ok"])
    assert len([file for home in homes for file in home.rglob("run.json")]) == 1
    assert main(["run", JOB]) == 0, "a third one that comes later finds nothing to do"
    with open_state(here, read_only=True) as state:
        ticks = {tick.outcome: tick.ticks for tick in calls.ticks_since(state, NOW)}
    assert main(["jobs"]) == 0
    assert ticks["ok"] == 1
    assert sum(ticks.values()) == 3


def test_a_host_that_is_killed_in_a_run_leaves_the_job_to_the_other(
    here: Settings, tmp_path: Path
) -> None:
    first = other_host(RUN, tmp_path / "a")
    deadline = time.monotonic() + 60
    with open_state(here) as state:
        while not marks.get_marks(state, marks.STARTED):
            assert time.monotonic() < deadline, "the run does not begin"
            time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    _until_free(here)
    second = other_host(RUN, tmp_path / "b")
    output = second.communicate(timeout=200)[0]
    assert json.loads(output.splitlines()[-1])["status"] == "ok"
    with open_state(here, read_only=True) as state:
        ticks = {tick.outcome: tick.ticks for tick in calls.ticks_since(state, NOW)}
        assert marks.get_marks(state, marks.STARTED) == {}
    assert ticks == {"killed": 1, "ok": 1}


def test_one_that_was_faster_is_noticed_once_the_lock_is_there(here: Settings) -> None:
    """Both found the job due; the other one ran it before this one had the lock."""
    options = runner.RunOptions(nothing_due=lambda state: "Nothing new.", clock=SimulatedClock(NOW))
    with pytest.raises(JobLocked, match="another process was faster"):
        runner.run_job(here, JOB, here.jobs[JOB], NOW, options)
    assert not list(here.paths.runs.rglob("run.json"))


def test_a_backup_holds_the_state_and_a_restore_brings_it_to_files_and_back(here: Settings) -> None:
    clock = SimulatedClock(NOW)
    with open_context(settings=here, as_of=NOW, clock=clock, run_id="test") as ctx:
        marks.set_mark(ctx.state, marks.LATEST_SLOT, "spot_eur_mwh", NOW, {"rows": 96})
        taken = take_backup(ctx)
        marks.set_mark(ctx.state, marks.LATEST_SLOT, "spot_eur_mwh", NOW + timedelta(hours=1))
        marks.set_mark(ctx.state, marks.LATEST_SLOT, "later", NOW)
    restored = restore_backup(here, clock, taken)
    assert restored.aside is not None
    assert (restored.aside / "state.db").is_file()
    with SharedState(here) as state:
        assert marks.get_marks(state, marks.LATEST_SLOT) == {"spot_eur_mwh": (NOW, {"rows": 96})}


def test_a_database_that_is_away_fails_a_tick_in_seconds_and_says_what_to_do(
    here: Settings, postgres: PostgresServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_state(here) as state:
        calls.count_tick(state, "job", "ok", NOW)
        postgres.stop()
        try:
            began = time.monotonic()
            assert main(["run", JOB]) == 69
            assert time.monotonic() - began < 20
            output = "".join(capfd.readouterr())
            assert "PostgreSQL at 127.0.0.1" in output
            assert "planted" not in output
            with pytest.raises(StoreUnavailable):
                calls.count_tick(state, "job", "ok", NOW)
            checks = {each.name: each for each in diagnostics.examine(here, notify=False)}
            assert checks["state"].status == "fail"
            assert "planted" not in str(checks)
        finally:
            postgres.start()
        calls.count_tick(state, "job", "ok", NOW)
        assert calls.ticks_since(state, NOW) == [("job", "ok", 2)]


def test_looking_makes_no_schema(here: Settings, postgres: PostgresServer) -> None:
    import psycopg

    with open_state(here, read_only=True) as state:
        assert marks.get_marks(state, marks.LAST_RUN) == {}
        assert limiter.open_hosts(state.hosts, here.breaker) == {}
    with psycopg.connect(postgres.dsn) as admin:
        query = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^factory_'"
        assert admin.execute(query).fetchall() == []
