"""Judging by hand: a value is barred, released or corrected with reason and author; nothing is lost."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib import frames
from factory_lib.clock import HOUR_S, epoch
from factory_lib.errors import BadInput
from factory_lib.house import House
from factory_lib.ops import quarantine
from factory_lib.ops.quarantine import Choice
from factory_lib.pipeline import quality
from tests.unit.ops.conftest import FIRST, SLOTS, Fill

HOUR = Choice("spot_eur_mwh", FIRST, FIRST + timedelta(hours=1))


def shown(house: House) -> pd.DataFrame:
    return house.store.read("spot_eur_mwh", places=["ES"], start=FIRST, end=FIRST + timedelta(days=2))


def test_a_rejected_value_is_in_no_view_until_it_is_released(house: House, fill: Fill) -> None:
    fill()
    assert quarantine.judge(house, HOUR, "quarantined", "frozen feed", "Ana") == 4
    assert len(shown(house)) == SLOTS - 4
    listed = quarantine.listed(house, "spot_eur_mwh")
    assert sorted(listed["value"]) == [50.0, 50.01, 50.02, 50.03]
    assert set(listed["by"]) == {"Ana"}
    assert set(listed["reason"]) == {"frozen feed"}
    assert quarantine.judge(house, HOUR, "released", "checked with the operator", "Luis") == 4
    assert len(shown(house)) == SLOTS
    assert quarantine.listed(house).empty


def test_a_correction_is_a_revision_with_its_author(house: House, fill: Fill) -> None:
    fill()
    assert quarantine.correct(house, HOUR, 48.5, "typing error", "Ana") == 4
    first = shown(house).iloc[0]
    assert (first["value"], first["rev"], first["run_id"]) == (48.5, 2, "corrected by Ana: typing error")
    raw = house.store.read("spot_eur_mwh", places=["ES"], start=HOUR.start, end=HOUR.end, raw=True)
    assert sorted(raw["value"].unique()) == [48.5, 50.0, 50.01, 50.02, 50.03]


def test_a_correction_outlives_what_its_provider_said_before(house: House, fill: Fill) -> None:
    fill()
    given = house.store.read("spot_eur_mwh", places=["ES"], start=HOUR.start, end=HOUR.end)
    quarantine.correct(house, HOUR, 48.5, "typing error", "Ana")
    house.store.write(given, run_id="read again")
    assert shown(house)["value"].iloc[0] == 48.5
    for hours, kept in ((-1, True), (1, False)):
        said = (pd.Timestamp(house.clock.now()) + pd.Timedelta(hours=hours)).as_unit("s")
        house.store.write(given.assign(provider_updated_at=said), run_id="read again")
        assert (shown(house)["value"].iloc[0] == 48.5) == kept


@pytest.mark.parametrize(
    ("choice", "verdict"),
    [
        pytest.param(HOUR, "released", id="nothing barred"),
        pytest.param(Choice("spot_eur_mwh", FIRST - timedelta(days=9), FIRST), "quarantined", id="no value there"),
        pytest.param(Choice("spot_eur_mwh", HOUR.start, HOUR.end, "omie"), "quarantined", id="not of that source"),
    ],
)
def test_judging_nothing_is_an_error(house: House, fill: Fill, choice: Choice, verdict: str) -> None:
    fill()
    with pytest.raises(BadInput, match="There is no"):
        quarantine.judge(house, choice, verdict, "reason", "Ana")


def test_a_value_outside_the_catalogue_s_range_corrects_nothing(house: House, fill: Fill) -> None:
    fill()
    with pytest.raises(BadInput, match=r"lies within .*: 1e\+09 cannot be"):
        quarantine.correct(house, HOUR, 1e9, "reason", "Ana")


def test_no_rule_bars_what_a_person_has_corrected(house: House) -> None:
    place = house.settings.site.grid_place
    rows = frames.tidy(
        series="temperature_c", place=place, source="open_meteo", kind="reanalysis", resolution_s=HOUR_S,
        starts=epoch(FIRST) + HOUR_S * np.arange(8), values=20 + np.arange(8) / 10, retrieved_at=FIRST,
    )  # fmt: skip
    house.store.write(rows, run_id="a")
    middle = [FIRST + timedelta(hours=hours) for hours in (3, 4)]
    quarantine.correct(house, Choice("temperature_c", *middle), 45.0, "read off the instrument", "Ana")
    quality.judge(house, ["temperature_c"], FIRST, FIRST + timedelta(hours=8))
    assert quarantine.listed(house).empty
    assert list(house.store.read("temperature_c", places=[place], start=middle[0], end=middle[1])["value"]) == [45.0]
