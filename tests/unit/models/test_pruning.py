"""Old trainings go with their files; what is in use or young, and what a rollback returns to, stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from factory_lib.errors import ModelMissing
from factory_lib.house import House
from factory_lib.models import pruning, registry

MODEL = "energy_optimisation"
HORIZON = datetime.now(UTC) + timedelta(days=1)  # everything logged here began before it


def train(house: House) -> registry.Logged:
    estimator = LinearRegression().fit(np.arange(4.0).reshape(-1, 1), np.arange(4.0))
    return registry.log(
        house, name="training", params={}, metrics={}, models={MODEL: estimator}, tags={}, artifacts={}, figures={}
    )


def test_only_what_is_old_and_has_no_alias_goes(house: House) -> None:
    assert pruning.prune(house, HORIZON) == 0
    first, second = train(house), train(house)
    registry.promote(house, MODEL, second.versions[MODEL], "better")
    folder = house.settings.paths.mlflow_artifacts
    before = sum(file.is_file() for file in folder.rglob("*"))
    assert pruning.prune(house, HORIZON - timedelta(days=2)) == 0
    assert pruning.prune(house, HORIZON) == 1
    assert list(registry.versions(house)["run_id"]) == [second.run_id]
    assert registry.load(house, MODEL).run_id == second.run_id
    after = sum(file.is_file() for file in folder.rglob("*"))
    assert after < before, f"the files of {first.run_id} are still there"
    assert pruning.prune(house, HORIZON) == 0


def test_what_a_rollback_returns_to_stays(house: House) -> None:
    numbers = [train(house).versions[MODEL] for _ in range(3)]
    for number in numbers:
        registry.promote(house, MODEL, number, "better")
    assert pruning.prune(house, HORIZON) == 1, "the first is two promotions back"
    registry.retire(house, MODEL, "behind the naive forecast")
    assert pruning.prune(house, HORIZON) == 0
    assert registry.rollback(house, MODEL) == numbers[2], "the retirement is undone"
    assert registry.rollback(house, MODEL) == numbers[1], "and the promotion before it"
    with pytest.raises(ModelMissing, match="none to go back to"):
        registry.rollback(house, MODEL)
