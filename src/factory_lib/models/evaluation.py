"""Naive price forecasts, the evaluation of forecasts beside them, and bands from past errors.

A naive forecast is the benchmark of every model, and the forecast where no model serves.
It repeats a published day: the latest (`day_before`: the issue day at every lead), the
same day of the week before the target (`week_before`), or the field's standard (Monday,
Saturday and Sunday repeat last week, the other days the latest day). A missing day is
replaced by the last known one of the week before it. Beside them, `simple` is the mean of
three: the latest day, the last seven, and the same weekday of four weeks.

No percentage error: prices are zero or negative for many hours, where a percentage
means nothing.

Bands are split-conformal: quantiles of trailing out-of-sample errors, in units of the
spread known at issue, per local hour together with its neighbours, over the last sixteen
weeks known at the issue time. So the band widens with the market and needs no
assumption about the shape of errors. Only errors of forecasts that had not seen their
target count.
Each is divided by the usual error of its hours in the days before it, to a power
(normalised conformal prediction: Papadopoulos, Gammerman, Vovk, AIA 2008, 64): after bad
days the band is wide, after good ones narrow, where quantiles of sixteen weeks change late.
Each side is stretched by a multiplier that grows after days with more misses than one in
ten and shrinks after days with fewer (adaptive conformal inference: Gibbs and Candès,
NeurIPS 34 (2021) 1660), so that what that leaves of a storm widens the band, too.

Quarters follow the slope between the neighbouring hours: since the market settles in
quarters, solar ramps make the first quarter of a morning hour more expensive than its
last. The factor of each hour and quarter is learnt from the last four weeks; where there
is little to learn from, it is that of the straight line. Hourly means do not change.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from factory_lib.errors import TooFewRows
from factory_lib.features.days import (
    DayMatrix,
    Days,
    Flags,
    Matrix,
    known_mean,
    lag,
    trailing_mean,
    weekdays,
)

NAMES = ("day_before", "week_before", "standard")
SIMPLE = "simple"
REPLACED_DAYS = 7
_LIKE_LAST_WEEK = (0, 5, 6)  # Monday, Saturday, Sunday
CHEAP_HOURS = 8
LONGEST_LAG_DAYS = 7
LEVELS = (0.1, 0.5, 0.9)
WINDOW_DAYS = 112
LEAST_CALIBRATION_DAYS = 28
# Chosen on prices alone of spot 2021 to 2023, by the pinball loss and the coverage of
# the worst months: by how much, per day, a side's multiplier follows its share of
# misses; and of the usual error its half-life, the hours on each side of an hour that
# it is taken over, its power.
BAND_RATE = 0.25
USUAL_ERROR_HALF_LIFE_DAYS = 4.0
USUAL_ERROR_HOURS_AROUND = 3
USUAL_ERROR_POWER = 0.7
QUARTER_DAYS = 28
# A day whose highest price is so many times the mean highest of four weeks has a spike.
SPIKE_RATIO = 1.5
SPIKE_DAYS = 28
# midpoints of the quarters, in hours from the middle of the hour
_STRAIGHT = (np.arange(4) - 1.5) / 4
_PRIOR = 500.0  # (EUR/MWh)²: slopes of about ten over five days outweigh the straight line


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
    from_week = np.isin(weekdays(prices.days), _LIKE_LAST_WEEK)[:, None]
    naive = dict(zip(NAMES, (latest, week, np.where(from_week, week, latest)), strict=True))
    last_week = trailing_mean(prices.grid, 7, lead)
    same_weekday = known_mean([lag(prices.grid, days) for days in (7, 14, 21, 28)])
    return naive | {SIMPLE: known_mean([latest, last_week, same_weekday])}


def day_kinds(prices: Matrix) -> npt.NDArray[np.str_]:
    """Return for each day (row) ``negative``, where a price was, ``spike`` or ``usual``."""
    highest = prices.max(axis=1)
    usual = trailing_mean(highest[:, None], SPIKE_DAYS, 1)[:, 0]
    is_spike = highest > SPIKE_RATIO * np.maximum(usual, 0.0)
    return np.select([(prices < 0).any(axis=1), is_spike], ["negative", "spike"], "usual")


def rolling_origin(issued: npt.ArrayLike, origins: Any) -> Iterator[tuple[Any, Flags]]:
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


def coverage(actual: Matrix, low: Matrix, high: Matrix) -> float:
    """Return the share of known values that lie within the band, its ends included."""
    finite = np.isfinite(actual) & np.isfinite(low) & np.isfinite(high)
    return float(((actual >= low) & (actual <= high))[finite].mean())


def coverage_by_month(rows: pd.DataFrame) -> dict[str, float]:
    """Return the share of actuals within the 10-90 % band, by month of the market day."""
    within = rows["actual"].between(rows["p10"], rows["p90"])
    return dict(within.groupby(rows["market_day"].str[:7]).mean())


def saving_share(rows: pd.DataFrame) -> float:
    """Return the share of the possible saving reached in the hours expected to be cheapest.

    Each day runs in the ``CHEAP_HOURS`` hours with the lowest forecast. The saving is against
    running evenly through the day, the possible one is that of perfect foresight; both
    are summed over days. Days with unknown hours are left out.

    Parameters
    ----------
    rows : DataFrame
        ``market_day``, ``actual`` and ``p50``, one row per slot of one lead; quarters
        count a quarter.
    """
    possible = realised = 0.0
    for _, day in rows.groupby("market_day"):
        actual, expected = day[["actual", "p50"]].to_numpy(dtype=float).T
        if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
            continue
        slots = CHEAP_HOURS * max(round(len(actual) / 24), 1)
        possible += actual.mean() - np.sort(actual)[:slots].mean()
        realised += actual.mean() - actual[np.argsort(expected, kind="stable")[:slots]].mean()
    return realised / possible if possible else float("nan")


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
        ``best_naive_mae``, ``simple_mae``, ``rmae``, ``rmae_best``, ``rmae_simple``,
        ``pinball`` (mean of 10, 50, 90 %), ``coverage_80``, ``coverage_by_month`` (by
        ``YYYY-MM``), ``save8``, ``p_value`` (``diebold_mariano`` against the best
        naive forecast).
    """
    from sklearn.metrics import mean_pinball_loss

    pairs = rows.dropna(subset=["actual", "p50", *NAMES, SIMPLE])
    actual, low, median, high = pairs[["actual", "p10", "p50", "p90"]].to_numpy(dtype=float).T
    error = np.abs(actual - median)
    mae = float(error.mean())
    simple_mae = mean_absolute_error(actual, pairs[SIMPLE].to_numpy(dtype=float))
    naive = pairs[list(NAMES)].sub(actual, axis=0).abs()
    naive_mae = naive.mean()
    best = str(naive_mae.idxmin())
    losses = pairs.assign(model=error, naive=naive[best])
    daily = losses.groupby("market_day")[["model", "naive"]].mean()
    quantiles = {0.1: low, 0.5: median, 0.9: high}
    return {
        "days": int(pairs["market_day"].nunique()),
        "mae": mae,
        "rmse": float(np.sqrt((error**2).mean())),
        "naive_mae": float(naive_mae["standard"]),
        "best_naive": best,
        "best_naive_mae": float(naive_mae[best]),
        "rmae": mae / float(naive_mae["standard"]),
        "simple_mae": simple_mae,
        "rmae_best": mae / float(naive_mae[best]),
        "rmae_simple": mae / simple_mae,
        "pinball": float(
            np.mean([mean_pinball_loss(actual, q, alpha=p) for p, q in quantiles.items()])
        ),
        "coverage_80": coverage(actual, low, high),
        "coverage_by_month": coverage_by_month(pairs),
        "save8": saving_share(pairs),
        "p_value": diebold_mariano(daily["model"].to_numpy(), daily["naive"].to_numpy()),
    }


def diebold_mariano(losses: Matrix, benchmark_losses: Matrix) -> float:
    """Return the one-sided p-value that the benchmark is as good: small means ``losses`` are lower.

    Diebold and Mariano (1995) on daily mean losses, with Newey-West variance over
    ``LONGEST_LAG_DAYS`` days because forecasts of neighbouring days share their errors.
    """
    difference = losses - benchmark_losses
    count = len(difference)
    centred = difference - difference.mean()
    variance = centred @ centred / count
    for step in range(1, min(LONGEST_LAG_DAYS, count - 1) + 1):
        variance += (
            2 * (1 - step / (LONGEST_LAG_DAYS + 1)) * (centred[step:] @ centred[:-step]) / count
        )
    if variance <= 0:
        return 0.5 if difference.mean() == 0 else float(difference.mean() > 0)
    return float(ndtr(difference.mean() / np.sqrt(variance / count)))


def error_quantiles(errors: Matrix) -> Matrix:
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
    around = np.clip(np.arange(columns)[:, None] + np.arange(-1, 2), 0, columns - 1)
    pooled = np.sort(complete.T[around].reshape(columns, -1))
    # As np.quantile, in a quarter of its time: backtests take millions of them.
    place = np.array(LEVELS) * (pooled.shape[1] - 1)
    below = place.astype(int)
    low = pooled.T[below]
    high = pooled.T[below + 1]
    return np.asarray(low + (high - low) * (place - below)[:, None])


def trailing_bands(errors: Matrix, first: int, lead: int) -> Matrix:
    """Return the error quantiles of every row from ``first`` on, of the errors known at its issue.

    The latest usable error is that of the issue day itself, ``lead`` rows earlier; days
    without an actual do not count. The multipliers follow the bands of all rows that have
    ``LEAST_CALIBRATION_DAYS`` errors before them.

    Returns
    -------
    array, shape (rows from ``first``, levels, columns)
    """
    scale = _usual_error(errors, lead) ** USUAL_ERROR_POWER
    errors = errors / scale
    complete = np.flatnonzero(np.isfinite(errors).all(axis=1))
    bands = np.full((len(errors), len(LEVELS), errors.shape[1]), np.nan)
    stretch = np.zeros(2)  # logarithms of the multipliers below and above
    for row in range(len(errors)):
        usable = complete[complete <= row - lead][-WINDOW_DAYS:]
        if len(usable) >= LEAST_CALIBRATION_DAYS or row >= first:
            matured = row - lead
            if len(usable) and usable[-1] == matured and np.isfinite(bands[matured]).all():
                missed = (errors[matured] < bands[matured, 0]).mean() - LEVELS[0]
                above = (errors[matured] > bands[matured, -1]).mean() - LEVELS[0]
                stretch += BAND_RATE * np.array([missed, above])
            low, middle, high = error_quantiles(errors[usable])
            factor = np.exp(stretch)
            bands[row] = np.minimum(low, 0.0) * factor[0], middle, np.maximum(high, 0.0) * factor[1]
    return bands[first:] * scale[first:, np.newaxis]


def _usual_error(errors: Matrix, lead: int) -> Matrix:
    """Return the recent mean absolute error known at each row's issue, else 1."""
    size = pd.DataFrame(np.abs(errors)).ewm(halflife=USUAL_ERROR_HALF_LIFE_DAYS).mean()
    sizes = size.shift(lead).bfill().to_numpy(dtype=np.float64)
    columns = sizes.shape[1]
    around = USUAL_ERROR_HOURS_AROUND * columns // 24
    offsets = np.arange(columns)[:, None] + np.arange(-around, around + 1)
    usual = sizes[:, np.clip(offsets, 0, columns - 1)].mean(axis=2)
    return np.where(usual > 0, usual, 1.0)


def calibration_start(prices: Matrix, end: int, days: int = WINDOW_DAYS) -> int:
    """Return the row from which on so many days of prices are known before row ``end``.

    Raises
    ------
    TooFewRows
        If there are fewer.
    """
    complete = np.flatnonzero(np.isfinite(prices[:end]).all(axis=1))
    if len(complete) < days:
        raise TooFewRows("calibration of a forecast", len(complete), days)
    return int(complete[-days])


def band(forecast: Matrix, quantiles: Matrix, spread: Matrix | float) -> Matrix:
    """Return p10, p50 and p90 around a point forecast.

    p50 stays the point forecast, which is fitted to absolute error already; the ends
    never cross it.

    Returns
    -------
    array, shape (3, …) of ``forecast``
    """
    low, _, high = np.moveaxis(quantiles, -2, 0)
    below = forecast + np.minimum(low, 0.0) * spread
    above = forecast + np.maximum(high, 0.0) * spread
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


def quarterly(hourly: Matrix, days: Days, quarters: DayMatrix, lead: int) -> Matrix:
    """Return hourly forecasts of some days as quarters, as learnt by each issue."""
    counts = (days - quarters.days[0]).astype(int) + 1 - lead
    parts = [
        in_quarters(row[np.newaxis], quarter_factors(quarters.grid[: max(count, 0)]))
        for row, count in zip(hourly, counts, strict=True)
    ]
    return np.vstack(parts)


def quarter_errors(
    errors: Matrix, prices: DayMatrix, spread: Matrix, quarters: DayMatrix, lead: int
) -> Matrix:
    """Return the errors of hourly forecasts as those of quarters, where these are known.

    Parameters
    ----------
    errors : array, shape (days, 24)
        Of the last days of ``prices``, in units of ``spread``.

    Returns
    -------
    array, shape (days, 96)
        Where no quarter was published, the hour's error stands for its four.
    """
    count = min(len(errors), len(prices.days))
    days = prices.days[-count:]
    scale = spread[-count:, np.newaxis]
    hourly = prices.grid[-count:] - errors[-count:] * scale
    published = quarters.spanning(*days[[0, -1]]).grid
    own = (published - quarterly(hourly, days, quarters, lead)) / scale
    fine = errors.repeat(4, axis=1)
    fine[-count:] = np.where(np.isfinite(own), own, fine[-count:])
    return fine


def _slope(hourly: Matrix) -> Matrix:
    edged = np.pad(hourly, ((0, 0), (1, 1)), mode="edge")
    return (edged[:, 2:] - edged[:, :-2]) / 2
