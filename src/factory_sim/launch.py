"""The simulator as a process of its own, steered over HTTP: for demo, tests and benchmarks."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from factory_lib.errors import FactoryError
from factory_sim import DEFAULT_SEED

# The simulator is on this machine: no proxy of the environment applies.
_open = build_opener(ProxyHandler({})).open
STOP_S = 10.0  # for the simulator to end by itself


@dataclass(frozen=True)
class Remote:
    """A running simulator, steered over HTTP.

    Attributes
    ----------
    url : str
        What ``FACTORY_SIMULATOR_URL`` has to be; providers lie under
        ``<url>/<source>``.
    """

    url: str
    seed: int
    pid: int

    def set_clock(self, now: datetime | None, *, speed: float = 0.0) -> None:
        """Set the server's time; None is real time."""
        self._post("clock", {"now": now.isoformat() if now else "real", "speed": speed})

    def set_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Replace the fault rules; keys as in :class:`factory_sim.faults.Rule`, instants in ISO."""
        self._post("faults", {"rules": list(rules)})

    def set_holes(self, holes: Sequence[Mapping[str, Any]] | str) -> None:
        """Replace the holes: a list as for ``read_holes``, or ``demo``."""
        self._post("holes", {"holes": holes})

    def requests(self) -> dict[str, dict[str, Any]]:
        """Return what was asked: per source ``count``, ``by_status``, ``max_in_60s``."""
        answer: dict[str, dict[str, Any]] = self._get("requests")
        return answer

    def reset_requests(self) -> None:
        """Begin a new count."""
        self._post("requests", {})

    def _get(self, topic: str) -> Any:
        with _open(f"{self.url}/control/{topic}", timeout=10) as reply:
            return json.load(reply)

    def _post(self, topic: str, order: Mapping[str, Any]) -> Any:
        body = json.dumps(order, default=str).encode()
        request = Request(f"{self.url}/control/{topic}", body, method="POST")  # noqa: S310
        with _open(request, timeout=10) as reply:
            return json.load(reply)


@contextmanager
def launched(
    *,
    seed: int = DEFAULT_SEED,
    now: datetime | None = None,
    speed: float = 0.0,
    faults: Path | None = None,
    holes: str | None = None,
    port: int = 0,
) -> Iterator[Remote]:
    """Run the simulator beside this process; it ends with the block, or with this process.

    Raises
    ------
    FactoryError
        If it does not start.
    """
    command = [
        sys.executable,
        "-m",
        "factory_sim",
        "--stop-with-stdin",
        "--port",
        str(port),
        "--seed",
        str(seed),
    ]
    command += ["--now", now.isoformat(), "--speed", str(speed)] if now else []
    command += ["--faults", str(faults)] if faults else []
    command += ["--holes", holes] if holes else []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise FactoryError(
                    "The simulator did not start.", next_step="Its own message is above."
                )
            greeting = json.loads(line)
            yield Remote(greeting["url"], greeting["seed"], greeting["pid"])
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:  # a busy machine: the work itself is done
                process.kill()
