"""Runs and versions in MLflow: an SQLite file beside the run folders, artifacts in a folder, no server, no pickle.

``champion`` is the version in use, ``challenger`` the last one that was not promoted.
Every change of the champion is written down where ``rollback`` finds it and can undo
it. MLflow is imported where it is used: it costs two seconds.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.errors import ModelIncompatible, ModelMissing
from factory_lib.files import lock
from factory_lib.settings import Settings

EXPERIMENT = "factory"
CHAMPION, CHALLENGER, RETIRED = "champion", "challenger", "retired"
# Reviewed: the compiled trees of scikit-learn (arrays of numbers only), a number type,
# and the price forecaster's own three classes. Everything else skops trusts by itself.
TRUSTED_TYPES = [
    "factory_lib.models.forecasters.LeadModel",
    "factory_lib.models.forecasters.PriceForecaster",
    "factory_lib.models.forecasters.Recipe",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]
_UNREADABLE = (OSError, TypeError, ValueError, KeyError, AttributeError)
_NOISY = ("mlflow", "alembic")


def initialise(settings: Settings) -> None:
    """Create the tracking database and the experiment, once; safe when many processes call it together.

    Processes that first touch an empty database at the same time would break it for
    good, so only one at a time may.
    """
    paths = settings.paths
    paths.runs.mkdir(parents=True, exist_ok=True)
    paths.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    file = _lock_file(settings)
    with lock(file), _mlflow(settings) as mlflow:
        client = mlflow.MlflowClient()
        if client.get_experiment_by_name(EXPERIMENT) is None:
            client.create_experiment(
                EXPERIMENT, artifact_location=paths.mlflow_artifacts.resolve().as_uri()
            )
        file.write_text("The tracking database is complete.\n", encoding="utf-8")


def _lock_file(settings: Settings) -> Path:
    return settings.paths.runs / "mlflow.lock"


def _is_initialised(settings: Settings) -> bool:
    file, database = _lock_file(settings), settings.paths.runs / "mlflow.db"
    return database.exists() and file.exists() and file.stat().st_size > 0


@contextmanager
def _mlflow(settings: Settings) -> Iterator[Any]:
    """Yield the mlflow module bound to the profile's database, without its chatter, and leave no trace of that."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's and SQLAlchemy's own deprecations
        import mlflow
        import mlflow.sklearn

        before = {name: logging.getLogger(name).level for name in _NOISY}
        tracking, registered = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        mlflow.set_tracking_uri(settings.paths.mlflow_uri)
        mlflow.set_registry_uri(settings.paths.mlflow_uri)
        try:
            yield mlflow
        finally:
            mlflow.set_tracking_uri(tracking)
            mlflow.set_registry_uri(registered)
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def client_for(ctx: RunContext, operation: str) -> Iterator[Any]:
    """Yield mlflow on an initialised database; the call is timed for the metrics."""
    if not _is_initialised(ctx.settings):
        initialise(ctx.settings)
    with _mlflow(ctx.settings) as mlflow:
        status = "failed"
        begun = time.perf_counter()
        try:
            yield mlflow
            status = "ok"
        finally:
            ctx.record_call("registry", operation, status, 0, 1000 * (time.perf_counter() - begun))


@dataclass(frozen=True)
class Logged:
    """What ``log`` made: the run, and the version of each model."""

    run_id: str
    versions: Mapping[str, str]


def log(
    ctx: RunContext,
    *,
    name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    models: Mapping[str, Any],
    tags: Mapping[str, str],
    artifacts: Mapping[str, str],
    figures: Mapping[str, Any],
) -> Logged:
    """Log one training as an MLflow run and register its models.

    Parameters
    ----------
    models : mapping of str to fitted scikit-learn estimator
        By registered name.
    tags : mapping
        Set on the run and on each version.
    artifacts : mapping of file name to text
    figures : mapping of file name to matplotlib Figure
    """
    versions = {}
    with client_for(ctx, "log") as mlflow:
        client, experiment = mlflow.MlflowClient(), mlflow.get_experiment_by_name(EXPERIMENT)
        with mlflow.start_run(
            experiment_id=experiment.experiment_id, run_name=name, tags=dict(tags)
        ) as run:
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))
            for file, text in artifacts.items():
                mlflow.log_text(text, file)
            for file, figure in figures.items():
                mlflow.log_figure(figure, file)
            for model, estimator in models.items():
                info = mlflow.sklearn.log_model(
                    estimator,
                    name=model,
                    serialization_format="skops",
                    skops_trusted_types=TRUSTED_TYPES,
                    pip_requirements=[
                        f"{package}=={version}" for package, version in _built_with().items()
                    ],
                )
                if not _registered(client, model):
                    client.create_registered_model(model)
                made = client.create_model_version(
                    model, info.model_uri, run.info.run_id, model_id=info.model_id
                )
                versions[model] = str(made.version)
                for key, value in {**tags, **_built_with()}.items():
                    client.set_model_version_tag(model, versions[model], key, value)
                _compress(client.get_logged_model(info.model_id).artifact_location)
    return Logged(run.info.run_id, versions)


def _compress(location: str) -> None:
    """Store a version's file deflated, as skops reads it too: a third of the room."""
    for file in Path(unquote(urlsplit(location).path)).glob("*.skops"):
        part = file.with_suffix(".part")
        with (
            zipfile.ZipFile(file) as plain,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as small,
        ):
            for name in plain.namelist():
                small.writestr(name, plain.read(name))
        part.replace(file)


def attach(ctx: RunContext, run_id: str, file: Path) -> None:
    """Add a file, such as the executed notebook, to a run."""
    with client_for(ctx, "attach") as mlflow:
        mlflow.MlflowClient().log_artifact(run_id, str(file))


def promote(ctx: RunContext, model: str, version: str, reason: str) -> None:
    """Make ``version`` the champion and note which one it replaces."""
    with client_for(ctx, "promote") as mlflow:
        client = mlflow.MlflowClient()
        replaced = _aliases(client, model).get(CHAMPION, "")
        if replaced != version:
            client.set_model_version_tag(model, version, "replaced", replaced)
        client.set_model_version_tag(model, version, "decision", reason)
        client.set_registered_model_alias(model, CHAMPION, version)
        if _aliases(client, model).get(CHALLENGER) == version:
            client.delete_registered_model_alias(model, CHALLENGER)


def challenge(ctx: RunContext, model: str, version: str, reason: str) -> None:
    """Keep ``version`` as challenger."""
    with client_for(ctx, "challenge") as mlflow:
        client = mlflow.MlflowClient()
        client.set_model_version_tag(model, version, "decision", reason)
        client.set_registered_model_alias(model, CHALLENGER, version)


def retire(ctx: RunContext, model: str, reason: str) -> None:
    """Take the alias from the champion and note which version had it: no version serves until one is promoted."""
    with client_for(ctx, "retire") as mlflow:
        client = mlflow.MlflowClient()
        current = _aliases(client, model)[CHAMPION]
        client.set_registered_model_tag(model, RETIRED, current)
        client.set_model_version_tag(model, current, "decision", f"retired: {reason}")
        client.delete_registered_model_alias(model, CHAMPION)


def rollback(ctx: RunContext, model: str) -> str:
    """Undo the last decision: give the alias back to the champion before this one, or to the one that was retired.

    Returns its version.

    Raises
    ------
    ModelMissing
        If there is no such version any more.
    """
    with client_for(ctx, "rollback") as mlflow:
        client = mlflow.MlflowClient()
        registered, current = _registered(client, model), _aliases(client, model).get(CHAMPION)
        kept = {
            str(version.version): version
            for version in client.search_model_versions(f"name = '{model}'")
        }
        earlier: str
        if current:
            earlier = kept[current].tags.get("replaced", "")
            if earlier not in kept:
                raise ModelMissing(
                    f"{model} version {current} is the first champion: there is none to go back to."
                )
            client.set_registered_model_alias(model, CHALLENGER, current)
            client.set_model_version_tag(
                model, current, "decision", f"rolled back to version {earlier} by hand"
            )
        else:
            earlier = registered.tags.get(RETIRED, "") if registered else ""
            if earlier not in kept:
                raise ModelMissing(f"{model} has no champion.")
            client.set_model_version_tag(
                model, earlier, "decision", "brought back from retirement by hand"
            )
        client.set_registered_model_alias(model, CHAMPION, earlier)
    return earlier


@dataclass(frozen=True)
class Version:
    """A loaded version."""

    name: str
    number: str
    estimator: Any
    tags: Mapping[str, str]
    run_id: str


def load(ctx: RunContext, model: str, alias: str = CHAMPION) -> Version:
    """Load the version that carries ``alias``, without running pickled code.

    Raises
    ------
    ModelMissing
        If none does.
    ModelIncompatible
        If it was built with another minor version of scikit-learn, or its file is
        damaged or not what was reviewed.
    """
    if not _is_initialised(ctx.settings):  # nothing was trained yet, and a reader makes no database
        raise ModelMissing(f"{model} has no {alias}.")
    with client_for(ctx, "load") as mlflow:
        client = mlflow.MlflowClient()
        number = _aliases(client, model).get(alias)
        if number is None:
            raise ModelMissing(f"{model} has no {alias}.")
        found = client.get_model_version(model, number)
        theirs, ours = found.tags.get("scikit-learn", ""), _built_with()["scikit-learn"]
        if theirs.split(".")[:2] != ours.split(".")[:2]:
            raise ModelIncompatible(
                f"{model} version {number} was built with scikit-learn {theirs}, here is {ours}."
            )
        try:
            estimator = mlflow.sklearn.load_model(f"models:/{model}/{number}")
        except (mlflow.MlflowException, zipfile.BadZipFile, *_UNREADABLE) as error:
            raise ModelIncompatible(
                f"{model} version {number} cannot be loaded: {error}."
            ) from error
    return Version(model, number, estimator, dict(found.tags), found.run_id)


def versions(ctx: RunContext) -> pd.DataFrame:
    """Return one row per version, newest first, with ``alias``, ``created`` (UTC), ``decision`` and ``run_id``."""
    rows = []
    with client_for(ctx, "versions") as mlflow:
        client = mlflow.MlflowClient()
        for registered in client.search_registered_models():
            by_version: dict[str, list[str]] = {}
            for alias, number in _aliases(client, registered.name).items():
                by_version.setdefault(number, []).append(alias)
            rows += [
                {
                    "model": registered.name,
                    "version": int(found.version),
                    "alias": ", ".join(by_version.get(str(found.version), [])),
                    "created": pd.Timestamp(found.creation_timestamp, unit="ms", tz="UTC"),
                    "decision": found.tags.get("decision", ""),
                    "run_id": found.run_id,
                }
                for found in client.search_model_versions(f"name = '{registered.name}'")
            ]
    frame = pd.DataFrame(
        rows, columns=["model", "version", "alias", "created", "decision", "run_id"]
    )
    return frame.sort_values(["model", "version"], ascending=[True, False], ignore_index=True)


def _registered(client: Any, model: str) -> Any:
    """Return the registered model, or None."""
    return next(iter(client.search_registered_models(f"name = '{model}'")), None)


def _aliases(client: Any, model: str) -> dict[str, str]:
    found = _registered(client, model)
    return {alias: str(number) for alias, number in found.aliases.items()} if found else {}


def _built_with() -> dict[str, str]:
    import sklearn
    import skops

    return {"scikit-learn": sklearn.__version__, "skops": skops.__version__}
