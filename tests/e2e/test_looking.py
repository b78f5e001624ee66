"""Looking never acts: what only reads or shows leaves every file of a home as it was."""

import sys
from pathlib import Path

import pytest

from factory_lib import lab
from tests.e2e.demo_run import Demo, start, tree
from tests.support import looking

pytestmark = pytest.mark.timeout(1200)  # whoever comes first waits for the demo


def look(home: Path, profile: str) -> dict[str, str]:
    """Call everything that reads in a process of its own and return what each said."""
    done = start(home, sys.executable, "-m", "tests.support.looking", profile)
    assert done.returncode == 0, done.stderr
    answers = (line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    return {name: answer for name, answer in answers if name.startswith("lab.")}


def test_looking_at_a_finished_demo_changes_no_file(later: Demo) -> None:
    before = tree(later.home)
    answers = look(later.home, "demo")
    assert tree(later.home) == before
    assert {name for name, answer in answers.items() if answer.startswith("refused")} == set()


def test_looking_at_an_empty_home_makes_no_file(tmp_path: Path) -> None:
    look(tmp_path, "live")
    assert tree(tmp_path) == {}


def test_every_function_of_lab_either_reads_or_acts() -> None:
    functions = {
        name
        for name, value in vars(lab).items()
        if getattr(value, "__module__", "") == lab.__name__ and not name.startswith("_")
    }
    assert functions - {"open_profile", "training_charts"} == {*looking.READERS, *looking.JOBS}
