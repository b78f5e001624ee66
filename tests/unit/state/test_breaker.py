"""The circuit breaker: five failures open it, one probe closes it, all processes share it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from factory_lib.errors import CircuitOpen
from factory_lib.settings import Settings
from factory_lib.settings.records import BreakerSettings
from factory_lib.state import Hosts, limiter, open_hosts, open_state

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
RULES = BreakerSettings(failures=5, open_s=300.0)


def fail(hosts: Hosts, times: int, at: datetime = NOW) -> None:
    for _ in range(times):
        limiter.record_failure(hosts, "ree", at, RULES, "500")


def test_it_opens_at_the_fifth_failure_and_not_before(hosts: Hosts) -> None:
    fail(hosts, 4)
    limiter.pass_breaker(hosts, "ree", NOW, RULES)
    fail(hosts, 1)
    with pytest.raises(CircuitOpen) as raised:
        limiter.refuse_if_open(hosts, "ree", NOW)
    assert raised.value.until == NOW + timedelta(seconds=300)


def test_a_success_between_failures_begins_the_count_anew(hosts: Hosts) -> None:
    fail(hosts, 4)
    limiter.record_success(hosts, "ree")
    fail(hosts, 4)
    limiter.refuse_if_open(hosts, "ree", NOW)


def test_half_open_lets_one_probe_through(hosts: Hosts) -> None:
    fail(hosts, 5)
    later = NOW + timedelta(seconds=300)
    limiter.refuse_if_open(hosts, "ree", later)
    limiter.pass_breaker(hosts, "ree", later, RULES)
    with pytest.raises(CircuitOpen):
        limiter.pass_breaker(hosts, "ree", later, RULES)


def test_the_probe_decides(hosts: Hosts) -> None:
    fail(hosts, 5)
    later = NOW + timedelta(seconds=300)
    limiter.pass_breaker(hosts, "ree", later, RULES)
    fail(hosts, 1, later)
    with pytest.raises(CircuitOpen):
        limiter.refuse_if_open(hosts, "ree", later + timedelta(seconds=299))
    again = later + timedelta(seconds=300)
    limiter.pass_breaker(hosts, "ree", again, RULES)
    limiter.record_success(hosts, "ree")
    limiter.pass_breaker(hosts, "ree", again, RULES)
    limiter.pass_breaker(hosts, "ree", again, RULES)


def test_a_probe_whose_process_died_is_forgotten(hosts: Hosts) -> None:
    fail(hosts, 5)
    limiter.pass_breaker(hosts, "ree", NOW + timedelta(seconds=300), RULES)
    with pytest.raises(CircuitOpen):
        limiter.pass_breaker(hosts, "ree", NOW + timedelta(seconds=599), RULES)
    limiter.pass_breaker(hosts, "ree", NOW + timedelta(seconds=600), RULES)


def test_hosts_have_circuits_of_their_own(hosts: Hosts) -> None:
    fail(hosts, 5)
    limiter.refuse_if_open(hosts, "omie", NOW)


def test_all_real_profiles_of_an_installation_share_one_circuit(
    hosts: Hosts, profile: Callable[[str], Settings]
) -> None:
    fail(hosts, 5)
    with open_state(profile("history")) as second, pytest.raises(CircuitOpen):
        limiter.pass_breaker(second.hosts, "ree", NOW, RULES)
    with open_state(profile("demo")) as simulated:
        limiter.pass_breaker(simulated.hosts, "ree", NOW, RULES)


def test_a_circuit_that_another_process_closes_meanwhile_is_closed(
    hosts: Hosts, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(hosts, 5)
    transaction = hosts.transaction

    def overtaken() -> AbstractContextManager[Any]:
        with open_hosts(settings) as others:
            limiter.record_success(others, "ree")
        return transaction()

    monkeypatch.setattr(hosts, "transaction", overtaken)
    limiter.pass_breaker(hosts, "ree", NOW, RULES)
    assert limiter.open_hosts(hosts, RULES) == {}


def test_a_clock_put_back_is_blocked_by_nothing_that_lies_ahead_of_it(hosts: Hosts) -> None:
    fail(hosts, 5, at=NOW + timedelta(days=366))
    limiter.record_failure(hosts, "omie", NOW, RULES, "500")
    limiter.forget_from(hosts, NOW + timedelta(hours=1))
    limiter.refuse_if_open(hosts, "ree", NOW)
    assert limiter.open_hosts(hosts, structs.replace(RULES, failures=1)).keys() == {"omie"}
