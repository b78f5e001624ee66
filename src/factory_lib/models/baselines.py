"""Naive price forecasts: the benchmark of every model, and the forecast where no model serves.

A naive forecast repeats a published day: the latest (`day_before`: the issue day at every
lead), the same day of the week before the target (`week_before`), or the field's standard
(Monday, Saturday and Sunday repeat last week, the other days the latest day). A missing
day is replaced by the last known one of the week before it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from factory_lib.features.calendar import Matrix, weekdays
from factory_lib.features.lags import DayMatrix, lag

DAY_BEFORE, WEEK_BEFORE, STANDARD = "day_before", "week_before", "standard"
NAMES = (DAY_BEFORE, WEEK_BEFORE, STANDARD)
REPLACED_DAYS = 7
_LIKE_LAST_WEEK = (0, 5, 6)  # Monday, Saturday, Sunday


def naive_forecasts(prices: DayMatrix, lead: int) -> dict[str, Matrix]:
    """Return the naive forecasts of every day of ``prices``, issued ``lead`` days (1 … 7) before.

    Returns
    -------
    dict of str to array
        By name, each of the shape of ``prices.grid``.
    """
    filled = pd.DataFrame(prices.grid).ffill(limit=REPLACED_DAYS).to_numpy(dtype=float)
    latest = lag(filled, lead)
    week = lag(filled, 7)
    from_week = np.isin(weekdays(prices.days), _LIKE_LAST_WEEK)
    standard = np.where(from_week[:, None], week, latest)
    return {DAY_BEFORE: latest, WEEK_BEFORE: week, STANDARD: standard}
