"""Old trainings go with their files.

What is in use or young, and what a rollback returns to, stays.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from factory_lib.context import RunContext
from factory_lib.errors import ModelMissing
from factory_lib.models import registry
from factory_lib.state.calls import calls_since

MODEL = "energy_optimisation"
HORIZON = datetime.now(UTC) + timedelta(days=1)  # everything logged here began before it


def train(ctx: RunContext) -> registry.Logged:
    estimator = LinearRegression().fit(np.arange(4.0).reshape(-1, 1), np.arange(4.0))
    return registry.log(
        ctx,
        name="training",
        params={},
        metrics={},
        models={MODEL: estimator},
        tags={},
        artifacts={},
        figures={},
    )


def test_only_what_is_old_and_has_no_alias_goes(ctx: RunContext) -> None:
    assert registry.prune(ctx, HORIZON) == 0
    first, second = train(ctx), train(ctx)
    registry.assign(ctx, MODEL, second.versions[MODEL], registry.CHAMPION, "better")
    folder = ctx.settings.paths.mlflow_artifacts
    before = sum(file.is_file() for file in folder.rglob("*"))
    assert registry.prune(ctx, HORIZON - timedelta(days=2)) == 0
    assert registry.prune(ctx, HORIZON) == 1
    assert list(registry.versions(ctx)["run_id"]) == [second.run_id]
    assert registry.load_version(ctx, MODEL).run_id == second.run_id
    after = sum(file.is_file() for file in folder.rglob("*"))
    assert after < before, f"the files of {first.run_id} are still there"
    assert registry.prune(ctx, HORIZON) == 0


def test_what_a_rollback_returns_to_stays(ctx: RunContext) -> None:
    numbers = [train(ctx).versions[MODEL] for _ in range(3)]
    for number in numbers:
        registry.assign(ctx, MODEL, number, registry.CHAMPION, "better")
    assert registry.prune(ctx, HORIZON) == 1, "the first is two promotions back"
    registry.retire(ctx, MODEL, "behind the naive forecast")
    assert registry.prune(ctx, HORIZON) == 0
    assert registry.rollback(ctx, MODEL) == numbers[2], "the retirement is undone"
    assert registry.rollback(ctx, MODEL) == numbers[1], "and the promotion before it"
    with pytest.raises(ModelMissing, match="there is no earlier one"):
        registry.rollback(ctx, MODEL)


def test_that_no_version_serves_is_an_answer_of_the_registry(ctx: RunContext) -> None:
    train(ctx)
    with pytest.raises(ModelMissing, match="has no champion"):
        registry.load_version(ctx, MODEL)
    recorded = calls_since(ctx.state, ctx.clock.now())
    assert [(call.target, call.status) for call in recorded] == [("log", "ok"), ("load", "ok")]
