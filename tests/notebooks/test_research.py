"""The research notebooks on imported history: hours of a city, no provider, nothing of today."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest

from factory_lib import settings as factory_settings
from factory_lib.context import open_context
from factory_lib.runs import report
from factory_lib.settings import ROOT
from factory_sim.world import World
from tests.support import notebooks
from tests.support.stored import store_observed

NOW = datetime(2017, 12, 31, tzinfo=UTC)


@pytest.fixture
def history(home: Path) -> str:
    """A year of hours in profile history; return its ``as_of``."""
    settings = factory_settings.load("history", env={"FACTORY_HOME": str(home)})
    with open_context(settings=settings, as_of=NOW) as ctx:
        world = World()
        for name, place in (
            ("spot_eur_mwh", "ES"),
            ("temperature_c", "Sevilla"),
            ("humidity_pct", "Sevilla"),
        ):
            starts, values = world.window(name, NOW - timedelta(days=365), NOW)
            store_observed(ctx, name, starts, values, place=place, source="imported", at=NOW)
    return "2017-12-31"


def execute(name: str, parameters: dict[str, object], folder: Path) -> nbformat.NotebookNode:
    source = ROOT / "notebooks" / "research" / f"{name}.ipynb"
    return notebooks.execute(source, folder / "done.ipynb", parameters)


def test_price_forecasts_are_compared_on_the_prices_of_ones_own(
    history: str, tmp_path: Path
) -> None:
    parameters = {"profile": "history", "as_of": history, "data": str(tmp_path), "days": 2}
    made = execute("price_backtest", parameters, tmp_path)
    texts = [str(output) for cell in made.cells for output in cell.get("outputs", [])]
    assert any("Prices of the profile history: 8,760 hours" in text for text in texts)
    assert any("what serves" in text and "rmae" in text for text in texts)


@pytest.mark.parametrize(
    ("name", "says", "more"),
    [
        pytest.param(
            "data_explorer",
            "Day-ahead market price: 8,760 of 8,760 slots",
            {},
            id="explorer",
        ),
        pytest.param("climate_risk", "suffers most", {}, id="climate risk"),
        pytest.param("energy_levers", "judged by 2 weeks", {"every": 26}, id="energy levers"),
    ],
)
def test_it_runs_on_history_and_has_something_to_say(
    history: str, tmp_path: Path, name: str, says: str, more: dict[str, int]
) -> None:
    parameters = {"profile": "history", "as_of": history, **more}
    metrics = report.metrics(execute(name, parameters, tmp_path))
    assert says in metrics["summary"]
    assert metrics["simulated"] is False
