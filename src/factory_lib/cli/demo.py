"""Commands that run the jobs in turn: demo on simulated data, history on real files; simulate."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from factory_lib import settings as factory_settings
from factory_lib.cli import data, simulation
from factory_lib.cli.common import common_options, write
from factory_lib.cli.jobs import job_settings
from factory_lib.clock import parse_instant, save_clock
from factory_lib.context import open_context
from factory_lib.importers import import_history
from factory_lib.monitoring import alerts
from factory_lib.runs import runner
from factory_lib.settings import Settings

# Each hour trained on needs the price band of 90 days, and a training a thousand of them.
LEAST_DAYS = 120
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

commands = click.Group()


@commands.command("demo")
@click.option(
    "--days",
    type=click.IntRange(min=LEAST_DAYS),
    default=210,
    show_default=True,
    help="Simulated days of history.",
)
@common_options
def demo(profile: str | None, days: int, as_json: bool) -> int:
    """Run the jobs from ingestion to plan on simulated data, offline.

    The profile is `demo`. The last lines say where the reports are.
    """
    with simulation.start(factory_settings.load("demo")) as settings:
        code = _run_chain(settings, simulation.BEGIN, {"ingest": {"days": days}}, DEMO_PAUSE)
        save_clock(settings.paths.clock, simulation.BEGIN + DEMO_PAUSE)
    return code


@commands.command("history")
@click.argument("folder", type=click.Path(path_type=Path))
@common_options
def history(profile: str | None, folder: Path, as_json: bool) -> int:
    """Import a folder of real files and run the notebooks on them.

    The profile is `history`; the notebooks run as of the end of 2017 and of 2024.
    """
    with open_context("history") as ctx:
        code = data.write_imports(import_history(ctx, folder))
    if code:
        return code
    settings = factory_settings.load("history")
    # The two instants lie before New Year's Day, on which nothing is made: three days
    # reach past it.
    parameters = {"production_optimization": {"days": 3}}
    return max(_run_chain(settings, parse_instant(day), parameters) for day in HISTORY_AS_OF)


def _run_chain(
    settings: Settings,
    as_of: datetime,
    parameters: Mapping[str, Mapping[str, Any]],
    later: timedelta = timedelta(0),
) -> int:
    """Run every job, also when one before it failed; return 1 if one did."""
    failures = 0
    for name in CHAIN:
        spec = job_settings(settings, name)
        at = as_of + later if name in LOOK_AHEAD else as_of
        options = runner.RunOptions(parameters=parameters.get(name, {}), after_run=alerts.after_run)
        folder, record = runner.run_job(settings, name, spec, at, options)
        failures += record.status != "ok"
        sentence = record.error or record.summary
        write(f"{name:<24}{record.ending:<8}{record.seconds:>5.0f} s  {sentence}")
        write(f"{'':<24}{folder / 'report.html'}")
    write(f"\nAll runs: {settings.paths.runs / 'index.html'}")
    return int(failures > 0)


@commands.command(
    "simulate", add_help_option=False, context_settings={"ignore_unknown_options": True}
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def simulate(options: tuple[str, ...]) -> int:
    """Serve simulated providers, each in its own wire format."""
    from factory_sim import __main__ as simulator

    return simulator.main(list(options))
