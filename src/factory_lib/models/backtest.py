"""Rolling origin: what the forecaster would have said on every day, had it been run then.

Every market day of the test is forecast once for each lead, by models fitted on what
was known at the issue time of the first day of their block (two to four weeks; in
production models are younger, so this errs to the careful side). Features are taken row
by row from known rows only, see ``features.lags``; bands come from the errors of
earlier forecasts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from factory_lib.context import RunContext
from factory_lib.features.calendar import Matrix
from factory_lib.features.lags import DayMatrix, to_slots
from factory_lib.features.prices import price_features
from factory_lib.models import registry
from factory_lib.models.baselines import naive_forecasts
from factory_lib.models.calibration import band, calibration_start, trailing_bands
from factory_lib.models.forecasters import LEADS, LeadModel, Recipe
from factory_lib.models.quarters import in_quarters, quarter_factors

REFIT_DAYS, REFIT_DAYS_BEYOND = (
    14,
    28,
)  # for the next day, and for later ones, where a fresher model gains little


def rolling_origin(first: int, end: int, step: int) -> Iterator[range]:
    """Split the rows ``first`` … ``end`` - 1 into consecutive blocks of at most ``step``."""
    for start in range(first, end, step):
        yield range(start, min(start + step, end))


def backtest(
    prices: DayMatrix,
    first: date,
    last: date,
    exogenous: Mapping[str, DayMatrix] | None = None,
    *,
    quarters: DayMatrix | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    leads: tuple[int, ...] = LEADS,
    refit_days: int | None = None,
    jobs: int = 1,
) -> pd.DataFrame:
    """Forecast every market day from ``first`` to ``last`` (inclusive) at every lead, beside the naive forecasts.

    Parameters
    ----------
    prices : DayMatrix
        Hourly, with at least 35 + 60 + 112 known days before ``first``: look-back,
        training, calibration.
    quarters : DayMatrix, optional
        The same prices in quarters; given, so are the forecasts.
    refit_days : int, optional
        Length of a block; by default ``REFIT_DAYS`` for lead 1, ``REFIT_DAYS_BEYOND``
        for the others.
    jobs : int
        Leads are independent, and share the cores.

    Returns
    -------
    DataFrame
        One row per slot and lead: ``start`` (UTC), ``market_day``, ``lead``, and in
        EUR/MWh ``p10``, ``p50``, ``p90`` and one column per naive forecast.

    Raises
    ------
    TooFewRows
        If the history before ``first`` is too short.
    """
    known = prices.spanning(prices.days[0], last)
    step = {lead: refit_days or (REFIT_DAYS if lead == 1 else REFIT_DAYS_BEYOND) for lead in leads}
    work = (
        delayed(_one_lead)(known, quarters, first, exogenous, recipe, lead, step[lead])
        for lead in leads
    )
    parts: list[pd.DataFrame] = Parallel(n_jobs=jobs)(work)
    return pd.concat(parts, ignore_index=True)


def log_backtest(
    ctx: RunContext, name: str, params: Mapping[str, Any], figures: Mapping[str, Any]
) -> str:
    """Log a backtest as an MLflow run of its own, without a model, and return the run's id.

    Parameters
    ----------
    params, figures : mapping
        What was tested, and ``evaluation.score`` of it; what is no number goes into
        ``figures.json`` alone.
    """
    numbers = {
        key: float(value) for key, value in figures.items() if isinstance(value, (int, float))
    }
    return registry.log(
        ctx,
        name=f"backtest {name}",
        params=params,
        metrics=numbers,
        models={},
        tags={"kind": "backtest", "as_of": ctx.as_of.isoformat()},
        artifacts={"figures.json": json.dumps(dict(figures), default=str, indent=1)},
        figures={},
    ).run_id


def point_forecasts(
    prices: DayMatrix,
    first: int,
    lead: int,
    exogenous: Mapping[str, DayMatrix] | None,
    recipe: Recipe,
    refit_days: int,
) -> tuple[Matrix, Matrix]:
    """Return the forecasts of all rows (unknown before ``first``) and the spread they are scaled by."""
    features = price_features(prices, lead, exogenous)
    forecast = np.full_like(prices.grid, np.nan)
    for block in rolling_origin(first, len(prices.days), refit_days):
        if not np.isfinite(features.level[block]).any():
            continue  # a hole in the history: nothing can be said, and nothing has to be fitted
        model = LeadModel(recipe, lead).fit(features, prices.grid, block.start - lead + 1)
        forecast[block] = model.predict(features, block)
    return forecast, features.spread


def _one_lead(
    prices: DayMatrix,
    quarters: DayMatrix | None,
    first_day: date,
    exogenous: Mapping[str, DayMatrix] | None,
    recipe: Recipe,
    lead: int,
    refit_days: int,
) -> pd.DataFrame:
    first = prices.row(first_day)
    start = calibration_start(prices.grid, first - lead + 1)
    forecast, spread = point_forecasts(prices, start, lead, exogenous, recipe, refit_days)
    errors = prices.grid - forecast
    truth = prices
    if quarters is not None:
        forecast, errors, truth = _in_quarters(prices, quarters, forecast, errors, lead)
    quantiles = trailing_bands(errors / spread[:, None], first, lead)
    bands = band(forecast[first:], quantiles, spread[first:, None], lead)
    rows = dict(zip(("p10", "p50", "p90"), bands, strict=True))
    rows |= {name: values[first:] for name, values in naive_forecasts(truth, lead).items()}
    days = [first_day + timedelta(days=n) for n in range(len(prices.days) - first)]
    parts = [
        pd.DataFrame({name: to_slots(day, values[n]) for name, values in rows.items()}).assign(
            market_day=str(day)
        )
        for n, day in enumerate(days)
    ]
    return pd.concat(parts).rename_axis("start").reset_index().assign(lead=lead)


def _in_quarters(
    prices: DayMatrix, quarters: DayMatrix, forecast: Matrix, errors: Matrix, lead: int
) -> tuple[Matrix, Matrix, DayMatrix]:
    # Before quarters existed, an hour stands for its four.
    known = quarters.spanning(prices.days[0], prices.days[-1]).grid
    fine = np.vstack(
        [
            in_quarters(forecast[[row]], quarter_factors(known[: max(row - lead + 1, 0)]))
            for row in range(len(forecast))
        ]
    )
    published = np.isfinite(known)
    fine_errors = np.where(published, known - fine, errors.repeat(4, axis=1))
    return (
        fine,
        fine_errors,
        DayMatrix(prices.days, np.where(published, known, prices.grid.repeat(4, axis=1))),
    )
