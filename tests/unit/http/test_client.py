"""One GET: retries, errors, and keys that never leave it."""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.errors import (
    AuthError,
    BadRange,
    CircuitOpen,
    MalformedResponse,
    NoDataYet,
    QuotaError,
    ServerError,
    SourceError,
    Unreachable,
)
from factory_lib.http import Http, Reply
from factory_lib.settings import Settings, load
from factory_lib.settings.secrets import Secret
from factory_lib.state import State, limiter, open_state
from factory_lib.state.calls import calls_since
from factory_sim.clock import SimulatedClock

NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
PAGE = b"<html><body>Request unsuccessful. Incapsula incident ID: 1</body></html>"


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW)


def test_an_answer_comes_back_whole_and_is_noted_without_its_query(
    script: Any, open_http: Any, clock: SimulatedClock, state: State
) -> None:
    script.answers = [(200, b'{"a": 1}')]
    reply = open_http(clock).get(
        "/path", {"day": "2026-04-15"}, secret_params={"token": Secret("s3cret-token")}
    )
    assert (reply.status, reply.content, reply.headers["content-type"]) == (
        200,
        b'{"a": 1}',
        "application/json",
    )
    assert script.requests[0][0] == "/ree/path?day=2026-04-15&token=s3cret-token"
    (call,) = calls_since(state, NOW)
    assert (call.component, call.target, call.status, call.size) == ("http", "ree", "200", 8)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param((500, b""), ServerError, id="500"),
        pytest.param((503, PAGE), ServerError, id="503"),
        pytest.param((403, PAGE), ServerError, id="firewall's page"),
        pytest.param((200, PAGE), ServerError, id="a page under 200"),
        pytest.param((200, b'{"cut": [1, 2'), ServerError, id="cut off, length as promised"),
        pytest.param(
            (200, b"half", {"Content-Length": "400"}),
            Unreachable,
            id="cut off, shorter than promised",
        ),
        pytest.param((429, b""), QuotaError, id="429"),
    ],
)
def test_what_can_succeed_is_retried(
    script: Any, open_http: Any, clock: SimulatedClock, answer: Any, error: type[SourceError]
) -> None:
    script.answers = [answer]
    with pytest.raises(error):
        open_http(clock, retries=2).get("/")
    assert len(script.requests) == 3
    script.requests.clear()
    script.answers = [answer, (200, b"{}")]
    assert open_http(clock, retries=2).get("/").status == 200


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param((400, b"{}"), BadRange, id="400"),
        pytest.param((401, b"{}"), AuthError, id="401"),
        pytest.param((403, b"{}"), AuthError, id="403"),
        pytest.param((404, PAGE), NoDataYet, id="404"),
        pytest.param((418, b""), MalformedResponse, id="418"),
    ],
)
def test_what_cannot_succeed_is_not_retried(
    script: Any, open_http: Any, clock: SimulatedClock, answer: Any, error: type[SourceError]
) -> None:
    script.answers = [answer]
    with pytest.raises(error) as raised:
        open_http(clock, retries=3).get("/")
    assert raised.value.status == answer[0]
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"Retry-After": "90"}, 90, id="seconds"),
        pytest.param(
            {
                "Date": "Wed, 15 Apr 2026 10:00:00 GMT",
                "Retry-After": "Wed, 15 Apr 2026 10:02:00 GMT",
            },
            120,
            id="a date",
        ),
        pytest.param({}, 60, id="no header: a minute"),
        pytest.param({"Retry-After": "-5"}, 60, id="in the past: a minute"),
        pytest.param({"Retry-After": "soon"}, 60, id="nonsense: a minute"),
    ],
)
def test_a_429_is_waited_out_as_long_as_it_says(
    script: Any, open_http: Any, clock: SimulatedClock, headers: dict[str, str], seconds: int
) -> None:
    script.answers = [(429, b"", headers), (200, b"{}")]
    open_http(clock, retries=1).get("/")
    waited = (clock.now() - NOW).total_seconds()
    assert seconds <= waited < seconds + 3


@pytest.mark.parametrize(
    "date",
    [
        "yesterday",
        "Tue, 31 Feb 2026 10:00:00 GMT",
        "Wed, 15 Apr 99999999999999999999 10:00:00 GMT",
        "Wed, 15 Apr 2026 10:00:00 +99999999999999999999",
    ],
)
def test_an_answer_whose_date_cannot_be_read_is_taken_as_one_without(
    script: Any, open_http: Any, clock: SimulatedClock, date: str
) -> None:
    script.answers = [(200, b"{}", {"Date": date, "Retry-After": date})]
    client = open_http(clock)
    reply = client.get("/")
    assert (reply.content, reply.retry_after_s, client.made_at) == (b"{}", None, None)


def test_a_429_that_one_process_gets_blocks_all(
    script: Any, open_http: Any, clock: SimulatedClock
) -> None:
    script.answers = [(429, b"", {"Retry-After": "3600"})]
    with pytest.raises(QuotaError):
        open_http(clock, retries=3).get("/")
    assert len(script.requests) == 1, "an hour is not waited out"
    with pytest.raises(QuotaError, match="not asked before Wed 15 Apr 13:00"):
        open_http(clock).get("/")
    assert len(script.requests) == 1
    clock.set(NOW + timedelta(hours=1, seconds=1))
    script.answers = [(200, b"{}")]
    assert open_http(clock).get("/").status == 200


@pytest.mark.parametrize(
    ("backoff", "shortest", "longest"),
    [
        pytest.param("none", 0, 0, id="none"),
        pytest.param("fixed", 3 * 5, 3 * 5, id="fixed: the spacing"),
        pytest.param("linear", 1 + 2 + 3, 1 + 2 + 3 + 3, id="linear"),
        pytest.param("exponential", 1 + 2 + 4, 1 + 2 + 4 + 3, id="exponential"),
    ],
)
def test_each_backoff_waits_as_its_name_says(
    script: Any,
    open_http: Any,
    clock: SimulatedClock,
    backoff: str,
    shortest: float,
    longest: float,
) -> None:
    script.answers = [(500, b"")]
    http = open_http(clock, retries=3, backoff=backoff, spacing_s=5.0, requests_per_minute=60_000)
    with pytest.raises(ServerError):
        http.get("/")
    spaced = 3 * 5.0 * 1.02  # whoever waits less than the spacing waits for the turn
    waited = (clock.now() - NOW).total_seconds()
    assert max(shortest, spaced) - 0.01 <= waited <= max(longest, spaced) + 0.01


def test_a_closed_port_is_unreachable(open_http: Any, clock: SimulatedClock) -> None:
    with pytest.raises(Unreachable, match="ConnectionError"):
        open_http(clock, retries=0, base_url="http://127.0.0.1:9").get("/")


def test_keys_are_in_no_error_and_no_log(
    script: Any, open_http: Any, clock: SimulatedClock, caplog: pytest.LogCaptureFixture
) -> None:
    key = "k3y/with=signs"
    script.answers = [(403, b'{"you sent": "k3y/with=signs, k3y%2Fwith%3Dsigns"}')]
    # named, because the InfluxDB client quiets this logger for the whole process
    with (
        caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"),
        pytest.raises(AuthError) as raised,
    ):
        open_http(clock).get(
            "/", secret_params={"appid": Secret(key)}, secret_headers={"x-api-key": Secret(key)}
        )
    text = (
        "".join(traceback.format_exception(raised.value)) + caplog.text + repr(vars(raised.value))
    )
    assert "GET /ree/" in caplog.text
    assert "you sent" in text
    assert "k3y" not in text


def test_a_key_that_no_header_can_carry_is_an_auth_error_that_does_not_show_it(
    script: Any, open_http: Any, clock: SimulatedClock
) -> None:
    with pytest.raises(AuthError) as raised:
        open_http(clock).get("/", secret_headers={"api_key": Secret("two\nlines")})
    assert "two" not in str(raised.value)
    assert not script.requests


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("http://localhost:{port}/file", id="another name"),
        pytest.param("//localhost:{port}/file", id="without a scheme"),
        pytest.param("http://127.0.0.1:1/file", id="another port"),
        pytest.param("http://127.0.0.1:{port}@localhost:{port}/file", id="a user of that name"),
        pytest.param("ftp://127.0.0.1:{port}/file", id="another protocol"),
    ],
)
def test_a_redirect_to_another_host_is_not_followed(
    script: Any, open_http: Any, clock: SimulatedClock, location: str
) -> None:
    target = location.format(port=urlsplit(script.url).port)
    script.answers = [(307, b"", {"Location": target}), (200, b"{}")]
    with pytest.raises(MalformedResponse, match=r"another host.*base_url") as raised:
        open_http(clock).get("/", secret_headers={"x-api-key": Secret("the-key")})
    assert "the-key" not in str(raised.value)
    assert len(script.requests) == 1


def test_a_redirect_on_the_same_host_is_followed_with_the_key(
    script: Any, open_http: Any, clock: SimulatedClock
) -> None:
    script.answers = [(302, b"", {"Location": "/moved"}), (200, b"{}")]
    open_http(clock).get(
        "/",
        secret_headers={"x-api-key": Secret("the-key")},
        secret_params={"token": Secret("tok-en")},
    )
    (first, sent), (second, resent) = script.requests
    assert (first, sent["x-api-key"]) == ("/ree/?token=tok-en", "the-key")
    assert (second, resent["x-api-key"]) == ("/moved", "the-key")


def test_the_simulated_world_never_leads_to_a_real_host(
    script: Any, home: Any, clock: SimulatedClock
) -> None:
    simulated = factory_settings.load(
        "demo", env={"FACTORY_HOME": str(home), "FACTORY_SIMULATOR_URL": script.url}
    )
    state = open_state(simulated)
    http = Http("ree", simulated, state, clock)
    script.answers = [(302, b"", {"Location": "http://localhost:1/real"})]
    with pytest.raises(MalformedResponse, match="another host"):
        http.get("/")
    with pytest.raises(MalformedResponse, match="another host"):
        http.get("https://apidatos.ree.es/es/datos")
    http.close()
    state.close()


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        pytest.param(
            "text/plain;charset=ISO-8859-15",
            "señal €".encode("iso-8859-15"),
            "señal €",
            id="declared",
        ),
        pytest.param("application/json", "señal €".encode(), "señal €", id="UTF-8"),
        pytest.param(
            "application/json;charset=utf-8",
            "señal".encode("latin-1"),
            "señal",
            id="declared wrongly",
        ),
        pytest.param("text/plain;charset=nonsense", b"plain", "plain", id="unknown charset"),
        pytest.param(
            "text/plain;charset=undefined", b"plain", "plain", id="a codec that always fails"
        ),
        pytest.param("text/plain;charset=hex", b"706c", "706c", id="a codec for no text"),
    ],
)
def test_text_obeys_the_charset_and_falls_back(content_type: str, body: bytes, text: str) -> None:
    assert Reply(200, {"content-type": content_type}, body).text == text


def test_a_dead_host_gets_no_request_until_the_circuit_is_half_open(
    script: Any, open_http: Any
) -> None:
    clock = SimulatedClock(NOW)
    script.answers = [(500, b"")]
    with pytest.raises(ServerError):
        open_http(clock, retries=3).get("/")
    with pytest.raises(CircuitOpen):
        open_http(clock, retries=3).get("/")
    assert len(script.requests) == 5
    with pytest.raises(CircuitOpen):
        open_http(clock, retries=3).get("/")
    assert len(script.requests) == 5, "an open circuit costs no request"
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
    assert len(script.requests) == 6


def test_requests_of_two_real_profiles_are_spaced_together(
    script: Any, settings: Settings, home: Path, clock: SimulatedClock
) -> None:
    limits = structs.replace(settings.sources["ree"], base_url=f"{script.url}/ree")
    history = load("history", env={"FACTORY_HOME": str(home)})
    for profile in (settings, history, settings):
        with open_state(profile) as state:
            http = Http("ree", structs.replace(profile, sources={"ree": limits}), state, clock)
            assert http.get("/").status == 200
            http.close()
            assert [call.target for call in calls_since(state, clock.now())] == ["ree"]
    assert (clock.now() - NOW).total_seconds() == pytest.approx(2 * limiter.step_s(limits))
