"""``python -m factory_lib.simulator``, the same as ``factory simulate``: start the local server and serve."""

from __future__ import annotations

import argparse
import json
import os
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from factory_lib.clock import parse_instant
from factory_lib.errors import FactoryError
from factory_lib.simulator.faults import LINE, read_rules, read_script
from factory_lib.simulator.holes import demo_holes, read_holes
from factory_lib.simulator.server import PROVIDERS, Simulator, WorldClock, http_server
from factory_lib.simulator.world import DEFAULT_SEED, World


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--port", type=int, default=8090, help="0 chooses a free one (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="of the world and of chance (default %(default)s)"
    )
    parser.add_argument("--now", metavar="INSTANT", help="the server's time; without it, real time")
    parser.add_argument("--speed", type=float, default=0.0, help="simulated seconds per second after --now (default 0)")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="script (TOML or JSON) with rules and holes")
    parser.add_argument("--holes", choices=["demo"], help="hold back the demo's values")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input closes")
    parser.add_argument("--list-faults", action="store_true", help="print what --faults may name, and end")


def main(arguments: argparse.Namespace) -> int:
    """Serve until interrupted. Prints one JSON line with the address once requests can come.

    Raises
    ------
    BadInput
        If the instant or the script cannot be read.
    """
    if arguments.list_faults:
        return _list_faults()
    now = parse_instant(arguments.now) if arguments.now else None
    simulator = build(arguments.seed, now=now, speed=arguments.speed, script=arguments.faults, holes=arguments.holes)
    with http_server(simulator, arguments.port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        _say({"url": address, "seed": arguments.seed, "now": simulator.clock.now().isoformat(), "pid": os.getpid()})
        if arguments.stop_with_stdin:
            Thread(target=_stop_with_stdin, args=(server,), daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return 0
    return 0


def build(
    seed: int, *, now: Any = None, speed: float = 0.0, script: Path | None = None, holes: str | None = None
) -> Simulator:
    """Return a simulator with its clock set, its faults read and its holes cut."""
    clock = WorldClock()
    if now is not None:
        clock.set(now, speed)
    simulator = Simulator(World(seed), clock)
    wanted = read_script(script) if script else {}
    simulator.set_rules(read_rules(wanted.get("rules", []), PROVIDERS))
    cut = demo_holes(clock.now()) if holes == "demo" else ()
    simulator.set_holes((*cut, *read_holes(wanted.get("holes", []))))
    return simulator


def _stop_with_stdin(server: ThreadingHTTPServer) -> None:
    sys.stdin.read()
    server.shutdown()


def _list_faults() -> int:
    quirks = {name: dict(provider.quirks) for name, provider in PROVIDERS.items()}
    _say({"any source": dict(LINE), **quirks}, indent=1)
    return 0


def _say(content: dict[str, Any], indent: int | None = None) -> None:
    sys.stdout.write(json.dumps(content, indent=indent) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    try:
        sys.exit(main(parser.parse_args()))
    except FactoryError as error:
        sys.exit(f"{error}")
