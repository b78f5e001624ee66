"""The providers without their line: answers, faults and a log, on a clock of their own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from factory_lib.clock import SystemClock, parse_instant
from factory_lib.errors import BadInput
from factory_sim import (
    wire_aemet,
    wire_energy_charts,
    wire_esios,
    wire_omie,
    wire_open_meteo,
    wire_open_meteo_runs,
    wire_openweathermap,
    wire_ree,
    wire_siar,
)
from factory_sim.exchange import Answer, Ask, Provider, as_json
from factory_sim.faults import LINE, FaultPlan, Rule, read_rules, read_script
from factory_sim.holes import Hole, Holes, demo_holes, read_holes
from factory_sim.world import World

PROVIDERS: Mapping[str, Provider] = {
    "ree": wire_ree.PROVIDER,
    "open_meteo": wire_open_meteo.PROVIDER,
    "open_meteo_recent": wire_open_meteo.PROVIDER,
    "open_meteo_runs": wire_open_meteo_runs.PROVIDER,
    "omie": wire_omie.PROVIDER,
    "aemet": wire_aemet.PROVIDER,
    "openweathermap": wire_openweathermap.PROVIDER,
    "esios": wire_esios.PROVIDER,
    "energy_charts": wire_energy_charts.PROVIDER,
    "siar": wire_siar.PROVIDER,
}


class WorldClock:
    """The server's own time: the machine's, or from any instant on at any speed, or still."""

    def __init__(self, now: datetime | None = None, speed: float = 0.0) -> None:
        self._system = SystemClock()
        self.set(now, speed)

    def set(self, now: datetime | None, speed: float = 0.0) -> None:
        """Jump to ``now`` and run on at ``speed`` (0 stands still); None is real time."""
        self._real_since = self._system.now()
        self._since = now or self._real_since
        self._speed = speed if now else 1.0

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
    """The providers without their line, for the HTTP server, or to be asked directly."""

    world: World
    clock: WorldClock
    holes: Holes = field(default_factory=Holes)
    rules: tuple[Rule, ...] = ()
    log: list[Logged] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._documents: dict[str, dict[str, Any]] = {source: {} for source in PROVIDERS}
        self._asked = Counter[str]()
        self.set_rules(self.rules)

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Replace the fault rules; those that strike a number of times begin to count anew."""
        self.rules = rules
        self._plan = FaultPlan(rules, self.world.seed)
        self._asked.clear()

    def set_holes(self, holes: tuple[Hole, ...]) -> None:
        """Replace the holes and forget what was asked for."""
        self.holes = Holes(holes)

    def serve(self, host: str, target: str, headers: Mapping[str, str]) -> Delivery:
        """Answer one GET of ``/<source>/<path>?<query>``; counted when it arrives."""
        url = urlsplit(target)
        source, _, path = url.path.lstrip("/").partition("/")
        if source not in PROVIDERS:
            return Delivery(
                as_json(
                    {"error": f"There is no source {source!r}.", "sources": list(PROVIDERS)}, 404
                )
            )
        provider = PROVIDERS[source]
        with self._lock:
            now = self.clock.now()
            ordinal = self._asked[source]
            line = len(self.log)
            self._asked[source] += 1
            fault, quirks = self._plan.draw(source, url.path, now, ordinal)
            self.log.append(Logged(now, source, target, 0, fault.kind if fault else ""))
        answer = self._plan.refusal(fault.kind, provider, ordinal) if fault else None
        if answer is None:
            answer = provider.answer(
                Ask(
                    source,
                    "/" + unquote(path),
                    parse_qs(url.query, keep_blank_values=True),
                    headers,
                    f"http://{host}/{source}",
                    now,
                    self.world,
                    self.holes,
                    self._documents[source],
                    quirks & set(provider.quirks),
                    ordinal,
                )
            )
        self.log[line] = replace(self.log[line], status=answer.status)
        return Delivery(answer, fault)

    def requests(self) -> dict[str, dict[str, Any]]:
        """Return per source the requests, by status, and the most in any half-open minute."""
        by_source: dict[str, list[Logged]] = {}
        for entry in list(self.log):
            by_source.setdefault(entry.source, []).append(entry)
        return {
            source: {
                "count": len(by_source[source]),
                "by_status": dict(Counter(map(_status, by_source[source]))),
                "max_in_60s": _most_in_a_minute(sorted(map(_at, by_source[source]))),
            }
            for source in PROVIDERS
            if source in by_source
        }

    # -- control ----------------------------------------------------------------------------------

    def control(self, topic: str, order: Mapping[str, Any] | None) -> Any:
        """Answer ``GET`` (no order) or ``POST`` of ``/control/<topic>``.

        Raises
        ------
        BadInput
            If there is no such topic, or the order cannot be read.
        """
        steer = {
            "clock": self._clock,
            "faults": self._faults,
            "holes": self._holes,
            "requests": self._requests,
        }
        if topic not in steer:
            raise BadInput(
                f"There is no control {topic!r}.", next_step=f"Known: {', '.join(steer)}."
            )
        return steer[topic](order)

    def _clock(self, order: Mapping[str, Any] | None) -> Any:
        if order and "advance_s" in order:
            self.clock.set(self.clock.now() + timedelta(seconds=float(order["advance_s"])))
        elif order:
            now = str(order["now"])
            self.clock.set(
                None if now == "real" else parse_instant(now), float(order.get("speed", 0))
            )
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


def _status(entry: Logged) -> str:
    return str(entry.status)


def _at(entry: Logged) -> datetime:
    return entry.at


def _most_in_a_minute(times: Sequence[datetime]) -> int:
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= timedelta(seconds=60):
            first += 1
        most = max(most, last - first + 1)
    return most


def assemble(
    seed: int,
    *,
    now: datetime | None = None,
    speed: float = 0.0,
    script: Path | None = None,
    holes: str | None = None,
) -> Simulator:
    """Return a simulator with its clock set, its faults read and its holes cut."""
    clock = WorldClock(now, speed)
    simulator = Simulator(World(seed), clock)
    orders = read_script(script) if script else {}
    simulator.set_rules(read_rules(orders.get("rules", []), PROVIDERS))
    cut = (
        [hole for hole in demo_holes(clock.now()) if hole.lost or holes == "demo"] if holes else []
    )
    simulator.set_holes((*cut, *read_holes(orders.get("holes", []))))
    return simulator


def fault_names() -> dict[str, dict[str, str]]:
    """Return what a fault rule may name: for any source, and the quirks of each."""
    return {
        "any source": dict(LINE),
        **{name: dict(provider.quirks) for name, provider in PROVIDERS.items()},
    }
