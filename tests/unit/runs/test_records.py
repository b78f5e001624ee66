"""Run records that another version, or nobody we know, has written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from factory_lib.runs import records

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)


def left(runs: Path, at: datetime, pid: int) -> Path:
    folder = records.new_folder(runs, "job", at)
    record = records.RunRecord(
        "job", "live", "good", "started", records.stamp(at), records.stamp(at), pid, {}
    )
    records.save(folder, record)
    return folder


@pytest.fixture
def gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("status", "error", "figures", "code"),
    [
        pytest.param("ok", None, {"providers_away": 1}, 0, id="well"),
        pytest.param("failed", "KeyError: 'x'", {}, 1, id="not ours"),
        pytest.param("failed", "BadInput: There is no source 'nope'.", {}, 2, id="input"),
        pytest.param("failed", "StoreUnavailable: no answer", {}, 69, id="store away"),
        pytest.param(
            "failed", "0 new values, but …", {"providers_away": 1}, 69, id="providers away"
        ),
        pytest.param(
            "failed", "0 new values, but …", {"providers_away": 0}, 1, id="one provider away"
        ),
        pytest.param("killed", "Stopped by a signal.", {}, 1, id="killed"),
    ],
)
def test_the_exit_code_says_what_kind_of_end_it_was(
    status: records.Status, error: str | None, figures: dict[str, int], code: int
) -> None:
    begun = records.RunRecord(
        "job", "live", "good", "started", records.stamp(NOW), records.stamp(NOW), 1, {}
    )
    assert begun.finish(status, NOW, error=error, figures=figures).exit_code == code


@pytest.mark.parametrize(
    ("status", "level", "ending"),
    [
        ("ok", "ok", "ok"),
        ("ok", "warn", "warn"),
        ("ok", "", "ok"),
        ("failed", "warn", "failed"),
        ("killed", "", "killed"),
    ],
)
def test_a_warning_is_told_of_a_run_that_ended_well(
    status: records.Status, level: str, ending: str
) -> None:
    begun = records.RunRecord(
        "job", "live", "good", "started", records.stamp(NOW), records.stamp(NOW), 1, {}
    )
    assert begun.finish(status, NOW, level=level).ending == ending


def test_what_a_later_version_added_is_left_out(tmp_path: Path) -> None:
    folder = left(tmp_path, NOW, 1)
    known = records.load(folder)
    (folder / "run.json").write_text(
        json.dumps({**asdict(known), "colour": "green"}), encoding="utf-8"
    )
    assert records.load(folder) == known


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"job": "job"}',
        "\udcff",
        '{"job": 1, "profile": "", "notebook": "", "status": "started", '
        '"as_of": "", "started_at": "yesterday", "pid": "x", "parameters": {}}',
    ],
    ids=["empty", "list", "nothing", "part", "bytes", "types"],
)
def test_an_unreadable_record_stops_nobody(tmp_path: Path, gone: int, content: str) -> None:
    foreign, mine = left(tmp_path, NOW, gone), left(tmp_path, NOW, gone)
    (foreign / "run.json").write_bytes(content.encode(errors="surrogateescape"))
    assert records.reap(tmp_path, NOW) == 1
    assert [folder for folder, _ in records.readable(records.folders(tmp_path))] == [mine]


def test_only_the_last_two_days_with_runs_are_looked_at(tmp_path: Path, gone: int) -> None:
    for days in (0, 7, 8):
        left(tmp_path, NOW - timedelta(days=days), gone)
    assert records.reap(tmp_path, NOW) == 2
    statuses = [record.status for _, record in records.readable(records.folders(tmp_path))]
    assert statuses == ["killed", "killed", "started"]
