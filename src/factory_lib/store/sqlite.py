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
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
from adbc_driver_sqlite import StatementOptions

from factory_lib.errors import StoreDamaged, StoreUnavailable
from factory_lib.slots import from_index, to_index
from factory_lib.store.backend import (
    FORECAST,
    FORECAST_VALUE_COLUMNS,
    NAT,
    SCHEMA_VERSION,
    VALUE_COLUMNS,
    VERDICT_COLUMNS,
    Channel,
    Origin,
    Rows,
    Window,
    as_texts,
    check_stamps,
)

BUSY_TIMEOUT_MS = 30_000
BATCH_ROWS = 65_536  # larger Arrow batches than the driver's 1,024 read a third faster
FEW_LABELS = 1000
DAMAGED = ("malformed", "not a database")  # in the messages of SQLite
_NO_LIMIT = 1 << 62  # later than any second
TABLES = ("channel", "label", "value", "forecast", "verdict")

# The key of ``value`` serves the view and the slots alike: a scan of one channel's
# window in order of time.
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)
    WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS channel (id INTEGER PRIMARY KEY, series TEXT, place TEXT,
    source TEXT, kind TEXT, resolution_s INTEGER,
    UNIQUE (series, place, source, kind, resolution_s))""",
    "CREATE TABLE IF NOT EXISTS label (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS value (channel INTEGER, start INTEGER, rev INTEGER,
    value REAL NOT NULL, available_at INTEGER NOT NULL, retrieved_at INTEGER NOT NULL,
    provider_updated_at INTEGER, run INTEGER NOT NULL,
    PRIMARY KEY (channel, start, rev)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS forecast (channel INTEGER, start INTEGER,
    issued_at INTEGER, p10 REAL, p50 REAL NOT NULL, p90 REAL, tier INTEGER NOT NULL,
    run INTEGER NOT NULL, PRIMARY KEY (channel, start, issued_at)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS verdict (id INTEGER PRIMARY KEY, series TEXT NOT NULL,
    place TEXT NOT NULL, source TEXT NOT NULL, start INTEGER NOT NULL, rev INTEGER NOT NULL,
    verdict TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
    "by" TEXT NOT NULL)""",
)
# The driver takes a column's type from its first batch, so a column must never begin
# with nothing but NULL.
_UNKNOWN = {
    "provider_updated_at": f"ifnull(provider_updated_at, {NAT + 1} - 1)",
    "p10": "ifnull(p10, 9e999)",
    "p90": "ifnull(p90, 9e999)",
}


class SqliteBackend:
    """Rows in one file; safe for many processes at once.

    Parameters
    ----------
    lazy : bool
        A file that is missing reads as empty, and is made by the first write.
    """

    def __init__(self, file: Path, origin: Origin, *, lazy: bool = False) -> None:
        self.file = file
        self.origin = origin
        self._in_memory = lazy and not os.path.lexists(file)
        self._open()

    def _open(self) -> None:
        with self._reported():
            if not self._in_memory:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            file = ":memory:" if self._in_memory else str(self.file)
            self._connection = adbc.connect(file, autocommit=True)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        self.query(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if self.query("SELECT name FROM sqlite_master WHERE name = 'meta'").num_rows == 0:
            self.query("PRAGMA journal_mode = WAL")
            with self._transaction():
                for statement in _SCHEMA:
                    self.query(statement)
                stamps = ("schema", str(SCHEMA_VERSION), "world", self.origin)
                self.query("INSERT OR IGNORE INTO meta VALUES (?, ?), (?, ?)", stamps)
        self.query("PRAGMA synchronous = NORMAL")
        check_stamps(self.file, dict(self._rows_of("SELECT key, value FROM meta")), self.origin)

    # -- statements ---------------------------------------------------------------------------

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (adbc.Error, OSError, pa.ArrowException) as error:
            damaged = any(words in str(error) for words in DAMAGED)
            kind = StoreDamaged if damaged else StoreUnavailable
            reason = str(error).partition("\n")[0]  # without the statement
            raise kind(f"The store {self.file} cannot be used: {reason}.") from error

    def query(self, sql: str, values: Sequence[Any] | None = None) -> pa.Table:
        """Run one statement and return its rows.

        The cursor is closed: an open reader would keep the WAL from being folded in.
        """
        options = {StatementOptions.BATCH_ROWS.value: BATCH_ROWS}
        with self._reported(), self._connection.cursor(adbc_stmt_kwargs=options) as cursor:
            cursor.execute(sql, values)
            return cursor.fetch_arrow_table()

    def _rows_of(self, sql: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        columns = [column.to_pylist() for column in self.query(sql, values).columns]
        return list(zip(*columns, strict=True))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the only write transaction; an exception rolls it back."""
        self.query("BEGIN IMMEDIATE")
        try:
            yield
            self.query("COMMIT")
        except BaseException:
            self.query("ROLLBACK")
            raise

    @contextmanager
    def writing(self, measurement: str) -> Iterator[None]:
        """Admit one writer at a time, whatever the measurement."""
        if self._in_memory:
            self._in_memory = False
            self._connection.close()
            self._open()
        with self._transaction():
            yield

    # -- dimensions ---------------------------------------------------------------------------

    def _stored_channels(self) -> dict[Channel, int]:
        rows = self._rows_of(f"SELECT {', '.join(Channel._fields)}, id FROM channel ORDER BY id")
        return {Channel(*parts): number for *parts, number in rows}

    def channels(self) -> list[Channel]:
        """Return all channels."""
        return list(self._stored_channels())

    def _channel_numbers(self, rows: Rows) -> np.ndarray[Any, Any]:
        """Return the number of each row's channel, after adding missing ones."""
        for channel in rows.channels:
            self.query(
                f"INSERT OR IGNORE INTO channel ({', '.join(Channel._fields)})"
                " VALUES (?, ?, ?, ?, ?)",
                channel,
            )
        numbers = self._stored_channels()
        ids = np.array([numbers[channel] for channel in rows.channels])
        return np.asarray(ids[rows["channel"]])

    def _label_numbers(self, texts: Any) -> np.ndarray[Any, Any]:
        """Return the number of each label, after adding missing ones."""
        codes, labels = pd.factorize(texts)
        numbers = []
        for label in labels:
            self.query("INSERT OR IGNORE INTO label (text) VALUES (?)", (label,))
            numbers += self._rows_of("SELECT id FROM label WHERE text = ?", (label,))
        return np.array(numbers).ravel()[codes]

    # -- rows ---------------------------------------------------------------------------------

    def load(self, window: Window, columns: Sequence[str] = VALUE_COLUMNS) -> Rows:
        """Return rows by channel, start and rev."""
        return self._load("value", columns, window, "available_at", "rev")

    def load_forecasts(self, window: Window) -> Rows:
        """Return forecast rows by channel, target and issue."""
        return self._load("forecast", FORECAST_VALUE_COLUMNS, window, "issued_at", "issued_at")

    def _load(
        self, table: str, columns: Sequence[str], window: Window, known_at: str, last: str
    ) -> Rows:
        channels = {
            channel: number
            for channel, number in self._stored_channels().items()
            if channel.series in window.series
            and channel.place in window.places
            and (channel.kind == FORECAST) == (table == "forecast")
        }
        numbers = list(channels.values())
        answer = self.query(
            f"SELECT {', '.join(_UNKNOWN.get(name, name) for name in columns)} FROM {table} "
            f"WHERE channel IN ({', '.join(map(str, numbers))}) "
            f"AND start >= {window.start} AND start < {window.end} "
            f"AND {known_at} <= {_NO_LIMIT if window.as_of is None else window.as_of} "
            f"ORDER BY channel, start, {last}"
        )
        arrays = {name: answer.column(i).to_numpy() for i, name in enumerate(columns)}
        arrays["channel"] = np.searchsorted(numbers, arrays["channel"])
        for name in {"p10", "p90"} & arrays.keys():
            arrays[name] = np.where(np.isinf(arrays[name]), np.nan, arrays[name])
        for name in {"run", "tier"} & arrays.keys():
            arrays[name] = self._labels(arrays[name])
        return Rows(tuple(channels), arrays)

    def _labels(self, numbers: np.ndarray[Any, Any]) -> Any:
        """Return the text of each number."""
        few = np.unique(numbers)
        where = f"WHERE id IN ({', '.join(map(str, few))})" if len(few) <= FEW_LABELS else ""
        labels = dict(self._rows_of(f"SELECT id, text FROM label {where} ORDER BY id"))
        return as_texts(list(labels.values()), np.searchsorted(list(labels), numbers))

    def append(self, rows: Rows) -> None:
        """Add rows that the store does not hold."""
        self._ingest_rows("value", rows, VALUE_COLUMNS)

    def thin_forecasts(self, models: Sequence[str], before_s: int, noon_s: int) -> int:
        """Delete issues from before an instant; keep the last of each day that ends at noon.

        ``noon_s`` is the second of the UTC day up to which an issue counts for it.
        """
        names = ", ".join("?" * len(models))
        where = (
            f"issued_at < ? AND channel IN (SELECT id FROM channel WHERE source IN ({names}))"
            " AND EXISTS (SELECT 1 FROM forecast AS later WHERE later.channel = forecast.channel"
            " AND later.start = forecast.start AND later.issued_at > forecast.issued_at"
            " AND (later.issued_at - ?) / 86400 = (forecast.issued_at - ?) / 86400)"
        )
        values = (before_s, *models, noon_s + 1, noon_s + 1)
        count = self.query(f"SELECT count(*) FROM forecast WHERE {where}", values)
        with self._transaction():
            self.query(f"DELETE FROM forecast WHERE {where}", values)
        return int(count.column(0)[0].as_py())

    def append_forecasts(self, rows: Rows) -> None:
        """Add forecast rows; one of the same identity is replaced."""
        self.query("CREATE TEMP TABLE IF NOT EXISTS arriving AS SELECT * FROM forecast WHERE 0")
        self.query("DELETE FROM arriving")
        self._ingest_rows("arriving", rows, FORECAST_VALUE_COLUMNS)
        self.query("INSERT OR REPLACE INTO forecast SELECT * FROM arriving")

    def _ingest_rows(self, table: str, rows: Rows, columns: Sequence[str]) -> None:
        """Add rows with the database's numbers, and NULL for what is not known."""
        rows = rows.having(channel=self._channel_numbers(rows))
        for name in {"run", "tier"} & rows.column.keys():
            rows = rows.having(**{name: self._label_numbers(rows[name])})
        arrays = {}
        for name in columns:
            unknown = np.isnan(rows[name]) if rows[name].dtype.kind == "f" else rows[name] == NAT
            arrays[name] = pa.array(rows[name], mask=unknown)
        self._ingest(table, arrays)

    def _ingest(self, table: str, columns: dict[str, pa.Array]) -> None:
        with self._reported(), self._connection.cursor() as cursor:
            temporary = table == "arriving"
            cursor.adbc_ingest(table, pa.table(columns), mode="append", temporary=temporary)

    # -- verdicts -----------------------------------------------------------------------------

    def load_verdicts(self) -> pd.DataFrame:
        """Return every verdict, oldest first."""
        columns = ", ".join(f'"{name}"' for name in VERDICT_COLUMNS)
        rows = self._rows_of(f"SELECT {columns} FROM verdict ORDER BY id")
        frame = pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))
        times = {name: to_index(frame[name].to_numpy(np.int64)) for name in ("start", "at")}
        return frame.assign(**times)

    def append_verdicts(self, rows: pd.DataFrame) -> None:
        """Add verdicts."""
        rows = rows.assign(start=from_index(rows["start"]), at=from_index(rows["at"]))
        self._ingest("verdict", {name: pa.array(rows[name].tolist()) for name in VERDICT_COLUMNS})

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
