"""Model registry: runs and versions in MLflow, without a server and without pickle.

An SQLite file lies beside the run folders, artifacts in a folder. ``champion`` is the
version in use, ``challenger`` the last one that was not promoted. Every change of the
champion is noted in tags, so that ``rollback`` can undo it. MLflow is imported where it
is used: it costs two seconds.
"""

import importlib.metadata
import logging
import os
import shutil
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.errors import ModelIncompatible, ModelMissing
from factory_lib.files import lock
from factory_lib.settings import Paths
from factory_lib.state import marks

EXPERIMENT = "factory"
CHAMPION, CHALLENGER, RETIRED = "champion", "challenger", "retired"
# Reviewed: the compiled trees of scikit-learn (arrays of numbers only), a number type,
# and the price forecaster's own classes, one of which older versions call Recipe.
# Everything else skops trusts by itself.
TRUSTED_TYPES = [
    "factory_lib.models.forecasters.ForecasterConfig",
    "factory_lib.models.forecasters.LeadModel",
    "factory_lib.models.forecasters.PriceForecaster",
    "factory_lib.models.forecasters.Recipe",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]
_UNREADABLE = (OSError, TypeError, ValueError, KeyError, AttributeError)


@contextmanager
def client_for(ctx: RunContext, operation: str) -> Iterator[Any]:
    """Yield an MLflow client on the profile's database; the call is timed for the metrics.

    Meanwhile MLflow itself is bound to that database, and gives no messages.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's and SQLAlchemy's own deprecations
        import mlflow
        import mlflow.sklearn

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        tracking_uri = mlflow.get_tracking_uri()
        registry_uri = mlflow.get_registry_uri()
        mlflow.set_tracking_uri(ctx.settings.paths.mlflow_uri)
        mlflow.set_registry_uri(ctx.settings.paths.mlflow_uri)
        start = time.perf_counter()
        status = "failed"
        try:
            if not _is_initialised(ctx.settings.paths):
                _initialise(ctx.settings.paths)
            yield mlflow.MlflowClient()
            status = "ok"
        except ModelMissing:
            status = "ok"  # the registry answered
            raise
        finally:
            ms = 1000 * (time.perf_counter() - start)
            ctx.record_call("registry", operation, status, 0, ms)
            mlflow.set_tracking_uri(tracking_uri)
            mlflow.set_registry_uri(registry_uri)


def _initialise(paths: Paths) -> None:
    """Create the tracking database and the experiment once, also if many processes call it at once.

    Processes that first open an empty database together would damage it for good, so
    only one at a time may. The lock's file is empty until the database is complete.
    """
    import mlflow

    file = paths.runs / "mlflow.lock"
    with lock(file):
        if mlflow.get_experiment_by_name(EXPERIMENT) is None:
            folder = paths.mlflow_artifacts.resolve().as_uri()
            mlflow.create_experiment(EXPERIMENT, artifact_location=folder)
        file.write_text("The tracking database is complete.\n", encoding="utf-8")


def _is_initialised(paths: Paths) -> bool:
    file = paths.runs / "mlflow.lock"
    return (paths.runs / "mlflow.db").exists() and file.exists() and file.stat().st_size > 0


@dataclass(frozen=True)
class Logged:
    """The run made by ``log``, and the version of each model."""

    run_id: str
    versions: Mapping[str, str]


def log(
    ctx: RunContext,
    *,
    name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    models: Mapping[str, Any],
    tags: Mapping[str, str],
    artifacts: Mapping[str, str],
    figures: Mapping[str, Any],
) -> Logged:
    """Log one training as an MLflow run and register its models.

    Parameters
    ----------
    metrics : mapping
        Entries that are not numbers are left out.
    models : mapping of str to fitted scikit-learn estimator
        By registered name.
    tags : mapping
        Set on the run and on each version.
    artifacts : mapping of file name to text
    figures : mapping of file name to matplotlib Figure
    """
    with client_for(ctx, "log") as client:
        import mlflow

        experiment = client.get_experiment_by_name(EXPERIMENT)
        with mlflow.start_run(
            experiment_id=experiment.experiment_id, run_name=name, tags=dict(tags)
        ) as run:
            mlflow.log_params(dict(params))
            numbers = {key: x for key, x in metrics.items() if isinstance(x, int | float)}
            mlflow.log_metrics(numbers)
            for file, text in artifacts.items():
                mlflow.log_text(text, file)
            for file, figure in figures.items():
                mlflow.log_figure(figure, file)
            run_id = run.info.run_id
            versions = {
                model: _register(client, run_id, model, estimator, tags)
                for model, estimator in models.items()
            }
    return Logged(run_id, versions)


def _register(client: Any, run_id: str, model: str, estimator: Any, tags: Mapping[str, str]) -> str:
    """Store a fitted model as a new version and return its number."""
    import mlflow.sklearn
    import skops.io
    from mlflow.utils.file_utils import local_file_uri_to_path

    packages = _built_with()
    info = mlflow.sklearn.log_model(
        estimator,
        name=model,
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        pip_requirements=[f"{package}=={version}" for package, version in packages.items()],
    )
    # the same file again, deflated: a third of the size
    folder = local_file_uri_to_path(client.get_logged_model(info.model_id).artifact_location)
    skops.io.dump(estimator, Path(folder, "model.skops"), compression=zipfile.ZIP_DEFLATED)
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    version = client.create_model_version(
        model, info.model_uri, run_id, tags={**tags, **packages}, model_id=info.model_id
    )
    return str(version.version)


def attach(ctx: RunContext, run_id: str, file: Path) -> None:
    """Add a file, such as the executed notebook, to a run."""
    with client_for(ctx, "attach") as client:
        client.log_artifact(run_id, str(file))


def assign(ctx: RunContext, model: str, version: str, alias: str, reason: str) -> None:
    """Make ``version`` the champion, noting which one it replaces, or the challenger."""
    with client_for(ctx, alias) as client:
        aliases, _ = _registered(client, model)
        replaced = aliases.get(CHAMPION, "")
        if alias == CHAMPION and replaced != version:
            client.set_model_version_tag(model, version, "replaced", replaced)
        if alias == CHAMPION and aliases.get(CHALLENGER) == version:
            client.delete_registered_model_alias(model, CHALLENGER)
        client.set_model_version_tag(model, version, "decision", reason)
        client.set_registered_model_alias(model, alias, version)
    if alias == CHAMPION:
        ctx.set_mark(marks.CHAMPION, model, ctx.as_of, version)


def retire(ctx: RunContext, model: str, reason: str) -> None:
    """Remove the champion's alias and note its version: none serves until one is promoted."""
    with client_for(ctx, "retire") as client:
        current = _registered(client, model)[0][CHAMPION]
        client.set_registered_model_tag(model, RETIRED, current)
        client.set_model_version_tag(model, current, "decision", f"retired: {reason}")
        client.delete_registered_model_alias(model, CHAMPION)


def rollback(ctx: RunContext, model: str) -> str:
    """Undo the last decision and return the version that is the champion again.

    That is the one before this champion, or the one that was retired.

    Raises
    ------
    ModelMissing
        If there is no such version any more.
    """
    with client_for(ctx, "rollback") as client:
        current = _registered(client, model)[0].get(CHAMPION)
        last, before = _last_champions(client, model)
        earlier = before if current else last
        if not earlier:
            problem = f"version {current} is the first champion: there is no earlier one"
            raise ModelMissing(f"{model} {problem if current else 'has no champion'}.")
        decision = "restored manually after retirement"
        if current:
            decision = f"rolled back to version {earlier} manually"
            client.set_registered_model_alias(model, CHALLENGER, current)
        client.set_model_version_tag(model, current or earlier, "decision", decision)
        client.set_registered_model_alias(model, CHAMPION, earlier)
    return earlier


@dataclass(frozen=True)
class Version:
    """A loaded version."""

    number: str
    estimator: Any
    tags: Mapping[str, str]
    run_id: str


def load_version(ctx: RunContext, model: str, alias: str = CHAMPION) -> Version:
    """Load the version that carries ``alias``, without running pickled code.

    Raises
    ------
    ModelMissing
        If none does.
    ModelIncompatible
        If it was built with another minor version of scikit-learn, or its file is
        damaged or not what was reviewed.
    """
    # where nothing was trained yet, a reader makes no database
    if not _is_initialised(ctx.settings.paths):
        raise ModelMissing(f"{model} has no {alias}.")
    with client_for(ctx, "load") as client:
        import mlflow

        number = _registered(client, model)[0].get(alias)
        if number is None:
            raise ModelMissing(f"{model} has no {alias}.")
        version = client.get_model_version(model, number)
        built = version.tags.get("scikit-learn", "")
        installed = _built_with()["scikit-learn"]
        if built.split(".")[:2] != installed.split(".")[:2]:
            raise ModelIncompatible(
                f"{model} version {number} was built with scikit-learn {built}, "
                f"installed is {installed}."
            )
        try:
            estimator = mlflow.sklearn.load_model(f"models:/{model}/{number}")
        except (mlflow.MlflowException, zipfile.BadZipFile, *_UNREADABLE) as error:
            raise ModelIncompatible(
                f"{model} version {number} cannot be loaded: {error}."
            ) from error
    return Version(number, estimator, dict(version.tags), version.run_id)


def versions(ctx: RunContext) -> pd.DataFrame:
    """Return one row per version, newest first.

    Returns
    -------
    DataFrame
        ``model``, ``version``, ``alias``, ``created`` (UTC), ``decision``, ``run_id``.
    """
    columns = ["model", "version", "alias", "created", "decision", "run_id"]
    # where nothing was trained yet, a reader makes no database
    if not _is_initialised(ctx.settings.paths):
        return pd.DataFrame(columns=columns)
    rows = []
    with client_for(ctx, "versions") as client:
        aliases = {each.name: each.aliases for each in client.search_registered_models()}
        for version in client.search_model_versions():
            number = str(version.version)
            names = [alias for alias, of in aliases[version.name].items() if str(of) == number]
            created = pd.Timestamp(version.creation_timestamp, unit="ms", tz="UTC")
            row = (version.name, int(number), ", ".join(names), created)
            rows.append((*row, version.tags.get("decision", ""), version.run_id))
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["model", "version"], ascending=[True, False], ignore_index=True)


def prune(ctx: RunContext, before: datetime) -> int:
    """Delete runs that began ``before`` and have no version in use; return their number.

    A version is in use if it carries an alias, or a rollback would return to it. MLflow
    goes on listing the runs as deleted; their files, which take the space, are removed.
    """
    if not (ctx.settings.paths.runs / "mlflow.db").is_file():
        return 0
    with client_for(ctx, "prune") as client:
        from mlflow.utils.file_utils import local_file_uri_to_path

        stored = client.search_model_versions()
        old = _unused_runs(client, before, stored)
        for version in stored:
            if version.run_id in old:
                client.delete_model_version(version.name, version.version)
        for run_id, run in old.items():
            for output in run.outputs.model_outputs if run.outputs else ():
                location = client.get_logged_model(output.model_id).artifact_location
                shutil.rmtree(local_file_uri_to_path(location), ignore_errors=True)
                client.delete_logged_model(output.model_id)
            shutil.rmtree(local_file_uri_to_path(run.info.artifact_uri), ignore_errors=True)
            client.delete_run(run_id)
    return len(old)


def _unused_runs(client: Any, before: datetime, stored: Sequence[Any]) -> dict[str, Any]:
    """Return the runs that began ``before`` without a stored version in use.

    In use are those with an alias, and those a rollback returns to.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    began_before = f"attributes.start_time < {int(before.timestamp() * 1000)}"
    runs = client.search_runs([experiment], began_before, max_results=1000)
    in_use = {
        model.name: {*map(str, model.aliases.values()), *_last_champions(client, model.name)}
        for model in client.search_registered_models()
    }
    kept = {each.run_id for each in stored if str(each.version) in in_use[each.name]}
    return {run.info.run_id: run for run in runs if run.info.run_id not in kept}


def _last_champions(client: Any, model: str) -> tuple[str, str]:
    """Return the champion, or the version that was retired, and the one before it, if stored."""
    aliases, tags = _registered(client, model)
    versions = client.search_model_versions(f"name = '{model}'")
    replaced = {str(version.version): version.tags.get("replaced", "") for version in versions}
    last = aliases.get(CHAMPION) or tags.get(RETIRED, "")
    before = replaced.get(last, "")
    return last if last in replaced else "", before if before in replaced else ""


def _registered(client: Any, model: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the version numbers by alias, and the tags, of a model that may not be there."""
    for registered in client.search_registered_models(f"name = '{model}'"):
        aliases = {alias: str(number) for alias, number in registered.aliases.items()}
        return aliases, registered.tags
    return {}, {}


def _built_with() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("scikit-learn", "skops")}
