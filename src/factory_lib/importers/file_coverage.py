"""What a file does not hold: days without a line, days with some slots only, days whose line is empty."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import DayAhead, Kind, Series
from factory_lib.clock import day_bounds, day_start, from_epoch, market_day
from factory_lib.importers.reading import Reading
from factory_lib.pipeline.coverage import day_labels
from factory_lib.slots import Slots, expected, from_index, to_index

ACCOUNT_COLUMNS = (
    "place",
    "first",
    "last",
    "days",
    "missing_days",
    "incomplete_days",
    "empty_days",
    "empty_values",
)
MISSING_COLUMNS = ("place", "day", "slots_missing", "slots_expected")


def count(reading: Reading, series: Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Account for every place between its own first and last line: before and after there was no station.

    ``series`` is any of the reading's: they share a cadence. Prices are due for whole
    market days, the first and the last included.

    Returns
    -------
    accounts : DataFrame
        One row per place (``ACCOUNT_COLUMNS``). A missing day has no line, an
        incomplete one lacks slots, an empty one has lines without any value;
        ``empty_values`` are single cells.
    missing : DataFrame
        One row per missing or incomplete day (``MISSING_COLUMNS``).
    """
    table = reading.table.drop_duplicates(["place", "start"])
    starts, filled = from_index(table["start"]), np.isfinite(table[reading.series].to_numpy())
    accounts: list[tuple[Any, ...]] = []
    missing: list[tuple[Any, ...]] = []
    for place, at in table.groupby("place").indices.items():
        own, valued = starts[at], starts[at][filled[at].any(axis=1)]
        seen = starts if reading.shared_window else own
        due = expected(
            series, *_span(series, from_epoch(int(seen.min())), from_epoch(int(seen.max())))
        )
        if not reading.continuous:
            due = due[np.isin(day_labels(due), day_labels(own))]
        days, expected_slots, absent, empty = _by_day(due, own, valued)
        whole = absent == expected_slots
        numbers = (
            len(days),
            whole.sum(),
            ((absent > 0) & ~whole).sum(),
            empty,
            (~filled[at]).sum(),
        )
        accounts.append((place, own.min(), own.max(), *map(int, numbers)))
        lacks = absent > 0
        missing += zip(
            repeat(place), days[lacks], absent[lacks], expected_slots[lacks], strict=False
        )
    frame = pd.DataFrame(accounts, columns=list(ACCOUNT_COLUMNS))
    lacking = pd.DataFrame(missing, columns=list(MISSING_COLUMNS)).astype({"place": "str"})
    return _timed(frame, "first", "last"), _timed(lacking, "day")


def _span(series: Series, first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return the window that should be full: what is published by the day is there for whole market days."""
    if isinstance(series.publication[Kind.OBSERVED], DayAhead):
        return day_start(market_day(first)), day_bounds(market_day(last))[1]
    return first, last + timedelta(seconds=1)


def _timed(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(
        **{name: to_index(frame[name].to_numpy(dtype=np.int64)) for name in columns}
    )


def _by_day(due: Slots, seen: Slots, valued: Slots) -> tuple[Slots, Slots, Slots, int]:
    """Return the days, how many slots each should have and lacks, and how many have lines and no value."""
    days, which = np.unique(day_labels(due), return_inverse=True)
    expected_slots = np.bincount(which)
    present = np.bincount(which, weights=np.isin(due, seen)).astype(np.int64)
    values = np.bincount(which, weights=np.isin(due, valued))
    return (
        days,
        expected_slots,
        expected_slots - present,
        int(((present > 0) & (values == 0)).sum()),
    )
