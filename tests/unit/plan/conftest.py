"""The plants of the benchmarks, and frames to plan them with."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factory_lib.plan.request import Request, for_days
from factory_lib.settings.loading import decode
from factory_lib.settings.plant import Plant

PLANTS = Path(__file__).parents[3] / "benchmarks" / "plants"
TUESDAY = date(2024, 3, 5)


def read_plant(name: str) -> Plant:
    """Read one of the committed plants."""
    return decode(
        Plant,
        tomllib.loads((PLANTS / f"{name}.toml").read_text(encoding="utf-8"))["plant"],
        "plant",
    )


def hours(begin: datetime, end: datetime) -> pd.DatetimeIndex:
    """Return hourly UTC starts."""
    return pd.date_range(begin, end, freq="h", inclusive="left", unit="s", name="start")


@pytest.fixture(scope="session")
def plant() -> Plant:
    """The default plant."""
    return read_plant("default")


@pytest.fixture
def prices() -> pd.DataFrame:
    """Two months of prices with a cheap midday and a dear evening."""
    index = hours(datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 4, 5, tzinfo=UTC))
    hour = np.asarray(index.hour)
    return pd.DataFrame(
        {
            "p50": 60
            - 30 * np.exp(-(((hour - 13) / 3) ** 2))
            + 40 * np.exp(-(((hour - 20) / 2) ** 2))
        },
        index,
    )


@pytest.fixture
def mild() -> pd.DataFrame:
    """Weather in which every stage may run at any hour."""
    index = hours(datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 4, 5, tzinfo=UTC))
    return pd.DataFrame({"temperature_c": 16.0, "humidity_pct": 45.0}, index)


@pytest.fixture
def ask(plant: Plant, prices: pd.DataFrame, mild: pd.DataFrame) -> Callable[..., Request]:
    """A request for one day of the default plant, with whatever is to be different."""

    def request(
        day: date = TUESDAY, days: int = 1, *, of: Plant = plant, **changes: Any
    ) -> Request:
        return replace(for_days(of, prices, mild, day, days), **changes)

    return request
