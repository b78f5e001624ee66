"""One SQLite file that every process of a profile shares: what must be remembered and is not a measured value.

Writers take ``BEGIN IMMEDIATE``, since a transaction that reads first and writes later
fails under WAL whatever the timeout. Standard library only: the tick that finds nothing
due opens this file and nothing else.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from factory_lib.errors import SchemaMismatch
from factory_lib.files import lock
from factory_lib.settings import Settings

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (topic TEXT, entity TEXT, at INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tick (job TEXT, day TEXT, outcome TEXT, count INTEGER NOT NULL,
    last_at INTEGER NOT NULL, PRIMARY KEY (job, day, outcome)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spacing (host TEXT PRIMARY KEY, next_at REAL NOT NULL,
    day TEXT NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS breaker (host TEXT PRIMARY KEY, failures INTEGER NOT NULL,
    open_until REAL NOT NULL, probing INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS call (at REAL NOT NULL, room TEXT NOT NULL, target TEXT NOT NULL,
    status TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, ms REAL NOT NULL);
CREATE INDEX IF NOT EXISTS call_at ON call (at);
CREATE TABLE IF NOT EXISTS import_ledger (sha256 TEXT, member TEXT, format TEXT NOT NULL,
    state TEXT NOT NULL, at INTEGER NOT NULL, report TEXT NOT NULL,
    PRIMARY KEY (sha256, member)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unfillable (series TEXT, first INTEGER, last INTEGER, asked TEXT,
    asked_at INTEGER NOT NULL, again_at INTEGER NOT NULL,
    PRIMARY KEY (series, first, last, asked)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (topic TEXT, entity TEXT, severity INTEGER NOT NULL,
    message TEXT NOT NULL, status TEXT NOT NULL, opened_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL, count INTEGER NOT NULL, told TEXT NOT NULL, told_at INTEGER NOT NULL,
    muted_until INTEGER NOT NULL, by TEXT NOT NULL, PRIMARY KEY (topic, entity)) WITHOUT ROWID;
"""


class State:
    """The shared state of one profile.

    ``query`` and ``transaction`` are for the modules of this package, which hold all the
    SQL; everything else calls their functions.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        # Threads share a connection, and one thread's transaction must not take in
        # another's statements.
        self._writing = threading.RLock()
        # SQLite's change to WAL fails at once where two processes try it together.
        with lock(file.parent):
            self._connection = sqlite3.connect(
                file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA
            )
            self._check_version()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_version(self) -> None:
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),)
            )
        ((version,),) = self.query("SELECT value FROM meta WHERE key = 'schema'")
        if int(version) != SCHEMA_VERSION:
            raise SchemaMismatch(
                f"{self.file} has schema {version}, this version writes {SCHEMA_VERSION}.",
                next_step="Use the version that wrote it, or move the file away.",
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one write transaction; an exception rolls it back."""
        with self._writing:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT."""
        with self._writing:
            return self._connection.execute(sql, parameters).fetchall()

    def damage(self) -> str:
        """Return the first finding of SQLite's integrity check; empty if the file is sound."""
        ((finding,), *_) = self.query("PRAGMA integrity_check")
        return "" if finding == "ok" else str(finding)

    def compact(self) -> None:
        """Fold the write-ahead log into the file and renew the planner's statistics."""
        self.query("PRAGMA optimize")
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")


def open_state(settings: Settings) -> State:
    """Open the state of a profile; close it after use, or use it in a ``with`` statement."""
    return State(settings.paths.state)
