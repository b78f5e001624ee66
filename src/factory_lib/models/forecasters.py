"""The price forecaster: LASSO per hour on several windows, averaged with boosted trees, per lead.

Linear models use the whole of the last days and extrapolate; trees find thresholds
(solar valley, holidays, level) and do not. Their errors differ, so their mean beats
each. LASSO per hour on lagged prices is the field's reference (LEAR: Lago, Marcjasz, De
Schutter, Weron, Applied Energy 293 (2021) 116983, also for averaging over windows);
here on normalised prices, see ``features.prices``. The same class is fitted in
production and in the backtest.

Stored models name the classes of this module: ``LeadModel``, ``PriceForecaster`` and, for
``ForecasterConfig``, also its former name ``Recipe``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.parallel import Parallel, delayed

from factory_lib.errors import TooFewRows
from factory_lib.features.days import DayMatrix, Matrix, to_slots
from factory_lib.features.prices import DayFeatures, price_features
from factory_lib.frames import QUANTILES
from factory_lib.models.evaluation import (
    WINDOW_DAYS,
    band,
    calibration_start,
    error_quantiles,
    in_quarters,
    naive_forecasts,
    quarter_factors,
    rolling_origin,
)

LEADS = tuple(range(1, 8))
LEAST_TRAINING_DAYS = 60
# The sixteen weeks kept from a fit are forecast by an earlier one; for the next day,
# the last four of them by a second, fresh as fits in use are. On spot 2024, fits two
# weeks old on average had an rMAE of .622, eight weeks old .633.
FRESH_DAYS = 28
_BOOSTED: dict[str, Any] = {
    "loss": "absolute_error",
    "learning_rate": 0.08,
    "max_leaf_nodes": 24,
    "min_samples_leaf": 50,
    "l2_regularization": 5.0,
    "max_features": 0.3,
    "early_stopping": False,
    "random_state": 0,
}
_FOREST: dict[str, Any] = {
    "max_leaf_nodes": 512,
    "max_features": 0.4,
    "min_samples_leaf": 5,
    "max_samples": 0.3,
    "random_state": 0,
}


@dataclass(frozen=True)
class ForecasterConfig:
    """The parameters of a price forecaster.

    The defaults were compared on spot 2023 and 2024, PVPC 2024 and the energy file 2016
    and 2017, where neighbouring choices differ by about one percent of the error.

    Attributes
    ----------
    lasso_windows_days : tuple of int
        One LASSO model per hour and window; days without prices do not count.
    lasso_penalty, lasso_penalty_per_day : float
        In units of the standardised features; the second is added for each day of lead
        beyond the first, because fewer features are known and more noise would be fitted.
    tree_window_days, tree_iterations : int
        Training window and number of the trees.
    trees : {"boosted", "forest"}
        Boosted, or a random forest, for comparison.
    tree_weight : float
        Share of the trees in the mean; the LASSO models share the rest equally.
    clip_spreads : float
        Targets further than this from the level are pulled in before a linear fit.
    """

    lasso_windows_days: tuple[int, ...] = (364, 728, 1456)
    lasso_penalty: float = 0.01
    lasso_penalty_per_day: float = 0.005
    tree_window_days: int = 1456
    tree_iterations: int = 100
    tree_weight: float = 0.4
    clip_spreads: float = 6.0
    trees: Literal["boosted", "forest"] = "boosted"


Recipe = ForecasterConfig


class _Configured(BaseEstimator):  # type: ignore[misc]
    """An estimator with a ``config``, which older stored models call ``recipe``."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(
            {"config" if name == "recipe" else name: value for name, value in state.items()}
        )


class LeadModel(_Configured):
    """The averaged models of one lead, on normalised prices and rows instead of dates.

    Parameters
    ----------
    config : ForecasterConfig
        Windows and weights.
    lead : int
        Days between issue and target.
    """

    def __init__(self, config: ForecasterConfig = ForecasterConfig(), lead: int = 1) -> None:
        self.config = config
        self.lead = lead

    def fit(self, features: DayFeatures, prices: Matrix, end: int) -> Self:
        """Fit on the target rows before ``end``, the first row whose price is not known.

        Raises
        ------
        TooFewRows
            If fewer than ``LEAST_TRAINING_DAYS`` of them have a price and a level.
        """
        config = self.config
        target = features.normalised(prices[: len(features.level)])
        usable = np.flatnonzero(np.isfinite(target[:end]).all(axis=1))
        if len(usable) < LEAST_TRAINING_DAYS:
            raise TooFewRows("price model", len(usable), LEAST_TRAINING_DAYS)
        flat = features.flat()
        clipped = np.clip(target, -config.clip_spreads, config.clip_spreads)
        penalty = config.lasso_penalty + config.lasso_penalty_per_day * (self.lead - 1)
        self.lassos_ = []
        for window in config.lasso_windows_days:
            rows = usable[-window:]
            # A missing day is imputed as an average one. One Gram matrix serves the 24
            # hours: this is what makes daily recalibration cheap.
            lasso = make_pipeline(
                SimpleImputer(keep_empty_features=True),
                StandardScaler(),
                Lasso(penalty, precompute=True, tol=1e-3),
            )
            self.lassos_.append(lasso.fit(flat[rows], clipped[rows]))
        rows = usable[-config.tree_window_days :]
        pooled = features.pooled()[rows]
        count = config.tree_iterations
        self.trees_ = (
            HistGradientBoostingRegressor(max_iter=count, **_BOOSTED)
            if config.trees == "boosted"
            else RandomForestRegressor(count, **_FOREST)
        )
        self.trees_.fit(pooled.reshape(-1, pooled.shape[2]), target[rows].ravel())
        return self

    def predict(self, features: DayFeatures, rows: Sequence[int] | np.ndarray) -> Matrix:
        """Return the forecast (EUR/MWh) of the target rows; NaN where the level is unknown.

        Returns
        -------
        array, shape (rows, 24)
        """
        selected = np.asarray(rows, dtype=int)
        flat = features.flat()[selected]
        pooled = features.pooled()[selected]
        linear = np.mean([lasso.predict(flat) for lasso in self.lassos_], axis=0)
        trees = self.trees_.predict(pooled.reshape(-1, pooled.shape[2])).reshape(len(selected), -1)
        weight = self.config.tree_weight
        mixed = (1 - weight) * linear + weight * trees
        return np.asarray(mixed * features.spread[selected, None] + features.level[selected, None])


def rolling_forecast(
    model: LeadModel, features: DayFeatures, prices: Matrix, origins: Sequence[int]
) -> Matrix:
    """Forecast the target rows by models that had not seen them.

    Parameters
    ----------
    model : LeadModel
        Refitted at each origin on the prices known at the issue of that row.
    origins : sequence of int
        Rows, ascending: the first of each block of rows with one fit.

    Returns
    -------
    array, shape of ``prices``
        EUR/MWh; NaN before the first origin and where the level is unknown.
    """
    rows = np.arange(len(prices))
    forecast = np.full_like(prices, np.nan)
    for origin, block in rolling_origin(rows, origins):
        if np.isfinite(features.level[block]).any():
            model.fit(features, prices, origin - model.lead + 1)
            forecast[block] = model.predict(features, rows[block])
    return forecast


class PriceForecaster(_Configured):
    """Hourly or quarter-hourly prices of the coming market days, with a calibrated 10-90 % band.

    The last row of the prices given is the issue day I; the forecast is for I+1 … I+7.
    It is issued at noon of I, when the prices of I (published the day before) are known
    and those of I+1 are not.

    Attributes
    ----------
    models_ : dict of int to LeadModel
    errors_ : dict of int to array, shape (days, 24)
        By lead, out-of-sample errors in spreads of the sixteen weeks before the fit, by
        models that had not seen them.
    rmae_ : dict of int to float
        By lead, the error on those weeks relative to that of the best naive forecast.
    exogenous_ : list of str
        The operator's forecasts it was fitted with; ``predict`` needs them, too.
    fitted_until_ : datetime64[D]
        The last day of prices in the fit.
    """

    def __init__(
        self, config: ForecasterConfig = ForecasterConfig(), leads: tuple[int, ...] = LEADS
    ) -> None:
        self.config = config
        self.leads = leads

    def fit(
        self,
        prices: DayMatrix,
        exogenous: Mapping[str, DayMatrix] | None = None,
        *,
        jobs: int | None = None,
    ) -> Self:
        """Fit every lead on all hourly ``prices``, after an evaluation on the last sixteen weeks.

        Raises
        ------
        TooFewRows
            If the history is too short for both.
        """
        held_out = calibration_start(prices.grid, len(prices.days))
        work = (
            delayed(_fit_lead)(LeadModel(self.config, lead), prices, exogenous, held_out)
            for lead in self.leads
        )
        fits = dict(zip(self.leads, Parallel(n_jobs=jobs)(work), strict=True))
        self.models_ = {lead: model for lead, (model, _) in fits.items()}
        self.errors_ = {lead: errors for lead, (_, errors) in fits.items()}
        self.exogenous_ = sorted(exogenous or {})
        self.fitted_until_ = prices.days[-1]
        mean = self.losses(prices, exogenous).groupby("lead")[["model", "naive"]].mean()
        rmae = (mean["model"] / mean["naive"]).reindex(self.leads)
        self.rmae_ = dict(zip(self.leads, rmae.tolist(), strict=True))
        return self

    def losses(
        self,
        prices: DayMatrix,
        exogenous: Mapping[str, DayMatrix] | None = None,
        champion: "PriceForecaster | None" = None,
    ) -> pd.DataFrame:
        """Return the absolute errors (EUR/MWh) on the weeks kept from the fit, hour by hour.

        Parameters
        ----------
        prices, exogenous
            The data of the fit.
        champion : PriceForecaster, optional
            Another fit, evaluated on the same hours with those of ``exogenous`` that it
            was fitted with.

        Returns
        -------
        DataFrame
            ``lead``, ``issue_day`` (datetime64[D]), ``model``, ``naive`` (the best
            naive forecast of the lead), and, given a champion, ``champion`` of the next
            day alone, for which both are fresh; its own training days are not left out.
        """
        parts = []
        for lead, errors in self.errors_.items():
            rows = np.arange(len(prices.days) - len(errors), len(prices.days))
            scale = price_features(prices, lead, exogenous).spread[rows, None]
            naive = [
                np.abs(prices.grid - forecast)[rows]
                for forecast in naive_forecasts(prices, lead).values()
            ]
            columns = {"model": np.abs(errors * scale), "naive": min(naive, key=np.nanmean)}
            if champion is not None and lead == 1:
                inputs = {name: (exogenous or {})[name] for name in champion.exogenous_}
                features = price_features(prices, lead, inputs)
                again = errors_in_spreads(champion.models_[lead], features, prices.grid, rows)
                columns["champion"] = np.abs(again * scale)
            flat = {name: values.ravel() for name, values in columns.items()}
            issue_day = np.repeat(prices.days[rows] - lead, errors.shape[1])
            parts.append(pd.DataFrame({"lead": lead, "issue_day": issue_day, **flat}))
        return pd.concat(parts, ignore_index=True).dropna(subset=["model", "naive"])

    def held_out_forecast(
        self, prices: DayMatrix, exogenous: Mapping[str, DayMatrix] | None = None, lead: int = 1
    ) -> pd.Series:
        """Return the forecasts (EUR/MWh, by ``start``) of the held-out weeks, of one lead."""
        first = len(prices.days) - len(self.errors_[lead])
        spread = price_features(prices, lead, exogenous).spread[first:, None]
        rows = prices.grid[first:] - self.errors_[lead] * spread
        forecast: pd.Series = pd.concat(map(to_slots, prices.days[first:].tolist(), rows))
        return forecast

    def predict(
        self,
        prices: DayMatrix,
        exogenous: Mapping[str, DayMatrix] | None = None,
        quarters: DayMatrix | None = None,
    ) -> pd.DataFrame:
        """Forecast the days after the last day of ``prices``.

        Parameters
        ----------
        prices : DayMatrix
            Hourly, up to and including the issue day; at least five weeks, or back to
            the fit where that is longer.
        quarters : DayMatrix, optional
            Known quarter-hourly prices up to the issue day; given, the forecast is
            quarter-hourly.

        Returns
        -------
        DataFrame
            Indexed by ``start`` (UTC): ``p10``, ``p50``, ``p90`` (EUR/MWh; NaN where
            the history has too many holes) and ``lead`` (days).
        """
        issue_day = prices.days[-1]
        parts = []
        for lead in self.leads:
            future = prices.spanning(prices.days[0], issue_day + lead)
            features = price_features(future, lead, exogenous)
            target = len(future.days) - 1
            point = self.models_[lead].predict(features, [target])
            # A forecast issued before the fit would have known less than this model does:
            # leave it out.
            since_fit = np.arange(future.row(self.fitted_until_) + lead, target - lead + 1)
            recent = errors_in_spreads(self.models_[lead], features, future.grid, since_fit)
            errors = np.vstack([self.errors_[lead], recent])
            quantiles = error_quantiles(errors[-WINDOW_DAYS:])
            if quarters is not None:
                point = in_quarters(point, quarter_factors(quarters.until(issue_day).grid))
                quantiles = quantiles.repeat(4, axis=1)
            rows = band(point[0], quantiles, features.spread[target], lead)
            parts.append(band_of_day((issue_day + lead).astype(date), rows).assign(lead=lead))
        return pd.concat(parts)


def band_of_day(day: date, rows: Matrix) -> pd.DataFrame:
    """Return p10, p50 and p90 (shape (3, columns)) of a market day by slot ``start`` (UTC)."""
    return pd.DataFrame(
        {name: to_slots(day, row) for name, row in zip(QUANTILES, rows, strict=True)}
    )


def _fit_lead(
    model: LeadModel,
    prices: DayMatrix,
    exogenous: Mapping[str, DayMatrix] | None,
    held_out: int,
) -> tuple[LeadModel, Matrix]:
    """Return the fitted model of a lead, and out-of-sample errors from row ``held_out`` on."""
    end = len(prices.days)
    features = price_features(prices, model.lead, exogenous)
    origins = [held_out, end - FRESH_DAYS] if model.lead == 1 else [held_out]
    errors = prices.grid - rolling_forecast(model, features, prices.grid, origins)
    scaled = errors[held_out:] / features.spread[held_out:, None]
    return model.fit(features, prices.grid, end), scaled


def errors_in_spreads(
    model: LeadModel, features: DayFeatures, prices: Matrix, rows: np.ndarray
) -> Matrix:
    """Return actual minus forecast of the target rows in units of the spread: shape (rows, 24)."""
    if not len(rows):
        return np.empty((0, prices.shape[1]))
    return np.asarray((prices[rows] - model.predict(features, rows)) / features.spread[rows, None])
