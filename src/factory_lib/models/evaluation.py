"""How forecasts are judged: absolute and squared error, relative to naive forecasts, bands, saving, significance.

No percentage error: prices are zero or negative for many hours, where a percentage
means nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from factory_lib.features.calendar import Matrix
from factory_lib.models.baselines import NAMES, STANDARD

CHEAP_HOURS = 8


def mean_absolute_error(actual: Matrix, forecast: Matrix) -> float:
    """Return the mean absolute error over what is known."""
    return float(np.nanmean(np.abs(actual - forecast)))


def root_mean_squared_error(actual: Matrix, forecast: Matrix) -> float:
    """Return the root of the mean squared error over what is known."""
    return float(np.sqrt(np.nanmean((actual - forecast) ** 2)))


def pinball_loss(actual: Matrix, quantile: Matrix, level: float) -> float:
    """Return the pinball (quantile) loss at ``level``: half the absolute error for the median."""
    miss = actual - quantile
    return float(np.nanmean(np.maximum(level * miss, (level - 1) * miss)))


def coverage(actual: Matrix, low: Matrix, high: Matrix) -> float:
    """Return the share of known values that lie within the band, its ends included."""
    known = np.isfinite(actual) & np.isfinite(low) & np.isfinite(high)
    return float(((actual >= low) & (actual <= high))[known].mean())


def saving_share(rows: pd.DataFrame, forecast: str = "p50", *, hours: int = CHEAP_HOURS) -> float:
    """Return the share of the possible saving had by running in the ``hours`` hours believed cheapest each day.

    The saving is against running evenly through the day, the possible one is that of
    perfect foresight; both are summed over days. Days with unknown hours are left out.

    Parameters
    ----------
    rows : DataFrame
        ``market_day``, ``actual`` and the forecast column, one row per slot of one
        lead; quarters count a quarter.
    """
    possible = realised = 0.0
    for _, day in rows.groupby("market_day"):
        actual, believed = day["actual"].to_numpy(dtype=float), day[forecast].to_numpy(dtype=float)
        if not (np.isfinite(actual).all() and np.isfinite(believed).all()):
            continue
        slots = hours * max(round(len(actual) / 24), 1)
        possible += actual.mean() - np.sort(actual)[:slots].mean()
        realised += actual.mean() - actual[np.argsort(believed, kind="stable")[:slots]].mean()
    return realised / possible if possible else float("nan")


def best_naive(rows: pd.DataFrame) -> tuple[str, float]:
    """Return the naive forecast with the smallest mean absolute error over ``rows``, and that error."""
    errors = {
        name: mean_absolute_error(rows["actual"].to_numpy(), rows[name].to_numpy())
        for name in NAMES
    }
    name = min(errors, key=errors.__getitem__)
    return name, errors[name]


def score(rows: pd.DataFrame) -> dict[str, Any]:
    """Score the forecasts of one lead.

    Parameters
    ----------
    rows : DataFrame
        As ``backtest`` returns them, with ``actual`` (EUR/MWh) beside; unknown actuals
        are left out.

    Returns
    -------
    dict
        ``days``, ``mae``, ``rmse``, ``naive_mae`` (the standard naive), ``best_naive``,
        ``best_naive_mae``, ``rmae``, ``rmae_best``, ``pinball`` (mean of 10, 50, 90 %),
        ``coverage_80``, ``save8``, ``p_value`` (``diebold_mariano`` against the best
        naive forecast).
    """
    known = rows.dropna(subset=["actual", "p50", *NAMES])
    actual, median = known["actual"].to_numpy(), known["p50"].to_numpy()
    mae, naive = (
        mean_absolute_error(actual, median),
        mean_absolute_error(actual, known[STANDARD].to_numpy()),
    )
    name, best = best_naive(known)
    levels = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
    losses = known.assign(
        model=np.abs(actual - median), naive=np.abs(actual - known[name])
    ).groupby("market_day")
    daily = losses[["model", "naive"]].mean()
    return {
        "days": int(known["market_day"].nunique()),
        "mae": mae,
        "rmse": root_mean_squared_error(actual, median),
        "naive_mae": naive,
        "best_naive": name,
        "best_naive_mae": best,
        "rmae": mae / naive,
        "rmae_best": mae / best,
        "pinball": float(
            np.mean([pinball_loss(actual, known[c].to_numpy(), q) for c, q in levels.items()])
        ),
        "coverage_80": coverage(actual, known["p10"].to_numpy(), known["p90"].to_numpy()),
        "save8": saving_share(known),
        "p_value": diebold_mariano(daily["model"].to_numpy(), daily["naive"].to_numpy()),
    }


def diebold_mariano(losses: Matrix, rival_losses: Matrix, *, max_lag: int = 7) -> float:
    """Return the one-sided p-value that the rival is as good: small means ``losses`` are significantly smaller.

    Diebold and Mariano (1995) on daily mean losses, with Newey-West variance over
    ``max_lag`` days because forecasts of neighbouring days share their errors.
    """
    difference = losses - rival_losses
    count = len(difference)
    centred = difference - difference.mean()
    variance = centred @ centred / count
    for step in range(1, min(max_lag, count - 1) + 1):
        variance += 2 * (1 - step / (max_lag + 1)) * (centred[step:] @ centred[:-step]) / count
    if variance <= 0:
        return 0.5 if difference.mean() == 0 else float(difference.mean() > 0)
    return float(stats.norm.cdf(difference.mean() / np.sqrt(variance / count)))
