"""One training: fit the price model and both forests, evaluate them by rolling origin, decide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.context import RunContext
from factory_lib.domain.indices import BAND_DAYS
from factory_lib.errors import TooFewRows
from factory_lib.features.documented import PRICE
from factory_lib.features.horizon import FEATURES_VERSION
from factory_lib.features.lags import DayMatrix
from factory_lib.models import registry, scores
from factory_lib.models.forecasters import PriceForecaster
from factory_lib.models.history import History
from factory_lib.models.price_forecast import whole_days
from factory_lib.models.promotion import (
    Decision,
    decide,
    evaluate_price_model,
    evaluate_score_model,
    price_name,
)
from factory_lib.models.retrain_trigger import Draw
from factory_lib.models.rule_forecast import rolling_rule_forecast
from factory_lib.models.scores import RECOMMENDATION, SCORE, Examples, Forests

WEATHER_DAYS = 365  # training data of the weather models behind the rule


@dataclass(frozen=True)
class Training:
    """The evaluation of one training, and the decisions on its versions.

    Attributes
    ----------
    metrics : dict
        Scores of the next 24 hours, and figures of the training data.
    tables : dict of str to DataFrame
        ``scores``: one row per question (``scores.slices``), models beside naive
        forecasts. ``fold_mae``: index fold; mean absolute error of the score by
        candidate. ``example``: UTC index; ``actual``, ``forecast`` and ``naive`` score of
        the last tested days. ``confusion``: hours by actual class (index) and forecast
        class (columns). ``importances``: index feature, its ``share`` in the score model.
        ``price``: the price model by day ahead: ``days``, ``mae``, ``naive_mae``
        (EUR/MWh), ``rmae_best``; empty without one.
    data_notes : tuple of str
        Provenance of the hours.
    price_obstacle : str
        The reason why there is no price model.
    decisions : tuple of Decision
        Empty if the versions were not registered.
    run_id : str
        Of MLflow.
    """

    metrics: Mapping[str, int | float | str]
    tables: Mapping[str, pd.DataFrame]
    data_notes: tuple[str, ...]
    price_obstacle: str
    decisions: tuple[Decision, ...]
    run_id: str


@dataclass(frozen=True)
class _PriceFit:
    """A fitted price model and its data."""

    model: PriceForecaster
    prices: DayMatrix
    exogenous: Mapping[str, DayMatrix]


def train_models(
    ctx: RunContext,
    history: History,
    hashes: Mapping[str, str],
    draw: Draw | None = None,
    *,
    keep: bool = True,
) -> Training:
    """Train on ``history``, evaluate, log the run, and decide on the new versions.

    Parameters
    ----------
    hashes : mapping of str to str
        Identify data and code, logged with the run.
    draw : function, optional
        See ``retrain_trigger.train``.
    keep : bool
        Register the versions and decide which of them serve.

    Raises
    ------
    TooFewRows
        If too few hours have price, weather and the price band's history.
    """
    examples = _examples(ctx, history)
    price, obstacle = _fit_price(history)
    tested = _tested(ctx, history, examples, price)
    headline = scores.slices(tested)[scores.HEADLINE]
    forests = Forests.fit(examples, ctx.settings.training.seed)
    models = {SCORE: forests.score, RECOMMENDATION: forests.recommendation}
    evaluations = [evaluate_score_model(name, headline, examples) for name in models]
    if price:
        basis = ctx.settings.tariff.price_basis
        models[price_name(basis)] = price.model
        evaluations.append(evaluate_price_model(basis, price.model, price.prices, price.exogenous))
    tables = _tables(tested, examples, forests, price)
    metrics = {**_metrics(examples, headline, tables["price"]), **hashes}
    logged = registry.log(
        ctx,
        name=f"training {ctx.as_of:%Y-%m-%d %H:%MZ}",
        params=_params(ctx, examples),
        metrics=metrics,
        models=models if keep else {},
        tags={"as_of": ctx.as_of.isoformat(), "origin": ctx.store.origin, **hashes},
        artifacts=_artifacts(tables, tested),
        figures=draw(tables) if draw else {},
    )
    decided = evaluations if keep else []
    decisions = tuple(decide(ctx, each, logged.versions[each.model]) for each in decided)
    return Training(metrics, tables, history.notes, obstacle, decisions, logged.run_id)


def _examples(ctx: RunContext, history: History) -> Examples:
    needed = ctx.settings.training.minimum_rows
    first = history.hourly.index[0].to_pydatetime() + timedelta(days=BAND_DAYS)
    examples = scores.build_examples(history, first, ctx.as_of)
    if len(examples) < needed:
        raise TooFewRows("Training", len(examples), needed)
    return examples


def _fit_price(history: History) -> tuple[_PriceFit | None, str]:
    """Fit the price model, or return the reason why there is none."""
    prices = whole_days(history.hourly[PRICE].dropna())
    if prices is None:
        return None, "there is no whole day of prices."
    try:
        fitted = PriceForecaster().fit(prices, history.operator, jobs=os.cpu_count())
    except TooFewRows as error:
        return None, str(error)
    return _PriceFit(fitted, prices, history.operator), ""


def _tested(
    ctx: RunContext, history: History, examples: Examples, price: _PriceFit | None
) -> pd.DataFrame:
    """Return the rows of the rolling origin, with the rule over the forecasts beside.

    The rule is known on the weeks kept from the price model's fit.
    """
    settings = ctx.settings.training
    tested = scores.forecast_folds(examples, history.known_until, settings.folds, settings.seed)
    if price is None:
        return tested
    forecast = price.model.held_out_forecast(price.prices, price.exogenous)
    begin = forecast.index[0].to_pydatetime()
    recent = examples.rows["issued_at"] >= begin - timedelta(days=WEATHER_DAYS)
    rows = examples.rows[recent]
    issue_hour = rows["issued_at"].dt.tz_convert(MADRID).dt.hour
    rows = rows.assign(group=issue_hour * 2 + rows["day_ahead"])
    by_rule = rolling_rule_forecast(history, rows, forecast, begin)
    return tested.join(by_rule[["score", "recommendation"]].add_suffix("_rule"))


def _params(ctx: RunContext, examples: Examples) -> dict[str, Any]:
    settings = ctx.settings.training
    return {
        **scores.FOREST,
        "most_draws": scores.MOST_DRAWS,
        "seed": settings.seed,
        "folds": settings.folds,
        "issued_local": f"{scores.BEFORE:%H:%M} {scores.AFTER:%H:%M}",
        "features_version": FEATURES_VERSION,
        "features": ", ".join(examples.x.columns),
        "price_basis": ctx.settings.tariff.price_basis,
        "profile": ctx.settings.profile,
        "as_of": ctx.as_of.isoformat(),
    }


def _artifacts(tables: Mapping[str, pd.DataFrame], tested: pd.DataFrame) -> dict[str, str]:
    files = {"metrics.csv": tables["scores"], "price.csv": tables["price"], "tested.csv": tested}
    return {name: table.to_csv(index=False) for name, table in files.items()}


def _metrics(
    examples: Examples, headline: pd.DataFrame, price: pd.DataFrame
) -> dict[str, int | float | str]:
    evaluated = scores.evaluate(headline)
    targets = examples.rows["target_start"]
    metrics: dict[str, int | float | str] = {
        **{name: round(value, 4) for name, value in evaluated.items() if name != "hours"},
        "train_rows": len(examples),
        "test_rows": len(headline),
        "data_from": f"{targets.min():%Y-%m-%d}",
        "data_until": f"{targets.max():%Y-%m-%d}",
    }
    if len(price):
        day_ahead = price.iloc[0]
        for name in ("mae", "naive_mae", "rmae_best"):
            metrics[f"price_{name}"] = round(float(day_ahead[name]), 4)
    return metrics


def _tables(
    tested: pd.DataFrame, examples: Examples, forests: Forests, price: _PriceFit | None
) -> dict[str, pd.DataFrame]:
    questions = scores.slices(tested)
    headline = questions[scores.HEADLINE]
    rows = [{"question": name, **scores.evaluate(part)} for name, part in questions.items()]
    share = np.round(forests.score.feature_importances_, 4)
    return {
        "scores": pd.DataFrame(rows),
        "fold_mae": scores.mae_by_fold(headline),
        "example": scores.last_days(headline),
        "confusion": scores.confusion_table(headline),
        "importances": pd.DataFrame({"share": share}, index=examples.x.columns.rename("feature")),
        "price": _by_lead(price),
    }


def _by_lead(price: _PriceFit | None) -> pd.DataFrame:
    """Return the price model's errors (EUR/MWh) on the held-out weeks, beside the naive ones."""
    if price is None:
        return pd.DataFrame(columns=["day_ahead", "days", "mae", "naive_mae", "rmae_best"])
    losses = price.model.losses(price.prices, price.exogenous)
    table = losses.groupby("lead").agg(
        days=("issue_day", "nunique"), mae=("model", "mean"), naive_mae=("naive", "mean")
    )
    table["rmae_best"] = table["mae"] / table["naive_mae"]
    return table.rename_axis("day_ahead").reset_index()
