"""When planning is due: prices first of all, then a new day, then the air ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from factory_lib.house import House
from factory_lib.pipeline import due, passes

LAST = datetime(2026, 4, 15, 10, 10, tzinfo=UTC)
JOB = "production_optimization"


def planned(house: House, status: str = "ok") -> None:
    house.state.mark("job", JOB, LAST, {"status": status, "verdict": "", "error": None})


@pytest.mark.parametrize(
    ("later", "quiet"),
    [
        pytest.param(timedelta(minutes=30), True, id="soon after"),
        pytest.param(due.PLAN_AGAIN_AFTER, False, id="the air may have changed"),
        pytest.param(timedelta(hours=13), False, id="a new day"),
    ],
)
def test_a_plan_stands_until_something_can_change_it(house: House, later: timedelta, quiet: bool) -> None:
    planned(house)
    assert (due.nothing_due(house.settings, house.state, JOB, LAST + later) is not None) == quiet


@pytest.mark.parametrize(
    ("series", "quiet"), [("spot_eur_mwh", False), ("pvpc_eur_mwh", True), ("temperature_c", True)]
)
def test_prices_of_the_plants_own_basis_make_it_due(house: House, series: str, quiet: bool) -> None:
    planned(house)
    house.state.mark(due.STORED, series, LAST + timedelta(minutes=5))
    assert (due.nothing_due(house.settings, house.state, JOB, LAST + timedelta(minutes=30)) is not None) == quiet


def test_a_plan_that_failed_or_never_was_is_due(house: House) -> None:
    assert due.nothing_due(house.settings, house.state, JOB, LAST) is None
    planned(house, "failed")
    assert due.nothing_due(house.settings, house.state, JOB, LAST + timedelta(minutes=30)) is None


@pytest.mark.parametrize(
    ("since", "why", "quiet"),
    [
        pytest.param(timedelta(minutes=5), "worse than naive", False, id="drift since the last training"),
        pytest.param(timedelta(minutes=-5), "worse than naive", True, id="drift it was trained on"),
        pytest.param(timedelta(minutes=5), "", True, id="drift that is over"),
    ],
)
def test_drift_makes_a_training_due(house: House, since: timedelta, why: str, quiet: bool) -> None:
    house.state.mark("job", "ml_training", LAST, {"status": "ok", "verdict": "", "error": None})
    house.state.mark(due.DRIFT, "spot_eur_mwh", LAST + since, why)
    later = LAST + timedelta(minutes=30)
    assert (due.nothing_due(house.settings, house.state, "ml_training", later) is not None) == quiet


@pytest.mark.parametrize(
    ("put_back", "quiet"),
    [pytest.param(timedelta(0), True, id="in time"), pytest.param(timedelta(days=9), False, id="back")],
)
def test_gaps_are_looked_for_though_the_clock_was_put_back(house: House, put_back: timedelta, quiet: bool) -> None:
    passes.leave(house.state, passes.Pass(LAST), [])
    house.state.mark("job", "auto_backfill_check", LAST, {"status": "ok", "verdict": "", "error": None})
    now = LAST + timedelta(minutes=5) - put_back
    assert (due.nothing_due(house.settings, house.state, "auto_backfill_check", now) is not None) == quiet


def test_a_mark_without_a_note_begins_anew(house: House) -> None:
    house.state.mark(passes.AGAIN, passes.JOB, LAST)
    assert passes.begin(house.state, LAST) == passes.Pass(LAST)
    assert passes.waiting(house.state) is None
