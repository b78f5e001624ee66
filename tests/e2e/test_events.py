"""Events make their handlers due at the next tick, in other processes, and after a kill.

New prices: the check of training, and the analysis of gaps. New weather: features, and
predictions, which hold the forecasts against their limits. A gap: its recovery, and the
administrator's notice. A finished backfill: the data of a training, and the state that is
shown.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from factory_lib.cli import main
from factory_lib.clock import SystemClock, epoch
from factory_lib.monitoring import alerts
from factory_lib.runs import due
from factory_lib.settings import Settings
from factory_lib.state import attempts, marks, open_state
from factory_lib.state.attempts import RetryPass

# What a kernel does before its process is killed.
PROGRAM = """
import os, signal, sys
from datetime import timedelta
from types import SimpleNamespace
import numpy as np
from factory_lib.clock import epoch
from factory_lib.context import open_context
from factory_lib.frames import tidy
from factory_lib.monitoring import alerts
from factory_lib.pipeline import gaps
from factory_lib.pipeline.fetch import IngestStats

def store(ctx, series, place, source, kind):
    start = epoch(ctx.as_of - timedelta(hours=3)) // 3600 * 3600
    origin = dict(place=place, source=source, kind=kind, resolution_s=3600)
    if series.endswith("mwh"):
        origin["resolution_s"] = 900
    rows = tidy(series, np.array([start]), [20.0], **origin, retrieved_at=ctx.as_of)
    request = SimpleNamespace(source=source, place=place, series=[series], forecast=False)
    result = SimpleNamespace(request=request, sent=1, rejected=[], error=None, rows=rows)
    assert list(IngestStats().store_all(ctx, [result]))

with open_context("live") as ctx:
    if sys.argv[1] in ("prices", "backfill"):
        store(ctx, "spot_eur_mwh", "ES", "omie", "observed")
    if sys.argv[1] == "weather":
        store(ctx, "temperature_c", "38.151,-3.629", "open_meteo_recent", "reanalysis")
    if sys.argv[1] == "gap":
        found = gaps.analyse(ctx, ctx.as_of - timedelta(days=3)).gaps
        assert len(found)
        alerts.after_gaps(ctx, found)
        gaps.announce(ctx, found)
    os.kill(os.getpid(), signal.SIGKILL)
"""
RECOVERY = "auto_backfill_check"
WELL = {"status": "ok", "level": "ok"}
HANDLERS = {
    "prices": ("ml_training", "gap_analysis"),
    "weather": ("feature_engineering", "ml_predictions"),
    "gap": (RECOVERY,),
    "backfill": ("feature_engineering", "ml_training"),
}


@pytest.fixture
def quiet(settings: Settings) -> Settings:
    """Return an installation in which every job ran, and nothing is due."""
    now = SystemClock().now() - timedelta(minutes=1)
    with open_state(settings) as state:
        for job in settings.jobs:
            marks.set_mark(state, marks.LAST_RUN, job, now, WELL)
        attempts.record_pass(state, RetryPass(now), [])
        attempts.record_requests(state, settings.sources, now)
    return settings


def waiting(settings: Settings, job: str) -> str | None:
    with open_state(settings) as state:
        return due.nothing_due(settings, state, job, SystemClock().now())


@pytest.mark.parametrize("event", HANDLERS)
def test_an_event_makes_its_handlers_due_though_its_process_is_killed(
    quiet: Settings, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in HANDLERS[event]:
        assert waiting(quiet, job), job
    done = subprocess.run([sys.executable, "-c", PROGRAM, event], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for job in HANDLERS[event]:
        assert waiting(quiet, job) is None, job
    assert main(["jobs"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    reasons = {"gap": "a gap was found"}
    for job in HANDLERS[event]:
        assert reasons.get(event, "were stored since its last run") in lines[job]


def test_a_gap_is_told_to_the_administrator_once_and_recovered_once(quiet: Settings) -> None:
    assert found_again(quiet) == (["gap"], True)
    assert found_again(quiet) == ([], False)


def found_again(settings: Settings) -> tuple[list[str], bool]:
    """Find the gap in another process; return what is told, and whether a recovery is due.

    Then that recovery ran.
    """
    subprocess.run([sys.executable, "-c", PROGRAM, "gap"], capture_output=True, check=False)
    now = SystemClock().now()
    with open_state(settings) as state:
        told = [line["topic"] for line in alerts.deliver(state, settings, now)]
        is_due = due.nothing_due(settings, state, RECOVERY, now) is None
        marks.set_mark(state, marks.LAST_RUN, RECOVERY, now + timedelta(seconds=1), WELL)
    return told, is_due


@pytest.mark.parametrize("job", ["hybrid_weather_ingestion", "daily_backfill"])
def test_a_run_that_was_killed_may_have_stored_values(quiet: Settings, job: str) -> None:
    now = SystemClock().now()
    with open_state(quiet) as state:
        note = {"status": "killed", "level": "", "ended": epoch(now)}
        marks.set_mark(state, marks.LAST_RUN, job, now - timedelta(hours=1), note)
    for handler in ("feature_engineering", "ml_training", "gap_analysis"):
        assert waiting(quiet, handler) is None


def test_a_finished_backfill_makes_the_state_be_looked_at(quiet: Settings) -> None:
    assert waiting(quiet, "health_check")
    now = SystemClock().now()
    with open_state(quiet) as state:
        note = {**WELL, "ended": epoch(now)}
        marks.set_mark(state, marks.LAST_RUN, "daily_backfill", now, note)
    assert waiting(quiet, "health_check") is None
