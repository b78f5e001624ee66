"""The shared state: marks, ticks, locks, and what several processes do to it at once."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory_lib.errors import JobLocked, SchemaMismatch, StoreUnavailable
from factory_lib.files import lock
from factory_lib.state import State
from factory_lib.state.calls import count_tick, ticks_since
from factory_lib.state.marks import get_mark, get_marks, set_mark

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)


def open_in(folder: Path) -> State:
    return State(folder / "state.db", folder / "hosts.db")


def test_marks_remember_the_last_instant_and_note(state: State) -> None:
    set_mark(state, "latest", "spot", NOW, {"rows": 96})
    assert get_mark(state, "latest", "spot") == (NOW, {"rows": 96})
    assert get_mark(state, "latest", "pvpc") is None
    assert get_marks(state, "latest") == {"spot": (NOW, {"rows": 96})}


def test_ticks_are_rolled_up_by_day(state: State) -> None:
    for _ in range(3):
        count_tick(state, "ingest", "not_due", NOW)
    assert ticks_since(state, NOW) == [("ingest", "not_due", 3)]


def test_a_failed_transaction_leaves_nothing(state: State) -> None:
    with pytest.raises((sqlite3.IntegrityError, StoreUnavailable)), state.transaction() as sql:
        sql.execute("INSERT INTO meta VALUES ('half', 'written')")
        sql.execute("INSERT INTO meta VALUES ('half', 'again')")
    assert state.query("SELECT * FROM meta WHERE key = 'half'") == []


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    with open_in(tmp_path) as first, first.transaction() as sql:
        sql.execute("UPDATE meta SET value = '999' WHERE key = 'schema'")
    for read_only in (False, True):
        with pytest.raises(SchemaMismatch, match="schema 999"):
            State(tmp_path / "state.db", tmp_path / "hosts.db", read_only=read_only)


def test_a_lock_is_exclusive_and_released(tmp_path: Path) -> None:
    file = tmp_path / "locks" / "job.lock"
    with lock(file), pytest.raises(JobLocked, match="job is running"), lock(file, wait=False):
        pass
    with lock(file, wait=False):
        pass


def _count(folder: Path, times: int) -> None:
    with open_in(folder) as state:
        for _ in range(times):
            count_tick(state, "job", "ok", NOW)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count, args=(tmp_path, 50)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    with open_in(tmp_path) as state:
        assert ticks_since(state, NOW) == [("job", "ok", 150)]


def test_files_are_opened_one_after_the_other_and_all_succeed(tmp_path: Path) -> None:
    """A fresh file's change to WAL fails at once, without waiting, where another is changing it."""
    gate = os.open(tmp_path, os.O_RDONLY)
    with ThreadPoolExecutor(8) as together:
        fcntl.flock(gate, fcntl.LOCK_EX)
        opening = [together.submit(open_in, tmp_path) for _ in range(8)]
        assert not wait(opening, timeout=0.3).done
        fcntl.flock(gate, fcntl.LOCK_UN)
        opened = [each.result(60) for each in opening]
    os.close(gate)
    assert [state.query("PRAGMA journal_mode") for state in opened] == [[("wal",)]] * 8
    for state in opened:
        state.close()
