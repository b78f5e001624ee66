"""A provider under the test's control.

A server that answers from a script and keeps the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from msgspec import structs

from factory_lib.http import Http
from factory_lib.settings import Settings
from factory_lib.state import State, open_state
from factory_sim.clock import SimulatedClock

Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


@dataclass
class Script:
    """Answers in order, the last one again and again.

    ``requests`` has target and headers of each.
    """

    answers: list[Answer] = field(default_factory=lambda: [(200, b"{}")])
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def next(self) -> Answer:
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


@pytest.fixture
def script() -> Iterator[Script]:
    written = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            written.requests.append(
                (self.path, {name.lower(): value for name, value in self.headers.items()})
            )
            status, body, *more = written.next()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **(more[0] if more else {}),
            }
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if int(headers["Content-Length"]) > len(body):
                self.close_connection = True  # a body that ends too early

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        written.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield written
        server.shutdown()
        thread.join()


@pytest.fixture
def state(settings: Settings) -> Iterator[State]:
    with open_state(settings) as opened:
        yield opened


OpenHttp = Callable[..., Http]


@pytest.fixture
def open_http(script: Script, settings: Settings, state: State) -> Iterator[OpenHttp]:
    """Open clients of the scripted provider; keyword arguments replace its limits."""
    opened: list[Http] = []

    def opener(clock: SimulatedClock, **limits: Any) -> Http:
        spec = structs.replace(
            settings.sources["ree"], **{"base_url": f"{script.url}/ree", **limits}
        )
        http = Http("ree", structs.replace(settings, sources={"ree": spec}), state, clock)
        opened.append(http)
        return http

    yield opener
    for http in opened:
        http.close()
