"""The shared state of several hosts: the same tables, in schemas of one PostgreSQL database.

The statements are those of the files; three words of the tables differ.
"""

import re
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from factory_lib.errors import (
    FactoryError,
    JobLocked,
    LockLost,
    SchemaMismatch,
    StoreUnavailable,
)
from factory_lib.settings import Settings
from factory_lib.state.database import Database, Hosts, State
from factory_lib.state.postgres import Postgres, placeholders

_WORDS = {"INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION", " WITHOUT ROWID": ""}
_KEY = "hashtextextended(?, 0)"  # of an advisory lock, which goes by number
# A job of which another host may have taken the lock goes on for no longer than this.
LOOK_EVERY_S = 1.0
# Not SIGINT, which what a shell starts in the background ignores.
INTERRUPT = signal.SIGUSR1


class _Statements:
    """A connection that takes the statements of SQLite."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement and return its cursor."""
        return self._connection.execute(placeholders(sql), values or None)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Any:
        """Run one statement for each row and return its cursor."""
        cursor = self._connection.cursor()
        cursor.executemany(placeholders(sql), list(rows))
        return cursor


class SharedDatabase(Database):
    """The tables of one schema.

    A reader, or a lazy writer, makes no schema: one that is missing is empty.
    """

    def __init__(
        self, settings: Settings, schema: str, *, read_only: bool = False, lazy: bool = False
    ) -> None:
        self.lazy = lazy
        self.read_only = read_only or lazy
        self._writing = threading.RLock()
        dsn = settings.secrets.postgres_dsn
        self._server = Postgres(dsn, schema, self._make, lazy=self.read_only)
        ((version,),) = self.query("SELECT value FROM meta WHERE key = 'schema'")
        if version != str(self.version):
            self._server.close()
            raise SchemaMismatch(
                f"{self._server.place} has schema {version}, this version writes {self.version}.",
                next_step="Use the version that wrote it, or another database.",
            )

    def _make(self) -> None:
        for table in self.tables:
            for word, other in _WORDS.items():
                table = table.replace(word, other)
            self._server.execute(table)
        self._server.execute("INSERT INTO meta VALUES ('schema', ?)", (str(self.version),))

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Yield a connection inside the only write transaction; an exception rolls it back."""
        with self._writing:
            if self.read_only and not self.lazy:
                raise StoreUnavailable(f"{self._server.place} was opened to read.")
            self._server.make_lasting()
            self.lazy = self.read_only = False
            with self._server.transaction():
                self._server.execute("LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE")
                yield _Statements(self._server.connection)

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT."""
        with self._writing:
            return self._server.execute(sql, parameters)

    def close(self) -> None:
        """Close the connection."""
        self._server.close()


class SharedHosts(SharedDatabase, Hosts):
    """Rate limits and circuit breakers: one for all hosts and real profiles."""

    def __init__(self, settings: Settings, *, read_only: bool = False, lazy: bool = False) -> None:
        schema = f"{settings.schema}_hosts" if settings.simulated else "factory_hosts"
        super().__init__(settings, schema, read_only=read_only, lazy=lazy)


class SharedState(State, SharedDatabase):
    """The state of one profile on all hosts."""

    def __init__(self, settings: Settings, *, read_only: bool = False, lazy: bool = False) -> None:
        self._settings = settings
        self._hosts: Hosts | None = None
        self.host = socket.gethostname()
        SharedDatabase.__init__(self, settings, _schema(settings), read_only=read_only, lazy=lazy)

    def _open_hosts(self) -> Hosts:
        return SharedHosts(self._settings, read_only=self.read_only, lazy=self.lazy)

    def is_held(self, job: str) -> bool:
        """Return whether a process of any host holds the job's lock."""
        halves = f"classid::bigint = ({_KEY} >> 32) & 4294967295"
        rest = f"objid::bigint = {_KEY} & 4294967295"
        key = _lock_name(self._settings, job)
        here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        locks = f"pg_locks WHERE locktype = 'advisory' AND {here} AND {halves} AND {rest}"
        return bool(self.query(f"SELECT 1 FROM {locks}", (key, key)))

    def damage(self) -> str:
        """Return nothing: the server looks after its files."""
        return ""

    def compact(self) -> None:
        """Leave compaction to the server."""

    def backup_to(self, file: Path) -> None:
        """Write all rows into a file, which the state of one host could be."""
        with State(file, file.with_name("hosts.db")) as copy:
            _copy_rows(self, copy)

    def restore_from(self, file: Path) -> None:
        """Replace all rows by those of a backup."""
        with State(file, file.with_name("hosts.db"), read_only=True) as copy:
            _copy_rows(copy, self)


def _copy_rows(source: Database, target: Database) -> None:
    names = re.findall(r"CREATE TABLE (\w+)", " ".join(source.tables))
    with target.transaction() as connection:
        for name in names:
            rows = source.query(f"SELECT * FROM {name}")
            connection.execute(f"DELETE FROM {name}")
            if rows:
                places = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {name} VALUES ({places})", rows)


def _schema(settings: Settings) -> str:
    return "_".join(filter(None, (settings.schema, "state", settings.site_id)))


def _lock_name(settings: Settings, job: str) -> str:
    return f"{_schema(settings)} {job}"


@contextmanager
def held_everywhere(
    jobs: Sequence[tuple[Settings, str]], *, wait: bool
) -> Iterator[Callable[[], None]]:
    """Hold the locks of jobs among all hosts, by one connection, which ends with the process.

    The locks end with the connection, whatever ends it. So it is watched: once it is lost,
    the main thread is interrupted.

    Raises
    ------
    JobLocked
        If a process holds one of them, unless ``wait``.
    LockLost
        If the connection was lost.
    """
    settings = jobs[0][0]
    server = Postgres(settings.secrets.postgres_dsn, _schema(settings), lambda: None, lazy=True)
    try:
        connection = server.connection
        for site, job in jobs:
            _lock_everywhere(server, site, job, wait=wait)
        with _watched(server, connection, jobs[-1][1]) as require_held:
            yield require_held
    finally:
        # one that is only closed is free when the server has noticed
        with suppress(FactoryError), server.reported():
            connection.execute("SELECT pg_advisory_unlock_all()")
        server.close()


def _lock_everywhere(server: Postgres, settings: Settings, job: str, *, wait: bool) -> None:
    key = (_lock_name(settings, job),)
    if wait:
        server.execute("SET lock_timeout = 0")
        server.execute(f"SELECT pg_advisory_lock({_KEY})", key)
    elif server.execute(f"SELECT pg_try_advisory_lock({_KEY})", key) != [(True,)]:
        raise JobLocked(f"skipped: locked. {job} is running on another host.")


@contextmanager
def _watched(server: Postgres, connection: Any, job: str) -> Iterator[Callable[[], None]]:
    """Interrupt the main thread once a connection is lost; yield the check that it is not."""
    ended = threading.Event()
    lost = threading.Event()

    def require_held() -> None:
        try:
            with server.reported():
                connection.execute("SELECT 1")
        except FactoryError:
            lost.set()
            raise LockLost(f"The connection that held {job} among all hosts was lost.") from None

    def watch() -> None:
        while not ended.wait(LOOK_EVERY_S) and not lost.is_set():
            try:
                require_held()
            except LockLost:
                # once the work is done, an interrupt would hit another
                if is_main and not ended.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)
                return

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(INTERRUPT, signal.default_int_handler) if is_main else None
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield require_held
    except KeyboardInterrupt:
        if lost.is_set():
            require_held()
        raise
    finally:
        ended.set()
        watcher.join()
        if is_main:
            signal.signal(INTERRUPT, before)
