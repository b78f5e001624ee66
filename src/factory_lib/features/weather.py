"""Temperature and humidity ahead: the provider's forecast less its recent error, climatology where there is none.

A provider forecasts a grid cell, the factory stands at a point: most of the error is
the same every day at the same hour, and goes away by subtracting it. What no provider
reaches is filled from the site's own past.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

BIAS_DAYS = 14
_PRIOR_DAYS = 5.0  # an hour's mean error counts fully only when many days agree on it
_SEASON_DAYS = 10  # climatology looks this far around the day of the year
_YEAR_DAYS = 365.25


def hourly_bias(
    past_forecast: pd.Series, observed: pd.Series, *, days: int = BIAS_DAYS
) -> pd.Series:
    """Return by how much the forecast was too high at each UTC hour, over the last ``days`` days that can be compared.

    Parameters
    ----------
    past_forecast, observed : Series
        Indexed by ``start`` (UTC), only what was known at the issue time; each slot's
        forecast as issued a day ahead.

    Returns
    -------
    Series
        Indexed 0 … 23; shrunk towards 0 where few days can be compared, 0 where none
        can.
    """
    error = (past_forecast - observed).dropna()
    if len(error):
        error = error[error.index > error.index[-1] - pd.Timedelta(days=days)]
    by_hour = error.groupby(pd.DatetimeIndex(error.index).hour).agg(["mean", "count"])
    shrunk = by_hour["mean"] * by_hour["count"] / (by_hour["count"] + _PRIOR_DAYS)
    return shrunk.reindex(range(24), fill_value=0.0).astype(float)


def climatology(observed: pd.Series, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Return what the site's own past says about each slot: the same hour within ten days of the same day of any year.

    Parameters
    ----------
    observed : Series
        Indexed by ``start`` (UTC), hourly; only what was known at the issue time.

    Returns
    -------
    DataFrame
        Indexed like ``index``: ``p10``, ``p50``, ``p90``; NaN where the past has no
        such hour.
    """
    known = observed.dropna()
    past = pd.DatetimeIndex(known.index)
    rows = []
    for slot in index:
        apart = np.abs(np.asarray(past.day_of_year) - slot.day_of_year)
        near = (np.minimum(apart, _YEAR_DAYS - apart) <= _SEASON_DAYS) & np.asarray(
            past.hour == slot.hour
        )
        rows.append(np.quantile(known[near], (0.1, 0.5, 0.9)) if near.any() else np.full(3, np.nan))
    return pd.DataFrame(np.reshape(rows, (-1, 3)), index=index, columns=["p10", "p50", "p90"])


def weather_ahead(
    index: pd.DatetimeIndex, forecast: pd.Series, bias: pd.Series, observed: pd.Series
) -> pd.DataFrame:
    """Return the weather expected at each slot of ``index``.

    Parameters
    ----------
    forecast : Series
        The provider's latest, indexed by ``start`` (UTC); may be empty or end early.
    bias : Series
        From ``hourly_bias``.
    observed : Series
        The site's past, for ``climatology``.

    Returns
    -------
    DataFrame
        Indexed like ``index``: ``value``, and ``source``, which says "forecast",
        "climatology" or "unknown".
    """
    corrected = forecast.reindex(index) - bias.reindex(index.hour).to_numpy()
    missing = index[corrected.isna().to_numpy()]
    value = corrected.fillna(climatology(observed, missing)["p50"])
    source = np.where(
        corrected.notna(), "forecast", np.where(value.notna(), "climatology", "unknown")
    )
    return pd.DataFrame({"value": value, "source": source}, index=index)
