"""Features of the local calendar: weekday, holidays and their neighbours, time of the year.

Every national holiday of the ``holidays`` library counts, Good Friday included: electric
load falls on all of them, whatever the tariff's own list of holidays is.
"""

from __future__ import annotations

from datetime import date
from functools import cache

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.clock import MADRID

Days = npt.NDArray[np.datetime64]
Flags = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]

_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0
YEAR_DAYS = 365.25


@cache
def national_holidays(year: int) -> frozenset[date]:
    """Return the national holidays of Spain in ``year``, on their own dates, never moved."""
    return frozenset(holidays.country_holidays("ES", years=year, observed=False))


def weekdays(days: Days) -> npt.NDArray[np.int64]:
    """Return 0 (Monday) … 6 (Sunday) for each local day (``datetime64[D]``)."""
    return (days.astype("datetime64[D]").astype(np.int64) + _EPOCH_WEEKDAY) % 7


def holiday_flags(days: Days) -> Flags:
    """Return for each local day whether it is a national holiday."""
    dates = days.astype("datetime64[D]").tolist()
    return np.array([day in national_holidays(day.year) for day in dates], dtype=bool)


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
    one = np.timedelta64(1, "D")
    weekday = weekdays(days)
    holiday = holiday_flags(days)
    sine, cosine, sine2, cosine2 = year_angles(days).T
    columns = {f"weekday_{n}": weekday == n for n in range(7)} | {
        "weekday": weekday,
        "holiday": holiday,
        "holiday_before": holiday_flags(days - one),
        "holiday_after": holiday_flags(days + one),
        "holiday_on_workday": holiday & (weekday < 5),
        "issue_day_holiday": holiday_flags(days - lead * one),
        "year_sin": sine,
        "year_cos": cosine,
        "year_sin2": sine2,
        "year_cos2": cosine2,
    }
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
    if index.tz is None:
        raise TypeError("naive timestamps: localise them first")
    local = index.tz_convert(MADRID)
    days = local.tz_localize(None).to_numpy().astype("datetime64[D]")
    distinct, position = np.unique(days, return_inverse=True)
    angles = year_angles(distinct)[position]
    return pd.DataFrame(
        {
            "hour_local": np.asarray(local.hour + local.minute / 60, dtype=np.float64),
            "weekday": weekdays(days).astype(np.float64),
            "holiday": holiday_flags(distinct)[position].astype(np.float64),
            "year_sin": angles[:, 0],
            "year_cos": angles[:, 1],
        },
        index=index,
    )
