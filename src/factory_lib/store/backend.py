"""The rows of the store as plain arrays, and the demands on a database that holds them.

The contract above it is in ``base``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from factory_lib.errors import OriginMismatch, SchemaMismatch
from factory_lib.frames import QUANTILES
from factory_lib.slots import Slots

SCHEMA_VERSION = 1
NAT = np.iinfo(np.int64).min  # how numpy writes "no time"
FORECAST = "forecast"  # the kind of a forecast's channel; its model is the channel's source
MAX_LEAD_S = 31 * 86400
VALUE_COLUMNS = (
    "channel",
    "start",
    "rev",
    "value",
    "available_at",
    "retrieved_at",
    "provider_updated_at",
    "run",
)
FORECAST_VALUE_COLUMNS = ("channel", "start", "issued_at", *QUANTILES, "tier", "run")
JUDGED = ("series", "place", "source", "start", "rev")  # what a verdict is about
VERDICT_COLUMNS = (*JUDGED, "verdict", "rule", "reason", "at", "by")
Origin = Literal["real", "simulated"]


class Channel(NamedTuple):
    """Everything of a row's identity but its time and rev."""

    series: str
    place: str
    source: str
    kind: str
    resolution_s: int


@dataclass(frozen=True)
class Rows:
    """Parallel arrays.

    Attributes
    ----------
    channels : tuple of Channel
        The meaning of the codes in column ``channel``.
    column : mapping of str to array
        ``VALUE_COLUMNS`` or ``FORECAST_VALUE_COLUMNS`` or some of them; times are int64
        seconds, ``NAT`` where unknown; ``run`` and ``tier`` are text.
    """

    channels: tuple[Channel, ...]
    column: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.column["start"])

    def __getitem__(self, name: str) -> Any:
        return self.column[name]

    def take(self, rows: Any) -> Rows:
        """Return the rows of a mask or positions; a mask that keeps all costs nothing."""
        if isinstance(rows, np.ndarray) and rows.dtype.kind == "b" and rows.all():
            return self
        column = {name: array[rows] for name, array in self.column.items()}
        return Rows(self.channels, column)

    def having(self, **column: Any) -> Rows:
        """Return the rows with columns added or replaced."""
        return Rows(self.channels, {**self.column, **column})

    def codes(self, channels: Sequence[Channel]) -> Slots:
        """Return the position of each row's channel in ``channels``, -1 where it is none."""
        codes = [channels.index(c) if c in channels else -1 for c in self.channels]
        return np.asarray(np.array(codes or [0], dtype=np.int64)[self["channel"]])

    def keys(self, channels: Sequence[Channel] | None = None) -> Slots:
        """Return an integer per row that orders by channel and start; -1 without a channel."""
        code = self["channel"] if channels is None else self.codes(channels)
        # 2**40 s reach 17,000 years to either side of 1970.
        return np.where(code < 0, np.int64(-1), (code << 41) + self["start"] + (1 << 40))

    def dimension(self, name: str) -> Any:
        """Return one part of the channel for every row."""
        parts = [getattr(channel, name) for channel in self.channels]
        if name == "resolution_s":
            return np.array(parts or [0], dtype=np.int64)[self["channel"]]
        return as_texts(parts, self["channel"])


def as_texts(texts: Sequence[str], codes: Slots) -> pd.api.extensions.ExtensionArray:
    """Return the text of each code."""
    return pd.array(list(texts), dtype="str").take(codes)


def encode(frame: pd.DataFrame, names: Sequence[str]) -> tuple[list[tuple[Any, ...]], Slots]:
    """Return the distinct rows of some columns, and the number of each row's among them."""
    code = np.zeros(len(frame), dtype=np.int64)
    columns = []
    for name in names:
        part, values = pd.factorize(frame[name].array, use_na_sentinel=False)
        columns.append((part, values))
        if len(values) > 1:
            code = pd.factorize(code * len(values) + part)[0]
    first = np.unique(code, return_index=True)[1]
    distinct = (values[part[first]].tolist() for part, values in columns)
    return list(zip(*distinct, strict=True)), code


@dataclass(frozen=True)
class Window:
    """The rows to load: half-open in slot starts, seconds since 1970.

    No ``as_of`` is no limit.
    """

    series: tuple[str, ...]
    start: int
    end: int
    places: tuple[str, ...]
    as_of: int | None = None


class Backend(ABC):
    """One database; every method raises ``StoreUnavailable`` when it cannot be reached."""

    origin: Origin

    @abstractmethod
    def writing(self, measurement: str) -> AbstractContextManager[None]:
        """Admit one writer per measurement.

        The rows that it appended count when the block ends without an error.
        """

    @abstractmethod
    def load(self, window: Window, columns: Sequence[str] = VALUE_COLUMNS) -> Rows:
        """Return at least ``columns`` of the rows, by channel, start and rev."""

    @abstractmethod
    def append(self, rows: Rows) -> None:
        """Add rows that the store does not hold."""

    @abstractmethod
    def load_forecasts(self, window: Window) -> Rows:
        """Return forecasts of targets in the window, issued at or before ``as_of``."""

    @abstractmethod
    def append_forecasts(self, rows: Rows) -> None:
        """Add forecast rows; one of the same identity is replaced."""

    @abstractmethod
    def load_verdicts(self) -> pd.DataFrame:
        """Return every verdict (``VERDICT_COLUMNS``), oldest first."""

    @abstractmethod
    def append_verdicts(self, rows: pd.DataFrame) -> None:
        """Add verdicts."""

    @abstractmethod
    def channels(self) -> list[Channel]:
        """Return all channels; forecasts have the kind ``forecast`` and the model as source."""

    def thin_forecasts(self, models: Sequence[str], before_s: int, noon_s: int) -> int:
        """Delete issues of models from before an instant but the last of each day, and count them.

        ``noon_s`` is the second of the UTC day up to which an issue counts for it. Here all
        are kept.
        """
        return 0

    def maintain(self) -> None:  # noqa: B027  a server does so itself
        """Compact whatever the backend lets grow."""

    @abstractmethod
    def close(self) -> None:
        """Release files and connections."""


def check_stamps(where: object, stamps: dict[str, str], origin: str, layout: str = "") -> None:
    """Compare a store's own stamps with those that are expected.

    ``layout`` is what the backend adds to the number of the schema.

    Raises
    ------
    SchemaMismatch, OriginMismatch
        If they differ.
    """
    schema = f"{SCHEMA_VERSION}{layout}"
    if stamps.get("schema") != schema:
        raise SchemaMismatch(
            f"{where} has schema {stamps.get('schema')}, this version writes {schema}.",
            next_step="Use the version that wrote it, or move the store away.",
        )
    if stamps.get("world") != origin:
        raise OriginMismatch(f"{where} holds {stamps.get('world')} data, this profile is {origin}.")
