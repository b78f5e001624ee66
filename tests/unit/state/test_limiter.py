"""Turns: one per spacing, over all who share the state; a day's quota.

The margin for late arrivals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from factory_lib.errors import QuotaError
from factory_lib.settings import Settings
from factory_lib.settings.records import SourceSettings
from factory_lib.state import Hosts, limiter, open_state
from factory_sim.clock import SimulatedClock

NOW = datetime(2026, 4, 15, 23, 50, tzinfo=UTC)


@pytest.fixture
def limits(settings: Settings) -> SourceSettings:
    return settings.sources["ree"]


def turns(hosts: Hosts, limits: SourceSettings, count: int) -> list[float]:
    """Return when ``count`` askers get their turns, each with a clock that starts now."""
    instants = []
    for _ in range(count):
        clock = SimulatedClock(NOW)
        limiter.acquire(hosts, "ree", limits, clock)
        instants.append((clock.now() - NOW).total_seconds())
    return instants


@pytest.mark.parametrize(
    "name", ["ree", "omie", "esios", "aemet", "openweathermap", "open_meteo", "siar"]
)
def test_no_window_of_60_s_has_more_than_the_limit_and_hardly_fewer(
    hosts: Hosts, settings: Settings, name: str
) -> None:
    limits = settings.sources[name]
    instants = turns(hosts, limits, 2 * limits.requests_per_minute)
    most = max(sum(first <= at < first + 60 for at in instants) for first in instants)
    assert 0.9 * limits.requests_per_minute <= most <= limits.requests_per_minute


def test_a_late_arrival_leaves_its_minute_within_the_limit(
    hosts: Hosts, limits: SourceSettings
) -> None:
    instants = turns(hosts, limits, 62)
    for late in range(len(instants)):
        arrivals = [at + (1.0 if position == late else 0.0) for position, at in enumerate(instants)]
        assert (
            max(sum(first <= at < first + 60 for at in arrivals) for first in arrivals)
            <= limits.requests_per_minute
        )


def test_an_unused_turn_is_not_saved_up(hosts: Hosts, limits: SourceSettings) -> None:
    clock = SimulatedClock(NOW)
    limiter.acquire(hosts, "ree", limits, clock)
    clock.sleep(600)
    waits = []
    for _ in range(3):
        before = clock.now()
        limiter.acquire(hosts, "ree", limits, clock)
        waits.append((clock.now() - before).total_seconds())
    assert waits == pytest.approx([0.0, limiter.step_s(limits), limiter.step_s(limits)], abs=1e-3)


def test_hosts_do_not_wait_for_each_other(hosts: Hosts, limits: SourceSettings) -> None:
    clock = SimulatedClock(NOW)
    for host in ("ree", "omie", "aemet"):
        limiter.acquire(hosts, host, limits, clock)
    assert clock.now() == NOW


def test_a_turn_the_machine_slept_through_is_given_up(hosts: Hosts, limits: SourceSettings) -> None:
    class Sluggish(SimulatedClock):
        naps = 0

        def sleep(self, seconds: float) -> None:
            self.naps += 1
            super().sleep(seconds + (10 if self.naps == 1 else 0))

    limiter.acquire(hosts, "ree", limits, SimulatedClock(NOW))
    clock = Sluggish(NOW)
    limiter.acquire(hosts, "ree", limits, clock)
    assert clock.naps == 2
    latest = clock.now()
    limiter.acquire(hosts, "ree", limits, clock)
    assert (clock.now() - latest).total_seconds() >= 1.9


def test_the_days_quota_ends_at_midnight_utc(hosts: Hosts, limits: SourceSettings) -> None:
    few, clock = structs.replace(limits, requests_per_day=3), SimulatedClock(NOW)
    for _ in range(3):
        limiter.acquire(hosts, "ree", few, clock)
    with pytest.raises(QuotaError, match="all 3 requests") as raised:
        limiter.acquire(hosts, "ree", few, clock)
    assert clock.now() + timedelta(seconds=raised.value.retry_after_s or 0) == datetime(
        2026, 4, 16, tzinfo=UTC
    )
    clock.set(datetime(2026, 4, 16, tzinfo=UTC))
    limiter.acquire(hosts, "ree", few, clock)


def test_a_block_only_ever_lengthens_the_wait(hosts: Hosts, limits: SourceSettings) -> None:
    limiter.block_until(hosts, "ree", NOW + timedelta(seconds=100))
    limiter.block_until(hosts, "ree", NOW + timedelta(seconds=40))
    clock = SimulatedClock(NOW)
    limiter.acquire(hosts, "ree", limits, clock)
    assert clock.now() == NOW + timedelta(seconds=100)


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        pytest.param("live", True, id="the same profile opened twice"),
        pytest.param("history", True, id="another real profile"),
        pytest.param("demo", False, id="a simulated profile"),
    ],
)
def test_all_real_profiles_of_an_installation_share_one_queue(
    hosts: Hosts,
    limits: SourceSettings,
    profile: Callable[[str], Settings],
    name: str,
    shared: bool,
) -> None:
    waits: Counter[float] = Counter()
    with open_state(profile(name)) as second:
        for shared_hosts in [hosts, second.hosts] * 4:
            clock = SimulatedClock(NOW)
            limiter.acquire(shared_hosts, "ree", limits, clock)
            waits[round((clock.now() - NOW).total_seconds(), 2)] += 1
    steps = range(8) if shared else [0, 0, 1, 1, 2, 2, 3, 3]
    assert waits == Counter(round(n * limiter.step_s(limits), 2) for n in steps)
