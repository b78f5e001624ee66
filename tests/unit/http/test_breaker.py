"""The circuit breaker: five failures open it, one probe closes it, all processes share it."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from factory_lib.clock import SimulatedClock
from factory_lib.errors import CircuitOpen, NoDataYet, ServerError
from factory_lib.http import forget_after
from factory_lib.settings.records import BreakerSettings
from factory_lib.state import State, breaker

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
RULES = BreakerSettings(failures=5, open_s=300.0)


def fail(state: State, times: int, at: datetime = NOW) -> None:
    for _ in range(times):
        breaker.failed(state, "ree", at, RULES)


def test_it_opens_at_the_fifth_failure_and_not_before(state: State) -> None:
    fail(state, 4)
    breaker.admit(state, "ree", NOW, RULES)
    fail(state, 1)
    with pytest.raises(CircuitOpen) as raised:
        breaker.refuse_if_open(state, "ree", NOW)
    assert raised.value.until == NOW + timedelta(seconds=300)
    assert breaker.is_open(state, "ree", NOW)


def test_a_success_between_failures_begins_the_count_anew(state: State) -> None:
    fail(state, 4)
    breaker.succeeded(state, "ree")
    fail(state, 4)
    assert not breaker.is_open(state, "ree", NOW)


def test_half_open_lets_one_probe_through(state: State) -> None:
    fail(state, 5)
    later = NOW + timedelta(seconds=300)
    breaker.refuse_if_open(state, "ree", later)
    breaker.admit(state, "ree", later, RULES)
    with pytest.raises(CircuitOpen):
        breaker.admit(state, "ree", later, RULES)


def test_the_probe_decides(state: State) -> None:
    fail(state, 5)
    later = NOW + timedelta(seconds=300)
    breaker.admit(state, "ree", later, RULES)
    fail(state, 1, later)
    assert breaker.is_open(state, "ree", later + timedelta(seconds=299))
    again = later + timedelta(seconds=300)
    breaker.admit(state, "ree", again, RULES)
    breaker.succeeded(state, "ree")
    breaker.admit(state, "ree", again, RULES)
    breaker.admit(state, "ree", again, RULES)


def test_a_probe_whose_process_died_is_forgotten(state: State) -> None:
    fail(state, 5)
    breaker.admit(state, "ree", NOW + timedelta(seconds=300), RULES)
    with pytest.raises(CircuitOpen):
        breaker.admit(state, "ree", NOW + timedelta(seconds=599), RULES)
    breaker.admit(state, "ree", NOW + timedelta(seconds=600), RULES)


def test_hosts_have_circuits_of_their_own(state: State) -> None:
    fail(state, 5)
    breaker.refuse_if_open(state, "omie", NOW)


def test_a_dead_host_is_left_alone_and_found_again(script: Any, open_http: Any) -> None:
    clock = SimulatedClock(NOW)
    script.answers = [(500, b"")]
    with pytest.raises(ServerError):
        open_http(clock, retries=3).get("/")
    with pytest.raises(CircuitOpen):
        open_http(clock, retries=3).get("/")
    assert len(script.asked) == 5
    with pytest.raises(CircuitOpen):
        open_http(clock, retries=3).get("/")
    assert len(script.asked) == 5, "an open circuit costs no request"
    clock.sleep(301)
    script.answers = [(200, b"{}")]
    assert open_http(clock).get("/").status == 200
    assert open_http(clock).get("/").status == 200


def test_a_host_that_has_nothing_is_not_a_broken_host(script: Any, open_http: Any) -> None:
    clock = SimulatedClock(NOW)
    script.answers = [(404, b"")]
    for _ in range(6):
        with pytest.raises(NoDataYet):
            open_http(clock).get("/")
    assert len(script.asked) == 6


class Overtaken(State):
    """A state in which another process closes the circuit just before each transaction."""

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        self._connection.execute("DELETE FROM breaker")
        return super().transaction()


def test_a_circuit_that_another_process_closes_meanwhile_is_closed(state: State) -> None:
    fail(state, 5)
    overtaken = Overtaken(state.file)
    breaker.admit(overtaken, "ree", NOW, RULES)
    assert breaker.open_hosts(state, RULES) == {}
    overtaken.close()


def test_a_clock_put_back_is_barred_by_nothing_that_lies_ahead_of_it(state: State) -> None:
    fail(state, 5, at=NOW + timedelta(days=366))
    breaker.failed(state, "omie", NOW, RULES)
    forget_after(state, NOW + timedelta(hours=1))
    breaker.refuse_if_open(state, "ree", NOW)
    assert state.query("SELECT host, failures FROM breaker") == [("omie", 1)]
