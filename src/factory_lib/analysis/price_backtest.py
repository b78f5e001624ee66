"""Backtest of the price forecaster: every day forecast by rolling origin, as of its issue time.

Every market day of the test is forecast once for each lead, by models fitted on the
prices known at the issue time of the first day of their block (two to four weeks; models
in production are younger, so this errs on the careful side). Features of a row are taken
from known rows only, see ``features.days``. Weights and bands come from what a
``PriceForecaster`` fitted on that day would remember: errors on the weeks kept from its fit,
then its own. So a service that refits on the same days says the same.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from factory_lib.context import RunContext
from factory_lib.features.days import DayMatrix, Matrix, to_slots
from factory_lib.features.prices import DayFeatures, price_features, with_spot_before
from factory_lib.frames import QUANTILES
from factory_lib.models import registry
from factory_lib.models.aggregation import expert_weights, mixture
from factory_lib.models.evaluation import (
    WINDOW_DAYS,
    band,
    naive_forecasts,
    quarter_errors,
    quarterly,
    trailing_bands,
)
from factory_lib.models.forecasters import LEADS, ForecasterConfig, LeadModel, held_out_origins
from factory_lib.models.tracking import BACKTESTS

# for the next day, and for later ones, where a fresher model gains little
REFIT_DAYS, REFIT_DAYS_BEYOND = 14, 28
NEEDED_DAYS = 243  # before the first of a test: look-back, training, calibration, a month


def backtest_prices(
    prices: DayMatrix,
    first: date,
    last: date,
    exogenous: Mapping[str, DayMatrix] | None = None,
    *,
    quarters: DayMatrix | None = None,
    config: ForecasterConfig = ForecasterConfig(),  # noqa: B008 - frozen
    leads: tuple[int, ...] = LEADS,
    refit_days: int | None = None,
    phase: float = 0.0,
    calibration_days: int = WINDOW_DAYS,
    jobs: int = 1,
) -> pd.DataFrame:
    """Forecast the market days ``first`` to ``last`` (inclusive), beside naive forecasts.

    Parameters
    ----------
    prices : DayMatrix
        Hourly, with at least 35 + 60 + ``calibration_days`` known days before ``first``.
    quarters : DayMatrix, optional
        The same prices in quarters; given, so are the forecasts.
    refit_days : int, optional
        Length of a block; by default ``REFIT_DAYS`` or ``REFIT_DAYS_BEYOND``.
    phase : float
        Share of a block by which every refit comes earlier.
    jobs : int
        Leads are independent, and share the cores.

    Returns
    -------
    DataFrame
        One row per slot and lead: ``start`` (UTC), ``market_day``, ``lead``; EUR/MWh:
        ``p10``, ``p50``, ``p90`` and one column per naive forecast.

    Raises
    ------
    TooFewRows
        If the history before ``first`` is too short.
    """
    longest = with_spot_before(prices, exogenous)
    spanned = longest.spanning(longest.days[0], last)
    work = []
    for lead in leads:
        step = refit_days or (REFIT_DAYS if lead == 1 else REFIT_DAYS_BEYOND)
        refits = range(spanned.row(first) - round(phase * step), len(spanned.days), step)
        fits = _Fits(config.lead_model(lead), spanned, exogenous, refits, calibration_days)
        work.append(delayed(_one_lead)(fits, quarters, first))
    parts: list[pd.DataFrame] = Parallel(n_jobs=jobs)(work)
    return pd.concat(parts, ignore_index=True)


def days_within(prices: DayMatrix, seconds: float, candidates: int, refit_days: int) -> int:
    """Return how many days ``candidates`` backtests of the next day forecast in some seconds.

    By the time of one fit on the latest prices; 7 to 365, and fewer in a short history.
    """
    began = time.perf_counter()
    LeadModel().fit(price_features(prices, 1), prices.grid, len(prices.days))
    fits = seconds / (time.perf_counter() - began) / candidates
    most = min(365, len(prices.days) - NEEDED_DAYS)
    return int(np.clip(fits * refit_days - WINDOW_DAYS, 7, max(most, 7)))


def log_backtest(
    ctx: RunContext, name: str, params: Mapping[str, Any], metrics: Mapping[str, Any]
) -> str:
    """Log a backtest as an MLflow run of its own, without a model, and return the run's id.

    Parameters
    ----------
    params, metrics : mapping
        Parameters of the test, and its ``evaluation.score``; entries that are not numbers
        go into ``figures.json`` alone. In MLflow each is named by model and unit.
    """
    return registry.log(
        ctx,
        name=f"backtest {name}",
        params=params,
        metrics={_metric_name(key): value for key, value in metrics.items()},
        models={},
        kind=BACKTESTS,
        tags={"kind": "backtest", "as_of": ctx.as_of.isoformat()},
        artifacts={"figures.json": json.dumps(dict(metrics), default=str, indent=1)},
        figures={},
    ).run_id


def _metric_name(key: str) -> str:
    unit = "_eur_mwh" if key.endswith(("mae", "rmse", "pinball")) and "rmae" not in key else ""
    return key if key.startswith("days") else f"price_{key}{unit}"


class _Fits(NamedTuple):
    """The refits of a lead, at these rows of the prices."""

    model: LeadModel
    prices: DayMatrix
    exogenous: Mapping[str, DayMatrix] | None
    refits: Sequence[int]
    calibration_days: int


def _one_lead(fits: _Fits, quarters: DayMatrix | None, first: date) -> pd.DataFrame:
    lead = fits.model.lead
    prices = fits.prices
    features = price_features(prices, lead, fits.exogenous)
    forecasts = np.vstack(list(_blocks(fits, features, quarters)))
    start = prices.row(first)
    bands = np.moveaxis(forecasts, 1, 0)[:, start - fits.refits[0] :]
    actual = prices if quarters is None else _with_quarters(prices, quarters)
    columns = dict(zip(QUANTILES, bands, strict=True))
    columns |= {name: values[start:] for name, values in naive_forecasts(actual, lead).items()}
    parts = []
    for number, day in enumerate(prices.days[start:].tolist()):
        slots = {name: to_slots(day, values[number]) for name, values in columns.items()}
        parts.append(pd.DataFrame(slots).assign(market_day=str(day)))
    return pd.concat(parts).rename_axis("start").reset_index().assign(lead=lead)


def _blocks(fits: _Fits, features: DayFeatures, quarters: DayMatrix | None) -> Iterator[Matrix]:
    """Yield p10, p50 and p90 (days, 3, columns) of each block of days between refits."""
    model = fits.model
    prices = fits.prices
    lead = model.lead
    actual = features.normalised(prices.grid)

    @cache
    def forecast_from(origin: int) -> Matrix:
        model.fit(features, prices.grid, origin - lead + 1)
        return model.predict(features, range(origin, len(prices.days)))

    for start, stop in pairwise([*fits.refits, len(prices.days)]):
        end = start - lead + 1
        held_out = held_out_origins(prices.grid, end, lead, fits.calibration_days)
        first = held_out[0]
        ends = [*held_out[1:], end, stop]
        parts = [
            (origin, until, forecast_from(origin)[:, : until - origin])
            for origin, until in zip([*held_out, start], ends, strict=True)
        ]
        experts = np.full((len(model.prior), stop - first, prices.grid.shape[1]), np.nan)
        for origin, until, forecast in parts:
            experts[:, origin - first : until - first] = forecast
        weights = expert_weights(actual[first:stop] - experts, model.prior, lead)
        mixed = mixture(experts, weights)
        errors = actual[first:stop] - mixed
        point = features.at(slice(start, stop)).in_eur_mwh(mixed[start - first :])
        spread = features.spread[:stop]
        if quarters is not None:
            window = prices.until(prices.days[stop - 1])
            errors = quarter_errors(errors, window, spread, quarters, lead)
            point = quarterly(point, prices.days[start:stop], quarters, lead)
        quantiles = trailing_bands(errors, start - first, lead)
        yield np.moveaxis(band(point, quantiles, spread[start:, np.newaxis]), 0, 1)


def _with_quarters(prices: DayMatrix, quarters: DayMatrix) -> DayMatrix:
    """Return the prices in quarters; before they existed, an hour stands for its four."""
    published = quarters.spanning(*prices.days[[0, -1]]).grid
    grid = np.where(np.isfinite(published), published, prices.grid.repeat(4, axis=1))
    return DayMatrix(prices.days, grid)
