"""Old trainings are let go of: their runs, versions and files; what carries an alias stays."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

from factory_lib.errors import ModelError
from factory_lib.house import House
from factory_lib.models.registry import EXPERIMENT, client_for


def prune(house: House, horizon: datetime) -> int:
    """Delete the runs that began before ``horizon`` and none of whose versions carries an alias; return how many.

    Raises
    ------
    ModelError
        If MLflow cannot remove the files.
    """
    if not (house.settings.paths.runs / "mlflow.db").is_file():
        return 0
    with client_for(house, "prune") as mlflow:
        client = mlflow.MlflowClient()
        versions = [
            (found, str(found.version) in registered.aliases.values())
            for registered in client.search_registered_models()
            for found in client.search_model_versions(f"name = '{registered.name}'")
        ]
        kept = {found.run_id for found, named in versions if named}
        experiment = client.get_experiment_by_name(EXPERIMENT)
        began_before = f"attributes.start_time < {int(horizon.timestamp() * 1000)}"
        runs = client.search_runs([experiment.experiment_id], began_before, max_results=1000) if experiment else []
        old = {run.info.run_id for run in runs} - kept
        for found, _ in versions:
            if found.run_id in old:
                client.delete_model_version(found.name, found.version)
        for run_id in old:
            client.delete_run(run_id)
    if old:
        _remove_files(house, sorted(old))
    return len(old)


def _remove_files(house: House, run_ids: list[str]) -> None:
    """Let MLflow collect what is marked as deleted: it removes no file before."""
    uri = house.settings.paths.mlflow_uri
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri, "--run-ids", ",".join(run_ids)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(f"MLflow could not remove {len(run_ids)} runs: {done.stderr.strip().splitlines()[-1:]}.")
