"""Output of the commands: text for a person or JSON for a machine. Standard library only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

if TYPE_CHECKING:
    import pandas as pd

    from factory_lib.results import JobResult

SHOWN_ROWS = 20


def write(text: str) -> None:
    """Write a line; where its reader went away, as ``head`` does, the command goes on."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(value: Any) -> Any:
    """Return what JSON can hold in place of a record, a path or an instant."""
    if isinstance(value, Struct):
        return structs.asdict(value)
    return vars(value) if is_dataclass(value) else str(value)


def write_json(value: Any) -> None:
    """Write one line of JSON."""
    write(json.dumps(value, default=plain, ensure_ascii=False))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain records; times in ISO 8601, NaN as None."""
    text = frame.to_json(orient="records", date_format="iso", date_unit="s")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def write_rows(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Write one line for each row, without its empty fields."""
    if as_json:
        write_json(list(rows))
        return
    for row in rows:
        fields = (f"{name} {value}" for name, value in row.items() if value not in ("", None))
        write("  ".join(fields))
    if not rows:
        write("none")


def write_result(result: JobResult, as_json: bool, *tables: str) -> None:
    """Write a result and its tables, or those that are named."""
    frames = {name: result[name] for name in tables or result.tables}
    if as_json:
        head = {
            "status": result.status,
            "summary": result.summary,
            "metrics": dict(result.metrics),
            "notes": result.notes,
        }
        write_json({**head, **{name: records(frame) for name, frame in frames.items()}})
        return
    write(result.summary)
    for name, frame in frames.items():
        if len(frame):
            more = f" (first {SHOWN_ROWS} of {len(frame):,})" if len(frame) > SHOWN_ROWS else ""
            write(f"\n{name}{more}:\n{frame.head(SHOWN_ROWS).to_string(index=False)}")
