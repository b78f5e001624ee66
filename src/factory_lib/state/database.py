"""SQLite files that several processes share: what must be remembered and is not a measured value.

``state.db`` belongs to a profile, ``hosts.db`` to all real profiles of an installation,
since a provider counts the requests of all of them; a simulated profile has its own.
Standard library only: the tick that finds nothing due opens ``state.db`` and nothing
else.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from factory_lib.errors import SchemaMismatch
from factory_lib.files import lock
from factory_lib.settings import Settings
from factory_lib.state import schema

BUSY_TIMEOUT_S = 30.0


class Database:
    """One shared file.

    ``query`` and ``transaction`` are for the modules of this package, which hold all the
    SQL; everything else calls their functions.

    Parameters
    ----------
    read_only : bool
        Change nothing on the disk. A file that is missing reads as empty, one of an
        older schema as what it will become.
    lazy : bool
        Change nothing on the disk before the first transaction.
    """

    version: ClassVar[int] = 1
    tables: ClassVar[Sequence[str]] = ()

    def __init__(self, file: Path, *, read_only: bool = False, lazy: bool = False) -> None:
        self.file = file
        self.lazy = lazy
        self.read_only = read_only or lazy
        # Threads share a connection, and one thread's transaction must not take in
        # another's statements.
        self._writing = threading.RLock()
        self._connection = self._open_reader() if self.read_only else self._open_writer()
        if not self.read_only:
            self._migrate_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # -- opening ------------------------------------------------------------------------------

    def _open_writer(self) -> sqlite3.Connection:
        """Open the file; create it where it is missing."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # SQLite's change to WAL fails at once where another process reads the file.
        with lock(self.file.parent):
            connection = self._connect(str(self.file))
            connection.execute("PRAGMA synchronous=NORMAL")
            if _version(connection) is None:
                connection.execute("PRAGMA journal_mode=WAL")
                self._create(connection)
        return connection

    def _open_reader(self) -> sqlite3.Connection:
        """Open the file for reading, or its content in memory where it is missing or old.

        A reader needs the shared-memory file of the write-ahead log. ``mode=ro`` makes
        it, cannot remove it again and leaves both side files behind; ``immutable=1``
        makes none and does not read the log. So ``mode=ro`` serves where a log lies
        there already, because others write or one was killed. Else the file is opened
        for writing and kept from it by ``query_only``: SQLite removes the side files at
        the end. Where this user may not write there is no log, and none can be made.
        """
        if not self.file.is_file():
            connection = self._connect(":memory:")
            self._create(connection)
        else:
            has_log = self.file.with_name(f"{self.file.name}-wal").exists()
            may_write = os.access(self.file.parent, os.W_OK)
            mode = "mode=ro" if has_log else "mode=rw" if may_write else "immutable=1"
            with lock(self.file.parent):
                connection = self._connect(f"{self.file.resolve().as_uri()}?{mode}")
            if _version(connection) != self.version:
                connection = self._migrated_copy(connection)
        connection.execute("PRAGMA query_only=1")
        return connection

    def _become_writer(self) -> None:
        self.lazy = self.read_only = False
        self._connection.close()
        self._connection = self._open_writer()
        self._migrate_file()

    def _migrated_copy(self, stored: sqlite3.Connection) -> sqlite3.Connection:
        copy = self._connect(":memory:")
        with closing(stored):
            stored.backup(copy)
        if _version(copy) is None:  # a file that is just being created
            self._create(copy)
        self._migrate(copy)
        return copy

    def _connect(self, target: str) -> sqlite3.Connection:
        """Open a file by path or URI.

        Raises
        ------
        SchemaMismatch
            If a later version of the library wrote it.
        """
        connection = sqlite3.connect(
            target,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            uri=target.startswith("file:"),
        )
        version = _version(connection)
        if version is not None and version > self.version:
            connection.close()
            raise SchemaMismatch(
                f"{self.file} has schema {version}, this version writes {self.version}.",
                next_step="Use the version that wrote it, or move the file away.",
            )
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for table in self.tables:
            connection.execute(table)
        connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(self.version),))
        connection.execute("COMMIT")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the tables of an older schema to the present one."""

    def _migrate_file(self) -> None:
        """Bring the file to the present schema, in one transaction."""

    # -- for the modules of this package --------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one write transaction; an exception rolls it back.

        It begins ``IMMEDIATE``: one that reads first and writes later fails under WAL,
        whatever the timeout.
        """
        with self._writing:
            if self.lazy:
                self._become_writer()
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


class Hosts(Database):
    """Rate limits and circuit breakers of the providers' hosts."""

    tables = schema.HOSTS


class State(Database):
    """The shared state of one profile.

    Parameters
    ----------
    hosts_file : Path
        The limits and breakers of the hosts, opened when they are first needed.
    """

    version = 2
    tables = schema.STATE

    def __init__(
        self, file: Path, hosts_file: Path, *, read_only: bool = False, lazy: bool = False
    ) -> None:
        self._hosts_file = hosts_file
        self._hosts: Hosts | None = None
        super().__init__(file, read_only=read_only, lazy=lazy)

    @property
    def hosts(self) -> Hosts:
        """The limits and breakers of the hosts."""
        with self._writing:
            if self._hosts is None:
                self._hosts = Hosts(self._hosts_file, read_only=self.read_only, lazy=self.lazy)
            return self._hosts

    def close(self) -> None:
        """Close both files."""
        if self._hosts is not None:
            self._hosts.close()
        super().close()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == 1:
            schema.migrate_to_2(connection)

    def _migrate_file(self) -> None:
        if _version(self._connection) == self.version:
            return
        with self.transaction() as connection:
            if _version(connection) == self.version:
                return  # another process was faster
            self._migrate(connection)
            spacing, breaker = schema.take_hosts(connection)
            # Killed between the two commits, the next process adds the same rows again,
            # which spaces the requests of one day too widely and loses nothing.
            with self.hosts.transaction() as hosts:
                schema.merge_hosts(hosts, spacing, breaker)

    def damage(self) -> str:
        """Return the first finding of SQLite's integrity check; empty if the file is sound."""
        ((finding,), *_) = self.query("PRAGMA integrity_check")
        return "" if finding == "ok" else str(finding)

    def compact(self) -> None:
        """Fold the write-ahead log into the file and renew the planner's statistics."""
        self.query("PRAGMA optimize")
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")

    def backup_to(self, file: Path) -> None:
        """Copy the file in one consistent piece while others may be writing to it."""
        with closing(sqlite3.connect(file)) as copy:
            self._connection.backup(copy)

    def restore_from(self, file: Path) -> None:
        """Replace the content by that of a backup, which an earlier version may have taken."""
        with closing(sqlite3.connect(file)) as copy, self._writing:
            copy.backup(self._connection)
        self._migrate_file()


def open_state(settings: Settings, *, read_only: bool = False, lazy: bool = False) -> State:
    """Open the state of a profile; close it after use, or use it in a ``with`` statement."""
    paths = settings.paths
    return State(paths.state, paths.hosts, read_only=read_only, lazy=lazy)


def _version(connection: sqlite3.Connection) -> int | None:
    """Return the schema version of an open file, None where nothing was created yet."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return None
    (version,) = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return int(version)
