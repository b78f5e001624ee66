"""One training: fit both forests, judge them by rolling origin beside the naive forecasts, log, decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.domain.indices import BAND_DAYS
from factory_lib.errors import TooFewRows
from factory_lib.features.ahead import FEATURES_VERSION
from factory_lib.house import House
from factory_lib.models import registry, scores
from factory_lib.models.history import History
from factory_lib.models.outcome import TrainingOutcome
from factory_lib.models.promotion import Decision, decide
from factory_lib.models.scores import RECOMMENDATION, SCORE, Examples, Forests

Draw = Callable[[TrainingOutcome], Mapping[str, Any]]


def learn(house: House, history: History, hashes: Mapping[str, str], draw: Draw | None = None) -> TrainingOutcome:
    """Train on ``history`` and put the versions to the test.

    Parameters
    ----------
    hashes : mapping of str to str
        What identifies data and code, logged with the run.
    draw : function, optional
        Gives the figures (by file name) to log beside the run.

    Raises
    ------
    TooFewRows
        If too few hours have price, weather and the price band's history.
    """
    wanted = house.settings.training
    first = history.hourly.index[0].to_pydatetime() + timedelta(days=BAND_DAYS)
    known = scores.examples(history, first, house.as_of)
    if len(known) < wanted.minimum_rows:
        raise TooFewRows("Training", len(known), wanted.minimum_rows)
    tested = scores.rolling_origin(known, history.known_until, wanted.folds, wanted.seed)
    forests = Forests.fit(known, wanted.seed)
    judged = _judged(history, known, tested, forests, hashes)
    logged = registry.log(
        house,
        name=f"training {house.as_of:%Y-%m-%d %H:%MZ}",
        params=_params(house, known),
        metrics={key: float(value) for key, value in judged.figures.items() if not isinstance(value, str)},
        models={SCORE: forests.score, RECOMMENDATION: forests.recommendation},
        tags={"as_of": house.as_of.isoformat(), "world": house.store.world, **hashes},
        artifacts={"metrics.csv": judged.metrics.to_csv(index=False), "tested.csv": tested.to_csv(index=False)},
        figures=draw(judged) if draw else {},
    )
    deciding = scores.slices(tested)[scores.HEADLINE]
    decisions = [decide(house, name, version, deciding, known) for name, version in logged.versions.items()]
    return _decided(judged, decisions, logged.run_id)


def _params(house: House, known: Examples) -> dict[str, Any]:
    wanted = house.settings.training
    return {
        **scores.FOREST,
        "most_draws": scores.MOST_DRAWS,
        "seed": wanted.seed,
        "folds": wanted.folds,
        "issued_local": f"{scores.BEFORE:%H:%M} {scores.AFTER:%H:%M}",
        "features_version": FEATURES_VERSION,
        "features": ", ".join(known.x.columns),
        "price_basis": house.settings.tariff.price_basis,
        "profile": house.settings.profile,
        "as_of": house.as_of.isoformat(),
    }


def _judged(
    history: History, known: Examples, tested: pd.DataFrame, forests: Forests, hashes: Mapping[str, str]
) -> TrainingOutcome:
    """Return the outcome as far as it stands before the registry decides."""
    questions = scores.slices(tested)
    metrics = pd.DataFrame([{"question": name, **scores.judge(rows)} for name, rows in questions.items()])
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
    window = (
        f"Learnt from {len(known):,} pairs of issue time and hour ahead, "
        f"{figures['data_from']} to {figures['data_until']}."
    )
    return TrainingOutcome(
        verdict="",
        level="warn",
        figures=figures,
        notes=(*history.notes, window, "Same hour yesterday is given even where the issue time did not know it yet."),
        metrics=metrics,
        fold_mae=scores.mae_by_fold(headline),
        example=scores.last_days(headline),
        confusion=scores.confusion(headline),
        importances={
            str(name): float(share)
            for name, share in zip(known.x.columns, np.round(forests.score.feature_importances_, 4), strict=True)
        },
        decisions=pd.DataFrame(),
    )


def _decided(judged: TrainingOutcome, decisions: list[Decision], run_id: str) -> TrainingOutcome:
    promoted = tuple(decision.model for decision in decisions if decision.promoted)
    better = all(decision.error < decision.naive_error for decision in decisions)
    found = judged.figures
    fate = {2: "Both are champion now.", 0: "Neither was promoted."}.get(
        len(promoted), f"Only {', '.join(promoted)} is champion now."
    )
    return replace(
        judged,
        verdict=(
            f"Next 24 hours: score {found['mae']:.1f} points off, the same hour yesterday {found['naive_mae']:.1f} "
            f"(rMAE {found['rmae']:.2f}); recommendation right in {found['accuracy']:.0%} of hours, yesterday's in "
            f"{found['persistence_accuracy']:.0%}, the commonest class in {found['majority_accuracy']:.0%}. {fate}"
        ),
        level="ok" if better else "warn",
        figures={**found, "promoted": ", ".join(promoted), "mlflow_run_id": run_id, "skipped": 0},
        decisions=pd.DataFrame([asdict(decision) for decision in decisions]),
        mlflow_run_id=run_id,
        promoted=promoted,
    )
