"""Readers open the state without writing, whatever they find."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory_lib.errors import StoreUnavailable
from factory_lib.settings import Settings
from factory_lib.state import limiter, open_state
from factory_lib.state.calls import count_tick, ticks_since
from factory_lib.state.marks import get_marks, set_mark

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
WRITE_AND_DIE = """
import os, signal
from datetime import UTC, datetime
from factory_lib.settings import load
from factory_lib.state import open_state
from factory_lib.state.calls import count_tick
state = open_state(load("live"))
count_tick(state, "job", "ok", datetime(2026, 4, 15, 10, 0, tzinfo=UTC))
os.kill(os.getpid(), signal.SIGKILL)
"""


def contents(folder: Path) -> dict[str, str]:
    """Return the checksum of each file below a folder; the log's index has no lasting content."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith("-shm")
    }


def test_a_reader_leaves_the_folder_as_it_was(settings: Settings, home: Path) -> None:
    with open_state(settings) as state:
        count_tick(state, "job", "ok", NOW)
        limiter.record_success(state.hosts, "ree")
    before = contents(home)
    with open_state(settings, read_only=True) as reader:
        assert ticks_since(reader, NOW) == [("job", "ok", 1)]
        assert limiter.open_hosts(reader.hosts, settings.breaker) == {}
    assert contents(home) == before


def test_a_missing_file_reads_as_empty(settings: Settings, home: Path) -> None:
    with open_state(settings, read_only=True) as reader:
        assert get_marks(reader, "latest") == {}
        assert limiter.open_hosts(reader.hosts, settings.breaker) == {}
    assert contents(home) == {}


def test_a_reader_sees_what_a_writer_has_just_written(settings: Settings) -> None:
    with open_state(settings) as writer:
        count_tick(writer, "job", "ok", NOW)
        with open_state(settings, read_only=True) as reader:
            assert ticks_since(reader, NOW) == [("job", "ok", 1)]
            count_tick(writer, "job", "ok", NOW)
            assert ticks_since(reader, NOW) == [("job", "ok", 2)]


def test_a_writer_is_not_hindered_by_a_reader_that_came_first(settings: Settings) -> None:
    open_state(settings).close()
    with open_state(settings, read_only=True) as reader:
        assert ticks_since(reader, NOW) == []
        with open_state(settings) as writer:
            count_tick(writer, "job", "ok", NOW)
        assert ticks_since(reader, NOW) == [("job", "ok", 1)]
    with open_state(settings) as state:
        assert ticks_since(state, NOW) == [("job", "ok", 1)]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_the_log_of_a_killed_writer_is_read_and_left_to_the_next(
    settings: Settings, home: Path
) -> None:
    open_state(settings).close()
    env = {**os.environ, "FACTORY_HOME": str(home)}
    died = subprocess.run([sys.executable, "-c", WRITE_AND_DIE], env=env, check=False)
    assert died.returncode == -signal.SIGKILL
    before = contents(home)
    assert "data/live/state.db-wal" in before
    with open_state(settings, read_only=True) as reader:
        assert ticks_since(reader, NOW) == [("job", "ok", 1)]
    assert contents(home) == before


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_user_who_may_not_write_can_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_state(settings) as state:
        count_tick(state, "job", "ok", NOW)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with open_state(settings, read_only=True) as reader:
        assert ticks_since(reader, NOW) == [("job", "ok", 1)]
        assert not settings.paths.state.with_name("state.db-shm").exists()


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "present"])
def test_a_reader_cannot_write(settings: Settings, exists: bool) -> None:
    if exists:
        open_state(settings).close()
    with (
        open_state(settings, read_only=True) as reader,
        pytest.raises((sqlite3.OperationalError, StoreUnavailable), match=r"readonly|to read"),
    ):
        set_mark(reader, "latest", "spot_eur_mwh", NOW)
