"""Promotion of a new version: evaluated on hours it had not learnt, beside benchmark and champion.

The benchmarks are the naive forecasts, and for score and recommendation also the
documented rules applied to the forecasts of price and weather, which serve where no
version is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import local_instant, parse_instant
from factory_lib.context import RunContext
from factory_lib.errors import ModelError, ModelIncompatible
from factory_lib.features.lags import DayMatrix
from factory_lib.frames import UTC_S
from factory_lib.models import registry
from factory_lib.models.forecasters import PriceForecaster
from factory_lib.models.scores import RECOMMENDATION, SCORE, Examples

FEWEST_DAYS = 7  # of issue, unknown to the champion: with fewer it is not replaced
FEWEST_DAYS_TO_RETIRE = 28  # a bad week is no reason to go back to the benchmark
PRICE_ISSUE_TIME = time(12)  # local: when a price forecast counts as issued
_BENCHMARKS = {
    SCORE: ("yesterday", "last", "rule"),
    RECOMMENDATION: ("yesterday", "last", "majority", "rule"),
}


@dataclass(frozen=True)
class CandidateEvaluation:
    """The losses of a new version and its benchmarks.

    Attributes
    ----------
    model, measure : str
        The registered name, and the meaning of a mean loss.
    losses : DataFrame
        One row per forecast: ``model`` and a column per benchmark, NaN where it has no
        forecast.
    issued_at : Series
        When each forecast was issued; indexed like ``losses``.
    losses_of : function
        Returns an earlier version's losses on the same rows, NaN where the two are not
        to be compared; raises ``ModelIncompatible`` where it cannot be applied to them.
    """

    model: str
    measure: str
    losses: pd.DataFrame
    issued_at: pd.Series
    losses_of: Callable[[Any], pd.Series]

    def strongest_benchmark(self) -> tuple[str, float, float]:
        """Return the benchmark hardest to beat, its mean loss, and the version's on its rows."""
        pairs = {}
        for name in self.losses.columns.drop("model"):
            both = self.losses[[name, "model"]].dropna()
            if len(both):
                pairs[str(name)] = (float(both[name].mean()), float(both["model"].mean()))
        benchmark = min(pairs, key=lambda name: pairs[name][0] - pairs[name][1])
        return benchmark, *pairs[benchmark]


def price_name(basis: str) -> str:
    """Return the registered name of the price model of a basis."""
    return f"{basis}_price"


def evaluate_price_model(
    basis: str,
    fitted: PriceForecaster,
    prices: DayMatrix,
    exogenous: Mapping[str, DayMatrix] | None,
) -> CandidateEvaluation:
    """Evaluate a price model on the weeks kept from its fit, all leads together."""
    losses = fitted.losses(prices, exogenous)
    days, which = np.unique(losses["issue_day"].to_numpy("datetime64[D]"), return_inverse=True)
    noons = pd.DatetimeIndex(
        [local_instant(day, PRICE_ISSUE_TIME) for day in days.tolist()]
    ).astype(UTC_S)

    def losses_of(champion: PriceForecaster) -> pd.Series:
        if missing := set(champion.exogenous_) - set(fitted.exogenous_):
            names = ", ".join(sorted(missing))
            raise ModelIncompatible(f"the champion needs forecasts of {names} that are missing")
        return fitted.losses(prices, exogenous, champion)["champion"]

    return CandidateEvaluation(
        price_name(basis),
        "MAE, EUR/MWh, days 1 to 7",
        losses[["model", "naive"]].rename(columns={"naive": "best naive of the day"}),
        pd.Series(noons[which], index=losses.index),
        losses_of,
    )


def evaluate_score_model(
    model: str, tested: pd.DataFrame, examples: Examples
) -> CandidateEvaluation:
    """Evaluate one of the forests.

    Parameters
    ----------
    tested : DataFrame
        The deciding rows of the rolling origin, with ``<target>_model`` of the new
        version's own folds.
    examples : Examples
        The examples they were taken from.
    """
    column = "score" if model == SCORE else "recommendation"
    losses = {"model": _loss(tested[column], tested[f"{column}_model"])}
    for name in _BENCHMARKS[model]:
        if f"{column}_{name}" in tested:
            losses[name] = _loss(tested[column], tested[f"{column}_{name}"])

    def losses_of(champion: Any) -> pd.Series:
        x = examples.x.loc[tested.index]
        if list(champion.feature_names_in_) != list(x.columns):
            raise ModelIncompatible("it needs other features")
        return _loss(tested[column], pd.Series(champion.predict(x), index=tested.index))

    measure = "MAE, score points" if model == SCORE else "share of hours wrong"
    table = pd.DataFrame(losses, index=tested.index)
    return CandidateEvaluation(model, measure, table, tested["issued_at"], losses_of)


def _loss(actual: pd.Series, forecast: pd.Series) -> pd.Series:
    """Return absolute errors of numbers, 1 or 0 for wrong or right classes; else NaN."""
    if pd.api.types.is_numeric_dtype(actual):
        return (actual - forecast).abs()
    wrong = actual.astype(str) != forecast.astype(str)
    return wrong.astype(float).where(forecast.notna())


@dataclass(frozen=True)
class Decision:
    """The decision on a version, with its mean losses (``measure``, lower is better).

    Attributes
    ----------
    benchmark, benchmark_error, error : str, float, float
        The benchmark hardest to beat, its loss, and the version's own on the same rows.
    champion, champion_error, error_on_same_hours : str, float, float
        The champion's version, its loss on the rows new to it, and the new version's on
        the same.
    """

    model: str
    version: str
    alias: str
    measure: str
    error: float
    benchmark: str
    benchmark_error: float
    champion: str
    champion_error: float | None
    error_on_same_hours: float | None
    reason: str

    @property
    def promoted(self) -> bool:
        """Whether the version is the champion now."""
        return self.alias == registry.CHAMPION


@dataclass(frozen=True)
class _Comparison:
    """A champion's evaluation on the days since its training.

    ``obstacle`` is the reason why there is none; the errors are None on too few days.
    """

    champion: str = ""
    obstacle: str = ""
    days: int = 0
    champion_error: float | None = None
    error: float | None = None
    behind_benchmark: bool = False


def decide(ctx: RunContext, evaluation: CandidateEvaluation, version: str) -> Decision:
    """Compare a new version with its benchmarks and the champion, and set the aliases.

    The champion is evaluated again on the rows issued after its training: before, it has
    seen the targets. One that has been worse than a benchmark for weeks is retired: the
    benchmark serves.
    """
    model = evaluation.model
    benchmark, benchmark_error, error = evaluation.strongest_benchmark()
    promote = error < benchmark_error
    reasons = [f"{_better(promote)} than {benchmark}, {error:.3g} against {benchmark_error:.3g}"]
    comparison = _compare(ctx, evaluation, benchmark)
    if comparison.obstacle:
        reasons.append(comparison.obstacle)
    elif comparison.error is None or comparison.champion_error is None:
        promote = False
        days = f"{comparison.days} days are new to the champion"
        reasons.append(f"{days}, {FEWEST_DAYS} are needed to replace it")
    else:
        better = comparison.error < comparison.champion_error
        promote = promote and better
        reasons.append(
            f"{_better(better)} than champion {comparison.champion} on {comparison.days} days new "
            f"to it, {comparison.error:.3g} against {comparison.champion_error:.3g}"
        )
    if comparison.behind_benchmark and not promote and comparison.days >= FEWEST_DAYS_TO_RETIRE:
        reasons.append(f"champion {comparison.champion} is behind {benchmark} and retired")
        registry.retire(ctx, model, f"behind {benchmark}")
    reason = "; ".join(reasons)
    alias = registry.CHAMPION if promote else registry.CHALLENGER
    (registry.promote if promote else registry.challenge)(ctx, model, version, reason)
    return Decision(
        model,
        version,
        alias,
        evaluation.measure,
        error,
        benchmark,
        benchmark_error,
        comparison.champion,
        comparison.champion_error,
        comparison.error,
        reason,
    )


def _compare(ctx: RunContext, evaluation: CandidateEvaluation, benchmark: str) -> _Comparison:
    champion = ""
    try:
        version = registry.load_version(ctx, evaluation.model)
        champion = version.number
        again = evaluation.losses_of(version.estimator)
    except ModelError as error:
        return _Comparison(champion, obstacle=error.message.rstrip("."))
    unseen = again.notna() & (evaluation.issued_at >= parse_instant(version.tags["as_of"]))
    days = evaluation.issued_at[unseen].dt.normalize().nunique()
    if days < FEWEST_DAYS:
        return _Comparison(champion, days=days)
    benchmark_losses = evaluation.losses[benchmark][unseen]
    same_rows = again[unseen & evaluation.losses[benchmark].notna()]
    return _Comparison(
        champion,
        days=days,
        champion_error=float(again[unseen].mean()),
        error=float(evaluation.losses["model"][unseen].mean()),
        behind_benchmark=bool(benchmark_losses.mean() < same_rows.mean()),
    )


def _better(yes: bool) -> str:
    return "better" if yes else "not better"
