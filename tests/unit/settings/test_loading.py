"""The strict loader: a mistake in the file names its place and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy
from msgspec import field

from factory_lib import settings
from factory_lib.errors import ConfigError
from factory_lib.settings.loading import NonNegative, Section, WallTime, decode, merge
from factory_lib.settings.records import (
    AlertSettings,
    BreakerSettings,
    GapSettings,
    JobSettings,
    RetentionSettings,
    TrainingSettings,
)


class Inner(Section):
    power_kw: NonNegative
    mode: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        if self.mode == "off" and self.power_kw:
            raise ValueError("what is off takes no power")


class Outer(Section):
    name: str
    starts: WallTime
    inner: Inner
    stages: tuple[Inner, ...] = ()
    by_name: Mapping[str, Inner] = field(default_factory=dict)
    limit: int | None = None


SEVERITY = {
    "name": "minor",
    "strategy": "wait",
    "priority": "low",
    "passes_at_min": [0],
    "up_to_h": 2,
}
GOOD: dict[str, Any] = {"name": "a", "starts": "06:00", "inner": {"power_kw": 3}}


def test_a_good_table_becomes_typed_records() -> None:
    built = decode(
        Outer,
        {**GOOD, "stages": [{"power_kw": 1}], "by_name": {"x": {"power_kw": 2}}},
        "plant",
    )
    assert built.starts == time(6)
    assert built.inner.power_kw == 3.0
    assert built.stages[0].power_kw == 1.0
    assert built.by_name == {"x": Inner(2.0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"nmae": "b"}, "did you mean 'name'", id="unknown key"),
        pytest.param({"name": 3}, "must be text in quotes", id="wrong type"),
        pytest.param({"limit": True}, "must be a whole number, not true", id="a bool is no int"),
        pytest.param({"starts": "6h"}, "is not a time such as", id="not a time"),
        pytest.param({"inner": {"power_kw": "3"}}, 'must be a number, not "3"', id="quoted number"),
        pytest.param({"inner": {}}, "'power_kw' is missing", id="missing"),
        pytest.param(
            {"inner": {"power_kv": 1}},
            "'power_kv' is unknown; did you mean 'power_kw'",
            id="a typo",
        ),
        pytest.param({"inner": {"power_kw": -1}}, "must be at least 0, not -1", id="range"),
        pytest.param(
            {"inner": {"power_kw": 1, "mode": "off"}}, "what is off takes", id="a contradiction"
        ),
        pytest.param(
            {"inner": {"power_kw": 1, "mode": "idle"}}, "must be one of 'on', 'off'", id="literal"
        ),
        pytest.param({"stages": {"power_kw": 1}}, "must be a list", id="table for a list"),
        pytest.param(
            {"stages": [{"power_kw": "x"}]}, r"stages\[0\]\.power_kw", id="place inside a list"
        ),
        pytest.param(
            {"by_name": {"x": {"power_kw": "x"}}}, r"by_name\.x\.power_kw", id="place in a table"
        ),
        pytest.param({"inner": 3}, "must be a table", id="value for a table"),
    ],
)
def test_a_mistake_names_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(Outer, {**GOOD, **change}, "plant")


@pytest.mark.parametrize(
    "cron", ["", "*/5 * * * *", "10,40 * * * *", "0 6-22/2 1 1-12 0,7", "0 0 31 12 5"]
)
def test_a_cadence_is_five_fields(cron: str) -> None:
    assert decode(JobSettings, {"notebook": "01_ingest", "cron": cron}, "jobs.ours").cron == cron


@pytest.mark.parametrize(
    "cron",
    [
        "hourly",
        "*/5 * * *",
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "a * * * *",
    ],
)
def test_what_cron_would_refuse_or_never_run_is_refused(cron: str) -> None:
    with pytest.raises(ConfigError, match="is not five fields"):
        decode(JobSettings, {"notebook": "01_ingest", "cron": cron}, "jobs.ours")


@pytest.mark.parametrize(
    ("record", "given", "message"),
    [
        (TrainingSettings, {"minimum_rows": 0}, r"minimum_rows\] must be at least 1, not 0"),
        (BreakerSettings, {"open_s": -1}, r"open_s\] must be at least 0, not -1"),
        (AlertSettings, {"escalate_after_h": -6}, r"escalate_after_h\] must be at least 0, not -6"),
        (RetentionSettings, {"backups": 0}, r"backups\] must be at least 1, not 0"),
        (
            JobSettings,
            {"notebook": "01_ingest", "timeout_s": 0},
            r"timeout_s\] must be at least 1, not 0",
        ),
        (
            GapSettings,
            {"severities": [SEVERITY, {**SEVERITY, "name": "critical"}]},
            "must ascend by up_to_h",
        ),
        (GapSettings, {"severities": []}, "must ascend by up_to_h"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_its_name(
    record: type, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(record, given, "ours")


def test_merging_lays_tables_over_tables() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}}) == {
        "a": {"x": 1, "y": 5},
        "b": 3,
    }


@pytest.mark.parametrize("profile", ["live", "demo", "history"])
def test_the_committed_file_is_sound(profile: str, tmp_path: Path) -> None:
    loaded = settings.load(profile, env={"FACTORY_HOME": str(tmp_path)})
    assert loaded.profile == profile
    assert loaded.paths.data == tmp_path / "data" / profile


def test_a_simulated_profile_never_points_at_a_real_host(tmp_path: Path) -> None:
    demo = settings.load("demo", env={"FACTORY_HOME": str(tmp_path)})
    assert demo.simulated
    assert all(spec.base_url.startswith("http://127.0.0.1:9/") for spec in demo.sources.values())
    url = "http://127.0.0.1:4321"
    pointed = settings.load("demo", env={"FACTORY_SIMULATOR_URL": url})
    assert all(spec.base_url == f"{url}/{name}" for name, spec in pointed.sources.items())


def test_a_store_of_the_environment_that_does_not_exist_names_the_variable(tmp_path: Path) -> None:
    env = {"FACTORY_HOME": str(tmp_path), "FACTORY_STORE": "postgre"}
    with pytest.raises(ConfigError, match=r"environment: \[FACTORY_STORE\] .*'postgres', not"):
        settings.load("demo", env=env)


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="live, demo, history"):
        settings.load("prod", env={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "is missing", id="absent"),
        pytest.param("[x", "is not TOML", id="broken"),
        pytest.param("power_kw = nan", "nan is no number", id="not finite"),
    ],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "other.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        settings.load("live", env={"FACTORY_CONFIG": str(file)})


def test_a_relative_home_lies_in_the_checkout_for_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = settings.load("demo", env={"FACTORY_HOME": "elsewhere"}).paths
    assert paths.data == settings.ROOT / "elsewhere" / "data" / "demo"
    assert settings.load("live", env={}).paths.runs == settings.ROOT / "runs"


def test_the_address_of_mlflow_s_database_survives_odd_characters(tmp_path: Path) -> None:
    home = tmp_path / "50%41? of it"
    paths = settings.load("live", env={"FACTORY_HOME": str(home)}).paths
    paths.runs.mkdir(parents=True)
    engine = sqlalchemy.create_engine(paths.mlflow_uri)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (x)"))
    engine.dispose()
    assert [file.name for file in paths.runs.iterdir()] == ["mlflow.db"]
