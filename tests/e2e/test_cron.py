"""The crontab block: written by the real command, apart from a person's lines, run as by cron."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from factory_lib import settings as factory_settings
from factory_lib.clock import SystemClock
from factory_lib.settings import ROOT
from factory_lib.state import State
from factory_lib.state.marks import set_mark

FAKE = """#!/bin/sh
case "$1" in
-l) cat "$TABLE" 2>/dev/null || { echo "no crontab for user" >&2; exit 1; } ;;
-) cat > "$TABLE" ;;
esac
"""
OWN = "MAILTO=ana\n# my own\n0 7 * * * wake\n"
Factory = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The file behind the fake crontab."""
    fake = tmp_path / "bin" / "crontab"
    fake.parent.mkdir()
    fake.write_text(FAKE, encoding="utf-8")
    fake.chmod(0o755)
    return tmp_path / "table"


@pytest.fixture
def cron(table: Path, tmp_path: Path) -> Factory:
    """Run ``factory cron ACTION`` with the fake crontab and a home whose name cron would cut."""
    env = {
        "PATH": f"{table.parent / 'bin'}:/usr/bin:/bin",
        "TABLE": str(table),
        "FACTORY_HOME": str(tmp_path / "100% mine"),
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "factory_lib.cli", "cron", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return run


def jobs(table: Path) -> list[str]:
    return [line for line in table.read_text(encoding="utf-8").splitlines() if "JOB=" in line]


def test_a_person_s_lines_survive_install_and_remove(cron: Factory, table: Path) -> None:
    table.write_text(OWN, encoding="utf-8")
    assert cron("install").returncode == 0
    installed = table.read_text(encoding="utf-8")
    assert installed.startswith(OWN)
    assert cron("install").returncode == 0
    assert table.read_text(encoding="utf-8") == installed
    assert cron("remove").returncode == 0
    assert table.read_text(encoding="utf-8") == OWN


def test_the_first_crontab_is_made(cron: Factory, table: Path) -> None:
    assert cron("install").returncode == 0
    assert len(jobs(table)) >= 8


def test_profiles_have_blocks_of_their_own(cron: Factory, table: Path) -> None:
    cron("install")
    cron("install", "--profile", "demo")
    assert {"FACTORY_PROFILE=live", "FACTORY_PROFILE=demo"} == {
        line.split(" env ")[1].split()[0] for line in jobs(table)
    }
    cron("remove", "--profile", "live")
    assert all("FACTORY_PROFILE=demo" in line for line in jobs(table))


def test_only_jobs_with_cadence_and_notebook_are_listed(cron: Factory) -> None:
    settings = factory_settings.load("live")
    listed = {
        word.removeprefix("JOB=") for word in cron("show").stdout.split() if word.startswith("JOB=")
    }
    assert listed == {
        name
        for name, spec in settings.jobs.items()
        if spec.cron and (settings.paths.notebooks / f"{spec.notebook}.ipynb").exists()
    }
    assert "ingest" not in listed


def test_a_damaged_block_is_left_alone(cron: Factory, table: Path) -> None:
    cron("install")
    damaged = "\n".join(table.read_text(encoding="utf-8").splitlines()[:-1]) + "\n"
    table.write_text(damaged, encoding="utf-8")
    refused = cron("install")
    assert refused.returncode == 2
    assert "marks" in refused.stderr
    assert table.read_text(encoding="utf-8") == damaged


@pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "factory").exists(),
    reason="make would build the environment first",
)
def test_a_line_runs_in_the_bare_environment_of_cron(
    cron: Factory, table: Path, tmp_path: Path
) -> None:
    cron("install")
    (line,) = [line for line in jobs(table) if "JOB=gap_analysis" in line]
    data = tmp_path / "100% mine" / "data" / "live"
    with State(data / "state.db", data.parent / "hosts.db") as state:
        set_mark(state, "job", "gap_analysis", SystemClock().now(), {"status": "ok"})
    command = line.split(" ", 5)[5].replace(r"\%", "%")  # what cron passes to the shell
    assert "%" not in line.replace(r"\%", "")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LOGNAME": "ana", "SHELL": "/bin/sh"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=bare, cwd=tmp_path, capture_output=True, check=False
    )
    log = (data / "cron.log").read_text(encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert log.startswith("gap_analysis: not due.")
    assert [folder.name for folder in (tmp_path / "100% mine").iterdir()] == ["data"]
