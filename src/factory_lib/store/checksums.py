"""Counts, extents and checksums of what a store holds: equal checksums mean equal content, in any order and backend."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue
from factory_lib.store.backend import Backend, Window
from factory_lib.store.rows import FORECAST, Channel, Rows, seconds, times

COLUMNS = ("measurement", "series", "place", "source", "kind", "rows", "first", "last", "checksum")
EVER = (-(1 << 35), 1 << 35)  # about 880 and 3058: every slot there can be
_U64 = np.ndarray[Any, np.dtype[np.uint64]]


def inventory(backend: Backend, catalogue: Catalogue) -> pd.DataFrame:
    """Return one row per measurement, series, place, source and kind (``COLUMNS``), ordered."""
    lines = [_line(channel, part, catalogue) for channel, part in _parts(backend)] + list(
        _verdict_lines(backend.load_verdicts())
    )
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    frame[["first", "last"]] = frame[["first", "last"]].astype("datetime64[s, UTC]")
    return frame.sort_values(list(COLUMNS[:5]), ignore_index=True)


def everything(channel: Channel) -> Window:
    """Return the window of all that a channel's series and place ever held."""
    return Window((channel.series,), *EVER, (channel.place,))


def _parts(backend: Backend) -> Iterator[tuple[Channel, Rows]]:
    """Yield the rows of each series, place, source and kind, one series and place in memory at a time."""
    stored = backend.channels()
    for is_forecast in (False, True):
        chosen = [c for c in stored if (c.kind == FORECAST) == is_forecast]
        for channel in {(c.series, c.place): c for c in chosen}.values():
            load = backend.load_forecasts if is_forecast else backend.load
            rows = load(everything(channel))
            groups: dict[tuple[str, str], list[int]] = {}
            for number, stored_as in enumerate(rows.channels):
                groups.setdefault((stored_as.source, stored_as.kind), []).append(number)
            for numbers in groups.values():
                part = rows.take(np.isin(rows["channel"], numbers))
                if len(part):
                    yield rows.channels[numbers[0]], part


def _line(channel: Channel, rows: Rows, catalogue: Catalogue) -> tuple[Any, ...]:
    measurement = (
        "forecasts" if channel.kind == FORECAST else str(catalogue[channel.series].measurement)
    )
    extent = times(np.array([rows["start"].min(), rows["start"].max()]))
    return (measurement, *channel[:4], len(rows), *extent, checksum(rows))


def _verdict_lines(verdicts: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for (series, place, source), group in verdicts.groupby(["series", "place", "source"]):
        texts = [_hash_texts(group[name]) for name in ("verdict", "rule", "reason", "by")]
        numbers = [seconds(group["start"]), group["rev"].to_numpy(), seconds(group["at"])]
        total = _total([*texts, *numbers])
        extent = (group["start"].min(), group["start"].max())
        yield "verdicts", series, place, source, "verdict", len(group), *extent, total


def checksum(rows: Rows) -> str:
    """Return 16 hexadecimal digits that depend on every column of every row but not on their order."""
    texts = {"run", "tier"} & set(rows.column)
    columns = [rows.dimension("resolution_s")]
    for name in sorted(rows.column):
        if name in texts:
            columns.append(_hash_codes(rows.labels, rows[name]))
        elif name != "channel":
            columns.append(rows[name])
    return _total(columns)


def _total(columns: list[Any]) -> str:
    """Sum one mixed word per row: a sum does not know order, and the mixing tells columns and neighbours apart."""
    word = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        word = _mix(word ^ _bits(column)) + np.uint64(0x9E3779B97F4A7C15)
    return f"{int(word.sum(dtype=np.uint64)):016x}"


def _bits(column: Any) -> _U64:
    array = np.asarray(column)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.nan, array + 0.0)  # one NaN, one zero
    return array.astype(array.dtype.newbyteorder("="), copy=False).view(np.uint64)


def _mix(word: _U64) -> _U64:
    """Finalise as splitmix64 does (Steele, Lea and Flood, 2014): every input bit moves every output bit."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def _hash_codes(labels: tuple[str, ...], codes: Any) -> _U64:
    words = [
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        for text in labels
    ]
    return np.asarray(np.array(words or [0], dtype=np.uint64)[codes])


def _hash_texts(column: pd.Series) -> _U64:
    codes, labels = pd.factorize(column)
    return _hash_codes(tuple(map(str, labels)), codes)
