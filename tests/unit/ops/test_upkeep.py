"""Weekly upkeep: what is old goes, the newest of each job and what carries an alias stay, damage is told."""

from __future__ import annotations

from datetime import timedelta

from factory_lib.house import House, open_house
from factory_lib.ops import backup, records, upkeep
from factory_lib.ops.health import look
from factory_lib.ops.records import RunRecord, stamp
from tests.unit.ops.conftest import SLOTS, Fill


def leave_run(house: House, job: str, days_ago: int, status: records.Status = "ok") -> None:
    at = house.clock.now() - timedelta(days=days_ago)
    folder = records.new_folder(house.settings.paths.runs, job, at)
    records.save(folder, RunRecord(job, "live", "01_ingest", status, "", stamp(at), 1, {}))


def test_old_runs_go_and_the_newest_of_each_job_stays(house: House) -> None:
    for job, days_ago in (("ingest", 1), ("ingest", 89), ("ingest", 91), ("rare", 200), ("rare", 300)):
        leave_run(house, job, days_ago)
    assert upkeep.maintain(house).figures["removed_runs"] == 2
    kept = [records.load(folder) for folder in records.folders(house.settings.paths.runs)]
    assert [record.job for record in kept] == ["ingest", "ingest", "rare"]
    assert len(list(house.settings.paths.runs.glob("????-??-??"))) == 3


def test_calls_and_ticks_are_forgotten_in_time(house: House) -> None:
    now = house.clock.now()
    for days_ago in (1, 29, 31):
        house.state.record_call(now - timedelta(days=days_ago), "net", "ree", "200")
    for days_ago in (1, 399, 401):
        house.state.tick("ingest", "ok", now - timedelta(days=days_ago))
    assert upkeep.maintain(house).figures["removed_state"] == 2


def test_only_the_last_backups_are_kept(house: House, fill: Fill) -> None:
    fill()
    for _ in range(house.settings.retention.backups + 1):
        house.clock.sleep(7 * 86400)
        done = upkeep.maintain(house)
    kept = backup.taken(house)
    assert (done.figures["removed_backups"], len(kept)) == (1, house.settings.retention.backups)
    assert kept[0].name == f"{house.clock.now():%Y-%m-%dT%H%M%SZ}"
    assert house.store.inventory()["rows"].sum() == SLOTS


def test_a_long_log_keeps_its_end_in_whole_lines(house: House) -> None:
    log = house.settings.paths.data / "cron.log"
    log.write_text("".join(f"line {n}\n" for n in range(200_000)), encoding="utf-8")
    assert upkeep.maintain(house).figures["removed_logs"] == 1
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "line 199999"
    assert lines[0].startswith("line ")
    assert log.stat().st_size <= 1_000_000


def test_damage_stops_everything_and_is_told(house: House, fill: Fill) -> None:
    fill(slots=SLOTS * 20)
    house.store.maintain()  # fold the log into the file, so that the file is what is read
    with house.settings.paths.store.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096 * 4)
    with open_house(settings=house.settings, clock=house.clock) as later:  # one that has no good page in its cache
        done = upkeep.maintain(later)
    assert done.level == "fail"
    assert "factory restore" in done.verdict
    assert backup.taken(house) == []


def test_health_sums_up_jobs_calls_and_series(house: House) -> None:
    now = house.clock.now()
    for outcome in ("ok", "ok", "ok", "failed", "not_due"):
        house.state.tick("ml_training", outcome, now)
    house.state.mark("job", "ml_training", now, {"status": "failed", "verdict": "", "error": "no rows"})
    for status, ms in (("200", 100.0), ("200", 200.0), ("Unreachable", 900.0), ("200", 300.0)):
        house.state.record_call(now, "net", "ree", status, ms=ms)
    house.state.mark("latest", "spot_eur_mwh", now - timedelta(days=2))
    found = look(house)
    (job,) = found.jobs.to_dict(orient="records")
    assert (job["status"], job["verdict"], job["success_rate"], job["not_due"]) == ("failed", "no rows", 0.75, 1)
    (call,) = found.calls.to_dict(orient="records")
    assert (call["calls"], call["ok_share"], call["median_ms"]) == (4, 0.75, 250.0)
    assert found.figures["series_behind"] == 1
    assert found.level == "warn"
    assert found.verdict.startswith("Last run failed: ml_training. Behind: spot_eur_mwh. ")
    assert "All" not in found.verdict
