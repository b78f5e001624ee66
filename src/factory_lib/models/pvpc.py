"""The regulated tariff (PVPC) of a day whose spot prices are published and its own are not.

The tariff passes the spot price on, with losses and charges by period on top, and since
2024 prices of futures in part. So it follows the spot by one slope within the day and by
another from day to day, learnt from the last like days (working days, or the others); the
rest of each hour is their median.
"""

import numpy as np

from factory_lib.domain.tariff import tariff_holidays
from factory_lib.features.days import DayMatrix, Days, Flags, Matrix

# Chosen on 2023, where twice as many days cost a fifth more.
SLOPE_DAYS = 14
LIKE_DAYS = 7
DAY_SLOPE = 0.85  # from day to day, before anything is learnt; within the day it is 1
PRIOR_EUR2 = 30.0  # (EUR/MWh)² a day: that much variation of the spot weighs as much as the prior
_LOOK_BACK_DAYS = 60  # so many days hold fourteen that are no working days, holes included


def pvpc_from_spot(pvpc: DayMatrix, spot: DayMatrix, first: int) -> Matrix:
    """Return the tariff of each row of ``pvpc`` from ``first`` on, from that day's spot prices.

    Parameters
    ----------
    pvpc, spot : DayMatrix
        Hourly, EUR/MWh. For a row, the tariff of earlier rows and the spot prices up to
        that row are used.

    Returns
    -------
    array, shape (rows from ``first``, 24)
        NaN where the spot prices of the day, or any of the days before, are unknown.
    """
    market = spot.spanning(pvpc.days[0], pvpc.days[-1]).grid
    working = _working(pvpc.days)
    rows = range(first, len(pvpc.days))
    return np.stack([_day(pvpc.grid, market, working, row) for row in rows])


def _day(pvpc: Matrix, market: Matrix, working: Flags, row: int) -> Matrix:
    past = slice(max(row - _LOOK_BACK_DAYS, 0), row)
    complete = np.isfinite(pvpc[past] + market[past]).all(axis=1)
    like = complete & (working[past] == working[row])
    if not like.any():
        return np.full(pvpc.shape[1], np.nan)
    recent = [table[past][like][-SLOPE_DAYS:] for table in (pvpc, market)]
    within = _slope([_within(part) for part in recent], 1.0)
    means = [part.mean(axis=1) - part.mean() for part in recent]
    across = _slope(means, DAY_SLOPE)
    expected = within * market + (across - within) * market.mean(axis=1, keepdims=True)
    rest = (pvpc - expected)[past][like][-LIKE_DAYS:]
    return np.asarray(expected[row] + np.median(rest, axis=0))


def _slope(pair: list[Matrix], prior: float) -> float:
    """Return the regression of the tariff on the price, near a prior where prices vary little."""
    tariff, price = pair
    weight = PRIOR_EUR2 * len(tariff)
    return float(((tariff * price).sum() + prior * weight) / ((price**2).sum() + weight))


def _within(table: Matrix) -> Matrix:
    """Return what is left of (days, hours) without the means of the days and of the hours."""
    days = table - table.mean(axis=1, keepdims=True)
    return np.asarray(days - days.mean(axis=0))


def _working(days: Days) -> Flags:
    """Return the days on which the tariff has its peak hours."""
    free = [day.weekday() >= 5 or day in tariff_holidays(day.year) for day in days.tolist()]
    return ~np.array(free, dtype=bool)
