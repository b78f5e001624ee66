"""Findings of the imports in the real public files; skipped where they are absent."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.importers import files
from factory_lib.importers.check import CheckedReading, check
from factory_lib.importers.formats import FORMATS, detect
from factory_lib.importers.reading import join_readings
from factory_lib.settings.records import QualitySettings

# one worker reads each file once

NOW = datetime(2026, 4, 15, tzinfo=UTC)


@cache
def checked(data: Path, pattern: str) -> CheckedReading:
    paths = sorted(data.glob(pattern))
    if not paths:
        pytest.skip(f"no {pattern}")
    members = files.members(paths[0])
    (name,) = {detect(member) for member in members}
    assert name
    fmt = FORMATS[name]
    reading = join_readings([fmt.parse(member, fmt) for member in members])
    done = check(reading, fmt, NOW, QualitySettings(), default_catalogue())
    unstored = len(done.tables["rejected"]) + done.counts["repeated_values"]
    assert done.counts["values_read"] == len(done.rows) + unstored
    return done


@pytest.mark.parametrize(
    ("pattern", "missing", "duplicates", "empty"),
    [
        ("spot_es_hourly_*", {"ES": 0}, 0, 0),
        ("omie_15min_*", {"ES": 3}, 0, 0),
        ("omie_marginalpdbc_*", {"ES": 0}, 0, 0),
        ("pvpc_pcb_daily_json_*", {"ES": 3}, 0, 0),
        ("pvpc_pcb_hourly_*", {"ES": 3}, 0, 0),
        ("es_energy_*", {"ES": 0}, 0, 0),
        ("gas_*", {"ES": 0}, 0, 0),
        ("siar_*", {"J09": 49, "J17": 10}, 0, 32),
        ("es_weather_*", {"Bilbao": 0, "Madrid": 0, "Sevilla": 0}, 1503, 0),
        ("aemet_daily_Jaen_*", {"5270B": 845}, 0, 1),
        ("aemet_daily_tmax_tmin_Sevilla_*", {"Sevilla": 147}, 169, 0),
        ("aemet_daily_tmax_tmin_Cordoba_*", {"Cordoba": 1768}, 163, 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_defects_are_found(
    real_data: Path, pattern: str, missing: dict[str, int], duplicates: int, empty: int
) -> None:
    tables = checked(real_data, pattern).tables
    accounts = tables["places"].set_index("place")
    assert accounts["missing_days"].to_dict() == missing
    assert accounts["duplicates"].sum() == duplicates
    assert accounts["empty_days"].sum() == empty
    assert accounts["incomplete_days"].sum() == 0
    assert len(tables["rejected"]) == 0


def test_frozen_hours_of_the_weather_history(real_data: Path) -> None:
    tables = checked(real_data, "es_weather_*").tables
    assert tables["places"].set_index("place")["frozen_hours"].to_dict() == {
        "Bilbao": 44,
        "Madrid": 44,
        "Sevilla": 44,
    }
    assert (
        str(tables["quarantined"]["start"].min()) == "2016-07-18 22:00:00+00:00"
    )  # rain of the hour before


def test_halved_hours_of_the_spot_table(real_data: Path) -> None:
    marks = checked(real_data, "spot_es_hourly_*").tables["quarantined"]
    assert len(marks) == 16
    assert sorted(set(marks["start"].dt.year)) == list(range(2014, 2022))
