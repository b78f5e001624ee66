"""A small made-up market, and a forecaster small enough to fit in a moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factory_lib import settings as factory_settings
from factory_lib.context import RunContext, open_context
from factory_lib.features.days import DayMatrix, to_slots, weekdays
from factory_lib.models.forecasters import ForecasterConfig
from factory_sim.clock import SimulatedClock
from tests.support.stored import store_observed

NOON = datetime(2024, 2, 20, 11, tzinfo=UTC)


@pytest.fixture(scope="module")
def market() -> DayMatrix:
    """300 days with a daily shape, cheaper weekends, a wandering level and noise."""
    rng = np.random.default_rng(11)
    days = np.datetime64("2023-05-01") + np.arange(300)
    level = 60 + np.cumsum(rng.normal(0, 2, 300))
    shape = 12 * np.sin(np.arange(24) / 24 * 4 * np.pi)
    weekend = np.where(weekdays(days) >= 5, -15.0, 0.0)
    return DayMatrix(days, level[:, None] + shape + weekend[:, None] + rng.normal(0, 3, (300, 24)))


@pytest.fixture(scope="module")
def small() -> ForecasterConfig:
    """One window and few trees."""
    return ForecasterConfig(lasso_windows_days=(200,), tree_window_days=200, tree_iterations=5)


@contextmanager
def store_of(market: DayMatrix, home: Path) -> Iterator[RunContext]:
    """Open a store that holds all of the market, on a day of February."""
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
    known = pd.concat(map(to_slots, market.days.tolist(), market.grid))
    with open_context(
        settings=settings, as_of=NOON, clock=SimulatedClock(NOON), run_id="test"
    ) as ctx:
        store_observed(ctx, "spot_eur_mwh", known.index, known, place="ES", source="ree", at=NOON)
        yield ctx


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory, market: DayMatrix) -> Iterator[RunContext]:
    """A store of the market, and a registry, that the tests of a file share."""
    with store_of(market, tmp_path_factory.mktemp("champions")) as ctx:
        yield ctx


@pytest.fixture
def own_works(tmp_path: Path, market: DayMatrix) -> Iterator[RunContext]:
    """The same for a test that writes forecasts, which others would read."""
    with store_of(market, tmp_path) as ctx:
        yield ctx
