"""One demo for all end-to-end tests: the command a new user types, in a home of its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.demo_run import Demo, factory

DAYS = 130


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the demo once."""
    home = tmp_path_factory.mktemp("demo")
    ran = factory(home, "demo", "--days", str(DAYS))
    return Demo(home, ran.returncode, ran.stdout + ran.stderr)


@pytest.fixture
def later(demo: Demo, tmp_path: Path) -> Demo:
    """A copy of the finished demo, to go on with."""
    for part in ("data", "runs"):
        shutil.copytree(demo.home / part, tmp_path / part)
    return replace(demo, home=tmp_path)
