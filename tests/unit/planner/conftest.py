"""A week of the committed default plant on made-up prices."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.clock import day_start
from factory_lib.domain.tariff import Tariff, all_in, read_tariff
from factory_lib.planner.request import PlanRequest, weekly_orders
from factory_lib.settings.loading import decode
from factory_lib.settings.plant import Plant
from factory_lib.settings.tariff import ContractSettings

ROOT = Path(__file__).parents[3]
MONDAY = date(2026, 3, 2)


@pytest.fixture(scope="session")
def tariff() -> Tariff:
    """The published terms of 3.0TD."""
    return read_tariff(ROOT / "config" / "tariffs_es.csv", "3.0TD")


@pytest.fixture(scope="session")
def plant() -> Plant:
    """The committed default plant, by the hour."""
    table = tomllib.loads(
        (ROOT / "benchmarks" / "plants" / "default.toml").read_text(encoding="utf-8")
    )
    return structs.replace(decode(Plant, table["plant"], "plant"), slot_min=60)


@pytest.fixture(scope="session")
def contract() -> ContractSettings:
    """150 kW in every period, no tax."""
    return ContractSettings(electricity_tax_pct=0.0)


@pytest.fixture(scope="session")
def prices(tariff: Tariff, contract: ContractSettings) -> pd.DataFrame:
    """A year with a cheap night and a cheap noon, at the whole price."""
    index = pd.date_range(
        "2026-01-01", "2026-12-31", freq="h", tz="UTC", inclusive="left", name="start"
    )
    hour = np.asarray(index.hour)
    market = 60 + 25 * np.cos((hour - 19) * np.pi / 12) - 20 * ((hour > 11) & (hour < 16))
    return all_in(index, market + np.asarray(index.day_of_year) % 7, tariff, contract)


@pytest.fixture
def ask(plant, tariff, contract, prices) -> Callable[..., PlanRequest]:
    """A request for some days from Monday's midnight; keywords replace its fields."""

    def request(days: int = 7, begin: datetime | None = None, **more: Any) -> PlanRequest:
        first = day_start(MONDAY)
        fields = {
            "plant": plant,
            "prices": prices,
            "tariff": tariff,
            "contract": contract,
            "begin": begin or first,
            "end": first + timedelta(days=days),
            "orders": weekly_orders(plant, MONDAY, MONDAY + timedelta(days=days - 1)),
            **more,
        }
        return PlanRequest(**fields)

    return request
