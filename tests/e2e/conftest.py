"""One demo for all end-to-end tests: the command a new user types, in a home of its own."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from factory_lib.files import lock
from tests.e2e.demo_run import Demo, factory


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the demo once, whichever worker needs it first, and keep a copy as it ended.

    The tests of one group read the home itself; all others take the copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers of this session
    home = shared / "demo"
    ended = shared / "demo.json"
    with lock(shared / "demo.lock"):
        if not ended.exists():
            ran = factory(home, "demo")
            shutil.copytree(home, shared / "finished", dirs_exist_ok=True)
            ended.write_text(json.dumps([ran.returncode, ran.stdout + ran.stderr]), "utf-8")
    code, printed = json.loads(ended.read_text("utf-8"))
    return Demo(home, code, printed, finished=shared / "finished")


@pytest.fixture
def later(demo: Demo, tmp_path: Path) -> Demo:
    """A copy of the finished demo, to go on with."""
    shutil.copytree(demo.finished, tmp_path, dirs_exist_ok=True)
    return replace(demo, home=tmp_path)
