"""The local server: every provider under ``/<source>/<provider's own path>``, faults in between, and its own clock.

``/control/clock``, ``/control/faults``, ``/control/holes`` and ``/control/requests`` steer it and tell what was asked.
It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from factory_lib.clock import SystemClock, parse_instant
from factory_lib.errors import BadInput
from factory_lib.simulator import wire_open_meteo, wire_ree
from factory_lib.simulator.exchange import Answer, Ask, Provider, as_json
from factory_lib.simulator.faults import FaultPlan, Rule, read_rules
from factory_lib.simulator.holes import Hole, Holes, demo_holes, read_holes
from factory_lib.simulator.world import World

PROVIDERS: Mapping[str, Provider] = {
    "ree": wire_ree.PROVIDER,
    "open_meteo": wire_open_meteo.PROVIDER,
    "open_meteo_recent": wire_open_meteo.PROVIDER,
}


class WorldClock:
    """The server's own time: the machine's, or started anywhere, standing still or running at any speed."""

    def __init__(self, now: datetime | None = None, speed: float = 1.0) -> None:
        self._system = SystemClock()
        self.set(now, 0.0 if now is not None and speed == 1.0 else speed)

    def set(self, now: datetime | None, speed: float = 0.0) -> None:
        """Jump to ``now`` and run on at ``speed`` (0 stands still); None is real time."""
        self._real_since = self._system.now()
        self._since = now or self._real_since
        self._speed = 1.0 if now is None and speed == 0.0 else speed

    def now(self) -> datetime:
        """Return the server's time, UTC."""
        return self._since + self._speed * (self._system.now() - self._real_since)


@dataclass(frozen=True)
class Logged:
    """One request, as it was answered."""

    at: datetime
    source: str
    path: str
    status: int
    fault: str


@dataclass(frozen=True)
class Delivery:
    """An answer and what the line does to it."""

    answer: Answer
    fault: Rule | None = None


@dataclass
class Simulator:
    """The providers without their line: what the HTTP server serves, and what tests may ask directly."""

    world: World
    clock: WorldClock
    holes: Holes = field(default_factory=Holes)
    rules: tuple[Rule, ...] = ()
    log: list[Logged] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._documents: dict[str, dict[str, Any]] = {source: {} for source in PROVIDERS}
        self.set_rules(self.rules)

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Replace the fault rules; those that strike a number of times begin to count anew."""
        self.rules = rules
        self._plan = FaultPlan(rules, self.world.seed)

    def set_holes(self, holes: tuple[Hole, ...]) -> None:
        """Replace the holes and forget what was asked for."""
        self.holes = Holes(holes)

    def serve(self, host: str, target: str, headers: Mapping[str, str]) -> Delivery:
        """Answer one GET of ``/<source>/<path>?<query>``; counted when it arrives."""
        url = urlsplit(target)
        source, _, path = url.path.lstrip("/").partition("/")
        if source not in PROVIDERS:
            return Delivery(as_json({"error": f"There is no source {source!r}.", "sources": list(PROVIDERS)}, 404))
        provider = PROVIDERS[source]
        with self._lock:
            now, ordinal = self.clock.now(), len(self.log)
            fault, quirks = self._plan.draw(source, url.path, now, ordinal)
            self.log.append(Logged(now, source, target, 0, fault.kind if fault else ""))
        answer = self._plan.refusal(fault.kind, provider, ordinal) if fault else None
        if answer is None:
            answer = provider.answer(
                Ask(
                    source, "/" + unquote(path), parse_qs(url.query, keep_blank_values=True), headers,
                    f"http://{host}/{source}", now, self.world, self.holes, self._documents[source],
                    quirks & set(provider.quirks), ordinal,
                )
            )  # fmt: skip
        self.log[ordinal] = replace(self.log[ordinal], status=answer.status)
        return Delivery(answer, fault)

    def requests(self) -> dict[str, dict[str, Any]]:
        """Return per source: how many requests, by status, and the most in any half-open minute of the clock."""
        return {
            source: {
                "count": len(mine),
                "by_status": dict(Counter(str(entry.status) for entry in mine)),
                "max_in_60s": _most_in_a_minute([entry.at for entry in mine]),
            }
            for source in PROVIDERS
            if (mine := [entry for entry in list(self.log) if entry.source == source])
        }

    # -- control -------------------------------------------------------------------------------------------------------

    def control(self, topic: str, order: Mapping[str, Any] | None) -> Any:
        """Answer ``GET`` (no order) or ``POST`` of ``/control/<topic>``.

        Raises
        ------
        BadInput
            If there is no such topic, or the order cannot be read.
        """
        steer = {"clock": self._clock, "faults": self._faults, "holes": self._holes, "requests": self._requests}
        if topic not in steer:
            raise BadInput(f"There is no control {topic!r}.", next_step=f"Known: {', '.join(steer)}.")
        return steer[topic](order)

    def _clock(self, order: Mapping[str, Any] | None) -> Any:
        if order and "advance_s" in order:
            self.clock.set(self.clock.now() + timedelta(seconds=float(order["advance_s"])))
        elif order:
            now = str(order["now"])
            self.clock.set(None if now == "real" else parse_instant(now), float(order.get("speed", 0)))
        return {"now": self.clock.now().isoformat()}

    def _faults(self, order: Mapping[str, Any] | None) -> Any:
        if order is not None:
            self.set_rules(read_rules(order.get("rules", []), PROVIDERS))
        return {"rules": [vars(rule) for rule in self.rules]}

    def _holes(self, order: Mapping[str, Any] | None) -> Any:
        if order is not None:
            script = order.get("holes", [])
            self.set_holes(demo_holes(self.clock.now()) if script == "demo" else read_holes(script))
        return {"holes": [vars(hole) for hole in self.holes.holes]}

    def _requests(self, order: Mapping[str, Any] | None) -> Any:
        if order is not None:  # any POST begins a new count
            with self._lock:
                self.log.clear()
        return self.requests()


def _most_in_a_minute(times: list[datetime]) -> int:
    times = sorted(times)
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= timedelta(seconds=60):
            first += 1
        most = max(most, last - first + 1)
    return most


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    simulator: Simulator

    def do_GET(self) -> None:
        if self.path.startswith("/control/"):
            return self._control(None)
        if self.path == "/":
            world = {"simulated": True, "seed": self.simulator.world.seed, "sources": list(PROVIDERS)}
            return self._send(as_json({**world, "now": self.simulator.clock.now().isoformat()}))
        delivery = self.simulator.serve(self.headers.get("Host", ""), self.path, _lower(self.headers))
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
        answer, kind = delivery.answer, delivery.fault.kind if delivery.fault else ""
        if kind == "slow" and delivery.fault:
            time.sleep(delivery.fault.seconds)
        if kind == "truncated":
            answer = replace(answer, body=answer.body[: len(answer.body) // 2])
        self._send(answer, reset=kind == "reset")

    def _send(self, answer: Answer, *, reset: bool = False) -> None:
        """Send head and body in one piece; ``reset`` breaks off in mid-body with the full length announced."""
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

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the log is under ``/control/requests``."""


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are no news; anything else is."""
        import sys

        if not isinstance(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def http_server(simulator: Simulator, port: int = 0) -> ThreadingHTTPServer:
    """Return a bound, not yet running server on 127.0.0.1; port 0 chooses a free one."""
    handler = type("Handler", (_Handler,), {"simulator": simulator})
    return _Server(("127.0.0.1", port), handler)
