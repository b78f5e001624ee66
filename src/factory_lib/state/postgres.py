"""One connection to a PostgreSQL database, for the tables that are kept in a schema of it.

Statements write ``?`` for a value, as SQLite does. The driver is imported when a setting
asks for it: it is an extra (``pip install 'factory-lib[postgres]'``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from factory_lib.errors import ConfigError, StoreUnavailable
from factory_lib.failures import first_line
from factory_lib.settings.secrets import Secret

if TYPE_CHECKING:
    import psycopg

DSN = "POSTGRES_DSN"
# A server that is away is noticed in seconds, and so is one that was cut off.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "factory",
}
# Without statistics of a table that was just filled, the planner would sort a window that
# its key has in order, or compile the plan.
_SESSION = (
    "lock_timeout = '30s'",
    "enable_bitmapscan = off",
    "jit = off",
    # the locks of a host that lost its power are free after a minute
    "tcp_keepalives_idle = 30",
    "tcp_keepalives_interval = 10",
    "tcp_keepalives_count = 3",
)
FULL = ("too many", "connection slots")  # of clients; the only refusal that passes by itself


class Postgres:
    """A connection that is opened again after it was lost.

    Parameters
    ----------
    dsn : Secret
        URL or key words of libpq; what it leaves out comes from libpq's own variables
        and files (``PGPASSWORD``, ``~/.pgpass``).
    schema : str
        Where unqualified tables are.
    create : callable
        Makes the schema's tables.
    lazy : bool
        Tables that are missing are made in the connection's own temporary schema, where
        they are empty and no other connection sees them, until ``make_lasting``.

    Raises
    ------
    ConfigError
        If the address is missing or refused by the server.
    StoreUnavailable
        If the server does not answer.
    """

    def __init__(
        self,
        dsn: Secret,
        schema: str,
        create: Callable[[], None],
        *,
        lazy: bool = False,
    ) -> None:
        self._dsn = dsn
        self._create = create
        self.schema = schema
        self._quoted = '"' + schema.replace('"', '""') + '"'
        self.lazy = lazy
        self._conninfo, self.place = _address(dsn, schema)
        self._open: psycopg.Connection[Any] | None = None
        self._in_transaction = False

    # -- the connection -----------------------------------------------------------------------

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The open connection; a lost one is replaced, but not in the middle of a transaction."""
        if self._open is None or self._open.closed:
            if self._in_transaction:
                raise StoreUnavailable(f"{self.place} went away.")
            import psycopg

            try:
                self._open = psycopg.connect(self._conninfo, autocommit=True)
            except psycopg.Error as error:
                raise self._refusal(str(error)) from None
            try:
                self._prepare()
            except BaseException:
                self.close()  # no statement finds tables of another schema
                raise
        return self._open

    def _refusal(self, message: str) -> ConfigError | StoreUnavailable:
        """Return what a failed connection means: a server that answers does not want it."""
        from psycopg import pq

        answers = pq.PGconn.ping(self._conninfo.encode()) == pq.Ping.OK
        reason = message.partition("\n")[0].rpartition("FATAL:")[2].strip()
        if answers and not any(words in message for words in FULL):
            return ConfigError(DSN, f"is refused by {self.place}: {reason}", file="environment")
        return StoreUnavailable(f"{self.place} does not answer: {reason}.")

    def _prepare(self) -> None:
        """Choose the schema, and make its tables where they are missing."""
        for setting in _SESSION:
            self.execute(f"SET {setting}")
        there = self._is_there()
        must_make = not there and not self.lazy
        self.lazy = not there
        if must_make:
            self.make_lasting()
            return
        self._choose()
        if self.lazy:
            self._create()

    def _is_there(self) -> bool:
        return self.execute("SELECT to_regclass(?)", (f"{self._quoted}.meta",)) != [(None,)]

    def _choose(self) -> None:
        """Look for tables in the schema; the temporary one would be searched first unless named."""
        self.execute(f"SET search_path TO {'' if self.lazy else self._quoted + ', '}pg_temp")

    def make_lasting(self) -> None:
        """Make the tables of a schema that was missing; processes that do so together wait."""
        self.connection  # noqa: B018  the schema may be there by now
        if not self.lazy:
            return
        self.lazy = False
        with self.transaction():
            self.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (self.schema,))
            self.execute(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}")
            self._choose()
            if not self._is_there():
                self._create()

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open.close()

    # -- statements ---------------------------------------------------------------------------

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Raise the driver's errors as ours, without the statement and what it was given."""
        import psycopg

        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            reason = f"names a user who may not do this: {first_line(error)}"
            raise ConfigError(DSN, reason, file="environment") from None
        except psycopg.Error as error:
            raise StoreUnavailable(f"{self.place} cannot be used: {first_line(error)}.") from error

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self.reported():
            cursor = self.connection.execute(placeholders(sql), values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold a transaction; an exception rolls it back."""
        with self.reported(), self.connection.transaction():
            self._in_transaction = True
            try:
                yield
            finally:
                self._in_transaction = False


def placeholders(sql: str) -> str:
    """Return a statement with the driver's sign for a value."""
    return sql.replace("?", "%s")


def _address(dsn: Secret, schema: str) -> tuple[str, str]:
    """Return libpq's string, and the place in words, which holds neither user nor password."""
    try:
        from psycopg import ProgrammingError, conninfo
    except ImportError:
        problem = "needs psycopg: pip install 'factory-lib[postgres]'"
        raise ConfigError("store.backend", problem) from None
    if not dsn:
        raise ConfigError(DSN, "is not set", file="environment")
    try:
        given = conninfo.conninfo_to_dict(dsn.reveal())
        text = conninfo.make_conninfo("", **{**PATIENCE, **given})
    except ProgrammingError:  # whose message quotes the text
        problem = "is neither postgresql://user:password@host:port/database nor host=… dbname=…"
        raise ConfigError(DSN, problem, file="environment") from None
    host = ":".join(str(given[key]) for key in ("host", "port") if key in given)
    database = f"database {given['dbname']}, " if "dbname" in given else ""
    return text, f"PostgreSQL at {host or 'this machine'} ({database}schema {schema})"
