"""Local days: their calendar, and series laid out as a matrix of days with lags and trailing means.

A day-ahead market publishes whole local days, so a price series is a matrix: one row
per local day, one column per local hour (24) or quarter (96). Row shifts are then lags
in days, and "known at the issue time" is one rule: a feature of target day d, forecast
``lead`` days ahead, may only use rows up to d - ``lead``. Every function here takes
that distance as an argument and uses no later row.

Every national holiday of the ``holidays`` library counts, Good Friday included: electric
load falls on all of them, whatever the tariff's own list of holidays is.
"""

from dataclasses import dataclass
from datetime import date
from functools import cache

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID, QUARTER_S, day_bounds, epoch, slots_in_day
from factory_lib.domain.tariff import local_dates
from factory_lib.slots import Slots, from_index, to_index

Days = npt.NDArray[np.datetime64]
Flags = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]

YEAR_DAYS = 365.25
_SPRING_HOUR = 2  # the local hour that the spring clock change leaves out


@cache
def _national_holidays() -> holidays.HolidayBase:
    """Return the national holidays of Spain on their own dates, never moved, of any year."""
    return holidays.country_holidays("ES", observed=False)


def weekdays(days: Days) -> npt.NDArray[np.int64]:
    """Return 0 (Monday) … 6 (Sunday) for each local day (``datetime64[D]``)."""
    return pd.DatetimeIndex(days).day_of_week.to_numpy(dtype=np.int64)


def holiday_flags(days: Days) -> Flags:
    """Return for each local day whether it is a national holiday."""
    dates = days.astype("datetime64[D]").tolist()
    return np.array([day in _national_holidays() for day in dates], dtype=bool)


def year_angles(days: Days) -> Matrix:
    """Return sine and cosine of the day of the year, two harmonics: shape (days, 4)."""
    new_year = days.astype("datetime64[Y]").astype("datetime64[D]")
    angle = 2 * np.pi * (days - new_year).astype(np.float64) / YEAR_DAYS
    return np.column_stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)])


def day_calendar(days: Days, lead: int) -> dict[str, Matrix]:
    """Return the calendar of each target day, and whether its issue day was a holiday.

    Parameters
    ----------
    days : array of datetime64[D]
        Target days.
    lead : int
        Days between issue and target; a holiday on the issue day explains unusual prices
        of that day.

    Returns
    -------
    dict of str to array, shape (days,)
        Floats by name of the feature.
    """
    weekday = weekdays(days)
    holiday = holiday_flags(days)
    columns = {f"weekday_{n}": weekday == n for n in range(7)} | {
        "weekday": weekday,
        "holiday": holiday,
        "holiday_before": holiday_flags(days - 1),
        "holiday_after": holiday_flags(days + 1),
        "holiday_on_workday": holiday & (weekday < 5),
        "issue_day_holiday": holiday_flags(days - lead),
    }
    columns |= zip(
        ("year_sin", "year_cos", "year_sin2", "year_cos2"), year_angles(days).T, strict=True
    )
    return {name: values.astype(np.float64) for name, values in columns.items()}


def slot_calendar(index: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the calendar of each slot, in local terms.

    Parameters
    ----------
    index : DatetimeIndex
        Aware instants.

    Returns
    -------
    DataFrame
        Indexed like ``index``: ``hour_local`` (quarters as fractions), ``weekday``,
        ``holiday``, ``year_sin``, ``year_cos``; floats.

    Raises
    ------
    TypeError
        If ``index`` is naive.
    """
    local = index.tz_convert(MADRID)
    distinct, position = np.unique(local_dates(index), return_inverse=True)
    angles = year_angles(distinct)[position]
    columns = {
        "hour_local": local.hour + local.minute / 60,
        "weekday": local.day_of_week,
        "holiday": holiday_flags(distinct)[position],
        "year_sin": angles[:, 0],
        "year_cos": angles[:, 1],
    }
    return pd.DataFrame(columns, index=index).astype(np.float64)


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
        return int((np.datetime64(day).astype("datetime64[D]") - self.days[0]).astype(np.int64))

    def spanning(self, first: date | np.datetime64, last: date | np.datetime64) -> "DayMatrix":
        """Return the same series on the days ``first`` … ``last``, NaN beyond its own days."""
        rows = np.arange(self.row(first), self.row(last) + 1)
        days = self.days[0] + rows.astype("timedelta64[D]")
        return DayMatrix(days, pd.DataFrame(self.grid, self.days).reindex(days).to_numpy())

    def until(self, day: date | np.datetime64) -> "DayMatrix":
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
    local = to_index(starts).tz_convert(MADRID).tz_localize(None)
    day = local.to_numpy().astype("datetime64[D]")
    days = np.arange(day[0], day[-1] + 1)
    shape = (len(days), 24 * HOUR_S // resolution_s)
    column = (local.hour * HOUR_S + local.minute * 60) // resolution_s
    cell = (day - days[0]).astype(np.int64) * shape[1] + np.asarray(column)
    mean = pd.Series(values).groupby(cell).mean().reindex(range(shape[0] * shape[1]))
    return DayMatrix(days, _bridge_spring(days, mean.to_numpy(copy=True).reshape(shape)))


def to_slots(day: date, row: Matrix) -> pd.Series:
    """Return one row of a matrix as the slots of its market day, by ``start`` (UTC).

    Both passes of the repeated autumn hour take the same value.
    """
    step = 24 * HOUR_S // len(row)
    start, end = map(epoch, day_bounds(day))
    index = to_index(np.arange(start, end, step, dtype=np.int64))
    local = index.tz_convert(MADRID)
    return pd.Series(
        row[np.asarray((local.hour * HOUR_S + local.minute * 60) // step)], index=index
    )


def lag(values: Matrix, days: int) -> Matrix:
    """Return each row's predecessor ``days`` earlier; unknown where there is none."""
    return pd.DataFrame(values).shift(days).to_numpy(dtype=np.float64)


def trailing_mean(values: Matrix, window: int, lead: int, *, at_least: int = 1) -> Matrix:
    """Return the mean of the known ones of the ``window`` rows that end ``lead`` rows earlier."""
    mean = pd.DataFrame(values).rolling(window, min_periods=at_least).mean()
    return mean.shift(lead).to_numpy(dtype=np.float64)


def known_mean(parts: npt.ArrayLike) -> Matrix:
    """Return the mean of the known values along the first axis; NaN where none is known."""
    stack = np.asarray(parts, dtype=np.float64)
    count = np.isfinite(stack).sum(axis=0)
    return np.asarray(np.nansum(stack, axis=0) / np.where(count > 0, count, np.nan))


def _hourly(starts: Slots, values: Matrix) -> tuple[Slots, Matrix]:
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
