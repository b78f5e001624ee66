"""The local HTTP server: every provider under ``/<source>/<its own path>``, with line faults.

``/control/clock``, ``/control/faults``, ``/control/holes`` and ``/control/requests``
steer it and tell what was asked. It listens on 127.0.0.1 only.
"""

import json
import socket
import struct
import sys
import time
from dataclasses import replace
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from factory_lib.errors import BadInput
from factory_sim.engine import PROVIDERS, Delivery, Simulator
from factory_sim.exchange import Answer, as_json


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    simulator: Simulator

    def do_GET(self) -> None:
        if self.path.startswith("/control/"):
            return self._control(None)
        if self.path == "/":
            world = {
                "simulated": True,
                "seed": self.simulator.world.seed,
                "sources": list(PROVIDERS),
            }
            return self._send(as_json({**world, "now": self.simulator.clock.now().isoformat()}))
        delivery = self.simulator.serve(
            self.headers.get("Host", ""), self.path, _lower(self.headers)
        )
        return self._deliver(delivery)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            order = json.loads(body or b"{}")
        except ValueError:
            order = None
        if not self.path.startswith("/control/") or not isinstance(order, dict):
            return self._send(as_json({"error": "POST a JSON object to /control/…"}, 400))
        return self._control(order)

    def _control(self, order: dict[str, Any] | None) -> None:
        try:
            content = self.simulator.control(self.path.removeprefix("/control/"), order)
        except (BadInput, KeyError, TypeError, ValueError) as error:
            return self._send(as_json({"error": str(error)}, 400))
        return self._send(Answer(200, json.dumps(content, default=str).encode()))

    def _deliver(self, delivery: Delivery) -> None:
        answer = delivery.answer
        kind = delivery.fault.kind if delivery.fault else ""
        if kind == "slow" and delivery.fault:
            time.sleep(delivery.fault.seconds)
        if kind == "truncated":
            answer = replace(answer, body=answer.body[: len(answer.body) // 2])
        self._send(answer, reset=kind == "reset")

    def _send(self, answer: Answer, *, reset: bool = False) -> None:
        """Send head and body in one piece; ``reset`` breaks off in mid-body."""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        body = answer.body[: len(answer.body) // 2] if reset else answer.body
        self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]
        self.flush_headers()
        if reset:
            # Linger of zero seconds: closing sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the provider's time, for the header ``Date``."""
        return format_datetime(self.simulator.clock.now(), usegmt=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the log is under ``/control/requests``."""


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def http_server(simulator: Simulator, port: int = 0) -> ThreadingHTTPServer:
    """Return a bound, not yet running server on 127.0.0.1; port 0 chooses a free one."""
    handler = type("Handler", (_Handler,), {"simulator": simulator})
    return _Server(("127.0.0.1", port), handler)
