"""The works with the plan of noon, with which most tests of plans begin."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from factory_lib.context import RunContext
from factory_lib.planning.daily import DailyPlan, make_plan
from tests.support.week import NOON, furnish
from tests.unit.conftest import at_noon, in_hours


class Planned(NamedTuple):
    """The small works with the plan that was made at noon, and that plan."""

    ctx: RunContext
    made: DailyPlan


@pytest.fixture(scope="session")
def plan_of_noon(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DailyPlan]:
    """Return the home of the works and its first plan."""
    home = tmp_path_factory.mktemp("planned")
    with at_noon(home) as works:
        furnish(works, NOON, days=35, quarters=True)
        return home, make_plan(in_hours(works))


@pytest.fixture
def planned(plan_of_noon: tuple[Path, DailyPlan], home: Path) -> Iterator[Planned]:
    """A copy of those works for each test."""
    original, made = plan_of_noon
    shutil.copytree(original, home, dirs_exist_ok=True)
    with at_noon(home) as works:
        yield Planned(in_hours(works), made)
