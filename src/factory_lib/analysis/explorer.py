"""One series in detail: its definition, provenance, completeness and distribution."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import ALWAYS, Series
from factory_lib.clock import HOUR_S, display_zone, from_epoch
from factory_lib.context import RunContext
from factory_lib.frames import wide
from factory_lib.pipeline import gaps
from factory_lib.pipeline.targets import places_of
from factory_lib.results import JobResult
from factory_lib.slots import expected, to_index


def explore(
    ctx: RunContext, name: str, since: datetime | None = None, until: datetime | None = None
) -> JobResult:
    """Describe one series in a window; by default in its last year with a value.

    Returns
    -------
    JobResult
        With the tables ``values``: wide, on the series' own grid, gaps as NaN;
        ``provenance``: per place, source and kind the stored slots, and how many of them
        the view takes from there; ``complete``: share (0 to 1) of due slots present, by
        market day; ``months``: per local month the share known, lowest, 5th percentile,
        mean, 95th percentile, highest; ``by_hour``: 10th, 50th and 90th percentile by
        local hour, empty for series coarser than an hour.

    Raises
    ------
    BadInput
        If the catalogue does not know it.
    """
    entry = ctx.catalogue[name]
    places = places_of(ctx.settings, entry)
    start, end = _window(ctx, entry, places, since, until)
    rows = ctx.store.read(name, places=places, start=start, end=end, as_of=ctx.as_of)
    raw = ctx.store.read(name, places=places, start=start, end=end, as_of=ctx.as_of, raw=True)
    values = wide(rows, to_index(expected(entry, start, end))).reindex(columns=[name])
    tables = {
        "values": values,
        "provenance": _provenance(raw, rows),
        "complete": gaps.analyse(ctx, start, end, series=[name]).calendar,
        "months": _months(values[name]),
        "by_hour": _by_hour(values[name]),
    }
    metrics = {
        "series": name,
        "unit": entry.unit,
        "slots": len(values),
        "missing": int(values[name].isna().sum()),
        "stored_rows": len(raw),
        "revisions": int((raw["rev"] > 1).sum()),
    }
    return summarise(entry, start, end, metrics, tables)


def summarise(
    entry: Series,
    start: datetime,
    end: datetime,
    metrics: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
) -> JobResult:
    """Compose the result: ``warn`` where a slot is missing or nothing is stored."""
    present = f"{metrics['slots'] - metrics['missing']:,} of {metrics['slots']:,} slots"
    window = f"from {start:%Y-%m-%d} to {end:%Y-%m-%d}"
    content = f"{present} {window} are known, {metrics['revisions']:,} values were revised."
    if not metrics["stored_rows"]:
        content = f"nothing is stored {window}."
    steps = ", ".join(f"{cadence.resolution_s // 60} min" for cadence in entry.cadences)
    limits = f"Possible: {entry.low:g} to {entry.high:g} {entry.unit}."
    notes = (
        f"{entry.description}, {entry.unit}; in slots of {steps}.",
        f"{limits} Sources by trust: {', '.join(entry.sources)}.",
    )
    complete = metrics["stored_rows"] and not metrics["missing"]
    sentence = f"{entry.description}: {content}"
    return JobResult("ok" if complete else "warn", sentence, metrics, tables, notes)


def _window(
    ctx: RunContext,
    entry: Series,
    places: Sequence[str],
    since: datetime | None,
    until: datetime | None,
) -> tuple[datetime, datetime]:
    """Return the given ends of the window, or those of the last year with a value."""
    end = until or gaps.expected_until(entry, ctx.as_of)
    slots = ctx.store.slots(entry.name, places=places, start=ALWAYS, end=end, as_of=ctx.as_of)
    first, last = (from_epoch(int(slots[i])) if len(slots) else ctx.as_of for i in (0, -1))
    start = since or max(first, min(last, end) - timedelta(days=365))
    last_end = last + timedelta(seconds=entry.resolution_at(last))
    return start, until or min(end, last_end)


def _provenance(raw: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    key = ["place", "source", "kind"]
    stored = raw.groupby(key)["start"].agg(slots="nunique", first="min", last="max")
    shown = rows.groupby(key).size().reindex(stored.index, fill_value=0)
    table: pd.DataFrame = stored.assign(shown=shown).reset_index()
    return table.sort_values("shown", ascending=False, ignore_index=True)


def _months(values: pd.Series) -> pd.DataFrame:
    local = pd.DatetimeIndex(values.index).tz_convert(display_zone())
    groups = values.groupby(np.asarray(local.strftime("%Y-%m")))
    columns = {
        "known": (groups.count() / groups.size()).map("{:.0%}".format),
        "lowest": groups.min(),
        "p5": groups.quantile(0.05),
        "mean": groups.mean(),
        "p95": groups.quantile(0.95),
        "highest": groups.max(),
    }
    return pd.DataFrame(columns).rename_axis("month").reset_index()


def _by_hour(values: pd.Series) -> pd.DataFrame:
    index = pd.DatetimeIndex(values.index)
    if len(index) > 1 and (index[1] - index[0]).total_seconds() > HOUR_S:
        return pd.DataFrame(columns=["p10", "p50", "p90"])
    groups = values.groupby(np.asarray(index.tz_convert(display_zone()).hour))
    return pd.DataFrame({f"p{share}": groups.quantile(share / 100) for share in (10, 50, 90)})
