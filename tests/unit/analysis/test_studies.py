"""Studies: one series in detail, and the climate risk of the plant."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib.analysis import climate_risk, explorer
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.frames import tidy
from factory_lib.settings.plant import RoomLimits
from tests.support.week import NOON


def air(ctx: RunContext, days: int, celsius: float, percent: float) -> None:
    """Store hours of one and the same outdoor air until now."""
    starts = np.arange(
        int(NOON.timestamp()) - days * 86400, int(NOON.timestamp()), 3600, dtype=np.int64
    )
    for name, value in (("temperature_c", celsius), ("humidity_pct", percent)):
        rows = tidy(
            name,
            starts,
            np.full(len(starts), value),
            place="5279X",
            source="aemet",
            kind="observed",
            resolution_s=3600,
            retrieved_at=NOON,
        )
        ctx.store.write(rows, run_id="test")


def at_noon(ctx: RunContext) -> RunContext:
    return replace(ctx, as_of=NOON)


@pytest.mark.parametrize(
    ("celsius", "percent", "unfit", "cause"),
    [
        pytest.param(20.0, 40.0, 0.0, None, id="mild and dry"),
        pytest.param(45.0, 10.0, 100.0, "hot", id="no cooling reaches that"),
        pytest.param(30.0, 80.0, 100.0, "damp", id="no drying reaches that"),
    ],
)
def test_air_that_is_always_the_same_is_always_or_never_in_the_way(
    ctx: RunContext, celsius: float, percent: float, unfit: float, cause: str | None
) -> None:
    air(ctx, 40, celsius, percent)
    result = climate_risk.assess(at_noon(ctx), years=1)
    assert list(result["months"]["month"]) == ["Oct", "Nov"]
    assert (result["months"]["tempering_unfit_pct"] == unfit).all()
    assert (result["months"]["tempering_lost_pct"] == unfit).all(), (
        "and with every hour goes every day"
    )
    for name in ("hot", "damp"):
        assert (
            result["causes"][f"tempering_{name}_pct"] == (100.0 if name == cause else 0.0)
        ).all()
    assert (result["by_hour"]["tempering"].to_numpy() == unfit / 100).all()


def test_only_hours_with_people_count_where_a_stage_needs_them(works: RunContext) -> None:
    result = climate_risk.assess(works, years=1)
    stages = {stage.name: stage for stage in works.settings.plant.stages}
    index = pd.date_range("2025-11-10T00:00Z", periods=168, freq="h", unit="s")
    hours = {
        name: climate_risk._can_run(works.settings.plant, stage, index).sum()
        for name, stage in stages.items()
    }
    assert (hours["conching"], hours["tempering"]) == (168, 5 * 16 + 8)
    assert set(result["by_hour"].columns.unique(0)) == {
        name for name, stage in stages.items() if stage.room != RoomLimits()
    }


def test_without_air_the_risk_is_unknown_and_says_so(ctx: RunContext) -> None:
    result = climate_risk.assess(ctx)
    assert (result.status, result.metrics) == ("warn", {"hours": 0})
    assert result["months"].empty


def test_a_series_comes_with_its_provenance_gaps_and_distribution(works: RunContext) -> None:
    result = explorer.explore(works, "spot_eur_mwh")
    assert result.status == "ok"
    assert result["provenance"][["place", "source", "kind"]].to_dict("records") == [
        {"place": "ES", "source": "ree", "kind": "observed"}
    ]
    assert result["provenance"]["shown"].item() == len(result["values"])
    assert list(result["by_hour"].index) == list(range(24))
    assert (result["months"]["lowest"] <= result["months"]["p5"]).all()
    assert result["complete"].columns.tolist() == ["spot_eur_mwh"]


def test_a_hole_is_counted_and_a_daily_series_has_no_hours(works: RunContext) -> None:
    result = explorer.explore(works, "temperature_c", NOON - timedelta(days=50), NOON)
    assert result.status == "warn"
    assert result.metrics["missing"] == 15 * 24 + 1, "the hour just over is not known yet"
    empty = explorer.explore(works, "produced_kg")
    assert "nothing is stored" in empty.summary
    assert empty["by_hour"].empty


def test_an_unknown_series_is_refused(ctx: RunContext) -> None:
    with pytest.raises(BadInput, match="no series"):
        explorer.explore(ctx, "spot")


def test_a_replay_looks_at_what_was_known(works: RunContext) -> None:
    earlier: datetime = NOON - timedelta(days=10)
    result = explorer.explore(replace(works, as_of=earlier), "temperature_c")
    assert result["values"].index.max() < pd.Timestamp(earlier)
