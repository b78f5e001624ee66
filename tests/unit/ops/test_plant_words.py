"""The plant in words, and what is said where a weekday cannot be planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from factory_lib import settings as factory_settings
from factory_lib.ops import jobs, plant_words
from factory_lib.settings import ROOT, Settings


def test_every_stage_limit_shift_and_the_contract_are_told(settings: Settings) -> None:
    said = "\n".join(plant_words.told(settings))
    assert "tempering: 36 kW, 2 h, temperer (1), 1 operator(s) throughout" in said
    assert "at least 18 °C, at most 22 °C, at most 60 % humidity" in said
    assert "conching: 48 kW, 5 h, conche (1), unattended, held up to 12 h at 5 kW" in said
    assert "A batch takes 13 h on the machines and 534 kWh." in said
    assert "150 kW contracted" in said
    assert "368 kWh a day" in said
    assert "-273" not in said


def test_a_stage_off_the_grid_is_told_as_it_is_planned(settings: Settings) -> None:
    first, *others = settings.plant.stages
    plant = replace(settings.plant, stages=(replace(first, duration_min=50), *others))
    assert "50 min are planned as 60" in "\n".join(plant_words.told(replace(settings, plant=plant)))


def test_the_committed_plant_has_a_plan_on_every_weekday(settings: Settings) -> None:
    assert list(plant_words.cannot(settings.plant)) == []


def test_what_no_weekday_can_make_is_told_with_what_is_in_the_way(settings: Settings) -> None:
    demand = replace(settings.plant.demand, weekly_kg={"standard": 9000.0})
    (line,) = plant_words.cannot(replace(settings.plant, demand=demand))
    assert line.startswith("mon: ")
    assert "kg (standard)" in line


def test_check_names_the_file_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ours.toml"
    file.write_text((ROOT / "config" / "factory.toml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("FACTORY_CONFIG", str(file))
    assert factory_settings.load("live").file == file
    assert jobs.config("live", "check") == 0
    assert f"{file} is sound, and every weekday has a plan." in capsys.readouterr().out
