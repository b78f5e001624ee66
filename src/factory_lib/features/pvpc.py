"""The regulated tariff (PVPC) of a day whose spot prices are published and its own are not.

The tariff passes the spot price on, with losses and charges by period on top, and
since 2024 prices of futures in part. So it follows the spot by one slope within the day
and by another from day to day, learnt from the last like days (working days, or the
others); the rest of each hour is their median. Where the spot itself is a forecast, one
slope serves.
"""

from collections.abc import Iterator

import numpy as np

from factory_lib.domain.tariff import tariff_holidays
from factory_lib.features.days import DayMatrix, Days, Flags, Matrix

# Chosen on 2023, where twice as many days cost a fifth more.
SLOPE_DAYS = 14
LIKE_DAYS = 7
DAY_SLOPE = 0.85  # from day to day, before anything is learnt; within the day it is 1
# (EUR/MWh)² a day: that much variation of the spot weighs as much as the prior
PRIOR_EUR2 = 30.0
# so many days hold fourteen that are no working days, holes included
_LOOK_BACK_DAYS = 60


def pvpc_from_spot(pvpc: DayMatrix, spot: DayMatrix, first: int) -> Matrix:
    """Return the tariff of each row of ``pvpc`` from ``first`` on, from its spot prices.

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
    made = np.full((len(pvpc.days), pvpc.grid.shape[1]), np.nan)
    rows = range(first, len(made))
    for row, tariff, price in _like_days(pvpc.grid, market, _working(pvpc.days), rows, 1):
        recent = [table[-SLOPE_DAYS:] for table in (tariff, price)]
        within = _slope([_within(part) for part in recent], 1.0)
        across = _slope([part.mean(axis=1) - part.mean() for part in recent], DAY_SLOPE)
        prices = np.vstack([price[-LIKE_DAYS:], market[row]])
        expected = within * prices + (across - within) * prices.mean(axis=1, keepdims=True)
        made[row] = expected[-1] + np.median(tariff[-LIKE_DAYS:] - expected[:-1], axis=0)
    return made[first:]


def tariff_on_spot(pvpc: Matrix, spot: Matrix, days: Days, lead: int) -> tuple[Matrix, Matrix]:
    """Return slope and rest of each day's tariff on its spot, learnt ``lead`` days before.

    Returns
    -------
    slope : array, shape (days,)
    rest : array, shape (days, 24)
        EUR/MWh; NaN where no like day before is known.
    """
    slope = np.full(len(days), DAY_SLOPE)
    rest = np.full(pvpc.shape, np.nan)
    for row, tariff, price in _like_days(pvpc, spot, _working(days), range(lead, len(days)), lead):
        recent = [table[-SLOPE_DAYS:] for table in (tariff, price)]
        slope[row] = _slope([part - part.mean(axis=0) for part in recent], DAY_SLOPE)
        rest[row] = np.median((tariff - slope[row] * price)[-LIKE_DAYS:], axis=0)
    return slope, rest


def _like_days(
    pvpc: Matrix, spot: Matrix, working: Flags, rows: range, lead: int
) -> Iterator[tuple[int, Matrix, Matrix]]:
    """Yield each row with tariff and spot price of the like days known for it, if any."""
    complete = np.asarray(np.isfinite(pvpc + spot).all(axis=1))
    for row in rows:
        past = np.arange(max(row - lead + 1 - _LOOK_BACK_DAYS, 0), row - lead + 1)
        like = past[complete[past] & (working[past] == working[row])]
        if len(like):
            yield row, pvpc[like], spot[like]


def _slope(pair: list[Matrix], prior: float) -> float:
    """Return the regression on the price, near a prior where prices vary little."""
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
