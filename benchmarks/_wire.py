"""A local HTTP server that answers as a function says.

What benchmarks of the clients put in a provider's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple


class Wire(NamedTuple):
    """One answer as it goes over the wire."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}


Responder = Callable[[str, Mapping[str, str]], Wire]  # target and request headers


@contextmanager
def serving(respond: Responder) -> Iterator[str]:
    """Serve on a free port of this machine and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            wire = respond(self.path, dict(self.headers.items()))
            self.send_response(wire.status)
            for name, value in {"Content-Type": wire.content_type, **wire.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(wire.body)))
            self.end_headers()
            self.wfile.write(wire.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing: clients hang up on answers that contradict themselves."""

    server = Server(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
