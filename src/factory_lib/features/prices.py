"""Features of a price forecast issued ``lead`` days ahead, normalised by recent level and spread.

Spanish prices went from 30 to 300 and back within the years a model learns from. Every
lag is therefore expressed in units of its own moment: minus the mean of the last seven
known days, divided by their usual spread within the day. A day of 2019 and a day of
2022 then teach the same shapes, and long windows stop hurting. The spread is a trailing
mean of daily standard deviations plus a share of the price level plus one euro, so that
it is positive on flat or negative days too.

The regulated tariff follows the spot price, which has the longer history and no steps
between tolls: given that, features of the spot stand beside the tariff's own, brought to
it by slope and rest of the last like days (``features.pvpc``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
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
from factory_lib.features.pvpc import tariff_on_spot

LONGEST_LEAD_DAYS = 7
LEVEL_DAYS = 7
SPREAD_DAYS = 14
PRICE_LEVEL_DAYS = 28
PRICE_LEVEL_SHARE = 0.15
SPREAD_FLOOR_EUR_MWH = 1.0
LOWEST_DAYS = 28
# night, morning peak, solar valley, evening peak, last known hour
_ANCHOR_HOURS = (3, 8, 14, 20, 23)
# The supply curve: chosen on spot 2023, where half or double of each costs about one
# percent of the error.
CURVE_DAYS = 20
CURVE_HALF_LIFE_DAYS = 4.0
CURVE_LOAD_MW = 1500.0
CURVE_HOURS = 2.0
_CURVE_HOURS_AROUND = 4
_NEAREST_LOAD = 1e-6  # so that a load never seen before takes the recent mean of its hours
RESIDUAL_LOAD = "residual_load_mw"
# share of a neighbour's residual load that Spanish plants meet: Portugal is one market
# with Spain, the lines to France carry a part
NEIGHBOUR_SHARES = {"pt": 1.0, "fr": 0.25}
SPOT = "spot_eur_mwh"  # among the inputs of a tariff's forecast
AHEAD_SUFFIX = "_ahead"
_MARK = "_mw_"  # in the names of features from forecasts of load and generation
_LAGGED = "_lag_"  # in the names of prices among the features of a day


@dataclass(frozen=True)
class DayFeatures:
    """Features of every target day, for one lead.

    Attributes
    ----------
    hourly : array, shape (days, features, 24)
        One value per local hour: lags and trailing means, in units of ``spread`` around
        ``level``.
    curve : array, shape (days, 24)
        The supply curve's price in the same units; NaN where residual load is unknown.
    daily : array, shape (days, features)
        One value per day: daily means, that of the issue day first, extremes, calendar.
    level, spread : array, shape (days,)
        EUR/MWh; known at the issue time, NaN in the first days of a history.
    lowest : array, shape (days,)
        The lowest price of the last four weeks, in units of ``spread`` around ``level``.
    rest : array, shape (days, 24) or (days, 1)
        EUR/MWh above the level that a tariff's hour has anyway; 0 but in ``market``.
    market : DayFeatures, optional
        Those of the spot price that a tariff follows, in terms of the tariff.
    longer : array, shape (days, 24), optional
        Of ``market``, the prices to learn from: the spot's before the tariff's first day.
    """

    hourly: Matrix
    daily: Matrix
    curve: Matrix
    level: Matrix
    spread: Matrix
    lowest: Matrix
    rest: Matrix
    hourly_names: tuple[str, ...]
    daily_names: tuple[str, ...]
    market: "DayFeatures | None" = None
    longer: Matrix | None = None

    def at(self, rows: slice | npt.NDArray[np.int64]) -> "DayFeatures":
        """Return the features of some days."""
        arrays = [name for name, part in vars(self).items() if hasattr(part, "shape")]
        parts = {name: getattr(self, name)[rows] for name in arrays}
        return replace(self, market=self.market and self.market.at(rows), **parts)

    def normalised(self, prices: Matrix) -> Matrix:
        """Express the prices of the days in units of spread around the level."""
        return (prices - self.rest - self.level[:, None]) / self.spread[:, None]

    def in_eur_mwh(self, normalised: Matrix) -> Matrix:
        """Return the prices of the days from units of spread around the level."""
        return normalised * self.spread[:, None] + self.rest + self.level[:, None]

    def flat(self, base: Matrix | float = 0.0) -> Matrix:
        """Return a row per day, (days, features * 24 + features), for a model per hour.

        Prices are less ``base``, of shape (days, 1).
        """
        of_hours = np.array([_MARK not in name for name in self.hourly_names])
        of_days = np.array([_LAGGED in name for name in self.daily_names])
        hourly = self.hourly - (of_hours * base)[..., None]
        return np.hstack([hourly.reshape(len(hourly), -1), self.daily - of_days * base])

    def prices_only(self) -> Matrix:
        """Return the columns of ``flat`` that need no forecast of another series."""
        hourly = [n for n, name in enumerate(self.hourly_names) if _MARK not in name]
        daily = [n for n, name in enumerate(self.daily_names) if _MARK not in name]
        own = self.hourly[:, hourly].reshape(len(self.hourly), -1)
        return np.hstack([own, self.daily[:, daily]])

    @property
    def latest(self) -> Matrix:
        """Return the mean of the issue day around ``level``: (days, 1), 0 where unknown."""
        return np.nan_to_num(self.daily[:, :1])

    def simple(self) -> Matrix:
        """Return the mean of the latest day, last week and the same weekday: (days, 24)."""
        parts = ("mean_7d", "same_weekday_mean")
        columns = [0, *(self.hourly_names.index(name) for name in parts)]
        return known_mean(np.moveaxis(self.hourly[:, columns], 1, 0))

    def pooled(self) -> Matrix:
        """Return (days, 24, features) for one model of all hours.

        Lags of the hour and of its neighbours, the hour, and features of the day.
        """
        last = self.hourly[:, 0]
        around = [np.roll(last, hours, axis=1) for hours in (1, -1)]
        hours = np.broadcast_to(np.arange(24.0), last.shape)
        shared = np.hstack([self.daily, last[:, _ANCHOR_HOURS]])
        by_hour = np.stack([*np.moveaxis(self.hourly, 1, 0), *around, hours], axis=2)
        return np.concatenate([by_hour, np.repeat(shared[:, None, :], 24, axis=1)], axis=2)


def price_features(
    prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix] | None = None
) -> DayFeatures:
    """Build the features of every day of ``prices`` as a target, ``lead`` days before.

    Parameters
    ----------
    prices : DayMatrix
        Hourly, EUR/MWh, known up to and including the issue day (target day - ``lead``).
        Later rows may be there, unknown: they are the targets to come.
    lead : int
        1 for the day after the issue day.
    exogenous : mapping of str to DayMatrix, optional
        Forecasts of load and generation, hourly. Day-ahead ones are known on the issue
        day up to the following day, so the target day's own (lead 1), else the day
        after issue. One named by ``ahead_name`` is of the target day, beside the day-ahead
        one of that name. ``SPOT`` are the market's prices, known like the tariff ``prices``.

    Raises
    ------
    BadInput
        If ``lead`` is not 1 … 7: a lag of one week would look past the issue day.
    """
    if not 1 <= lead <= LONGEST_LEAD_DAYS:
        problem = f"A lead of {lead} days cannot be served."
        raise BadInput(problem, next_step=f"Choose 1 … {LONGEST_LEAD_DAYS}.")
    inputs = dict(exogenous or {})
    spot = inputs.pop(SPOT, None)
    own = _features(prices, lead, inputs)
    if spot is None:
        return own
    return replace(own, market=_of_market(prices, spot, lead, inputs))


def _features(prices: DayMatrix, lead: int, inputs: Mapping[str, DayMatrix]) -> DayFeatures:
    grid = prices.grid
    level = trailing_mean(grid.mean(axis=1, keepdims=True), LEVEL_DAYS, lead)
    spread = _spread(grid, lead)
    hourly = _around(_price_lags(grid, lead), level, spread)
    daily = _around(_day_shapes(grid, lead), level[:, 0], spread[:, 0])
    changes, curve = _from_load(prices, lead, inputs)
    hourly |= changes
    daily |= _daily_changes(changes)
    daily |= day_calendar(prices.days, lead)
    return DayFeatures(
        np.stack(list(hourly.values()), axis=1),
        np.column_stack(list(daily.values())),
        (curve - level) / spread,
        level[:, 0],
        spread[:, 0],
        (_lowest(grid, lead) - level[:, 0]) / spread[:, 0],
        np.zeros_like(level),
        tuple(hourly),
        tuple(daily),
    )


def _around(values: Mapping[str, Matrix], level: Matrix, spread: Matrix) -> dict[str, Matrix]:
    return {name: (part - level) / spread for name, part in values.items()}


def _of_market(
    tariff: DayMatrix, spot: DayMatrix, lead: int, inputs: Mapping[str, DayMatrix]
) -> DayFeatures:
    """Return the features of the spot price, with level and spread of the tariff."""
    market = spot.spanning(*tariff.days[[0, -1]])
    first = np.isfinite(tariff.grid).all(axis=1).argmax()
    longer = np.vstack([market.grid[:first], tariff.grid[first:]])
    own = _features(market, lead, inputs)
    slope, rest = tariff_on_spot(longer, market.grid, tariff.days, lead)
    return replace(
        own, level=slope * own.level, spread=slope * own.spread, rest=rest, longer=longer
    )


def with_spot_before(tariff: DayMatrix, exogenous: Mapping[str, DayMatrix] | None) -> DayMatrix:
    """Return the tariff on the days of the spot price, too: unknown before its own."""
    spot = (exogenous or {}).get(SPOT)
    if spot is None or spot.days[0] >= tariff.days[0]:
        return tariff
    return tariff.spanning(spot.days[0], tariff.days[-1])


def ahead_name(name: str, lead: int) -> str:
    """Return the name of a forecast of the target day issued ``lead`` days before it."""
    return f"{name}_{lead}d{AHEAD_SUFFIX}"


def operator_days(forecasts: pd.DataFrame, area: str = "es") -> dict[str, DayMatrix]:
    """Return the day-ahead forecasts of an area by day, with the residual load of thermal plants.

    Parameters
    ----------
    forecasts : DataFrame
        Hourly UTC index; ``load_mw``, ``wind_mw``, ``solar_mw``, each as issued by noon
        of the day before. Up to three hours that a day lacks are interpolated, a missing
        day is the mean of the known ones of the week before it.
    area : str
        ``es``, or a neighbour, ``fr`` or ``pt``, of which the residual load is kept.
    """
    matrices = {name: day_matrix(column) for name, column in forecasts.items()}
    first = min(matrix.days[0] for matrix in matrices.values())
    last = max(matrix.days[-1] for matrix in matrices.values())
    seen = {name: _filled(matrix.spanning(first, last)) for name, matrix in matrices.items()}
    days = first + np.arange(len(seen["load_mw"]))
    seen[RESIDUAL_LOAD] = seen["load_mw"] - seen["wind_mw"] - seen["solar_mw"]
    names = (RESIDUAL_LOAD, "load_mw", "wind_mw") if area == "es" else (RESIDUAL_LOAD,)
    prefix = "" if area == "es" else f"{area}_"
    return {f"{prefix}{name}": DayMatrix(days, seen[name]) for name in names}


def _filled(matrix: DayMatrix) -> Matrix:
    rows = pd.DataFrame(matrix.grid).interpolate(axis=1, limit=3, limit_direction="both")
    grid = rows.to_numpy()
    return np.where(np.isfinite(grid), grid, trailing_mean(grid, 7, 1))


def supply_curve(prices: Matrix, past: Matrix, target: Matrix, lead: int) -> Matrix:
    """Return the mean recent price at hours like those of each target day.

    Parameters
    ----------
    prices : array, shape (days, 24)
        EUR/MWh; used up to the issue day, ``lead`` rows before the target.
    past, target : array, shape (days, 24)
        Residual load (MW) as forecast the day before each day, and as forecast at the
        issue for the target day.

    Returns
    -------
    array, shape (days, 24)
        EUR/MWh; NaN where the target's load is unknown or no recent hour is known.
    """
    total = np.zeros_like(prices)
    weights = np.zeros_like(prices)
    for age in range(CURVE_DAYS):
        price = lag(prices, lead + age)
        load = lag(past, lead + age)
        for offset in range(-_CURVE_HOURS_AROUND, _CURVE_HOURS_AROUND + 1):
            near_price = np.roll(price, offset, 1)
            distance = (target - np.roll(load, offset, 1)) / CURVE_LOAD_MW
            nearness = np.exp(-0.5 * distance**2) + _NEAREST_LOAD
            recency = 0.5 ** (age / CURVE_HALF_LIFE_DAYS)
            weight = nearness * recency * np.exp(-0.5 * (offset / CURVE_HOURS) ** 2)
            usable = np.isfinite(weight + near_price)
            total += np.where(usable, weight * near_price, 0.0)
            weights += np.where(usable, weight, 0.0)
    return total / np.where(weights > 0, weights, np.nan)


def _from_load(
    prices: DayMatrix, lead: int, exogenous: Mapping[str, DayMatrix]
) -> tuple[dict[str, Matrix], Matrix]:
    """Return features of the forecasts of load and sun, and the supply curve's price."""
    first, last = prices.days[[0, -1]]
    inputs = {name: matrix.spanning(first, last).grid for name, matrix in exogenous.items()}
    targets = inputs if lead == 1 else _of_target_day(inputs, lead)
    curve = np.full_like(prices.grid, np.nan)
    if RESIDUAL_LOAD in targets:
        curve = supply_curve(prices.grid, _system_load(inputs), _system_load(targets), lead)
    return _changes(inputs, targets, lead), curve


def _daily_changes(changes: Mapping[str, Matrix]) -> dict[str, Matrix]:
    return {
        name.replace("_since", "_mean_since"): values.mean(axis=1)
        for name, values in changes.items()
        if name.endswith("since_day_before")
    }


def _of_target_day(inputs: Mapping[str, Matrix], lead: int) -> dict[str, Matrix]:
    """Return the forecasts of the target day by the name of the day-ahead one."""
    pairs = [(name, ahead_name(name, lead)) for name in inputs]
    return {name: inputs[ahead] for name, ahead in pairs if ahead in inputs}


def _system_load(inputs: Mapping[str, Matrix]) -> Matrix:
    """Return the residual load (MW) of Spain, with the neighbours' shares if any."""
    total = inputs[RESIDUAL_LOAD]
    for area, share in NEIGHBOUR_SHARES.items():
        if (name := f"{area}_{RESIDUAL_LOAD}") in inputs:
            total = total + share * inputs[name]
    return total


def _spread(grid: Matrix, lead: int) -> Matrix:
    within_day = trailing_mean(grid.std(axis=1, keepdims=True), SPREAD_DAYS, lead, at_least=3)
    mean = grid.mean(axis=1, keepdims=True)
    price_level = trailing_mean(mean, PRICE_LEVEL_DAYS, lead, at_least=3)
    return within_day + PRICE_LEVEL_SHARE * np.abs(price_level) + SPREAD_FLOOR_EUR_MWH


def _lowest(grid: Matrix, lead: int) -> Matrix:
    lowest = pd.Series(grid.min(axis=1)).rolling(LOWEST_DAYS, min_periods=1).min()
    return lowest.shift(lead).to_numpy(dtype=np.float64)


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


def _changes(
    inputs: Mapping[str, Matrix], targets: Mapping[str, Matrix], lead: int
) -> dict[str, Matrix]:
    """Return each forecast of the target day, or the day after issue, and its changes."""
    changes = {}
    # sorted: the columns of a fit and of its later use stand in one order
    for name, forecast in sorted(inputs.items()):
        if not name.endswith(AHEAD_SUFFIX):
            latest = targets.get(name, lag(forecast, lead - 1))
            week = 7 if name in targets else lead + 6
            changes[f"{name}_latest"] = latest
            changes[f"{name}_since_day_before"] = latest - lag(forecast, lead)
            changes[f"{name}_since_week_before"] = latest - lag(forecast, week)
    return changes
