"""Shared fixtures.

``home`` gives a test a data and runs folder of its own; ``ctx`` opens the embedded
store in it; ``demo_world`` is a simulated world over HTTP with demo profiles that ask it;
``real_data`` is the folder of public files, and a test that asks for it is skipped
where there is none.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

# Workers, kernels and commands share the cores: threads that spin while they wait for each
# other take ten times as long. Read when numpy and scikit-learn are first imported.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import pytest
from xdist.scheduler import LoadScopeScheduling

from factory_lib import settings as factory_settings
from factory_lib.context import RunContext, open_context
from factory_lib.settings import Settings
from factory_sim.clock import SimulatedClock
from factory_sim.engine import Simulator
from factory_sim.server import http_server
from factory_sim.world import World
from tests.support import postgres_server
from tests.support.postgres_server import PostgresServer

# Hundreds of processes import the library: compiled once, wherever bytecode is turned off.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# As in the runner: formats that no notebook's schema names take two seconds to import.
sys.modules.update(rfc3987_syntax=None)  # type: ignore[arg-type]

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
REAL_DATA = Path(
    os.environ.get("FACTORY_REAL_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
).resolve()

# Files whose tests share what is costly to build go to one worker, and start in this order:
# the demo at once, the days that follow it when it has long ended.
# The marks of pytest-xdist do not reach its scheduler with the pytest of the lock.
ONE_WORKER = {
    "tests/e2e/test_demo.py": "demo",
    "tests/e2e/test_looking.py": "demo",
    "tests/unit/models/test_champions.py": "champions",
    "tests/unit/models/test_retrain_trigger.py": "training",
    "tests/unit/models/test_prediction.py": "prediction",
    "tests/unit/models/test_forecasters.py": "forecasters",
    "tests/faults/test_http_faults.py": "http faults",
    "tests/unit/importers/test_real_files.py": "real files",
    "tests/unit/models/test_registry_server.py": "registry server",
    "tests/unit/monitoring/test_health.py": "health",
    "tests/e2e/test_three_days.py": "three days",
}


class SharedFixtures(LoadScopeScheduling):
    """Hand out tests one by one, and those of a group to one worker, the groups first."""

    def _split_scope(self, nodeid: str) -> str:
        return ONE_WORKER.get(nodeid.partition("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedFixtures:
    """Schedule by groups in the order of collection, whatever the options say."""
    gone = [file for file in ONE_WORKER if not (config.rootpath / file).exists()]
    assert not gone, f"no longer there: {gone}"
    config.option.loadscopereorder = False
    return SharedFixtures(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the groups before the rest, which stays in its random order."""
    order = {file: number for number, file in enumerate(ONE_WORKER)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


class DemoWorld:
    """A simulator in this process and the demo profiles that ask it.

    One clock for all, so waiting costs no time.
    """

    def __init__(self, clock: SimulatedClock, home: Path, stack: ExitStack) -> None:
        self.clock, self.home, self.stack = clock, home, stack
        self.simulator = Simulator(World(), clock)  # type: ignore[arg-type]
        server = stack.enter_context(http_server(self.simulator, 0))
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def ctx(self, now: datetime = NOW, run_id: str = "test") -> RunContext:
        """Open a profile whose clock, ``as_of`` and providers all stand at ``now``."""
        self.clock.set(now)
        settings = factory_settings.load(
            "demo", env={"FACTORY_HOME": str(self.home), "FACTORY_SIMULATOR_URL": self.url}
        )
        opened = open_context(settings=settings, as_of=now, clock=self.clock, run_id=run_id)
        return self.stack.enter_context(opened)

    def asked(self, source: str) -> int:
        """Return how many requests reached a provider."""
        return sum(entry.source == source for entry in self.simulator.log)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep data and runs out of the checkout, and the user's own environment out of the test."""
    for name in (
        "FACTORY_PROFILE",
        "FACTORY_CONFIG",
        "FACTORY_SIMULATOR_URL",
        "FACTORY_CALLER",
        "MLFLOW_TRACKING_URI",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def settings(home: Path) -> Settings:
    """The committed settings in profile live, without keys."""
    return factory_settings.load("live", env={"FACTORY_HOME": str(home)})


@pytest.fixture
def ctx(settings: Settings) -> Iterator[RunContext]:
    """An open profile over an empty embedded store, its clock standing at ``NOW``."""
    with open_context(
        settings=settings, as_of=NOW, clock=SimulatedClock(NOW), run_id="test"
    ) as opened:
        yield opened


@pytest.fixture
def demo_world(home: Path) -> Iterator[DemoWorld]:
    """A world of its own for each test."""
    with ExitStack() as stack:
        yield DemoWorld(SimulatedClock(NOW), home, stack)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real public files."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data in {REAL_DATA}; name another folder with FACTORY_REAL_DATA")
    return REAL_DATA


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this process's tests, which are skipped where none can be started."""
    if reason := postgres_server.missing():
        pytest.skip(f"{reason}: not tested here")
    with postgres_server.serving() as server:
        yield server
