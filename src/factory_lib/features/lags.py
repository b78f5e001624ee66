"""Market days as a matrix, with its lags and trailing statistics.

A day-ahead market publishes whole local days, so a price series is a matrix: one row
per local day, one column per local hour (24) or quarter (96). Row shifts are then lags
in days, and "known at the issue time" is one rule: a feature of target day d, forecast
``lead`` days ahead, may only use rows up to d - ``lead``. Every function here takes
that distance as an argument and uses no later row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID, QUARTER_S, day_bounds, slots_in_day
from factory_lib.features.calendar import Days, Matrix
from factory_lib.slots import from_index, to_index

_SPRING_HOUR = 2  # the local hour that the spring clock change leaves out


@dataclass(frozen=True)
class DayMatrix:
    """A series by local day and local time of day.

    Attributes
    ----------
    days : array of datetime64[D]
        Consecutive local days.
    grid : array, shape (days, 24) or (days, 96)
        NaN where unknown. The hour that a 25-hour day has twice is its mean, the one
        that a 23-hour day lacks is the mean of its neighbours: a matrix for models, not
        for storage.
    """

    days: Days
    grid: Matrix

    def row(self, day: date | np.datetime64) -> int:
        """Return the row number of ``day``, which may lie outside the matrix."""
        distance = np.datetime64(day).astype("datetime64[D]") - self.days[0]
        return int(distance // np.timedelta64(1, "D"))

    def spanning(self, first: date | np.datetime64, last: date | np.datetime64) -> DayMatrix:
        """Return the same series on the days ``first`` … ``last``, NaN beyond its own days."""
        rows = np.arange(self.row(first), self.row(last) + 1)
        grid = np.full((len(rows), self.grid.shape[1]), np.nan)
        inside = (rows >= 0) & (rows < len(self.days))
        grid[inside] = self.grid[rows[inside]]
        return DayMatrix(self.days[0] + rows.astype("timedelta64[D]"), grid)

    def until(self, day: date | np.datetime64) -> DayMatrix:
        """Return the rows up to and including ``day``: those known once it is published."""
        end = self.row(day) + 1
        return DayMatrix(self.days[:end], self.grid[:end])


def day_matrix(series: pd.Series, resolution_s: int = HOUR_S) -> DayMatrix:
    """Lay a series out by local day and time of day.

    Parameters
    ----------
    series : Series
        Indexed by slot start, aware; hours, quarters, or hours first and quarters
        later. An hour is the mean of its four quarters, and unknown unless all four are
        there.
    resolution_s : int
        3600 or 900; quarters are NaN where the series has hours.
    """
    published = series.dropna().sort_index()
    starts = from_index(pd.DatetimeIndex(published.index))
    values = published.to_numpy(dtype=np.float64)
    if resolution_s == HOUR_S:
        starts, values = _hourly(starts, values)
    local = to_index(starts).tz_convert(MADRID).tz_localize(None).to_numpy().astype("datetime64[s]")
    day = local.astype("datetime64[D]")
    columns = 24 * HOUR_S // resolution_s
    days = np.arange(day[0], day[-1] + 1)
    cell = (day - days[0]).astype(int) * columns + (local - day).astype(int) // resolution_s
    count = np.bincount(cell, minlength=len(days) * columns)
    total = np.bincount(cell, weights=values, minlength=len(days) * columns)
    matrix = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(len(days), columns)
    return DayMatrix(days, _bridge_spring(days, matrix))


def to_slots(day: date, row: Matrix) -> pd.Series:
    """Return one row of a matrix as the slots of its market day, by ``start`` (UTC).

    Both passes of the repeated autumn hour take the same value.
    """
    step = 24 * HOUR_S // len(row)
    start, end = (int(bound.timestamp()) for bound in day_bounds(day))
    index = to_index(np.arange(start, end, step, dtype=np.int64))
    local = index.tz_convert(MADRID)
    return pd.Series(
        row[np.asarray((local.hour * HOUR_S + local.minute * 60) // step)], index=index
    )


def lag(values: Matrix, days: int) -> Matrix:
    """Return each row's predecessor ``days`` earlier; unknown where there is none."""
    moved = np.full_like(values, np.nan)
    moved[days:] = values[: len(values) - days]
    return moved


def trailing_mean(values: Matrix, window: int, lead: int, *, at_least: int = 1) -> Matrix:
    """Return the mean of the known ones of the ``window`` rows that end ``lead`` rows earlier."""
    frame = pd.DataFrame(values)
    return lag(frame.rolling(window, min_periods=at_least).mean().to_numpy(dtype=np.float64), lead)


def known_mean(parts: npt.ArrayLike, axis: int = 0) -> Matrix:
    """Return the mean of the known values along ``axis``; NaN where none is known."""
    stack = np.asarray(parts, dtype=np.float64)
    count = np.isfinite(stack).sum(axis=axis)
    total = np.nansum(stack, axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)


def _hourly(starts: npt.NDArray[np.int64], values: Matrix) -> tuple[npt.NDArray[np.int64], Matrix]:
    hours, position, count = np.unique(starts // HOUR_S, return_inverse=True, return_counts=True)
    quarters = starts[starts % HOUR_S != 0]
    since = quarters[0] // HOUR_S if len(quarters) else np.inf
    complete = count == np.where(hours >= since, HOUR_S // QUARTER_S, 1)
    mean = np.bincount(position, weights=values) / count
    return hours[complete] * HOUR_S, mean[complete]


def _bridge_spring(days: Days, matrix: Matrix) -> Matrix:
    per_hour = matrix.shape[1] // 24
    gap = slice(_SPRING_HOUR * per_hour, (_SPRING_HOUR + 1) * per_hour)
    neighbours = matrix[:, [gap.start - 1, gap.stop]].mean(axis=1)
    for row in np.flatnonzero(np.isnan(matrix[:, gap]).all(axis=1) & np.isfinite(neighbours)):
        if slots_in_day(days[row].astype(date), HOUR_S) == 23:
            matrix[row, gap] = neighbours[row]
    return matrix
