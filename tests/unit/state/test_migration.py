"""A file of schema 1 becomes one of schema 2, and loses nothing."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from factory_lib.clock import epoch
from factory_lib.errors import CircuitOpen, QuotaError
from factory_lib.settings import Settings
from factory_lib.settings.records import BreakerSettings
from factory_lib.state import State, attempts, import_ledger, limiter, open_state
from factory_lib.state.alerts import NEVER, AlertRecord, list_alerts
from factory_lib.state.attempts import NextPass, RetryPass
from factory_lib.state.calls import Call, calls_since, ticks_since
from factory_lib.state.marks import LAST_RUN, LATEST_SLOT, get_marks
from factory_sim.clock import SimulatedClock

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
AT = epoch(NOW)
MINUTE = timedelta(minutes=1)
RULES = BreakerSettings(failures=5, open_s=300.0)

# As the version before wrote it.
SCHEMA_1 = """
PRAGMA journal_mode=WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE mark (topic TEXT, entity TEXT, at INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID;
CREATE TABLE tick (job TEXT, day TEXT, outcome TEXT, count INTEGER NOT NULL,
    last_at INTEGER NOT NULL, PRIMARY KEY (job, day, outcome)) WITHOUT ROWID;
CREATE TABLE spacing (host TEXT PRIMARY KEY, next_at REAL NOT NULL, day TEXT NOT NULL,
    used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE breaker (host TEXT PRIMARY KEY, failures INTEGER NOT NULL, open_until REAL NOT NULL,
    probing INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE call (at REAL NOT NULL, room TEXT NOT NULL, target TEXT NOT NULL,
    status TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, ms REAL NOT NULL);
CREATE INDEX call_at ON call (at);
CREATE TABLE import_ledger (sha256 TEXT, member TEXT, format TEXT NOT NULL, state TEXT NOT NULL,
    at INTEGER NOT NULL, report TEXT NOT NULL, PRIMARY KEY (sha256, member)) WITHOUT ROWID;
CREATE TABLE unfillable (series TEXT, first INTEGER, last INTEGER, asked TEXT,
    asked_at INTEGER NOT NULL, again_at INTEGER NOT NULL,
    PRIMARY KEY (series, first, last, asked)) WITHOUT ROWID;
CREATE TABLE alert (topic TEXT, entity TEXT, severity INTEGER NOT NULL, message TEXT NOT NULL,
    status TEXT NOT NULL, opened_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
    count INTEGER NOT NULL, told TEXT NOT NULL, told_at INTEGER NOT NULL,
    muted_until INTEGER NOT NULL, by TEXT NOT NULL, PRIMARY KEY (topic, entity)) WITHOUT ROWID;
"""
END = {"status": "ok", "verdict": "All is well.", "error": None}
PASS = {"first": AT - 1800, "until_min": 15.4, "failed": True}
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "meta": [("schema", "1")],
    "mark": [
        ("latest", "spot_eur_mwh", AT, "null"),
        ("job", "ingest", AT, json.dumps(END)),
        ("drift", "spot_eur_mwh", AT, json.dumps("Worse than naive.")),
        ("asked", "ree", AT - 60, "null"),
        ("asked", "omie", AT, "null"),
        ("backfill again", "automatic", AT, json.dumps(PASS)),
    ],
    "tick": [("ingest", "2026-04-15", "ok", 7, AT)],
    "spacing": [("ree", AT + 2.5, "2026-04-15", 3), ("omie", AT - 900.0, "2026-04-14", 8)],
    "breaker": [("ree", 2, 0.0, 0), ("omie", 5, AT + 300.0, 0)],
    "call": [
        (AT - 1.5, "net", "omie", "200", 0, 512, 42.5),
        (AT - 0.5, "net", "omie", "503", 0, 64, 12.5),
        (AT, "registry", "log", "ok", 0, 0, 9.0),
    ],
    "import_ledger": [
        ("ab" * 32, "spot.csv", "spot", "complete", AT, '{"rows": 24}'),
        ("cd" * 32, "torn.csv", "spot", "started", AT, "{}"),
    ],
    "unfillable": [("pvpc_eur_mwh", AT - 7200, AT - 3600, "esios@ES ree@ES", AT - 60, AT + 7140)],
    "alert": [
        ("gap", "pvpc_eur_mwh", 2, "60 slots", "acknowledged", AT, AT, 4, "2", AT, AT + 60, "Ana"),
        ("job", "ingest", 0, "It ran again.", "resolved", AT, AT, 1, "resolved", AT, 0, ""),
    ],
}

pytestmark = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


def write_schema_1(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.executescript(SCHEMA_1)
        for table, rows in ROWS.items():
            places = ", ".join("?" * len(rows[0]))
            database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)


@pytest.fixture(params=[False, True], ids=["writer", "reader"])
def migrated(settings: Settings, request: pytest.FixtureRequest) -> Any:
    write_schema_1(settings.paths.state)
    with open_state(settings, read_only=request.param) as state:
        yield state


def test_every_row_is_in_its_new_place(migrated: State) -> None:
    assert get_marks(migrated, LATEST_SLOT) == {"spot_eur_mwh": (NOW, None)}
    assert get_marks(migrated, "drift") == {"spot_eur_mwh": (NOW, "Worse than naive.")}
    end = {"status": "ok", "summary": "All is well.", "error": None}
    assert get_marks(migrated, LAST_RUN) == {"ingest": (NOW, end)}
    assert get_marks(migrated, "asked") == get_marks(migrated, "backfill again") == {}
    assert ticks_since(migrated, NOW) == [("ingest", "ok", 7)]
    assert calls_since(migrated, NOW - MINUTE) == [
        Call(NOW - timedelta(seconds=1.5), "http", "omie", "200", 0, 512, 42.5),
        Call(NOW - timedelta(seconds=0.5), "http", "omie", "503", 0, 64, 12.5),
        Call(NOW, "registry", "log", "ok", 0, 0, 9.0),
    ]
    assert import_ledger.completed_contents(migrated, "spot") == {("ab" * 32, "spot.csv")}
    statuses = migrated.query("SELECT status FROM import_ledger ORDER BY member")
    assert statuses == [("complete",), ("started",)]
    counts = migrated.query("SELECT counts FROM import_ledger WHERE member = 'spot.csv'")
    assert counts == [('{"rows": 24}',)]
    assert list_alerts(migrated) == [
        AlertRecord(
            "gap",
            "pvpc_eur_mwh",
            2,
            "60 slots",
            "acknowledged",
            NOW,
            NOW,
            4,
            "2",
            NOW,
            NOW + MINUTE,
            "Ana",
        ),
        AlertRecord(
            "job", "ingest", 0, "It ran again.", "resolved", NOW, NOW, 1, "resolved", NOW, NEVER
        ),
    ]


def test_attempts_go_on_where_they_were(migrated: State) -> None:
    assert attempts.last_requests(migrated) == {"ree": NOW - MINUTE, "omie": NOW}
    gap = (AT - 7200, AT - 3600)
    sources = [("ree", "ES"), ("esios", "ES")]
    assert attempts.unfillable_stretches(migrated, "pvpc_eur_mwh", sources, NOW) == [gap]
    assert attempts.next_gap_retry(migrated, ["pvpc_eur_mwh"]) == NOW + 119 * MINUTE
    assert attempts.next_pass(migrated) == NextPass(NOW, is_retry=True)
    begun = attempts.begin_pass(migrated, NOW)
    assert begun == RetryPass(NOW - 30 * MINUTE, pytest.approx(15.4), 30.0)


def test_limits_go_on_for_all_real_profiles(settings: Settings) -> None:
    write_schema_1(settings.paths.state)
    ree = structs.replace(settings.sources["ree"], requests_per_day=4)
    with open_state(settings) as state:
        clock = SimulatedClock(NOW)
        limiter.acquire(state.hosts, "ree", ree, clock)
        assert clock.now() == NOW + timedelta(seconds=2.5)
        with pytest.raises(QuotaError, match="all 4 requests"):
            limiter.acquire(state.hosts, "ree", ree, clock)
        with pytest.raises(CircuitOpen):
            limiter.pass_breaker(state.hosts, "omie", NOW, RULES)
        assert "HTTP 503" in limiter.open_hosts(state.hosts, RULES)["omie"]


def test_requests_of_two_profiles_on_one_day_are_added_up(settings: Settings) -> None:
    """The provider counted them all."""
    hosts_file = settings.paths.hosts
    for profile in ("live", "history"):
        file = hosts_file.parent / profile / "state.db"
        write_schema_1(file)
        with State(file, hosts_file) as state:
            rows = state.hosts.query("SELECT host, day, used FROM spacing ORDER BY host")
    assert rows == [("omie", "2026-04-14", 16), ("ree", "2026-04-15", 6)]


def test_a_migrated_file_has_the_tables_of_a_new_one(settings: Settings, tmp_path: Path) -> None:
    write_schema_1(settings.paths.state)
    with (
        open_state(settings) as migrated,
        State(tmp_path / "new" / "state.db", tmp_path / "new" / "hosts.db") as new,
    ):
        columns = (
            "SELECT m.name, c.name, c.type, c.pk FROM sqlite_master m, pragma_table_info(m.name) c"
            " WHERE m.type = 'table'"
        )
        assert Counter(migrated.query(columns)) == Counter(new.query(columns))
        assert migrated.query("SELECT * FROM meta") == new.query("SELECT * FROM meta")


def test_a_migration_that_breaks_off_leaves_the_old_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_schema_1(settings.paths.state)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("factory_lib.state.database.merge_hosts", killed)
        open_state(settings)
    with open_state(settings) as state:
        assert attempts.last_requests(state).keys() == {"ree", "omie"}
        assert limiter.open_hosts(state.hosts, RULES).keys() == {"omie"}
