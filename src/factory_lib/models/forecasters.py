"""The price forecaster: a few experts that differ, mixed online by hour, per lead.

Linear models use the whole of the last days and extrapolate; trees find thresholds
(solar valley, holidays, level) and do not; the kernel model recalls what followed like
days, around the mean of the last one; the supply curve follows the price of the
latest days' load, the mean of three only the level. Their errors differ, so their mixture
(``models.aggregation``) beats each. LASSO per hour on lagged prices is the field's
reference (LEAR: Lago, Marcjasz, De Schutter, Weron, Applied Energy 293 (2021) 116983,
also for averaging over windows); here on normalised prices, see ``features.prices``. The
same class is fitted in production and in the backtest.

Stored models name the classes of this module: ``LeadModel``, ``PriceForecaster`` and, for
``ForecasterConfig``, also its former name ``Recipe``. Those of earlier code have LASSO
models and trees alone, mixed by fixed weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Lasso, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.parallel import Parallel, delayed

from factory_lib.clock import HOUR_S, MADRID, day_start, epoch
from factory_lib.errors import TooFewRows
from factory_lib.features.days import DayMatrix, Matrix, day_matrix, to_slots
from factory_lib.features.prices import DayFeatures, price_features, with_spot_before
from factory_lib.frames import QUANTILES
from factory_lib.models.aggregation import expert_weights, mixture
from factory_lib.models.evaluation import (
    WINDOW_DAYS,
    band,
    calibration_start,
    day_kinds,
    diebold_mariano,
    naive_forecasts,
    quarter_errors,
    quarterly,
    rolling_origin,
    trailing_bands,
)
from factory_lib.slots import to_index

LEADS = tuple(range(1, 8))
LEAST_TRAINING_DAYS = 60
SIGNIFICANCE = 0.1  # highest p-value of a forecast that replaces another
HOURS = 24
# The sixteen weeks kept from a fit are forecast by an earlier one; for the next day,
# the second half of them by a second, nearly as fresh as fits in use are.
FRESH_DAYS = WINDOW_DAYS // 2
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


@dataclass(frozen=True)
class ForecasterConfig:
    """The parameters of a price forecaster.

    The defaults were compared on spot 2023, where neighbouring choices differ by about
    one percent of the error; those of the kernel model on spot 2021 to 2023 and the
    energy file 2016.

    Attributes
    ----------
    lasso_windows_days : tuple of int
        One LASSO model per hour and window, of all inputs; days without prices do not
        count.
    long_window_days : int
        Window of a further LASSO model per hour, of prices alone: it forecasts where
        another input is missing.
    lasso_penalty, lasso_penalty_per_day : float
        In units of the standardised features; the second is added for each day of lead
        beyond the first, because fewer features are known and more noise would be fitted.
    tree_window_days, tree_iterations : int
        Training window and number of the trees, boosted from the last LASSO model.
    kernel_window_days, kernel_days : int
        Window of the kernel model, and how many of its days others are compared with.
    kernel_width, kernel_penalty : float
        Decline of nearness with the mean squared distance of standardised features; the
        penalty of the ridge on nearness.
    tree_weight : float
        Share of the trees in the fixed mixture of earlier code.
    clip_spreads : float
        Targets further than this from the level are pulled in before a linear fit.
    """

    lasso_windows_days: tuple[int, ...] = (364, 728)
    long_window_days: int = 2500
    lasso_penalty: float = 0.02
    lasso_penalty_per_day: float = 0.005
    tree_window_days: int = 1456
    tree_iterations: int = 100
    tree_weight: float = 0.3
    kernel_window_days: int = 2200
    kernel_days: int = 100
    kernel_width: float = 0.05
    kernel_penalty: float = 0.1
    clip_spreads: float = 6.0

    def lead_model(self, lead: int) -> "LeadModel":
        """Return the model of a lead, not fitted."""
        return LeadModel(self, lead)


Recipe = ForecasterConfig


class _Configured(BaseEstimator):  # type: ignore[misc]
    """An estimator with a ``config``, which older stored models call ``recipe``."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(
            {"config" if name == "recipe" else name: value for name, value in state.items()}
        )


class LeadModel(_Configured):
    """The experts of one lead, on normalised prices and rows instead of dates.

    Parameters
    ----------
    config : ForecasterConfig
        Windows and weights.
    lead : int
        Days between issue and target.
    """

    market_: "LeadModel | None" = None  # of the spot price that a tariff follows
    alone_: Any = None  # the LASSO model of prices alone, which earlier code did not fit
    kernel_: Any = None  # of like days, nor this
    curve_ = False  # whether the supply curve is an input

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
        if features.market is not None:
            self.market_ = LeadModel(config, self.lead).fit(features.market, prices, end)
        if features.longer is not None:
            prices = features.longer
        target, days = learnable(features, prices, end)
        with_curve = np.isfinite(days.curve).all(axis=1)
        self.curve_ = bool(with_curve.sum() >= LEAST_TRAINING_DAYS)
        clipped = np.clip(target, -config.clip_spreads, config.clip_spreads)
        penalty = config.lasso_penalty + config.lasso_penalty_per_day * (self.lead - 1)
        flat = self._flat(days)
        windows = [slice(-length, None) for length in config.lasso_windows_days]
        self.lassos_ = [_lasso(penalty).fit(flat[rows], clipped[rows]) for rows in windows]
        long = slice(-config.long_window_days, None)
        self.alone_ = _lasso(penalty / 2).fit(days.prices_only()[long], clipped[long])
        for lasso in (*self.lassos_, self.alone_):  # half the bytes in a stored model
            lasso[-1].coef_ = lasso[-1].coef_.astype(np.float32)
        complete = np.flatnonzero(with_curve | (not self.curve_))
        rows = complete[-config.kernel_window_days :]
        around_latest = self._flat(days, days.latest)[rows]
        self.kernel_ = _kernel(config, *around_latest.shape)
        self.kernel_.fit(around_latest, clipped[rows] - days.latest[rows])
        rows = complete[-config.tree_window_days :]
        pooled = self._pooled(days.at(rows)).reshape(len(rows) * HOURS, -1)
        pooled[:, np.isnan(pooled).all(axis=0)] = 0.0  # trees refuse a column without any value
        rest = target[rows] - self.lassos_[-1].predict(flat[rows])
        self.trees_ = HistGradientBoostingRegressor(max_iter=config.tree_iterations, **_BOOSTED)
        self.trees_.fit(pooled, rest.ravel())
        return self

    @property
    def prior(self) -> tuple[float, ...]:
        """Return the weights of the experts before any of their errors is known."""
        trees = self.config.tree_weight
        linear = len(self.lassos_)
        own: tuple[float, ...] = (*[(1 - trees) / linear] * linear, trees)
        if self.alone_ is not None:
            own = (1.0,) * (linear + (4 if self.kernel_ is None else 5))
        return own if self.market_ is None else (*own, *self.market_.prior)

    @property
    def expert_names(self) -> tuple[str, ...]:
        """Return words for each expert, in the order of ``prior``."""
        linear = [f"LASSO of all inputs, {days} days" for days in self.config.lasso_windows_days]
        aware = (*linear, "trees", *([] if self.kernel_ is None else ["like days"]))
        alone = f"LASSO of prices, {self.config.long_window_days} days"
        others = () if self.alone_ is None else (alone, "mean of three", "supply curve")
        theirs = self.market_.expert_names if self.market_ else ()
        return (*aware, *others, *(f"{name}, from the spot" for name in theirs))

    def predict(self, features: DayFeatures, rows: Sequence[int] | np.ndarray) -> Matrix:
        """Return each expert's forecast of the target rows, in spreads around the level.

        Where the fit had the supply curve and a row has none, only the experts of prices
        alone have a forecast.

        Returns
        -------
        array, shape (experts, rows, 24)
            The LASSO models, the trees, and, fitted by present code, the kernel model, the
            LASSO model of prices alone, the mean of three, and the supply curve; none below
            the lowest price of four weeks: many hours sell at a floor, which a fit of the
            mean crosses.
        """
        days = features.at(np.asarray(rows, dtype=int))
        flat = self._flat(days)
        pooled = self._pooled(days)
        linear = [lasso.predict(flat) for lasso in self.lassos_]
        trees = self.trees_.predict(pooled.reshape(-1, pooled.shape[2])).reshape(-1, HOURS)
        if self.alone_ is None:
            return np.stack([*linear, trees])
        aware = [*linear, linear[-1] + trees]
        if self.kernel_ is not None:
            around_latest = self._flat(days, days.latest)
            aware.append(self.kernel_.predict(around_latest) + days.latest)
        asleep = ~np.isfinite(days.curve) & self.curve_
        alone = self.alone_.predict(days.prices_only())
        unbounded = [*np.where(asleep, np.nan, aware), alone, days.simple(), days.curve]
        experts: Matrix = np.maximum(np.stack(unbounded), days.lowest[:, None])
        if self.market_ is None or days.market is None:
            return experts
        theirs = self.market_.predict(days.market, range(len(days.level)))
        prices = days.market.in_eur_mwh(theirs)
        return np.concatenate([experts, days.normalised(prices)])

    def _flat(self, features: DayFeatures, base: Matrix | float = 0.0) -> Matrix:
        flat = features.flat(base)
        return np.hstack([flat, features.curve - base]) if self.curve_ else flat

    def _pooled(self, features: DayFeatures) -> Matrix:
        pooled = features.pooled()
        if not self.curve_:
            return pooled
        near = [np.roll(features.curve, shift, axis=1) for shift in (-1, 0, 1)]
        return np.concatenate([pooled, np.stack(near, axis=2)], axis=2)


def learnable(features: DayFeatures, prices: Matrix, end: int) -> tuple[Matrix, DayFeatures]:
    """Return the normalised prices of the days before ``end`` to learn from, and their features.

    Raises
    ------
    TooFewRows
        If there are fewer than ``LEAST_TRAINING_DAYS``.
    """
    target = features.normalised(prices[: len(features.level)])
    usable = np.flatnonzero(np.isfinite(target[:end]).all(axis=1))
    if len(usable) < LEAST_TRAINING_DAYS:
        raise TooFewRows("price model", len(usable), LEAST_TRAINING_DAYS)
    return target[usable], features.at(usable)


def _lasso(penalty: float) -> Any:
    """Return a LASSO model of many columns; a missing day is imputed as an average one.

    One Gram matrix serves the 24 hours: this is what makes frequent fits cheap.
    """
    return make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        Lasso(penalty, precompute=True, tol=1e-3),
    )


def _kernel(config: ForecasterConfig, days: int, columns: int) -> Any:
    """Return a ridge on the nearness to some of the days, where each column counts alike."""
    near = Nystroem(
        gamma=config.kernel_width / columns,
        n_components=min(config.kernel_days, days),
        random_state=0,
    )
    return make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        near,
        Ridge(config.kernel_penalty),
    )


def rolling_experts(
    model: LeadModel, features: DayFeatures, prices: Matrix, origins: Sequence[int]
) -> Matrix:
    """Forecast the target rows by experts that had not seen them.

    Parameters
    ----------
    model : LeadModel
        Refitted at each origin on the prices known at the issue of that row.
    origins : sequence of int
        Rows, ascending: the first of each block of rows with one fit.

    Returns
    -------
    array, shape (experts, days, 24)
        In spreads around the level; NaN before the first origin and where the level is
        unknown.
    """
    rows = np.arange(len(prices))
    parts = []
    for origin, block in rolling_origin(rows, origins):
        if np.isfinite(features.level[block]).any():
            model.fit(features, prices, origin - model.lead + 1)
            parts.append((rows[block], model.predict(features, rows[block])))
    experts = np.full((len(model.prior), *prices.shape), np.nan)
    for issued, forecast in parts:
        experts[:, issued] = forecast
    return experts


def rolling_forecast(
    model: LeadModel, features: DayFeatures, prices: Matrix, origins: Sequence[int]
) -> Matrix:
    """Return the mixture of ``rolling_experts`` in EUR/MWh: shape of ``prices``."""
    experts = rolling_experts(model, features, prices, origins)
    weights = expert_weights(features.normalised(prices) - experts, model.prior, model.lead)
    return features.in_eur_mwh(mixture(experts, weights))


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
    expert_errors_ : dict of int to array, shape (experts, days, 24)
        By lead, those of each expert; earlier code kept none, and its weights are fixed.
    rmae_ : dict of int to float
        By lead, the error on those weeks relative to that of the best naive forecast.
    p_values_ : dict of int to float
        By lead, that the best naive forecast is as good (``evaluation.diebold_mariano``);
        earlier code kept none.
    exogenous_ : list of str
        The operator's forecasts it was fitted with; ``predict`` needs them, too.
    fitted_until_ : datetime64[D]
        The last day of prices in the fit.
    """

    exogenous_: Sequence[str] = ()
    expert_errors_: Mapping[int, Matrix] = {}
    p_values_: Mapping[int, float] = {}

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
        prices = with_spot_before(prices, exogenous)
        if len(prices.days) < WINDOW_DAYS + LEAST_TRAINING_DAYS:
            jobs = 1  # the first fit will refuse so few: no process need start for it
        work = (
            delayed(_fit_lead)(self.config.lead_model(lead), prices, exogenous)
            for lead in self.leads
        )
        fits = dict(zip(self.leads, Parallel(n_jobs=jobs)(work), strict=True))
        self.models_ = {lead: model for lead, (model, _) in fits.items()}
        self.expert_errors_ = {lead: errors for lead, (_, errors) in fits.items()}
        self.errors_ = {
            lead: mixture(errors, expert_weights(errors, self.models_[lead].prior, lead))
            for lead, errors in self.expert_errors_.items()
        }
        self.exogenous_ = sorted(exogenous or {})
        self.fitted_until_ = prices.days[-1]
        losses = self.losses(prices, exogenous)
        mean = losses.groupby("lead")[["model", "naive"]].mean()
        rmae = (mean["model"] / mean["naive"]).reindex(self.leads)
        self.rmae_ = dict(zip(self.leads, rmae.tolist(), strict=True))
        daily = losses.groupby(["lead", "issue_day"])[["model", "naive"]].mean()
        self.p_values_ = {
            lead: diebold_mariano(*daily.loc[lead].to_numpy().T) for lead in self.leads
        }
        return self

    @property
    def naive_leads(self) -> tuple[int, ...]:
        """Return the leads that were not significantly better than the best naive forecast."""
        return tuple(
            lead
            for lead, rmae in self.rmae_.items()
            if not (rmae < 1 and self.p_values_.get(lead, 0.0) < SIGNIFICANCE)
        )

    def experts(self) -> pd.DataFrame:
        """Return what each expert is worth, by the weeks kept from the fit.

        Returns
        -------
        DataFrame
            ``day_ahead``, ``expert``, its latest ``weight`` (mean over the hours), ``error``
            relative to that of the mixture, and ``worth``: the share by which the mixture
            would err more without it. Experts without a forecast of these weeks, and fits
            by earlier code, which kept no errors, are left out.
        """
        rows: list[tuple[int, str, float, float, float]] = []
        for lead, errors in self.expert_errors_.items():
            model = self.models_[lead]
            awake = np.isfinite(errors).any(axis=(1, 2))
            used = errors[awake]
            prior = np.array(model.prior)[awake]
            mixed, weights = _mixed(used, prior.tolist(), lead)
            mae = _mae(mixed)
            for number, name in enumerate(np.array(model.expert_names)[awake]):
                others = np.arange(len(used)) != number
                left = prior[others].tolist()
                without = _mixed(used[others], left, lead)[0] if left else mixed
                weight = float(weights[number].mean())
                row = (weight, _mae(used[number]) / mae, _mae(without) / mae - 1)
                rows.append((lead, str(name), *row))
        return pd.DataFrame(rows, columns=["day_ahead", "expert", "weight", "error", "worth"])

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
            ``lead``, ``issue_day`` (datetime64[D]), ``kind`` of the target day
            (``evaluation.day_kinds``), ``model``, ``naive`` (the best naive forecast of
            the lead), and, given a champion, ``champion`` of the next
            day alone, for which both are fresh; NaN on days before the end of its own fit.
        """
        parts = []
        kinds = day_kinds(prices.grid)
        for lead, errors in self.errors_.items():
            rows = np.arange(len(prices.days) - len(errors), len(prices.days))
            scale = price_features(prices, lead).spread[rows, None]
            naive = [
                np.abs(prices.grid - forecast)[rows]
                for forecast in naive_forecasts(prices, lead).values()
            ]
            columns = {"model": np.abs(errors * scale), "naive": min(naive, key=np.nanmean)}
            if champion is not None and lead == 1:
                inputs = {name: (exogenous or {})[name] for name in champion.exogenous_}
                features = price_features(prices, lead, inputs)
                again, _ = champion.past_errors(features, prices, lead)
                since = min(len(again) - len(champion.errors_[lead]), len(rows))
                served = np.full_like(errors, np.nan)
                served[len(rows) - since :] = again[len(again) - since :]
                columns["champion"] = np.abs(served * features.spread[rows, None])
            flat = {name: values.ravel() for name, values in columns.items()}
            issue_day = np.repeat(prices.days[rows] - lead, errors.shape[1])
            kind = np.repeat(kinds[rows], errors.shape[1])
            parts.append(pd.DataFrame({"lead": lead, "issue_day": issue_day, "kind": kind, **flat}))
        return pd.concat(parts, ignore_index=True).dropna(subset=["model", "naive"])

    def held_out_forecast(
        self, prices: DayMatrix, exogenous: Mapping[str, DayMatrix] | None = None, lead: int = 1
    ) -> pd.Series:
        """Return the forecasts (EUR/MWh, by ``start``) of the held-out weeks, of one lead."""
        first = len(prices.days) - len(self.errors_[lead])
        spread = price_features(prices, lead).spread[first:, None]
        rows = prices.grid[first:] - self.errors_[lead] * spread
        forecast: pd.Series = pd.concat(map(to_slots, prices.days[first:].tolist(), rows))
        return forecast

    def predict(
        self,
        prices: DayMatrix | pd.DataFrame,
        exogenous: Mapping[str, DayMatrix] | None = None,
        quarters: DayMatrix | None = None,
    ) -> pd.DataFrame:
        """Forecast the days after the last day of ``prices``.

        Parameters
        ----------
        prices : DayMatrix
            Hourly, up to and including the issue day; at least five weeks, or back to
            the fit where that is longer. Or all inputs as ``hourly_rows``: MLflow calls
            a model so, and the answer is rows, too.
        exogenous : mapping of str to DayMatrix, optional
            What the fit had; where something lacks, the experts of prices alone serve.
        quarters : DayMatrix, optional
            Known quarter-hourly prices up to the issue day; given, the forecast is
            quarter-hourly.

        Returns
        -------
        DataFrame
            Indexed by ``start`` (UTC): ``p10``, ``p50``, ``p90`` (EUR/MWh; NaN where
            the history has too many holes) and ``lead`` (days).
        """
        if isinstance(prices, pd.DataFrame):
            return _in_text(self.predict(*_matrices(prices)))
        issue_day = prices.days[-1]
        unknown = DayMatrix(prices.days, np.full_like(prices.grid, np.nan))
        inputs = {name: (exogenous or {}).get(name, unknown) for name in self.exogenous_}
        parts = []
        for lead in self.leads:
            future = prices.spanning(prices.days[0], issue_day + lead)
            features = price_features(future, lead, inputs)
            target = len(future.days) - 1
            errors, weights = self.past_errors(features, future, lead)
            experts = self.models_[lead].predict(features, [target])
            row = slice(target, target + 1)
            point = features.at(row).in_eur_mwh(mixture(experts, weights[:, None]))
            if quarters is not None:
                published = quarters.until(issue_day)
                errors = quarter_errors(errors, future, features.spread, published, lead)
                point = quarterly(point, future.days[row], published, lead)
            quantiles = trailing_bands(errors, len(errors) - 1, lead)[0]
            rows = band(point[0], quantiles, features.spread[target])
            parts.append(band_of_day((issue_day + lead).astype(date), rows).assign(lead=lead))
        return pd.concat(parts)

    def past_errors(
        self, features: DayFeatures, prices: DayMatrix, lead: int
    ) -> tuple[Matrix, Matrix]:
        """Return the errors of past forecasts in spreads, and the weights on the last day.

        Parameters
        ----------
        features, prices
            Up to the target day or the last day with prices.

        Returns
        -------
        errors : array, shape (days, 24)
            A row per day from the weeks kept from the fit to the last of ``prices``; NaN
            where the price is unknown. A forecast issued before the fit would have known
            less than this model does: it is NaN, too.
        weights : array, shape (experts, 24)
        """
        model = self.models_[lead]
        first_unseen = prices.row(self.fitted_until_) + 1
        issued = np.arange(first_unseen + lead - 1, len(prices.days))
        shape = (len(model.prior), len(prices.days) - first_unseen, prices.grid.shape[1])
        recent = np.full(shape, np.nan)
        if len(issued):
            actual = features.normalised(prices.grid)[issued]
            recent[:, lead - 1 :] = actual - model.predict(features, issued)
        if lead not in self.expert_errors_:
            fixed = np.repeat(np.array(model.prior)[:, None], shape[2], axis=1)
            own = mixture(recent, fixed[:, None])
            return np.vstack([self.errors_[lead], own]), fixed
        experts = np.concatenate([self.expert_errors_[lead], recent], axis=1)
        weights = expert_weights(experts, model.prior, lead)
        return mixture(experts, weights), weights[:, -1]


def hourly_rows(prices: DayMatrix, exogenous: Mapping[str, DayMatrix], days: int) -> pd.DataFrame:
    """Return the last days of a forecaster's inputs as rows: ``start`` (ISO), a column for each.

    Forecasts reach to the last target day.
    """
    first = prices.days[-1] - days
    last = prices.days[-1] + max(LEADS)
    begin = epoch(day_start(first.item()))
    end = epoch(day_start((last + 1).item()))
    index = to_index(np.arange(begin, end, HOUR_S, dtype=np.int64))
    local = index.tz_convert(MADRID).tz_localize(None)
    row = (local.to_numpy().astype("datetime64[D]") - first).astype(np.int64)
    columns = {
        name: matrix.spanning(first, last).grid[row, local.hour]
        for name, matrix in {"price_eur_mwh": prices, **exogenous}.items()
    }
    return _in_text(pd.DataFrame(columns, index=index).round(3))


def _in_text(rows: pd.DataFrame) -> pd.DataFrame:
    starts = pd.DatetimeIndex(rows.index).strftime("%Y-%m-%dT%H:%M:%SZ")
    return rows.set_axis(starts, axis=0).rename_axis("start").reset_index()


def _matrices(rows: pd.DataFrame) -> tuple[DayMatrix, dict[str, DayMatrix]]:
    """Return prices and other inputs of ``hourly_rows``; without those of no value."""
    hourly = rows.set_index(pd.to_datetime(rows["start"], utc=True)).drop(columns="start")
    columns = hourly.astype(float).dropna(axis=1, how="all").items()
    matrices = {str(name): day_matrix(column) for name, column in columns}
    return matrices.pop("price_eur_mwh"), matrices


def band_of_day(day: date, rows: Matrix) -> pd.DataFrame:
    """Return p10, p50 and p90 (shape (3, columns)) of a market day by slot ``start`` (UTC)."""
    return pd.DataFrame(
        {name: to_slots(day, row) for name, row in zip(QUANTILES, rows, strict=True)}
    )


def _mixed(errors: Matrix, prior: Sequence[float], lead: int) -> tuple[Matrix, Matrix]:
    """Return the errors of the mixture (days, hours), and today's weights (experts, hours)."""
    ahead = np.full((len(errors), lead, errors.shape[2]), np.nan)
    padded = np.concatenate([errors, ahead], axis=1)
    weights = expert_weights(padded, prior, lead)
    return mixture(padded, weights)[:-lead], weights[:, -1]


def _mae(errors: Matrix) -> float:
    return float(np.nanmean(np.abs(errors)))


def _fit_lead(
    model: LeadModel, prices: DayMatrix, exogenous: Mapping[str, DayMatrix] | None
) -> tuple[LeadModel, Matrix]:
    """Return the fitted experts of a lead, and their out-of-sample errors of sixteen weeks."""
    end = len(prices.days)
    features = price_features(prices, model.lead, exogenous)
    origins = held_out_origins(prices.grid, end, model.lead)
    experts = rolling_experts(model, features, prices.grid, origins)
    errors = features.normalised(prices.grid) - experts
    kept: Matrix = errors[:, origins[0] :].astype(np.float32)  # half the bytes in a stored model
    return model.fit(features, prices.grid, end), kept


def held_out_origins(prices: Matrix, end: int, lead: int, days: int = WINDOW_DAYS) -> list[int]:
    """Return the rows whose issues have fits that forecast the weeks kept from a fit.

    They lie whole weeks before the first row that the fit itself forecasts, so that refits
    at such distances are each other's: a backtest needs no other.

    Parameters
    ----------
    end : int
        The first row unknown to the fit.

    Raises
    ------
    TooFewRows
        If fewer than ``days`` days of prices are known before.
    """
    first = calibration_start(prices, end, days) + lead - 1
    fresh = end - FRESH_DAYS
    return [first, fresh] if lead == 1 and first < fresh else [first]
