"""Eight processes ask one provider as fast as they may, for ten simulated minutes.

The server counts arrivals.

The processes are real, and so are the requests and the state file they share. Time is
simulated: it stands still while any process works and jumps to the next wake-up when
all of them sleep. Each arrival is up to half a second late, as on a real line.
``max_in_60s`` is the most in any half-open window of 60 seconds.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from typing import Any

from msgspec import structs

from benchmarks._cli import bench
from benchmarks._wire import Wire, serving
from factory_lib import settings as factory_settings
from factory_lib.clock import from_epoch
from factory_lib.http import Http
from factory_lib.settings import Settings
from factory_lib.state import open_state

PROCESSES, MINUTES, LATEST_ARRIVAL_S, SEED = 8, 10, 0.5, 1
START = datetime(2026, 4, 15, 10, 0, tzinfo=UTC).timestamp()


class WaitingClock:
    """A process's view of simulated time: it moves only while the process sleeps."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._now = START

    def now(self) -> datetime:
        """Return the simulated instant, UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    def sleep(self, seconds: float) -> None:
        """Hand over to the others until it is time."""
        self._line.send(max(0.0, seconds))
        self._now = self._line.recv()


def local_settings(home: str, url: str) -> Settings:
    """Return the live settings with every provider at the local server and its own real limits."""
    loaded = factory_settings.load("live", env={"FACTORY_HOME": home})
    moved = {
        name: structs.replace(limits, base_url=f"{url}/{name}")
        for name, limits in loaded.sources.items()
    }
    return structs.replace(loaded, sources=moved)


def hammer(line: Connection, home: str, url: str, source: str, minutes: float) -> None:
    """Ask until the time is over."""
    settings, clock = local_settings(home, url), WaitingClock(line)
    state = open_state(settings)
    http = Http(source, settings, state, clock)
    clock.sleep(0.0)
    while clock.now().timestamp() < START + 60 * minutes:
        http.get("/")
    http.close()
    state.close()
    line.close()


class Arrivals:
    """The server's side: when each request came."""

    def __init__(self) -> None:
        self.now = START
        self.at: list[float] = []
        self._chance = random.Random(SEED)

    def respond(self, target: str, headers: Mapping[str, str]) -> Wire:
        """Answer one request."""
        self.at.append(self.now + self._chance.uniform(0, LATEST_ARRIVAL_S))
        return Wire(200, "application/json", b"{}")


def run_time(lines: list[Connection], arrivals: Arrivals) -> None:
    """Move time on whenever every process sleeps, until all have ended."""
    working = set(lines)
    asleep: list[tuple[float, int, Connection]] = []
    while working or asleep:
        for line in wait(working) if working else ():
            assert isinstance(line, Connection)
            working.discard(line)
            try:
                heapq.heappush(asleep, (arrivals.now + line.recv(), id(line), line))
            except EOFError:
                continue
        if not working and asleep:
            arrivals.now, _, line = heapq.heappop(asleep)
            working.add(line)
            line.send(arrivals.now)


def most_in_a_minute(times: list[float]) -> int:
    """Return the most arrivals in any half-open window of 60 seconds."""
    times = sorted(times)
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= 60:
            first += 1
        most = max(most, last - first + 1)
    return most


def measure(source: str, minutes: float) -> list[float]:
    """Return the arrivals of one provider."""
    arrivals, context = Arrivals(), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as home, serving(arrivals.respond) as url:
        open_state(local_settings(home, url)).close()
        pairs = [context.Pipe() for _ in range(PROCESSES)]
        processes = [
            context.Process(target=hammer, args=(theirs, home, url, source, minutes), daemon=True)
            for _, theirs in pairs
        ]
        for process in processes:
            process.start()
        for _, theirs in pairs:
            theirs.close()
        run_time([ours for ours, _ in pairs], arrivals)
        for process in processes:
            process.join()
    return arrivals.at


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Hammer each provider in turn."""
    minutes = 2.0 if arguments.quick else float(MINUTES)
    by_host, rows = {}, []
    for source, limits in factory_settings.load("live", env={}).sources.items():
        if not limits.enabled:
            continue
        times = measure(source, minutes)
        by_host[source] = {
            "processes": PROCESSES,
            "limit": limits.requests_per_minute,
            "max_in_60s": most_in_a_minute(times),
            "requests": len(times),
        }
        rows += [
            {"source": source, "at": from_epoch(int(at)).isoformat(), "at_s": at}
            for at in sorted(times)
        ]
        print(f"{source}: {by_host[source]}", file=sys.stderr)
    return {"by_host": by_host}, rows


if __name__ == "__main__":
    bench(__doc__, run)
