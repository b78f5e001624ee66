"""Run records that this version, an earlier one or another program has written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from msgspec import structs

from factory_lib.runs import index, records, report
from factory_lib.settings import Paths

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)


def make_run(runs: Path, at: datetime, pid: int) -> Path:
    folder = records.new_folder(runs, "job", at)
    record = records.RunRecord(
        "job", "live", "good", "started", records.stamp(at), records.stamp(at), pid, {}
    )
    records.save_record(folder, record)
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(
        root=tmp_path, data=tmp_path / "data", runs=tmp_path / "runs", hosts=tmp_path / "hosts.db"
    )


@pytest.fixture
def gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("status", "error", "metrics", "code"),
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
    status: records.Status, error: str | None, metrics: dict[str, int], code: int
) -> None:
    begun = records.RunRecord(
        "job", "live", "good", "started", records.stamp(NOW), records.stamp(NOW), 1, {}
    )
    assert begun.finish(status, NOW, error=error, metrics=metrics).exit_code == code


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
def test_a_warning_is_shown_of_a_run_that_ended_well(
    status: records.Status, level: str, ending: str
) -> None:
    begun = records.RunRecord(
        "job", "live", "good", "started", records.stamp(NOW), records.stamp(NOW), 1, {}
    )
    assert begun.finish(status, NOW, level=level).ending == ending


def test_what_a_later_version_added_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path, NOW, 1)
    record = records.load_record(folder)
    added = {**structs.asdict(record), "colour": "green"}
    (folder / "run.json").write_text(json.dumps(added), encoding="utf-8")
    assert records.load_record(folder) == record


VERSION_1 = {
    "job": "gap_analysis",
    "profile": "demo",
    "notebook": "02_gap_analysis",
    "status": "ok",
    "as_of": "2025-11-20T10:00:00Z",
    "started_at": "2026-04-15T10:00:00Z",
    "pid": 21630,
    "parameters": {"profile": "demo", "as_of": "2025-11-20T10:00:00Z"},
    "finished_at": "2026-04-15T10:00:07Z",
    "seconds": 6.87,
    "verdict": "1,501 of 49,054 due slots are missing.",
    "level": "warn",
    "simulated": True,
    "figures": {"expected": 49054, "missing": 1501},
    "mlflow_run_id": None,
    "error": None,
    "cpu_seconds": 22.5,
    "peak_memory_mb": 301.2,
    "version": 1,
}


def test_the_record_of_an_earlier_version_still_loads(tmp_path: Path) -> None:
    folder = make_run(tmp_path, NOW, 1)
    (folder / "run.json").write_text(json.dumps(VERSION_1), encoding="utf-8")
    record = records.load_record(folder)
    assert record.summary == "1,501 of 49,054 due slots are missing."
    assert record.metrics == {"expected": 49054, "missing": 1501}
    assert (record.ending, record.exit_code, record.seconds) == ("warn", 0, 6.87)


@pytest.mark.parametrize(
    ("profile", "command"), [("live", "make mlflow"), ("demo", "FACTORY_PROFILE=demo make mlflow")]
)
def test_a_report_names_the_command_that_shows_its_run_in_mlflow(
    profile: str, command: str
) -> None:
    stamp = records.stamp(NOW)
    record = records.RunRecord(
        "job", profile, "good", "ok", stamp, stamp, 1, {}, mlflow_run_id="5787b720"
    )
    assert f"<code>{command}</code>" in report.render(nbformat.v4.new_notebook(), record)


def changed(**values: object) -> str:
    return json.dumps({**VERSION_1, **values})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="nothing"),
        pytest.param('{"job": "job"}', id="part"),
        pytest.param("\udcff", id="bytes"),
        pytest.param("[" * 100_000, id="nested"),
        pytest.param(changed(status="paused"), id="status"),
        pytest.param(changed(status=["ok"]), id="type of the status"),
        pytest.param(changed(started_at="yesterday"), id="instant"),
        pytest.param(changed(started_at="2026-04-15T10:00:00"), id="naive instant"),
        pytest.param(changed(pid="x"), id="process"),
        pytest.param(changed(pid=10**30, status="started"), id="impossible process"),
        pytest.param(changed(seconds="7"), id="duration"),
        pytest.param(changed(parameters=[]), id="parameters"),
        pytest.param(changed(figures=None), id="metrics"),
        pytest.param(changed(verdict=3), id="summary"),
    ],
)
def test_an_unreadable_record_is_shown_and_stops_no_other(
    paths: Paths, gone: int, content: str
) -> None:
    good = make_run(paths.runs, NOW, gone)
    bad = make_run(paths.runs, NOW, gone)
    (bad / "run.json").write_bytes(content.encode(errors="surrogateescape"))
    assert len(records.mark_killed(paths.runs, NOW)) == 1
    statuses = [records.read_record(folder).status for folder in (good, bad)]
    assert statuses == ["killed", "unreadable"]
    index.write_index(paths)
    page = (good.parent / "index.html").read_text(encoding="utf-8")
    assert (page.count(">killed<"), page.count(">unreadable<")) == (1, 1)
    assert "Wed 15 Apr 2026 12:00" in page, "local, the instant on hover"
    assert 'title="2026-04-15T10:00:00Z"' in page


def test_the_index_escapes_what_a_record_says(paths: Paths) -> None:
    for summary in ("<b>old</b>", "<b>new</b>"):
        folder = make_run(paths.runs, NOW, 1)
        record = records.load_record(folder)
        ended = record.finish("ok", NOW, summary=summary, metrics={"mae": 1.23456})
        records.save_record(folder, ended)
        (folder / "report.html").touch()
    page = index.write_index(paths).read_text(encoding="utf-8")
    assert "2 runs on 1 day. " in page
    assert "&lt;b&gt;old&lt;/b&gt;" in page
    assert "mae 1.23" in page
    assert "&lt;b&gt;new&lt;/b&gt;.<details>" in page, "the verdict alone is open"
    assert 'href="2026-04-15/100000Z-job-2/report.html"' in page


def test_every_run_is_reached_from_the_index(paths: Paths) -> None:
    folders = [make_run(paths.runs, NOW - timedelta(hours=5 * n), 1) for n in range(40)]
    for folder in folders:
        (folder / "report.html").touch()
    top = index.write_index(paths)
    pages = {top, *(top.parent / target for target in links(top) if target.endswith("index.html"))}
    reports = {(page.parent / target).resolve() for page in pages for target in links(page)}
    assert {folder / "report.html" for folder in folders} <= reports
    newest = top.read_text(encoding="utf-8").partition("Newest of each job")[2]
    assert newest.index(folders[0].name) < newest.index("Every day")


def test_a_past_day_is_written_once(paths: Paths) -> None:
    old = make_run(paths.runs, NOW - timedelta(days=5), 1)
    for days in (1, 0):
        make_run(paths.runs, NOW - timedelta(days=days), 1)
    index.write_index(paths)
    page = old.parent / "index.html"
    page.write_text("kept", encoding="utf-8")
    index.write_index(paths)
    assert page.read_text(encoding="utf-8") == "kept"
    index.write_index(paths, every=True)
    assert "1 run," in page.read_text(encoding="utf-8")


def links(page: Path) -> list[str]:
    """Return where a page leads."""
    return re.findall(r'href="([^"]+)"', page.read_text(encoding="utf-8"))


def test_a_killed_run_keeps_no_working_copy(tmp_path: Path, gone: int) -> None:
    folder = make_run(tmp_path, NOW, gone)
    (folder / records.WORKING_COPY).touch()
    records.mark_killed(tmp_path, NOW)
    assert not (folder / records.WORKING_COPY).exists()


def test_only_the_last_two_days_with_runs_are_looked_at(tmp_path: Path, gone: int) -> None:
    for days in (0, 7, 8):
        make_run(tmp_path, NOW - timedelta(days=days), gone)
    assert len(records.mark_killed(tmp_path, NOW)) == 2
    statuses = [records.read_record(folder).status for folder in records.folders(tmp_path)]
    assert statuses == ["killed", "killed", "started"]
