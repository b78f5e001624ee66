"""Evaluation of forecasts: rolling origin, errors beside naive ones, bands, saving, significance.

No percentage error: prices are zero or negative for many hours, where a percentage
means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr

from factory_lib.features.calendar import Flags, Matrix
from factory_lib.models.baselines import NAMES, STANDARD

CHEAP_HOURS = 8


def rolling_origin(issued: ArrayLike, origins: Any) -> Iterator[tuple[Any, Flags]]:
    """Yield each origin and a mask of the rows issued from it on and before the next.

    The rows of an origin are to be forecast by models fitted on what was observed by then;
    rows issued before the first origin belong to none.

    Parameters
    ----------
    issued : array-like
        When each row is issued: instants, or numbers of days.
    origins : index or sequence
        Ascending, of the same kind.
    """
    block = pd.Index(origins).searchsorted(issued, side="right") - 1
    for number, origin in enumerate(origins):
        yield origin, block == number


def mean_absolute_error(actual: Matrix, forecast: Matrix) -> float:
    """Return the mean absolute error over the known pairs."""
    return float(np.nanmean(np.abs(actual - forecast)))


def pinball_loss(actual: Matrix, quantile: Matrix, level: float) -> float:
    """Return the pinball (quantile) loss at ``level``: half the absolute error for the median."""
    miss = actual - quantile
    return float(np.nanmean(np.maximum(level * miss, (level - 1) * miss)))


def coverage(actual: Matrix, low: Matrix, high: Matrix) -> float:
    """Return the share of known values that lie within the band, its ends included."""
    finite = np.isfinite(actual) & np.isfinite(low) & np.isfinite(high)
    return float(((actual >= low) & (actual <= high))[finite].mean())


def saving_share(rows: pd.DataFrame, forecast: str = "p50", *, hours: int = CHEAP_HOURS) -> float:
    """Return the share of the possible saving reached in the hours expected to be cheapest.

    Each day runs in the ``hours`` hours with the lowest forecast. The saving is against
    running evenly through the day, the possible one is that of perfect foresight; both
    are summed over days. Days with unknown hours are left out.

    Parameters
    ----------
    rows : DataFrame
        ``market_day``, ``actual`` and the forecast column, one row per slot of one
        lead; quarters count a quarter.
    """
    possible = realised = 0.0
    for _, day in rows.groupby("market_day"):
        actual, expected = day[["actual", forecast]].to_numpy(dtype=float).T
        if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
            continue
        slots = hours * max(round(len(actual) / 24), 1)
        possible += actual.mean() - np.sort(actual)[:slots].mean()
        realised += actual.mean() - actual[np.argsort(expected, kind="stable")[:slots]].mean()
    return realised / possible if possible else float("nan")


def best_naive(rows: pd.DataFrame) -> tuple[str, float]:
    """Return the naive forecast with the smallest mean absolute error over ``rows``, and it."""
    actual = rows["actual"].to_numpy()
    errors = {name: mean_absolute_error(actual, rows[name].to_numpy()) for name in NAMES}
    name = min(errors, key=errors.__getitem__)
    return name, errors[name]


def score(rows: pd.DataFrame) -> dict[str, Any]:
    """Score the forecasts of one lead.

    Parameters
    ----------
    rows : DataFrame
        As ``price_backtest.backtest`` returns them, with ``actual`` (EUR/MWh) beside;
        unknown actuals are left out.

    Returns
    -------
    dict
        ``days``, ``mae``, ``rmse``, ``naive_mae`` (the standard naive), ``best_naive``,
        ``best_naive_mae``, ``rmae``, ``rmae_best``, ``pinball`` (mean of 10, 50, 90 %),
        ``coverage_80``, ``save8``, ``p_value`` (``diebold_mariano`` against the best
        naive forecast).
    """
    pairs = rows.dropna(subset=["actual", "p50", *NAMES])
    actual, low, median, high = pairs[["actual", "p10", "p50", "p90"]].to_numpy(dtype=float).T
    error = np.abs(actual - median)
    mae = float(error.mean())
    naive = mean_absolute_error(actual, pairs[STANDARD].to_numpy())
    name, best = best_naive(pairs)
    losses = pairs.assign(model=error, naive=np.abs(actual - pairs[name]))
    daily = losses.groupby("market_day")[["model", "naive"]].mean()
    quantiles = {0.1: low, 0.5: median, 0.9: high}
    return {
        "days": int(pairs["market_day"].nunique()),
        "mae": mae,
        "rmse": float(np.sqrt((error**2).mean())),
        "naive_mae": naive,
        "best_naive": name,
        "best_naive_mae": best,
        "rmae": mae / naive,
        "rmae_best": mae / best,
        "pinball": float(np.mean([pinball_loss(actual, q, p) for p, q in quantiles.items()])),
        "coverage_80": coverage(actual, low, high),
        "save8": saving_share(pairs),
        "p_value": diebold_mariano(daily["model"].to_numpy(), daily["naive"].to_numpy()),
    }


def diebold_mariano(losses: Matrix, benchmark_losses: Matrix, *, max_lag: int = 7) -> float:
    """Return the one-sided p-value that the benchmark is as good: small means ``losses`` are lower.

    Diebold and Mariano (1995) on daily mean losses, with Newey-West variance over
    ``max_lag`` days because forecasts of neighbouring days share their errors.
    """
    difference = losses - benchmark_losses
    count = len(difference)
    centred = difference - difference.mean()
    variance = centred @ centred / count
    for step in range(1, min(max_lag, count - 1) + 1):
        variance += 2 * (1 - step / (max_lag + 1)) * (centred[step:] @ centred[:-step]) / count
    if variance <= 0:
        return 0.5 if difference.mean() == 0 else float(difference.mean() > 0)
    return float(ndtr(difference.mean() / np.sqrt(variance / count)))
