"""The live page over a store of two years and 10,000 runs: codes, speed, memory, writes, refusals.

A demo home is generated and served by ``factory serve`` in a process of its own. Every
path is asked for once (``endpoints``), then every page again and again, while a run ends
before every tenth round, as on a day with a look each half minute (``page_ms_p95``).
``after_new_values_ms_max`` is the slowest page when the store itself has changed.
``rss_mb`` is the server's peak memory, ``writes`` the files of the home that differ
afterwards, ``hostile`` counts the codes of requests that no page sends.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._cli import bench
from factory_lib import settings as factory_settings
from factory_lib.context import open_context
from factory_lib.service import answers, pages
from factory_lib.state import calls, open_state
from factory_sim.clock import SimulatedClock
from tests.support import service_home
from tests.support.postgres_server import free_port
from tests.support.stored import store_observed

NOW = datetime(2026, 3, 18, 10, 5, tzinfo=UTC)
HOUR = "?price=80&temperature=24&humidity=50"
ROUNDS, CHANGE_EVERY = 40, 10
HOSTILE = 1000
PIECES = ("..", "%2e%2e", "%2f", "%00", "etc", "passwd", "data", "state.db", ".env", "runs", "//")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE")
HOSTS = ("127.0.0.1", "localhost", "example.org", "", "127.0.0.1.example.org")


def paths() -> list[str]:
    """Return every path that has an answer, with the parameters it needs."""
    names = [path for path in pages.PAGES if "{" not in path]
    names += [
        path + (HOUR if "price" in each.parameters else "")
        for path, each in answers.ENDPOINTS.items()
    ]
    return [*names, *answers.COMMANDS, "/health", "/metrics", "/plan.ics", "/plan.csv"]


@contextmanager
def server(home: Path) -> Iterator[tuple[int, int]]:
    """Serve a home and yield port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "factory_lib.cli", "serve", "--profile", "demo"]
    environment = {**os.environ, "FACTORY_HOME": str(home)}
    process = subprocess.Popen([*command, "--port", str(port)], env=environment)
    try:
        for _ in range(600):
            if process.poll() is None and answers_health(port):
                break
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def answers_health(port: int) -> bool:
    """Return whether the server is up."""
    try:
        return ask(port, "/health")[0] == 200
    except OSError:
        return False


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, bytes]:
    """Send one request and return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def tree(home: Path) -> dict[str, str]:
    """Return the checksum of every file."""
    files = (file for file in home.rglob("*") if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def peak_mb(pid: int) -> float:
    """Return the peak memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def end_a_run(home: Path) -> None:
    """Leave what a job leaves that found nothing new: a call in the state, the index anew."""
    settings = factory_settings.load("demo", env={"FACTORY_HOME": str(home)})
    with open_state(settings) as state:
        calls.record_call(state, calls.Call(NOW, "http", "ree", "200", duration_ms=30.0))
    (settings.paths.runs / "index.html").write_text(f"{time.time()}", encoding="utf-8")


def store_a_value(home: Path) -> None:
    """Store one more temperature."""
    settings = factory_settings.load("demo", env={"FACTORY_HOME": str(home)})
    with open_context(settings=settings, as_of=NOW, clock=SimulatedClock(NOW)) as ctx:
        start = np.array([int((NOW + timedelta(days=20)).timestamp()) // 3600 * 3600])
        store_observed(ctx, "temperature_c", start, [21.5], place="5279X", source="aemet", at=NOW)


def hostile(port: int) -> Counter[int]:
    """Return the codes of requests that no page sends; none may be 200 for what is no page."""
    chance = random.Random(7)
    codes: Counter[int] = Counter()
    for _ in range(HOSTILE):
        parts = chance.choices(PIECES, k=chance.randint(1, 6))
        path = "/" + "/".join(parts) + "a" * chance.choice((0, 0, 0, 700))
        method = chance.choice(METHODS)
        status, body = ask(port, path, method, chance.choice(HOSTS))
        assert b"SQLite format" not in body
        codes[status] += 1
    return codes


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Generate, serve, ask."""
    days, runs, rounds = (120, 1000, 12) if chosen.quick else (730, 10_000, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        sys.stderr.write(f"generating {days} days and {runs:,} runs\n")
        service_home.build(home, NOW, days=days, runs=runs, forecast_days=28)
        before = tree(home)
        with server(home) as (port, pid):
            began = time.perf_counter()
            endpoints = {path.partition("?")[0]: ask(port, path)[0] for path in paths()}
            first_s = time.perf_counter() - began
            codes = hostile(port)
            writes = [name for name, content in tree(home).items() if before.get(name) != content]
            names = [path for path in pages.PAGES if "{" not in path]
            rows = list(timed(port, names, rounds, home))
            store_a_value(home)
            changed = [elapsed_ms(port, path) for path in names]
            rss_mb = peak_mb(pid)
    return {
        "days": days,
        "runs": runs,
        "endpoints": endpoints,
        "page_ms_p95": float(np.percentile([row["ms"] for row in rows], 95)),
        "page_ms_median": float(np.median([row["ms"] for row in rows])),
        "after_new_values_ms_max": max(changed),
        "first_look_at_all_s": first_s,
        "rss_mb": rss_mb,
        "writes": len(writes),
        "hostile": dict(sorted(codes.items())),
        "hostile_500": sum(count for code, count in codes.items() if code >= 500),
    }, rows


def timed(port: int, names: list[str], rounds: int, home: Path) -> Iterator[dict[str, Any]]:
    """Ask for every page in every round; a run ends before every tenth."""
    for number in range(rounds):
        if number % CHANGE_EVERY == CHANGE_EVERY - 1:
            end_a_run(home)
        for path in names:
            yield {"round": number, "page": path, "ms": elapsed_ms(port, path)}


def elapsed_ms(port: int, path: str) -> float:
    """Return the milliseconds of one request."""
    began = time.perf_counter()
    ask(port, path)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    bench(__doc__, run)
