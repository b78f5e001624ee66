"""The embedded backend: one SQLite file in WAL mode, read and written as Arrow columns.

Everything goes through the ADBC driver and nothing through the standard library's
``sqlite3``: each brings its own copy of SQLite, and two copies in one process that open
the same file drop each other's POSIX locks when either closes it
(sqlite.org/howtocorrupt.html, section 2.2.1). A write needs ``BEGIN IMMEDIATE``: a
transaction that reads first and writes later fails under WAL whatever the time-out.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import adbc_driver_sqlite.dbapi as adbc
import numpy as np
import pyarrow as pa
from adbc_driver_sqlite import StatementOptions

from factory_lib.errors import StoreDamaged, StoreRefused, StoreUnavailable
from factory_lib.failures import explain, sqlite_step
from factory_lib.store.backend import Origin
from factory_lib.store.sql import TABLES, Columns, SqlBackend

BUSY_TIMEOUT_MS = 30_000
BATCH_ROWS = 65_536  # larger Arrow batches than the driver's 1,024 read a third faster
DAMAGED = ("malformed", "not a database")  # in the messages of SQLite


class SqliteBackend(SqlBackend):
    """Rows in one file; safe for many processes at once.

    Parameters
    ----------
    lazy : bool
        A file that is missing reads as empty, and is made by the first write.
    """

    words: ClassVar = {
        "integer": "INTEGER",
        "real": "REAL",
        "serial": "INTEGER PRIMARY KEY",
        "end": "WITHOUT ROWID",
    }
    infinite = "9e999"

    def __init__(self, file: Path, origin: Origin, *, lazy: bool = False) -> None:
        self.file = file
        self.origin = origin
        self._in_memory = lazy and not os.path.lexists(file)
        self._lazy = lazy
        self._open()

    def _open(self) -> None:
        with self._reported():
            if not self._in_memory:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = adbc.connect(self._place(), autocommit=True)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _place(self) -> str:
        """Return what to open.

        A reader of a file with a write-ahead log makes side files. Where none can be made,
        no other process writes, and the file is read as it lies there.
        """
        if self._in_memory:
            return ":memory:"
        writable = os.access(self.file.parent, os.W_OK)
        if self._lazy and not writable and not Path(f"{self.file}-wal").exists():
            return f"{self.file.absolute().as_uri()}?immutable=1"
        return str(self.file)

    def _prepare(self) -> None:
        self.query(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if self.query("SELECT name FROM sqlite_master WHERE name = 'meta'").num_rows == 0:
            self.query("PRAGMA journal_mode = WAL")
            with self.transaction():
                self.create()
        self.query("PRAGMA synchronous = NORMAL")
        self.check_stamps(self.file)

    # -- statements ---------------------------------------------------------------------------

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (adbc.Error, OSError, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0]  # without the statement
            message = f"The store {self.file} cannot be used: {reason}."
            if any(words in reason for words in DAMAGED):
                raise StoreDamaged(message) from error
            machine = explain(error) if isinstance(error, OSError) else None
            if step := machine.next_step if machine else sqlite_step(reason):
                raise StoreRefused(message, next_step=step) from error
            raise StoreUnavailable(message) from error

    def query(self, sql: str, values: Sequence[Any] | None = None) -> pa.Table:
        """Run one statement and return its rows.

        The cursor is closed: an open reader would keep the WAL from being folded in.
        """
        options = {StatementOptions.BATCH_ROWS.value: BATCH_ROWS}
        with self._reported(), self._connection.cursor(adbc_stmt_kwargs=options) as cursor:
            cursor.execute(sql, values)
            return cursor.fetch_arrow_table()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its few rows."""
        columns = [column.to_pylist() for column in self.query(sql, values or None).columns]
        return list(zip(*columns, strict=True))

    def arrays(self, sql: str, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the columns of a query; the driver takes their types from the first batch."""
        answer = self.query(sql)
        return {name: answer.column(i).to_numpy() for i, name in enumerate(names)}

    def ingest(self, table: str, columns: Columns) -> None:
        """Add rows as Arrow columns."""
        arrays = {name: pa.array(data, mask=null) for name, (data, null) in columns.items()}
        with self._reported(), self._connection.cursor() as cursor:
            temporary = table == "arriving"
            cursor.adbc_ingest(table, pa.table(arrays), mode="append", temporary=temporary)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the only write transaction; an exception rolls it back."""
        self.query("BEGIN IMMEDIATE")
        try:
            yield
            self.query("COMMIT")
        except BaseException:
            self.query("ROLLBACK")
            raise

    def make_lasting(self) -> bool:
        """Make the file of a lazily opened store where it is missing; return whether it was."""
        missing = self._in_memory
        if missing:
            self._in_memory = False
            self._connection.close()
            self._open()
        return missing

    # -- maintenance --------------------------------------------------------------------------

    def maintain(self) -> None:
        """Fold the WAL into the file and let SQLite refresh its statistics."""
        self.query("PRAGMA optimize")
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")

    def check(self) -> None:
        """Read the whole file and verify its structure.

        Raises
        ------
        StoreDamaged
            If it is damaged.
        """
        findings = self.query("PRAGMA integrity_check").column(0).to_pylist()
        if findings != ["ok"]:
            raise StoreDamaged(f"The store {self.file} is damaged: {findings[0]}.")

    def snapshot(self, file: Path) -> None:
        """Write a consistent, compact copy of the whole store while others go on writing."""
        self.query("VACUUM INTO ?", (str(file),))

    def replace_by(self, file: Path) -> None:
        """Take over everything another store's file holds, in one transaction."""
        self.query("ATTACH ? AS other", (str(file),))
        try:
            with self.writing("everything"):
                for table in TABLES:
                    self.query(f"DELETE FROM main.{table}")
                    self.query(f"INSERT INTO main.{table} SELECT * FROM other.{table}")
        finally:
            self.query("DETACH other")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
