"""Mistakes in the plant's table, told in a plant engineer's words."""

from __future__ import annotations

import copy
import tomllib
from datetime import date
from pathlib import Path

import pytest

from factory_lib import settings as factory_settings
from factory_lib.errors import ConfigError
from factory_lib.settings.loading import decode
from factory_lib.settings.plant import Plant

PLANTS = Path(__file__).parents[3] / "benchmarks" / "plants"


@pytest.fixture
def table():
    return copy.deepcopy(
        tomllib.loads((PLANTS / "default.toml").read_text(encoding="utf-8"))["plant"]
    )


@pytest.mark.parametrize("name", ["default", "free", "tight"])
def test_the_committed_plants_are_valid(name):
    plant = decode(
        Plant,
        tomllib.loads((PLANTS / f"{name}.toml").read_text(encoding="utf-8"))["plant"],
        "plant",
    )
    kwh = sum(stage.power_kw * stage.duration_min / 60 for stage in plant.stages)
    assert kwh == 534


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (("stages", 0, "machine"), "blender", "runs on 'blender'"),
        (
            ("stages", 0, "duration_min"),
            0,
            r"\[plant\.stages\[mixing\]\.duration_min\] must be at least 1",
        ),
        (("stages", 1, "hold_kw"), 5.0, "no hold_h"),
        (("stages", 4, "hold_h"), 2.0, "is the last"),
        (("stages", 1, "name"), "mixing", "a name of its own"),
        (("stages", 0, "operators"), 3, "no shift has more than 2"),
        (("variants", "premium", "duration_min"), {"melting": 60}, "stages that do not exist"),
        (("variants", "standard", "batch_min_kg"), 300, "not above batch_max_kg"),
        (("demand", "preferred_kg", "dark"), {"mon": 100}, "variants that do not exist"),
        (("demand", "preferred_kg"), {"standard": {"lunes": 100}}, "weekdays are"),
        (("demand", "preferred_kg"), {}, "gives it no days"),
        (("calendar", "region"), "Andalucía", "region. must be one of 'AN', 'AR'"),
        (("power", "limit_kw"), 0, r"limit_kw\] must be above 0"),
        (("auxiliaries", 0, "power_kw"), -5, "must be at least 0, not -5"),
        (("shifts", 1, "begin"), "13:00", "overlap"),
        (
            ("calendar",),
            {"closed": [date(2026, 8, 28)], "open": [date(2026, 8, 28)]},
            "closed and as open",
        ),
        (("room", "cools_k"), -1, r"cools_k\] must be at least 0"),
        (("demand", "weekly_kg", "standard"), -1, r"standard\] must be at least 0"),
        (("stages", 2, "room", "temperature_max_c"), 40, "not above temperature_critical_c"),
        (("slot_min",), 30, "one of 15, 60"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_told_with_its_place(table, where, value, says):
    inner = table
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    with pytest.raises(ConfigError, match=says):
        decode(Plant, table, "plant")


def test_the_settings_hold_the_plant_the_benchmarks_call_default(table):
    assert factory_settings.load("live", env={}).plant == decode(Plant, table, "plant")


def test_a_mistake_names_the_stage_and_the_file(tmp_path):
    text = (factory_settings.ROOT / "config" / "factory.toml").read_text(encoding="utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(text.replace("hold_h = 12 ", "hold_hours = 12 "), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"mine\.toml: \[plant\.stages\[conching\]\] .*did you mean 'hold_h'"
    ):
        factory_settings.load("live", env={"FACTORY_CONFIG": str(file)})
