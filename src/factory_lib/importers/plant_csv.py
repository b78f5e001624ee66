"""The plant's own records: metered energy by quarter or hour, and kilograms by day or batch.

::

    time_utc,energy_kwh            time_local,energy_kwh         day,produced_kg
    2026-03-01T00:00Z,12.5         2026-03-01 01:00,12.5         2026-03-01,200

    finished_local,batch,variant,produced_kg        (or finished_utc; batch and variant
    as you like) 2026-03-01 19:00,1041,standard,200

Times are the beginning of the slot. A local time has no offset; of the hour that
October repeats both must be there, in order: old to new, or new to old throughout.
Comma between columns, point in numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from factory_lib.catalogue import SITE
from factory_lib.clock import DAY_S, HOUR_S, MADRID, QUARTER_S
from factory_lib.errors import ImportFileError
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Lines, Reading

_METER = {QUARTER_S: "metered_quarter_kwh", HOUR_S: "metered_hour_kwh"}
_SUMMED = "Kilograms are summed by local day: a file holds whole days, and one imported again replaces the day's sum."


def read_meter(member: Member) -> Reading:
    """Read ``time_utc|time_local,energy_kwh``, in quarters or hours."""
    lines = Lines(member, ["energy_kwh"])
    start = _times(lines, "time")
    steps = start.dropna().drop_duplicates().sort_values().diff().dt.total_seconds()
    step = steps.mode().min()  # the usual one: a stray line makes no hours into quarters
    if step not in _METER:
        told = "cannot be told from one line" if np.isnan(step) else f"is {step / 60:g} minutes"
        raise ImportFileError(member.label, f"is neither in quarters nor in hours: its step {told}")
    phases = start.dropna().map(lambda instant: instant.timestamp() % step)
    stray = (phases.reindex(start.index) != phases.mode().min()) & start.notna()
    lines.reject(
        stray,
        lines.text.iloc[:, 0],
        f"not on the grid of {step / 60:g} minutes that the file keeps",
    )
    start = start.mask(stray)
    values = {_METER[int(step)]: lines.numbers("energy_kwh")}
    return lines.reading(start, values, place=SITE, source=SITE, resolution_s=int(step))


def read_production(member: Member) -> Reading:
    """Read ``day|finished_utc|finished_local[,batch][,variant],produced_kg``."""
    lines = Lines(member, ["produced_kg"])
    if "day" in lines.text:
        wall = lines.days(lines.text["day"].str.strip(), "%Y-%m-%d").dt.tz_localize(None)
    else:
        wall = _times(lines, "finished").dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
    day, kg = (
        wall.dt.tz_localize(MADRID).dt.tz_convert("UTC").dt.as_unit("s"),
        lines.numbers("produced_kg"),
    )
    bad = np.isnan(kg) | (kg < 0)
    lines.reject(bad, lines.text["produced_kg"], "no kilograms", series="produced_kg")
    if "batch" in lines.text:
        again = lines.text["batch"].duplicated() & (lines.text["batch"] != "")
        lines.reject(
            again, lines.text["batch"], "this batch is there already", series="produced_kg"
        )
        kg = np.where(again, 0.0, kg)
    spoilt = day.isin(day[bad])
    lines.reject(
        spoilt & ~bad,
        lines.text["produced_kg"],
        "another line of this day cannot be read: no sum without it",
    )
    # The first line of a day carries its sum, the others nothing.
    total = pd.Series(kg, index=day.index).groupby(day).transform("sum")
    first = day.notna() & ~day.duplicated() & ~spoilt
    values = {"produced_kg": total.to_numpy(dtype=np.float64)}
    reading = lines.reading(
        day.where(first),
        values,
        place=SITE,
        source=SITE,
        resolution_s=DAY_S,
        notes=(_SUMMED,),
        continuous=False,
    )
    if reading.table.empty:
        raise ImportFileError(member.label, "holds no day whose kilograms can be summed")
    return reading


def _times(lines: Lines, name: str) -> pd.Series:
    """Return the column ``name_utc`` or ``name_local`` as UTC."""
    if f"{name}_utc" in lines.text:
        return lines.instants(f"{name}_utc")
    if f"{name}_local" in lines.text:
        return _local_times(lines, f"{name}_local")
    raise ImportFileError(lines.member.label, f"has no column {name}_utc or {name}_local")


def _local_times(lines: Lines, name: str) -> pd.Series:
    """Return wall times of Madrid as UTC; of those that happen twice the order of the file tells which.

    A file may run from old to new or from new to old: most of its steps say so.
    """
    texts = lines.text[name].str.strip()
    offset = texts.str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)$")
    lines.reject(offset, texts, f"has an offset: call the column {name.replace('local', 'utc')}")
    wall = pd.to_datetime(texts.mask(offset), format="ISO8601", errors="coerce")
    lines.reject(wall.isna() & ~offset, texts, "not a local time")
    summer = np.ones(len(wall), dtype=bool)
    skipped = wall.notna() & wall.dt.tz_localize(MADRID, ambiguous=summer, nonexistent="NaT").isna()
    lines.reject(skipped, texts, "there is no such time: the clocks go forward")
    twice = (
        wall.notna()
        & ~skipped
        & wall.dt.tz_localize(MADRID, ambiguous="NaT", nonexistent="NaT").isna()
    )
    pairs = wall.map(wall.value_counts()) == 2
    lines.reject(
        twice & ~pairs,
        texts,
        "happens twice when the clocks go back, and both must be there, in order",
    )
    known = wall.mask(twice & ~pairs)
    newest_first = bool(
        (wall.dropna().diff().dt.total_seconds() < 0).sum() > wall.notna().sum() / 2
    )
    summer_time = ~wall.duplicated(keep="last" if newest_first else "first").to_numpy()
    aware = known.dt.tz_localize(MADRID, ambiguous=summer_time, nonexistent="NaT")
    return aware.dt.tz_convert("UTC").dt.as_unit("s")
