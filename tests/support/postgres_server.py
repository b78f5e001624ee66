"""A PostgreSQL server of the tests' own, on 127.0.0.1, where its programs are installed.

PostgreSQL refuses to run as root: there it runs as the user ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSWORD = "planted-7719/ñ"
QUOTED = "planted-7719%2F%C3%B1"
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=64MB")


def programs() -> dict[str, str] | None:
    """Return the paths of ``initdb`` and ``postgres``, or None where they are not installed."""
    debian = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *debian])
    found = {name: shutil.which(name, path=folders) for name in ("initdb", "postgres")}
    return {name: path for name, path in found.items() if path} if all(found.values()) else None


def missing() -> str:
    """Return why no server can be started here; empty where one can."""
    if programs() is None:
        return "PostgreSQL is not installed"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    return "" if os.getuid() or _account() else "no account but root to run PostgreSQL as"


def _account() -> dict[str, Any]:
    """Return how a process of root becomes another user; nothing for a usual user."""
    if os.getuid():
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


def _end_with_parent() -> None:
    """Let the kernel end the server with a test process that is killed (prctl(2), Linux)."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@dataclass
class PostgresServer:
    """A running server; ``dsn`` names its database and password."""

    folder: Path
    port: int
    account: dict[str, Any] = field(default_factory=_account)
    process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The address with user and password."""
        return f"postgresql://factory:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make the server's files."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        secret.chmod(0o644)
        options = ["--username=factory", f"--pwfile={secret}", "--auth=scram-sha-256"]
        locale = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        command = [(programs() or {})["initdb"], "-D", str(self.folder / "data"), *options, *locale]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.account)

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        settings = [word for each in FAST for word in ("-c", each)]
        command = [(programs() or {})["postgres"], "-D", str(self.folder / "data")]
        self.process = subprocess.Popen(
            [*command, *address, *settings],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_end_with_parent,
            **self.account,
        )
        from psycopg import pq

        deadline = time.monotonic() + 30
        while pq.PGconn.ping(self.dsn.encode()) != pq.Ping.OK:
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server takes no connection"
            time.sleep(0.05)

    def drop_schemas(self) -> None:
        """Drop what the profiles of a test made."""
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True) as admin:
            names = admin.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^factory_'")
            for (name,) in names.fetchall():
                admin.execute(f'DROP SCHEMA "{name}" CASCADE')

    def stop(self) -> None:
        """End the server and every connection to it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None


@contextmanager
def serving() -> Iterator[PostgresServer]:
    """Yield a new server, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="factory-postgres-") as folder:
        server = PostgresServer(Path(folder), free_port())
        if server.account:
            os.chown(folder, server.account["user"], server.account["group"])
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
