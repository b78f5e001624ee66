"""Rows as InfluxDB's line protocol, built by Arrow in one pass instead of point by point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from factory_lib import series as catalogue
from factory_lib.errors import BadInput
from factory_lib.store.rows import NAT, Rows, encode, seconds

BATCH_LINES = 50_000
ABOUT = "_about"  # the text field beside each value's own: when it could be known, and by which run it came
_TAG = str.maketrans({" ": "\\ ", ",": "\\,", "=": "\\="})
_TEXT = str.maketrans({'"': '\\"', "\\": "\\\\"})


def head(measurement: str, tags: Mapping[str, object]) -> str:
    """Return measurement and tags, escaped and in the order that spares the server a sort.

    Raises
    ------
    BadInput
        If a tag is empty, ends in a backslash or breaks the line: the protocol cannot carry it.
    """
    texts = {name: str(value) for name, value in sorted(tags.items())}
    for name, text in texts.items():
        if not text or not text.isprintable() or text.endswith("\\"):
            raise BadInput(f"InfluxDB cannot hold {text!r} as {name}.")
    return ",".join([measurement, *(f"{name}={text.translate(_TAG)}" for name, text in texts.items())])


def text_field(text: str) -> str:
    """Return a string field, quoted and escaped."""
    return f'"{text.translate(_TEXT)}"'


def value_lines(rows: Rows) -> Iterator[bytes]:
    """Yield values as batches of lines: tags place, source, kind, res, rev; a float field per series; time = start."""
    kinds, which = encode(pd.DataFrame({"channel": rows["channel"], "rev": rows["rev"]}), ("channel", "rev"))
    heads, names = [], []
    for code, rev in kinds:
        channel = rows.channels[code]
        tags = {"place": channel.place, "source": channel.source, "kind": channel.kind, "res": channel.resolution_s}
        heads.append(f"{head(catalogue.get(channel.series).measurement, {**tags, 'rev': rev})} {channel.series}=")
        names.append(f",{channel.series}{ABOUT}=")
    about, origin = abouts(rows)
    yield from _batches(
        _pick(heads, which),
        pa.array(rows["value"]).cast(pa.string()),
        _pick(names, which),
        _pick([f"{text_field(text)} " for text in about], origin),
        pa.array(rows["start"]).cast(pa.string()),
    )


def abouts(rows: Rows) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return the distinct texts beside the values, and the number of each row's.

    ``lag;retrieved;updated;run``, where lag is ``available_at`` less start: few texts serve many rows, and InfluxDB
    compresses repetition well.
    """
    parts = pd.DataFrame({name: rows[name] for name in ("retrieved_at", "provider_updated_at", "run")})
    parts.insert(0, "lag", rows["available_at"] - rows["start"])
    distinct, which = encode(parts, list(parts.columns))
    return [
        f"{lag};{retrieved};{'' if updated == NAT else updated};{rows.labels[run]}"
        for lag, retrieved, updated, run in distinct
    ], which


def read_abouts(texts: list[str]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return lag, retrieved and updated as the columns of an array, and the runs."""
    split = [text.split(";", 3) for text in texts]
    numbers = [[int(lag), int(retrieved), int(updated) if updated else NAT] for lag, retrieved, updated, _ in split]
    return np.array(numbers, dtype=np.int64).reshape(-1, 3), [run for *_, run in split]


def lead_minutes(target: np.ndarray[Any, Any], issued: np.ndarray[Any, Any], resolution: Any) -> np.ndarray[Any, Any]:
    """Return the lead from the slot of issue, so that the tag takes few values however odd the second of issue."""
    return np.asarray((target - issued // resolution * resolution) // 60)


def forecast_lines(rows: Rows) -> Iterator[bytes]:
    """Yield forecasts as batches of lines: tags series, place, model, res, lead_min; time = issued_at."""
    lead = lead_minutes(rows["start"], rows["issued_at"], rows.dimension("resolution_s"))
    kinds, which = encode(pd.DataFrame({"channel": rows["channel"], "lead": lead}), ("channel", "lead"))
    heads = []
    for code, minutes in kinds:
        series, place, model, _, resolution_s = rows.channels[code]
        tags = {"series": series, "place": place, "model": model, "res": resolution_s, "lead_min": minutes}
        heads.append(head("forecasts", tags) + " p50=")
    labels = [text_field(text) for text in rows.labels]
    columns = [_pick(heads, which), pa.array(rows["p50"]).cast(pa.string())]
    for name in ("p10", "p90"):
        known = pa.array(rows[name], mask=np.isnan(rows[name])).cast(pa.string())
        columns.append(pc.fill_null(pc.binary_join_element_wise(f",{name}=", known, ""), ""))
    columns += [_pick([f",tier={text}" for text in labels], rows["tier"])]
    columns += [_pick([f",run={text} " for text in labels], rows["run"])]
    yield from _batches(*columns, pa.array(rows["issued_at"]).cast(pa.string()))


def verdict_lines(rows: pd.DataFrame, numbers: np.ndarray[Any, Any]) -> bytes:
    """Return verdicts as lines; tag ``n`` counts the verdicts on one value, so that none overwrites another."""
    lines = []
    rows = rows.assign(start=seconds(rows["start"]), at=seconds(rows["at"]), n=numbers)
    for row in rows.to_dict("records"):
        tags = {name: row[name] for name in ("series", "place", "source", "rev", "n")}
        fields = [f"{name}={text_field(str(row[name]))}" for name in ("verdict", "rule", "reason", "at", "by")]
        lines.append(f"{head('verdicts', tags)} {','.join(fields)} {row['start']}")
    return "\n".join(lines).encode()


def _pick(texts: list[str], codes: np.ndarray[Any, Any]) -> Any:
    return pa.array(texts, pa.string()).take(pa.array(codes))


def _batches(*columns: Any) -> Iterator[bytes]:
    """Join text columns row by row; the data buffer of the joined column is the body to send."""
    for at in range(0, len(columns[0]), BATCH_LINES):
        part = [column.slice(at, BATCH_LINES) for column in columns]
        joined = pc.binary_join_element_wise(*part, pa.scalar("\n"), "")
        yield joined.buffers()[2].to_pybytes()
