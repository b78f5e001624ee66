"""From hours to quarters: how prices lean within an hour.

Since the market settles in quarters, solar ramps make the first quarter of a morning
hour dearer than its last. The lean is proportional to the slope between the
neighbouring hours, with a factor that each hour and quarter learns from the last four
weeks; where there is little to learn from it is the straight line. Hourly means stay
what they were.
"""

from __future__ import annotations

import numpy as np

from factory_lib.features.calendar import Matrix

WINDOW_DAYS = 28
_STRAIGHT = (
    np.arange(4) - 1.5
) / 4  # midpoints of the quarters, in hours from the middle of the hour
_PRIOR = 500.0  # (EUR/MWh)²: slopes of about ten over five days outweigh the straight line


def quarter_factors(known: Matrix) -> Matrix:
    """Learn how far each quarter lies from its hour's mean, per EUR/MWh and hour of slope.

    Parameters
    ----------
    known : array, shape (days, 96)
        Quarter-hourly prices known at the issue time; the last four weeks are used,
        days with holes left out.

    Returns
    -------
    array, shape (24, 4)
        The four of an hour sum to zero.
    """
    recent = known[-WINDOW_DAYS:]
    recent = recent[np.isfinite(recent).all(axis=1)].reshape(-1, 24, 4)
    hourly = recent.mean(axis=2)
    slope = _slope(hourly)[:, :, None]
    learnt = (slope * (recent - hourly[:, :, None])).sum(axis=0) + _PRIOR * _STRAIGHT
    return np.asarray(learnt / ((slope**2).sum(axis=0) + _PRIOR))


def in_quarters(hourly: Matrix, factors: Matrix) -> Matrix:
    """Return hourly forecasts (days, 24) as quarter-hourly ones (days, 96) with the same hourly means."""
    return np.asarray(hourly[:, :, None] + _slope(hourly)[:, :, None] * factors).reshape(
        len(hourly), 96
    )


def _slope(hourly: Matrix) -> Matrix:
    edged = np.pad(hourly, ((0, 0), (1, 1)), mode="edge")
    return (edged[:, 2:] - edged[:, :-2]) / 2
