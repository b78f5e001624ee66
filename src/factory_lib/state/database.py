"""SQLite files that several processes share: all state that is no measured value.

``state.db`` belongs to a profile, ``hosts.db`` to all real profiles of an installation,
since a provider counts the requests of all of them; a simulated profile has its own.
Standard library only: the tick that finds nothing due opens ``state.db`` and nothing
else.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from factory_lib.errors import SchemaMismatch
from factory_lib.files import lock
from factory_lib.settings import Settings

BUSY_TIMEOUT_S = 30.0
HostRows = Sequence[tuple[Any, ...]]

META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
CALL = """CREATE TABLE call (at REAL NOT NULL, component TEXT NOT NULL,
    target TEXT NOT NULL, status TEXT NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
    duration_ms REAL NOT NULL)"""
CALL_INDEX = "CREATE INDEX call_at ON call (at)"
IMPORT_LEDGER = """CREATE TABLE import_ledger (sha256 TEXT, member TEXT,
    format TEXT NOT NULL, status TEXT NOT NULL, at INTEGER NOT NULL, counts TEXT NOT NULL,
    PRIMARY KEY (sha256, member)) WITHOUT ROWID"""
ALERT = """CREATE TABLE alert (topic TEXT, entity TEXT, severity INTEGER NOT NULL,
    message TEXT NOT NULL, status TEXT NOT NULL, opened_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL, count INTEGER NOT NULL, notified TEXT NOT NULL,
    notified_at INTEGER NOT NULL, muted_until INTEGER NOT NULL, by TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID"""
ATTEMPT = """CREATE TABLE attempt (scope TEXT, subject TEXT, since INTEGER, until INTEGER,
    requested TEXT, first_at INTEGER NOT NULL, at INTEGER NOT NULL, retry_at INTEGER NOT NULL,
    outcome TEXT NOT NULL, PRIMARY KEY (scope, subject, since, until, requested)) WITHOUT ROWID"""
STATE = (
    META,
    """CREATE TABLE mark (topic TEXT, entity TEXT, at INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (topic, entity)) WITHOUT ROWID""",
    """CREATE TABLE tick (job TEXT, day TEXT, outcome TEXT, count INTEGER NOT NULL,
    last_at INTEGER NOT NULL, PRIMARY KEY (job, day, outcome)) WITHOUT ROWID""",
    CALL,
    CALL_INDEX,
    IMPORT_LEDGER,
    ALERT,
    ATTEMPT,
)
HOSTS = (
    META,
    """CREATE TABLE spacing (host TEXT PRIMARY KEY, next_at REAL NOT NULL, day TEXT NOT NULL,
    used INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE breaker (host TEXT PRIMARY KEY, failures INTEGER NOT NULL,
    open_until REAL NOT NULL, probing INTEGER NOT NULL, cause TEXT NOT NULL) WITHOUT ROWID""",
)

# tables of schema 1 whose columns have other names since, in the same order
_RENAMED = {"call": CALL, "import_ledger": IMPORT_LEDGER, "alert": ALERT}
_NOWHERE = Path(os.devnull, "none")  # where no file can be


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

    # -- opening ---------

    def _open_writer(self) -> sqlite3.Connection:
        """Open the file; create it where it is missing."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # SQLite's change to WAL fails at once where another process reads the file.
        with lock(self.file.parent):
            self._mend()
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
        if not os.path.lexists(self.file):
            connection = self._in_memory()
        else:
            has_log = self.file.with_name(f"{self.file.name}-wal").exists()
            may_write = os.access(self.file.parent, os.W_OK)
            mode = "mode=ro" if has_log else "mode=rw" if may_write else "immutable=1"
            with lock(self.file.parent):
                connection = self._connect(f"{self.file.absolute().as_uri()}?{mode}")
            if _version(connection) != self.version:
                connection = self._migrated_copy(connection)
        connection.execute("PRAGMA query_only=1")
        return connection

    def _in_memory(self) -> sqlite3.Connection:
        connection = self._connect(":memory:")
        self._create(connection)
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

    def _mend(self) -> None:
        """Put a file in order before it is opened for writing."""

    # -- for the modules of this package ---------

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

    def change(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each row, in one transaction, and return the rows it changed."""
        with self.transaction() as connection:
            return connection.executemany(sql, rows).rowcount

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT."""
        with self._writing:
            return self._connection.execute(sql, parameters).fetchall()


def upsert(table: str, columns: Sequence[str], *, keys: int) -> str:
    """Return the statement that adds a row, or replaces that of the same first ``keys`` columns."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns[keys:])
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {changes}"
    )


class Hosts(Database):
    """Rate limits and circuit breakers of the providers' hosts.

    They hold what the last requests left, and no more: a damaged file reads as empty, and
    the next writer sets it aside and begins anew.
    """

    tables = HOSTS
    damaged = False

    def _open_reader(self) -> sqlite3.Connection:
        try:
            connection = super()._open_reader()
            if _is_sound(connection):
                return connection
            connection.close()
        except sqlite3.OperationalError:  # the machine refuses, which is no damage
            raise
        except sqlite3.DatabaseError:
            pass
        self.damaged = True
        return self._in_memory()

    def _mend(self) -> None:
        if self._is_damaged():
            for end in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{self.file}{end}").replace(f"{damaged_hosts(self.file)}{end}")

    def _is_damaged(self) -> bool:
        if not self.file.is_file():
            return self.file.is_dir()
        try:
            with closing(sqlite3.connect(self.file, timeout=BUSY_TIMEOUT_S)) as stored:
                return not _is_sound(stored)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return True


def damaged_hosts(file: Path) -> Path:
    """Return where a damaged file of the hosts is set aside."""
    return file.with_name(f"{file.name}.damaged")


def _is_sound(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))


class State(Database):
    """The shared state of one profile.

    Parameters
    ----------
    hosts_file : Path
        The limits and breakers of the hosts, opened when they are first needed.
    """

    version = 2
    tables = STATE
    host = ""  # of the processes that can be asked whether they live; no name but this machine's

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
                self._hosts = self._open_hosts()
            return self._hosts

    def _open_hosts(self) -> Hosts:
        return Hosts(self._hosts_file, read_only=self.read_only, lazy=self.lazy)

    def close(self) -> None:
        """Close both."""
        if self._hosts is not None:
            self._hosts.close()
        super().close()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == 1:
            migrate_to_2(connection)

    def _migrate_file(self) -> None:
        if _version(self._connection) == self.version:
            return
        with self.transaction() as connection:
            if _version(connection) == self.version:
                return  # another process was faster
            self._migrate(connection)
            spacing, breaker = take_hosts(connection)
            # Killed between the two commits, the next process adds the same rows again,
            # which spaces the requests of one day too widely and loses nothing.
            with self.hosts.transaction() as hosts:
                merge_hosts(hosts, spacing, breaker)

    def damage(self) -> str:
        """Return the first finding of SQLite's integrity check; empty if the file is sound."""
        ((finding,), *_) = self.query("PRAGMA integrity_check")
        return "" if finding == "ok" else str(finding)

    def compact(self) -> None:
        """Fold the write-ahead log into the file and renew the planner's statistics."""
        self.query("PRAGMA optimize")
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")

    def is_held(self, job: str) -> bool:
        """Return whether a process of another host holds the job's lock: there is none."""
        return False

    def backup_to(self, file: Path) -> None:
        """Copy the file in one consistent piece while others may be writing to it."""
        with closing(sqlite3.connect(file)) as copy:
            self._connection.backup(copy)


def open_state(settings: Settings, *, read_only: bool = False, lazy: bool = False) -> State:
    """Open the state of a profile; close it after use, or use it in a ``with`` statement."""
    if settings.state.backend == "postgres":
        from factory_lib.state.shared import SharedState

        return SharedState(settings, read_only=read_only, lazy=lazy)
    paths = settings.paths
    return State(paths.state, paths.hosts, read_only=read_only, lazy=lazy)


def open_hosts(settings: Settings, *, read_only: bool = False) -> Hosts:
    """Open the limits and breakers of the hosts that a profile asks."""
    if settings.state.backend == "postgres":
        from factory_lib.state.shared import SharedHosts

        return SharedHosts(settings, read_only=read_only)
    return Hosts(settings.paths.hosts, read_only=read_only)


def hold(
    settings: Settings, job: str, *, wait: bool = False
) -> AbstractContextManager[Callable[[], None]]:
    """Hold the lock of one job (``hold_all``)."""
    return hold_all([(settings, job)], wait=wait)


@contextmanager
def hold_all(
    jobs: Sequence[tuple[Settings, str]], *, wait: bool = False
) -> Iterator[Callable[[], None]]:
    """Hold the locks of jobs or of other work: on this machine, with shared state on all.

    They are released when the process ends, however it ends. One that is lost earlier,
    because the connection to the shared state broke, ends what the block is at.

    Yields
    ------
    callable
        To be called before a result is stored; raises LockLost where the locks are lost.

    Raises
    ------
    JobLocked
        If another process holds one of them, unless ``wait``.
    LockLost
        If they were lost.
    """
    with ExitStack() as locks:
        for settings, job in jobs:
            locks.enter_context(lock(settings.paths.lock(job), wait=wait))
        require_held = _keep
        if jobs[0][0].state.backend == "postgres":
            from factory_lib.state.shared import held_everywhere

            require_held = locks.enter_context(held_everywhere(jobs, wait=wait))
        yield require_held


def _keep() -> None:
    """Do nothing: what the kernel locks stays locked."""


def empty_state() -> State:
    """Return a state of which nothing is known, in memory."""
    return State(_NOWHERE, _NOWHERE, read_only=True)


def _version(connection: sqlite3.Connection) -> int | None:
    """Return the schema version of an open file, None where nothing was created yet."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return None
    (version,) = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return int(version)


# -- migration of older files ---------


# Notes are JSON: of the last run of a job, and of what a backfill is to request again.
_TO_2 = (
    CALL_INDEX,
    "UPDATE call SET component = 'http' WHERE component = 'net'",
    ATTEMPT,
    """INSERT INTO attempt SELECT 'gap', series, first, last, asked, asked_at, asked_at,
    again_at, 'empty' FROM unfillable""",
    "DROP TABLE unfillable",
    """INSERT INTO attempt SELECT 'source', entity, 0, 0, '', at, at, at, 'requested'
    FROM mark WHERE topic = 'asked'""",
    """INSERT INTO attempt SELECT 'backfill', entity, 0, 0, '',
    json_extract(note, '$.first'),
    CAST(json_extract(note, '$.first') + 60 * json_extract(note, '$.until_min') AS INTEGER),
    at, iif(json_extract(note, '$.failed'), 'failed', 'complete')
    FROM mark
    WHERE topic = 'backfill again' AND json_type(note, '$.first') IS NOT NULL""",
    "DELETE FROM mark WHERE topic IN ('asked', 'backfill again')",
    """UPDATE mark SET note = json_set(json_remove(note, '$.verdict'), '$.summary',
    json_extract(note, '$.verdict'))
    WHERE topic = 'job' AND json_type(note, '$.verdict') IS NOT NULL""",
    "UPDATE meta SET value = '2' WHERE key = 'schema'",
)


def migrate_to_2(connection: sqlite3.Connection) -> None:
    """Give a file of schema 1 the columns of schema 2, and one table for all attempts.

    The hosts' tables are left to ``take_hosts``.
    """
    for table, statement in _RENAMED.items():
        connection.execute(f"ALTER TABLE {table} RENAME TO former")
        connection.execute(statement)
        connection.execute(f"INSERT INTO {table} SELECT * FROM former")
        connection.execute("DROP TABLE former")
    for statement in _TO_2:
        connection.execute(statement)


def take_hosts(connection: sqlite3.Connection) -> tuple[HostRows, HostRows]:
    """Remove the hosts' tables of schema 1 and return their rows: spacing, breaker."""
    spacing = connection.execute("SELECT host, next_at, day, used FROM spacing").fetchall()
    breaker = connection.execute(
        "SELECT host, failures, open_until, probing, coalesce((SELECT status FROM call"
        " WHERE component = 'http' AND target = host ORDER BY at DESC LIMIT 1), '') FROM breaker"
    ).fetchall()
    connection.execute("DROP TABLE spacing")
    connection.execute("DROP TABLE breaker")
    return spacing, breaker


def merge_hosts(connection: sqlite3.Connection, spacing: HostRows, breaker: HostRows) -> None:
    """Add the limits of one profile to those of all: the later turn, a day's sum of requests."""
    connection.executemany(
        "INSERT INTO spacing VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " next_at = max(next_at, excluded.next_at), day = max(day, excluded.day),"
        " used = iif(day = excluded.day, used + excluded.used,"
        " iif(day > excluded.day, used, excluded.used))",
        spacing,
    )
    connection.executemany(
        "INSERT INTO breaker VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " failures = max(failures, excluded.failures),"
        " open_until = max(open_until, excluded.open_until)",
        breaker,
    )
