"""When to train: where data, features or code changed, once a day at most, or on drift; else the last outcome is shown.

Light to import, because every half hour a job asks and mostly has nothing to learn;
``models.learning`` does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, time, timedelta
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import factory_lib
from factory_lib.clock import local_instant, market_day
from factory_lib.context import RunContext
from factory_lib.domain.indices import BAND_DAYS
from factory_lib.features.documented import PRICE
from factory_lib.models import history as histories
from factory_lib.models import outcome as outcomes
from factory_lib.models.history import History
from factory_lib.models.outcome import TrainingOutcome
from factory_lib.settings.records import TrainingSettings
from factory_lib.state.marks import DRIFT, get_marks, set_mark

TOPIC = "training"
NOT_BEFORE = time(20, 45)  # local: by then both spot and PVPC of tomorrow are published
FEWEST_NEW_HOURS = 24
_CODE = (
    "domain/indices.py",
    "domain/tariff.py",
    "features/*.py",
    "models/history.py",
    "models/scores.py",
    "models/forecasters.py",
    "models/calibration.py",
    "models/expectation.py",
    "models/rule_ahead.py",
    "models/weather.py",
)


def train(
    ctx: RunContext,
    *,
    force: bool = False,
    draw: Callable[[TrainingOutcome], Mapping[str, Any]] | None = None,
) -> TrainingOutcome:
    """Train, judge, log and decide; or show the last training where there is nothing new to learn.

    A replay is logged, but leaves registry and marks alone, except where no provider is
    asked: such a profile has no present but the instants it is run at.

    Parameters
    ----------
    force : bool
        Train although data, features and code have not changed, or a training of the
        day was done.
    draw : function, optional
        Gives the figures (by file name) to log beside the run.

    Raises
    ------
    TooFewRows
        If too few hours have price, weather and the price band's history.
    """
    history = histories.load(ctx, ctx.settings.training.history_days + BAND_DAYS + 1)
    code, data = _code_hash(ctx.settings.training), _data_hash(history)
    if not force and (earlier := _nothing_new(ctx, history, code, data)):
        return earlier
    from factory_lib.models.train import learn

    keep = not ctx.replay or not any(source.enabled for source in ctx.settings.sources.values())
    made = learn(ctx, history, {"data_hash": data, "code_hash": code}, draw, keep=keep)
    if keep:
        _remember(ctx, history, f"{code}-{data}", made)
    return made


def _code_hash(wanted: TrainingSettings) -> str:
    """Return a hash of everything but the data that shapes features, targets and models."""
    total = sha256(f"{version('scikit-learn')} {wanted}".encode())
    room = Path(factory_lib.__file__).parent
    for file in sorted(file for pattern in _CODE for file in room.glob(pattern)):
        total.update(file.read_bytes())
    return total.hexdigest()[:12]


def _data_hash(history: History) -> str:
    known = history.hourly.dropna(how="all")
    total = sha256(pd.util.hash_pandas_object(known).to_numpy().tobytes())
    for name, matrix in sorted(history.operator.items()):
        total.update(name.encode() + matrix.days.tobytes() + matrix.grid.tobytes())
    return total.hexdigest()[:12]


def _outcome_file(ctx: RunContext, entity: str) -> Path:
    return ctx.settings.paths.data / "training" / f"{entity}.json"


def _nothing_new(ctx: RunContext, history: History, code: str, data: str) -> TrainingOutcome | None:
    """Return the outcome of an earlier training that this one could not improve on, if there is one."""
    trainings = get_marks(ctx.state, TOPIC)
    if (entity := f"{code}-{data}") in trainings:
        why = "Nothing new: data, features and code are those of the last training."
    else:
        before = [
            (at, name, note)
            for name, (at, note) in trainings.items()
            if at <= ctx.as_of and code in name
        ]
        if not before:
            return None
        at, entity, note = max(before)
        new_hours = (_prices_until(history) - note["prices_until"]) // 3600
        drifted = any(
            why and at <= since <= ctx.as_of for since, why in get_marks(ctx.state, DRIFT).values()
        )
        if drifted or (at < _last_closing(ctx.as_of) and new_hours >= FEWEST_NEW_HOURS):
            return None
        why = f"Not due: last trained as of {at:%Y-%m-%d %H:%MZ}, {new_hours} new hours of prices since."
    file = _outcome_file(ctx, entity)
    if not file.exists():
        return None
    last = outcomes.from_json(file.read_text(encoding="utf-8"))
    return replace(
        last, verdict=f"{why} {last.verdict}", skipped=True, figures={**last.figures, "skipped": 1}
    )


def _last_closing(now: datetime) -> datetime:
    """Return the latest 20:45 local at or before ``now``."""
    today = local_instant(market_day(now), NOT_BEFORE)
    return today if today <= now else local_instant(market_day(now) - timedelta(days=1), NOT_BEFORE)


def _prices_until(history: History) -> int:
    last = history.hourly[PRICE].last_valid_index()
    return 0 if last is None else int(pd.Timestamp(str(last)).timestamp())


def _remember(ctx: RunContext, history: History, entity: str, made: TrainingOutcome) -> None:
    outcomes.save(made, _outcome_file(ctx, entity))
    note = {"prices_until": _prices_until(history), "mlflow_run_id": made.mlflow_run_id}
    set_mark(ctx.state, TOPIC, entity, ctx.as_of, note)
