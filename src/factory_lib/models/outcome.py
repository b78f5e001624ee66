"""What a training leaves: figures, tables, the decision; kept as JSON so that one with nothing new can show them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

_FRAMES = ("metrics", "fold_mae", "example", "confusion", "decisions", "price")


@dataclass(frozen=True)
class TrainingOutcome:
    """One training, as its page and its run record tell it.

    Attributes
    ----------
    verdict, level : str
        One sentence, and ``ok`` (better than naive) or ``warn``.
    figures : dict
        Key figures of the next 24 hours, and what was learnt from.
    notes : tuple of str
        What a reader of the figures has to know.
    metrics : DataFrame
        One row per question (``scores.slices``): model and naive forecasts.
    fold_mae : DataFrame
        Index: fold; mean absolute error of the score by candidate.
    example : DataFrame
        UTC index; ``actual``, ``forecast`` and ``naive`` score of the last tested days.
    confusion : DataFrame
        Hours by class that came (index) and class forecast (columns).
    importances : dict
        Feature to its share in the score model.
    decisions : DataFrame
        One row per model (``promotion.Decision``): version, alias, errors of version,
        rival and champion, reason.
    price : DataFrame
        The price model by day ahead: ``days``, ``mae``, ``naive_mae`` (EUR/MWh),
        ``rmae_best``; empty without one.
    mlflow_run_id : str
    promoted : tuple of str
        Models whose champion changed.
    skipped : bool
        Whether this is an earlier training's outcome, shown again because nothing is
        new.
    """

    verdict: str
    level: str
    figures: dict[str, int | float | str]
    notes: tuple[str, ...]
    metrics: pd.DataFrame
    fold_mae: pd.DataFrame
    example: pd.DataFrame
    confusion: pd.DataFrame
    importances: dict[str, float]
    decisions: pd.DataFrame
    price: pd.DataFrame
    mlflow_run_id: str = ""
    promoted: tuple[str, ...] = ()
    skipped: bool = False


def to_json(outcome: TrainingOutcome) -> str:
    """Return the outcome as text."""
    plain: dict[str, Any] = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    for name in _FRAMES:
        plain[name] = plain[name].to_json(orient="split", date_format="iso", double_precision=12)
    return json.dumps(plain)


def from_json(text: str) -> TrainingOutcome:
    """Return what ``to_json`` wrote."""
    plain = json.loads(text)
    for name in _FRAMES:
        plain[name] = pd.read_json(
            StringIO(plain[name]), orient="split", convert_axes=False, dtype=False
        )
    for name in ("notes", "promoted"):
        plain[name] = tuple(plain[name])
    plain["fold_mae"].index = plain["fold_mae"].index.astype(int)
    plain["example"].index = (
        pd.to_datetime(plain["example"].index, utc=True).as_unit("s").rename("start")
    )
    return TrainingOutcome(**plain)


def save(outcome: TrainingOutcome, file: Path) -> None:
    """Write the outcome, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(to_json(outcome), encoding="utf-8")
    part.replace(file)
