"""Old trainings are let go of: their versions, runs and files; what is in use, or a rollback returns to, stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from factory_lib.context import RunContext
from factory_lib.models.registry import CHAMPION, EXPERIMENT, RETIRED, client_for


def prune(ctx: RunContext, horizon: datetime) -> int:
    """Delete the runs that began before ``horizon`` and none of whose versions is needed; return how many.

    MLflow goes on listing them as deleted; their files, which are what takes room, are
    gone.
    """
    if not (ctx.settings.paths.runs / "mlflow.db").is_file():
        return 0
    with client_for(ctx, "prune") as mlflow:
        client = mlflow.MlflowClient()
        versions = list(_versions(client))
        kept = {found.run_id for found, needed in versions if needed}
        experiment = client.get_experiment_by_name(EXPERIMENT)
        began_before = f"attributes.start_time < {int(horizon.timestamp() * 1000)}"
        runs = (
            client.search_runs([experiment.experiment_id], began_before, max_results=1000)
            if experiment
            else []
        )
        old = {run.info.run_id: run for run in runs if run.info.run_id not in kept}
        for found, _ in versions:
            if found.run_id in old:
                client.delete_model_version(found.name, found.version)
        for run_id, run in old.items():
            for output in run.outputs.model_outputs if run.outputs else ():
                _remove(client.get_logged_model(output.model_id).artifact_location)
                client.delete_logged_model(output.model_id)
            _remove(run.info.artifact_uri)
            client.delete_run(run_id)
    return len(old)


def _versions(client: Any) -> Iterator[tuple[Any, bool]]:
    """Yield every version and whether it is needed: it carries an alias, or a rollback would return to it."""
    for registered in client.search_registered_models():
        found = {
            str(version.version): version
            for version in client.search_model_versions(f"name = '{registered.name}'")
        }
        last = str(registered.aliases.get(CHAMPION) or registered.tags.get(RETIRED))
        needed = {str(number) for number in registered.aliases.values()} | {last}
        if last in found:
            needed.add(found[last].tags.get("replaced", ""))
        yield from ((version, number in needed) for number, version in found.items())


def _remove(uri: str) -> None:
    shutil.rmtree(Path(unquote(urlsplit(uri).path)), ignore_errors=True)
