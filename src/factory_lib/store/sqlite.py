"""The embedded backend: one SQLite file in WAL mode, read and written as Arrow columns.

Everything goes through the ADBC driver and nothing through the standard library's
``sqlite3``: each brings its own copy of SQLite, and two copies in one process that open
the same file drop each other's POSIX locks when either closes it
(sqlite.org/howtocorrupt.html, section 2.2.1). A write needs ``BEGIN IMMEDIATE``: a
transaction that reads first and writes later fails under WAL whatever the time-out.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
from adbc_driver_sqlite import StatementOptions

from factory_lib.errors import StoreUnavailable
from factory_lib.slots import to_index
from factory_lib.store.backend import SCHEMA_VERSION, VERDICT_COLUMNS, Origin, Window, check_stamps
from factory_lib.store.rows import (
    FORECAST,
    FORECAST_VALUE_COLUMNS,
    NAT,
    VALUE_COLUMNS,
    Channel,
    Rows,
    seconds,
)

BUSY_TIMEOUT_MS = 30_000
BATCH_ROWS = 65_536  # larger Arrow batches than the driver's 1,024 read a third faster
FEW_LABELS = 1000
TABLES = ("channel", "label", "value", "forecast", "verdict")

# The key of ``value`` serves the view and the slots alike: a scan of one channel's
# window in order of time.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS channel (id INTEGER PRIMARY KEY, series TEXT, place TEXT, source TEXT, kind TEXT, "
    "resolution_s INTEGER, UNIQUE (series, place, source, kind, resolution_s))",
    "CREATE TABLE IF NOT EXISTS label (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS value (channel INTEGER, start INTEGER, rev INTEGER, value REAL NOT NULL, "
    "available_at INTEGER NOT NULL, retrieved_at INTEGER NOT NULL, provider_updated_at INTEGER, run INTEGER NOT NULL, "
    "PRIMARY KEY (channel, start, rev)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS forecast (channel INTEGER, start INTEGER, issued_at INTEGER, p10 REAL, "
    "p50 REAL NOT NULL, p90 REAL, tier INTEGER NOT NULL, run INTEGER NOT NULL, "
    "PRIMARY KEY (channel, start, issued_at)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS verdict (id INTEGER PRIMARY KEY, series TEXT NOT NULL, place TEXT NOT NULL, "
    "source TEXT NOT NULL, start INTEGER NOT NULL, rev INTEGER NOT NULL, verdict TEXT NOT NULL, rule TEXT NOT NULL, "
    'reason TEXT NOT NULL, at INTEGER NOT NULL, "by" TEXT NOT NULL)',
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
        self._in_memory = lazy and not file.exists()
        self._open()

    def _open(self) -> None:
        with self._reported():
            if not self._in_memory:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            file = ":memory:" if self._in_memory else str(self.file)
            self._connection = adbc.connect(file, autocommit=True)
        try:
            with self._reported():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        self.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if self.query("SELECT name FROM sqlite_master WHERE name = 'meta'").num_rows == 0:
            self.execute("PRAGMA journal_mode = WAL")
            with self.transaction():
                for statement in _SCHEMA:
                    self.execute(statement)
                stamps = (("schema", str(SCHEMA_VERSION)), ("world", self.origin))
                for stamp in stamps:
                    self.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", stamp)
        self.execute("PRAGMA synchronous = NORMAL")
        check_stamps(self.file, dict(self._pairs("SELECT key, value FROM meta")), self.origin)

    # -- statements -----------------------------------------------------------------------------------------------

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (adbc.Error, OSError, pa.ArrowException) as error:
            raise StoreUnavailable(f"The store {self.file} cannot be used: {error}.") from error

    def execute(self, sql: str, values: Sequence[Any] | None = None) -> None:
        """Run one statement."""
        with self._reported(), self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            if cursor.description:
                cursor.fetchall()

    def query(self, sql: str, values: Sequence[Any] | None = None) -> pa.Table:
        """Return a SELECT as a table, the cursor closed: an open reader would keep the WAL from being folded in."""
        options = {StatementOptions.BATCH_ROWS.value: BATCH_ROWS}
        with self._reported(), self._connection.cursor(adbc_stmt_kwargs=options) as cursor:
            cursor.execute(sql, values)
            return cursor.fetch_arrow_table()

    def _pairs(self, sql: str) -> list[tuple[Any, Any]]:
        return list(zip(*(column.to_pylist() for column in self.query(sql).columns), strict=True))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the only write transaction; an exception rolls it back."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self.execute("ROLLBACK")
            raise

    @contextmanager
    def writing(self, measurement: str) -> Iterator[None]:
        """Admit one writer at a time, whatever the measurement."""
        if self._in_memory:
            self._in_memory = False
            self._connection.close()
            self._open()
        with self.transaction():
            yield

    # -- dimensions -----------------------------------------------------------------------------------------------

    def _stored_channels(self, window: Window | None = None) -> dict[Channel, int]:
        table = self.query(
            "SELECT id, series, place, source, kind, resolution_s FROM channel ORDER BY id"
        ).to_pydict()
        ids = table.pop("id")
        found = {Channel(*parts): key for key, *parts in zip(ids, *table.values(), strict=True)}
        if window is None:
            return found
        places = window.places
        return {
            c: i
            for c, i in found.items()
            if c.series in window.series and (places is None or c.place in places)
        }

    def channels(self) -> list[Channel]:
        """Return what is stored."""
        return list(self._stored_channels())

    def _ids(self, rows: Rows) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the database's numbers of the rows' channels and labels, after adding those it lacks."""
        marks = ", ".join("?" * len(Channel._fields))
        stored = self._stored_channels()
        for channel in set(rows.channels) - set(stored):
            self.execute(
                f"INSERT INTO channel ({', '.join(Channel._fields)}) VALUES ({marks})", channel
            )
        stored = self._stored_channels()
        used = np.unique(
            np.concatenate([rows[name] for name in ("run", "tier") if name in rows.column])
        )
        labels = np.zeros(len(rows.labels), dtype=np.int64)
        for number in used.tolist():
            text = (rows.labels[number],)
            self.execute("INSERT OR IGNORE INTO label (text) VALUES (?)", text)
            labels[number] = self.query("SELECT id FROM label WHERE text = ?", text)[0][0].as_py()
        return np.array([stored[c] for c in rows.channels]), labels

    def _labels(self, ids: np.ndarray[Any, Any]) -> dict[int, str]:
        """Return the texts of those ids, ascending; all of them when there are many."""
        some = f"WHERE id IN ({', '.join(map(str, ids))})" if len(ids) <= FEW_LABELS else ""
        return dict(self._pairs(f"SELECT id, text FROM label {some} ORDER BY id"))

    # -- rows -----------------------------------------------------------------------------------------------------

    def load(
        self, window: Window, *, columns: Sequence[str] | None = None, first_only: bool = False
    ) -> Rows:
        """Return rows by channel, start and rev."""
        chosen = {c: i for c, i in self._stored_channels(window).items() if c.kind != FORECAST}
        limits = "AND rev = 1" if first_only else ""
        if window.as_of is not None:
            limits += f" AND available_at <= {window.as_of}"
        return self._rows(
            "value",
            columns or VALUE_COLUMNS,
            chosen,
            window,
            limits + " ORDER BY channel, start, rev",
        )

    def load_forecasts(self, window: Window) -> Rows:
        """Return forecast rows by channel, target and issue."""
        chosen = {c: i for c, i in self._stored_channels(window).items() if c.kind == FORECAST}
        limits = "" if window.as_of is None else f" AND issued_at <= {window.as_of}"
        limits += " ORDER BY channel, start, issued_at"
        return self._rows("forecast", FORECAST_VALUE_COLUMNS, chosen, window, limits)

    def _rows(
        self,
        table: str,
        columns: Sequence[str],
        chosen: dict[Channel, int],
        window: Window,
        limits: str,
    ) -> Rows:
        ids = ", ".join(map(str, chosen.values()))
        asked = [name for name in columns if name != "channel" or len(chosen) > 1]
        found = self.query(
            f"SELECT {', '.join(_UNKNOWN.get(name, name) for name in asked)} FROM {table} "
            f"WHERE channel IN ({ids}) AND start >= {window.start} AND start < {window.end} {limits}"
        )
        arrays = {name: found.column(i).to_numpy() for i, name in enumerate(asked)}
        if table == "forecast":
            arrays |= {
                name: np.where(np.isinf(arrays[name]), np.nan, arrays[name])
                for name in ("p10", "p50", "p90")
            }
        labels: tuple[str, ...] = ()
        if "run" in arrays:
            coded = [name for name in ("run", "tier") if name in arrays]
            texts = self._labels(np.unique(np.concatenate([arrays[name] for name in coded])))
            labels = tuple(texts.values())
            arrays |= {name: _codes(list(texts), arrays[name]) for name in coded}
        several = "channel" in arrays
        number = (
            _codes(list(chosen.values()), arrays["channel"])
            if several
            else np.zeros(len(found), dtype=np.int64)
        )
        arrays["channel"] = number
        return Rows(tuple(chosen), labels, arrays)

    def append(self, rows: Rows) -> None:
        """Add rows that the store does not hold."""
        self._ingest("value", VALUE_COLUMNS, rows)

    def append_forecasts(self, rows: Rows) -> None:
        """Add forecast rows; one of the same identity is replaced."""
        self.execute("CREATE TEMP TABLE IF NOT EXISTS arriving AS SELECT * FROM forecast WHERE 0")
        self.execute("DELETE FROM arriving")
        self._ingest("arriving", FORECAST_VALUE_COLUMNS, rows, temporary=True)
        self.execute("INSERT OR REPLACE INTO forecast SELECT * FROM arriving")

    def _ingest(
        self, table: str, columns: Iterable[str], rows: Rows, *, temporary: bool = False
    ) -> None:
        channels, labels = self._ids(rows)
        meaning = {"channel": channels, "run": labels, "tier": labels}
        arrays = {
            name: meaning[name][rows[name]] if name in meaning else rows[name] for name in columns
        }
        arrow = {name: pa.array(array, mask=_unknown(array)) for name, array in arrays.items()}
        with self._reported(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, pa.table(arrow), mode="append", temporary=temporary)

    # -- verdicts -------------------------------------------------------------------------------------------------

    def load_verdicts(self) -> pd.DataFrame:
        """Return every verdict, oldest first."""
        columns = ", ".join(f'"{name}"' for name in VERDICT_COLUMNS)
        table = self.query(f"SELECT {columns} FROM verdict ORDER BY id")
        frame = pd.DataFrame({name: table.column(name).to_pylist() for name in VERDICT_COLUMNS})
        return frame.assign(
            **{name: to_index(frame[name].to_numpy(dtype=np.int64)) for name in ("start", "at")}
        )

    def append_verdicts(self, rows: pd.DataFrame) -> None:
        """Add verdicts."""
        rows = rows.assign(start=seconds(rows["start"]), at=seconds(rows["at"]))
        with self._reported(), self._connection.cursor() as cursor:
            table = pa.table({name: pa.array(rows[name].tolist()) for name in VERDICT_COLUMNS})
            cursor.adbc_ingest("verdict", table, mode="append")

    # -- upkeep ---------------------------------------------------------------------------------------------------

    def maintain(self) -> None:
        """Fold the WAL into the file and let SQLite refresh its statistics."""
        self.execute("PRAGMA optimize")
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def check(self) -> None:
        """Read the whole file and verify its structure.

        Raises
        ------
        StoreUnavailable
            If it is damaged.
        """
        said = self.query("PRAGMA integrity_check").column(0).to_pylist()
        if said != ["ok"]:
            raise StoreUnavailable(
                f"The store {self.file} is damaged: {said[0]}.", next_step="Restore a backup."
            )

    def snapshot(self, file: Path) -> None:
        """Write a consistent, compact copy of the whole store while others go on writing."""
        self.execute("VACUUM INTO ?", (str(file),))

    def replace_by(self, file: Path) -> None:
        """Take over everything another store's file holds, in one transaction."""
        self.execute("ATTACH ? AS other", (str(file),))
        try:
            with self.transaction():
                for table in TABLES:
                    self.execute(f"DELETE FROM main.{table}")
                    self.execute(f"INSERT INTO main.{table} SELECT * FROM other.{table}")
        finally:
            self.execute("DETACH other")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _codes(ids: list[int], column: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the position of each database number in the ascending ``ids``."""
    return np.searchsorted(ids, column)


def _unknown(array: np.ndarray[Any, Any]) -> Any:
    return np.isnan(array) if array.dtype.kind == "f" else array == NAT
