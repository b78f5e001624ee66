"""The demo lives on through two days and four local midnights, with every job.

Seen by the command line and by files alone.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from factory_lib import settings as factory_settings
from factory_lib.files import size_mb
from factory_lib.monitoring import growth
from factory_lib.runs import records
from tests.e2e.demo_run import Demo, factory

pytestmark = pytest.mark.timeout(1200)

INGESTION = ("ree_price_ingestion", "hybrid_weather_ingestion")
LOOK_AHEAD = ("ml_predictions", "production_optimization")
EVERY_JOB = (
    *INGESTION,
    "ingest",
    "gap_analysis",
    "auto_backfill_check",
    "daily_backfill",
    "feature_engineering",
    "ml_training",
    *LOOK_AHEAD,
    "health_check",
    "aemet_token_check",
    "weekly_cleanup",
)
NIGHTLY = ("ingest", "daily_backfill", *LOOK_AHEAD)
LIFE = (  # local times; the demo itself lives from Wednesday 12 to Thursday 13 November, 11:05
    ("2025-11-14T01:30", NIGHTLY),
    ("2025-11-16T20:40", EVERY_JOB),
)
VERIFICATION = (
    "Forecast against actual by lead"  # the caption of the table on the page of the predictions
)
NEVER_IDLE = {"weekly_cleanup"}
# of the second day of `python -m benchmarks.month`, which has nine incidents
RUNS_A_DAY = {
    "ree_price_ingestion": 9,
    "hybrid_weather_ingestion": 31,
    "gap_analysis": 10,
    "auto_backfill_check": 11,
    "daily_backfill": 1,
    "feature_engineering": 35,
    "ml_training": 10,
    "ml_predictions": 22,
    "production_optimization": 6,
    "health_check": 24,
    "weekly_cleanup": 1 / 7,
}
ROWS_A_DAY = 8_000  # of the store


@dataclass(frozen=True)
class Lived:
    """A demo days later, and the run records of each instant."""

    home: Path
    runs: dict[str, list[dict[str, Any]]]

    def of(self, at: str, job: str) -> dict[str, Any]:
        """Return the record of one job at one instant."""
        (record,) = (run for run in self.runs[at] if run["job"] == job)
        return record


def run_at(home: Path, local: str, *words: str) -> list[dict[str, Any]]:
    """Put the demo's clock to a local time, run jobs, and return the lines they print."""
    instant = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Europe/Madrid"))
    (home / "data" / "demo" / "clock").write_text(instant.isoformat(), encoding="ascii")
    ran = factory(home, "run", *words, "--profile", "demo", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def stored(home: Path) -> list[tuple[Any, ...]]:
    """Return every value that is stored, old revisions included."""
    with closing(sqlite3.connect(f"file:{home}/data/demo/store.db?mode=ro", uri=True)) as store:
        return store.execute("SELECT channel, start, rev, value FROM value").fetchall()


@pytest.fixture(scope="module")
def lived(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Live through the days once, in a copy of the finished demo."""
    home = tmp_path_factory.mktemp("lived")
    shutil.copytree(demo.finished, home, dirs_exist_ok=True)
    return Lived(home, {at: run_at(home, at, *jobs) for at, jobs in LIFE})


def test_every_job_ends_well_on_every_day(lived: Lived) -> None:
    files = lived.home.glob("runs/demo/*/*/run.json")
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert {record["status"] for record in records} == {"ok"}
    assert {record["job"] for record in records} == set(EVERY_JOB)
    answers = {line["status"] for lines in lived.runs.values() for line in lines}
    assert answers <= {"ok", "not_due"}


@pytest.mark.parametrize("at", [at for at, _ in LIFE])
def test_predictions_are_made_and_verified_on_every_day(lived: Lived, at: str) -> None:
    record = lived.of(at, "ml_predictions")
    assert record["status"] == "ok"
    page = (Path(record["folder"]) / "report.html").read_text(encoding="utf-8")
    (table,) = re.findall(rf"<p class=.caption.>{VERIFICATION}.*?</table>", page, re.DOTALL)
    assert "<td" in table
    assert 'title="spot_eur_mwh"' in table


def test_each_day_has_its_plan_and_batches_keep_their_numbers(lived: Lived) -> None:
    plans = lived.home / "data" / "demo" / "plans"
    numbers: list[dict[int, str]] = []
    for day in ("2025-11-12", "2025-11-13", "2025-11-14", "2025-11-16"):
        written = json.loads(max(plans.glob(f"{day}/*Z.json")).read_text(encoding="utf-8"))
        rows = [row for row in written["stages"] if row["stage"] == "mixing"]
        assert rows, day
        numbers.append({row["batch"]: row["start"] for row in rows})
    for earlier, later in pairwise(numbers):
        assert set(earlier) & set(later)


def test_running_again_at_the_same_instant_changes_nothing(lived: Lived) -> None:
    at, jobs = LIFE[-1]
    before = stored(lived.home)
    assert before
    again = run_at(lived.home, at, *jobs)
    assert {line["job"] for line in again if line["status"] != "not_due"} <= NEVER_IDLE
    forced = run_at(lived.home, at, "ingest", "daily_backfill", "--force")
    assert [line["status"] for line in forced] == ["ok", "ok"]
    assert stored(lived.home) == before


def test_what_stays_open_is_repeated_in_one_digest_a_day_and_nothing_else_is(lived: Lived) -> None:
    file = lived.home / "data" / "demo" / "alerts.jsonl"
    news = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    repeated = [line for line in news if line["news"] == "still open"]
    assert {line["topic"] for line in repeated} <= {"digest"}
    days = [line["at"][:10] for line in repeated]
    assert len(days) == len(set(days))


def test_health_follows_the_state_of_every_job(lived: Lived) -> None:
    shown = factory(lived.home, "health", "--profile", "demo", "--json")
    health = json.loads(shown.stdout)
    assert shown.returncode == int(health["status"] != "ok")
    assert {job["status"] for job in health["jobs"]} <= {"ok", "warn", "never"}
    assert health["metrics"]["jobs_failing"] == 0


def test_a_year_is_no_larger_than_health_allows(lived: Lived) -> None:
    settings = factory_settings.load("demo", env={"FACTORY_HOME": str(lived.home)})
    kept = settings.retention
    mb: dict[str, float] = {}
    for folder in records.folders(settings.paths.runs):
        job = records.job_of(folder)
        mb[job] = max(mb.get(job, 0.0), size_mb(folder))
    whole = sum(mb[job] * times for job, times in RUNS_A_DAY.items()) * kept.reports_days
    thinned = sum(mb.values()) * (kept.runs_days - kept.reports_days)
    with closing(sqlite3.connect(f"file:{settings.paths.store}?mode=ro", uri=True)) as store:
        tables = (store.execute(f"SELECT count(*) FROM {name}") for name in ("value", "forecast"))
        rows = sum(table.fetchone()[0] for table in tables)
    of_a_row = settings.paths.store.stat().st_size / 1e6 / rows
    databases = growth.measure(settings).databases + of_a_row * ROWS_A_DAY * 365
    assert (whole + thinned + databases * (1 + kept.backups)) / 1000 <= settings.alerts.year_gb
