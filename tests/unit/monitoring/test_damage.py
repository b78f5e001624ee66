"""Health is a finding of everything it looks at, and fails at nothing it is to report."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from factory_lib import settings as factory_settings
from factory_lib.cli import main
from factory_lib.context import open_context
from factory_lib.settings import Settings
from factory_lib.state import marks


def garbage(file: Path) -> None:
    file.write_bytes(b"no database at all" * 999)


def half_overwritten(file: Path) -> None:
    """Leave the head as it is, as a disk does that lost some of its sectors."""
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def a_folder(file: Path) -> None:
    file.unlink()
    (file / "inside").mkdir(parents=True)


def a_link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to("/nowhere/of/a/disk/that/is/not/mounted")


def a_circle(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


DAMAGES = (garbage, half_overwritten, cut, a_folder, a_link_to_nothing, a_circle)
FILES = {
    "state": lambda paths: paths.state,
    "hosts": lambda paths: paths.hosts,
    "store": lambda paths: paths.store,
    "mlflow": lambda paths: paths.runs / "mlflow.db",
}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose databases hold something."""
    home = tmp_path_factory.mktemp("used")
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
    with open_context(settings=settings) as ctx:
        marks.set_mark(ctx.state, marks.STORED, "spot_eur_mwh", ctx.as_of)
        ctx.state.hosts.change("INSERT INTO breaker VALUES (?, 1, 0, 0, '')", [("omie",)])
    settings.paths.runs.mkdir(parents=True)
    with sqlite3.connect(settings.paths.runs / "mlflow.db") as registry:
        registry.execute("CREATE TABLE runs (lifecycle_stage TEXT)")
        registry.execute("CREATE TABLE model_versions (current_stage TEXT)")
    registry.close()
    for file in (settings.paths.state, settings.paths.hosts, settings.paths.store):
        with sqlite3.connect(file) as base:
            base.execute("PRAGMA journal_mode = DELETE")
        base.close()
    return home


@pytest.fixture
def copied(used: Path, home: Path) -> Settings:
    shutil.copytree(used, home, dirs_exist_ok=True)
    return factory_settings.load("live", env={"FACTORY_HOME": str(home)})


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_a_finding_with_a_next_step(
    copied: Settings,
    name: str,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = FILES[name](copied.paths)
    damage(file)
    assert main(["health", "--json"]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    answer = json.loads(said.out)
    checks = {check["name"]: check for check in answer["checks"]}
    bad = checks[name]
    assert bad["status"] in ("warn", "fail")
    assert str(file) in bad["finding"]
    assert bad["next_step"]
    assert name in answer["summary"]
    assert {"cron", "store", "mlflow", "disk"} <= set(checks) | {name, "cron"}
    assert main(["health"]) == 1
    assert str(file) in capsys.readouterr().out


@pytest.mark.parametrize("place", ["data", "runs"])
def test_a_folder_that_leads_nowhere_is_a_finding(
    home: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / place).symlink_to("/nowhere/of/a/disk/that/is/not/mounted")
    assert main(["health"]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    assert f"{home / place}" in said.out


def test_an_undamaged_installation_names_none_of_them(
    copied: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["health", "--json"])
    checks = {c["name"]: c["status"] for c in json.loads(capsys.readouterr().out)["checks"]}
    assert {checks.get(name, "ok") for name in FILES} == {"ok"}
    main(["health"])
    jobs = capsys.readouterr().out.partition("\njobs:\n")[2].partition("\n\n")[0]
    assert "ml_training" in jobs
    assert max(map(len, jobs.splitlines())) < 160, "a row of the table is a line of a screen"


@pytest.mark.parametrize("damage", [garbage, half_overwritten, cut, a_folder])
def test_damaged_limits_are_set_aside_and_begin_anew(
    copied: Settings, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copied.paths.hosts)
    with open_context(settings=copied) as ctx:
        ctx.state.hosts.change("INSERT INTO breaker VALUES (?, 1, 0, 0, '')", [("ree",)])
        assert ctx.state.hosts.query("SELECT host FROM breaker") == [("ree",)]
    assert main(["health"]) == 1
    assert "began anew" in capsys.readouterr().out
    assert copied.paths.hosts.with_name("hosts.db.damaged").exists()
