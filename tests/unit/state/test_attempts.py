"""Attempts: when a source, a gap and the automatic backfill are tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from factory_lib.clock import epoch
from factory_lib.settings import Settings
from factory_lib.settings.records import SeverityRule
from factory_lib.state import State, attempts, open_state
from factory_lib.state.attempts import NextPass, RetryPass

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SOURCES = [("ree", "ES"), ("omie", "ES")]
CRITICAL = SeverityRule("critical", "", "high", (0, 15, 30, 60))


def test_each_source_has_its_latest_request(state: State) -> None:
    attempts.record_requests(state, ["ree", "omie"], NOW - MINUTE)
    attempts.record_requests(state, ["ree"], NOW)
    assert attempts.last_requests(state) == {"ree": NOW, "omie": NOW - MINUTE}


@pytest.mark.parametrize(
    ("late_min", "pause_min"),
    [
        pytest.param(-5, 0, id="available since the request: at once"),
        pytest.param(10, 5, id="half as long as it is late"),
        pytest.param(600, 30, id="at most half an hour"),
    ],
)
def test_a_late_slot_is_requested_ever_more_seldom(late_min: int, pause_min: int) -> None:
    assert attempts.late_retry_at(NOW, NOW - late_min * MINUTE) == NOW + pause_min * MINUTE


@pytest.mark.parametrize(
    ("age", "longest", "wait"),
    [
        pytest.param(timedelta(minutes=5), timedelta(days=9), timedelta(hours=2), id="young"),
        pytest.param(timedelta(hours=9), timedelta(days=9), timedelta(hours=9), id="twice as old"),
        pytest.param(timedelta(days=900), timedelta(days=90), timedelta(days=30), id="a month"),
        pytest.param(timedelta(days=9), timedelta(hours=1), timedelta(hours=1), id="limited"),
    ],
)
def test_a_gap_without_a_source_is_requested_again(
    state: State, age: timedelta, longest: timedelta, wait: timedelta
) -> None:
    until = epoch(NOW - age)
    gap = (until - 3600, until, int(longest.total_seconds()))
    attempts.record_unfillable(state, "spot_eur_mwh", [gap], SOURCES, NOW)
    assert attempts.next_gap_retry(state, ["spot_eur_mwh"]) == NOW + wait
    for at, stretches in ((NOW - MINUTE, []), (NOW, [gap[:2]]), (NOW + wait, [])):
        assert attempts.unfillable_stretches(state, "spot_eur_mwh", SOURCES, at) == stretches
    attempts.delete_expired(state, NOW + wait - MINUTE)
    assert attempts.next_gap_retry(state, ["spot_eur_mwh"]) is not None
    attempts.delete_expired(state, NOW + wait)
    assert attempts.next_gap_retry(state, ["spot_eur_mwh"]) is None


def test_gaps_are_of_their_series_and_of_the_sources_requested(state: State) -> None:
    gap = (epoch(NOW) - 7200, epoch(NOW) - 3600)
    attempts.record_unfillable(state, "spot_eur_mwh", [(*gap, 2**40)], SOURCES, NOW)
    assert attempts.unfillable_stretches(state, "spot_eur_mwh", SOURCES[:1], NOW) == [gap]
    other = [("esios", "ES")]
    assert attempts.unfillable_stretches(state, "spot_eur_mwh", other, NOW) == []
    assert attempts.unfillable_stretches(state, "pvpc_eur_mwh", SOURCES, NOW) == []
    assert attempts.next_gap_retry(state, ["pvpc_eur_mwh"]) is None


def test_attempts_are_read_while_another_process_writes(settings: Settings, state: State) -> None:
    gap = (epoch(NOW) - 7200, epoch(NOW) - 3600)
    attempts.record_unfillable(state, "spot_eur_mwh", [(*gap, 2**40)], SOURCES, NOW)
    if settings.state.backend == "sqlite":
        state.query("PRAGMA busy_timeout = 0")
    with open_state(settings) as writer, writer.transaction():
        assert attempts.unfillable_stretches(state, "spot_eur_mwh", SOURCES, NOW) == [gap]
        assert attempts.next_gap_retry(state, ["spot_eur_mwh"]) is not None


def test_what_failed_is_tried_in_passes_until_the_next_account(state: State) -> None:
    assert attempts.next_pass(state) is None
    first = attempts.begin_pass(state, NOW + timedelta(seconds=20))
    assert first == RetryPass(NOW)
    attempts.record_pass(state, first, [CRITICAL])
    assert attempts.next_pass(state) == NextPass(NOW + 15 * MINUTE, is_retry=True)
    assert attempts.begin_pass(state, NOW + 7 * MINUTE) == RetryPass(NOW + 7 * MINUTE), "too early"
    late = NOW + 31 * MINUTE + timedelta(seconds=20)
    second = attempts.begin_pass(state, late)
    assert (second.first_at, second.after_min) == (NOW, 0)
    assert second.until_min == pytest.approx(31 + 1 / 3)
    assert second.includes(CRITICAL)
    attempts.record_pass(state, second, [CRITICAL])
    assert attempts.next_pass(state) == NextPass(NOW + 60 * MINUTE, is_retry=True)
    third = attempts.begin_pass(state, NOW + 61 * MINUTE)
    assert third.after_min == pytest.approx(31 + 1 / 3), "no pass is made twice"
    attempts.record_pass(state, third, [CRITICAL])
    assert attempts.next_pass(state) == NextPass(NOW + attempts.LOOK_EVERY, is_retry=False)
    anew = NOW + attempts.LOOK_EVERY + MINUTE
    assert attempts.begin_pass(state, anew) == RetryPass(anew)
