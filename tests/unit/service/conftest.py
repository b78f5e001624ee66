"""One furnished home and its application for all tests of the service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory_lib.service.app import make_app
from factory_lib.service.reading import Reading
from tests.support import service_home
from tests.support.asgi import Client

NOW = datetime(2026, 3, 18, 10, 5, tzinfo=UTC)


@pytest.fixture(scope="session")
def served_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo home of five weeks and a hundred and twenty runs."""
    home = tmp_path_factory.mktemp("served")
    service_home.build(home, NOW, days=35, runs=120)
    return home


@pytest.fixture(scope="session")
def reading(served_home: Path) -> Iterator[Reading]:
    """The cache of that home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTORY_HOME", str(served_home))
        yield Reading("demo")


@pytest.fixture(scope="session")
def client(reading: Reading) -> Iterator[Client]:
    """A client of the application."""
    one = Client(make_app(reading))
    yield one
    one.close()
