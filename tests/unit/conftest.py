"""Contexts with two days of quarter-hourly prices, and with weeks of prices and weather."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from factory_lib import frames
from factory_lib import settings as factory_settings
from factory_lib.clock import QUARTER_S, epoch
from factory_lib.context import RunContext, open_context
from factory_sim.clock import SimulatedClock
from tests.support.week import NOON, furnish

FIRST = datetime(2026, 4, 12, 22, 0, tzinfo=UTC)
SLOTS = 192
Fill = Callable[..., int]
FillIn = Callable[..., int]


@pytest.fixture
def fill(ctx: RunContext, fill_in: FillIn) -> Fill:
    """Write ``slots`` prices from ``FIRST`` on; each is ``value`` plus its number."""
    return partial(fill_in, ctx)


@pytest.fixture
def fill_in() -> FillIn:
    """Write prices into the store of a given context."""

    def write(ctx: RunContext, value: float = 50.0, slots: int = SLOTS) -> int:
        starts = epoch(FIRST) + QUARTER_S * np.arange(slots)
        rows = frames.tidy(
            series="spot_eur_mwh",
            place="ES",
            source="ree",
            kind="observed",
            resolution_s=QUARTER_S,
            starts=starts,
            values=value + np.arange(slots) / 100,
            retrieved_at=ctx.clock.now(),
        )
        return ctx.store.write(rows, run_id="test").written

    return write


@pytest.fixture
def works(home: Path) -> Iterator[RunContext]:
    """Five weeks of the simulated world's prices and weather, to the end of the week."""
    with at_noon(home) as opened:
        furnish(opened, NOON, days=35, quarters=True)
        yield opened


@pytest.fixture
def small(works: RunContext) -> RunContext:
    """The works with hours as slots."""
    return in_hours(works)


@contextmanager
def at_noon(home: Path) -> Iterator[RunContext]:
    """Open profile live of a home on a Wednesday."""
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
    with open_context(
        settings=settings, as_of=NOON, clock=SimulatedClock(NOON), run_id="test"
    ) as opened:
        yield opened


def in_hours(works: RunContext) -> RunContext:
    """Return a context with hours as slots: a tenth of the time for the same rules."""
    plant = structs.replace(works.settings.plant, slot_min=60)
    stages = tuple(structs.replace(stage, wait_min=60) for stage in plant.stages)
    plant = structs.replace(plant, stages=stages)
    return replace(works, settings=structs.replace(works.settings, plant=plant))
