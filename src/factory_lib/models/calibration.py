"""Bands from what the forecaster got wrong lately: split-conformal quantiles of trailing out-of-sample errors.

Errors are taken in units of the spread known at issue, per local hour together with its
neighbours, over the last sixteen weeks that were known at the issue time. So the band
widens with the market and needs no assumption about the shape of errors. Only errors of
forecasts that had not seen their target may go in.
"""

from __future__ import annotations

import numpy as np

from factory_lib.errors import TooFewRows
from factory_lib.features.calendar import Matrix

LEVELS = (0.1, 0.5, 0.9)
WINDOW_DAYS = 112
LEAST_DAYS = 28
# The further ahead, the older the last error known at issue, and the fewer independent
# ones the window holds. Chosen on spot 2024 (days 5 to 7: 77-78 % covered without,
# 79-80 % with it); with it 81-82 % on PVPC 2024, 77-78 % on energy 2017.
WIDER_PER_DAY = 0.01


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
        If fewer than ``LEAST_DAYS`` days have errors.
    """
    known = errors[np.isfinite(errors).all(axis=1)]
    if len(known) < LEAST_DAYS:
        raise TooFewRows("bands of a forecast", len(known), LEAST_DAYS)
    columns = known.shape[1]
    reach = np.clip(
        np.arange(columns)[:, None] + np.arange(-neighbours, neighbours + 1), 0, columns - 1
    )
    pooled = known[:, reach].transpose(0, 2, 1).reshape(-1, columns)
    return np.asarray(np.quantile(pooled, levels, axis=0), dtype=np.float64)


def trailing_bands(
    errors: Matrix, first: int, lead: int, *, window_days: int = WINDOW_DAYS
) -> Matrix:
    """Return the error quantiles for every row from ``first`` on, each from the errors known at its issue.

    The latest usable error is that of the issue day itself, ``lead`` rows earlier; days
    without an actual do not count.

    Returns
    -------
    array, shape (rows from ``first``, levels, columns)
    """
    known = np.flatnonzero(np.isfinite(errors).all(axis=1))
    usable = (known[known <= row - lead][-window_days:] for row in range(first, len(errors)))
    return np.stack([error_quantiles(errors[rows]) for rows in usable])


def calibration_start(prices: Matrix, end: int) -> int:
    """Return the row from which on there are ``WINDOW_DAYS`` days of known prices before row ``end``.

    Raises
    ------
    TooFewRows
        If there are fewer.
    """
    known = np.flatnonzero(np.isfinite(prices[:end]).all(axis=1))
    if len(known) < WINDOW_DAYS:
        raise TooFewRows("calibration of a forecast", len(known), WINDOW_DAYS)
    return int(known[-WINDOW_DAYS])


def band(forecast: Matrix, quantiles: Matrix, spread: Matrix | float, lead: int = 1) -> Matrix:
    """Return p10, p50 and p90 around a point forecast issued ``lead`` days ahead.

    p50 stays the point forecast, which is fitted to absolute error already; the ends
    never cross it.

    Returns
    -------
    array, shape (3, …) of ``forecast``
    """
    low, _, high = np.moveaxis(quantiles, -2, 0)
    spread = spread * (1 + WIDER_PER_DAY * (lead - 1))
    return np.stack(
        [
            forecast + np.minimum(low, 0.0) * spread,
            forecast,
            forecast + np.maximum(high, 0.0) * spread,
        ]
    )
