"""Decisions of a person: a value is quarantined, released or corrected; nothing is lost."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib import frames
from factory_lib.clock import HOUR_S, epoch
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.pipeline import quality
from factory_lib.pipeline.quality import Selection
from tests.unit.conftest import FIRST, SLOTS, Fill

HOUR = Selection("spot_eur_mwh", FIRST, FIRST + timedelta(hours=1))


def shown(ctx: RunContext) -> pd.DataFrame:
    return ctx.store.read("spot_eur_mwh", places=["ES"], start=FIRST, end=FIRST + timedelta(days=2))


def test_a_rejected_value_is_in_no_view_until_it_is_released(ctx: RunContext, fill: Fill) -> None:
    fill()
    assert quality.record_decision(ctx, HOUR, "quarantined", "frozen feed", "Ana") == 4
    assert len(shown(ctx)) == SLOTS - 4
    decisions = quality.open_decisions(ctx, "spot_eur_mwh")
    assert sorted(decisions["value"]) == [50.0, 50.01, 50.02, 50.03]
    assert set(decisions["by"]) == {"Ana"}
    assert set(decisions["reason"]) == {"frozen feed"}
    assert quality.record_decision(ctx, HOUR, "released", "checked with the operator", "Luis") == 4
    assert len(shown(ctx)) == SLOTS
    assert quality.open_decisions(ctx).empty


def test_a_correction_is_a_revision_with_its_author(ctx: RunContext, fill: Fill) -> None:
    fill()
    assert quality.correct(ctx, HOUR, 48.5, "typing error", "Ana") == 4
    first = shown(ctx).iloc[0]
    assert (first["value"], first["rev"], first["run_id"]) == (
        48.5,
        2,
        "corrected by Ana: typing error",
    )
    raw = ctx.store.read("spot_eur_mwh", places=["ES"], start=HOUR.start, end=HOUR.end, raw=True)
    assert sorted(raw["value"].unique()) == [48.5, 50.0, 50.01, 50.02, 50.03]


def test_a_correction_outlives_earlier_updates_of_its_provider(ctx: RunContext, fill: Fill) -> None:
    fill()
    given = ctx.store.read("spot_eur_mwh", places=["ES"], start=HOUR.start, end=HOUR.end)
    quality.correct(ctx, HOUR, 48.5, "typing error", "Ana")
    ctx.store.write(given, run_id="read again")
    assert shown(ctx)["value"].iloc[0] == 48.5
    for hours, kept in ((-1, True), (1, False)):
        said = (pd.Timestamp(ctx.clock.now()) + pd.Timedelta(hours=hours)).as_unit("s")
        ctx.store.write(given.assign(provider_updated_at=said), run_id="read again")
        assert (shown(ctx)["value"].iloc[0] == 48.5) == kept


@pytest.mark.parametrize(
    ("selection", "verdict"),
    [
        pytest.param(HOUR, "released", id="nothing quarantined"),
        pytest.param(
            Selection("spot_eur_mwh", FIRST - timedelta(days=9), FIRST),
            "quarantined",
            id="no value there",
        ),
        pytest.param(
            Selection("spot_eur_mwh", HOUR.start, HOUR.end, "omie"),
            "quarantined",
            id="not of that source",
        ),
    ],
)
def test_a_decision_about_nothing_is_an_error(
    ctx: RunContext, fill: Fill, selection: Selection, verdict: str
) -> None:
    fill()
    with pytest.raises(BadInput, match="There is no"):
        quality.record_decision(ctx, selection, verdict, "reason", "Ana")


def test_a_value_outside_the_catalogue_s_range_corrects_nothing(
    ctx: RunContext, fill: Fill
) -> None:
    fill()
    with pytest.raises(BadInput, match=r"lies within .*: 1e\+09 cannot be"):
        quality.correct(ctx, HOUR, 1e9, "reason", "Ana")


def test_no_rule_flags_what_a_person_has_corrected(ctx: RunContext) -> None:
    place = ctx.settings.site.grid_place
    rows = frames.tidy(
        series="temperature_c",
        place=place,
        source="open_meteo",
        kind="reanalysis",
        resolution_s=HOUR_S,
        starts=epoch(FIRST) + HOUR_S * np.arange(8),
        values=20 + np.arange(8) / 10,
        retrieved_at=FIRST,
    )
    ctx.store.write(rows, run_id="a")
    middle = [FIRST + timedelta(hours=hours) for hours in (3, 4)]
    quality.correct(
        ctx, Selection("temperature_c", *middle), 45.0, "read off the instrument", "Ana"
    )
    quality.run_checks(ctx, ["temperature_c"], [(FIRST, FIRST + timedelta(hours=8))])
    assert quality.open_decisions(ctx).empty
    assert list(
        ctx.store.read("temperature_c", places=[place], start=middle[0], end=middle[1])["value"]
    ) == [45.0]
