from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.pipeline.ingest import compare_sources, compare_weather, ingest, order_by_hour

NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hour", "first"),
    [
        pytest.param(22, "aemet", id="local-midnight"),
        pytest.param(5, "aemet", id="local-seven"),
        pytest.param(6, "openweathermap", id="local-eight"),
        pytest.param(21, "openweathermap", id="local-twenty-three"),
    ],
)
def test_the_hour_decides_the_first_source_and_drops_none(hour: int, first: str) -> None:
    now = datetime(2026, 4, 15, hour, tzinfo=UTC)  # two hours behind Madrid
    order = order_by_hour(["open_meteo", "aemet", "openweathermap"], now)
    assert order[0] == first
    assert set(order) == {"open_meteo", "aemet", "openweathermap"}


def readings(source: str, place: str, values: list[float | None], rev: int = 1) -> pd.DataFrame:
    """Hourly temperatures; None is no row."""
    starts = pd.date_range(NOW, periods=len(values), freq="h", unit="s")
    table = pd.DataFrame({"start": starts, "value": values}).dropna()
    return table.assign(series="temperature_c", source=source, place=place, rev=rev)


def test_bias_and_error_are_counted_over_common_hours() -> None:
    rows = pd.concat(
        [
            readings("aemet", "5279X", [10, 11, None, 13]),
            readings("openweathermap", "38.151,-3.629", [11, 10, 99, 16]),
        ]
    )
    (line,) = compare_sources(rows, default_catalogue()).to_dict("records")
    assert (line["source"], line["reference"], line["hours"]) == ("openweathermap", "aemet", 3)
    assert line["bias"] == pytest.approx(1.0)
    assert line["mae"] == pytest.approx(5 / 3)
    assert line["unit"] == "°C"


def test_the_reference_is_the_most_trusted_that_has_the_hours() -> None:
    rows = pd.concat(
        [
            readings("aemet", "5279X", [10, None, None]),
            readings("openweathermap", "38.151,-3.629", [None, 12, 12]),
            readings("open_meteo", "38.151,-3.629", [None, 13, 13]),
        ]
    )
    (line,) = compare_sources(rows, default_catalogue()).to_dict("records")
    assert (line["source"], line["reference"], line["bias"]) == (
        "open_meteo",
        "openweathermap",
        1.0,
    )


def test_only_the_latest_revision_is_compared() -> None:
    rows = pd.concat(
        [
            readings("aemet", "5279X", [10]),
            readings("openweathermap", "38.151,-3.629", [50]),
            readings("openweathermap", "38.151,-3.629", [10], rev=2),
        ]
    )
    assert compare_sources(rows, default_catalogue())["mae"].tolist() == [0.0]


def test_the_simulated_sources_are_close_and_not_alike(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    ingest(ctx, "weather", days=8)
    found = compare_weather(ctx, days=8).set_index("series")
    assert found.loc["temperature_c", "source"] == "open_meteo_recent"
    assert found.loc["temperature_c", "hours"] == pytest.approx(72, abs=2)
    assert 0 < found.loc["temperature_c", "mae"] < 3
