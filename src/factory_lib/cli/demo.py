"""Guided tours: the whole job on simulated data, and the same notebooks on real files."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from factory_lib import settings as _settings
from factory_lib.cli import jobs, simulation
from factory_lib.clock import parse_instant, save_clock
from factory_lib.monitoring import alerts
from factory_lib.runs import runner
from factory_lib.settings import Settings

DEMO_PAUSE = timedelta(minutes=5)  # longer than a demo takes
CHAIN = (
    "ingest",
    "gap_analysis",
    "auto_backfill_check",
    "feature_engineering",
    "ml_training",
    "ml_predictions",
    "production_optimization",
)
# These read the providers' forecasts, which are issued while the demo's ingestion runs:
# seconds after its instant.
LOOK_AHEAD = ("ml_predictions", "production_optimization")
# The last market days of the two periods for which the public files hold prices
# together with weather or climate.
HISTORY_AS_OF = ("2017-12-31", "2024-12-31")


def demo(days: int) -> int:
    """Run the chain in profile ``demo`` against a simulator of its own and print where the reports are."""
    with simulation.started(_settings.load("demo")) as settings:
        parameters: dict[str, dict[str, object]] = {"ingest": {"days": days}}
        code = _chain(settings, simulation.BEGIN, parameters, DEMO_PAUSE)
        save_clock(settings.paths.clock, simulation.BEGIN + DEMO_PAUSE)
        return code


def history(folder: Path) -> int:
    """Import the real files of ``folder`` into profile ``history`` and run the chain at two instants."""
    from factory_lib.cli import data
    from factory_lib.context import open_context
    from factory_lib.importers import import_history

    with open_context("history") as ctx:
        code = data.report_imports(import_history(ctx, folder))
    if code:
        return code
    settings = _settings.load("history")
    # The two instants lie before New Year's Day, on which nothing is made: three days
    # reach past it.
    codes = [
        _chain(settings, parse_instant(day), {"production_optimization": {"days": 3}})
        for day in HISTORY_AS_OF
    ]
    return max(codes)


def _chain(
    settings: Settings,
    as_of: datetime,
    parameters: dict[str, dict[str, object]],
    later: timedelta = timedelta(0),
) -> int:
    """Run the jobs; each is run even when one before it failed, because each says what it could not do."""
    failed = 0
    for name in CHAIN:
        folder, record = runner.run_job(
            settings,
            name,
            jobs.job_settings(settings, name),
            as_of + later if name in LOOK_AHEAD else as_of,
            runner.RunOptions(parameters=parameters.get(name, {}), after_run=alerts.after_run),
        )
        failed += record.status != "ok"
        sys.stdout.write(
            f"{name:<24}{record.ending:<8}{record.seconds:>5.0f} s  {record.error or record.summary}\n"
        )
        sys.stdout.write(f"{'':<24}{folder / 'report.html'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"\nAll runs: {settings.paths.runs / 'index.html'}\n")
    return 1 if failed else 0


def mlflow_pages(profile: str | None, port: int) -> int:
    """Serve MLflow's own pages over the profile's tracking database until interrupted."""
    settings = _settings.load(profile)
    command = [
        str(Path(sys.executable).with_name("mlflow")),
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--backend-store-uri",
        settings.paths.mlflow_uri,
        "--artifacts-destination",
        str(settings.paths.mlflow_artifacts),
    ]
    return subprocess.call(command)
