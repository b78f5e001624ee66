"""Model registry: runs and versions in MLflow, without pickle.

``champion`` is the version in use, ``challenger`` the last one that was not promoted.
Every change of the champion is noted in tags, so that ``rollback`` can undo it. Models
are called here as in the library; on a server their names also say whose they are
(``tracking``).
"""

import importlib.metadata
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd

from factory_lib.clock import parse_instant
from factory_lib.context import RunContext
from factory_lib.errors import ModelError, ModelIncompatible, ModelMissing
from factory_lib.models.tracking import (
    MODEL_FILE,
    TRAININGS,
    champion_files,
    client_for,
    experiment_for,
    experiments,
    is_initialised,
    is_shared,
    local_path,
    present_uri,
    registered_name,
    stored_versions,
)
from factory_lib.results import NOTEBOOK_ENV
from factory_lib.state import marks

CHAMPION, CHALLENGER, RETIRED = "champion", "challenger", "retired"
LEARNT = "learnt_until"  # tag of a version: the end of the last price it has learnt
VERSIONS_KEPT = 7  # of each model: a champion is refitted every day
# Reviewed: the compiled trees of scikit-learn (arrays of numbers only), a number type,
# and the price forecasters' own classes, one of which older versions call Recipe.
# Everything else skops trusts by itself.
TRUSTED_TYPES = [
    "factory_lib.models.forecasters.ForecasterConfig",
    "factory_lib.models.forecasters.LeadModel",
    "factory_lib.models.forecasters.PriceForecaster",
    "factory_lib.models.forecasters.Recipe",
    "factory_lib.models.own_model.OwnConfig",
    "factory_lib.models.own_model.OwnModel",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]
_UNREADABLE = (
    OSError,
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    ImportError,
    zipfile.BadZipFile,
)
RUN_PAGES = "http://127.0.0.1:8080/runs"  # of `make serve`
LONGEST_RUN_S = 2 * 3600.0  # no training takes longer


class Data(NamedTuple):
    """The data set of a run: a name, rows that are described and not stored, and their hash."""

    name: str
    frame: pd.DataFrame
    digest: str


class Example(NamedTuple):
    """A few rows of a model's input, and an answer of the form it gives."""

    rows: pd.DataFrame
    answer: Any


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
    kind: str = TRAININGS,
    data: Data | None = None,
    examples: Mapping[str, Example] | None = None,
) -> Logged:
    """Log one training, plan or backtest as an MLflow run and register its models.

    Parameters
    ----------
    metrics : mapping
        By model and unit; entries that are not numbers are left out.
    models : mapping of str to fitted scikit-learn estimator
        By registered name.
    tags : mapping
        Set on the run and on each version.
    artifacts : mapping of file name to text
    figures : mapping of file name to matplotlib Figure
    kind : str
        Whose experiment: one of ``tracking.RUN_KINDS``.
    examples : mapping of str to Example, optional
        By model; they give it its signature, too.
    """
    with client_for(ctx, "log") as client:
        import mlflow

        experiment = experiment_for(ctx.settings, client, kind)
        _end_dead_runs(client, [experiment])
        with mlflow.start_run(
            experiment_id=experiment, run_name=name, tags={**tags, **_source(ctx)}
        ) as run:
            if data is not None:
                mlflow.log_input(_dataset(ctx, data), context=kind)
            mlflow.log_params(dict(params))
            run_id = run.info.run_id
            versions = {}
            for model, estimator in models.items():
                own = registered_name(ctx, model)
                info = _save(own, estimator, (examples or {}).get(model))
                versions[model] = _register(client, run_id, own, info, tags)
            _log_content(metrics, artifacts, figures)  # earlier, each is copied to each model
    return Logged(run_id, versions)


def _log_content(
    metrics: Mapping[str, Any],
    artifacts: Mapping[str, str],
    figures: Mapping[str, Any],
) -> None:
    import mlflow

    mlflow.log_metrics({key: x for key, x in metrics.items() if isinstance(x, int | float)})
    for file, text in artifacts.items():
        mlflow.log_text(text, file)
    for file, figure in figures.items():
        mlflow.log_figure(figure, file)


def _source(ctx: RunContext) -> dict[str, str]:
    """Return MLflow's own tags for the notebook that runs, and for the commit of the checkout."""
    from mlflow.utils.git_utils import get_git_commit

    root = ctx.settings.paths.root
    tags: dict[str, str] = {}
    if notebook := os.environ.get(NOTEBOOK_ENV):
        file = Path(notebook)
        name = file.relative_to(root) if file.is_relative_to(root) else file
        tags |= {"mlflow.source.name": name.as_posix(), "mlflow.source.type": "NOTEBOOK"}
    if (root / ".git").exists() and (commit := get_git_commit(str(root))):
        tags["mlflow.source.git.commit"] = commit
    return tags


def _dataset(ctx: RunContext, data: Data) -> Any:
    """Return a data set as MLflow shows it: name, digest, columns and rows, not the values."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.pandas_dataset import from_pandas

    tags = {"profile": ctx.profile, "origin": ctx.store.origin, "as_of": ctx.as_of.isoformat()}
    return from_pandas(data.frame, CodeDatasetSource(tags), name=data.name, digest=data.digest)


def _save(model: str, estimator: Any, example: Example | None) -> Any:
    """Store a fitted model with the active run, and return what MLflow knows of it."""
    from mlflow.models import Model

    return Model.log(
        artifact_path=None,
        name=model,
        flavor=SimpleNamespace(__name__="mlflow.sklearn", save_model=_save_files),
        estimator=estimator,
        example=example,
        validate_serving_input=False,  # it would load and try the model, which takes seconds
    )


def _save_files(
    path: str,
    mlflow_model: Any,
    estimator: Any,
    example: Example | None,
    validate_serving_input: bool,
) -> None:
    """Write a model as ``mlflow.sklearn.save_model`` does in skops' format, in half the time.

    That compares all that is installed with the requirements, loads the model again, and
    leaves its file three times as large.
    """
    import skops.io
    from mlflow import pyfunc
    from mlflow.models import infer_signature
    from mlflow.models.utils import _save_example

    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, folder / MODEL_FILE, compression=zipfile.ZIP_DEFLATED)
    _check_types(type(estimator).__name__, skops.io.get_untrusted_types(file=folder / MODEL_FILE))
    if example:
        mlflow_model.signature = infer_signature(*example)
        _save_example(mlflow_model, example.rows, path)
    pyfunc.add_to_model(
        mlflow_model,
        loader_module="mlflow.sklearn",
        model_path=MODEL_FILE,
        predict_fn="predict",
    )
    built = _built_with()
    mlflow_model.add_flavor(
        "sklearn",
        pickled_model=MODEL_FILE,
        sklearn_version=built["scikit-learn"],
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        code=None,
    )
    mlflow_model.save(folder / "MLmodel")
    needs = [f"{package}=={version}" for package, version in built.items()]
    (folder / "requirements.txt").write_text("\n".join(needs), encoding="utf-8")


def _register(client: Any, run_id: str, model: str, info: Any, tags: Mapping[str, str]) -> str:
    """Make a stored model a new version and return its number."""
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    version = client.create_model_version(
        model, info.model_uri, run_id, tags={**tags, **_built_with()}, model_id=info.model_id
    )
    return str(version.version)


def _end_dead_runs(client: Any, experiment_ids: Sequence[str]) -> None:
    """End the runs whose process was killed before it could: MLflow shows them as running."""
    limit = int(1000 * (time.time() - LONGEST_RUN_S))
    query = f"attributes.status = 'RUNNING' AND attributes.start_time < {limit}"
    for run in client.search_runs(list(experiment_ids), query):
        client.set_terminated(run.info.run_id, "KILLED")


def attach(ctx: RunContext, run_id: str, folder: Path) -> None:
    """Add the notebook that a job executed to the run it made, and say where its report is."""
    run = folder.relative_to(ctx.settings.paths.runs).as_posix()
    note = (
        f"[Report of {run}]({RUN_PAGES}/{run}), shown by `make serve`; a file beside: report.html"
    )
    with client_for(ctx, "attach") as client:
        client.log_artifact(run_id, str(folder / "notebook.ipynb"))
        client.set_tag(run_id, "report", f"{run}/report.html")
        client.set_tag(run_id, "mlflow.note.content", note)


def assign(ctx: RunContext, model: str, version: str, alias: str, reason: str) -> None:
    """Make ``version`` the champion, noting which one it replaces, or the challenger."""
    name = registered_name(ctx, model)
    with client_for(ctx, alias) as client:
        aliases, _ = _registered(client, name)
        replaced = aliases.get(CHAMPION, "")
        if alias == CHAMPION and replaced != version:
            client.set_model_version_tag(name, version, "replaced", replaced)
        if alias == CHAMPION and aliases.get(CHALLENGER) == version:
            client.delete_registered_model_alias(name, CHALLENGER)
        client.set_model_version_tag(name, version, "decision", reason)
        client.set_registered_model_alias(name, alias, version)
        if alias == CHAMPION:
            _mark_champion(ctx, client, model, version)


def _mark_champion(ctx: RunContext, client: Any, model: str, version: str) -> None:
    """Remember until when the version that serves now has learnt."""
    tags = client.get_model_version(registered_name(ctx, model), version).tags
    learnt = tags.get(LEARNT) or tags.get("as_of")
    at = parse_instant(learnt) if learnt else ctx.as_of
    ctx.set_mark(marks.CHAMPION, model, at, version)


def retire(ctx: RunContext, model: str, reason: str) -> None:
    """Remove the champion's alias and note its version: none serves until one is promoted."""
    name = registered_name(ctx, model)
    with client_for(ctx, "retire") as client:
        current = _registered(client, name)[0][CHAMPION]
        client.set_registered_model_tag(name, RETIRED, current)
        client.set_model_version_tag(name, current, "decision", f"retired: {reason}")
        client.delete_registered_model_alias(name, CHAMPION)


def rollback(ctx: RunContext, model: str) -> str:
    """Undo the last decision and return the version that is the champion again.

    That is the one before this champion, or the one that was retired.

    Raises
    ------
    ModelMissing
        If there is no such version any more.
    """
    name = registered_name(ctx, model)
    with client_for(ctx, "rollback") as client:
        current = _registered(client, name)[0].get(CHAMPION)
        last, before = _last_champions(client, name)
        earlier = before if current else last
        if not earlier:
            problem = f"version {current} is the first champion: there is no earlier one"
            raise ModelMissing(f"{model} {problem if current else 'has no champion'}.")
        decision = "restored manually after retirement"
        if current:
            decision = f"rolled back to version {earlier} manually"
            client.set_registered_model_alias(name, CHALLENGER, current)
        client.set_model_version_tag(name, current or earlier, "decision", decision)
        client.set_registered_model_alias(name, CHAMPION, earlier)
        _mark_champion(ctx, client, model, earlier)
    return earlier


@dataclass(frozen=True)
class Version:
    """A loaded version."""

    number: str
    estimator: Any
    tags: Mapping[str, str]
    run_id: str


def load_version(ctx: RunContext, model: str, as_of: datetime | None = None) -> Version:
    """Load the champion, without running pickled code.

    Given an instant, and where the champion was trained later: the last of those replaced
    one after another that was trained by then, if it is stored.

    Raises
    ------
    ModelMissing
        If there is none.
    ModelIncompatible
        If it was built with another minor version of scikit-learn, or its file is
        damaged or not what was reviewed.
    """
    # where nothing was trained yet, a reader makes no database
    if not is_initialised(ctx.settings):
        raise ModelMissing(f"{model} has no {CHAMPION}.")
    name = registered_name(ctx, model)
    with client_for(ctx, "load") as client:
        number = _registered(client, name)[0].get(CHAMPION)
        if number is None:
            raise ModelMissing(f"{model} has no {CHAMPION}.")
        version = client.get_model_version(name, number)
        if as_of and parse_instant(version.tags["as_of"]) > as_of:
            version = _replaced_since(client, version, as_of)
            number = str(version.version)
        tags = dict(version.tags)
        _refuse_foreign(ctx, f"{model} version {number}", tags)
        try:
            with _model_file(ctx, client, name, number) as file:
                estimator = read_model(file)
        except _UNREADABLE as error:
            raise ModelIncompatible(
                f"{model} version {number} cannot be loaded: {error}."
            ) from error
    return Version(number, estimator, tags, version.run_id)


def champion(ctx: RunContext, model: str) -> tuple[Any, str]:
    """Return the estimator of the champion, in a replay of that of then, or None and why not."""
    try:
        version = load_version(ctx, model, as_of=ctx.as_of)
    except ModelError as missing:
        return None, missing.message
    if parse_instant(version.tags["as_of"]) <= ctx.as_of:
        return version.estimator, ""
    reason = f"{model} version {version.number} was trained on values unknown at this instant."
    return None, reason


def _refuse_foreign(ctx: RunContext, what: str, tags: Mapping[str, str]) -> None:
    """Raise ModelIncompatible for a version of another origin, or of another scikit-learn."""
    origin = tags.get("origin", ctx.settings.origin)
    if origin != ctx.settings.origin:
        raise ModelIncompatible(f"{what} was trained on {origin} data.")
    built = tags.get("scikit-learn", "")
    installed = _built_with()["scikit-learn"]
    if built.split(".")[:2] != installed.split(".")[:2]:
        raise ModelIncompatible(
            f"{what} was built with scikit-learn {built}, installed is {installed}."
        )


@contextmanager
def _model_file(ctx: RunContext, client: Any, name: str, number: str) -> Iterator[Path]:
    """Yield the file of a version; a server's is fetched into a folder that is removed again."""
    place = present_uri(ctx.settings, client.get_model_version_download_uri(name, number))
    if place.startswith("file:"):
        yield local_path(place) / MODEL_FILE
        return
    import mlflow

    with TemporaryDirectory() as folder:
        uri = f"models:/{name}/{number}"
        fetched = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
        yield Path(fetched, MODEL_FILE)


def check_types(estimator: Any) -> None:
    """Raise ModelIncompatible for an estimator whose types were not reviewed."""
    import skops.io

    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
    _check_types(type(estimator).__name__, untrusted)


def _check_types(name: str, untrusted: Sequence[str]) -> None:
    if foreign := sorted(set(untrusted) - set(TRUSTED_TYPES)):
        raise ModelIncompatible(
            f"{name} cannot be registered: {', '.join(foreign)} was not reviewed as safe to load."
        )


def read_model(file: Path) -> Any:
    """Read an estimator by skops alone: whatever MLmodel says, no pickled code runs."""
    import skops.io

    return skops.io.load(file, trusted=TRUSTED_TYPES)


def versions(ctx: RunContext) -> pd.DataFrame:
    """Return one row per version, newest first.

    Returns
    -------
    DataFrame
        ``model``, ``version``, ``alias``, ``created`` (UTC), ``decision``, ``run_id``.
    """
    columns = ["model", "version", "alias", "created", "decision", "run_id"]
    rows: list[tuple[Any, ...]] = []
    prefix = registered_name(ctx, "")
    if is_shared(ctx.settings):
        rows = _server_versions(ctx, prefix)
    elif is_initialised(ctx.settings):  # where nothing was trained yet, a reader makes no database
        rows = [row for row in stored_versions(ctx.settings) if row[0].startswith(prefix)]
    frame = pd.DataFrame(rows, columns=columns).fillna({"alias": "", "decision": ""})
    frame["model"] = frame["model"].str.removeprefix(prefix)
    frame["created"] = pd.to_datetime(frame["created"].astype("int64"), unit="ms", utc=True)
    return frame.sort_values(["model", "version"], ascending=[True, False], ignore_index=True)


def _server_versions(ctx: RunContext, prefix: str) -> list[tuple[Any, ...]]:
    """Return the rows of ``tracking.stored_versions`` of a server's registry."""
    rows = []
    with client_for(ctx, "versions") as client:
        aliases = {each.name: each.aliases for each in _own_models(client, prefix)}
        for version in _own_versions(client, prefix):
            number = str(version.version)
            names = [alias for alias, of in aliases[version.name].items() if str(of) == number]
            row = (version.name, int(number), ", ".join(names), version.creation_timestamp)
            rows.append((*row, version.tags.get("decision"), version.run_id))
    return rows


def logged_runs(ctx: RunContext, kind: str = "training", most: int = 50) -> pd.DataFrame:
    """Return the newest runs of a kind side by side, newest first.

    Parameters
    ----------
    kind : str
        The first word of their names: training, plan, backtest or own.

    Returns
    -------
    DataFrame
        Index ``run_id``; ``began`` (UTC), ``name``, ``status``, and a column per metric,
        NaN where a run has it not.
    """
    rows = {}
    if is_initialised(ctx.settings):
        query = f"attributes.run_name LIKE '{kind} %'"
        with client_for(ctx, "look") as client:
            # a server's may not be there yet
            ids = [each.experiment_id for each in experiments(ctx.settings, client)]
            runs = client.search_runs(ids, query, max_results=most) if ids else []
        rows = {run.info.run_id: _as_row(run) for run in runs}
    columns = None if rows else ["began", "name", "status"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.rename_axis("run_id")


def _as_row(run: Any) -> dict[str, Any]:
    began = pd.Timestamp(run.info.start_time, unit="ms", tz="UTC")
    return {
        "began": began,
        "name": run.info.run_name,
        "status": run.info.status,
        **run.data.metrics,
    }


def _own_versions(client: Any, prefix: str) -> list[Any]:
    """Return the stored versions of this profile's models."""
    return list(client.search_model_versions(f"name LIKE '{prefix}%'"))


def _own_models(client: Any, prefix: str) -> list[Any]:
    """Return this profile's models: of a server's, an answer holds a hundred."""
    return list(client.search_registered_models(f"name LIKE '{prefix}%'"))


def prune(ctx: RunContext, before: datetime) -> int:
    """Delete what is not in use: runs that began ``before``, and models; return the runs' number.

    In use are the last versions of each model, those with an alias, and those a rollback
    returns to. A run without them keeps its figures until ``before``. MLflow goes on
    listing deleted runs; their files, which take the space, are removed.
    """
    if not is_initialised(ctx.settings):
        return 0
    with client_for(ctx, "prune") as client:
        prefix = registered_name(ctx, "")
        stored = _own_versions(client, prefix)
        own = [each.experiment_id for each in experiments(ctx.settings, client)]
        if not own:
            return 0
        _end_dead_runs(client, own)
        kept = _runs_in_use(client, stored, prefix)
        for version in stored:
            if version.run_id not in kept:
                client.delete_model_version(version.name, version.version)
        for run_id in {version.run_id for version in stored} - kept:
            _delete_models(client, client.get_run(run_id))
        old = _unused_runs(client, own, before, kept)
        for run_id, run in old.items():
            _delete_files(run.info.artifact_uri)
            client.delete_run(run_id)
    return len(old)


def _delete_models(client: Any, run: Any) -> None:
    for output in run.outputs.model_outputs if run.outputs else ():
        _delete_files(client.get_logged_model(output.model_id).artifact_location)
        client.delete_logged_model(output.model_id)


def _delete_files(place: str) -> None:
    """Remove the artifacts of a run or model, in a folder or through the server."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if place.startswith("file:"):
        shutil.rmtree(local_path(place), ignore_errors=True)
    else:
        get_artifact_repository(place).delete_artifacts()


def _runs_in_use(client: Any, stored: Sequence[Any], prefix: str) -> set[str]:
    """Return the runs of the versions that are in use."""
    in_use = {
        model.name: {*map(str, model.aliases.values()), *_last_champions(client, model.name)}
        for model in _own_models(client, prefix)
    }
    for name, numbers in in_use.items():
        newest = sorted(int(each.version) for each in stored if each.name == name)
        numbers.update(map(str, newest[-VERSIONS_KEPT:]))
    return {each.run_id for each in stored if str(each.version) in in_use[each.name]}


def _unused_runs(
    client: Any, experiment_ids: list[str], before: datetime, kept: set[str]
) -> dict[str, Any]:
    """Return the runs that began ``before``, without those that are ``kept``."""
    began_before = f"attributes.start_time < {int(before.timestamp() * 1000)}"
    runs = client.search_runs(experiment_ids, began_before, max_results=1000)
    return {run.info.run_id: run for run in runs if run.info.run_id not in kept}


def _last_champions(client: Any, model: str) -> tuple[str, str]:
    """Return the champion, or the version that was retired, and the one before it, if stored."""
    aliases, tags = _registered(client, model)
    versions = client.search_model_versions(f"name = '{model}'")
    replaced = {str(version.version): version.tags.get("replaced", "") for version in versions}
    last = aliases.get(CHAMPION) or tags.get(RETIRED, "")
    before = replaced.get(last, "")
    return last if last in replaced else "", before if before in replaced else ""


def _replaced_since(client: Any, champion: Any, as_of: datetime) -> Any:
    """Return the version trained by an instant that the champion and those before it replaced.

    The champion itself if none is stored.
    """
    query = f"name = '{champion.name}'"
    versions = {str(each.version): each for each in client.search_model_versions(query)}
    version = champion
    while before := versions.pop(version.tags.get("replaced", ""), None):
        if parse_instant(before.tags["as_of"]) <= as_of:
            return before
        version = before
    return champion


def _registered(client: Any, model: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the version numbers by alias, and the tags, of a model that may not be there."""
    for registered in client.search_registered_models(f"name = '{model}'"):
        aliases = {alias: str(number) for alias, number in registered.aliases.items()}
        return aliases, registered.tags
    return {}, {}


# -- copies of the champions, for backups ------------------------------------------------


def export_champions(ctx: RunContext, folder: Path) -> dict[str, dict[str, Any]]:
    """Copy the file of each champion into ``folder``; return version and tags by model."""
    if not is_initialised(ctx.settings):
        return {}
    exported = {}
    prefix = registered_name(ctx, "")
    with client_for(ctx, "export") as client:
        for name, number in _champions(client, prefix):
            version = client.get_model_version(name, number)
            model = name.removeprefix(prefix)
            folder.mkdir(parents=True, exist_ok=True)
            with _model_file(ctx, client, name, number) as file:
                shutil.copyfile(file, folder / f"{model}.skops")
            exported[model] = {"version": number, "tags": dict(version.tags)}
    return exported


def import_champions(
    ctx: RunContext, folder: Path, exported: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Make the models of a backup champions again; return those that were not already.

    A registry that still has the same version as its champion is left as it is.
    """
    imported = []
    for model, entry in exported.items():
        with suppress(ModelError):
            if load_version(ctx, model).tags.get("as_of") == entry["tags"].get("as_of"):
                continue
        estimator = read_model(folder / f"{model}.skops")
        tags = {k: v for k, v in entry["tags"].items() if k not in ("decision", "replaced")}
        logged = log(
            ctx,
            name="restored from a backup",
            params={"version_of_the_backup": entry["version"]},
            metrics={},
            models={model: estimator},
            tags=tags,
            artifacts={},
            figures={},
        )
        assign(ctx, model, logged.versions[model], CHAMPION, "restored from a backup")
        imported.append(model)
    return imported


def has_run(ctx: RunContext, run_id: str) -> bool:
    """Return whether the registry still has a run, and every champion its file.

    Asked twice an hour, so without MLflow where the database is the profile's own.
    """
    try:
        if not is_shared(ctx.settings):
            return all(file.is_file() for file in champion_files(ctx.settings, run_id))
        with client_for(ctx, "look") as client:
            if client.get_run(run_id).info.lifecycle_stage != "active":
                return False
            for name, number in _champions(client, registered_name(ctx, "")):
                with _model_file(ctx, client, name, number) as file:
                    if not file.is_file():
                        return False
    except ModelError:
        return False
    return True


def _champions(client: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield registered name and version of the champions of this profile."""
    for registered in _own_models(client, prefix):
        number = registered.aliases.get(CHAMPION)
        if number is not None:
            yield registered.name, str(number)


def _built_with() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("scikit-learn", "skops")}
