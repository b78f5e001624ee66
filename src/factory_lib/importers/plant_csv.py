"""The plant's own records: metered energy by quarter or hour, and kilograms by day or batch.

::

    time_utc,energy_kwh            time_local,energy_kwh         day,produced_kg
    2026-03-01T00:00Z,12.5         2026-03-01 01:00,12.5         2026-03-01,200

    finished_local,batch,variant,produced_kg        (or finished_utc; batch and variant
    2026-03-01 19:00,1041,standard,200               are optional)

Times are the beginning of the slot. A local time is the plant's, without an offset; of the hour
that October repeats both must be there, in order: old to new, or new to old throughout.
Meters of distributors and Datadis come with a date and the hour 1 … 25, quarter 1 … 100
or clock time of each slot (``CUPS;Fecha;Hora;Consumo_kWh``). Separators, decimals, dates
and headings may be those of a Spanish office (``office``).
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from factory_lib.catalogue import MARKET_PRICES
from factory_lib.clock import DAY_S, HOUR_S, MADRID, QUARTER_S, slots_in_day
from factory_lib.errors import ImportFileError
from factory_lib.importers.files import Member
from factory_lib.importers.office import read_table
from factory_lib.importers.reading import (
    KEY_COLUMNS,
    Format,
    Lines,
    Reading,
    instants,
    utc_midnights,
)

REGISTER_LINES = 48  # so many lines in a row without a fall are no consumption
_METERS = {QUARTER_S: "metered_quarter_kwh", HOUR_S: "metered_hour_kwh"}


def parse_meter(member: Member, fmt: Format) -> Reading:
    """Read ``time_utc|time_local,energy_kwh``, in quarters or hours."""
    lines = read_table(member, fmt)
    _require_one_meter(lines)
    energy = lines.numbers("energy_kwh")
    _refuse_register(member, energy)
    start = record_times(lines, "time")
    steps = start.dropna().drop_duplicates().sort_values().diff().dt.total_seconds()
    step = steps.mode().min()  # the usual one: a stray line makes no hours into quarters
    if step not in _METERS:
        width = "is unknown, with one line" if np.isnan(step) else f"is {step / 60:g} minutes"
        raise ImportFileError(member.label, f"has neither quarters nor hours: its step {width}")
    phases = start.dropna().map(lambda instant: instant.timestamp() % step)
    stray = (phases.reindex(start.index) != phases.mode().min()) & start.notna()
    lines.reject(
        stray,
        lines.text.iloc[:, 0],
        f"not on the grid of {step / 60:g} minutes that the file keeps",
    )
    return lines.reading(start.mask(stray), {_METERS[int(step)]: energy}, resolution_s=int(step))


def parse_production(member: Member, fmt: Format) -> Reading:
    """Read ``day|finished_utc|finished_local[,batch][,variant],produced_kg``."""
    lines = read_table(member, fmt)
    texts = lines.column("produced_kg")
    kg = lines.numbers("produced_kg")
    day = _local_midnights(lines)
    bad = np.isnan(kg) | (kg < 0)
    lines.reject(bad, texts, "no kilograms", series="produced_kg")
    if "batch" in lines.text:
        batch = lines.column("batch")
        again = batch.duplicated() & (batch != "")
        lines.reject(again, batch, "this batch is there already", series="produced_kg")
        kg = np.where(again, 0.0, kg)
    spoilt = day.isin(day[bad])
    lines.reject(spoilt & ~bad, texts, "another line of this day cannot be read: no sum without it")
    # The first line of a day carries its sum, the others nothing.
    total = pd.Series(kg, index=day.index).groupby(day).transform("sum")
    first = day.notna() & ~day.duplicated() & ~spoilt
    reading = lines.reading(day.where(first), {"produced_kg": total.to_numpy(dtype=np.float64)})
    if reading.table.empty:
        raise ImportFileError(member.label, "holds no day whose kilograms can be summed")
    return reading


def _local_midnights(lines: Lines) -> pd.Series:
    """Return the UTC instant of each line's day: it is the plant's, stored at Madrid's midnight."""
    if "day" in lines.text:
        wall = utc_midnights("day")(lines).dt.tz_localize(None)
    elif "finished_local" in lines.text:  # of the hour that October repeats the day is known, too
        wall = _wall_times(lines, "finished_local").dt.normalize()
    else:
        finished = record_times(lines, "finished").dt.tz_convert(lines.fmt.zone)
        wall = finished.dt.tz_localize(None).dt.normalize()
    return wall.dt.tz_localize(MADRID).dt.tz_convert("UTC").dt.as_unit("s")


def parse_price_table(member: Member, fmt: Format) -> Reading:
    """Read a table of prices by time, or by date and hour or quarter."""
    lines = read_table(member, fmt)
    names = [name for name in MARKET_PRICES if name in lines.text]
    start = record_times(lines, "time")
    values = {name: lines.numbers(name) for name in names}
    return lines.reading(start, values, resolution_s=market_steps(start))


def market_steps(start: pd.Series) -> np.ndarray:
    """Return quarters for a market day with any time off the full hour, else hours."""
    days = start.dt.tz_convert(MADRID).dt.date
    in_quarters = (start.dt.minute != 0).groupby(days).transform("any")
    return np.where(in_quarters.to_numpy(dtype=bool, na_value=False), QUARTER_S, HOUR_S)


def parse_own(member: Member, fmt: Format) -> Reading:
    """Read a column of one's own, averaged over the slots of its series.

    Raises
    ------
    ImportFileError
        If it is no table, or has no times.
    """
    lines = read_table(member, fmt)
    by_day = "day" in lines.text and "period" not in lines.text
    start = utc_midnights("day")(lines) if by_day else record_times(lines, "time")
    reading = lines.reading(start)
    slots = reading.table.assign(start=reading.table["start"].dt.floor(f"{fmt.resolution_s}s"))
    if not slots["start"].duplicated().any():
        return replace(reading, table=slots)
    key = [name for name in KEY_COLUMNS if name != "line"]
    means = slots.groupby(key, as_index=False).mean()
    note = f"Readings were averaged over slots of {fmt.resolution_s // 60} minutes."
    return replace(reading, table=means.astype({"line": "int64"}), notes=(*reading.notes, note))


def _require_one_meter(lines: Lines) -> None:
    meters = lines.column("cups").unique() if "cups" in lines.text else [""]
    if len(meters) > 1:
        raise ImportFileError(
            lines.member.label,
            f"holds {len(meters)} meters (CUPS)",
            next_step="Save one file for each. Nothing of this one was stored.",
        )


def _refuse_register(member: Member, energy: np.ndarray) -> None:
    """Refuse a meter that only counts up: a consumption goes down somewhere in a day."""
    values = energy[np.isfinite(energy)]
    steps = np.diff(values)
    never_turns = (steps >= 0).all() or (steps <= 0).all()
    if len(values) > REGISTER_LINES and never_turns and values.max() > values.min():
        raise ImportFileError(
            member.label,
            f"counts from {values[0]:g} to {values[-1]:g} without ever turning: it is a "
            "running register, not the energy of each slot",
            next_step="Take the difference of each line and the one before it.",
        )


def record_times(lines: Lines, name: str) -> pd.Series:
    """Return the column ``name_utc`` or ``name_local``, or day and period, as UTC.

    Raises
    ------
    ImportFileError
        If there is none of them, or it is unclear whether times begin or end a slot.
    """
    if "period" in lines.text and "day" in lines.text:
        return period_times(lines)
    if f"{name}_utc" in lines.text:
        return instants(f"{name}_utc")(lines)
    if f"{name}_local" in lines.text:
        return _local_times(lines, f"{name}_local")
    raise ImportFileError(lines.member.label, f"has no column {name}_utc or {name}_local")


def _local_times(lines: Lines, name: str) -> pd.Series:
    """Return wall times of the file's zone as UTC; the file's order decides about repeated ones.

    A file may run from old to new or from new to old: most of its steps show it.
    """
    wall = _wall_times(lines, name)
    zone = lines.fmt.zone
    repeated = wall.notna() & wall.dt.tz_localize(zone, ambiguous="NaT").isna()
    alone = repeated & (wall.map(wall.value_counts()) != 2)
    lines.reject(
        alone,
        lines.column(name),
        "happens twice when the clocks go back, and both must be there, in order",
    )
    steps = wall.dropna().diff().dt.total_seconds()
    newest_first = bool((steps < 0).sum() > wall.notna().sum() / 2)
    summer_time = ~wall.duplicated(keep="last" if newest_first else "first").to_numpy()
    aware = wall.mask(alone).dt.tz_localize(zone, ambiguous=summer_time)
    return aware.dt.tz_convert("UTC").dt.as_unit("s")


def _wall_times(lines: Lines, name: str) -> "pd.Series[pd.Timestamp]":
    """Return a column's local times as they are written, without those that never were."""
    texts = lines.column(name)
    offset = texts.str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)$")
    lines.reject(offset, texts, f"has an offset: call the column {name.replace('local', 'utc')}")
    wall = pd.to_datetime(texts.mask(offset), format="ISO8601", errors="coerce")
    lines.reject(wall.isna() & ~offset, texts, "not a local time")
    summer = np.ones(len(wall), dtype=bool)
    aware = wall.dt.tz_localize(lines.fmt.zone, ambiguous=summer, nonexistent="NaT")
    skipped = wall.notna() & aware.isna()
    lines.reject(skipped, texts, "there is no such time: the clocks go forward")
    return wall.mask(skipped)


# -- slots that a file names by their date and their number or clock time within the day ---------

MOST_HOURS = 25  # a larger number counts quarters
MIDNIGHT_MIN = DAY_S // 60


def period_times(lines: Lines) -> pd.Series:
    """Return the UTC start of each line's slot from its day and its period.

    On a day when the clocks change the lines count in their order, if all slots of the
    day are there; else which of them is whose cannot be known.

    Raises
    ------
    ImportFileError
        If nothing shows whether clock times begin or end their slot.
    """
    days = utc_midnights("day")(lines).dt.tz_localize(None)
    numbers, step_s = _numbers(lines)
    lines.reject(np.isnan(numbers) & days.notna(), lines.column("period"), "no period of a day")
    elapsed = numbers.copy()
    for day, rows in days.groupby(days).indices.items():
        slots = slots_in_day(pd.Timestamp(str(day)).date(), step_s)
        if slots != DAY_S // step_s:
            elapsed[rows] = _in_order(numbers[rows], slots)
            reason = f"the clocks change on that day, and {len(rows)} of {slots} slots are there"
            unclear = np.zeros(len(days), dtype=bool)
            unclear[rows] = np.isnan(elapsed[rows]) & ~np.isnan(numbers[rows])
            lines.reject(unclear, lines.column("period"), reason)
        beyond = np.zeros(len(days), dtype=bool)
        beyond[rows] = elapsed[rows] >= slots
        lines.reject(beyond, lines.column("period"), f"that day has {slots} slots")
        elapsed[rows] = np.where(beyond[rows], np.nan, elapsed[rows])
    midnights = days.dt.tz_localize(lines.fmt.zone).dt.tz_convert("UTC")
    times = midnights + pd.to_timedelta(pd.Series(elapsed * step_s, days.index), unit="s")
    return times.dt.as_unit("s")


def _in_order(numbers: np.ndarray, slots: int) -> np.ndarray:
    """Return elapsed slots of a day of another length, NaN where they cannot be known."""
    steps = np.diff(numbers)
    if len(numbers) == slots and (steps >= 0).all():
        return np.arange(slots, dtype=np.float64)
    if len(numbers) == slots and (steps <= 0).all():
        return np.arange(slots, dtype=np.float64)[::-1]
    return np.full(len(numbers), np.nan)


def _numbers(lines: Lines) -> tuple[np.ndarray, int]:
    """Return each line's slot of the day, from 0, as its label counts, and the slots' length."""
    labels = lines.column("period").str.replace(r"\s*(?:-|a)\s*\d.*$", "", regex=True)
    is_range = (labels != lines.column("period")).any()
    clock = labels.str.extract(r"^(\d{1,2}):(\d{2})(?::00)?$")
    if clock.notna().all(axis=1).any():
        minutes = pd.to_numeric(clock[0]) * 60 + pd.to_numeric(clock[1])
        step_s = QUARTER_S if (minutes % 60 > 0).any() else HOUR_S
        is_end = not is_range and _ends_slots(lines, minutes)
        return (minutes * 60 / step_s - is_end).to_numpy(np.float64), step_s
    counted = pd.to_numeric(labels, errors="coerce")
    counted = counted.where(counted % 1 == 0)
    step_s = QUARTER_S if counted.max() > MOST_HOURS else HOUR_S
    unit = "Quarters" if step_s == QUARTER_S else "Hours"
    first = 0 if is_range or counted.min() == 0 else 1
    last = int(counted.max()) if counted.notna().any() else first
    lines.notes.append(
        f"{unit} {first} to {last} were counted from local midnight: {first} begins at 00:00."
    )
    return (counted - first).where(counted >= first).to_numpy(np.float64), step_s


def _ends_slots(lines: Lines, minutes: pd.Series) -> bool:
    """Return whether clock times end their slot: 24:00 is there, and 00:00 is not."""
    begins = bool((minutes == 0).any())
    ends = bool((minutes >= MIDNIGHT_MIN).any())
    if begins == ends:
        clocks = "both 00:00 and 24:00" if begins else "neither 00:00 nor 24:00"
        raise ImportFileError(
            lines.member.label,
            f"has {clocks}: whether a time begins or ends its slot is unknown",
            next_step="Save whole days. Nothing of this file was stored.",
        )
    lines.notes.append(
        "Times end their slot (24:00 is there, 00:00 is not): 01:00 is the hour from 00:00."
        if ends
        else "Times begin their slot (00:00 is there, 24:00 is not)."
    )
    return ends
