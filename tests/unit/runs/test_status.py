"""The state of jobs against their schedule: overdue, paused, killed, never run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.monitoring import alerts
from factory_lib.monitoring.health import check_health
from factory_lib.runs import due, schedule, status
from factory_lib.state import attempts, limiter, marks
from factory_lib.state.calls import count_tick
from factory_lib.state.marks import cron_calls, forget_future, record_cron_call

HOUR = timedelta(hours=1)
JOB = "gap_analysis"


@pytest.fixture
def now(ctx: RunContext) -> datetime:
    return ctx.clock.now()


def status_of(ctx: RunContext, job: str, at: datetime) -> status.JobStatus:
    (found,) = (
        each for each in status.job_statuses(ctx.settings, ctx.state, at) if each.job == job
    )
    return found


def local(text: str) -> datetime:
    """An instant of the machine's own zone, in which cron lives."""
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "until", "expected"),
    [
        ("*/5 * * * *", "2026-04-15T10:07", "2026-04-15T10:05"),
        ("*/5 * * * *", "2026-04-15T10:05", "2026-04-15T10:05"),
        ("15 */2 * * *", "2026-04-15T00:10", "2026-04-14T22:15"),
        ("5-59/15 * * * *", "2026-04-15T10:04", "2026-04-15T09:50"),
        ("0 2 * * 0", "2026-04-15T10:00", "2026-04-12T02:00"),
        ("0 2 * * 7", "2026-04-15T10:00", "2026-04-12T02:00"),
        ("30 6 1 * *", "2026-04-15T10:00", "2026-04-01T06:30"),
        ("0 0 1 * 1", "2026-04-15T10:00", "2026-04-13T00:00"),
        ("0 0 29 2 *", "2026-04-15T10:00", None),
        ("10,40 6-8 * * 1-5", "2026-04-13T05:00", "2026-04-10T08:40"),
    ],
)
def test_the_last_call_of_a_cadence(cron: str, until: str, expected: str | None) -> None:
    found = schedule.latest(cron, local(until))
    assert found == (local(expected) if expected else None)


@pytest.mark.parametrize(
    ("cron", "day", "expected"),
    [
        ("*/30 * * * *", "2026-10-25", "00:00 00:30 01:00 01:30 02:00 02:30"),  # 02:00 twice
        ("30 2 * * *", "2026-10-25", "00:30"),
        ("*/30 * * * *", "2026-03-29", "00:00 00:30 01:00 01:30 02:00 02:30"),  # no 02:00
        ("30 2 * * *", "2026-03-29", "01:30"),
    ],
)
def test_each_call_of_a_night_in_which_the_clock_is_changed(
    monkeypatch: pytest.MonkeyPatch, cron: str, day: str, expected: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Madrid")
        time.tzset()
        first = datetime.fromisoformat(f"{day}T00:00Z")
        minutes = [first + timedelta(minutes=number) for number in range(180)]
        calls = [at for at in minutes if schedule.latest(cron, at) == at]
    time.tzset()
    assert [f"{at:%H:%M}" for at in calls] == expected.split()


def test_a_job_that_cron_does_not_call_is_overdue_and_one_it_calls_is_not(
    ctx: RunContext, now: datetime
) -> None:
    record_cron_call(ctx.state, now - 9 * HOUR, was_silent=False)
    record_cron_call(ctx.state, now, was_silent=False)
    assert status_of(ctx, JOB, now).overdue_since is not None, "never called since cron is there"
    count_tick(ctx.state, JOB, "not_due", now)
    assert status_of(ctx, JOB, now).overdue_since is None
    alerts.after_health(ctx.state, status.job_statuses(ctx.settings, ctx.state, now), now)
    entities = {row["entity"] for row in alerts.alert_rows(ctx.state)}
    assert JOB not in entities
    assert "health_check" in entities


def test_a_clock_that_was_corrected_by_seconds_makes_no_job_overdue(
    ctx: RunContext, now: datetime
) -> None:
    record_cron_call(ctx.state, now - 9 * HOUR, was_silent=False)
    record_cron_call(ctx.state, now, was_silent=False)
    count_tick(ctx.state, JOB, "ok", now + timedelta(seconds=20))
    assert status_of(ctx, JOB, now).overdue_since is None


def test_after_a_silence_of_cron_no_job_is_overdue_at_once(ctx: RunContext, now: datetime) -> None:
    record_cron_call(ctx.state, now - 30 * HOUR, was_silent=False)
    assert schedule.cron_was_silent(ctx.settings, now - 30 * HOUR, now)
    assert not schedule.cron_was_silent(ctx.settings, now - HOUR / 6, now)
    assert any(
        each.overdue_since is None for each in status.job_statuses(ctx.settings, ctx.state, now)
    )
    record_cron_call(ctx.state, now, was_silent=True)
    assert cron_calls(ctx.state, now) == (now, now)
    statuses = status.job_statuses(ctx.settings, ctx.state, now + timedelta(minutes=5))
    assert not any(each.overdue_since for each in statuses)


def test_a_run_is_running_killed_or_hanging(ctx: RunContext, now: datetime) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    for pid, at, state in (
        (os.getpid(), now, "running"),
        (os.getpid(), now - 48 * HOUR, "hanging"),
        (gone.pid, now, "killed"),
    ):
        marks.set_mark(ctx.state, marks.STARTED, JOB, at, {"pid": pid, "folder": "x"})
        assert status_of(ctx, JOB, now).status == state
    result = check_health(ctx, notify=False)
    assert result.status == "warn"
    assert f"Killed: {JOB}." in result.summary


def test_a_run_that_found_trouble_is_no_ok(ctx: RunContext, now: datetime) -> None:
    marks.set_mark(ctx.state, marks.LAST_RUN, JOB, now, {"status": "ok", "level": "warn"})
    assert status_of(ctx, JOB, now).status == "warn"


def test_a_paused_job_is_not_due_is_shown_and_alerts_after_a_day(
    ctx: RunContext, now: datetime
) -> None:
    end = now + 72 * HOUR
    schedule.pause(ctx.state, JOB, now, until=end, by="Ana", reason="new meter")
    reason = due.nothing_due(ctx.settings, ctx.state, JOB, now)
    assert reason is not None
    assert "paused by Ana until Sat 18 Apr 12:00 (new meter)" in reason
    assert check_health(ctx, notify=False).notes == (f"{JOB} is {reason}.",)
    for at, count in ((now + HOUR, 0), (now + 25 * HOUR, 1), (end, 0)):
        statuses = status.job_statuses(ctx.settings, ctx.state, at)
        alerts.after_health(ctx.state, statuses, at)
        assert len(alerts.alert_rows(ctx.state)) == count
    assert due.nothing_due(ctx.settings, ctx.state, JOB, end) is None
    schedule.resume(ctx.state, JOB)
    with pytest.raises(BadInput, match="not paused"):
        schedule.resume(ctx.state, JOB)
    with pytest.raises(BadInput, match="is over"):
        schedule.pause(ctx.state, JOB, now, until=now, by="Ana", reason="")


def test_what_a_clock_that_was_ahead_left_is_forgotten(ctx: RunContext, now: datetime) -> None:
    later = now + timedelta(days=400)
    limits = ctx.settings.sources["ree"]
    marks.set_mark(ctx.state, marks.LAST_RUN, JOB, later, {"status": "ok"})
    marks.set_mark(ctx.state, marks.LATEST_SLOT, "spot_eur_mwh", now + 36 * HOUR)
    attempts.record_requests(ctx.state, ["ree"], later)
    count_tick(ctx.state, JOB, "ok", later)
    limiter.block_until(ctx.state.hosts, "ree", later)
    for _ in range(9):
        limiter.record_failure(ctx.state.hosts, "omie", later, ctx.settings.breaker, "503")
    alerts.raise_event(
        ctx.state, alerts.Event("job", JOB, alerts.Severity.WARNING, "failed"), later
    )
    assert forget_future(ctx.state, now) == [
        "marks of jobs and series",
        "attempts",
        "ticks",
        "alerts",
    ]
    assert marks.get_marks(ctx.state, marks.LAST_RUN) == {}
    assert marks.get_marks(ctx.state, marks.LATEST_SLOT).keys() == {"spot_eur_mwh"}
    assert attempts.last_requests(ctx.state) == {}
    limiter.acquire(ctx.state.hosts, "ree", limits, ctx.clock)
    assert ctx.clock.now() - now < timedelta(seconds=1)
    limiter.refuse_if_open(ctx.state.hosts, "omie", now)
    assert forget_future(ctx.state, now) == []


def test_a_turn_more_than_a_day_ahead_is_not_believed(ctx: RunContext, now: datetime) -> None:
    limiter.block_until(ctx.state.hosts, "ree", now + timedelta(days=400))
    limiter.acquire(ctx.state.hosts, "ree", ctx.settings.sources["ree"], ctx.clock)
    assert ctx.clock.now() - now < timedelta(seconds=1)
