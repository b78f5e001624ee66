"""Backtest of the price forecaster: every day forecast by rolling origin, as of its issue time.

Every market day of the test is forecast once for each lead, by models fitted on the
prices known at the issue time of the first day of their block (two to four weeks; models
in production are younger, so this errs on the careful side). Features of a row are taken
from known rows only, see ``features.days``; bands come from the errors of earlier
forecasts.
"""

import json
import time
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from factory_lib.context import RunContext
from factory_lib.features.days import DayMatrix, Matrix, to_slots
from factory_lib.features.prices import price_features, with_spot_before
from factory_lib.frames import QUANTILES
from factory_lib.models import registry
from factory_lib.models.evaluation import (
    WINDOW_DAYS,
    band,
    calibration_start,
    in_quarters,
    naive_forecasts,
    quarter_factors,
    trailing_bands,
)
from factory_lib.models.forecasters import LEADS, ForecasterConfig, LeadModel, rolling_forecast
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
    end = spanned.row(first)
    work = []
    for lead in leads:
        model = config.lead_model(lead)
        origins = _origins(spanned, end, lead, calibration_days, refit_days, phase)
        work.append(delayed(_one_lead)(model, spanned, quarters, end, exogenous, origins))
    parts: list[pd.DataFrame] = Parallel(n_jobs=jobs)(work)
    return pd.concat(parts, ignore_index=True)


def _origins(
    prices: DayMatrix, first: int, lead: int, before: int, refit_days: int | None, phase: float
) -> range:
    """Return the rows of the refits, from so many days ``before`` row ``first`` on."""
    step = refit_days or (REFIT_DAYS if lead == 1 else REFIT_DAYS_BEYOND)
    start = calibration_start(prices.grid, first - lead + 1, before)
    return range(start - round(phase * step), len(prices.days), step)


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


def _one_lead(
    model: LeadModel,
    prices: DayMatrix,
    quarters: DayMatrix | None,
    first: int,
    exogenous: Mapping[str, DayMatrix] | None,
    origins: range,
) -> pd.DataFrame:
    lead = model.lead
    features = price_features(prices, lead, exogenous)
    forecast = rolling_forecast(model, features, prices.grid, origins)
    errors = prices.grid - forecast
    actual = prices
    if quarters is not None:
        forecast, errors, actual = _in_quarters(prices, quarters, forecast, errors, lead)
    spread = features.spread[:, None]
    quantiles = trailing_bands(errors / spread, first, lead)
    bands = band(forecast[first:], quantiles, spread[first:])
    columns = dict(zip(QUANTILES, bands, strict=True))
    columns |= {name: values[first:] for name, values in naive_forecasts(actual, lead).items()}
    parts = []
    for number, day in enumerate(prices.days[first:].tolist()):
        slots = {name: to_slots(day, values[number]) for name, values in columns.items()}
        parts.append(pd.DataFrame(slots).assign(market_day=str(day)))
    return pd.concat(parts).rename_axis("start").reset_index().assign(lead=lead)


def _in_quarters(
    prices: DayMatrix, quarters: DayMatrix, forecast: Matrix, errors: Matrix, lead: int
) -> tuple[Matrix, Matrix, DayMatrix]:
    # Before quarters existed, an hour stands for its four.
    published = quarters.spanning(prices.days[0], prices.days[-1]).grid
    rows = []
    for row in range(len(forecast)):
        factors = quarter_factors(published[: max(row - lead + 1, 0)])
        rows.append(in_quarters(forecast[[row]], factors))
    fine = np.vstack(rows)
    is_published = np.isfinite(published)
    fine_errors = np.where(is_published, published - fine, errors.repeat(4, axis=1))
    grid = np.where(is_published, published, prices.grid.repeat(4, axis=1))
    return fine, fine_errors, DayMatrix(prices.days, grid)
