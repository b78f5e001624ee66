"""Answers without limit: too large, packed too well, or too slow, each costs its provider alone."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Any

import pytest

from factory_lib import http
from factory_lib.errors import MalformedResponse, ReadTimeout, SourceError
from factory_sim.clock import SimulatedClock
from tests.conftest import NOW

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def raw() -> Iterator[Callable[[bytes, bytes], str]]:
    """Serve bytes as they are; the second part comes again and again until the client goes."""
    done = Event()
    threads = []

    def serve(first: bytes, again: bytes = b"") -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            with listener, suppress(OSError):
                client, _ = listener.accept()
                with client:
                    client.recv(65_536)
                    client.sendall(first)
                    while again and not done.wait(0.02):
                        client.sendall(again)

        thread = Thread(target=answer, daemon=True)
        thread.start()
        threads.append(thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    done.set()
    for thread in threads:
        thread.join(5)


def fetch(open_http: Any, url: str) -> bytes:
    http = open_http(SimulatedClock(NOW), base_url=url, retries=0)
    return bytes(http.get("/x").content)


def test_a_body_without_end_is_given_up(
    open_http: Any, raw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 500_000)
    with pytest.raises(MalformedResponse, match="more than"):
        fetch(open_http, raw(HEAD + b"Connection: close\r\n\r\n", b"x" * 100_000))


def test_a_small_packet_that_unpacks_without_end_is_given_up(
    open_http: Any, raw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 500_000)
    packed = gzip.compress(b" " * 5_000_000)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with pytest.raises(MalformedResponse, match="more than"):
        fetch(open_http, raw(head + packed))


def test_a_body_that_comes_byte_by_byte_is_given_up(
    open_http: Any, raw: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LONGEST_ANSWER_S", 0.3)
    with pytest.raises(ReadTimeout, match="no whole answer"):
        fetch(open_http, raw(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"))


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: many\r\n\r\n{}",
        HEAD + b"Content-Length: 900\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::x/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a:99999999/\r\nContent-Length: 0\r\n\r\n",
        b"nothing of HTTP",
        b"",
    ],
    ids=["chunk", "negative", "packing", "length", "short", "address", "port", "other", "none"],
)
def test_what_is_no_answer_is_that_provider_s_error(
    open_http: Any, raw: Callable[..., str], answer: bytes
) -> None:
    with suppress(SourceError):  # an unreadable length may be overlooked
        fetch(open_http, raw(answer))
