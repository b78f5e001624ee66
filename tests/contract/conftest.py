"""Fixtures of the store's contract: every test here runs on each backend, and its id says on which.

PostgreSQL is a server that the tests start where it is installed, else its tests are
skipped. InfluxDB is a real server when INFLUXDB_V2_URL, _TOKEN, _ORG and _BUCKET are set (the
token must be allowed to make buckets: each test has a bucket of its own, dropped at its
end), else the double.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient

from factory_lib.catalogue import default_catalogue
from factory_lib.settings import InfluxSettings
from factory_lib.settings.secrets import Secret
from factory_lib.store.backend import Origin
from factory_lib.store.base import Store
from factory_lib.store.influx import InfluxBackend
from factory_lib.store.postgres import PostgresBackend
from factory_lib.store.sqlite import SqliteBackend
from tests.support import influx_double as double
from tests.support import postgres_server

REAL = all(os.environ.get(f"INFLUXDB_V2_{name}") for name in ("URL", "TOKEN", "ORG", "BUCKET"))
INFLUX = "influx-server" if REAL else "influx-double"
Open = Callable[..., Store]
CATALOGUE = default_catalogue()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    where = os.environ["INFLUXDB_V2_URL"] if REAL else "the double"
    without = postgres_server.missing()
    postgres = f"PostgreSQL not ({without})" if without else "PostgreSQL on a server of its own"
    terminalreporter.write_line(f"store contract: SQLite, InfluxDB on {where}, {postgres}")


@pytest.fixture(scope="session")
def influx_server() -> Iterator[tuple[InfluxSettings, str]]:
    """Yield address and token of the server that stands for InfluxDB."""
    if REAL:
        url, org, bucket, token = (
            os.environ[f"INFLUXDB_V2_{name}"] for name in ("URL", "ORG", "BUCKET", "TOKEN")
        )
        yield InfluxSettings(url, org, bucket), token
        return
    with double.serving() as server:
        yield InfluxSettings(server.url, double.ORG, double.BUCKET), double.TOKEN


@pytest.fixture
def open_store(
    influx_server: tuple[InfluxSettings, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """Yield a function that opens a store; the same backend and name give the same store again."""
    where, token = influx_server
    prefix = f"{where.bucket}-test-{uuid4().hex[:8]}"
    with ExitStack() as stack:
        client = stack.enter_context(InfluxDBClient(url=where.url, token=token, org=where.org))
        made: set[str] = set()

        def opened(
            backend: str, name: str = "a", world: Origin = "real", *, lazy: bool = False
        ) -> Store:
            if backend == "sqlite":
                file = tmp_path / f"{name}.db"
                store = Store(SqliteBackend(file, world, lazy=lazy), CATALOGUE)
            elif backend == "postgres":
                dsn = Secret(request.getfixturevalue("postgres").dsn)
                schema = f"{prefix}-{name}"
                store = Store(PostgresBackend(dsn, schema, world, lazy=lazy), CATALOGUE)
            else:
                bucket = f"{prefix}-{name}"
                if bucket not in made:
                    made.add(bucket)
                    stack.callback(
                        client.buckets_api().delete_bucket,
                        client.buckets_api().create_bucket(bucket_name=bucket, org=where.org),
                    )
                place = InfluxSettings(where.url, where.org, bucket)
                token_of = Secret(token)
                influx = InfluxBackend(place, token_of, world, tmp_path, CATALOGUE, lazy=lazy)
                store = Store(influx, CATALOGUE)
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture(params=["sqlite", INFLUX, "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    """Return the backend's name, once for each."""
    return str(request.param)


@pytest.fixture
def store(open_store: Open, backend: str) -> Store:
    """Return an empty store of the real world, once for each backend."""
    return open_store(backend)
