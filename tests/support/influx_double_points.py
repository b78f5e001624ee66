"""Line protocol in: points of the InfluxDB double, a column of texts per series and field."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_PIECE = r'^[^=,]+=("[^"]*"|[-+]?[0-9.]+(e[-+]?[0-9]+)?i?|t|f|true|false)$'
# A line for the careful reader: key with escapes, fields with quoted texts, optional
# time.
_LINE = re.compile(r'((?:\\.|[^\\ ])+) ((?:"(?:\\.|[^"\\])*"|[^" ])+)(?: (-?\d+))?')
_FIELD = re.compile(r'((?:\\.|[^\\=,])+)=("(?:\\.|[^"\\])*"|[^,"]+)(?:,|$)')
Key = tuple[str, tuple[tuple[str, str], ...]]


class LineError(ValueError):
    """A line that is not line protocol."""


@dataclass
class Column:
    """The points of one field of one series; the last one written at a time counts."""

    times: list[Any] = field(default_factory=list)
    texts: list[Any] = field(default_factory=list)

    def add(self, times: Any, texts: Any) -> None:
        """Append points."""
        self.times.append(times)
        self.texts.append(texts)

    def read(self) -> tuple[Any, Any]:
        """Return times (ns, ascending, distinct) and texts."""
        if len(self.times) > 1 or (np.diff(self.times[0]) <= 0).any():
            times = np.concatenate(self.times)
            order = np.argsort(times, kind="stable")
            last = order[np.r_[np.diff(times[order]) != 0, True]]
            self.times, self.texts = (
                [times[last]],
                [pa.concat_arrays(self.texts).take(pa.array(last))],
            )
        return self.times[0], self.texts[0]


class Bucket:
    """Series by measurement and tags, then field.

    Each field of a measurement has the type of its first value.

    Parameters
    ----------
    rule : mapping, optional
        Retention as the server names it: ``everySeconds`` (0: for ever) and
        ``shardGroupDurationSeconds``.
    """

    def __init__(self, rule: Mapping[str, Any] | None = None) -> None:
        self.rule = {"type": "expire", "everySeconds": 0, **(rule or {})}
        self.series: dict[Key, dict[str, Column]] = {}
        self.types: dict[tuple[str, str], str] = {}

    def write(self, body: bytes, precision: str) -> str | None:
        """Store the points; return what to say about those of another type than the field's first.

        They are dropped.

        Raises
        ------
        LineError
            If a line cannot be parsed; nothing is stored then.
        """
        keys, names, raws, times = _parse(body)
        times = times * (10**9 // _PER_SECOND[precision])
        kept_s = self.rule["everySeconds"]
        if kept_s and (old := times < (time.time() - kept_s) * 10**9).any():
            return (
                f"failure writing points to database: partial write: dropped {old.sum()} points "
                f"outside retention policy of duration {kept_s}s"
            )
        group, found = _grouped(keys, names)
        order = np.argsort(group, kind="stable")
        edges = np.r_[0, np.flatnonzero(np.diff(group[order])) + 1, len(order)]
        parsed = []
        for a, b in pairwise(edges):
            which = order[a:b]
            line_key, name = found[group[which[0]]]
            kind, texts = _typed(raws.take(pa.array(which)))
            parsed.append((_key(line_key), _unescape(name), kind, times[which], texts))
        conflict = None
        for key, name, kind, at, texts in parsed:
            first = self.types.setdefault((key[0], name), kind)
            if first != kind:
                conflict = (
                    f'field type conflict: input field "{name}" on measurement '
                    f'"{key[0]}" is type {kind}, '
                    f"already exists as type {first} dropped={len(at)}"
                )
                continue
            self.series.setdefault(key, {}).setdefault(name, Column()).add(at, texts)
        return conflict


def _parse(body: bytes) -> tuple[Any, Any, Any, Any]:
    """Return series key, field name, raw value (Arrow texts) and time (numpy) of every field."""
    body = body.strip(b"\n")
    quick = _parse_plain(body) if body and b"\\" not in body else None
    return quick or _parse_careful(body.decode())


def _parse_plain(body: bytes) -> tuple[Any, Any, Any, Any] | None:
    """Parse lines without escapes, and without spaces or commas in texts, by columns.

    None if there are any.
    """
    if body.count(b" ") != 2 * (body.count(b"\n") + 1):
        return None
    coded = pa.dictionary(pa.int32(), pa.string())
    types = {"key": coded, "fields": pa.string(), "time": pa.int64()}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(body),
            read_options=pyarrow.csv.ReadOptions(column_names=list(types), block_size=1 << 24),
            parse_options=pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    table = table.unify_dictionaries().combine_chunks()
    pieces = pc.split_pattern(table["fields"].combine_chunks(), ",")
    flat = pieces.flatten()
    if not pc.all(pc.match_substring_regex(flat, _PIECE)).as_py():
        return None
    halves = pc.split_pattern(flat, "=", max_splits=1).flatten()
    each = np.repeat(
        np.arange(len(table)), pc.list_value_length(pieces).to_numpy(zero_copy_only=False)
    )
    keys = table["key"].combine_chunks().take(pa.array(each))
    return keys, halves[::2].dictionary_encode(), halves[1::2], table["time"].to_numpy()[each]


def _parse_careful(text: str) -> tuple[Any, Any, Any, Any]:
    keys, names, raws, times = [], [], [], []
    for line in _lines(text):
        match = _LINE.fullmatch(line)
        fields = _FIELD.findall(match[2]) if match else []
        if (
            not match
            or not match[3]
            or sum(len(n) + len(v) + 2 for n, v in fields) - 1 != len(match[2])
        ):
            raise LineError(f"'{line}': invalid field format")
        for name, raw in fields:
            keys.append(match[1])
            names.append(name)
            raws.append(raw)
            times.append(int(match[3]))
    coded = [pa.array(column, pa.string()).dictionary_encode() for column in (keys, names)]
    return *coded, pa.array(raws, pa.string()), np.array(times, dtype=np.int64)


def _lines(text: str) -> list[str]:
    """Split at line ends that are not inside a quoted text."""
    return [line for line in re.findall(r'(?:"(?:\\.|[^"\\])*"|\\.|[^"\n\\])+', text) if line]


def _grouped(keys: Any, names: Any) -> tuple[Any, dict[int, tuple[str, str]]]:
    key_texts, name_texts = keys.dictionary.to_pylist(), names.dictionary.to_pylist()
    group = (
        keys.indices.to_numpy().astype(np.int64) * max(len(name_texts), 1)
        + names.indices.to_numpy()
    )
    return group, {
        int(g): (key_texts[g // len(name_texts)], name_texts[g % len(name_texts)])
        for g in np.unique(group)
    }


def _typed(raws: Any) -> tuple[str, Any]:
    """Return the type of one field's values and their texts as a query would print them."""
    first = raws[0].as_py()
    if first.startswith('"'):
        texts = pc.utf8_slice_codeunits(raws, 1, -1)
        if pc.any(pc.match_substring(texts, "\\")).as_py():
            texts = pa.array(
                [re.sub(r'\\(["\\])', r"\1", text) for text in texts.to_pylist()], pa.string()
            )
        return "string", texts
    if first in ("t", "f", "true", "false"):
        return "boolean", raws
    if first.endswith("i"):
        return "integer", pc.utf8_rtrim(raws, "i")
    try:
        numbers = raws.cast(pa.float64())
    except pa.ArrowInvalid:
        raise LineError(f"'{first}': invalid number") from None
    if not pc.all(pc.is_finite(numbers)).as_py():
        raise LineError("'inf': invalid number")
    return "float", numbers.cast(pa.string())


def _key(text: str) -> Key:
    measurement, *tags = re.split(r"(?<!\\),", text)
    pairs = [re.split(r"(?<!\\)=", tag, maxsplit=1) for tag in tags]
    if not measurement or any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise LineError(f"'{text}': missing tag value")
    return _unescape(measurement), tuple(sorted((_unescape(n), _unescape(v)) for n, v in pairs))


def _unescape(text: str) -> str:
    return re.sub(r"\\([ ,=])", r"\1", text)
