"""`factory run JOB --site all`: every site's notebook, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from factory_lib import cli
from factory_lib import settings as factory_settings
from factory_lib.cli import fan_out
from factory_lib.clock import save_clock
from factory_lib.context import open_context
from factory_lib.settings import Settings
from factory_sim.clock import SimulatedClock
from tests.support.sites import with_sites
from tests.support.week import NOON, furnish

COAST = """
[sites.coast.plant]
slot_min = 60
[sites.coast.plant.demand]
weekly_kg = { standard = 600 }
"""
PLAN = "production_optimization"


@pytest.fixture
def first(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in with_sites(home, COAST).items():
        monkeypatch.setenv(name, value)
    settings = factory_settings.load("demo")
    clock = SimulatedClock(NOON)
    with open_context(settings=settings, as_of=NOON, clock=clock, run_id="test") as ctx:
        furnish(ctx, NOON, days=35, quarters=True)
    save_clock(settings.paths.clock, NOON)
    return settings


def test_every_site_has_a_plan_of_its_own_plant(
    first: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ)
    words = ["run", PLAN, "--site", "all", "--profile", "demo", "--force", "--param", "days=2"]
    assert cli.main([*words, "--json"]) == 0
    assert dict(os.environ) == before
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    plans = [line for line in lines if line["job"] == PLAN]
    assert [plan["status"] for plan in plans] == ["ok", "ok"]
    assert [plan["parameters"]["days"] for plan in plans] == [2, 2]
    folders = {str(Path(plan["folder"]).parents[1]) for plan in plans}
    coast = first.for_site("coast")
    assert folders == {str(first.paths.runs), str(coast.paths.runs)}
    assert plans[-1]["parameters"]["site"] == "coast"
    kg = [
        sum(stage["kg"] for stage in _plan(site)["stages"] if stage["stage"] == "mixing")
        for site in (first, coast)
    ]
    assert kg[0] > kg[1] > 0


def _plan(site: Settings) -> dict[str, list[dict[str, float]]]:
    plan: dict[str, list[dict[str, float]]] = json.loads(
        (site.paths.data / "plans" / "plan.json").read_text(encoding="utf-8")
    )
    return plan


def test_what_is_not_due_starts_no_process(
    first: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(fan_out, "run_commands", lambda _, words: commands.extend(words) or [])
    assert cli.main(["run", PLAN, "ree_price_ingestion", "--site", "all", "--profile", "demo"]) == 0
    assert [words[:3] for words in commands] == [
        ["run", PLAN, "ree_price_ingestion"],
        ["run", PLAN, "--profile"],
    ]


def test_only_run_takes_all_sites(first: Settings) -> None:
    assert cli.main(["gaps", "--site", "all"]) == 2


def test_a_command_ends_with_the_process_that_it_belongs_to() -> None:
    program = "import time\nfrom factory_lib.cli import fan_out\nfan_out.end_with_parent()\n"
    orphan = f"{program}print(flush=True)\ntime.sleep(60)"
    parent = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {orphan!r}], stdout=subprocess.PIPE,\n"
        "    env={**os.environ, 'FACTORY_PARENT': str(os.getpid())})\n"
        "child.stdout.readline()\nprint(child.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, text=True, check=True
    )
    with suppress(psutil.NoSuchProcess):  # it has ended already
        psutil.Process(int(done.stdout)).wait(20)
