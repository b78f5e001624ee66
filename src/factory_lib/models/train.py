"""One training: fit the price model and both forests, evaluate them by rolling origin, decide.

A new version is evaluated on hours it had not learnt, beside benchmarks and champion. The
benchmarks are the naive forecasts, and for score and outdoor index also the documented
rules applied to the forecasts of price and weather, which serve where no version is better.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID, parse_instant
from factory_lib.context import RunContext
from factory_lib.domain.indices import BAND_DAYS
from factory_lib.errors import ModelError, ModelIncompatible, TooFewRows
from factory_lib.features.days import DayMatrix
from factory_lib.features.horizon import PRICE, TEMPERATURE
from factory_lib.frames import QUANTILES
from factory_lib.models import registry, scores
from factory_lib.models.evaluation import diebold_mariano
from factory_lib.models.forecasters import SIGNIFICANCE, PriceForecaster, hourly_rows
from factory_lib.models.history import History, price_model
from factory_lib.models.own_model import figures
from factory_lib.models.price_forecast import whole_days
from factory_lib.models.retrain_trigger import Hooks
from factory_lib.models.rule_forecast import rolling_rule_forecast
from factory_lib.models.scores import OUTDOOR_CLASS, SCORE, Examples, Forests
from factory_lib.models.summary import summarise_training
from factory_lib.models.tracking import EXPERT
from factory_lib.results import JobResult

WEATHER_DAYS = 365  # training data of the weather models behind the rule
FEWEST_DAYS = 7  # of issue, unknown to the champion: with fewer it is not replaced
DAYS_TO_RETIRE = 28  # a bad week is no reason to go back to the benchmark
PRICE_ISSUE_TIME = timedelta(hours=12)  # local time of day: when a price forecast counts as issued
EXAMPLE_ROWS, EXAMPLE_DAYS = 3, 36  # of a model's input, for who tries it from MLflow
# The metrics of a training as MLflow compares them: by model and unit.
METRIC_NAMES = {
    "mae": "score_mae_points",
    "naive_mae": "score_naive_mae_points",
    "last_value_mae": "score_last_value_mae_points",
    "rule_mae": "score_rule_mae_points",
    "mae_same_hours": "score_rule_hours_mae_points",
    "rmae": "score_rmae",
    "r2": "score_r2",
    "accuracy": "outdoor_index_right_share",
    "persistence_accuracy": "outdoor_index_naive_right_share",
    "last_value_accuracy": "outdoor_index_last_value_right_share",
    "majority_accuracy": "outdoor_index_majority_right_share",
    "rule_accuracy": "outdoor_index_rule_right_share",
    "accuracy_same_hours": "outdoor_index_rule_hours_right_share",
    "f1_macro": "outdoor_index_f1_macro",
    "price_mae": "price_mae_eur_mwh",
    "price_naive_mae": "price_naive_mae_eur_mwh",
}
_ERRORS = ("days", "mae", "naive_mae", "rmae_best")
# Tables of a training without prices of enough days, or without weather.
_EMPTY = {
    **dict.fromkeys(("scores", "fold_mae", "example", "confusion", "tested"), pd.DataFrame()),
    "importances": pd.DataFrame({"share": []}, index=pd.Index([], name="feature", dtype="str")),
    "price": pd.DataFrame(columns=["day_ahead", *_ERRORS]),
    "price_days": pd.DataFrame(columns=["kind", *_ERRORS]),
    "experts": pd.DataFrame(columns=["day_ahead", "expert", "weight", "error", "worth"]),
}
_WORDS = {True: "better", False: "not better"}
_ALIASES = {True: registry.CHAMPION, False: registry.CHALLENGER}
_CANDIDATES = {
    SCORE: ("model", "yesterday", "last", "rule"),
    OUTDOOR_CLASS: ("model", "yesterday", "last", "majority", "rule"),
}


def train_models(
    ctx: RunContext, history: History, hashes: Mapping[str, str], hooks: Hooks, *, keep: bool
) -> JobResult:
    """Train on ``history``, evaluate, log the run, and decide on the new versions.

    Parameters
    ----------
    hashes : mapping of str to str
        Identify data and code, logged with the run.
    hooks : Hooks
        See ``retrain_trigger.train``.
    keep : bool
        Register the versions and decide which of them serve.

    Raises
    ------
    TooFewRows
        If the data are too few for a model, unless they are weather alone: that needs none.
    """
    prices = whole_days(history.prices)
    price, no_price = _price(ctx, prices, history.operator)
    needed = _needs_examples(ctx, history, price, prices)
    examples, no_score = _examples(ctx, history, needed=needed)
    part = _train(ctx, history, examples, price, prices)
    tables = part.tables
    if examples is None:
        hooks = Hooks()
    judge = hooks.judge
    tables["starts"] = judge(ctx, history, price, prices) if judge else pd.DataFrame()
    metrics = {**_metrics(examples, tables), **hashes}
    files = {"metrics": tables["scores"], "price": tables["price"], "tested": tables["tested"]}
    logged = registry.log(
        ctx,
        name=f"training {ctx.as_of:%Y-%m-%d %H:%MZ}",
        params=_params(ctx, examples),
        metrics={METRIC_NAMES.get(name, name): value for name, value in metrics.items()},
        models=part.models if keep else {},
        tags={**version_tags(ctx, history), **hashes},
        artifacts={f"{name}.csv": table.to_csv(index=False) for name, table in files.items()},
        figures=hooks.draw(tables) if hooks.draw else {},
        data=registry.Data("history", history.hourly, hashes["data_hash"]),
        examples=part.shown,
    )
    del tables["tested"]  # every row: the run has them
    evaluations = part.evaluations if keep else []
    decisions = [decide(ctx, each, logged.versions[each.model]) for each in evaluations]
    tables["decisions"] = pd.DataFrame(decisions)
    obstacles = {"price": no_price, "score": no_score}
    return summarise_training(metrics, tables, history.notes, obstacles, logged.run_id)


def _needs_examples(
    ctx: RunContext,
    history: History,
    price: PriceForecaster | None,
    prices: DayMatrix | None,
) -> bool:
    """Return whether a training without them would be one of nothing at all."""
    weather_alone = prices is None and history.hourly[TEMPERATURE].notna().any()
    is_own = price is not None and ctx.settings.has_market
    return not (weather_alone or is_own)


def version_tags(ctx: RunContext, history: History) -> dict[str, str]:
    """Return when and from what a version was made; prices ahead are not counted as learnt."""
    tags = {"as_of": ctx.as_of.isoformat(), "origin": ctx.store.origin}
    priced = history.hourly[PRICE].dropna().index
    if priced.empty:
        return tags
    end = pd.Timestamp(str(priced[-1])) + timedelta(hours=1)
    return {**tags, registry.LEARNT: min(end.to_pydatetime(), ctx.as_of).isoformat()}


class _Part(NamedTuple):
    """Models of a training, made of prices, or of prices and weather together."""

    models: dict[str, Any]
    evaluations: list["CandidateEvaluation"]
    tables: dict[str, pd.DataFrame]
    shown: dict[str, registry.Example]

    def with_other(self, other: "_Part") -> "_Part":
        """Return both together."""
        evaluations = self.evaluations + other.evaluations
        models = self.models | other.models
        tables = self.tables | other.tables
        return _Part(models, evaluations, tables, self.shown | other.shown)


def _train(
    ctx: RunContext,
    history: History,
    examples: Examples | None,
    price: PriceForecaster | None,
    prices: DayMatrix | None,
) -> _Part:
    part = _Part({}, [], dict(_EMPTY), {})
    if examples:
        part = part.with_other(_forests_part(ctx, history, examples, price, prices))
    if price and prices and ctx.settings.has_market:
        part = part.with_other(_price_part(ctx, history, price, prices))
    return part


def _price_part(
    ctx: RunContext, history: History, price: PriceForecaster, prices: DayMatrix
) -> _Part:
    evaluation = price_candidate(ctx, price, prices, history.operator)
    losses = price.losses(prices, history.operator)
    by_day = _errors_by(losses, "lead")
    tables = {
        "price": by_day.rename(columns={"lead": "day_ahead"}),
        "price_days": _errors_by(losses[losses["lead"] == 1], "kind"),
        "experts": price.experts(),
    }
    name = price_model(ctx)
    shown = {name: price_example(prices, history.operator)}
    return _Part({name: price}, [evaluation], tables, shown)


def price_example(prices: DayMatrix, exogenous: Mapping[str, DayMatrix]) -> registry.Example:
    """Return the last rows of a price model's inputs, and the form of its answer.

    A true answer takes seconds.
    """
    answer = {"start": ["2026-01-31T23:00:00Z"], **dict.fromkeys(QUANTILES, 50.0), "lead": 1}
    return registry.Example(hourly_rows(prices, exogenous, EXAMPLE_DAYS), pd.DataFrame(answer))


def _forests_part(
    ctx: RunContext,
    history: History,
    examples: Examples,
    price: PriceForecaster | None,
    prices: DayMatrix | None,
) -> _Part:
    tested = _tested(ctx, history, examples, price, prices)
    questions = scores.slices(tested)
    headline = questions[scores.HEADLINE]
    forests = Forests.fit(examples, ctx.settings.training.seed)
    models = {SCORE: forests.score, OUTDOOR_CLASS: forests.outdoor_index_class}
    evaluations = [evaluate_score_model(name, headline, examples) for name in models]
    tables = {"tested": tested, **_tables(questions, examples, forests)}
    rows = examples.x[-EXAMPLE_ROWS:]
    shown = {name: registry.Example(rows, each.predict(rows)) for name, each in models.items()}
    return _Part(models, evaluations, tables, shown)


def _examples(ctx: RunContext, history: History, *, needed: bool) -> tuple[Examples | None, str]:
    """Return the examples of score and outdoor index, or the reason why there are too few."""
    least = ctx.settings.training.minimum_rows
    first = history.hourly.index[0].to_pydatetime() + timedelta(days=BAND_DAYS)
    examples = scores.build_examples(history, first, ctx.as_of)
    if len(examples) >= least:
        return examples, ""
    too_few = TooFewRows("Hours with both price and weather", len(examples), least)
    if needed:
        raise too_few
    return None, str(too_few)


def _price(
    ctx: RunContext, prices: DayMatrix | None, operator: Mapping[str, DayMatrix]
) -> tuple[PriceForecaster | None, str]:
    """Fit the price model or take that of the market, or return the reason why there is none."""
    if not ctx.settings.has_market:
        return registry.champion(ctx, price_model(ctx))
    if prices is None:
        return None, "there is no whole day of prices."
    try:
        return PriceForecaster().fit(prices, operator, jobs=os.cpu_count()), ""
    except TooFewRows as error:
        return None, str(error)


def _tested(
    ctx: RunContext,
    history: History,
    examples: Examples,
    price: PriceForecaster | None,
    prices: DayMatrix | None,
) -> pd.DataFrame:
    """Return the rows of the rolling origin, with the rule over the forecasts beside.

    The rule is known on the weeks kept from the price model's fit.
    """
    settings = ctx.settings.training
    tested = scores.forecast_folds(examples, history.known_until, settings.folds, settings.seed)
    if price is None or prices is None:
        return tested
    forecast = price.held_out_forecast(prices, history.operator)
    begin = forecast.index[0].to_pydatetime()
    recent = examples.rows["issued_at"] >= begin - timedelta(days=WEATHER_DAYS)
    rows = examples.rows[recent]
    issued = rows["issued_at"].dt.tz_convert(MADRID)
    rows = rows.assign(group=issued.dt.hour * 2 + rows["day_ahead"])
    by_rule = rolling_rule_forecast(history, rows, forecast, begin)
    return tested.join(by_rule[["score", "outdoor_index_class"]].add_suffix("_rule"))


def _params(ctx: RunContext, examples: Examples | None) -> dict[str, Any]:
    settings = ctx.settings.training
    return {
        **scores.FOREST,
        "most_draws": scores.MOST_DRAWS,
        "seed": settings.seed,
        "folds": settings.folds,
        "issued_local": f"{scores.BEFORE:%H:%M} {scores.AFTER:%H:%M}",
        "features": ", ".join(examples.x.columns) if examples else "",
        "price_basis": ctx.settings.tariff.price_basis,
        "profile": ctx.settings.profile,
        "as_of": ctx.as_of.isoformat(),
    }


def _metrics(
    examples: Examples | None, tables: Mapping[str, pd.DataFrame]
) -> dict[str, int | float | str]:
    metrics: dict[str, int | float | str] = {}
    if examples:
        headline = scores.slices(tables["tested"])[scores.HEADLINE]
        targets = examples.rows["target_start"]
        metrics = {name: round(value, 4) for name, value in scores.evaluate(headline).items()}
        metrics |= {
            "train_rows": len(examples),
            "test_rows": int(metrics.pop("hours")),
            "data_from": f"{targets.min():%Y-%m-%d}",
            "data_until": f"{targets.max():%Y-%m-%d}",
        }
    price = tables["price"]
    if len(price):
        day_ahead = price[["mae", "naive_mae", "rmae_best"]].iloc[0].round(4)
        metrics |= {f"price_{name}": float(value) for name, value in day_ahead.items()}
    experts = tables["experts"]
    for expert in experts[experts["day_ahead"] == 1].round(4).to_dict("records"):
        name = "_".join(re.findall(r"\w+", expert["expert"].lower()))
        metrics |= {f"{name}{EXPERT}{each}": expert[each] for each in ("weight", "worth")}
    for by, row in tables["starts"].round(4).iterrows():
        metrics[f"start_class_{by}_right_share"] = float(row["right"])
        metrics[f"start_regret_{by}_mae_eur"] = float(row["regret_mae_eur"])
    return metrics


def _tables(
    questions: Mapping[str, pd.DataFrame], examples: Examples, forests: Forests
) -> dict[str, pd.DataFrame]:
    headline = questions[scores.HEADLINE]
    rows = [{"question": name, **scores.evaluate(part)} for name, part in questions.items()]
    share = np.round(forests.score.feature_importances_, 4)
    return {
        "scores": pd.DataFrame(rows),
        "fold_mae": scores.mae_by_fold(headline),
        "example": scores.last_days(headline),
        "confusion": scores.confusion_table(headline),
        "importances": pd.DataFrame({"share": share}, index=examples.x.columns.rename("feature")),
    }


def _errors_by(losses: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the price model's errors (EUR/MWh) on the held-out weeks, beside the naive ones."""
    table = losses.groupby(column).agg(
        days=("issue_day", "nunique"), mae=("model", "mean"), naive_mae=("naive", "mean")
    )
    table["rmae_best"] = table["mae"] / table["naive_mae"]
    return table.reset_index()


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
    is_other_recipe : function
        Whether an earlier version was made otherwise than by a fit on older data: it is
        replaced only where the new one is significantly better.
    """

    model: str
    measure: str
    losses: pd.DataFrame
    issued_at: pd.Series
    losses_of: Callable[[Any], pd.Series]
    is_other_recipe: Callable[[Any], bool] = lambda _: False

    def strongest_benchmark(self) -> tuple[str, float, float]:
        """Return the benchmark hardest to beat, its mean loss, and the version's on its rows."""
        pairs = {}
        for name in self.losses.columns.drop("model"):
            both = self.losses[[name, "model"]].dropna()
            if len(both):
                pairs[str(name)] = (float(both[name].mean()), float(both["model"].mean()))
        benchmark = min(pairs, key=lambda name: pairs[name][0] - pairs[name][1])
        return benchmark, *pairs[benchmark]


def evaluate_price_model(
    model: str,
    fitted: PriceForecaster,
    prices: DayMatrix,
    exogenous: Mapping[str, DayMatrix] | None,
    figures: Callable[[Iterable[str]], Mapping[str, DayMatrix]] = lambda _: {},
) -> CandidateEvaluation:
    """Evaluate a price model on the weeks kept from its fit, all leads together, as served.

    A lead that the naive forecast serves (``PriceForecaster.naive_leads``) has its losses:
    else a poor sixth day would keep a good first one from being used. ``exogenous`` has the
    inputs of a champion, too; ``figures`` makes those that the name spells, of one's own.
    """
    losses = fitted.losses(prices, exogenous)
    noon = (losses["issue_day"] + PRICE_ISSUE_TIME).dt.tz_localize(MADRID)

    def losses_of(champion: PriceForecaster) -> pd.Series:
        inputs = {**(exogenous or {}), **figures(champion.exogenous_)}
        if missing := set(champion.exogenous_) - set(inputs):
            raise ModelIncompatible(
                f"the champion needs forecasts of {', '.join(sorted(missing))} that are missing"
            )
        return _as_served(fitted.losses(prices, inputs, champion), "champion", champion)

    compared = {
        "model": _as_served(losses, "model", fitted),
        "best naive of the day": losses["naive"],
    }
    return CandidateEvaluation(
        model,
        "MAE, EUR/MWh, days 1 to 7, as served",
        pd.DataFrame(compared),
        noon.dt.tz_convert("UTC"),
        losses_of,
        lambda champion: _recipe(champion) != _recipe(fitted),
    )


def price_candidate(
    ctx: RunContext,
    price: PriceForecaster,
    prices: DayMatrix,
    exogenous: Mapping[str, DayMatrix],
) -> CandidateEvaluation:
    """Evaluate a price model as a candidate of the profile, whatever its champion needs."""
    spelled = partial(figures, ctx, prices=prices)
    return evaluate_price_model(price_model(ctx), price, prices, exogenous, spelled)


def _as_served(losses: pd.DataFrame, column: str, price: PriceForecaster) -> pd.Series:
    return losses[column].where(~losses["lead"].isin(price.naive_leads), losses["naive"])


def _recipe(price: PriceForecaster) -> tuple[Any, ...]:
    return repr(price.config), tuple(price.exogenous_), bool(price.expert_errors_)


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
    column = "score" if model == SCORE else "outdoor_index_class"
    names = [name for name in _CANDIDATES[model] if f"{column}_{name}" in tested]
    losses = {name: _loss(tested[column], tested[f"{column}_{name}"]) for name in names}

    def losses_of(champion: Any) -> pd.Series:
        x = examples.x.loc[tested.index]
        if list(champion.feature_names_in_) != list(x.columns):
            raise ModelIncompatible("it needs other features")
        return _loss(tested[column], pd.Series(champion.predict(x), index=tested.index))

    measure = "MAE, score points" if model == SCORE else "share of hours wrong"
    return CandidateEvaluation(
        model,
        measure,
        pd.DataFrame(losses, index=tested.index),
        tested["issued_at"],
        losses_of,
        lambda champion: not scores.FOREST.items() <= champion.get_params().items(),
    )


def _loss(actual: pd.Series, forecast: pd.Series) -> pd.Series:
    """Return absolute errors of numbers, 1 or 0 for wrong or right classes; else NaN."""
    if pd.api.types.is_numeric_dtype(actual):
        return (actual - forecast).abs()
    return (actual.astype(str) != forecast.astype(str)).astype(float).where(forecast.notna())


def decide(ctx: RunContext, evaluation: CandidateEvaluation, version: str) -> dict[str, Any]:
    """Compare a new version with its benchmarks and the champion, and set the aliases.

    A refit of the champion's recipe on newer days replaces it without a trial, though it be
    a little worse than a benchmark: else an older fit would go on. A champion of another
    recipe is evaluated again on rows issued after its training, and replaced only by a
    significantly better version. What was significantly behind a benchmark in the last four
    weeks does not serve.

    Returns
    -------
    dict
        A row of the table ``decisions``, see ``summary.summarise_training``.
    """
    benchmark, benchmark_error, error = evaluation.strongest_benchmark()
    better = error < benchmark_error
    champion = _standing_champion(ctx, evaluation)
    judgement = _judge(evaluation, champion, benchmark, better)
    reasons = [
        f"{_WORDS[better]} than {benchmark}, {error:#.3g} against {benchmark_error:#.3g}",
        judgement.reason,
    ]
    if judgement.behind:
        reasons.append(f"behind {benchmark} in the last four weeks")
    if judgement.behind and not champion.obstacle:
        reasons.append(f"champion {champion.number} is retired")
        registry.retire(ctx, evaluation.model, f"behind {benchmark}")
    alias = _ALIASES[judgement.promote]
    reason = "; ".join(reasons)
    registry.assign(ctx, evaluation.model, version, alias, reason)
    stays = "" if champion.obstacle or judgement.behind else champion.number
    return {
        "model": evaluation.model,
        "version": version,
        "alias": alias,
        "measure": evaluation.measure,
        "error": error,
        "benchmark": benchmark,
        "benchmark_error": benchmark_error,
        "champion": champion.number,
        "serving": version if judgement.promote else stays,
        "champion_error": judgement.means.get("champion"),
        "error_on_same_hours": judgement.means.get("model"),
        "reason": reason,
    }


class _Champion(NamedTuple):
    """The version that serves, beside a new one.

    Attributes
    ----------
    number : str
        Empty where none could be loaded.
    losses : DataFrame
        Those of the evaluation and a column ``champion``, on rows issued after its training.
    obstacle : str
        Why the two cannot be compared; else empty.
    is_of_other_recipe : bool
        Whether it was made otherwise than by a fit on older data.
    """

    number: str
    losses: pd.DataFrame
    obstacle: str = ""
    is_of_other_recipe: bool = False


class _Judgement(NamedTuple):
    """Whether a new version is to serve, and why.

    Attributes
    ----------
    behind : bool
        Whether what would serve is significantly behind a benchmark: it does not, then.
    means : mapping of str to float
        The mean losses of ``model`` and ``champion`` on the same rows, if they were compared.
    """

    promote: bool
    behind: bool
    reason: str
    means: Mapping[str, float] = {}


def _judge(
    evaluation: CandidateEvaluation, champion: _Champion, benchmark: str, better: bool
) -> _Judgement:
    """Judge a new version, which is ``better`` than the benchmark or not, beside the champion."""
    if champion.is_of_other_recipe:
        return _trial(evaluation, champion, benchmark, better)
    behind = _is_behind(evaluation, evaluation.losses, "model", benchmark)
    if champion.obstacle:
        reason = f"before this decision: {champion.obstacle}"
        return _Judgement(better and not behind, behind, reason)
    return _Judgement(not behind, behind, f"a refit of champion {champion.number} on newer days")


def _trial(
    evaluation: CandidateEvaluation, champion: _Champion, benchmark: str, better: bool
) -> _Judgement:
    """Judge a new version on the days new to a champion of another recipe."""
    rows = champion.losses
    daily = _by_day(evaluation, rows)
    wins = False
    means = {}
    reason = f"{len(daily)} days are new to the champion, {FEWEST_DAYS} needed to replace it"
    if len(daily) >= FEWEST_DAYS:
        means = {name: float(rows[name].mean()) for name in ("model", "champion")}
        p_value = diebold_mariano(daily["model"].to_numpy(), daily["champion"].to_numpy())
        wins = means["model"] < means["champion"] and p_value < SIGNIFICANCE
        reason = (
            f"{_WORDS[wins]} than champion {champion.number} of another recipe "
            f"(p-value {p_value:.2g}) on {len(daily)} days new to it, "
            f"{means['model']:#.3g} against {means['champion']:#.3g}"
        )
    promote = better and wins
    behind = not promote and _is_behind(evaluation, rows, "champion", benchmark)
    return _Judgement(promote, behind, reason, means)


def _is_behind(
    evaluation: CandidateEvaluation, losses: pd.DataFrame, model: str, benchmark: str
) -> bool:
    """Return whether the last four weeks show a column to be significantly worse."""
    daily = _by_day(evaluation, losses[[benchmark, model]].dropna())[-DAYS_TO_RETIRE:]
    enough = len(daily) == DAYS_TO_RETIRE
    return enough and diebold_mariano(*daily.to_numpy().T) < SIGNIFICANCE


def _by_day(evaluation: CandidateEvaluation, losses: pd.DataFrame) -> pd.DataFrame:
    """Return the mean losses by day of issue."""
    return losses.groupby(evaluation.issued_at[losses.index].dt.normalize()).mean()


def _standing_champion(ctx: RunContext, evaluation: CandidateEvaluation) -> _Champion:
    number = ""
    losses = evaluation.losses.assign(champion=np.nan)
    try:
        version = registry.load_version(ctx, evaluation.model)
        number = version.number
        losses["champion"] = evaluation.losses_of(version.estimator)
    except ModelError as error:
        return _Champion(number, losses[:0], error.message.rstrip("."))
    made_at = parse_instant(version.tags["as_of"])
    unseen = evaluation.issued_at >= made_at
    # what learnt later is no fit on older data
    is_other = made_at > ctx.as_of or evaluation.is_other_recipe(version.estimator)
    kept = losses[unseen & losses["champion"].notna()]
    return _Champion(number, kept, is_of_other_recipe=is_other)
