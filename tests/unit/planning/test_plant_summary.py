"""The plant in words, and what is said where a weekday cannot be planned."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.cli import main
from factory_lib.planning import plant_summary
from factory_lib.settings import ROOT, Settings


def test_every_stage_limit_shift_and_the_contract_are_told(settings: Settings) -> None:
    said = "\n".join(plant_summary.describe(settings))
    assert "tempering: 36 kW, 2 h, temperer (1), 1 operator(s) throughout" in said
    assert "at least 18 °C, at most 22 °C, at most 60 % humidity" in said
    assert "conching: 48 kW, 5 h, conche (1), unattended, held up to 12 h at 5 kW" in said
    assert "A batch takes 13 h on the machines and 534 kWh." in said
    assert "150 kW contracted" in said
    assert "368 kWh a day" in said
    assert "-273" not in said


def test_a_stage_off_the_grid_is_told_as_it_is_planned(settings: Settings) -> None:
    first, *others = settings.plant.stages
    plant = structs.replace(
        settings.plant, stages=(structs.replace(first, duration_min=50), *others)
    )
    assert "50 min are planned as 60" in "\n".join(
        plant_summary.describe(structs.replace(settings, plant=plant))
    )


def test_the_committed_plant_has_a_plan_on_every_weekday(settings: Settings) -> None:
    assert list(plant_summary.cannot(settings.plant)) == []


def test_what_no_weekday_can_make_is_told_with_what_is_in_the_way(settings: Settings) -> None:
    demand = structs.replace(settings.plant.demand, weekly_kg={"standard": 9000.0})
    (line,) = plant_summary.cannot(structs.replace(settings.plant, demand=demand))
    assert line.startswith("mon: ")
    assert "kg (standard)" in line


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of our own, which commands read."""
    file = tmp_path / "ours.toml"
    file.write_text(
        (ROOT / "config" / "factory.toml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    monkeypatch.setenv("FACTORY_CONFIG", str(file))
    return file


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('"01_ingest"', '"01_ingets"', "Job ingest cannot run: .*01_ingets.ipynb is missing"),
        ('sources = "all"', 'daze = "all"', "Job ingest cannot run: .*no parameter daze"),
        ("standard = 1000", "standard = 9000", "No plan is possible on a mon: .*kg"),
    ],
    ids=["notebook", "parameter", "demand"],
)
def test_check_finds_what_can_be_loaded_and_not_done(
    ours: Path, capsys: pytest.CaptureFixture[str], was: str, becomes: str, said: str
) -> None:
    text = ours.read_text(encoding="utf-8")
    assert was in text
    ours.write_text(text.replace(was, becomes, 1), encoding="utf-8")
    assert main(["config", "check"]) == 1
    assert re.search(f"\n{said}.*\n.*ours.toml is not sound.\n$", capsys.readouterr().out)
    assert main(["config", "check", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["sound"] is False
    assert re.match(said, told["problems"][0])


def test_check_names_the_file_it_read(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ours
    assert factory_settings.load("live").file == file
    assert main(["config", "check"]) == 0
    assert f"{file} is sound, and every weekday has a plan." in capsys.readouterr().out
