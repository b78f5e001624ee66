"""A PostgreSQL server that is down, refuses, goes away in mid-write or is shared by processes."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import psycopg
import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.catalogue import default_catalogue
from factory_lib.cli import main
from factory_lib.clock import epoch
from factory_lib.errors import ConfigError, StoreUnavailable
from factory_lib.frames import tidy
from factory_lib.runs.records import is_alive
from factory_lib.settings import Settings
from factory_lib.settings.records import StoreSettings
from factory_lib.settings.secrets import Secret
from factory_lib.state.postgres import Postgres
from factory_lib.store import open_store
from factory_lib.store.base import Store, WriteResult
from factory_lib.store.copying import backup, copy, restore
from factory_lib.store.postgres import PostgresBackend
from factory_lib.store.sqlite import SqliteBackend
from tests.support.postgres_server import PASSWORD, QUOTED, PostgresServer, free_port, missing

CATALOGUE = default_catalogue()
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = {"places": ["ES"], "start": FIRST, "end": datetime(2090, 1, 1, tzinfo=UTC)}
SECONDS = 10  # within which a server that is away is given up


def prices(number: int, offset: float = 0.0) -> pd.DataFrame:
    starts = epoch(FIRST) + np.arange(number, dtype=np.int64) * 900
    origin = {"place": "ES", "source": "omie", "kind": "observed", "resolution_s": 900}
    values = np.arange(number) % 100 + offset
    return tidy("spot_eur_mwh", starts, values, retrieved_at=FIRST, **origin)


WRITER = f"""
import os, sys
from datetime import UTC, datetime
import numpy as np
import pandas as pd
from factory_lib.catalogue import default_catalogue
from factory_lib.clock import epoch
from factory_lib.frames import tidy
from factory_lib.settings.secrets import Secret
from factory_lib.store.base import Store
from factory_lib.store.postgres import PostgresBackend
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
{inspect.getsource(prices)}
backend = PostgresBackend(Secret(os.environ["POSTGRES_DSN"]), sys.argv[1], "real")
store = Store(backend, default_catalogue())
print("open", flush=True)
for run in range(int(sys.argv[2])):
    rows = prices(int(sys.argv[3]), run / 4)
    print(store.write(rows, run_id=sys.argv[4] + str(run)).written, flush=True)
store.close()
"""


def writer(
    server: PostgresServer, schema: str, runs: int, rows: int, name: str = "w"
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, schema, str(runs), str(rows), name]
    environment = {**os.environ, "POSTGRES_DSN": server.dsn}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def schema() -> str:
    return f"faults_{uuid4().hex[:8]}"


@pytest.fixture
def store(postgres: PostgresServer, schema: str) -> Iterator[Store]:
    opened = Store(PostgresBackend(Secret(postgres.dsn), schema, "real"), CATALOGUE)
    yield opened
    opened.close()


def with_dsn(home: object, dsn: str) -> Settings:
    env = {"FACTORY_HOME": str(home), "POSTGRES_DSN": dsn}
    settings = factory_settings.load("live", env=env)
    return structs.replace(settings, store=StoreSettings("postgres"))


# -- refused and unreachable ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda dsn: "", "is not set"),
        (lambda dsn: "planted secret words", "is neither"),
        (lambda dsn: dsn.replace("%2F", "%zz"), "is neither"),
        (lambda dsn: dsn.replace("planted", "wrong"), "password authentication failed"),
        (lambda dsn: dsn.replace("factory:", "nobody:"), "password authentication failed"),
        (lambda dsn: dsn + "_other", 'database "postgres_other" does not exist'),
    ],
    ids=["unset", "words", "code", "password", "user", "database"],
)
def test_what_the_server_refuses_names_the_setting_and_no_secret(
    postgres: PostgresServer, home: object, change, reason: str
) -> None:
    with pytest.raises(ConfigError, match="POSTGRES_DSN") as raised:
        open_store(with_dsn(home, change(postgres.dsn)))
    assert reason in str(raised.value)
    assert raised.value.exit_code == 2
    for secret in (PASSWORD, QUOTED, "planted", "wrong-7719"):
        assert secret not in str(raised.value)
    assert raised.value.__cause__ is None, "the driver's error holds the password"
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_what_is_unknown_in_any_column_costs_no_other_value(store: Store) -> None:
    names = [f"c{number}" for number in range(9)]
    backend = store.backend
    assert isinstance(backend, PostgresBackend)
    backend.execute(f"CREATE TEMP TABLE wide ({' BIGINT, '.join(names)} BIGINT)")
    columns = {name: (np.arange(2), np.array([False, False])) for name in names}
    columns["c8"] = (np.arange(2), np.array([True, False]))
    backend.ingest("wide", columns)
    assert backend.execute("SELECT c0, c8 FROM wide ORDER BY c0") == [(0, None), (1, 1)]


def test_a_user_who_may_make_no_schema_is_told_so_and_may_look(
    postgres: PostgresServer, schema: str
) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE USER {schema} PASSWORD 'planted-2'")
    place = f"host=127.0.0.1 port={postgres.port} dbname=postgres"
    dsn = Secret(f"{place} user={schema} password=planted-2")
    with pytest.raises(ConfigError, match="may not do this") as raised:
        PostgresBackend(dsn, schema, "real")
    assert "planted" not in str(raised.value)
    server = Postgres(dsn, schema, lambda: None)
    for _ in range(2):  # it does not become a connection that looks elsewhere
        with pytest.raises(ConfigError, match="may not do this"):
            server.execute("SELECT 1")
    looking = Store(PostgresBackend(dsn, schema, "real", lazy=True), CATALOGUE)
    assert looking.read("spot_eur_mwh", **WINDOW).empty
    with pytest.raises(ConfigError, match="POSTGRES_DSN"):
        looking.write(prices(1), run_id="a")
    looking.close()


def test_a_server_that_is_away_is_unavailable_within_seconds(home: object) -> None:
    settings = with_dsn(home, f"postgresql://ana:{QUOTED}@127.0.0.1:{free_port()}/factory")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as raised:
        open_store(settings)
    assert time.monotonic() - began < SECONDS
    assert QUOTED not in str(raised.value)
    assert raised.value.exit_code == 69


def test_commands_and_doctor_say_what_is_wrong_without_the_password(
    postgres: PostgresServer,
    home: object,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = factory_settings.ROOT / "config" / "factory.toml"
    text = config.read_text("utf-8").replace('backend = "sqlite"', 'backend = "postgres"', 1)
    (tmp_path / "factory.toml").write_text(text, "utf-8")
    monkeypatch.setenv("FACTORY_CONFIG", str(tmp_path / "factory.toml"))
    monkeypatch.setenv("POSTGRES_DSN", postgres.dsn.replace("planted", "planted-bad"))
    for command in (["gaps"], ["doctor", "--profile", "history"]):
        assert main(command) in (1, 2), command
        output = "".join(capfd.readouterr())
        assert "POSTGRES_DSN" in output, command
        assert "planted" not in output, command
    monkeypatch.setenv("POSTGRES_DSN", postgres.dsn)
    for made in (True, False):
        assert main(["store", "create", "--json"]) == 0
        assert json.loads(capfd.readouterr().out) == [
            {"backend": "postgres", "store": "factory_live", "made": made}
        ]
    assert main(["doctor", "--profile", "history", "--json"]) == 0
    checks = {each["name"]: each for each in json.loads(capfd.readouterr().out)["checks"]}
    assert checks["store"]["finding"] == "postgres, real, 0 series"
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute('DROP SCHEMA "factory_live" CASCADE')


# -- in the middle ---------------------------------------------------------------------------


def test_a_server_that_restarts_is_used_again(postgres: PostgresServer, store: Store) -> None:
    assert store.write(prices(10), run_id="a") == WriteResult(new=10)
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailable):
            store.read("spot_eur_mwh", **WINDOW)
        with pytest.raises(StoreUnavailable):
            store.write(prices(20), run_id="b")
    finally:
        postgres.start()
    assert store.write(prices(20), run_id="b") == WriteResult(new=10, unchanged=10)


def test_a_connection_cut_in_mid_write_leaves_nothing_of_it(
    postgres: PostgresServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = store.backend
    assert isinstance(backend, PostgresBackend)
    ingest = backend.ingest

    def cut(table, columns) -> None:
        ingest(table, columns)
        ((number,),) = backend.execute("SELECT pg_backend_pid()")
        with psycopg.connect(postgres.dsn, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (number,))

    monkeypatch.setattr(backend, "ingest", cut)
    with pytest.raises(StoreUnavailable) as raised:
        store.write(prices(100), run_id="a")
    assert "SELECT" not in str(raised.value)
    monkeypatch.undo()
    assert store.inventory().empty
    assert store.write(prices(100), run_id="a") == WriteResult(new=100)


def test_processes_that_write_at_once_lose_and_double_nothing(
    postgres: PostgresServer, schema: str
) -> None:
    """They also make the schema at once."""
    processes = [writer(postgres, schema, 6, 500, name) for name in ("a", "b")]
    written = [
        [int(line) for line in process.communicate(timeout=90)[0].split()[1:]]
        for process in processes
    ]
    assert [process.returncode for process in processes] == [0, 0]
    store = Store(PostgresBackend(Secret(postgres.dsn), schema, "real"), CATALOGUE)
    raw = store.read("spot_eur_mwh", raw=True, **WINDOW)
    assert len(raw) == sum(map(sum, written))
    assert raw.groupby("start")["rev"].agg(["count", "max"]).eval("count == max").all()
    newest = store.read("spot_eur_mwh", **WINDOW)["value"]
    assert newest.tolist() == prices(500, 5 / 4)["value"].tolist()
    store.close()


def test_a_killed_writer_leaves_whole_writes_and_the_next_completes(
    postgres: PostgresServer, store: Store, schema: str
) -> None:
    process = writer(postgres, schema, 1000, 5000)
    assert process.stdout is not None
    done = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert done[0] == "open\n"
    last = store.read("spot_eur_mwh", **WINDOW)["value"].iloc[0] * 4
    assert store.write(prices(5000, (last + 1) / 4), run_id="next") == WriteResult(revised=5000)
    raw = store.read("spot_eur_mwh", raw=True, **WINDOW)
    assert raw.groupby("run_id").size().eq(5000).all()
    assert raw["run_id"].nunique() >= 4


def test_the_query_of_the_manual_shows_the_newest_values(store: Store, schema: str) -> None:
    store.write(prices(3), run_id="a")
    store.write(prices(2, 0.5), run_id="b")
    manual = (factory_settings.ROOT / "docs" / "operations.md").read_text("utf-8")
    query = manual.partition("```sql\n")[2].partition(";\n```")[0]
    assert isinstance(store.backend, PostgresBackend)
    shown = store.backend.execute(query.replace("factory_live", schema))
    assert [value for _, value in shown] == [0.5, 1.5, 2.0]
    assert shown[0][0] == FIRST


# -- copies, and an extension ----------------------------------------------------------------


def test_a_backup_is_a_sqlite_file_and_a_copy_is_the_same_whichever_way(
    store: Store, tmp_path
) -> None:
    store.write(prices(200), run_id="a")
    store.write(prices(100, 0.5), run_id="b")
    kept = backup(store, tmp_path / "one.db")
    pd.testing.assert_frame_equal(kept, store.inventory())
    embedded = Store(SqliteBackend(tmp_path / "two.db", "real"), CATALOGUE)
    assert copy(store, embedded)["copied"].sum() == 300
    pd.testing.assert_frame_equal(embedded.inventory(), kept)
    assert copy(embedded, store)["copied"].sum() == 0
    pd.testing.assert_frame_equal(restore(tmp_path / "one.db", store), kept)
    as_of = datetime(2026, 1, 1, 12, tzinfo=UTC)
    pd.testing.assert_frame_equal(
        store.read("spot_eur_mwh", as_of=as_of, **WINDOW),
        embedded.read("spot_eur_mwh", as_of=as_of, **WINDOW),
    )
    embedded.close()


def test_where_timescaledb_is_installed_its_hypertables_are_asked_for(
    postgres: PostgresServer, schema: str
) -> None:
    """Its function is stood in for: the extension itself is not installed here."""
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA hyper")
        admin.execute("CREATE TABLE hyper.calls (relation text, by text, step bigint)")
        admin.execute(
            "CREATE FUNCTION hyper.create_hypertable(relation regclass, by name,"
            " chunk_time_interval bigint, if_not_exists boolean) RETURNS void LANGUAGE sql AS"
            " 'INSERT INTO hyper.calls VALUES (relation::text, by::text, chunk_time_interval)'"
        )
        try:
            PostgresBackend(Secret(postgres.dsn), schema, "real").close()
            calls = admin.execute("SELECT * FROM hyper.calls ORDER BY 1").fetchall()
        finally:
            admin.execute("DROP SCHEMA hyper CASCADE")
    assert calls == [("forecast", "start", 31_622_400), ("value", "start", 31_622_400)]


SERVER = """
import time
from tests.support.postgres_server import serving
with serving() as server:
    print(server.process.pid, server.folder, flush=True)
    time.sleep(60)
"""


def test_a_server_of_the_tests_ends_with_a_test_process_that_is_killed() -> None:
    if reason := missing():
        pytest.skip(reason)
    root = Path(__file__).parents[2]
    tester = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, cwd=root)
    assert tester.stdout is not None
    number, folder = tester.stdout.readline().split()
    server = int(number)
    assert is_alive(server)
    tester.kill()
    tester.communicate()
    deadline = time.monotonic() + 20
    while is_alive(server):
        assert time.monotonic() < deadline, "the server stays"
        time.sleep(0.05)
    shutil.rmtree(folder)
