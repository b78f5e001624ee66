"""``python -m factory_sim``, the same as ``factory simulate``: start the local server and serve."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from factory_lib.clock import parse_instant
from factory_lib.errors import FactoryError
from factory_sim import DEFAULT_SEED


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted. Prints one JSON line with the address once requests can come.

    Raises
    ------
    BadInput
        If the instant or the script cannot be read.
    """
    arguments = _parser().parse_args(argv)
    from factory_sim.engine import assemble, fault_names
    from factory_sim.server import http_server

    if arguments.list_faults:
        return _say(fault_names(), indent=1)
    now = parse_instant(arguments.now) if arguments.now else None
    simulator = assemble(
        arguments.seed,
        now=now,
        speed=arguments.speed,
        script=arguments.faults,
        holes=arguments.holes,
    )
    with http_server(simulator, arguments.port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        _say(
            {
                "url": address,
                "seed": arguments.seed,
                "now": simulator.clock.now().isoformat(),
                "pid": os.getpid(),
            }
        )
        if arguments.stop_with_stdin:
            Thread(target=_stop_with_stdin, args=(server,), daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="factory simulate",
        description="Serve a simulated world that speaks every provider's format, on 127.0.0.1.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8090, help="0 chooses a free one (default %(default)s)")
    add(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        help="of the world and of chance (default %(default)s)",
    )
    add("--now", metavar="INSTANT", help="the server's time; without it, real time")
    add(
        "--speed",
        type=float,
        default=0.0,
        help="simulated seconds per second after --now (default 0)",
    )
    add("--faults", type=Path, metavar="FILE", help="script (TOML or JSON) with rules and holes")
    add(
        "--holes",
        choices=["demo", "lost"],
        help="hold back the demo's values, or only those that never come",
    )
    add("--stop-with-stdin", action="store_true", help="end when standard input closes")
    add("--list-faults", action="store_true", help="print what --faults may name, and end")
    return parser


def _stop_with_stdin(server: ThreadingHTTPServer) -> None:
    sys.stdin.read()
    server.shutdown()


def _say(content: dict[str, Any], indent: int | None = None) -> int:
    sys.stdout.write(json.dumps(content, indent=indent) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FactoryError as error:
        sys.stderr.write(f"factory simulate: {error}\n")
        sys.exit(error.exit_code)
