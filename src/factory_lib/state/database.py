"""One SQLite file that every process of a profile shares: what must be remembered and is not a measured value.

Spacing and breakers of the hosts, due marks, ticks, what is latest, the import ledger,
calls for the metrics, alerts. Writers take ``BEGIN IMMEDIATE``, since a transaction
that reads first and writes later fails under WAL whatever the timeout. Standard library
only: the tick that finds nothing due opens this file and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from factory_lib.clock import epoch, from_epoch
from factory_lib.errors import JobLocked, SchemaMismatch

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (topic TEXT, entity TEXT, at INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tick (job TEXT, day TEXT, outcome TEXT, count INTEGER NOT NULL, last_at INTEGER NOT NULL,
    PRIMARY KEY (job, day, outcome)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spacing (host TEXT PRIMARY KEY, next_at REAL NOT NULL, day TEXT NOT NULL,
    used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS breaker (host TEXT PRIMARY KEY, failures INTEGER NOT NULL, open_until REAL NOT NULL,
    probing INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS call (at REAL NOT NULL, room TEXT NOT NULL, target TEXT NOT NULL, status TEXT NOT NULL,
    rows INTEGER NOT NULL, bytes INTEGER NOT NULL, ms REAL NOT NULL);
CREATE INDEX IF NOT EXISTS call_at ON call (at);
CREATE TABLE IF NOT EXISTS import_ledger (sha256 TEXT, member TEXT, format TEXT NOT NULL, state TEXT NOT NULL,
    at INTEGER NOT NULL, report TEXT NOT NULL, PRIMARY KEY (sha256, member)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unfillable (series TEXT, first INTEGER, last INTEGER, asked TEXT, asked_at INTEGER NOT NULL,
    again_at INTEGER NOT NULL, PRIMARY KEY (series, first, last, asked)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (topic TEXT, entity TEXT, severity INTEGER NOT NULL, message TEXT NOT NULL,
    status TEXT NOT NULL, opened_at INTEGER NOT NULL, last_at INTEGER NOT NULL, count INTEGER NOT NULL,
    told TEXT NOT NULL, told_at INTEGER NOT NULL, muted_until INTEGER NOT NULL, by TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID;
"""


class State:
    """The shared state of one profile.

    Each room that keeps something here runs its own statements inside ``transaction``;
    the common ones are methods.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._writing = (
            threading.RLock()
        )  # hosts are asked side by side: one thread's transaction at a time
        with _alone(file.parent):
            self._connection = sqlite3.connect(
                file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA
            )
            self._check_version()

    def _check_version(self) -> None:
        with self.transaction() as sql:
            sql.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            (found,) = sql.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if int(found) != SCHEMA_VERSION:
            raise SchemaMismatch(
                f"{self.file} has schema {found}, this version writes {SCHEMA_VERSION}.",
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

    # -- marks: one instant and a note per (topic, entity) -------------------------------------------------------

    def mark(self, topic: str, entity: str, at: datetime, note: Any = None) -> None:
        """Remember when ``topic`` last happened to ``entity``; ``note`` is anything JSON can hold."""
        with self.transaction() as sql:
            sql.execute(
                "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?)",
                (topic, entity, epoch(at), json.dumps(note)),
            )

    def marked(self, topic: str, entity: str) -> tuple[datetime, Any] | None:
        """Return what ``mark`` remembered, or None."""
        rows = self.query(
            "SELECT at, note FROM mark WHERE topic = ? AND entity = ?", (topic, entity)
        )
        return (from_epoch(rows[0][0]), json.loads(rows[0][1])) if rows else None

    def marks(self, topic: str) -> dict[str, tuple[datetime, Any]]:
        """Return every entity of a topic."""
        rows = self.query("SELECT entity, at, note FROM mark WHERE topic = ?", (topic,))
        return {entity: (from_epoch(at), json.loads(note)) for entity, at, note in rows}

    # -- ticks: rolled up by day --------------------------------------------------------------------------------

    def tick(self, job: str, outcome: str, at: datetime) -> None:
        """Count one look of a job: ``not_due``, ``ok``, ``failed``, ``locked``."""
        with self.transaction() as sql:
            sql.execute(
                "INSERT INTO tick VALUES (?, ?, ?, 1, ?)"
                " ON CONFLICT DO UPDATE SET count = count + 1, last_at = excluded.last_at",
                (job, at.date().isoformat(), outcome, epoch(at)),
            )

    # -- calls: one line each for the metrics ---------------------------------------------------------------------

    def record_call(
        self,
        at: datetime,
        room: str,
        target: str,
        status: str,
        *,
        rows: int = 0,
        size: int = 0,
        ms: float = 0.0,
    ) -> None:
        """Note one call of ``net``, ``store`` or ``registry``: no parameter, no secret."""
        with self.transaction() as sql:
            sql.execute(
                "INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, ?)",
                (at.timestamp(), room, target, status, rows, size, ms),
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process opens a file in ``folder``: SQLite's change to WAL fails where two try it at once."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path, job: str) -> Iterator[None]:
    """Hold the lock of a job; the kernel releases it when the process ends, however it ends.

    Raises
    ------
    JobLocked
        If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / f"{job}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobLocked(f"skipped: locked. {job} is running in another process.") from None
        yield
    finally:
        os.close(handle)
