"""One series looked at closely: what it is, where each value came from, how complete it is, how it is distributed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import ALWAYS, Series
from factory_lib.clock import HOUR_S, MADRID, from_epoch
from factory_lib.context import RunContext
from factory_lib.frames import wide
from factory_lib.pipeline import gaps
from factory_lib.pipeline.targets import places_of
from factory_lib.slots import expected, to_index


@dataclass(frozen=True)
class Exploration:
    """A series in a window, as seen at ``ctx.as_of``.

    Attributes
    ----------
    about : tuple of str
        Its catalogue entry in words.
    values : DataFrame
        Wide, on its own grid; holes are NaN.
    provenance : DataFrame
        One row per place, source and kind: slots held, and how many of them the view
        takes from there.
    complete : DataFrame
        Share (0 to 1) of due slots present, by market day: what
        ``views.continuity_charts.calendar`` draws.
    months : DataFrame
        One row per local month: share known, lowest, 5th percentile, mean, 95th
        percentile, highest.
    by_hour : DataFrame
        10th, 50th and 90th percentile by local hour; empty for series coarser than an
        hour.
    """

    about: tuple[str, ...]
    unit: str
    values: pd.DataFrame
    provenance: pd.DataFrame
    complete: pd.DataFrame
    months: pd.DataFrame
    by_hour: pd.DataFrame
    verdict: str
    level: str
    figures: dict[str, int | float | str]


def explore(
    ctx: RunContext, name: str, since: datetime | None = None, until: datetime | None = None
) -> Exploration:
    """Look at one series; by default at the last year that holds anything.

    Raises
    ------
    BadInput
        If the catalogue does not know it.
    """
    entry = ctx.catalogue[name]
    places = places_of(ctx.settings, entry)
    end = until or gaps.expected_until(entry, ctx.as_of)
    held = ctx.store.slots(name, places=places, start=ALWAYS, end=end, as_of=ctx.as_of)
    first, last = (from_epoch(int(held[at])) if len(held) else ctx.as_of for at in (0, -1))
    start = since or max(first, min(last, end) - timedelta(days=365))
    end = min(end, last + timedelta(seconds=entry.resolution_at(last))) if until is None else end
    rows = ctx.store.read(name, places=places, start=start, end=end, as_of=ctx.as_of)
    raw = ctx.store.read(name, places=places, start=start, end=end, as_of=ctx.as_of, raw=True)
    values = wide(rows, to_index(expected(entry, start, end))).reindex(columns=[name])
    report = gaps.analyse(ctx, start, end, series=[name])
    missing = int(values[name].isna().sum())
    figures: dict[str, int | float | str] = {
        "series": name,
        "slots": len(values),
        "missing": missing,
    }
    figures |= {"stored_rows": len(raw), "revisions": int((raw["rev"] > 1).sum())}
    return Exploration(
        about=_about(entry),
        unit=entry.unit,
        values=values,
        provenance=_provenance(raw, rows),
        complete=report.calendar,
        months=_months(values[name]),
        by_hour=_by_hour(values[name]),
        verdict=(
            f"{entry.description}: {len(values) - missing:,} of {len(values):,} slots from {start:%Y-%m-%d} to "
            f"{end:%Y-%m-%d} are known, {figures['revisions']:,} values were revised."
        )
        if len(rows)
        else f"{entry.description}: nothing is stored between {start:%Y-%m-%d} and {end:%Y-%m-%d}.",
        level="ok" if len(rows) and not missing else "warn",
        figures=figures,
    )


def _about(entry: Series) -> tuple[str, ...]:
    steps = ", ".join(f"{cadence.resolution_s // 60} min" for cadence in entry.cadences)
    return (
        f"{entry.description}, {entry.unit}; in slots of {steps}.",
        f"Possible: {entry.low:g} to {entry.high:g} {entry.unit}. Sources by trust: {', '.join(entry.sources)}.",
    )


def _provenance(raw: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    key = ["place", "source", "kind"]
    held = raw.groupby(key)["start"].agg(slots="nunique", first="min", last="max")
    shown = rows.groupby(key).size().rename("shown")
    found: pd.DataFrame = (
        held.join(shown).fillna({"shown": 0}).astype({"shown": "int64"}).reset_index()
    )
    return found.sort_values("shown", ascending=False, ignore_index=True)


def _months(values: pd.Series) -> pd.DataFrame:
    local = pd.DatetimeIndex(values.index).tz_convert(MADRID)
    groups = values.groupby(np.asarray(local.strftime("%Y-%m")))
    known = (groups.count() / groups.size()).map("{:.0%}".format)
    columns = {
        "known": known,
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
    groups = values.groupby(np.asarray(index.tz_convert(MADRID).hour))
    return pd.DataFrame({f"p{share}": groups.quantile(share / 100) for share in (10, 50, 90)})
