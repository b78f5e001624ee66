"""Hours ahead whose outdoor index is worse than nearly all working hours of their month.

The documented index calls two hours in three of southern Spain "Halt", so a class alone
says nothing. Here it is taken before it is cut at 0, else all those hours would be
alike, and held against the month's own working hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.domain.plant import operators
from factory_lib.features.documented import HUMIDITY, PRICE, TEMPERATURE, documented_features
from factory_lib.models.history import load_history

LOWEST_SHARE = 0.05
LOOK_BACK_DAYS = 400  # the same month a year ago, and the days of this one
LEAST_HOURS = 72


@dataclass(frozen=True)
class LowHours:
    """Working hours of one local day whose index is below the month's threshold.

    Attributes
    ----------
    starts : DatetimeIndex
        UTC, hours.
    why : str
        The worst of them, in words.
    """

    starts: pd.DatetimeIndex
    why: str


def low_hours(ctx: RunContext, prices: pd.DataFrame, weather: pd.DataFrame) -> Sequence[LowHours]:
    """Return the low hours ahead, one entry for each local day that has any.

    Parameters
    ----------
    prices, weather : DataFrame
        As of ``ops.outlook``, the hours ahead and no others; what is unknown there is
        low nowhere.
    """
    hourly = load_history(ctx, LOOK_BACK_DAYS).hourly
    price = prices["p50"].resample("h").mean()
    ahead = weather[[TEMPERATURE, HUMIDITY]].assign(**{PRICE: price.reindex(weather.index)})
    past = hourly[hourly.index < ahead.index[0]]
    index = _uncut(pd.concat([past, ahead[past.columns]]).asfreq("h"), ctx)
    working = operators(ctx.settings.plant, pd.DatetimeIndex(index.index), HOUR_S) > 0
    local = pd.DatetimeIndex(index.index).tz_convert(MADRID)
    before = working & np.asarray(index.index < ahead.index[0])
    low_days = []
    for day in sorted(set(local[local >= ahead.index[0]].date)):
        month = index[before & (local.month == day.month)].dropna()
        if len(month) < LEAST_HOURS:
            continue
        threshold = float(month.quantile(LOWEST_SHARE))
        low = index[
            working & ~before & np.asarray(local.date == day) & np.asarray(index < threshold)
        ]
        if len(low):
            low_days.append(
                LowHours(
                    pd.DatetimeIndex(low.index),
                    _why(ahead[ahead.index == low.idxmin()].iloc[0], day.month),
                )
            )
    return low_days


def _uncut(hourly: pd.DataFrame, ctx: RunContext) -> pd.Series:
    """Return the production index before it is cut at 0."""
    made = documented_features(hourly, ctx.as_of)
    cost = 0.5 * made["energy_cost_index"]
    return made["temperature_comfort_index"] - cost - 0.3 * made["humidity_stress_factor"]


def _why(hour: pd.Series, month: int) -> str:
    name = f"{pd.Timestamp(2000, month, 1):%B}"
    return (
        f"worse than {100 - 100 * LOWEST_SHARE:.0f} % of the working hours of {name}: "
        f"up to {hour[PRICE]:.0f} EUR/MWh, "
        f"{hour[TEMPERATURE]:.0f} °C and {hour[HUMIDITY]:.0f} % outdoors"
    )


def spans_of(starts: pd.DatetimeIndex) -> tuple[tuple[pd.Timestamp, pd.Timestamp], ...]:
    """Return the half-open spans of neighbouring hours."""
    hour = timedelta(hours=1)
    edges = np.flatnonzero(np.diff(starts) > np.timedelta64(1, "h")) + 1
    return tuple((part[0], part[-1] + hour) for part in np.split(starts, edges) if len(part))
