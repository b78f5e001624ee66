"""One training: fit the price model and both forests, judge them by rolling origin beside their rivals, log, decide."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
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
from factory_lib.models.candidates import price_name, price_trial, score_trial
from factory_lib.models.forecasters import PriceForecaster
from factory_lib.models.history import History
from factory_lib.models.outcome import TrainingOutcome
from factory_lib.models.price_forecast import whole_days
from factory_lib.models.promotion import Decision, decide
from factory_lib.models.rule_forecast import rule_over_forecasts
from factory_lib.models.scores import RECOMMENDATION, SCORE, Examples, Forests

Draw = Callable[[TrainingOutcome], Mapping[str, Any]]
WEATHER_DAYS = 365  # what the weather models behind the rule learn from


@dataclass(frozen=True)
class _Price:
    """A fitted price model and what it was fitted on."""

    model: PriceForecaster
    prices: DayMatrix
    exogenous: Mapping[str, DayMatrix]


def learn(
    ctx: RunContext,
    history: History,
    hashes: Mapping[str, str],
    draw: Draw | None = None,
    *,
    keep: bool = True,
) -> TrainingOutcome:
    """Train on ``history`` and put the versions to the test.

    Parameters
    ----------
    hashes : mapping of str to str
        What identifies data and code, logged with the run.
    draw : function, optional
        Gives the figures (by file name) to log beside the run.
    keep : bool
        Register the versions and decide which of them serve.

    Raises
    ------
    TooFewRows
        If too few hours have price, weather and the price band's history.
    """
    wanted = ctx.settings.training
    first = history.hourly.index[0].to_pydatetime() + timedelta(days=BAND_DAYS)
    known = scores.examples(history, first, ctx.as_of)
    if len(known) < wanted.minimum_rows:
        raise TooFewRows("Training", len(known), wanted.minimum_rows)
    price, note = _price(history)
    tested = scores.rolling_origin(known, history.known_until, wanted.folds, wanted.seed)
    if price:
        tested = tested.join(_rule(history, known, price))
    forests = Forests.fit(known, wanted.seed)
    judged = _judged(history, known, tested, forests, price, hashes)
    judged = replace(judged, notes=(*judged.notes, *note))
    basis = ctx.settings.tariff.price_basis
    deciding = scores.slices(tested)[scores.HEADLINE]
    trials = [score_trial(model, deciding, known) for model in (SCORE, RECOMMENDATION)]
    models = {SCORE: forests.score, RECOMMENDATION: forests.recommendation}
    if price:
        trials.append(price_trial(basis, price.model, price.prices, price.exogenous))
        models[price_name(basis)] = price.model
    logged = registry.log(
        ctx,
        name=f"training {ctx.as_of:%Y-%m-%d %H:%MZ}",
        params=_params(ctx, known),
        metrics={
            key: float(value) for key, value in judged.figures.items() if not isinstance(value, str)
        },
        models=models if keep else {},
        tags={"as_of": ctx.as_of.isoformat(), "origin": ctx.store.origin, **hashes},
        artifacts={
            "metrics.csv": judged.metrics.to_csv(index=False),
            "price.csv": judged.price.to_csv(index=False),
            "tested.csv": tested.to_csv(index=False),
        },
        figures=draw(judged) if draw else {},
    )
    decisions = (
        [decide(ctx, trial, logged.versions[trial.model]) for trial in trials] if keep else []
    )
    return _decided(judged, decisions, logged.run_id)


def _price(history: History) -> tuple[_Price | None, tuple[str, ...]]:
    """Fit the price model, or say why there is none."""
    prices = whole_days(history.hourly[PRICE].dropna())
    if prices is None:
        return None, ("There is no whole day of prices: no price model.",)
    try:
        fitted = PriceForecaster().fit(prices, history.operator, jobs=os.cpu_count())
    except TooFewRows as error:
        return None, (f"No price model yet, the naive forecast serves: {error}",)
    return _Price(fitted, prices, history.operator), ()


def _rule(history: History, known: Examples, price: _Price) -> pd.DataFrame:
    """Return what the rule over the forecasts would have said on the weeks kept from the price model's fit."""
    forecast = price.model.held_out_forecast(price.prices, price.exogenous)
    begin = forecast.index[0].to_pydatetime()
    recent = known.rows["issued_at"] >= begin - timedelta(days=WEATHER_DAYS)
    rows = known.rows[recent.to_numpy()]
    rows = rows.assign(
        group=rows["issued_at"].dt.tz_convert(MADRID).dt.hour * 2 + rows["day_ahead"]
    )
    said = rule_over_forecasts(history, rows, forecast, begin)
    return said[["score", "recommendation"]].add_suffix("_rule")


def _params(ctx: RunContext, known: Examples) -> dict[str, Any]:
    wanted = ctx.settings.training
    return {
        **scores.FOREST,
        "most_draws": scores.MOST_DRAWS,
        "seed": wanted.seed,
        "folds": wanted.folds,
        "issued_local": f"{scores.BEFORE:%H:%M} {scores.AFTER:%H:%M}",
        "features_version": FEATURES_VERSION,
        "features": ", ".join(known.x.columns),
        "price_basis": ctx.settings.tariff.price_basis,
        "profile": ctx.settings.profile,
        "as_of": ctx.as_of.isoformat(),
    }


def _judged(
    history: History,
    known: Examples,
    tested: pd.DataFrame,
    forests: Forests,
    price: _Price | None,
    hashes: Mapping[str, str],
) -> TrainingOutcome:
    """Return the outcome as far as it stands before the registry decides."""
    questions = scores.slices(tested)
    metrics = pd.DataFrame(
        [{"question": name, **scores.judge(rows)} for name, rows in questions.items()]
    )
    headline = questions[scores.HEADLINE]
    found = scores.judge(headline)
    targets = known.rows["target_start"]
    figures = {
        **{name: round(value, 4) for name, value in found.items() if name != "hours"},
        "train_rows": len(known),
        "test_rows": len(headline),
        "data_from": f"{targets.min():%Y-%m-%d}",
        "data_until": f"{targets.max():%Y-%m-%d}",
        **hashes,
    }
    by_lead = _by_lead(price)
    if len(by_lead):
        figures |= {
            f"price_{name}": round(float(by_lead[name].iloc[0]), 4)
            for name in ("mae", "naive_mae", "rmae_best")
        }
    window = (
        f"Learnt from {len(known):,} pairs of issue time and hour ahead, "
        f"{figures['data_from']} to {figures['data_until']}."
    )
    return TrainingOutcome(
        verdict="",
        level="warn",
        figures=figures,
        notes=(
            *history.notes,
            window,
            "Same hour yesterday is given even where the issue time did not know it yet.",
        ),
        metrics=metrics,
        fold_mae=scores.mae_by_fold(headline),
        example=scores.last_days(headline),
        confusion=scores.confusion(headline),
        importances={
            str(name): float(share)
            for name, share in zip(
                known.x.columns, np.round(forests.score.feature_importances_, 4), strict=True
            )
        },
        decisions=pd.DataFrame(),
        price=by_lead,
    )


def _by_lead(price: _Price | None) -> pd.DataFrame:
    """Return the price model's errors (EUR/MWh) on the weeks kept from its fit, beside the best naive forecast's."""
    if price is None:
        return pd.DataFrame(columns=["day_ahead", "days", "mae", "naive_mae", "rmae_best"])
    losses = price.model.losses(price.prices, price.exogenous)
    table = losses.groupby("lead").agg(
        days=("issue_day", "nunique"), mae=("model", "mean"), naive_mae=("naive", "mean")
    )
    return (
        table.assign(rmae_best=table["mae"] / table["naive_mae"])
        .rename_axis("day_ahead")
        .reset_index()
    )


def _decided(judged: TrainingOutcome, decisions: list[Decision], run_id: str) -> TrainingOutcome:
    promoted = tuple(decision.model for decision in decisions if decision.promoted)
    better = all(decision.error < decision.rival_error for decision in decisions)
    found = judged.figures
    price = (
        f"price of tomorrow {found['price_rmae_best']:.2f} of the best naive error; "
        if "price_mae" in found
        else ""
    )
    score = f"score {found['mae']:.1f} points off, the same hour yesterday {found['naive_mae']:.1f}"
    rule = (
        f"On its {found['rule_hours']:,} hours the rule over the forecasts is {found['rule_mae']:.1f} points off and "
        f"right in {found['rule_accuracy']:.0%}, the models {found['mae_same_hours']:.1f} and "
        f"{found['accuracy_same_hours']:.0%}. "
        if "rule_mae" in found
        else ""
    )
    fate = f"Champion now: {', '.join(promoted)}." if promoted else "None was promoted."
    fate = fate if decisions else "A replay registers no model."
    return replace(
        judged,
        verdict=(
            f"Next 24 hours: {price}{score} (rMAE {found['rmae']:.2f}); "
            f"recommendation right in {found['accuracy']:.0%} of hours, yesterday's in "
            f"{found['persistence_accuracy']:.0%}, the commonest class in {found['majority_accuracy']:.0%}. "
            f"{rule}{fate}"
        ),
        level="ok" if better else "warn",
        figures={**found, "promoted": ", ".join(promoted), "mlflow_run_id": run_id, "skipped": 0},
        decisions=pd.DataFrame([asdict(decision) for decision in decisions]),
        mlflow_run_id=run_id,
        promoted=promoted,
    )
