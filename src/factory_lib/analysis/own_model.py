"""A regressor of one's own beside the naive forecasts and the champion's recipe.

The same rolling origin as ``benchmarks.price_backtest``, on the prices of the profile; then,
if wanted, the same gates as a training's new version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pandas as pd

from factory_lib.analysis.price_backtest import backtest_prices, log_backtest
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, TooFewRows
from factory_lib.features.days import DayMatrix, to_slots
from factory_lib.models import registry
from factory_lib.models.evaluation import LEAST_CALIBRATION_DAYS, WINDOW_DAYS, score
from factory_lib.models.forecasters import (
    LEAST_TRAINING_DAYS,
    ForecasterConfig,
    PriceForecaster,
)
from factory_lib.models.history import History, load_history, price_model
from factory_lib.models.own_model import OwnConfig, own_inputs
from factory_lib.models.price_forecast import whole_days
from factory_lib.models.retrain_trigger import data_hash, registers
from factory_lib.models.train import decide, price_candidate, price_example, version_tags
from factory_lib.results import JobResult

OWN, RECIPE = "own model", "champion's recipe"
LOOK_BACK_DAYS = 35
BOARD = [
    "candidate",
    "days",
    "mae",
    "rmae",
    "best_naive",
    "best_naive_mae",
    "rmae_best",
    "coverage_80",
    "save8",
    "p_value",
]


def _material(
    ctx: RunContext, inputs: Sequence[str]
) -> tuple[History, DayMatrix, dict[str, DayMatrix]]:
    """Return the history, its whole days of hourly prices, and the inputs of one's own model."""
    settings = ctx.settings.training
    history = load_history(ctx, settings.history_days, settings.price_history_days)
    prices = whole_days(history.prices)
    if prices is None:
        raise TooFewRows("backtest", 0, LOOK_BACK_DAYS)
    return history, prices, own_inputs(ctx, inputs, prices, history.operator)


def backtest(
    ctx: RunContext, estimator: Any, inputs: Sequence[str] = (), days: int = 28, *, log: bool
) -> JobResult:
    """Forecast the last ``days`` with prices, each from what was known at noon of the day before.

    Parameters
    ----------
    estimator : object
        A scikit-learn regressor.
    inputs : sequence of str
        Beyond the lags of the price, see ``models.own_model``.
    log : bool
        Log each candidate as an MLflow run.

    Returns
    -------
    JobResult
        Tables ``scores``, one row per candidate, EUR/MWh (``evaluation.score``), and
        ``forecast``: UTC index; ``p10``, ``p50``, ``p90``, ``actual`` and ``naive``.

    Raises
    ------
    TooFewRows
        If the history before the days is too short.
    """
    history, prices, own = _material(ctx, inputs)
    before = len(prices.days) - days - LOOK_BACK_DAYS - LEAST_TRAINING_DAYS
    if days < 1 or before < LEAST_CALIBRATION_DAYS:
        raise TooFewRows("backtest", before, LEAST_CALIBRATION_DAYS)
    candidates = {
        RECIPE: (ForecasterConfig(), history.operator),
        OWN: (OwnConfig(estimator=estimator), own),
    }
    board = []
    for name, (config, exogenous) in candidates.items():
        rows = _rows(prices, config, exogenous, days, min(before, WINDOW_DAYS))
        scores = score(rows)
        board.append({"candidate": name, **scores})
        if log:
            title = f"{name}, {days} days to {prices.days[-1]}"
            log_backtest(ctx, title, {**asdict(config), "inputs": ", ".join(exogenous)}, scores)
    forecast = rows.set_index("start").rename(columns={board[-1]["best_naive"]: "naive"})
    return JobResult(
        status="ok",
        summary=_sentence(board, days),
        tables={
            "scores": pd.DataFrame(board)[BOARD],
            "forecast": forecast[["p10", "p50", "p90", "actual", "naive"]],
        },
    )


def _rows(
    prices: DayMatrix,
    config: ForecasterConfig,
    exogenous: Mapping[str, DayMatrix],
    days: int,
    calibration_days: int,
) -> pd.DataFrame:
    last = prices.days[-1].item()
    rows = backtest_prices(
        prices,
        last - timedelta(days=days - 1),
        last,
        exogenous,
        config=config,
        leads=(1,),
        calibration_days=calibration_days,
    )
    tested = prices.spanning(prices.days[-days], prices.days[-1])
    actual = pd.concat(map(to_slots, tested.days.tolist(), tested.grid))
    return rows.assign(actual=actual.reindex(pd.DatetimeIndex(rows["start"])).to_numpy())


def _sentence(board: list[dict[str, Any]], days: int) -> str:
    recipe, own = board
    return (
        f"Day ahead your model is {own['mae']:.2f} EUR/MWh off, the best naive forecast "
        f"{own['best_naive_mae']:.2f}, the champion's recipe {recipe['mae']:.2f}; "
        f"{days} days were tested."
    )


def register(ctx: RunContext, estimator: Any, inputs: Sequence[str] = ()) -> JobResult:
    """Fit, evaluate, log and register a price model, and decide whether it serves.

    The gates are those of a training (``models.train.decide``).

    Returns
    -------
    JobResult
        Tables ``decisions``, and ``leads``: by day ahead its error relative to the best
        naive forecast, and whether it would serve that day.

    Raises
    ------
    BadInput
        In a replay, which registers nothing.
    ModelIncompatible, TooFewRows
        If the estimator has types that were not reviewed, or prices are few.
    """
    if not registers(ctx):
        raise BadInput("A replay registers no model.", next_step="Leave out as_of.")
    if not ctx.settings.has_market:
        problem = "Here the price model of the market's first site serves."
        raise BadInput(problem, next_step="Register yours there.")
    history, prices, own = _material(ctx, inputs)
    fitted = PriceForecaster(OwnConfig(estimator=estimator)).fit(prices, own)
    registry.check_types(fitted)
    name = price_model(ctx)
    evaluation = price_candidate(ctx, fitted, prices, {**history.operator, **own})
    logged = registry.log(
        ctx,
        name=f"own model {ctx.as_of:%Y-%m-%d %H:%MZ}",
        params={"estimator": repr(estimator), "inputs": ", ".join(inputs), "profile": ctx.profile},
        metrics={f"price_rmae_lead_{lead}": rmae for lead, rmae in fitted.rmae_.items()},
        models={name: fitted},
        tags={**version_tags(ctx, history), "recipe": "own"},
        artifacts={},
        figures={},
        data=registry.Data("history", history.hourly, data_hash(history)),
        examples={name: price_example(prices, own)},
    )
    decision = decide(ctx, evaluation, logged.versions[name])
    return JobResult(
        status="ok",
        summary=f"{name} version {decision['version']} is {decision['alias']}: "
        f"{decision['reason']}.",
        metrics={"mlflow_run_id": logged.run_id, "version": decision["version"]},
        tables={"decisions": pd.DataFrame([decision]), "leads": _by_lead(fitted)},
    )


def _by_lead(fitted: PriceForecaster) -> pd.DataFrame:
    leads = pd.DataFrame({"rmae_best": fitted.rmae_, "p_value": fitted.p_values_})
    leads["serves"] = ~leads.index.isin(fitted.naive_leads)
    return leads.rename_axis("day_ahead").reset_index()
