"""An open, empty state, and its hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from factory_lib.settings import Settings, load
from factory_lib.settings.records import StateSettings
from factory_lib.state import Hosts, State, open_state
from tests.support.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, home: Path) -> Iterator[Settings]:
    """The committed settings, once with files and once with a database shared by several hosts."""
    env = {"FACTORY_HOME": str(home)}
    if request.param == "sqlite":
        yield load("live", env=env)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield shared(load("live", env={**env, "POSTGRES_DSN": server.dsn}))
    server.drop_schemas()


def shared(settings: Settings) -> Settings:
    """Return settings whose state is PostgreSQL's."""
    return structs.replace(settings, state=StateSettings("postgres"))


@pytest.fixture
def profile(settings: Settings, home: Path) -> Callable[[str], Settings]:
    """Load another profile of the same installation."""

    def load_profile(name: str) -> Settings:
        loaded = load(name, env={"FACTORY_HOME": str(home)})
        return structs.replace(loaded, state=settings.state, secrets=settings.secrets)

    return load_profile


@pytest.fixture
def state(settings: Settings) -> Iterator[State]:
    with open_state(settings) as opened:
        yield opened


@pytest.fixture
def hosts(state: State) -> Hosts:
    return state.hosts
