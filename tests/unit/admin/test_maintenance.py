"""Weekly maintenance: what is old goes, the newest and what has an alias stay; damage is told."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pandas as pd
import pytest
from msgspec import structs

from factory_lib.admin import backup, maintenance
from factory_lib.context import RunContext, open_context
from factory_lib.monitoring.health import check_health
from factory_lib.runs import records
from factory_lib.runs.records import RunRecord, stamp
from factory_lib.state import hold
from factory_lib.state.calls import Call, count_tick, record_call
from factory_lib.state.marks import set_mark
from tests.unit.conftest import SLOTS, Fill


def leave_run(ctx: RunContext, job: str, days_ago: int, status: records.Status = "ok") -> None:
    at = ctx.clock.now() - timedelta(days=days_ago)
    folder = records.new_folder(ctx.settings.paths.runs, job, at)
    records.save_record(folder, RunRecord(job, "live", "01_ingest", status, "", stamp(at), 1, {}))


def test_old_runs_go_and_the_newest_of_each_job_stays(ctx: RunContext) -> None:
    for job, days_ago in (
        ("ingest", 1),
        ("ingest", 89),
        ("ingest", 91),
        ("rare", 200),
        ("rare", 300),
    ):
        leave_run(ctx, job, days_ago)
    assert maintenance.maintain(ctx).metrics["removed_runs"] == 2
    kept = [records.load_record(folder) for folder in records.folders(ctx.settings.paths.runs)]
    assert [record.job for record in kept] == ["ingest", "ingest", "rare"]
    assert len(list(ctx.settings.paths.runs.glob("????-??-??"))) == 3


def test_calls_and_ticks_are_forgotten_in_time(ctx: RunContext) -> None:
    now = ctx.clock.now()
    for days_ago in (1, 29, 31):
        record_call(ctx.state, Call(now - timedelta(days=days_ago), "http", "ree", "200"))
    for days_ago in (1, 399, 401):
        count_tick(ctx.state, "ingest", "ok", now - timedelta(days=days_ago))
    assert maintenance.maintain(ctx).metrics["removed_state"] == 2


def test_only_the_last_backups_are_kept(ctx: RunContext, fill: Fill) -> None:
    fill()
    for _ in range(ctx.settings.retention.backups + 1):
        ctx.clock.sleep(7 * 86400)
        done = maintenance.maintain(ctx)
    kept = backup.list_backups(ctx.settings)
    assert (done.metrics["removed_backups"], len(kept)) == (1, ctx.settings.retention.backups)
    assert kept[0].name == f"{ctx.clock.now():%Y-%m-%dT%H%M%SZ}"
    assert ctx.store.inventory()["rows"].sum() == SLOTS


def test_a_long_log_keeps_its_end_in_whole_lines(ctx: RunContext) -> None:
    log = ctx.settings.paths.data / "cron.log"
    log.write_text("".join(f"line {n}\n" for n in range(200_000)), encoding="utf-8")
    assert maintenance.maintain(ctx).metrics["removed_logs"] == 1
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "line 199999"
    assert lines[0].startswith("line ")
    assert log.stat().st_size <= 1_000_000


@pytest.mark.parametrize(
    ("log_mb", "text"), [(0.0, "one\ntwo\n"), (1e-5, "a line without end, longer than the limit")]
)
def test_a_log_of_which_no_whole_line_may_stay_is_emptied(
    ctx: RunContext, log_mb: float, text: str
) -> None:
    (ctx.settings.paths.data / "cron.log").write_text(text, encoding="utf-8")
    retention = structs.replace(ctx.settings.retention, log_mb=log_mb)
    limited = replace(ctx, settings=structs.replace(ctx.settings, retention=retention))
    assert maintenance.maintain(limited).metrics["removed_logs"] == 1
    assert (ctx.settings.paths.data / "cron.log").read_text(encoding="utf-8") == ""


def test_an_alert_that_comes_while_logs_are_shortened_is_kept(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ctx.settings.paths.data / "alerts.jsonl"
    log.write_text("old\n" * 300_000, encoding="utf-8")
    read = Path.read_bytes

    def read_slowly(file: Path) -> bytes:
        content = read(file)
        if file == log:
            appending.start()
            appending.join(0.2)
        return content

    def append() -> None:
        with hold(ctx.settings, "alerts", wait=True), log.open("a", encoding="utf-8") as file:
            file.write("new\n")

    appending = Thread(target=append)
    monkeypatch.setattr(Path, "read_bytes", read_slowly)
    maintenance.maintain(ctx)
    appending.join()
    assert log.read_text(encoding="utf-8").endswith("old\nnew\n")


def test_damage_stops_everything_and_is_reported(ctx: RunContext, fill: Fill) -> None:
    fill(slots=SLOTS * 20)
    ctx.store.maintain()  # fold the log into the file, so that the file is what is read
    with ctx.settings.paths.store.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096 * 4)
    with open_context(
        settings=ctx.settings, clock=ctx.clock
    ) as later:  # one that has no good page in its cache
        done = maintenance.maintain(later)
    assert done.status == "fail"
    assert "factory restore" in done.summary
    assert backup.list_backups(ctx.settings) == []


def test_health_sums_up_jobs_calls_and_series(ctx: RunContext) -> None:
    now = ctx.clock.now()
    for outcome in ("ok", "ok", "ok", "failed", "not_due"):
        count_tick(ctx.state, "ml_training", outcome, now)
    set_mark(
        ctx.state,
        "job",
        "ml_training",
        now,
        {"status": "failed", "summary": "", "error": "no rows"},
    )
    # a 404 is the answer that there is nothing, as of a file that has no second edition
    for status, ms in (("200", 100.0), ("404", 200.0), ("Unreachable", 900.0), ("200", 300.0)):
        record_call(ctx.state, Call(now, "http", "ree", status, duration_ms=ms))
    set_mark(ctx.state, "latest", "spot_eur_mwh", now - timedelta(days=2))
    result = check_health(ctx)
    (job,) = (row for row in result["jobs"].to_dict("records") if row["job"] == "ml_training")
    assert (job["status"], job["summary"], job["success_rate"], job["not_due"]) == (
        "failed",
        "no rows",
        0.75,
        1,
    )
    (call,) = result["calls"].to_dict(orient="records")
    assert (call["calls"], call["ok_share"], call["median_ms"]) == (4, 0.75, 250.0)
    assert result.metrics["series_behind"] == 1
    assert result.status == "warn"
    assert result.summary.startswith("Last run failed: ml_training. Behind: spot_eur_mwh. ")
    assert "All" not in result.summary


def test_after_a_month_the_last_run_of_a_day_keeps_its_report(ctx: RunContext) -> None:
    runs = ctx.settings.paths.runs
    folders = []
    for days, hour in ((40, 6), (40, 8), (5, 6), (5, 8), (0, 6)):
        at = ctx.clock.now() - timedelta(days=days) + timedelta(hours=hour - 10)
        folder = records.new_folder(runs, "gap_analysis", at)
        stamp = records.stamp(at)
        record = records.RunRecord("gap_analysis", "live", "x", "ok", stamp, stamp, 1, {})
        records.save_record(folder, record)
        (folder / "report.html").write_text("page", "utf-8")
        (folder / "notebook.ipynb").write_text("{}", "utf-8")
        (folder / ".ipynb_checkpoints").mkdir()  # of a notebook that was opened
        folders.append(folder)
    (runs / "2026-01-01").write_text("a file", "utf-8")
    metrics = maintenance.maintain(ctx).metrics
    assert (metrics["removed_runs"], metrics["removed_reports"]) == (0, 1)
    contents = [sorted(file.name for file in folder.iterdir()) for folder in folders]
    compressed = [".ipynb_checkpoints", "notebook.ipynb.gz", "report.html", "run.json"]
    assert contents == [
        ["run.json"],
        compressed,
        compressed,
        compressed,
        [".ipynb_checkpoints", "notebook.ipynb", "report.html", "run.json"],
    ]
    assert gzip.decompress((folders[1] / "notebook.ipynb.gz").read_bytes()) == b"{}"
    assert maintenance.maintain(tick(ctx)).metrics["removed_reports"] == 0


def tick(ctx: RunContext) -> RunContext:
    ctx.clock.sleep(1)
    return ctx


def test_old_forecasts_are_thinned_to_one_issue_a_day(ctx: RunContext) -> None:
    target = ctx.clock.now() - timedelta(days=120)
    issues = [target - timedelta(hours=hours) for hours in (2, 5, 23, 26, 29)]
    for model in ("spot_price", "ree"):
        for name, starts in (("old", target), ("new", ctx.clock.now())):
            shift = starts - target
            rows = pd.DataFrame(
                {
                    "series": "spot_eur_mwh",
                    "place": "ES",
                    "model": model,
                    "issued_at": [pd.Timestamp(issue + shift) for issue in issues],
                    "target_start": pd.Timestamp(starts),
                    "resolution_s": 3600,
                    "p10": 1.0,
                    "p50": 2.0,
                    "p90": 3.0,
                    "tier": name,
                }
            )
            ctx.store.write_forecasts(rows, run_id="test")
    assert maintenance.maintain(ctx).metrics["removed_forecasts"] == 3
    left = ctx.store.read_forecasts(
        "spot_eur_mwh",
        places=["ES"],
        start=target,
        end=target + timedelta(hours=1),
        as_of=ctx.as_of,
        latest=False,
    )
    own = left[left["model"] == "spot_price"]["issued_at"]
    # the target is at 10:00Z: 08:00Z belongs to its day, 11:00Z to the day before
    assert sorted(own) == [pd.Timestamp(issues[2]), pd.Timestamp(issues[0])]
    assert (left["model"] == "ree").sum() == 5
