"""The naive forecasts that every model has to beat, and that stand in when there is none.

A naive forecast repeats a published day: the latest (`day_before`: the issue day,
whatever the lead), the same day of the week before the target (`week_before`), or the
field's standard (Monday, Saturday and Sunday repeat last week, the other days the
latest day). A day that is missing is stood in for by the last one known in the week
before it.
"""

from __future__ import annotations

import pandas as pd

from factory_lib.features.calendar import Matrix, weekdays
from factory_lib.features.lags import DayMatrix, lag

DAY_BEFORE, WEEK_BEFORE, STANDARD = "day_before", "week_before", "standard"
NAMES = (DAY_BEFORE, WEEK_BEFORE, STANDARD)
STAND_IN_DAYS = 7
_LIKE_LAST_WEEK = (0, 5, 6)  # Monday, Saturday, Sunday


def naive_forecasts(prices: DayMatrix, lead: int) -> dict[str, Matrix]:
    """Return the naive forecasts of every day of ``prices``, issued ``lead`` days (1 … 7) before it.

    Returns
    -------
    dict of str to array
        By name, each of the shape of ``prices.grid``.
    """
    known = pd.DataFrame(prices.grid).ffill(limit=STAND_IN_DAYS).to_numpy(dtype=float)
    latest, week = lag(known, lead), lag(known, 7)
    standard = latest.copy()
    from_week = pd.Series(weekdays(prices.days)).isin(_LIKE_LAST_WEEK).to_numpy()
    standard[from_week] = week[from_week]
    return {DAY_BEFORE: latest, WEEK_BEFORE: week, STANDARD: standard}
