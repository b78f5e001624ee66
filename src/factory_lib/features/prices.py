"""Features of a price forecast issued ``lead`` days ahead, normalised by recent level and spread.

Spanish prices went from 30 to 300 and back within the years a model learns from. Every
lag is therefore expressed in units of its own moment: minus the mean of the last seven
known days, divided by their usual spread within the day. A day of 2019 and a day of
2022 then teach the same shapes, and long windows stop hurting. The spread is a trailing
mean of daily standard deviations plus a share of the price level plus one euro, so that
it is positive on flat or negative days too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from factory_lib.errors import BadInput
from factory_lib.features.days import (
    DayMatrix,
    Matrix,
    day_calendar,
    day_matrix,
    known_mean,
    lag,
    trailing_mean,
)

LONGEST_LEAD_DAYS = 7
LEVEL_DAYS = 7
SPREAD_DAYS = 14
PRICE_LEVEL_DAYS = 28
PRICE_LEVEL_SHARE = 0.15
SPREAD_FLOOR_EUR_MWH = 1.0
# night, morning peak, solar valley, evening peak, last known hour
_ANCHOR_HOURS = (3, 8, 14, 20, 23)


@dataclass(frozen=True)
class DayFeatures:
    """Features of every target day, for one lead.

    Attributes
    ----------
    hourly : array, shape (days, features, 24)
        One value per local hour: lags and trailing means, in units of ``spread`` around
        ``level``.
    daily : array, shape (days, features)
        One value per day: daily means and extremes, calendar.
    level, spread : array, shape (days,)
        EUR/MWh; known at the issue time, NaN in the first days of a history.
    """

    hourly: Matrix
    daily: Matrix
    level: Matrix
    spread: Matrix
    hourly_names: tuple[str, ...]
    daily_names: tuple[str, ...]

    def normalised(self, prices: Matrix) -> Matrix:
        """Express prices (days, columns) in units of spread around the level."""
        return (prices - self.level[:, None]) / self.spread[:, None]

    def flat(self) -> Matrix:
        """Return one row per day, (days, features * 24 + features), for a model per hour."""
        return np.hstack([self.hourly.reshape(len(self.hourly), -1), self.daily])

    def pooled(self) -> Matrix:
        """Return (days, 24, features) for one model of all hours.

        The lags of the hour and of its neighbours, the hour, and the features of the day.
        """
        last = self.hourly[:, 0]
        own = [*np.moveaxis(self.hourly, 1, 0), np.roll(last, 1, axis=1), np.roll(last, -1, axis=1)]
        hours = np.broadcast_to(np.arange(24.0), last.shape)
        shared = np.hstack([self.daily, last[:, _ANCHOR_HOURS]])
        by_hour = np.stack([*own, hours], axis=2)
        return np.concatenate([by_hour, np.repeat(shared[:, None, :], 24, axis=1)], axis=2)


def price_features(
    prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix] | None = None
) -> DayFeatures:
    """Build the features of every day of ``prices`` as a target, as known ``lead`` days earlier.

    Parameters
    ----------
    prices : DayMatrix
        Hourly, EUR/MWh. Rows after the last known day may be there, unknown: they are
        the targets to come.
    lead : int
        1 for the day after the issue day. Prices are known up to and including the
        issue day (target day - ``lead``).
    exogenous : mapping of str to DayMatrix, optional
        The system operator's day-ahead forecasts, hourly. On the issue day they are
        known up to the following day, so the target day's own (lead 1), else the day
        after issue.

    Raises
    ------
    BadInput
        If ``lead`` is not 1 … 7: a lag of one week would look past the issue day.
    """
    if not 1 <= lead <= LONGEST_LEAD_DAYS:
        raise BadInput(
            f"A lead of {lead} days cannot be served.", next_step=f"Choose 1 … {LONGEST_LEAD_DAYS}."
        )
    grid = prices.grid
    level = trailing_mean(grid.mean(axis=1, keepdims=True), LEVEL_DAYS, lead)
    spread = _spread(grid, lead)
    hourly = {name: (values - level) / spread for name, values in _price_lags(grid, lead).items()}
    daily = {
        name: (values - level[:, 0]) / spread[:, 0]
        for name, values in _day_shapes(grid, lead).items()
    }
    # sorted: the columns of a fit and of its later use stand in one order
    for name, matrix in sorted((exogenous or {}).items()):
        changes = _changes(matrix.spanning(prices.days[0], prices.days[-1]).grid, lead)
        hourly |= {f"{name}_{change}": values for change, values in changes.items()}
        daily[f"{name}_mean_since_day_before"] = changes["since_day_before"].mean(axis=1)
    daily |= day_calendar(prices.days, lead)
    return DayFeatures(
        np.stack(list(hourly.values()), axis=1),
        np.column_stack(list(daily.values())),
        level[:, 0],
        spread[:, 0],
        tuple(hourly),
        tuple(daily),
    )


def operator_days(forecasts: pd.DataFrame) -> dict[str, DayMatrix]:
    """Return the operator's day-ahead forecasts by day, with the residual load of thermal plants.

    Parameters
    ----------
    forecasts : DataFrame
        Hourly UTC index; ``load_mw``, ``wind_mw``, ``solar_mw``, each as issued by noon
        of the day before.
    """
    residual = forecasts["load_mw"] - forecasts["wind_mw"] - forecasts["solar_mw"]
    columns = forecasts.assign(residual_load_mw=residual)
    return {name: day_matrix(columns[name]) for name in ("residual_load_mw", "load_mw", "wind_mw")}


def _spread(grid: Matrix, lead: int) -> Matrix:
    within_day = trailing_mean(grid.std(axis=1, keepdims=True), SPREAD_DAYS, lead, at_least=3)
    mean = grid.mean(axis=1, keepdims=True)
    price_level = trailing_mean(mean, PRICE_LEVEL_DAYS, lead, at_least=3)
    return within_day + PRICE_LEVEL_SHARE * np.abs(price_level) + SPREAD_FLOOR_EUR_MWH


def _price_lags(grid: Matrix, lead: int) -> dict[str, Matrix]:
    days_back = sorted({lead, lead + 1, lead + 2, 7, lead + 6})
    return {f"lag_{days}d": lag(grid, days) for days in days_back} | {
        "mean_7d": trailing_mean(grid, 7, lead),
        "mean_28d": trailing_mean(grid, 28, lead),
        "same_weekday_mean": known_mean([lag(grid, days) for days in (7, 14, 21, 28)]),
    }


def _day_shapes(grid: Matrix, lead: int) -> dict[str, Matrix]:
    means = {f"mean_lag_{days}d": lag(grid, days).mean(axis=1) for days in range(lead, lead + 7)}
    return means | {
        f"{name}_lag_{days}d": extreme(lag(grid, days), axis=1)
        for days in (lead, lead + 1)
        for name, extreme in (("min", np.min), ("max", np.max))
    }


def _changes(forecast: Matrix, lead: int) -> dict[str, Matrix]:
    latest = lag(forecast, lead - 1)
    return {
        "latest": latest,
        "since_day_before": latest - lag(forecast, lead),
        "since_week_before": latest - lag(forecast, lead + 6),
    }
