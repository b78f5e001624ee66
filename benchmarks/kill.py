"""Kill a backfill with SIGKILL at random moments.

The next run should complete it without asking twice.

A process of its own backfills 540 days of prices and weather from the simulator and
tells when a write transaction is open and when it is about to be committed. It is
killed at a random moment, in half of the rounds soon after a transaction was opened;
only a kill between the two words counts as one in mid-write. Then both files are
checked, doubled values counted, and the next process goes on from there, to be killed
again; after some kills one runs to the end, and everything that should be there is
looked up. Asked again: a request, taken from the server's log, in whose days no slot
was missing when the process that sent it began.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd

from benchmarks._cli import bench
from factory_lib.catalogue import default_catalogue
from factory_lib.clock import day_start, epoch
from factory_lib.context import open_context
from factory_lib.pipeline.backfill import backfill
from factory_lib.slots import Slots, expected
from factory_lib.store.base import Store
from factory_sim.clock import SimulatedClock
from factory_sim.engine import Simulator
from factory_sim.server import http_server
from factory_sim.world import World

CATALOGUE = default_catalogue()

KILLS, KILLS_PER_STORE, SEED = 100, 4, 7
NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)
SINCE, UNTIL = NOW - timedelta(days=540), NOW - timedelta(days=6)
SERIES = ("spot_eur_mwh", "pvpc_eur_mwh", "temperature_c", "humidity_pct")
SERVED = {
    "ree": SERIES[:2],
    "omie": SERIES[:1],
    "esios": SERIES[1:2],
    "open_meteo": SERIES[2:],
    "open_meteo_recent": SERIES[2:],
}


SLOTS = sum(len(expected(CATALOGUE[name], SINCE, UNTIL)) for name in SERIES)


def tell(store: Store) -> None:
    """Let a store print that it has opened a transaction, and that it is about to commit."""
    quiet = store.backend.writing

    @contextmanager
    def writing(measurement: str) -> Iterator[None]:
        with quiet(measurement):
            os.write(1, b"w")
            yield
            os.write(1, b"c")

    store.backend.writing = writing  # type: ignore[method-assign]


def child() -> None:
    """Backfill everything once."""
    with open_context("demo", NOW, clock=SimulatedClock(NOW)) as ctx:
        tell(ctx.store)
        os.write(1, b"b")
        backfill(ctx, SINCE, UNTIL, automatic=False, series=SERIES)


@dataclass
class Life:
    """One process: its output, and how it ended."""

    output: bytes = b""
    seconds: float = 0.0
    killed: bool = False
    asked: list[tuple[str, date, date]] = field(default_factory=list)

    @property
    def mid_write(self) -> bool:
        """Whether it died inside an open transaction."""
        return self.killed and self.output.count(b"w") > self.output.count(b"c")


def live(
    env: dict[str, str], simulator: Simulator, *, writes: int | None = None, after_s: float = 0.0
) -> Life:
    """Run a process; kill it ``after_s`` seconds after its start, or at its n-th transaction."""
    already = len(
        simulator.log
    )  # cleared, it would lose the place of a request that is still being answered
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.kill", "--child"], stdout=subprocess.PIPE, env=env
    )
    life = Life()
    began: float | None = None
    deadline: float | None = None
    out = process.stdout.fileno()  # type: ignore[union-attr]
    while True:
        left = None if deadline is None else max(0.0, deadline - monotonic())
        if not select.select([out], [], [], left)[0]:
            process.send_signal(signal.SIGKILL)
            life.killed, deadline = True, None
            continue
        if not (output := os.read(out, 64)):
            break
        life.output += output
        if began is None:
            began = monotonic()
            deadline = began + after_s if writes is None and after_s else None
        if (
            writes is not None
            and life.output.count(b"w") >= writes
            and not life.killed
            and deadline is None
        ):
            deadline = monotonic() + after_s
    process.stdout.close()  # type: ignore[union-attr]
    life.killed = process.wait() == -signal.SIGKILL
    life.seconds = monotonic() - (began or monotonic())
    life.asked = [days_asked(entry.source, entry.path) for entry in simulator.log[already:]]
    return life


def days_asked(source: str, target: str) -> tuple[str, date, date]:
    """Return provider, first and last day of a logged request."""
    query = parse_qs(urlsplit(target).query)
    if "start_date" in query:
        first, last = (date.fromisoformat(query[key][0][:10]) for key in ("start_date", "end_date"))
        return source, first, last
    raise SystemExit(f"This benchmark does not expect {target}.")


def stored(store: Path) -> dict[str, Slots]:
    """Read the starts of each series from the file itself."""
    sql = "SELECT series, start FROM value JOIN channel ON channel.id = value.channel"
    with sqlite3.connect(store) as database:
        rows = pd.DataFrame(database.execute(sql).fetchall(), columns=["series", "start"])
    return {
        name: rows.loc[rows["series"] == name, "start"].to_numpy(dtype=np.int64) for name in SERIES
    }


def missing(store: Path) -> dict[str, Slots]:
    """Return what is not there of each series."""
    held = stored(store) if store.exists() else {}
    whole = {name: expected(CATALOGUE[name], SINCE, UNTIL) for name in SERIES}
    return {name: slots[~np.isin(slots, held.get(name, []))] for name, slots in whole.items()}


def asked_again(life: Life, before: dict[str, Slots]) -> int:
    """Count requests in whose days nothing was missing before."""
    again = 0
    for source, first, last in life.asked:
        start, end = (
            epoch(day_start(first)) - 7200,
            epoch(day_start(last + timedelta(days=1))) + 7200,
        )  # local or UTC days
        again += not any(((before[n] >= start) & (before[n] < end)).any() for n in SERVED[source])
    return again


def sound(data: Path) -> bool:
    """Return whether SQLite finds every file whole."""
    return all(
        sqlite3.connect(file).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for file in (data / "store.db", data / "state.db", data / "hosts.db")
        if file.exists()
    )


def doubled(data: Path) -> int:
    """Count slots that hold more than one value of one provider: nothing was revised here."""
    sql = "SELECT count(*) - count(DISTINCT channel || ' ' || start) FROM value"
    return int(sqlite3.connect(data / "store.db").execute(sql).fetchone()[0])


def one_store(
    env: dict[str, str], simulator: Simulator, chance: random.Random, whole: Life, kills: int
) -> list[dict[str, Any]]:
    """Kill processes over one store, then let one finish."""
    data, lines = Path(env["FACTORY_HOME"]) / "data" / "demo", []
    for number in range(kills + 1):
        before = missing(data / "store.db")
        if number == kills:
            life = live(env, simulator)
        elif chance.random() < 0.55:
            left = whole.output.count(b"w") * sum(map(len, before.values())) // SLOTS
            life = live(
                env,
                simulator,
                writes=chance.randint(1, max(1, left // 2)),
                after_s=chance.uniform(0, 0.015),
            )
        else:
            life = live(env, simulator, after_s=chance.uniform(0.001, whole.seconds / (2 + number)))
        lines.append(
            {
                "killed": life.killed,
                "mid_write": life.mid_write,
                "writes": life.output.count(b"c"),
                "requests": len(life.asked),
                "asked_again": asked_again(life, before),
                "integrity_failure": not sound(data),
                "duplicates": doubled(data),
                "left": sum(map(len, missing(data / "store.db").values()))
                if number == kills
                else None,
            }
        )
        print(lines[-1], file=sys.stderr)
    return lines


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Kill until enough were killed."""
    chance = random.Random(SEED)
    lines: list[dict[str, Any]] = []
    wanted = KILLS // 10 if arguments.quick else KILLS
    simulator = Simulator(World(), SimulatedClock(NOW))  # type: ignore[arg-type]
    with http_server(simulator, 0) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with tempfile.TemporaryDirectory() as home:
            whole = live(
                {**os.environ, "FACTORY_HOME": home, "FACTORY_SIMULATOR_URL": url}, simulator
            )
        print(
            f"undisturbed: {whole.output.count(b'w')} writes in {whole.seconds:.1f} s",
            file=sys.stderr,
        )
        while sum(line["killed"] for line in lines) < wanted:
            with tempfile.TemporaryDirectory() as home:
                env = {**os.environ, "FACTORY_HOME": home, "FACTORY_SIMULATOR_URL": url}
                lines += one_store(env, simulator, chance, whole, KILLS_PER_STORE)
        server.shutdown()
    table = pd.DataFrame(lines)
    figures = {
        "kills": int(table["killed"].sum()),
        "killed_mid_write": int(table["mid_write"].sum()),
        "integrity_failures": int(table["integrity_failure"].sum()),
        "duplicates": int(table["duplicates"].sum()),
        "asked_again": int(table["asked_again"].sum()),
        "left_at_the_end": int(table["left"].sum()),
    }
    return figures, table


if __name__ == "__main__":
    if "--child" in sys.argv:
        child()
    else:
        bench(__doc__, run)
