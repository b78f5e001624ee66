"""Hours drawn between a day's extremes, where a station reports by day only: imputed, never stored."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from factory_lib.clock import DAY_S, HOUR_S, epoch, from_epoch
from factory_lib.slots import Slots, from_index, to_index

# UTC hours of the usual coldest (about sunrise) and warmest hour, as in the hourly
# means of Seville 2015–2017.
COLDEST_HOUR_UTC, WARMEST_HOUR_UTC = 5, 15
DAILY = ("temperature_min_c", "temperature_max_c", "humidity_max_pct", "humidity_min_pct")


def hourly_from_daily(daily: pd.DataFrame) -> pd.DataFrame:
    """Return hourly temperature and humidity as half cosines from extreme to extreme.

    The damp extreme is taken to fall on the cold hour and the dry one on the warm hour.
    Fronts, showers and warm nights are lost: a day's course is always the ideal one.

    Parameters
    ----------
    daily : DataFrame
        UTC days as index, columns ``DAILY``; absent or NaN days leave their hours
        unknown.

    Returns
    -------
    DataFrame
        Hourly UTC index over the days given; ``temperature_c``, ``humidity_pct``.
    """
    assert isinstance(daily.index, pd.DatetimeIndex)
    first, last = (int(from_index(daily.index)[edge]) for edge in (0, -1))
    days_s = np.arange(first, last + DAY_S, DAY_S, dtype=np.int64)
    whole = daily.reindex(to_index(days_s))
    hours_s = np.arange(first, last + DAY_S, HOUR_S, dtype=np.int64)
    columns = {
        "temperature_c": _between(
            hours_s, days_s, whole["temperature_min_c"], whole["temperature_max_c"]
        ),
        "humidity_pct": _between(
            hours_s, days_s, whole["humidity_max_pct"], whole["humidity_min_pct"]
        ),
    }
    return pd.DataFrame(columns, index=to_index(hours_s))


def known_until(days_until: datetime) -> datetime:
    """Return the end of the hours that need no later day than those that end by ``days_until``.

    The hours after a day's warmest lead on to the next day's coldest, so they are known
    only with it.
    """
    last_day = from_epoch(epoch(days_until) // DAY_S * DAY_S) - timedelta(days=1)
    return last_day + timedelta(hours=WARMEST_HOUR_UTC + 1)


def _between(
    hours_s: Slots, days_s: Slots, at_coldest: pd.Series, at_warmest: pd.Series
) -> NDArray[np.float64]:
    anchors = np.column_stack(
        [days_s + COLDEST_HOUR_UTC * HOUR_S, days_s + WARMEST_HOUR_UTC * HOUR_S]
    ).ravel()
    values = np.column_stack([at_coldest, at_warmest]).ravel()
    left = np.searchsorted(anchors, hours_s, side="right") - 1
    inside = (left >= 0) & (left < len(anchors) - 1)
    left = np.where(inside, left, 0)
    share = (hours_s - anchors[left]) / (anchors[left + 1] - anchors[left])
    weight = (1.0 - np.cos(np.pi * share)) / 2.0
    here = values[left]
    # An anchor needs no neighbour: the warmest hour of the last known day is known.
    drawn = np.where(share == 0, here, here * (1.0 - weight) + values[left + 1] * weight)
    return np.where(inside, drawn, np.nan)
