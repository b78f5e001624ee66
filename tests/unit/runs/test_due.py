"""The rules by which a tick of each kind of job is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from msgspec import structs

from factory_lib.context import RunContext
from factory_lib.runs import due
from factory_lib.settings import Settings
from factory_lib.settings.records import JobKind, JobSettings
from factory_lib.sources import SOURCES
from factory_lib.state import attempts
from factory_lib.state.attempts import RetryPass
from factory_lib.state.marks import DRIFT, LATEST_SLOT, STORED, set_mark

LAST = datetime(2026, 4, 15, 10, 10, tzinfo=UTC)
JOB = "production_optimization"


@pytest.mark.parametrize(
    ("zone", "day_ends"),
    [("Europe/Madrid", "22:00"), ("Atlantic/Canary", "23:00")],
    ids=["Madrid", "Canaries"],
)
def test_a_plan_is_due_at_the_midnight_of_its_plant(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch, zone: str, day_ends: str
) -> None:
    monkeypatch.setattr(due, "PLAN_AGAIN_AFTER", timedelta(days=2))
    plant = structs.replace(ctx.settings.plant, time_zone=zone)
    settings = structs.replace(ctx.settings, plant=plant)
    midnight = datetime.fromisoformat(f"2026-04-15T{day_ends}Z")
    planned(ctx)
    for at, is_due in ((midnight - timedelta(minutes=1), False), (midnight, True)):
        assert due.judge(settings, ctx.state, JOB, at).is_due is is_due


def planned(ctx: RunContext, status: str = "ok") -> None:
    set_mark(ctx.state, "job", JOB, LAST, {"status": status, "verdict": "", "error": None})


@pytest.mark.parametrize(
    ("later", "quiet"),
    [
        pytest.param(timedelta(minutes=30), True, id="soon after"),
        pytest.param(due.PLAN_AGAIN_AFTER, False, id="the air may have changed"),
        pytest.param(timedelta(hours=13), False, id="a new day"),
    ],
)
def test_a_plan_stands_until_something_can_change_it(
    ctx: RunContext, later: timedelta, quiet: bool
) -> None:
    planned(ctx)
    assert (due.nothing_due(ctx.settings, ctx.state, JOB, LAST + later) is not None) == quiet


@pytest.mark.parametrize(
    ("series", "quiet"), [("spot_eur_mwh", False), ("pvpc_eur_mwh", True), ("temperature_c", True)]
)
def test_prices_of_the_plants_own_basis_make_it_due(
    ctx: RunContext, series: str, quiet: bool
) -> None:
    planned(ctx)
    set_mark(ctx.state, STORED, series, LAST + timedelta(minutes=5))
    assert (
        due.nothing_due(ctx.settings, ctx.state, JOB, LAST + timedelta(minutes=30)) is not None
    ) == quiet


def test_a_plan_that_failed_or_never_was_is_due(ctx: RunContext) -> None:
    assert due.nothing_due(ctx.settings, ctx.state, JOB, LAST) is None
    planned(ctx, "failed")
    assert due.nothing_due(ctx.settings, ctx.state, JOB, LAST + timedelta(minutes=30)) is None


@pytest.mark.parametrize(
    ("since", "why", "quiet"),
    [
        pytest.param(
            timedelta(minutes=5), "worse than naive", False, id="drift since the last training"
        ),
        pytest.param(timedelta(minutes=-5), "worse than naive", True, id="drift it was trained on"),
        pytest.param(timedelta(minutes=5), "", True, id="drift that is over"),
    ],
)
def test_drift_makes_a_training_due(
    ctx: RunContext, since: timedelta, why: str, quiet: bool
) -> None:
    set_mark(ctx.state, "job", "ml_training", LAST, {"status": "ok", "verdict": "", "error": None})
    set_mark(ctx.state, DRIFT, "spot_eur_mwh", LAST + since, why)
    later = LAST + timedelta(minutes=30)
    assert (due.nothing_due(ctx.settings, ctx.state, "ml_training", later) is not None) == quiet


@pytest.mark.parametrize(
    ("series", "later", "quiet"),
    [
        pytest.param("spot_eur_mwh", timedelta(hours=1), False, id="prices"),
        pytest.param("temperature_c", timedelta(hours=1), True, id="weather, every hour"),
        pytest.param("temperature_c", timedelta(days=1), False, id="weather, the day after"),
    ],
)
def test_new_prices_make_a_training_due_and_weather_once_a_day(
    ctx: RunContext, series: str, later: timedelta, quiet: bool
) -> None:
    set_mark(ctx.state, "job", "ml_training", LAST, {"status": "ok", "verdict": "", "error": None})
    set_mark(ctx.state, STORED, series, LAST + later)
    now = LAST + later + timedelta(minutes=1)
    assert (due.nothing_due(ctx.settings, ctx.state, "ml_training", now) is not None) == quiet


@pytest.mark.parametrize(
    ("put_back", "quiet"),
    [
        pytest.param(timedelta(0), True, id="in time"),
        pytest.param(timedelta(days=9), False, id="back"),
    ],
)
def test_gaps_are_looked_for_though_the_clock_was_put_back(
    ctx: RunContext, put_back: timedelta, quiet: bool
) -> None:
    attempts.record_pass(ctx.state, RetryPass(LAST), [])
    set_mark(
        ctx.state,
        "job",
        "auto_backfill_check",
        LAST,
        {"status": "ok", "verdict": "", "error": None},
    )
    now = LAST + timedelta(minutes=5) - put_back
    assert (
        due.nothing_due(ctx.settings, ctx.state, "auto_backfill_check", now) is not None
    ) == quiet


@pytest.mark.parametrize("fraction_us", [0, 1, 546_649, 999_999])
def test_the_fraction_of_a_second_of_a_real_clock_makes_nothing_late(
    ctx: RunContext, fraction_us: int
) -> None:
    """All that can be there was stored at the full hour; nothing is new until the next."""
    whole = datetime(2026, 4, 15, 10, tzinfo=UTC)
    now = whole + timedelta(minutes=5, microseconds=fraction_us)
    for series in ctx.settings.catalogue.values():
        until = series.due_until(whole + series.grace)
        set_mark(ctx.state, LATEST_SLOT, series.name, until)
    attempts.record_requests(ctx.state, SOURCES, whole)
    spec = ctx.settings.jobs["hybrid_weather_ingestion"]
    assert not due._new_values(ctx.settings, ctx.state, spec, now).is_due
    for name in SOURCES["open_meteo_recent"].served(ctx.settings):
        series = ctx.settings.catalogue[name]
        full_second = due._due_slots_end(series, now.replace(microsecond=0))
        assert due._due_slots_end(series, now) == full_second


def test_every_kind_of_job_has_a_rule() -> None:
    assert {"ingestion", *due.DUE_RULES} == set(get_args(JobKind))


def test_only_a_job_of_ones_own_has_no_kind(settings: Settings) -> None:
    assert [name for name, spec in settings.jobs.items() if spec.kind == "other"] == []


@pytest.mark.parametrize(("stored_min", "quiet"), [(-5, True), (5, False)], ids=["old", "new"])
def test_a_job_of_ones_own_is_due_when_a_value_was_stored(
    ctx: RunContext, stored_min: int, quiet: bool
) -> None:
    jobs = {**ctx.settings.jobs, "mine": JobSettings(notebook="mine")}
    settings = structs.replace(ctx.settings, jobs=jobs)
    assert due.nothing_due(settings, ctx.state, "mine", LAST) is None, "it never ran"
    set_mark(ctx.state, "job", "mine", LAST, {"status": "ok"})
    set_mark(ctx.state, STORED, "spot_eur_mwh", LAST + timedelta(minutes=stored_min))
    later = LAST + timedelta(minutes=30)
    assert (due.nothing_due(settings, ctx.state, "mine", later) is not None) == quiet


def test_maintenance_and_health_have_their_own_rhythm(ctx: RunContext) -> None:
    for job in ("weekly_cleanup", "health_check", "ml_training"):
        set_mark(ctx.state, "job", job, LAST, {"status": "ok"})
    now = LAST + timedelta(minutes=30)
    assert due.nothing_due(ctx.settings, ctx.state, "weekly_cleanup", now) is None
    assert due.nothing_due(ctx.settings, ctx.state, "health_check", now) is not None
    assert (
        due.nothing_due(ctx.settings, ctx.state, "health_check", LAST + due.LONGEST_QUIET) is None
    )
    set_mark(ctx.state, "job", "ml_training", now, {"status": "failed"})
    assert due.nothing_due(ctx.settings, ctx.state, "health_check", now) is None
