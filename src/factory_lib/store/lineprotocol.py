"""Rows as InfluxDB's line protocol, built by Arrow in one pass instead of point by point."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from factory_lib.catalogue import Catalogue
from factory_lib.clock import DAY_S
from factory_lib.errors import BadInput
from factory_lib.slots import number_runs
from factory_lib.store.rows import NAT, Rows, encode, seconds

BATCH_LINES = 50_000
# the text field beside a value's own: when it could be known, and by which run it came
ABOUT = "_about"
RUN_S = 30 * DAY_S  # no run of slots goes on beyond a multiple of this
# One request goes no further: a bucket keeps a week in a shard unless told otherwise,
# and a hundred new shards are a second or two of the server's time, ten years of them
# in one request its time limit.
REQUEST_S = 24 * RUN_S
_TAG = str.maketrans({" ": "\\ ", ",": "\\,", "=": "\\="})
_TEXT = str.maketrans({'"': '\\"', "\\": "\\\\"})


def head(measurement: str, tags: Mapping[str, object]) -> str:
    """Return measurement and tags, escaped and in the order that spares the server a sort.

    Raises
    ------
    BadInput
        If a tag is empty, ends in a backslash or breaks the line: the protocol cannot
        carry it.
    """
    texts = {name: str(value) for name, value in sorted(tags.items())}
    for name, text in texts.items():
        if not text or not text.isprintable() or text.endswith("\\"):
            raise BadInput(f"InfluxDB cannot hold {text!r} as {name}.")
    return ",".join(
        [measurement, *(f"{name}={text.translate(_TAG)}" for name, text in texts.items())]
    )


def text_field(text: str) -> str:
    """Return a string field, quoted and escaped.

    Raises
    ------
    BadInput
        If it breaks the line.
    """
    if "\n" in text or "\r" in text:
        raise BadInput(f"InfluxDB cannot hold the line break in {text!r}.")
    return f'"{text.translate(_TEXT)}"'


def value_lines(rows: Rows, catalogue: Catalogue) -> Iterator[bytes]:
    """Yield values as batches of lines: tags place, source, kind, res, rev; a float field per series; time = start.

    What else is known of a value stands in a text field beside it, written once for
    each run of consecutive slots that share it: ``mode, time;retrieved;updated;run``.
    Lines go out in order, so an interrupted write leaves whole heads of runs, and what
    completes it later starts runs of its own. No batch reaches over a multiple of
    ``REQUEST_S``.
    """
    period = rows["start"] // REQUEST_S
    for number in np.unique(period):
        yield from _value_lines(rows.take(period == number), catalogue)


def _value_lines(rows: Rows, catalogue: Catalogue) -> Iterator[bytes]:
    rows = rows.take(np.lexsort((rows["start"], rows["rev"], rows["channel"])))
    kinds, which = encode(
        pd.DataFrame({"channel": rows["channel"], "rev": rows["rev"]}), ("channel", "rev")
    )
    heads, beside = [], []
    for code, rev in kinds:
        channel = rows.channels[code]
        tags = {
            "place": channel.place,
            "source": channel.source,
            "kind": channel.kind,
            "res": channel.resolution_s,
        }
        heads.append(
            f"{head(catalogue[channel.series].measurement, {**tags, 'rev': rev})} {channel.series}="
        )
        beside.append(f",{channel.series}{ABOUT}=")
    first, texts = _runs(rows, which)
    abouts = [
        " ",
        *(
            f"{beside[number]}{text_field(text)} "
            for number, text in zip(which[first], texts, strict=True)
        ),
    ]
    at = np.zeros(len(rows), dtype=np.int64)
    at[first] = np.arange(1, len(abouts))
    yield from _batches(
        _pick(heads, which),
        pa.array(rows["value"]).cast(pa.string()),
        _pick(abouts, at),
        pa.array(rows["start"]).cast(pa.string()),
    )


def _runs(rows: Rows, which: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return where runs begin, and what is said of each.

    Prices of a day become known together, observations one by one: a run either shares
    its time of availability (mode ``=``) or the lag after each slot's start (mode
    ``+``), whichever gives fewer runs.
    """
    start = rows["start"]
    ends = start + rows.dimension("resolution_s")
    shared = [rows[name] for name in ("retrieved_at", "provider_updated_at", "run")]
    times = {"+": rows["available_at"] - start, "=": rows["available_at"]}
    begins = {}
    for mode, time in times.items():
        number = number_runs(start, ends, which, start // RUN_S, *shared, time)
        begins[mode] = np.flatnonzero(np.diff(number, prepend=-1))
    mode = min(begins, key=lambda mode: len(begins[mode]))
    first = begins[mode]
    parts = zip(*(part[first].tolist() for part in (times[mode], *shared)), strict=True)
    return first, [
        f"{mode}{t};{r};{'' if u == NAT else u};{rows.labels[run]}" for t, r, u, run in parts
    ]


def spread(rows: Rows, heads: Rows, texts: Any) -> Rows:
    """Give each value what its run says; a value that belongs to none is left out.

    ``heads`` and the coded Arrow column ``texts`` are the text fields of the same
    channels, from ``RUN_S`` before the rows on.
    """
    said = [text.split(";", 3) for text in texts.dictionary.to_pylist()]
    numbers = [
        [int(t[1:]), int(retrieved), int(updated or NAT), t[0] == "+"]
        for t, retrieved, updated, _ in said
    ]
    labels = {run: number for number, run in enumerate(dict.fromkeys(run for *_, run in said))}
    text = np.full(len(rows), -1, dtype=np.int64)
    code = np.array(
        [rows.channels.index(c) if c in rows.channels else -1 for c in heads.channels] or [0]
    )
    heads = heads.having(channel=code[heads["channel"]], text=texts.indices.to_numpy())
    for channel, rev in {*zip(heads["channel"].tolist(), heads["rev"].tolist(), strict=True)}:
        mine, theirs = ((r["channel"] == channel) & (r["rev"] == rev) for r in (rows, heads))
        at = np.searchsorted(heads["start"][theirs], rows["start"][mine], side="right") - 1
        text[mine] = np.where(at < 0, -1, heads["text"][theirs][at])
    rows, text = rows.take(text >= 0), text[text >= 0]
    time, retrieved, updated, lagging = np.array(numbers, dtype=np.int64).reshape(-1, 4)[text].T
    run = np.array([labels[run] for *_, run in said] or [0], dtype=np.int64)[text]
    known = np.where(lagging == 1, rows["start"] + time, time)
    rows = rows.having(
        available_at=known, retrieved_at=retrieved, provider_updated_at=updated, run=run
    )
    return Rows(rows.channels, tuple(labels), rows.column)


def lead_minutes(
    target: np.ndarray[Any, Any], issued: np.ndarray[Any, Any], resolution: Any
) -> np.ndarray[Any, Any]:
    """Return the lead from the slot of issue, so that the tag takes few values however odd the second of issue."""
    return np.asarray((target - issued // resolution * resolution) // 60)


def forecast_lines(rows: Rows) -> Iterator[bytes]:
    """Yield forecasts as batches of lines: tags series, place, model, res, lead_min; time = issued_at."""
    lead = lead_minutes(rows["start"], rows["issued_at"], rows.dimension("resolution_s"))
    kinds, which = encode(
        pd.DataFrame({"channel": rows["channel"], "lead": lead}), ("channel", "lead")
    )
    heads = []
    for code, minutes in kinds:
        series, place, model, _, resolution_s = rows.channels[code]
        tags = {
            "series": series,
            "place": place,
            "model": model,
            "res": resolution_s,
            "lead_min": minutes,
        }
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
        fields = [
            f"{name}={text_field(str(row[name]))}"
            for name in ("verdict", "rule", "reason", "at", "by")
        ]
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
