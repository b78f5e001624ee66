"""Champions at work: loaded if they may be used at this instant, else the reason why something else serves."""

from __future__ import annotations

from typing import Any

import pandas as pd

from factory_lib.clock import parse_instant
from factory_lib.context import RunContext
from factory_lib.domain.indices import CLASSES
from factory_lib.errors import ModelError
from factory_lib.features import horizon
from factory_lib.models import registry
from factory_lib.models.history import History
from factory_lib.models.scores import RECOMMENDATION, SCORE

RULE, CHAMPION = "rule", registry.CHAMPION


def champion(ctx: RunContext, model: str) -> tuple[Any, str]:
    """Return the champion's estimator, or None and why there is none to use."""
    try:
        version = registry.load(ctx, model)
    except ModelError as missing:
        return None, missing.message
    if parse_instant(version.tags["as_of"]) > ctx.as_of:
        return (
            None,
            f"{model} version {version.number} learnt from what was not known yet at this instant.",
        )
    return version.estimator, ""


def served_scores(
    ctx: RunContext, history: History, hourly: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Put the champions' scores and recommendations over the rules', where there are champions.

    A version is champion only if it was better than the rules over the forecasts. It
    reaches to the end of the next market day; its score has no band.

    Returns
    -------
    (DataFrame, tuple of str)
        ``hourly`` with ``score_source`` and ``recommendation_source`` (rule or
        champion), and which model serves what, or why it does not.
    """
    hourly, notes = hourly.assign(score_source=RULE, recommendation_source=RULE), []
    models = {name: champion(ctx, name) for name in (SCORE, RECOMMENDATION)}
    rows = horizon.rows_ahead([ctx.as_of])
    rows = rows[rows["target_start"].isin(hourly.index[hourly["score"].notna()])]
    for name, (estimator, why) in models.items():
        if estimator is None or rows.empty:
            notes += [f"{why} The documented rule over the forecasts serves."] if why else []
            continue
        x = horizon.features(horizon.Past(history.hourly, rows, history.known_until), rows)
        if list(estimator.feature_names_in_) != list(x.columns):
            notes.append(
                f"Champion of {name} needs other features: the rule serves. Train again with `make train`."
            )
            continue
        at = pd.DatetimeIndex(rows["target_start"])
        hourly.loc[at, "score_source" if name == SCORE else "recommendation_source"] = CHAMPION
        if name == SCORE:
            hourly.loc[at, "score"] = estimator.predict(x)
            hourly.loc[at, ["score_p10", "score_p90"]] = float("nan")
        else:
            chances = pd.DataFrame(estimator.predict_proba(x), index=at, columns=estimator.classes_)
            chances = chances.reindex(columns=list(CLASSES), fill_value=0.0)
            hourly.loc[at, "recommendation"] = chances.idxmax(axis=1)
            hourly.loc[at, [f"p_{label}" for label in CLASSES]] = chances.to_numpy()
        notes.append(f"{name} of {len(at)} hours is the champion's.")
    return hourly, tuple(notes) or (
        "Score and recommendation are by the documented rules over the forecasts.",
    )
