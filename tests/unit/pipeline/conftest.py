"""A simulated world over HTTP on 127.0.0.1, and a house in profile demo that lives in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from factory_lib import settings as factory_settings
from factory_lib.clock import SimulatedClock
from factory_lib.house import House, open_house
from factory_lib.simulator.engine import Simulator
from factory_lib.simulator.server import http_server
from factory_lib.simulator.world import World

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)


class Town:
    """A simulator in this process and the demo houses that ask it; one clock for all, so waiting costs no time."""

    def __init__(self, clock: SimulatedClock, home: Path, stack: ExitStack) -> None:
        self.clock, self.home, self.stack = clock, home, stack
        self.simulator = Simulator(World(), clock)  # type: ignore[arg-type]
        server = stack.enter_context(http_server(self.simulator, 0))
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def house(self, now: datetime = NOW, run_id: str = "test") -> House:
        """Open a house whose clock, ``as_of`` and providers all stand at ``now``."""
        self.clock.set(now)
        settings = factory_settings.load(
            "demo", env={"FACTORY_HOME": str(self.home), "FACTORY_SIMULATOR_URL": self.url}
        )
        opened = open_house(settings=settings, as_of=now, clock=self.clock, run_id=run_id)
        return self.stack.enter_context(opened)

    def asked(self, source: str) -> int:
        """Return how many requests reached a provider."""
        return sum(entry.source == source for entry in self.simulator.log)


@pytest.fixture
def town(home: Path) -> Iterator[Town]:
    """A town of its own for each test."""
    with ExitStack() as stack:
        yield Town(SimulatedClock(NOW), home, stack)
