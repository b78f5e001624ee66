"""Slots that a file names by their date and their number or clock time within the day."""

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S, QUARTER_S, slots_in_day
from factory_lib.errors import ImportFileError
from factory_lib.importers.reading import Lines, utc_midnights

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
