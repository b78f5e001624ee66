"""Connection to MLflow: the profile's own database, or the server of MLFLOW_TRACKING_URI.

The database lies beside the run folders, artifacts in a folder beside it; both may be
moved or copied together. MLflow is imported where it is used: it costs two seconds.
"""

import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from factory_lib.context import RunContext
from factory_lib.errors import ModelError, ModelMissing, RegistryUnavailable
from factory_lib.failures import first_line
from factory_lib.files import lock
from factory_lib.settings import Settings
from factory_lib.settings.secrets import hide_users

# An experiment for each kind of run; that of earlier code, for all kinds, is read and pruned.
RUN_KINDS = TRAININGS, PLANS, BACKTESTS = "trainings", "plans", "backtests"
EXPERIMENT = "factory"
PAGES = "http://127.0.0.1:5000"  # of `make mlflow`
# MLflow's pages show an experiment as one of language models, unless the address says this.
VIEW = "workflowType=machine_learning"
MODEL_FILE = "model.skops"
PRICE_MODEL = "_price"  # the end of the name of each price model
EXPERT = "_expert_"  # in a metric, between the name of an expert and what is measured
# Of MLflow, whose own defaults wait for more than four minutes for a server that is away, and
# report to its makers that it is used.
QUICK = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_URI = "MLFLOW_TRACKING_URI"  # MLflow sets it, too
# These look: they leave the database of a moved folder as it is, and find its files.
READING = ("load", "versions", "export", "look")
# Of these, what the profile's own database answers without MLflow.
LOADING = ("load", "export")
# Where the database names the artifact folder, by table.
_PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}

_EXPERIMENT = "SELECT experiment_id FROM runs WHERE run_uuid = ?"
_RUN = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
_STORED = "current_stage != 'Deleted_Internal'"  # of a version: MLflow keeps rows of deleted ones
_VERSIONS = f"""SELECT v.name, v.version,
    (SELECT group_concat(alias, ', ') FROM registered_model_aliases a
        WHERE a.name = v.name AND a.version = v.version),
    v.creation_time,
    (SELECT value FROM model_version_tags t
        WHERE t.name = v.name AND t.version = v.version AND t.key = 'decision'),
    v.run_id FROM model_versions v WHERE {_STORED}"""
_COUNTS = f"""SELECT (SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'),
    (SELECT count(*) FROM model_versions WHERE {_STORED})"""
_CHAMPION_PLACES = (
    "SELECT COALESCE(v.storage_location, v.source) FROM registered_model_aliases a"
    " JOIN model_versions v ON v.name = a.name AND v.version = a.version"
    " WHERE a.alias = 'champion'"
)


def is_shared(settings: Settings) -> bool:
    """Return whether the registry is a server's, which other profiles may use as well."""
    return bool(settings.tracking_uri)


def registered_name(ctx: RunContext, model: str) -> str:
    """Return the name of a model in the registry; on a server it says whose it is.

    A price model is one for all sites of its market, the others are of their site.
    """
    settings = ctx.settings
    site = settings.market_id if model.endswith(PRICE_MODEL) else settings.site_id
    own = f"{site}-{model}" if site else model
    return f"factory-{ctx.profile}-{settings.origin}-{own}" if is_shared(settings) else own


def experiment_name(settings: Settings, kind: str = "") -> str:
    """Return the name of the profile's experiment of a kind; without one, that of earlier code."""
    owner = f"-{settings.profile}-{settings.origin}" if is_shared(settings) else ""
    return f"{EXPERIMENT}{owner}{f'-{kind}' if kind else ''}"


def experiments(settings: Settings, client: Any) -> list[Any]:
    """Return the profile's experiments that are there."""
    names = (experiment_name(settings, kind) for kind in (*RUN_KINDS, ""))
    return [*filter(None, map(client.get_experiment_by_name, names))]


def experiment_for(settings: Settings, client: Any, kind: str) -> str:
    """Return the id of the profile's experiment of a kind, which is made where there is none."""
    from mlflow.exceptions import MlflowException

    name = experiment_name(settings, kind)
    if not client.get_experiment_by_name(name):
        place = None if is_shared(settings) else _present_place(settings)
        with suppress(MlflowException):  # another process has just made it
            client.create_experiment(name, artifact_location=place)
    return str(client.get_experiment_by_name(name).experiment_id)


def run_page(settings: Settings, run_id: str) -> str:
    """Return the page of a run, on MLflow's server or that of `make mlflow`.

    Without its experiment, which of a server is not asked for, the page forgets the view.
    """
    uri = hide_users(settings.tracking_uri.rstrip("/"))
    path = f"runs/{run_id}"
    with suppress(RegistryUnavailable), _opened(settings) as database:
        for (number,) in database.execute(_EXPERIMENT, (run_id,)).fetchall():
            path = f"experiments/{number}/{path}"
    return f"{uri if uri.startswith('http') else PAGES}/#/{path}?{VIEW}"


def experiment_pages(settings: Settings, pages: str) -> dict[str, str]:
    """Return the page of each kind of runs that are in the profile's own database."""
    names = {experiment_name(settings, kind): kind for kind in RUN_KINDS}
    rows = []
    with suppress(RegistryUnavailable), _opened(settings) as database:
        rows = database.execute("SELECT name, experiment_id FROM experiments").fetchall()
    numbers = {names[name]: number for name, number in rows if name in names}
    return {kind: f"{pages}/#/experiments/{n}/runs?{VIEW}" for kind, n in numbers.items()}


def stored_versions(settings: Settings) -> list[tuple[Any, ...]]:
    """Return the versions in the profile's own database, without MLflow, which takes seconds.

    Returns
    -------
    list of tuple
        Registered name, version, aliases, creation (milliseconds since 1970), decision, run;
        aliases and decision None where there is none.
    """
    with _opened(settings) as database:
        return database.execute(_VERSIONS).fetchall()


def counts(settings: Settings) -> tuple[int, int]:
    """Return the number of runs and of model versions in the profile's own database."""
    with _opened(settings) as database:
        runs, versions = database.execute(_COUNTS).fetchone()
    return runs, versions


@contextmanager
def _opened(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Open the profile's own database to read, without MLflow.

    Raises
    ------
    RegistryUnavailable
        If it cannot be read.
    """
    file = settings.paths.mlflow_db
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except (sqlite3.Error, OSError) as error:
        raise RegistryUnavailable(f"{file}: {type(error).__name__}: {first_line(error)}") from error


def is_initialised(settings: Settings) -> bool:
    """Return whether there is a registry to read; that a server answers is not asked."""
    return is_shared(settings) or bool(_recorded_place(settings))


class OwnRegistry:
    """The methods of MLflow's client that load a version, over the profile's own database.

    A prediction needs no more of MLflow, whose import takes a tenth of its time.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def _rows(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        return self._database.execute(sql, values).fetchall()

    def search_registered_models(self, query: str) -> list[SimpleNamespace]:
        """Return models with aliases and tags; a query on the name is the same in SQL."""
        names = self._rows(f"SELECT name FROM registered_models WHERE {query}")
        aliases = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
        tags = "SELECT key, value FROM registered_model_tags WHERE name = ?"
        return [
            SimpleNamespace(
                name=name,
                aliases=dict(self._rows(aliases, name)),
                tags=dict(self._rows(tags, name)),
            )
            for (name,) in names
        ]

    def search_model_versions(self, query: str) -> list[SimpleNamespace]:
        """Return versions that were not deleted, with their tags."""
        versions = "SELECT name, version, run_id FROM model_versions"
        tags = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
        return [
            SimpleNamespace(
                name=name, version=number, run_id=run, tags=dict(self._rows(tags, name, number))
            )
            for name, number, run in self._rows(f"{versions} WHERE {query} AND {_STORED}")
        ]

    def get_model_version(self, name: str, number: str) -> SimpleNamespace:
        """Return one version."""
        for version in self.search_model_versions(f"name = '{name}' AND version = {number}"):
            return version
        raise ModelMissing(f"{name} has no version {number}.")

    def get_model_version_download_uri(self, name: str, number: str) -> str:
        """Return where the files of a version were stored."""
        place = "SELECT COALESCE(storage_location, source) FROM model_versions"
        ((uri,),) = self._rows(f"{place} WHERE name = ? AND version = ?", name, number)
        return str(uri)


@contextmanager
def client_for(ctx: RunContext, operation: str) -> Iterator[Any]:
    """Yield an MLflow client, or what loads without one; the call is timed for the metrics.

    Meanwhile MLflow itself is bound to that registry, and gives no messages.

    Raises
    ------
    RegistryUnavailable
        If the server does not answer in seconds, or the database cannot be used.
    """
    own = operation in LOADING and not is_shared(ctx.settings)
    bound: AbstractContextManager[Any] = nullcontext() if own else _bound(ctx.settings)
    with bound:
        start = time.perf_counter()
        status = "failed"
        try:
            reading = operation in READING
            with _own_client(ctx) if own else _mlflow_client(ctx, reading=reading) as client:
                yield client
            status = "ok"
        except ModelMissing:
            status = "ok"  # the registry answered
            raise
        finally:
            ms = 1000 * (time.perf_counter() - start)
            ctx.record_call("registry", operation, status, 0, ms)


@contextmanager
def _own_client(ctx: RunContext) -> Iterator[OwnRegistry]:
    with _opened(ctx.settings) as database:
        yield OwnRegistry(database)


@contextmanager
def _mlflow_client(ctx: RunContext, *, reading: bool) -> Iterator[Any]:
    import mlflow

    try:
        _prepare(ctx, reading=reading)
        yield mlflow.MlflowClient()
    except ModelError:
        raise
    except _errors() as error:
        place = ctx.settings.tracking_uri or ctx.settings.paths.mlflow_db
        why = ctx.settings.secrets.mask(f"{place}: {type(error).__name__}: {first_line(error)}")
        raise RegistryUnavailable(why) from error


def _errors() -> tuple[type[Exception], ...]:
    """Return the errors of others that a registry which is away or damaged can raise."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, requests.RequestException, sqlite3.Error, OSError)


@contextmanager
def _bound(settings: Settings) -> Iterator[Any]:
    """Bind MLflow to the registry of the settings; leave it, and the environment, as before."""
    before = os.environ.get(_URI)
    for name, value in QUICK.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's and SQLAlchemy's own deprecations
        import mlflow
        import mlflow.sklearn

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        tracking_uri = mlflow.get_tracking_uri()
        registry_uri = mlflow.get_registry_uri()
        uri = settings.tracking_uri or settings.paths.mlflow_uri
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        try:
            yield mlflow
        finally:
            mlflow.set_tracking_uri(tracking_uri)
            mlflow.set_registry_uri(registry_uri)
            os.environ.pop(_URI, None)
            if before is not None:
                os.environ[_URI] = before


def _prepare(ctx: RunContext, *, reading: bool) -> None:
    """Create the database, and bring the places of artifacts to where the folder is now.

    Processes that first open an empty database together would damage it for good, so
    only one at a time may. The lock's file names the artifact folder once the database
    is complete.
    """
    import mlflow

    settings = ctx.settings
    if is_shared(settings):
        return
    place = _present_place(settings)
    recorded = _recorded_place(settings)
    if recorded == place or (reading and recorded):
        return
    with lock(_lock_file(settings)):
        _forget_connections(settings.paths.mlflow_uri)
        client = mlflow.MlflowClient()
        for former in {each.artifact_location for each in experiments(settings, client)} - {place}:
            _relocate(settings, former, place)
        experiment_for(settings, client, TRAININGS)
        _lock_file(settings).write_text(f"{place}\n", encoding="utf-8")


def _forget_connections(uri: str) -> None:
    """Close what this process has open of a database that is gone, or was replaced."""
    from mlflow.store.model_registry import sqlalchemy_store as registry
    from mlflow.store.tracking import sqlalchemy_store as tracking
    from mlflow.tracking._model_registry.registry import ModelRegistryStoreRegistry
    from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

    for module in (registry, tracking):
        engine = module.SqlAlchemyStore._engine_map.pop(uri, None)
        if engine is not None:
            engine.dispose()
    for stores in (ModelRegistryStoreRegistry, TrackingStoreRegistry):
        stores._get_store_with_resolved_uri.cache_clear()


def _lock_file(settings: Settings) -> Any:
    return settings.paths.registry / "mlflow.lock"


def _recorded_place(settings: Settings) -> str:
    """Return the artifact folder that a complete database names; empty without one."""
    file = _lock_file(settings)
    if not (settings.paths.mlflow_db.exists() and file.exists()):
        return ""
    return str(file.read_text(encoding="utf-8").strip())


def _present_place(settings: Settings) -> str:
    return settings.paths.mlflow_artifacts.resolve().as_uri()


def present_uri(settings: Settings, uri: str) -> str:
    """Return where an artifact lies now, whose folder may have been moved since it was named."""
    former = _recorded_place(settings)
    if former and uri.startswith(f"{former}/"):
        return _present_place(settings) + uri.removeprefix(former)
    return uri


def champion_files(settings: Settings, run_id: str = "") -> list[Path]:
    """Return the file of each champion in the profile's own database, whether it is there or not.

    Raises
    ------
    ModelMissing
        If it has no such run, where one is named, or there is no database.
    RegistryUnavailable
        If it cannot be read.
    """
    if not is_initialised(settings):
        raise ModelMissing("There is no registry yet.")
    with _opened(settings) as database:
        if run_id and not database.execute(_RUN, (run_id,)).fetchall():
            raise ModelMissing(f"The registry has no run {run_id}.")
        rows = database.execute(_CHAMPION_PLACES).fetchall()
    return [local_path(present_uri(settings, uri)) / MODEL_FILE for (uri,) in rows]


def local_path(uri: str) -> Path:
    """Return the path of a file URI."""
    return Path(url2pathname(urlparse(uri).path))


def _relocate(settings: Settings, former: str, place: str) -> None:
    """Name the artifacts' present place in the database: its folder was moved or copied."""
    with closing(sqlite3.connect(settings.paths.mlflow_db)) as database, database:
        for table, columns in _PLACES.items():
            for column in columns:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE substr({column}, 1, ?) = ?",
                    (place, len(former) + 1, len(former), former),
                )
