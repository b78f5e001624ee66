"""Model registry: runs and versions in MLflow, without a server and without pickle.

An SQLite file lies beside the run folders, artifacts in a folder. ``champion`` is the
version in use, ``challenger`` the last one that was not promoted. Every change of the
champion is noted in tags, so that ``rollback`` can undo it. MLflow is imported where it
is used: it costs two seconds.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
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


def initialise(settings: Settings) -> None:
    """Create the tracking database and the experiment once, also if many processes call it at once.

    Processes that first open an empty database together would damage it for good, so
    only one at a time may.
    """
    paths = settings.paths
    paths.runs.mkdir(parents=True, exist_ok=True)
    paths.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    file = _lock_file(settings)
    with lock(file), _mlflow(settings) as mlflow:
        if mlflow.get_experiment_by_name(EXPERIMENT) is None:
            folder = paths.mlflow_artifacts.resolve().as_uri()
            mlflow.create_experiment(EXPERIMENT, artifact_location=folder)
        file.write_text("The tracking database is complete.\n", encoding="utf-8")


def _lock_file(settings: Settings) -> Path:
    return settings.paths.runs / "mlflow.lock"


def _is_initialised(settings: Settings) -> bool:
    file = _lock_file(settings)
    database = settings.paths.runs / "mlflow.db"
    return database.exists() and file.exists() and file.stat().st_size > 0


@contextmanager
def _mlflow(settings: Settings) -> Iterator[Any]:
    """Yield mlflow bound to the profile's database, without its messages, and unbind it again."""
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
        mlflow.set_tracking_uri(settings.paths.mlflow_uri)
        mlflow.set_registry_uri(settings.paths.mlflow_uri)
        try:
            yield mlflow
        finally:
            mlflow.set_tracking_uri(tracking_uri)
            mlflow.set_registry_uri(registry_uri)


@contextmanager
def client_for(ctx: RunContext, operation: str) -> Iterator[Any]:
    """Yield an MLflow client on an initialised database; the call is timed for the metrics."""
    if not _is_initialised(ctx.settings):
        initialise(ctx.settings)
    with _mlflow(ctx.settings) as mlflow:
        start = time.perf_counter()
        status = "failed"
        try:
            yield mlflow.MlflowClient()
            status = "ok"
        finally:
            ms = 1000 * (time.perf_counter() - start)
            ctx.record_call("registry", operation, status, 0, ms)


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
    numbers = {key: float(value) for key, value in metrics.items() if isinstance(value, Real)}
    with client_for(ctx, "log") as client:
        import mlflow

        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        with mlflow.start_run(experiment_id=experiment, run_name=name, tags=dict(tags)) as run:
            mlflow.log_params(dict(params))
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

    packages = _built_with()
    info = mlflow.sklearn.log_model(
        estimator,
        name=model,
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        pip_requirements=[f"{package}=={version}" for package, version in packages.items()],
    )
    if not _registered(client, model):
        client.create_registered_model(model)
    version = client.create_model_version(model, info.model_uri, run_id, model_id=info.model_id)
    for key, value in {**tags, **packages}.items():
        client.set_model_version_tag(model, version.version, key, value)
    _compress(_path(client.get_logged_model(info.model_id).artifact_location))
    return str(version.version)


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _compress(folder: Path) -> None:
    """Store a version's file deflated, as skops reads it too: a third of the size."""
    for file in folder.glob("*.skops"):
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
    with client_for(ctx, "attach") as client:
        client.log_artifact(run_id, str(file))


def promote(ctx: RunContext, model: str, version: str, reason: str) -> None:
    """Make ``version`` the champion and note which one it replaces."""
    with client_for(ctx, "promote") as client:
        aliases = _aliases(client, model)
        replaced = aliases.get(CHAMPION, "")
        if replaced != version:
            client.set_model_version_tag(model, version, "replaced", replaced)
        client.set_model_version_tag(model, version, "decision", reason)
        client.set_registered_model_alias(model, CHAMPION, version)
        if aliases.get(CHALLENGER) == version:
            client.delete_registered_model_alias(model, CHALLENGER)


def challenge(ctx: RunContext, model: str, version: str, reason: str) -> None:
    """Keep ``version`` as challenger."""
    with client_for(ctx, "challenge") as client:
        client.set_model_version_tag(model, version, "decision", reason)
        client.set_registered_model_alias(model, CHALLENGER, version)


def retire(ctx: RunContext, model: str, reason: str) -> None:
    """Remove the champion's alias and note its version: none serves until one is promoted."""
    with client_for(ctx, "retire") as client:
        current = _aliases(client, model)[CHAMPION]
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
        registered = _registered(client, model)
        stored = _versions(client, model)
        current = _aliases(client, model).get(CHAMPION)
        if current:
            earlier = stored[current].tags.get("replaced", "")
            problem = f"version {current} is the first champion: there is no earlier one"
        else:
            earlier = registered.tags.get(RETIRED, "") if registered else ""
            problem = "has no champion"
        if earlier not in stored:
            raise ModelMissing(f"{model} {problem}.")
        decision = "restored manually after retirement"
        if current:
            decision = f"rolled back to version {earlier} manually"
            client.set_registered_model_alias(model, CHALLENGER, current)
        client.set_model_version_tag(model, current or earlier, "decision", decision)
        client.set_registered_model_alias(model, CHAMPION, earlier)
    return str(earlier)


@dataclass(frozen=True)
class Version:
    """A loaded version."""

    name: str
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
    if not _is_initialised(ctx.settings):  # nothing was trained yet: a reader makes no database
        raise ModelMissing(f"{model} has no {alias}.")
    with client_for(ctx, "load") as client:
        import mlflow

        number = _aliases(client, model).get(alias)
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
    return Version(model, number, estimator, dict(version.tags), version.run_id)


def versions(ctx: RunContext) -> pd.DataFrame:
    """Return one row per version, newest first.

    Returns
    -------
    DataFrame
        ``model``, ``version``, ``alias``, ``created`` (UTC), ``decision``, ``run_id``.
    """
    columns = ["model", "version", "alias", "created", "decision", "run_id"]
    rows = []
    if not _is_initialised(ctx.settings):  # nothing was trained yet: a reader makes no database
        return pd.DataFrame(columns=columns)
    with client_for(ctx, "versions") as client:
        for registered in client.search_registered_models():
            aliases = _aliases(client, registered.name)
            for number, version in _versions(client, registered.name).items():
                row = {
                    "model": registered.name,
                    "version": int(number),
                    "alias": ", ".join(name for name, of in aliases.items() if of == number),
                    "created": pd.Timestamp(version.creation_timestamp, unit="ms", tz="UTC"),
                    "decision": version.tags.get("decision", ""),
                    "run_id": version.run_id,
                }
                rows.append(row)
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
        old = _old_runs(client, before)
        stored: list[Any] = []
        for registered in client.search_registered_models():
            of_model = _versions(client, registered.name)
            stored += of_model.values()
            for number in _in_use(registered, of_model) & set(of_model):
                old.pop(of_model[number].run_id, None)
        for version in stored:
            if version.run_id in old:
                client.delete_model_version(version.name, version.version)
        for run_id, run in old.items():
            for output in run.outputs.model_outputs if run.outputs else ():
                location = client.get_logged_model(output.model_id).artifact_location
                shutil.rmtree(_path(location), ignore_errors=True)
                client.delete_logged_model(output.model_id)
            shutil.rmtree(_path(run.info.artifact_uri), ignore_errors=True)
            client.delete_run(run_id)
    return len(old)


def _old_runs(client: Any, before: datetime) -> dict[str, Any]:
    """Return the runs that began before an instant, by id."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    began_before = f"attributes.start_time < {int(before.timestamp() * 1000)}"
    runs = client.search_runs([experiment.experiment_id], began_before, max_results=1000)
    return {run.info.run_id: run for run in runs}


def _in_use(registered: Any, stored: Mapping[str, Any]) -> set[str]:
    """Return the numbers of the versions with an alias, and of those a rollback returns to."""
    last = str(registered.aliases.get(CHAMPION) or registered.tags.get(RETIRED))
    numbers = {str(number) for number in registered.aliases.values()} | {last}
    if last in stored:
        numbers.add(stored[last].tags.get("replaced", ""))
    return numbers


def _versions(client: Any, model: str) -> dict[str, Any]:
    """Return the versions of a model by number."""
    versions = client.search_model_versions(f"name = '{model}'")
    return {str(version.version): version for version in versions}


def _registered(client: Any, model: str) -> Any:
    """Return the registered model, or None."""
    return next(iter(client.search_registered_models(f"name = '{model}'")), None)


def _aliases(client: Any, model: str) -> dict[str, str]:
    registered = _registered(client, model)
    aliases = registered.aliases if registered else {}
    return {alias: str(number) for alias, number in aliases.items()}


def _built_with() -> dict[str, str]:
    import sklearn
    import skops

    return {"scikit-learn": sklearn.__version__, "skops": skops.__version__}
