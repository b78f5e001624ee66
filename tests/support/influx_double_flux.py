"""Flux in, annotated CSV out: the stages of the query language that the InfluxDB double knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.support.influx_double_points import Bucket

_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|/(?:\\.|[^/\\])+/|=~|==|!=|and\b|or\b|[()\[\]]|[\w.]+)')
_TYPES = {
    "float": "double",
    "string": "string",
    "integer": "long",
    "boolean": "boolean",
    "time": "dateTime:RFC3339",
}


class FluxError(ValueError):
    """A query that the double does not understand."""


@dataclass
class Table:
    """One table of an answer.

    The columns of its group key and the others, each of one type and as texts.
    """

    key: dict[str, str]
    types: dict[str, str]
    columns: dict[str, Any]

    @property
    def header(self) -> tuple[tuple[str, str, bool], ...]:
        """Name, type and membership in the group key of each column.

        Where it changes, a new header is printed.
        """
        names = [*self.key, *self.columns]
        return tuple(
            (name, self.types[name], name in self.key) for name in sorted(names, key=_column_order)
        )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 1


def _column_order(name: str) -> tuple[int, str]:
    first = ("_start", "_stop", "_time", "_value", "_field", "_measurement")
    return (first.index(name), "") if name in first else (len(first), name)


def run(flux: str, bucket_of: Callable[[str], Bucket], dialect: Mapping[str, Any]) -> bytes:
    """Return the answer to one query.

    Raises
    ------
    FluxError
        If it has a stage, an argument or a condition that is not known here.
    """
    stages = [_stage(text) for text in re.split(r"\|>", flux)]
    if [name for name, _ in stages[:2]] != ["from", "range"]:
        raise FluxError("a query begins with from() |> range()")
    tables = _scan(
        bucket_of(_texts(stages[0][1])[0]),
        stages[1][1],
        [a for name, a in stages[2:] if name == "filter"],
    )
    for name, arguments in stages[2:]:
        if name != "filter":
            tables = _STAGES[name](tables, arguments)
    return _csv(tables, dialect)


def _stage(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    if not match or match[1] not in ("from", "range", "filter", *_STAGES):
        raise FluxError(f"undefined identifier in {text.strip()!r}")
    return match[1], match[2]


def _texts(text: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", quoted) for quoted in re.findall(r'"((?:\\.|[^"\\])*)"', text)]


# -- reading the bucket ----------------------------------------------------------------


def _scan(bucket: Bucket, limits: str, conditions: list[str]) -> list[Table]:
    start, stop = (_instant(limits, name) for name in ("start", "stop"))
    if start >= stop:
        raise FluxError("cannot query an empty range")
    tests = [_condition(text) for text in conditions]
    tables = []
    for (measurement, tags), fields in sorted(bucket.series.items()):
        for name, column in sorted(fields.items()):
            record = {"_measurement": measurement, "_field": name, **dict(tags)}
            if not all(test(record) for test in tests):
                continue
            times, texts = column.read()
            a, b = np.searchsorted(times, [start, stop])
            if a < b:
                key = {"_start": _rfc3339(start), "_stop": _rfc3339(stop), **record}
                types = {
                    **dict.fromkeys(key, "string"),
                    "_start": "time",
                    "_stop": "time",
                    "_time": "time",
                }
                types["_value"] = bucket.types[measurement, name]
                tables.append(
                    Table(key, types, {"_time": times[a:b], "_value": texts.slice(a, b - a)})
                )
    return tables


def _instant(arguments: str, name: str) -> int:
    match = re.search(rf"\b{name}:\s*([-\w:.]+)", arguments)
    if not match:
        raise FluxError(f"range needs {name}")
    try:
        return int(datetime.fromisoformat(match[1]).timestamp()) * 10**9
    except ValueError:
        raise FluxError(f"{match[1]} is not an instant the double knows") from None


def _rfc3339(nanoseconds: int) -> str:
    return str(np.datetime64(nanoseconds // 10**9, "s")) + "Z"


def _condition(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Compile ``(r) => r.a == "x" or (r["b"] != "y" and ...)`` by recursive descent."""
    match = re.fullmatch(r"\s*fn:\s*\(r\)\s*=>\s*(.*)", text, re.DOTALL)
    tokens = _TOKEN.findall(match[1]) if match else []
    if not match or re.sub(r"\s", "", "".join(tokens)) != re.sub(r"\s", "", match[1]):
        raise FluxError(f"cannot parse filter {text.strip()!r}")
    test = _either(tokens)
    if tokens:
        raise FluxError(f"unexpected {tokens[0]}")
    return test


def _either(tokens: list[str]) -> Callable[[Mapping[str, str]], bool]:
    tests = [_both(tokens)]
    while tokens and tokens[0] == "or":
        tokens.pop(0)
        tests.append(_both(tokens))
    return lambda record: any(test(record) for test in tests)


def _both(tokens: list[str]) -> Callable[[Mapping[str, str]], bool]:
    tests = [_comparison(tokens)]
    while tokens and tokens[0] == "and":
        tokens.pop(0)
        tests.append(_comparison(tokens))
    return lambda record: all(test(record) for test in tests)


def _comparison(tokens: list[str]) -> Callable[[Mapping[str, str]], bool]:
    try:
        if tokens[0] == "(":
            tokens.pop(0)
            inner = _either(tokens)
            if tokens.pop(0) != ")":
                raise FluxError("expected )")
            return inner
        name = tokens.pop(0)
        if name == "false":
            return lambda record: False
        if name == "r":
            _, quoted, _ = tokens.pop(0), tokens.pop(0), tokens.pop(0)
            column = _texts(quoted)[0]
        else:
            column = name.removeprefix("r.")
        operator, literal = tokens.pop(0), tokens.pop(0)
        if operator == "=~":
            pattern = re.compile(literal[1:-1])
            return lambda record: bool(pattern.search(record.get(column, "")))
        value = _texts(literal)[0]
    except IndexError:
        raise FluxError("unexpected end of filter") from None
    if operator == "==":
        return lambda record: record.get(column) == value
    if operator == "!=":  # of a tag that is not there, storage knows ""
        return lambda record: record.get(column, "") != value
    raise FluxError(f"unknown operator {operator}")


# -- stages ----------------------------------------------------------------------------


def _keep(tables: list[Table], arguments: str) -> list[Table]:
    names = set(_texts(arguments))
    return _merged([_only(table, lambda name: name in names) for table in tables])


def _drop(tables: list[Table], arguments: str) -> list[Table]:
    names = set(_texts(arguments))
    return _merged([_only(table, lambda name: name not in names) for table in tables])


def _only(table: Table, wanted: Callable[[str], bool]) -> Table:
    key = {name: text for name, text in table.key.items() if wanted(name)}
    return Table(
        key, table.types, {name: column for name, column in table.columns.items() if wanted(name)}
    )


def _merged(tables: list[Table]) -> list[Table]:
    """Join tables that have become one by losing a column of the group key."""
    found: dict[tuple[Any, ...], Table] = {}
    for table in tables:
        same = found.setdefault((*table.key.items(), table.header), table)
        if same is not table:
            for name, column in table.columns.items():
                join = np.concatenate if isinstance(column, np.ndarray) else pa.concat_arrays
                same.columns[name] = join([same.columns[name], column])
    return list(found.values())


def _first(tables: list[Table], arguments: str) -> list[Table]:
    return [
        Table(t.key, t.types, {name: column[:1] for name, column in t.columns.items()})
        for t in tables
    ]


def _last(tables: list[Table], arguments: str) -> list[Table]:
    return [
        Table(t.key, t.types, {name: column[len(t) - 1 :] for name, column in t.columns.items()})
        for t in tables
    ]


def _pivot(tables: list[Table], arguments: str) -> list[Table]:
    """Lay the fields of one series side by side; only the form that frames need."""
    if re.sub(r"\s", "", arguments) != 'rowKey:["_time"],columnKey:["_field"],valueColumn:"_value"':
        raise FluxError("the double pivots _field over _time only")
    series: dict[tuple[tuple[str, str], ...], list[Table]] = {}
    for table in tables:
        series.setdefault(
            tuple(item for item in table.key.items() if item[0] != "_field"), []
        ).append(table)
    pivoted = []
    for key, parts in series.items():
        times = parts[0].columns["_time"]
        if not all(np.array_equal(times, part.columns["_time"]) for part in parts):
            times = np.unique(np.concatenate([part.columns["_time"] for part in parts]))
        types = {name: kind for name, kind in parts[0].types.items() if name != "_value"}
        columns = {"_time": times}
        for part in parts:
            name = part.key["_field"]
            at = np.searchsorted(part.columns["_time"], times)
            at = np.minimum(at, len(part) - 1)
            absent = part.columns["_time"][at] != times
            columns[name] = part.columns["_value"].take(pa.array(at, mask=absent))
            types[name] = part.types["_value"]
        pivoted.append(Table(dict(key), types, columns))
    return pivoted


_STAGES: dict[str, Callable[[list[Table], str], list[Table]]] = {
    "keep": _keep,
    "drop": _drop,
    "first": _first,
    "last": _last,
    "pivot": _pivot,
}


# -- printing --------------------------------------------------------------------------


def _csv(tables: list[Table], dialect: Mapping[str, Any]) -> bytes:
    annotations = dialect.get("annotations", ["datatype", "group", "default"])
    out, previous = [], None
    for number, table in enumerate(tables):
        header = table.header
        if header != previous:
            out.append(b"\r\n" if previous else b"")
            out.append(_header(header, annotations))
            previous = header
        out.append(_body(table, number, b"" if "default" in annotations else b"_result"))
    return b"".join([*out, b"\r\n"] if out else out)


def _header(header: tuple[tuple[str, str, bool], ...], annotations: list[str]) -> bytes:
    lines = {
        "datatype": ["#datatype", "string", "long", *(_TYPES[kind] for _, kind, _ in header)],
        "group": ["#group", "false", "false", *(str(grouped).lower() for *_, grouped in header)],
        "default": ["#default", "_result", "", *("" for _ in header)],
        "": ["", "result", "table", *(name for name, *_ in header)],
    }
    return "".join(",".join(lines[name]) + "\r\n" for name in (*annotations, "")).encode()


def _body(table: Table, number: int, result: bytes) -> bytes:
    """Join the columns of one table row by row.

    Everything that is constant goes into the text between them.
    """
    pieces: list[Any] = []
    fixed = f",{result.decode()},{number}"
    for name, kind, grouped in table.header:
        fixed += ","
        if grouped:
            fixed += _quoted(table.key[name])
        else:
            pieces += [fixed, _printed(table.columns[name], kind)]
            fixed = "Z" if kind == "time" else ""
    pieces += [fixed + "\r\n"]
    if len(pieces) == 1:
        return str(pieces[0]).encode() * len(table)
    joined = pc.binary_join_element_wise(*pieces, "")
    start, stop = np.frombuffer(joined.buffers()[1], dtype=np.int32)[
        [joined.offset, joined.offset + len(joined)]
    ]
    return bytes(joined.buffers()[2].to_pybytes()[start:stop])


def _printed(column: Any, kind: str) -> Any:
    if kind == "time":
        times = pa.array(column // 10**9).cast(pa.timestamp("s")).cast(pa.string())
        return pc.binary_join_element_wise(
            pc.utf8_slice_codeunits(times, 0, 10), pc.utf8_slice_codeunits(times, 11), "T"
        )
    if kind == "string" and pc.any(pc.match_substring_regex(column, '[,"\r\n]')).as_py():
        column = pa.array(
            [None if text is None else _quoted(text) for text in column.to_pylist()], pa.string()
        )
    return pc.fill_null(column, "")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search('[,"\r\n]', text) else text
