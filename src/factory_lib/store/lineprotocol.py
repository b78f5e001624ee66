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
from factory_lib.slots import Slots, from_index, number_runs
from factory_lib.store.backend import NAT, Rows, as_texts, encode

BATCH_LINES = 50_000
# The measurement of all that is known of values and forecasts beside their numbers: when
# they could be known, and by which run they came.
ABOUT = "about"
RUN_S = 30 * DAY_S  # no run of slots goes on beyond a multiple of this
# One request goes no further: a bucket keeps a week in a shard by default,
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
    """Yield values as batches of lines: a float field per series, the time is ``start``.

    Tags are place, source, kind, res and rev. What else is known of a value is a text of
    measurement ``ABOUT``, written once for each run of consecutive slots that share it,
    just before its first value: ``mode, time;retrieved;updated;run``.
    Lines go out in order, so an interrupted write leaves whole heads of runs, and what
    completes it later starts runs of its own. No batch reaches over a multiple of
    ``REQUEST_S``.
    """
    period = rows["start"] // REQUEST_S
    for number in np.unique(period):
        yield from _value_lines(rows.take(period == number), catalogue)


def _value_lines(rows: Rows, catalogue: Catalogue) -> Iterator[bytes]:
    rows = rows.take(np.lexsort((rows["start"], rows["rev"], rows["channel"])))
    identity = pd.DataFrame({"channel": rows["channel"], "rev": rows["rev"]})
    kinds, kind = encode(identity, ["channel", "rev"])
    heads = []
    for code, rev in kinds:
        series, place, source, value_kind, resolution_s = rows.channels[code]
        tags = {
            "place": place,
            "source": source,
            "kind": value_kind,
            "res": resolution_s,
            "rev": rev,
        }
        about = head(ABOUT, {"series": series, **tags}) + " about="
        heads.append((about, f"{head(catalogue[series].measurement, tags)} {series}="))
    first, texts = _runs(rows, kind)
    begun = zip(kind[first].tolist(), texts, rows["start"][first].tolist(), strict=True)
    abouts = [f"{heads[code][0]}{text_field(text)} {time}\n" for code, text, time in begun]
    at = np.zeros(len(rows), dtype=np.int64)
    at[first] = np.arange(1, len(abouts) + 1)
    yield from _batches(
        _pick(["", *abouts], at),
        _pick([value_head for _, value_head in heads], kind),
        pa.array(rows["value"]).cast(pa.string()),
        _pick([" "], np.zeros(len(rows), dtype=np.int64)),
        pa.array(rows["start"]).cast(pa.string()),
    )


def _runs(rows: Rows, kind: Slots) -> tuple[Slots, list[str]]:
    """Return the first row of each run, and the text of each.

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
        number = number_runs(start, ends, kind, start // RUN_S, *shared, time)
        begins[mode] = np.flatnonzero(np.diff(number, prepend=-1))
    mode = min(begins, key=lambda mode: len(begins[mode]))
    first = begins[mode]
    parts = zip(*(part[first].tolist() for part in (times[mode], *shared)), strict=True)
    return first, [f"{mode}{t};{r};{'' if u == NAT else u};{run}" for t, r, u, run in parts]


def expand(rows: Rows, heads: Rows, texts: pa.Array) -> Rows:
    """Give each value the text of its run; a value that belongs to none is left out.

    ``heads`` and the coded Arrow column ``texts`` are the texts of the same channels, from
    ``RUN_S`` before the rows on.
    """
    text = _text_codes(rows, heads, texts.indices.to_numpy())
    rows = rows.take(text >= 0)
    text = text[text >= 0]
    fields = [part.split(";", 3) for part in texts.dictionary.to_pylist()]
    lagging = np.array([time[0] == "+" for time, *_ in fields], dtype=bool)[text]
    times = [[int(t[1:]), int(r), int(u or NAT)] for t, r, u, _ in fields]
    time, retrieved_at, updated_at = np.array(times, dtype=np.int64).reshape(-1, 3)[text].T
    return rows.having(
        available_at=np.where(lagging, rows["start"] + time, time),
        retrieved_at=retrieved_at,
        provider_updated_at=updated_at,
        run=as_texts([run for *_, run in fields], text),
    )


def _text_codes(rows: Rows, heads: Rows, codes: Slots) -> Slots:
    """Return the code of the last head at or before each row of its channel and rev, or -1."""
    result = np.full(len(rows), -1, dtype=np.int64)
    channel = heads.codes(rows.channels)
    for wanted_channel, rev in set(zip(channel.tolist(), heads["rev"].tolist(), strict=True)):
        mine = (rows["channel"] == wanted_channel) & (rows["rev"] == rev)
        theirs = (channel == wanted_channel) & (heads["rev"] == rev)
        at = np.searchsorted(heads["start"][theirs], rows["start"][mine], side="right")
        result[mine] = np.append(-1, codes[theirs])[at]
    return result


def lead_minutes(target: Slots, issued: Slots, resolution_s: Slots) -> Slots:
    """Return the lead from the slot of issue.

    So the tag takes few values, however odd the second of issue.
    """
    return (target - issued // resolution_s * resolution_s) // 60


def forecast_lines(rows: Rows) -> Iterator[bytes]:
    """Yield forecasts as batches of lines.

    Tags are series, place, model, res and lead_min; the time is ``issued_at``. Tier and
    run are texts of measurement ``ABOUT``, on a line before.
    """
    lead = lead_minutes(rows["start"], rows["issued_at"], rows.dimension("resolution_s"))
    identity = pd.DataFrame({"channel": rows["channel"], "lead": lead})
    kinds, kind = encode(identity, ["channel", "lead"])
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
        heads.append((head(ABOUT, tags) + " tier=", head("forecasts", tags) + " p50="))
    times = pa.array(rows["issued_at"]).cast(pa.string())
    blank = _pick([" "], np.zeros(len(rows), dtype=np.int64))
    columns = [_pick([about for about, _ in heads], kind)]
    for name, prefix in (("tier", ""), ("run", ",run=")):
        codes, texts = pd.factorize(rows[name])
        columns.append(_pick([prefix + text_field(text) for text in texts], codes))
    columns += [blank, times, _pick([f"\n{value_head}" for _, value_head in heads], kind)]
    columns.append(pa.array(rows["p50"]).cast(pa.string()))
    for name in ("p10", "p90"):
        texts = pa.array(rows[name], mask=np.isnan(rows[name])).cast(pa.string())
        columns.append(pc.fill_null(pc.binary_join_element_wise(f",{name}=", texts, ""), ""))
    yield from _batches(*columns, blank, times)


def verdict_lines(rows: pd.DataFrame, numbers: list[int]) -> bytes:
    """Return verdicts as lines.

    Tag ``n`` counts the verdicts on one value, so that none overwrites another.
    """
    lines = []
    rows = rows.assign(start=from_index(rows["start"]), at=from_index(rows["at"]), n=numbers)
    for row in rows.to_dict("records"):
        tags = {name: row[name] for name in ("series", "place", "source", "rev", "n")}
        fields = [
            f"{name}={text_field(str(row[name]))}"
            for name in ("verdict", "rule", "reason", "at", "by")
        ]
        lines.append(f"{head('verdicts', tags)} {','.join(fields)} {row['start']}")
    return "\n".join(lines).encode()


def _pick(texts: list[str], codes: Slots) -> Any:
    return pa.array(texts, pa.string()).take(pa.array(codes))


def _batches(*columns: Any) -> Iterator[bytes]:
    """Join text columns row by row; the data buffer of the joined column is the body to send."""
    for at in range(0, len(columns[0]), BATCH_LINES):
        part = [column.slice(at, BATCH_LINES) for column in columns]
        joined = pc.binary_join_element_wise(*part, pa.scalar("\n"), "")
        yield joined.buffers()[2].to_pybytes()
