"""Retraining trigger: on new data, features or code, once a day at most, or on drift.

Where none of them holds, the last training's result is shown again. Light to import,
because a job asks every half hour and mostly finds nothing new; ``models.train`` does
the work.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import factory_lib
from factory_lib.clock import MADRID, local_time
from factory_lib.context import RunContext
from factory_lib.domain.indices import BAND_DAYS
from factory_lib.features.days import DayMatrix
from factory_lib.features.horizon import PRICE
from factory_lib.files import write_atomically
from factory_lib.models import registry
from factory_lib.models.history import History, load_history
from factory_lib.results import JobResult
from factory_lib.settings.records import TrainingSettings
from factory_lib.state.marks import DRIFT, get_marks, set_mark

TOPIC = "training"
# local time of day: by then both spot and PVPC of tomorrow are published
NOT_BEFORE = timedelta(hours=20, minutes=45)
FEWEST_NEW_HOURS = 24
_CODE = (
    "domain/indices.py",
    "domain/tariff.py",
    "features/*.py",
    "models/history.py",
    "models/aggregation.py",
    "models/scores.py",
    "models/forecasters.py",
    "models/evaluation.py",
    "models/rule_forecast.py",
    "models/weather_forecast.py",
)
Draw = Callable[[Mapping[str, pd.DataFrame]], Mapping[str, Any]]
Judge = Callable[[RunContext, History, Any, DayMatrix | None], pd.DataFrame]


class Hooks(NamedTuple):
    """Parts of a training that others do: charts to log, the judged starts of a batch."""

    draw: Draw | None = None
    judge: Judge | None = None


def train(
    ctx: RunContext, *, force: bool = False, draw: Draw | None = None, judge: Judge | None = None
) -> JobResult:
    """Train, evaluate, log and decide; or return the last training's result if nothing is new.

    A replay is logged, but leaves registry and marks alone, except where every source is
    disabled: such a profile has no present but the instants it is run at.

    Parameters
    ----------
    force : bool
        Train although data, features and code have not changed, or a training of the
        day was done.
    draw : function, optional
        Returns the figures (by file name) to log with the run, from the result's tables.
    judge : function, optional
        Returns the table ``starts`` from history, price model and its days; see
        ``planning.start_models.judge_starts``.

    Returns
    -------
    JobResult
        See ``summary.summarise_training``; metric ``skipped`` is 1 for an earlier result.

    Raises
    ------
    TooFewRows
        If too few hours have price, weather and the price band's history.
    """
    settings = ctx.settings.training
    history = load_history(ctx, settings.history_days + BAND_DAYS + 1, settings.price_history_days)
    code = _code_hash(settings)
    data = data_hash(history)
    if not force and (earlier := _earlier_result(ctx, history, code, data)):
        return earlier
    from factory_lib.models.train import train_models

    keep = registers(ctx)
    hashes = {"data_hash": data, "code_hash": code}
    result = train_models(ctx, history, hashes, Hooks(draw, judge), keep=keep)
    if keep:
        entity = f"{code}-{data}"
        write_atomically(_result_file(ctx, entity), result_to_json(result))
        set_mark(ctx.state, TOPIC, entity, ctx.as_of, {"prices_until": _prices_until(history)})
    return result


def registers(ctx: RunContext) -> bool:
    """Return whether models are registered: of the present, or where no source is enabled."""
    return not ctx.replay or not any(source.enabled for source in ctx.settings.sources.values())


def _code_hash(training: TrainingSettings) -> str:
    """Return a hash of everything but the data that shapes features, targets and models."""
    total = sha256(f"{version('scikit-learn')} {training}".encode())
    for pattern in _CODE:
        for file in sorted(Path(factory_lib.__file__).parent.glob(pattern)):
            total.update(file.read_bytes())
    return total.hexdigest()[:12]


def data_hash(history: History) -> str:
    """Return a hash of prices, weather and the operator's forecasts."""
    hashes = pd.util.hash_pandas_object(history.hourly.dropna(how="all"))
    total = sha256(hashes.to_numpy().tobytes() + history.prices.to_numpy().tobytes())
    for name, matrix in sorted(history.operator.items()):
        total.update(name.encode() + matrix.days.tobytes() + matrix.grid.tobytes())
    return total.hexdigest()[:12]


def _result_file(ctx: RunContext, entity: str) -> Path:
    return ctx.settings.paths.data / "training" / f"{entity}.json"


def _earlier_result(ctx: RunContext, history: History, code: str, data: str) -> JobResult | None:
    """Return the result of the last training, unless there is a reason for another one."""
    entity = f"{code}-{data}"
    reason = "Nothing new: data, features and code are those of the last training."
    if entity not in get_marks(ctx.state, TOPIC):
        entity, reason = _training_of_the_day(ctx, history, code)
    file = _result_file(ctx, entity)
    if not entity or not file.exists():
        return None
    last = result_from_json(file.read_text(encoding="utf-8"))
    run_id = str(last.metrics.get("mlflow_run_id", ""))
    if run_id and not registry.has_run(ctx, run_id):
        return None  # nothing is new, but what was made of it is gone
    return replace(last, summary=f"{reason} {last.summary}", metrics={**last.metrics, "skipped": 1})


def _training_of_the_day(ctx: RunContext, history: History, code: str) -> tuple[str, str]:
    """Return the last training with this code and why it is too early for another, or nothing."""
    earlier = [
        (at, entity, note)
        for entity, (at, note) in get_marks(ctx.state, TOPIC).items()
        if at <= ctx.as_of and code in entity
    ]
    if not earlier:
        return "", ""
    at, entity, note = max(earlier)
    new_hours = (_prices_until(history) - note["prices_until"]) // 3600
    drifted = any(
        drift and at <= since <= ctx.as_of for since, drift in get_marks(ctx.state, DRIFT).values()
    )
    if drifted or (_training_day(at) < _training_day(ctx.as_of) and new_hours >= FEWEST_NEW_HOURS):
        return "", ""
    last = f"last trained as of {local_time(at)}, {new_hours} new hours of prices since"
    return entity, f"Not due: {last}."


def _training_day(instant: datetime) -> date:
    """Return the local day whose ``NOT_BEFORE`` is the latest at or before an instant."""
    return (instant.astimezone(MADRID) - NOT_BEFORE).date()


def _prices_until(history: History) -> int:
    last = history.hourly[PRICE].last_valid_index()
    return 0 if last is None else int(pd.Timestamp(str(last)).timestamp())


def result_to_json(result: JobResult) -> str:
    """Return a result as text."""
    tables = {
        name: table.to_json(orient="table", double_precision=12)
        for name, table in result.tables.items()
    }
    return json.dumps({**vars(result), "metrics": dict(result.metrics), "tables": tables})


def result_from_json(text: str) -> JobResult:
    """Return the result written by ``result_to_json``."""
    plain = json.loads(text)
    for name, table in plain["tables"].items():
        plain["tables"][name] = pd.read_json(StringIO(table), orient="table")
    return JobResult(**{**plain, "notes": tuple(plain["notes"])})
