"""Checks of a reading: values to store, repeated, contradictory and impossible ones, gaps."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import Catalogue, DayAhead, Kind, Series
from factory_lib.clock import HOUR_S, MADRID, day_bounds, day_start, epoch, from_epoch, market_day
from factory_lib.importers import doubts
from factory_lib.importers.reading import Format, Reading, Rejection
from factory_lib.pipeline.gaps import day_labels
from factory_lib.pipeline.quality import FLAGGED_COLUMNS
from factory_lib.settings.records import QualitySettings
from factory_lib.slots import expected, from_index, number_runs, on_grid, resolutions, to_index

REJECTED_COLUMNS = ["member", "line", "place", "start", "series", "text", "reason"]
REPEATED_COLUMNS = ["member", "line", "place", "start"]
MISSING_COLUMNS = ["place", "day", "slots_missing", "slots_expected"]
FINDINGS_BY_PLACE = ("missing_days", "incomplete_days", "empty_days", "duplicates", "frozen_hours")
_IDENTITY = ["place", "source", "resolution_s", "start", "edition"]
_TEXTS = dict.fromkeys(("member", "place", "series", "text", "reason"), "str")
_READINGS = ("temperature_c", "humidity_pct", "wind_speed_ms", "precipitation_mm")


@dataclass(frozen=True)
class CheckedReading:
    """A reading, separated.

    Attributes
    ----------
    rows : DataFrame
        Values to store: tidy rows, with ``member`` and ``edition``.
    tables : mapping of str to DataFrame
        ``rejected`` values and lines, which are not stored, and why
        (``REJECTED_COLUMNS``); ``repeated`` lines, for a slot that has one already
        (``REPEATED_COLUMNS``); values to store and to put in quarantine
        (``quarantined``); ``places`` and ``missing`` days (``count_days``).
    counts : Counter
        ``values_read``, cells that held something; ``repeated_values``, cells of lines
        that only repeat another; ``rejected``, ``quarantined`` and the sums of
        ``places``.
    """

    rows: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    counts: Counter[str]


def check(
    reading: Reading,
    fmt: Format,
    retrieved_at: datetime,
    rules: QualitySettings,
    catalogue: Catalogue,
) -> CheckedReading:
    """Separate what can be stored from what cannot, and count what is not there."""
    table = reading.table
    twice = table.duplicated(_IDENTITY, keep=False)
    rows = _long(table[~twice], reading, fmt, retrieved_at)
    doubles = _long(table[twice], reading, fmt, retrieved_at)
    again = doubles.duplicated(["series", *_IDENTITY])
    same = doubles.duplicated(["series", *_IDENTITY, "value"])
    if len(doubles):
        rows = pd.concat([rows, doubles[~again]], ignore_index=True)
    reasons = _impossible(rows, retrieved_at + timedelta(days=rules.ahead_days), catalogue)
    possible = rows[reasons == ""]
    reasons[reasons == ""] = doubts.file_reasons(possible, rules, catalogue)
    exchanged = rows["member"].isin(doubts.exchanged_members(table)).to_numpy()
    reasons[(reasons == "") & exchanged] = doubts.EXCHANGED
    good = rows[reasons == ""].reset_index(drop=True)
    frozen = _frozen(table.drop_duplicates(_IDENTITY), rules.frozen_h)
    repeated = table.loc[table.duplicated(_IDENTITY), REPEATED_COLUMNS].reset_index(drop=True)
    places, missing = count_days(reading, fmt, catalogue[reading.series[0]])
    for column, lines in (("duplicates", repeated), ("frozen_hours", frozen)):
        counted = places["place"].map(lines["place"].value_counts())
        places[column] = counted.fillna(0).astype("int64")
    unusable = (
        rejection_table(reading.rejected),
        _offending(doubles[again & ~same], "contradicts an earlier line of the same slot"),
        _offending(rows[reasons != ""], reasons[reasons != ""]),
    )
    tables = {
        "rejected": pd.concat(unusable, ignore_index=True),
        "repeated": repeated,
        "quarantined": _flagged(good, frozen, rules.frozen_h),
        "places": places,
        "missing": missing,
    }
    counts = Counter({name: int(places[name].sum()) for name in FINDINGS_BY_PLACE})
    counts.update(
        values_read=len(rows) + int(again.sum()) + len(reading.rejected),
        repeated_values=int(same.sum()),
        rejected=len(tables["rejected"]),
        quarantined=len(tables["quarantined"]),
    )
    return CheckedReading(good, tables, counts)


def rejection_table(rejected: Iterable[Rejection]) -> pd.DataFrame:
    """Return what could not be read (``REJECTED_COLUMNS``)."""
    table = pd.DataFrame(rejected, columns=list(Rejection._fields))
    table = table.assign(place="", start=pd.Series(dtype=frames.UTC_S))
    return table[REJECTED_COLUMNS].astype({"line": "int64", **_TEXTS})


def _long(
    table: pd.DataFrame, reading: Reading, fmt: Format, retrieved_at: datetime
) -> pd.DataFrame:
    """Return one row per value: the tidy columns, then member, line and edition."""
    beside = ["member", "line", "edition"]
    long = table.melt(
        [*beside, "place", "source", "resolution_s", "start"], reading.series, "series", "value"
    )
    long = long[np.isfinite(long["value"].to_numpy())].reset_index(drop=True)
    slot = pd.to_timedelta(long["resolution_s"], unit="s")
    long = long.assign(
        start=long["start"].mask(long["series"].isin(fmt.sums_before), long["start"] - slot),
        kind=Kind.OBSERVED.value,
        provider_updated_at=pd.Series(dtype=frames.UTC_S),
        retrieved_at=pd.Timestamp(retrieved_at),
    )
    joined: pd.DataFrame = pd.concat([frames.conform(long), long[beside]], axis=1)
    return joined


def _offending(rows: pd.DataFrame, reason: str | np.ndarray) -> pd.DataFrame:
    text = rows["value"].map("{:g}".format).astype("str")
    return rows.assign(text=text, reason=reason).reset_index(drop=True)[REJECTED_COLUMNS]


def _impossible(rows: pd.DataFrame, latest: datetime, catalogue: Catalogue) -> np.ndarray:
    """Return for each row why it cannot be stored, or an empty string."""
    reasons = np.full(len(rows), "", dtype=object)
    for name, at in rows.groupby("series", sort=False).indices.items():
        series = catalogue[str(name)]
        part = rows.iloc[at]
        starts = from_index(part["start"])
        step = part["resolution_s"].to_numpy()
        reasons[at[~on_grid(series, starts, step)]] = "does not begin where a slot does"
        reasons[at[step != resolutions(series, starts)]] = "not the resolution of that time"
        reasons[at[starts > epoch(latest)]] = "lies in the future"
        reasons[at[series.outside(part["value"].to_numpy())]] = f"outside {series.limits}"
    return reasons


# -- values that are stored and quarantined -------------------------------------------------------


def _flagged(rows: pd.DataFrame, frozen: pd.DataFrame, hours: float) -> pd.DataFrame:
    """Return the values of frozen lines and of halved hours."""
    constant = rows.merge(frozen[["member", "line"]])
    flagged = (
        constant.assign(
            rule="flat_line", reason=f"unchanged in every reading for {hours:g} h or more"
        ),
        _halved(rows).assign(
            rule="halved_hour", reason="both repeated hours hold half of the sum published for them"
        ),
    )
    return pd.concat(flagged, ignore_index=True)[FLAGGED_COLUMNS]


def _frozen(table: pd.DataFrame, hours: float) -> pd.DataFrame:
    """Return the lines of hourly weather that are alike in every reading for so many hours."""
    readings = [name for name in _READINGS if name in table]
    if not readings:
        return table[:0]
    ordered = table.sort_values(["place", "start"])
    starts = from_index(ordered["start"])
    run = number_runs(starts, starts + HOUR_S, *(ordered[name] for name in ("place", *readings)))
    return ordered[np.bincount(run)[run] >= hours]


def _halved(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the October hours of years in which the operator published one sum for both.

    Public copies then hold half of that sum in each: alike to the last digit, and up to
    1 EUR/MWh off.
    """
    of_operator = (rows["series"] == "spot_eur_mwh") & (rows["source"] == "ree")
    spot = rows[of_operator & (rows["resolution_s"] == HOUR_S)]
    wall = spot["start"].dt.tz_convert(MADRID).dt.tz_localize(None)
    twice = spot[wall.duplicated(keep=False)]
    alike = twice.groupby(wall[twice.index])["value"].transform("nunique") == 1
    halved: pd.DataFrame = twice[alike]
    return halved


# -- days that a file lacks: without a line, with some slots only, or with empty lines ------------


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
    days = due.groupby(["place", "day"], as_index=False).agg(
        slots_expected=("start", "size"),
        slots_present=("is_line", "count"),
        slots_filled=("has_value", "sum"),
    )
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
    judged = own_days.drop_duplicates()
    if fmt.editions:  # files of one day each: a single one that lacks among them shows
        parts = [
            pd.DataFrame({"place": place, "day": doubts.between_days(group["day"].to_numpy())})
            for place, group in judged.groupby("place")
        ]
        judged = pd.concat([judged, *parts])
    return due.merge(judged, on=["place", "day"])


def _span(series: Series, first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return the window that should be full: whole market days of what is published by the day."""
    if isinstance(next(iter(series.publication.values())), DayAhead):
        return day_start(market_day(first)), day_bounds(market_day(last))[1]
    return first, last + timedelta(seconds=1)


def _as_times(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    times = {name: to_index(frame[name].to_numpy(dtype=np.int64)) for name in columns}
    return frame.assign(**times).reset_index(drop=True)
