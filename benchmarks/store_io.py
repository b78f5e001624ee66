"""How fast the store writes and reads, as ratios to the barest way of its own database.

Both are measured in pairs, in one run.

A row is one value with all contract columns, reading goes through the view, and writing
includes comparing with what is there and reading back. SQLite is measured against
``executemany`` of ready tuples into a flat table without key or index, and ``fetchall``
into a frame of the same columns, times left as integers. InfluxDB is measured against
the client's own DataFrame calls: a synchronous write of a ready frame, and
``query_data_frame`` of a pivoted query; on the double unless INFLUXDB_V2_URL, _TOKEN,
_ORG and _BUCKET name a server, where buckets of our own are made and dropped. PostgreSQL
is a server started for the run; it is measured against psycopg's COPY of ready tuples into
a flat table without key or index, and ``fetchall`` into a frame as with SQLite;
``write_ratio_text`` is to a COPY of ready text, which no Python value becomes. A ratio of
2 means twice as fast as the bare way.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

from benchmarks._cli import bench
from factory_lib.catalogue import QUARTERS_SINCE, default_catalogue
from factory_lib.clock import QUARTER_S, epoch, from_epoch
from factory_lib.frames import tidy
from factory_lib.settings import InfluxSettings
from factory_lib.settings.secrets import Secret
from factory_lib.store.base import VIEW_COLUMNS, Store
from factory_lib.store.influx import InfluxBackend, create_bucket
from factory_lib.store.postgres import PostgresBackend
from factory_lib.store.sqlite import SqliteBackend

SERIES = "spot_eur_mwh"
START = epoch(QUARTERS_SINCE)
TIMES = ("start", "available_at", "retrieved_at", "provider_updated_at")


def main() -> None:
    """Parse the command line and run."""
    bench(__doc__, run, arguments=_arguments)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", choices=("sqlite", "influx", "postgres"), default="sqlite")
    parser.add_argument(
        "--rows", type=int, default=0, help="values per round (default 350640, or 100000 if quick)"
    )
    parser.add_argument("--rounds", type=int, default=5)


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run paired rounds; the ratios are medians over them."""
    values = _values(chosen.rows or (100_000 if chosen.quick else 350_640))
    rounds = []
    with (
        tempfile.TemporaryDirectory() as folder,
        _pair(chosen.backend, Path(folder)) as (server, pair),
    ):
        for number in range(chosen.rounds):
            seconds = pair(values, number)
            rounds.append({"round": number, **seconds})
            print({name: round(value, 3) for name, value in rounds[-1].items()}, file=sys.stderr)
    frame = pd.DataFrame(rounds)
    figures = {
        "backend": chosen.backend,
        "server": server,
        "rows": len(values),
        "write_ratio": statistics.median(frame["bare_write_s"] / frame["write_s"]),
        "read_ratio": statistics.median(frame["bare_read_s"] / frame["read_s"]),
        "write_rows_per_s": len(values) / frame["write_s"].median(),
        "read_rows_per_s": len(values) / frame["read_s"].median(),
    }
    if "bare_text_s" in frame:
        figures["write_ratio_text"] = statistics.median(frame["bare_text_s"] / frame["write_s"])
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in figures.items()}, frame


def _values(rows: int) -> pd.DataFrame:
    """Return quarter-hour prices as they come from an import.

    One publication a day, two decimals.
    """
    prices = np.random.default_rng(1).normal(60, 30, rows).round(2)
    return tidy(
        SERIES,
        START + np.arange(rows, dtype=np.int64) * QUARTER_S,
        prices,
        place="ES",
        source="omie",
        kind="observed",
        resolution_s=QUARTER_S,
        retrieved_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result


def _through_store(store: Store, values: pd.DataFrame) -> tuple[dict[str, float], pd.DataFrame]:
    write_s, result = _timed(lambda: store.write(values, run_id="bench"))
    assert result.new == len(values), result
    end = from_epoch(START + len(values) * QUARTER_S)
    read_s, view = _timed(lambda: store.read(SERIES, places=["ES"], start=QUARTERS_SINCE, end=end))
    assert view["value"].equals(values["value"]), "the store gave other values back"
    return {"write_s": write_s, "read_s": read_s}, view


@contextmanager
def _pair(
    backend: str, folder: Path
) -> Iterator[tuple[str, Callable[[pd.DataFrame, int], dict[str, float]]]]:
    if backend == "sqlite":
        yield (
            f"SQLite {sqlite3.sqlite_version}",
            lambda values, number: _sqlite_round(values, folder, number),
        )
        return
    if backend == "postgres":
        from tests.support.postgres_server import missing, serving

        if reason := missing():
            raise SystemExit(f"{reason}: nothing was measured.")
        with serving() as postgres:
            yield "PostgreSQL", lambda values, number: _postgres_round(values, postgres.dsn, number)
        return
    with _influx() as (server, where, token):
        yield server, lambda values, number: _influx_round(values, folder, where, token)


# -- SQLite ----------------------------------------------------------------------------


def _sqlite_round(values: pd.DataFrame, folder: Path, number: int) -> dict[str, float]:
    store = Store(SqliteBackend(folder / f"{number}.db", "real"), default_catalogue())
    try:
        seconds, view = _through_store(store, values)
    finally:
        store.close()
    tuples = _tuples(view)
    bare = sqlite3.connect(folder / f"{number}-bare.db", isolation_level=None)
    bare.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
    bare.execute(f"CREATE TABLE value ({', '.join(VIEW_COLUMNS)})")

    def write() -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.executemany(f"INSERT INTO value VALUES ({', '.join('?' * len(VIEW_COLUMNS))})", tuples)
        bare.execute("COMMIT")

    def read() -> pd.DataFrame:
        return pd.DataFrame(
            bare.execute("SELECT * FROM value").fetchall(), columns=list(VIEW_COLUMNS)
        )

    bare_write_s, _ = _timed(write)
    bare_read_s, found = _timed(read)
    assert len(found) == len(view)
    bare.close()
    return {**seconds, "bare_write_s": bare_write_s, "bare_read_s": bare_read_s}


def _tuples(view: pd.DataFrame) -> list[tuple[Any, ...]]:
    integers = {name: view[name].astype("int64").where(view[name].notna(), None) for name in TIMES}
    return list(view.assign(**integers).itertuples(index=False, name=None))


# -- PostgreSQL ------------------------------------------------------------------------


def _postgres_round(values: pd.DataFrame, dsn: str, number: int) -> dict[str, float]:
    import psycopg

    store = Store(PostgresBackend(Secret(dsn), f"round_{number}", "real"), default_catalogue())
    try:
        seconds, view = _through_store(store, values)
    finally:
        store.close()
    tuples = [tuple(None if pd.isna(part) else part for part in row) for row in _tuples(view)]
    text = "".join(
        "\t".join("\\N" if part is None else str(part) for part in row) + "\n" for row in tuples
    ).encode()
    types = {
        "value": "double precision",
        **dict.fromkeys(("rev", "resolution_s", *TIMES), "bigint"),
    }
    columns = ", ".join(f"{name} {types.get(name, 'text')}" for name in VIEW_COLUMNS)
    with psycopg.connect(dsn, autocommit=True) as bare:

        def write(into: str, rows: list[tuple[Any, ...]], ready: bytes = b"") -> None:
            with bare.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
                copy.write(ready)

        def read() -> pd.DataFrame:
            rows = bare.execute("SELECT * FROM from_rows").fetchall()
            return pd.DataFrame(rows, columns=list(VIEW_COLUMNS))

        for name in ("from_rows", "from_text"):
            bare.execute(f"CREATE TABLE {name} ({columns})")
        bare_write_s, _ = _timed(lambda: write("from_rows", tuples))
        bare_text_s, _ = _timed(lambda: write("from_text", [], text))
        bare_read_s, found = _timed(read)
        assert len(found) == len(view)
        bare.execute("DROP TABLE from_rows, from_text")
    bare_s = {"bare_write_s": bare_write_s, "bare_text_s": bare_text_s, "bare_read_s": bare_read_s}
    return {**seconds, **bare_s}


# -- InfluxDB --------------------------------------------------------------------------


@contextmanager
def _influx() -> Iterator[tuple[str, InfluxSettings, str]]:
    """Yield a real server when the environment names one, else the double in a process."""
    names = [f"INFLUXDB_V2_{key}" for key in ("URL", "ORG", "BUCKET", "TOKEN")]
    if all(os.environ.get(name) for name in names):
        url, org, bucket, token = (os.environ[name] for name in names)
        yield f"InfluxDB at {url}", InfluxSettings(url, org, bucket), token
        return
    command = [sys.executable, "-m", "tests.support.influx_double", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield (
                "double",
                InfluxSettings(ready["url"], ready["org"], ready["bucket"]),
                ready["token"],
            )
        finally:
            process.terminate()


def _influx_round(
    values: pd.DataFrame, folder: Path, where: InfluxSettings, token: str
) -> dict[str, float]:
    ours, bare = (
        replace(where, bucket=f"{where.bucket}-{role}-{uuid4().hex[:8]}")
        for role in ("ours", "bare")
    )
    with InfluxDBClient(url=where.url, org=where.org, token=token, timeout=600_000) as client:
        try:
            for bucket in (ours, bare):
                create_bucket(bucket, Secret(token))
            catalogue = default_catalogue()
            store = Store(InfluxBackend(ours, Secret(token), "real", folder, catalogue), catalogue)
            try:
                seconds, view = _through_store(store, values)
            finally:
                store.close()
            return {**seconds, **_client_frames(client, bare.bucket, view)}
        finally:
            api = client.buckets_api()
            for bucket in (ours, bare):
                if made := api.find_bucket_by_name(bucket.bucket):
                    api.delete_bucket(made)


def _client_frames(client: InfluxDBClient, bucket: str, view: pd.DataFrame) -> dict[str, float]:
    """Write and read the same rows with the client's DataFrame calls.

    Tags for the identity, a field for the rest.
    """
    integers = {name: view[name].astype("int64") for name in ("available_at", "retrieved_at")}
    frame = (
        view.assign(**integers)
        .drop(columns=["series", "provider_updated_at"])
        .rename(columns={"value": SERIES})
    )
    frame = frame.astype({"resolution_s": "str", "rev": "str"}).set_index("start")
    tags = ["place", "source", "kind", "resolution_s", "rev"]
    write_api = client.write_api(write_options=SYNCHRONOUS)
    bare_write_s, _ = _timed(
        lambda: write_api.write(
            bucket,
            record=frame,
            data_frame_measurement_name="energy_prices",
            data_frame_tag_columns=tags,
            write_precision="s",  # type: ignore[arg-type]
        )
    )
    flux = (
        f'from(bucket: "{bucket}")'
        " |> range(start: 1970-01-01T00:00:00Z, stop: 2100-01-01T00:00:00Z)"
        ' |> filter(fn: (r) => r._measurement == "energy_prices")'
        ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
    )
    bare_read_s, found = _timed(lambda: client.query_api().query_data_frame(flux))
    assert len(found) == len(view)
    return {"bare_write_s": bare_write_s, "bare_read_s": bare_read_s}


if __name__ == "__main__":
    main()
