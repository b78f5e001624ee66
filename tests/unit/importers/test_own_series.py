"""A series of one's own: five lines of the settings bring a sensor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from factory_lib import lab
from factory_lib import settings as factory_settings
from factory_lib.clock import day_start
from factory_lib.context import open_context
from factory_lib.errors import ConfigError, ImportFileError
from factory_lib.importers import import_path
from factory_lib.pipeline.gaps import analyse
from factory_sim.clock import SimulatedClock

NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)
NAME = "hall_temperature_c"
TABLE = f"""
[series.{NAME}]
unit = "°C"
step_min = 15
range = [-10.0, 60.0]
column = "Temp. nave (ºC)"
"""


def load(home: Path, table: str) -> factory_settings.Settings:
    text = (factory_settings.ROOT / "config" / "factory.toml").read_text(encoding="utf-8")
    file = home / "factory.toml"
    file.write_text(text + table, encoding="utf-8")
    return factory_settings.load(
        "live", env={"FACTORY_HOME": str(home), "FACTORY_CONFIG": str(file)}
    )


def sensor(hours: range) -> str:
    """Readings every five minutes, as a logger writes them."""
    rows = [
        f"{hour % 24:02d}:{minute:02d};{20 + hour % 24},{minute // 5 % 3}"
        for hour in hours
        for minute in range(0, 60, 5)
    ]
    return "\n".join(["Fecha y hora;Temp. nave (ºC)", *(f"01/04/2026 {row}" for row in rows), ""])


def test_a_sensor_is_imported_accounted_for_and_read(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "sonda.csv"
    file.write_text(sensor(range(6)) + sensor(range(8, 12)).partition("\n")[2], encoding="cp1252")
    settings = load(home, TABLE)
    with open_context(settings=settings, as_of=NOW, clock=SimulatedClock(NOW)) as ctx:
        result = import_path(ctx, file)
        assert result.metrics["new"] == 40
        assert any("averaged over slots of 15 minutes" in note for note in result.notes)
        start = day_start(datetime(2026, 4, 1, tzinfo=UTC).date())
        rows = lab.series(ctx, NAME, since=start, until=start + timedelta(hours=12))
        assert rows[NAME].iloc[:4].tolist() == pytest.approx([20.1] * 4)
        report = analyse(ctx, series=[NAME])
        assert report.gaps["slots"].tolist()[0] > 0
        assert NAME in analyse(ctx).accounting["series"].tolist()
        assert import_path(ctx, file).metrics["new"] == 0


def test_a_value_outside_of_its_range_is_rejected(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "sonda.csv"
    file.write_text("time_utc,Temp. nave (ºC)\n2026-04-01T00:00Z,99\n", encoding="utf-8")
    with open_context(settings=load(home, TABLE), as_of=NOW, clock=SimulatedClock(NOW)) as ctx:
        reason = import_path(ctx, file)["rejected"]["reason"].item()
    assert reason == "outside -10 to 60 °C"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        pytest.param(TABLE.replace(NAME, "spot_eur_mwh"), "is a series already", id="a name taken"),
        pytest.param(TABLE.replace("60.0", "-60.0"), "range must be", id="a range upside down"),
        pytest.param(TABLE.replace("15", "7"), "step_min", id="an odd step"),
    ],
)
def test_a_table_that_cannot_be_is_named(home: Path, table: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(home, table)


def test_without_the_table_the_file_is_answered_with_what_is_wanted(
    home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sonda.csv"
    file.write_text(sensor(range(2)), encoding="utf-8")
    with (
        open_context(settings=load(home, ""), as_of=NOW, clock=SimulatedClock(NOW)) as ctx,
        pytest.raises(ImportFileError, match="needs columns such as"),
    ):
        import_path(ctx, file)
