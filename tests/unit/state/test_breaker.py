"""The circuit breaker: five failures open it, one probe closes it, all processes share it."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from factory_lib.errors import CircuitOpen
from factory_lib.settings.records import BreakerSettings
from factory_lib.state import State, breaker, limiter

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
RULES = BreakerSettings(failures=5, open_s=300.0)


def fail(state: State, times: int, at: datetime = NOW) -> None:
    for _ in range(times):
        breaker.record_failure(state, "ree", at, RULES)


def test_it_opens_at_the_fifth_failure_and_not_before(state: State) -> None:
    fail(state, 4)
    breaker.acquire(state, "ree", NOW, RULES)
    fail(state, 1)
    with pytest.raises(CircuitOpen) as raised:
        breaker.refuse_if_open(state, "ree", NOW)
    assert raised.value.until == NOW + timedelta(seconds=300)
    assert breaker.is_open(state, "ree", NOW)


def test_a_success_between_failures_begins_the_count_anew(state: State) -> None:
    fail(state, 4)
    breaker.record_success(state, "ree")
    fail(state, 4)
    assert not breaker.is_open(state, "ree", NOW)


def test_half_open_lets_one_probe_through(state: State) -> None:
    fail(state, 5)
    later = NOW + timedelta(seconds=300)
    breaker.refuse_if_open(state, "ree", later)
    breaker.acquire(state, "ree", later, RULES)
    with pytest.raises(CircuitOpen):
        breaker.acquire(state, "ree", later, RULES)


def test_the_probe_decides(state: State) -> None:
    fail(state, 5)
    later = NOW + timedelta(seconds=300)
    breaker.acquire(state, "ree", later, RULES)
    fail(state, 1, later)
    assert breaker.is_open(state, "ree", later + timedelta(seconds=299))
    again = later + timedelta(seconds=300)
    breaker.acquire(state, "ree", again, RULES)
    breaker.record_success(state, "ree")
    breaker.acquire(state, "ree", again, RULES)
    breaker.acquire(state, "ree", again, RULES)


def test_a_probe_whose_process_died_is_forgotten(state: State) -> None:
    fail(state, 5)
    breaker.acquire(state, "ree", NOW + timedelta(seconds=300), RULES)
    with pytest.raises(CircuitOpen):
        breaker.acquire(state, "ree", NOW + timedelta(seconds=599), RULES)
    breaker.acquire(state, "ree", NOW + timedelta(seconds=600), RULES)


def test_hosts_have_circuits_of_their_own(state: State) -> None:
    fail(state, 5)
    breaker.refuse_if_open(state, "omie", NOW)


class Overtaken(State):
    """A state in which another process closes the circuit just before each transaction."""

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        self._connection.execute("DELETE FROM breaker")
        return super().transaction()


def test_a_circuit_that_another_process_closes_meanwhile_is_closed(state: State) -> None:
    fail(state, 5)
    overtaken = Overtaken(state.file)
    breaker.acquire(overtaken, "ree", NOW, RULES)
    assert breaker.open_hosts(state, RULES) == {}
    overtaken.close()


def test_a_clock_put_back_is_blocked_by_nothing_that_lies_ahead_of_it(state: State) -> None:
    fail(state, 5, at=NOW + timedelta(days=366))
    breaker.record_failure(state, "omie", NOW, RULES)
    limiter.forget_from(state, NOW + timedelta(hours=1))
    breaker.refuse_if_open(state, "ree", NOW)
    assert breaker.open_hosts(state, replace(RULES, failures=1)).keys() == {"omie"}
