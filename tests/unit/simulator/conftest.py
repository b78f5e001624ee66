"""A simulator that answers without a line, and one over HTTP in a thread of this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest

from factory_lib.clock import parse_instant
from factory_sim.engine import PROVIDERS, Simulator, WorldClock
from factory_sim.exchange import Answer
from factory_sim.faults import read_rules
from factory_sim.holes import read_holes
from factory_sim.server import http_server
from factory_sim.world import World

SEED = 7
NOW = "2026-04-15T10:00:00Z"


@dataclass
class Bench:
    """A simulator and the few words tests need."""

    simulator: Simulator

    def get(self, target: str, headers: dict[str, str] | None = None, **query: Any) -> Answer:
        """Ask ``/<source>/<path>`` directly."""
        question = f"?{urlencode(query, doseq=True)}" if query else ""
        return self.simulator.serve("127.0.0.1:1", target + question, headers or {}).answer

    def json(self, target: str, headers: dict[str, str] | None = None, **query: Any) -> Any:
        """Ask and read JSON in the declared charset."""
        answer = self.get(target, headers, **query)
        charset = "utf-8" if "ISO" not in answer.content_type else "iso-8859-15"
        return json.loads(answer.body.decode(charset))

    def at(self, now: str | datetime) -> Bench:
        """Set the clock."""
        self.simulator.clock.set(parse_instant(now) if isinstance(now, str) else now)
        return self

    def faults(self, *rules: dict[str, Any]) -> Bench:
        """Set the fault rules."""
        self.simulator.set_rules(read_rules(rules, PROVIDERS))
        return self

    def holes(self, *holes: dict[str, Any]) -> Bench:
        """Set the holes."""
        self.simulator.set_holes(read_holes(holes))
        return self


@pytest.fixture(scope="session")
def world() -> World:
    """One world for all tests: it holds nothing but its seed."""
    return World(SEED)


@pytest.fixture
def bench(world: World) -> Bench:
    """A simulator whose clock stands at ``NOW``."""
    return Bench(Simulator(world, WorldClock(parse_instant(NOW))))


@pytest.fixture
def serving(bench: Bench) -> Iterator[str]:
    """Serve the bench over HTTP; the value is its address."""
    with http_server(bench.simulator) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
