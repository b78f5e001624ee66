"""The tables of every SQL database and how they are asked: one schema, one set of statements.

What differs from database to database is below ``SqlBackend``: how a connection is kept,
what a transaction is, and how many rows go in and out at once.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from factory_lib.slots import from_index, to_index
from factory_lib.store.backend import (
    FORECAST,
    FORECAST_VALUE_COLUMNS,
    NAT,
    SCHEMA_VERSION,
    VALUE_COLUMNS,
    VERDICT_COLUMNS,
    Backend,
    Channel,
    Rows,
    Window,
    as_texts,
    check_stamps,
)

FEW_LABELS = 1000
TABLES = ("channel", "label", "value", "forecast", "verdict")
_NO_LIMIT = 1 << 62  # later than any second

# The key of ``value`` serves the view and the slots alike: a scan of one channel's
# window in order of time. The words in braces are each database's own.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) {end}",
    """CREATE TABLE IF NOT EXISTS channel (id {serial}, series TEXT, place TEXT,
    source TEXT, kind TEXT, resolution_s {integer},
    UNIQUE (series, place, source, kind, resolution_s))""",
    "CREATE TABLE IF NOT EXISTS label (id {serial}, text TEXT NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS value (channel {integer}, start {integer}, rev {integer},
    value {real} NOT NULL, available_at {integer} NOT NULL, retrieved_at {integer} NOT NULL,
    provider_updated_at {integer}, run {integer} NOT NULL,
    PRIMARY KEY (channel, start, rev)) {end}""",
    """CREATE TABLE IF NOT EXISTS forecast (channel {integer}, start {integer},
    issued_at {integer}, p10 {real}, p50 {real} NOT NULL, p90 {real}, tier {integer} NOT NULL,
    run {integer} NOT NULL, PRIMARY KEY (channel, start, issued_at)) {end}""",
    """CREATE TABLE IF NOT EXISTS verdict (id {serial}, series TEXT NOT NULL,
    place TEXT NOT NULL, source TEXT NOT NULL, start {integer} NOT NULL, rev {integer} NOT NULL,
    verdict TEXT NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL, at {integer} NOT NULL,
    "by" TEXT NOT NULL)""",
)
_VERDICT = ", ".join(f'"{name}"' for name in VERDICT_COLUMNS)
Columns = Mapping[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


class SqlBackend(Backend):
    """Rows in the tables of one SQL database.

    Attributes
    ----------
    words : mapping of str to str
        What the schema's ``integer``, ``real``, ``serial`` and ``end`` of a table are.
    infinite : str
        The literal of a number beyond all others.
    """

    words: ClassVar[Mapping[str, str]]
    infinite: ClassVar[str]

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, each value for a ``?``, and return its few rows."""

    @abstractmethod
    def arrays(self, sql: str, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the columns of a query, of numbers without NULL and as many rows as there are."""

    @abstractmethod
    def ingest(self, table: str, columns: Columns) -> None:
        """Add rows: values by column, and a mask of those that are NULL."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Hold the only write transaction; an exception rolls it back."""

    @contextmanager
    def writing(self, measurement: str) -> Iterator[None]:
        """Admit one writer at a time, whatever the measurement."""
        self.make_lasting()
        with self.transaction():
            yield

    @abstractmethod
    def make_lasting(self) -> bool:
        """Make the tables of a lazily opened store where it is missing; return whether it was."""

    def create(self) -> None:
        """Make and stamp the tables that are missing."""
        for statement in _SCHEMA:
            self.execute(statement.format(**self.words))
        stamps = ("schema", str(SCHEMA_VERSION), "world", self.origin)
        self.execute("INSERT INTO meta VALUES (?, ?), (?, ?) ON CONFLICT DO NOTHING", stamps)

    def check_stamps(self, where: object) -> None:
        """Compare the stamps of the tables with those that are expected."""
        check_stamps(where, dict(self.execute("SELECT key, value FROM meta")), self.origin)

    # -- dimensions ---------------------------------------------------------------------------

    def _stored_channels(self) -> dict[Channel, int]:
        rows = self.execute(f"SELECT {', '.join(Channel._fields)}, id FROM channel ORDER BY id")
        return {Channel(*parts): number for *parts, number in rows}

    def channels(self) -> list[Channel]:
        """Return all channels."""
        return list(self._stored_channels())

    def _channel_numbers(self, rows: Rows) -> np.ndarray[Any, Any]:
        """Return the number of each row's channel, after adding missing ones."""
        for channel in rows.channels:
            self.execute(
                f"INSERT INTO channel ({', '.join(Channel._fields)})"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
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
            self.execute("INSERT INTO label (text) VALUES (?) ON CONFLICT DO NOTHING", (label,))
            numbers += self.execute("SELECT id FROM label WHERE text = ?", (label,))
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
        arrays = self.arrays(
            f"SELECT {', '.join(map(self._without_null, columns))} FROM {table} "
            f"WHERE channel IN ({', '.join(map(str, numbers)) or 'NULL'}) "
            f"AND start >= {window.start} AND start < {window.end} "
            f"AND {known_at} <= {_NO_LIMIT if window.as_of is None else window.as_of} "
            f"ORDER BY channel, start, {last}",
            columns,
        )
        arrays["channel"] = np.searchsorted(numbers, arrays["channel"])
        for name in {"p10", "p90"} & arrays.keys():
            arrays[name] = np.where(np.isinf(arrays[name]), np.nan, arrays[name])
        for name in {"run", "tier"} & arrays.keys():
            arrays[name] = self._labels(arrays[name])
        return Rows(tuple(channels), arrays)

    def _without_null(self, name: str) -> str:
        """Return a column without NULL, which would cost arrays their type or their stride."""
        if name == "provider_updated_at":
            return f"coalesce({name}, {NAT + 1} - 1) AS {name}"
        return f"coalesce({name}, {self.infinite}) AS {name}" if name in ("p10", "p90") else name

    def _labels(self, numbers: np.ndarray[Any, Any]) -> Any:
        """Return the text of each number."""
        few = np.unique(numbers)
        where = f"WHERE id IN ({', '.join(map(str, few))})" if 0 < len(few) <= FEW_LABELS else ""
        labels = dict(self.execute(f"SELECT id, text FROM label {where} ORDER BY id"))
        return as_texts(list(labels.values()), np.searchsorted(list(labels), numbers))

    def append(self, rows: Rows) -> None:
        """Add rows that the store does not hold."""
        self._ingest_rows("value", rows, VALUE_COLUMNS)

    def append_forecasts(self, rows: Rows) -> None:
        """Add forecast rows; one of the same identity is replaced."""
        self.execute(
            "CREATE TEMP TABLE IF NOT EXISTS arriving AS SELECT * FROM forecast WHERE 1 = 0"
        )
        self.execute("DELETE FROM arriving")
        self._ingest_rows("arriving", rows, FORECAST_VALUE_COLUMNS)
        replaced = ", ".join(f"{name} = excluded.{name}" for name in FORECAST_VALUE_COLUMNS[3:])
        self.execute(
            "INSERT INTO forecast SELECT * FROM arriving WHERE 1 = 1"
            f" ON CONFLICT (channel, start, issued_at) DO UPDATE SET {replaced}"
        )

    def _ingest_rows(self, table: str, rows: Rows, columns: Sequence[str]) -> None:
        """Add rows with the database's numbers, and NULL for what is not known."""
        rows = rows.having(channel=self._channel_numbers(rows))
        for name in {"run", "tier"} & rows.column.keys():
            rows = rows.having(**{name: self._label_numbers(rows[name])})
        masked = {}
        for name in columns:
            unknown = np.isnan(rows[name]) if rows[name].dtype.kind == "f" else rows[name] == NAT
            masked[name] = (rows[name], unknown)
        self.ingest(table, masked)

    def thin_forecasts(self, models: Sequence[str], before_s: int, noon_s: int) -> int:
        """Delete issues from before an instant; keep the last of each day that ends at noon."""
        names = ", ".join("?" * len(models))
        where = (
            f"issued_at < ? AND channel IN (SELECT id FROM channel WHERE source IN ({names}))"
            " AND EXISTS (SELECT 1 FROM forecast AS later WHERE later.channel = forecast.channel"
            " AND later.start = forecast.start AND later.issued_at > forecast.issued_at"
            " AND (later.issued_at - ?) / 86400 = (forecast.issued_at - ?) / 86400)"
        )
        values = (before_s, *models, noon_s + 1, noon_s + 1)
        ((count,),) = self.execute(f"SELECT count(*) FROM forecast WHERE {where}", values)
        with self.transaction():
            self.execute(f"DELETE FROM forecast WHERE {where}", values)
        return int(count)

    # -- verdicts -----------------------------------------------------------------------------

    def load_verdicts(self) -> pd.DataFrame:
        """Return every verdict, oldest first."""
        rows = self.execute(f"SELECT {_VERDICT} FROM verdict ORDER BY id")
        frame = pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))
        times = {name: to_index(frame[name].to_numpy(np.int64)) for name in ("start", "at")}
        return frame.assign(**times)

    def append_verdicts(self, rows: pd.DataFrame) -> None:
        """Add verdicts."""
        rows = rows.assign(start=from_index(rows["start"]), at=from_index(rows["at"]))
        places = ", ".join("?" * len(VERDICT_COLUMNS))
        for row in rows[list(VERDICT_COLUMNS)].astype(object).itertuples(index=False, name=None):
            self.execute(f"INSERT INTO verdict ({_VERDICT}) VALUES ({places})", row)
