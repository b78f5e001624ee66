"""The schedule without cron: which jobs a minute calls, and what becomes of the running ones."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_lib import settings as factory_settings
from factory_lib.admin import cron

MINUTE = timedelta(minutes=1)


def test_each_job_is_called_at_its_minutes_and_once(home: Path) -> None:
    settings = factory_settings.load()
    first = datetime(2026, 3, 6, tzinfo=UTC)
    calls: dict[str, list[datetime]] = {}
    for number in range(1440):
        now = first + number * MINUTE
        for name in cron.due_between(settings, now - MINUTE, now):
            calls.setdefault(name, []).append(now)
    assert len(calls["ree_price_ingestion"]) == 288
    assert {at.minute for at in calls["gap_analysis"]} == {15}
    assert len(calls["gap_analysis"]) == 12
    assert len(calls["daily_backfill"]) == 1
    assert "ingest" not in calls  # it has no cadence


def test_minutes_that_were_slept_through_count_once(home: Path) -> None:
    settings = factory_settings.load()
    now = datetime(2026, 3, 6, 12, 2, tzinfo=UTC)
    names = cron.due_between(settings, now - timedelta(hours=3), now)
    assert len(names) == len(set(names))
    assert "gap_analysis" in names
    assert cron.due_between(settings, now - MINUTE, now) == []


def test_an_end_ends_what_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **options))
        return started[-1]

    def due(*_: Any) -> list[str]:
        if started:
            raise KeyboardInterrupt
        return ["long", "short"]

    monkeypatch.setattr(cron, "MINUTE_S", 0.01)
    monkeypatch.setattr(cron, "due_between", due)
    monkeypatch.setattr(cron, "make_command", lambda _: ["sh", "-c", "exec sleep 60"])
    monkeypatch.setattr(cron.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cron.subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt):
        cron.call_jobs(factory_settings.load())
    assert [process.poll() for process in started] == [-15, -15]
    assert [process.args[-1] for process in started] == ["JOB=long", "JOB=short"]
