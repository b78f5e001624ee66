"""Shared fixtures.

``home`` gives a test a data and runs folder of its own; ``house`` opens the embedded store in it; ``real_data`` is the
folder of public files, and a test that asks for it is skipped where there is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory_lib import settings as factory_settings
from factory_lib.clock import SimulatedClock
from factory_lib.house import House, open_house
from factory_lib.settings import Settings

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
REAL_DATA = Path(os.environ.get("FACTORY_REAL_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")).resolve()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep data and runs out of the checkout, and the user's own environment out of the test."""
    for name in ("FACTORY_PROFILE", "FACTORY_CONFIG", "FACTORY_SIMULATOR_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def settings(home: Path) -> Settings:
    """The committed settings in profile live, without keys."""
    return factory_settings.load("live", env={"FACTORY_HOME": str(home)})


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    """An open house over an empty embedded store, its clock standing at ``NOW``."""
    with open_house(settings=settings, as_of=NOW, clock=SimulatedClock(NOW), run_id="test") as opened:
        yield opened


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real public files."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data in {REAL_DATA}; name another folder with FACTORY_REAL_DATA")
    return REAL_DATA
