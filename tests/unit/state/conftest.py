"""An open, empty state, and its hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from factory_lib.settings import Settings
from factory_lib.state import Hosts, State, open_state


@pytest.fixture
def state(settings: Settings) -> Iterator[State]:
    with open_state(settings) as opened:
        yield opened


@pytest.fixture
def hosts(state: State) -> Hosts:
    return state.hosts
