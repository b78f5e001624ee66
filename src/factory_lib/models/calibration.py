"""From an hourly point forecast to its quarters and its 10–90 % band.

Bands are split-conformal: quantiles of trailing out-of-sample errors, in units of the
spread known at issue, per local hour together with its neighbours, over the last sixteen
weeks known at the issue time. So the band widens with the market and needs no assumption
about the shape of errors. Only errors of forecasts that had not seen their target count.

Quarters follow the slope between the neighbouring hours: since the market settles in
quarters, solar ramps make the first quarter of a morning hour more expensive than its
last. The factor of each hour and quarter is learnt from the last four weeks; where there
is little to learn from, it is that of the straight line. Hourly means do not change.
"""

from __future__ import annotations

import numpy as np

from factory_lib.errors import TooFewRows
from factory_lib.features.calendar import Matrix

LEVELS = (0.1, 0.5, 0.9)
WINDOW_DAYS = 112
LEAST_CALIBRATION_DAYS = 28
# The further ahead, the older the last error known at issue, and the fewer independent
# ones the window holds. Chosen on spot 2024 (days 5 to 7: 77-78 % covered without,
# 79-80 % with it); with it 81-82 % on PVPC 2024, 77-78 % on energy 2017.
WIDER_PER_DAY = 0.01
QUARTER_DAYS = 28
# midpoints of the quarters, in hours from the middle of the hour
_STRAIGHT = (np.arange(4) - 1.5) / 4
_PRIOR = 500.0  # (EUR/MWh)²: slopes of about ten over five days outweigh the straight line


def error_quantiles(
    errors: Matrix, *, levels: tuple[float, ...] = LEVELS, neighbours: int = 1
) -> Matrix:
    """Return the quantiles of each column's errors, pooled with its neighbouring columns.

    Parameters
    ----------
    errors : array, shape (days, columns)
        Actual minus forecast; NaN where the actual is unknown.

    Returns
    -------
    array, shape (levels, columns)

    Raises
    ------
    TooFewRows
        If fewer than ``LEAST_CALIBRATION_DAYS`` days have errors.
    """
    complete = errors[np.isfinite(errors).all(axis=1)]
    if len(complete) < LEAST_CALIBRATION_DAYS:
        raise TooFewRows("bands of a forecast", len(complete), LEAST_CALIBRATION_DAYS)
    columns = complete.shape[1]
    around = np.arange(columns)[:, None] + np.arange(-neighbours, neighbours + 1)
    pooled = complete[:, np.clip(around, 0, columns - 1)].transpose(0, 2, 1).reshape(-1, columns)
    return np.asarray(np.quantile(pooled, levels, axis=0), dtype=np.float64)


def trailing_bands(
    errors: Matrix, first: int, lead: int, *, window_days: int = WINDOW_DAYS
) -> Matrix:
    """Return the error quantiles of every row from ``first`` on, of the errors known at its issue.

    The latest usable error is that of the issue day itself, ``lead`` rows earlier; days
    without an actual do not count.

    Returns
    -------
    array, shape (rows from ``first``, levels, columns)
    """
    complete = np.flatnonzero(np.isfinite(errors).all(axis=1))
    usable = (complete[complete <= row - lead][-window_days:] for row in range(first, len(errors)))
    return np.stack([error_quantiles(errors[rows]) for rows in usable])


def calibration_start(prices: Matrix, end: int) -> int:
    """Return the row from which on ``WINDOW_DAYS`` days of prices are known before row ``end``.

    Raises
    ------
    TooFewRows
        If there are fewer.
    """
    complete = np.flatnonzero(np.isfinite(prices[:end]).all(axis=1))
    if len(complete) < WINDOW_DAYS:
        raise TooFewRows("calibration of a forecast", len(complete), WINDOW_DAYS)
    return int(complete[-WINDOW_DAYS])


def band(forecast: Matrix, quantiles: Matrix, spread: Matrix | float, lead: int = 1) -> Matrix:
    """Return p10, p50 and p90 around a point forecast issued ``lead`` days ahead.

    p50 stays the point forecast, which is fitted to absolute error already; the ends
    never cross it.

    Returns
    -------
    array, shape (3, …) of ``forecast``
    """
    low, _, high = np.moveaxis(quantiles, -2, 0)
    width = spread * (1 + WIDER_PER_DAY * (lead - 1))
    below = forecast + np.minimum(low, 0.0) * width
    above = forecast + np.maximum(high, 0.0) * width
    return np.stack([below, forecast, above])


def quarter_factors(quarters: Matrix) -> Matrix:
    """Estimate each quarter's distance from its hour's mean, per EUR/MWh and hour of slope.

    Parameters
    ----------
    quarters : array, shape (days, 96)
        Quarter-hourly prices known at the issue time; the last four weeks are used,
        days with holes left out.

    Returns
    -------
    array, shape (24, 4)
        The four of an hour sum to zero.
    """
    recent = quarters[-QUARTER_DAYS:]
    recent = recent[np.isfinite(recent).all(axis=1)].reshape(-1, 24, 4)
    hourly = recent.mean(axis=2)
    slope = _slope(hourly)[:, :, None]
    learnt = (slope * (recent - hourly[:, :, None])).sum(axis=0) + _PRIOR * _STRAIGHT
    return np.asarray(learnt / ((slope**2).sum(axis=0) + _PRIOR))


def in_quarters(hourly: Matrix, factors: Matrix) -> Matrix:
    """Return hourly forecasts (days, 24) as quarters (days, 96) with the same hourly means."""
    fine = hourly[:, :, None] + _slope(hourly)[:, :, None] * factors
    return np.asarray(fine).reshape(len(hourly), 96)


def _slope(hourly: Matrix) -> Matrix:
    edged = np.pad(hourly, ((0, 0), (1, 1)), mode="edge")
    return (edged[:, 2:] - edged[:, :-2]) / 2
