"""One list of dependencies in three places: pyproject, the lock, and the conda file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHOSEN = (
    "jupyterlab",
    "papermill",
    "nbclient",
    "influxdb-client",
    "requests",
    "scikit-learn",
    "pandas",
    "matplotlib",
    "mlflow",
)


def project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=~!\[; ]", line, maxsplit=1)[0].lower() for line in requirements}


def locked() -> dict[str, list[str]]:
    """Return the pinned versions by name; a name may be pinned once for each range of Pythons."""
    pins: dict[str, list[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^ \\;]+)", lock_text(), flags=re.MULTILINE
    ):
        pins.setdefault(name.lower(), []).append(version)
    return pins


def lock_text() -> str:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", CHOSEN)
def test_the_users_packages_are_direct_dependencies(package: str) -> None:
    dependencies = project()["dependencies"]
    assert isinstance(dependencies, list)
    assert package in names(dependencies)


def test_everything_direct_is_locked_within_its_range() -> None:
    from packaging.requirements import Requirement

    extras = project()["optional-dependencies"]
    dependencies = project()["dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(dependencies, list)
    pins = locked()
    for line in [*dependencies, *chain.from_iterable(extras.values())]:
        requirement = Requirement(line)
        versions = pins[requirement.name.lower()]
        assert all(requirement.specifier.contains(version) for version in versions), line


def test_every_pin_has_hashes_and_no_host_is_named() -> None:
    text = lock_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert not re.search(r"^-", text, flags=re.MULTILINE)


def test_the_conda_file_installs_the_same_lock() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "requirements.lock" in text
    assert re.search(r"python\s*>=3\.11,<3\.14", text)
    assert project()["requires-python"] == ">=3.11,<3.14"


def test_threads_wait_asleep_on_a_busy_machine() -> None:
    code = "import factory_lib.lab, factory_lib.models.forecasters"
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**ours, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "GOMP_SPINCOUNT = '0'" in shown


@pytest.mark.parametrize("target", ["gaps", "run"])
@pytest.mark.parametrize(
    ("named", "rebuilt"),
    [("{}/.venv/bin/python", False), ("/elsewhere/.venv/bin/python", True)],
    ids=["here", "moved"],
)
def test_an_environment_that_was_moved_is_built_anew(
    tmp_path: Path, target: str, named: str, rebuilt: bool
) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "factory"):
        (programs / name).write_text(f"#!{named.format(tmp_path)}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv" / ".ready").touch()
    words = ["make", "--dry-run", f"--directory={tmp_path}", target, "JOB=x"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ("pip install" in done.stdout) is rebuilt
