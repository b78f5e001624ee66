"""Rows as plain arrays with coded dimensions: what the keeper computes on and backends load and append."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from factory_lib.slots import Slots, from_index, to_index

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
FORECAST_VALUE_COLUMNS = ("channel", "start", "issued_at", "p10", "p50", "p90", "tier", "run")


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
        What the codes in column ``channel`` mean.
    labels : tuple of str
        What the codes in columns ``run`` and ``tier`` mean.
    column : mapping of str to array
        ``VALUE_COLUMNS`` or ``FORECAST_VALUE_COLUMNS`` or some of them; times are int64
        seconds, ``NAT`` where unknown.
    """

    channels: tuple[Channel, ...]
    labels: tuple[str, ...]
    column: Mapping[str, np.ndarray[Any, Any]]

    def __len__(self) -> int:
        return len(self.column["start"])

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self.column[name]

    def take(self, which: Any) -> Rows:
        """Return the rows of a mask or positions; a mask that keeps all costs nothing."""
        if isinstance(which, np.ndarray) and which.dtype.kind == "b" and which.all():
            return self
        return Rows(
            self.channels, self.labels, {name: array[which] for name, array in self.column.items()}
        )

    def having(self, **column: np.ndarray[Any, Any]) -> Rows:
        """Return the rows with columns added or replaced."""
        return Rows(self.channels, self.labels, {**self.column, **column})

    def keys(self, channels: Sequence[Channel] | None = None) -> Slots:
        """Return one integer per row that orders by channel and start; -1 where ``channels`` has no such channel."""
        code = self["channel"]
        if channels is not None:
            position = {channel: i for i, channel in enumerate(channels)}
            code = np.array([position.get(c, -1) for c in self.channels] or [0], dtype=np.int64)[
                code
            ]
        # 2**40 s reach 17,000 years to either side of 1970.
        return np.where(code < 0, np.int64(-1), (code << 41) + self["start"] + (1 << 40))

    def texts(self, name: str) -> pd.api.extensions.ExtensionArray:
        """Return a coded column (``run``, ``tier``) as text."""
        return _decode(self.labels, self[name])

    def dimension(self, name: str) -> Any:
        """Return one part of the channel for every row."""
        parts = [getattr(channel, name) for channel in self.channels]
        if name == "resolution_s":
            return np.array(parts or [0], dtype=np.int64)[self["channel"]]
        return _decode(parts, self["channel"])


def _decode(texts: Sequence[str], codes: Slots) -> pd.api.extensions.ExtensionArray:
    return pd.array(list(texts), dtype="str").take(codes)


def times(seconds: Slots) -> pd.DatetimeIndex:
    """Return int64 seconds as UTC times; ``NAT`` becomes NaT."""
    return to_index(seconds)


def seconds(column: pd.Series) -> Slots:
    """Return a column of aware times as int64 seconds; NaT becomes ``NAT``."""
    return from_index(column)


def encode(frame: pd.DataFrame, names: Sequence[str]) -> tuple[tuple[tuple[Any, ...], ...], Slots]:
    """Return the distinct rows of columns ``names`` and, for every row, the number of its combination."""
    code = np.zeros(len(frame), dtype=np.int64)
    distinct = []
    for name in names:
        codes, values = pd.factorize(frame[name])
        distinct.append(values)
        code = code * max(len(values), 1) + codes
    used, code = np.unique(code, return_inverse=True)
    parts = []
    for values in reversed(distinct):
        used, digit = np.divmod(used, max(len(values), 1))
        parts.append(values.take(digit).tolist())
    return tuple(zip(*reversed(parts), strict=True)), code.astype(np.int64)


def join(parts: Iterable[Rows], columns: Sequence[str]) -> Rows:
    """Return the rows of several loads as one, codes made common."""
    parts = list(parts)
    channels: dict[Channel, int] = {}
    labels: dict[str, int] = {}
    arrays: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in columns}
    for part in parts:
        codes = {
            "channel": [channels.setdefault(c, len(channels)) for c in part.channels],
            "label": [labels.setdefault(text, len(labels)) for text in part.labels],
        }
        for name in columns:
            meaning = codes.get(
                {"channel": "channel", "run": "label", "tier": "label"}.get(name, "")
            )
            array = part[name]
            arrays[name].append(
                array if meaning is None else np.array(meaning or [0], dtype=np.int64)[array]
            )
    return Rows(
        tuple(channels),
        tuple(labels),
        {
            name: np.concatenate(arrays[name]) if arrays[name] else np.empty(0, np.int64)
            for name in columns
        },
    )
