"""Judging what was read: what can be stored, what only repeats, what contradicts or cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import Catalogue, Kind
from factory_lib.clock import epoch
from factory_lib.importers import file_checks, file_coverage
from factory_lib.importers.reading import REJECTED_COLUMNS, Reading, rejected
from factory_lib.settings.records import QualitySettings
from factory_lib.slots import from_index, on_grid, resolutions

REPEATED_COLUMNS = ("member", "line", "place", "start")
_ACCOUNTED = (*file_coverage.ACCOUNT_COLUMNS, "duplicates", "frozen_hours", "format")
_IDENTITY = ["place", "source", "start", "edition"]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found of members of one format, beside the values that can be stored.

    Attributes
    ----------
    rejected : DataFrame
        One row per value or line that is not stored, and why
        (``reading.REJECTED_COLUMNS``).
    repeated : DataFrame
        Lines for a slot that has one already (``REPEATED_COLUMNS``), in other words or
        the same.
    marks : DataFrame
        Stored values that are not to be trusted (``suspects.MARK_COLUMNS``).
    accounts, missing : DataFrame
        What is not there, by place and by day (``absences``), with the ``format``.
    values_read, duplicate_values : int
        Cells that held something, and those of lines that only repeat another line.
    """

    rejected: pd.DataFrame = field(default_factory=rejected)
    repeated: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=REPEATED_COLUMNS))
    marks: pd.DataFrame = field(
        default_factory=partial(pd.DataFrame, columns=file_checks.MARK_COLUMNS)
    )
    accounts: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=_ACCOUNTED))
    missing: pd.DataFrame = field(
        default_factory=partial(pd.DataFrame, columns=(*file_coverage.MISSING_COLUMNS, "format"))
    )
    values_read: int = 0
    duplicate_values: int = 0


@dataclass(frozen=True, kw_only=True)
class Checked(Findings):
    """What may be stored as well: tidy rows, with ``member`` and ``edition`` beside."""

    rows: pd.DataFrame


def check(
    reading: Reading, retrieved_at: datetime, rules: QualitySettings, catalogue: Catalogue
) -> Checked:
    """Separate what can be stored from what cannot, and count what is not there."""
    table = reading.table
    twice = table.duplicated(_IDENTITY, keep=False)
    rows = _long(table[~twice], reading, retrieved_at)
    first, same, contradicting = _duplicates(_long(table[twice], reading, retrieved_at))
    rows = pd.concat([rows, first], ignore_index=True) if len(first) else rows
    latest = epoch(retrieved_at + timedelta(days=rules.ahead_days))
    reasons = _impossible(rows, latest, catalogue)
    wrong = reasons != ""
    good = rows[~wrong].reset_index(drop=True)
    frozen = file_checks.frozen(table.drop_duplicates(_IDENTITY), rules.frozen_h)
    accounts, missing = file_coverage.count(reading, catalogue[reading.series[0]])
    repeated = table.loc[table.duplicated(_IDENTITY), list(REPEATED_COLUMNS)].reset_index(drop=True)
    for column, lines in (("duplicates", repeated), ("frozen_hours", frozen)):
        accounts[column] = (
            accounts["place"].map(lines["place"].value_counts()).fillna(0).astype("int64")
        )
    unusable = (
        _offending(contradicting, "contradicts an earlier line of the same slot"),
        _offending(rows[wrong], reasons[wrong]),
    )
    return Checked(
        rows=good,
        rejected=pd.concat([reading.rejected, *unusable], ignore_index=True),
        repeated=repeated,
        marks=file_checks.marks(good, frozen, rules.frozen_h),
        accounts=accounts,
        missing=missing,
        values_read=len(rows) + same + len(contradicting) + len(reading.rejected),
        duplicate_values=same,
    )


def _duplicates(rows: pd.DataFrame) -> tuple[pd.DataFrame, int, pd.DataFrame]:
    """Return the first value of each slot, how many only repeat one, and those that contradict it."""
    again = rows.duplicated(["series", *_IDENTITY])
    same = rows.duplicated(["series", *_IDENTITY, "value"])
    return rows[~again], int(same.sum()), rows[again & ~same]


def _long(table: pd.DataFrame, reading: Reading, retrieved_at: datetime) -> pd.DataFrame:
    """Return one row per value: the tidy columns, then member, line and edition."""
    beside = ["member", "line", "edition"]
    long = table.melt(
        [*beside, "place", "source", "resolution_s", "start"], reading.series, "series", "value"
    )
    long = long[np.isfinite(long["value"].to_numpy())].reset_index(drop=True)
    slot = pd.to_timedelta(long["resolution_s"], unit="s")
    long["start"] = long["start"].mask(
        long["series"].isin(reading.sums_before), long["start"] - slot
    )
    unknown = pd.Series(pd.NaT, index=long.index, dtype=frames.UTC_S)
    now = pd.Series(pd.Timestamp(retrieved_at), index=long.index, dtype=frames.UTC_S)
    long = long.assign(kind=Kind.OBSERVED.value, provider_updated_at=unknown, retrieved_at=now)
    joined: pd.DataFrame = pd.concat([frames.conform(long), long[beside]], axis=1)
    return joined


def _offending(rows: pd.DataFrame, reason: str | np.ndarray) -> pd.DataFrame:
    text = rows["value"].map("{:g}".format).astype("str")
    offending: pd.DataFrame = rows.assign(text=text, reason=reason).reset_index(drop=True)
    return offending[list(REJECTED_COLUMNS)]


def _impossible(rows: pd.DataFrame, latest: int, catalogue: Catalogue) -> np.ndarray:
    """Return for each row why it cannot be stored, or an empty string."""
    reasons = np.full(len(rows), "", dtype=object)
    for name, at in rows.groupby("series", sort=False).indices.items():
        series, part = catalogue[str(name)], rows.iloc[at]
        value, starts = part["value"].to_numpy(), from_index(part["start"])
        step = part["resolution_s"].to_numpy()
        reasons[at[~on_grid(series, starts, step)]] = "does not begin where a slot does"
        reasons[at[step != resolutions(series, starts)]] = "not the resolution of that time"
        reasons[at[starts > latest]] = "lies in the future"
        reasons[at[series.outside(value)]] = f"outside {series.limits}"
    return reasons
