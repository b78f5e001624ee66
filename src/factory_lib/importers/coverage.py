"""Days that a file lacks: without a line, with some slots only, or with empty lines."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import DayAhead, Kind, Series
from factory_lib.clock import day_bounds, day_start, from_epoch, market_day
from factory_lib.importers.reading import Format, Reading
from factory_lib.pipeline.coverage import day_labels
from factory_lib.slots import expected, from_index, to_index

MISSING_COLUMNS = ["place", "day", "slots_missing", "slots_expected"]


def count_days(reading: Reading, fmt: Format, series: Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count the days of every place between its own first and last line.

    ``series`` is any of the reading's: they share a cadence. Prices are due for whole
    market days, the first and the last included.

    Returns
    -------
    places : DataFrame
        One row per place: ``first, last, days, missing_days, incomplete_days,
        empty_days, empty_values``. A missing day has no line, an incomplete one lacks
        slots, an empty one has lines without any value; ``empty_values`` are single
        cells.
    missing : DataFrame
        One row per missing or incomplete day (``MISSING_COLUMNS``).
    """
    table = reading.table.drop_duplicates(["place", "start"])
    filled = np.isfinite(table[reading.series].to_numpy())
    lines = pd.DataFrame(
        {
            "place": table["place"].to_numpy(),
            "start": from_index(table["start"]),
            "is_line": True,
            "has_value": filled.any(axis=1),
            "empty_values": (~filled).sum(axis=1),
        }
    )
    due = _due_slots(lines, fmt, series).merge(lines, how="left", on=["place", "start"])
    counts = {
        "slots_expected": ("start", "size"),
        "slots_present": ("is_line", "count"),
        "slots_filled": ("has_value", "sum"),
    }
    days = due.groupby(["place", "day"], as_index=False).agg(**counts)
    days["slots_missing"] = days["slots_expected"] - days["slots_present"]
    is_missing = days["slots_present"] == 0
    kinds = pd.DataFrame(
        {
            "days": 1,
            "missing_days": is_missing,
            "incomplete_days": (days["slots_missing"] > 0) & ~is_missing,
            "empty_days": ~is_missing & (days["slots_filled"] == 0),
        }
    )
    by_place = lines.groupby("place").agg(
        first=("start", "min"), last=("start", "max"), empty_values=("empty_values", "sum")
    )
    places = by_place.join(kinds.groupby(days["place"]).sum()).reset_index()
    missing = days.loc[days["slots_missing"] > 0, MISSING_COLUMNS]
    return _as_times(places, "first", "last"), _as_times(missing, "day")


def _due_slots(lines: pd.DataFrame, fmt: Format, series: Series) -> pd.DataFrame:
    """Return the slots that each place should have, with their days."""
    bounds = lines.groupby("place")["start"].agg(["min", "max"])
    if fmt.shared_window:
        bounds = bounds.assign(min=lines["start"].min(), max=lines["start"].max())
    slots = [
        expected(series, *_span(series, from_epoch(first), from_epoch(last)))
        for first, last in bounds.itertuples(index=False)
    ]
    starts = np.concatenate([lines["start"].to_numpy()[:0], *slots])
    places = np.repeat(bounds.index, [len(part) for part in slots])
    due = pd.DataFrame({"place": places, "start": starts, "day": day_labels(starts)})
    if fmt.continuous:
        return due
    own_days = pd.DataFrame({"place": lines["place"], "day": day_labels(lines["start"].to_numpy())})
    return due.merge(own_days.drop_duplicates(), on=["place", "day"])


def _span(series: Series, first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return the window that should be full: whole market days of what is published by the day."""
    if isinstance(series.publication[Kind.OBSERVED], DayAhead):
        return day_start(market_day(first)), day_bounds(market_day(last))[1]
    return first, last + timedelta(seconds=1)


def _as_times(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    times = {name: to_index(frame[name].to_numpy(dtype=np.int64)) for name in columns}
    return frame.assign(**times).reset_index(drop=True)
