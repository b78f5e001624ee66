"""Market days, clock changes and instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from factory_lib import clock
from factory_lib.errors import BadInput
from factory_sim.clock import SimulatedClock

SPRING, AUTUMN, PLAIN = date(2026, 3, 29), date(2026, 10, 25), date(2026, 4, 15)


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        pytest.param(SPRING, 23, id="clock forward"),
        pytest.param(AUTUMN, 25, id="clock back"),
        pytest.param(PLAIN, 24, id="plain day"),
    ],
)
def test_market_days_have_23_24_or_25_hours(day: date, hours: int) -> None:
    assert clock.slots_in_day(day, clock.HOUR_S) == hours
    assert clock.slots_in_day(day, clock.QUARTER_S) == 4 * hours


@pytest.mark.parametrize("text", ["2026-04-15T10:00:00", "yesterday", "2026-13-01", ""])
def test_what_is_not_an_instant_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        clock.parse_instant(text)


def test_a_bare_date_is_its_local_midnight() -> None:
    assert clock.parse_instant("2026-04-15") == datetime(2026, 4, 14, 22, tzinfo=UTC)
    assert clock.parse_instant("2026-04-15T10:00+02:00") == datetime(2026, 4, 15, 8, tzinfo=UTC)


def test_market_days_cover_a_window_that_touches_them() -> None:
    start, end = clock.day_bounds(PLAIN)
    assert list(clock.days_between(start, end, clock.MADRID)) == [PLAIN]
    later = clock.days_between(start, end + timedelta(seconds=1), clock.MADRID)
    assert list(later) == [PLAIN, date(2026, 4, 16)]


def test_local_wall_time_becomes_utc_across_the_seasons() -> None:
    assert clock.local_instant(date(2026, 1, 15), time(13, 45)).hour == 12
    assert clock.local_instant(date(2026, 7, 15), time(13, 45)).hour == 11


def test_the_simulated_clock_moves_only_when_set() -> None:
    ticking = SimulatedClock(datetime(2026, 4, 15, tzinfo=UTC))
    ticking.sleep(90)
    ticking.sleep(-5)
    assert ticking.now() == datetime(2026, 4, 15, 0, 1, 30, tzinfo=UTC)


def test_the_system_clock_is_aware() -> None:
    assert clock.SystemClock().now().tzinfo is UTC


def test_a_simulated_profiles_clock_goes_on_from_where_it_was_left(tmp_path: Path) -> None:
    file, noon = tmp_path / "clock", datetime(2026, 4, 15, 12, tzinfo=UTC)
    assert clock.load_clock(file) is None
    for left in (noon, noon - timedelta(hours=1)):
        clock.save_clock(file, left)
        assert clock.load_clock(file) == noon
    file.write_text("yesterday")
    with pytest.raises(BadInput, match="holds no instant"):
        clock.load_clock(file)
