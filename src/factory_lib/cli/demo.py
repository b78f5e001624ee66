"""Commands that run the jobs in turn: demo on simulated data, history on real files; simulate."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from factory_lib import settings as factory_settings
from factory_lib.cli import data
from factory_lib.cli.common import common_options, write
from factory_lib.cli.jobs import STOPPED, job_settings
from factory_lib.clock import load_clock, parse_instant, save_clock
from factory_lib.context import open_context
from factory_lib.importers import import_history
from factory_lib.monitoring import alerts
from factory_lib.runs import runner, simulation
from factory_lib.settings import Settings

# Each hour trained on needs the price band of 90 days, and a training a thousand of them.
LEAST_DAYS = 120
Parameters = Mapping[str, Mapping[str, Any]]  # job: its notebook's parameters

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
# A day on, the forecasts of the first day can be compared with what came.
SECOND_DAY = ("ingest", "ml_predictions", "production_optimization")
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
    """Live two days on simulated data, offline: every step, then the daily ones.

    The profile is `demo`. The last lines say where the reports are.
    """
    settings = factory_settings.load("demo")
    factory_settings.remember(settings)
    code = 0
    if load_clock(settings.paths.clock) is None:
        yesterday = simulation.BEGIN - timedelta(days=1)
        code = _live(settings, yesterday, CHAIN, {"ingest": {"days": days}})
    if code == STOPPED:
        return code
    code = max(code, _live(settings, simulation.BEGIN, SECOND_DAY, {}))
    write(f"\nAll runs: {settings.paths.runs / 'index.html'}")
    write(f'Live page: make serve ARGS="--profile {settings.profile}"; notebooks: make lab')
    return code


def _live(settings: Settings, day: datetime, names: Sequence[str], parameters: Parameters) -> int:
    """Run jobs beside a simulator of that day, and leave the clock there."""
    write(f"{day:%A %-d %B %Y, %H:%M} UTC, simulated")
    with simulation.start(settings, day) as simulated:
        code = _run_chain(simulated, names, day, parameters, DEMO_PAUSE)
        save_clock(settings.paths.clock, day + DEMO_PAUSE)
    return code


@commands.command("history")
@click.argument("folder", type=click.Path(path_type=Path))
@common_options
def history(profile: str | None, folder: Path, as_json: bool) -> int:
    """Import a folder of real files and run the notebooks on them.

    The profile is `history`; the notebooks run as of the end of 2017 and of 2024.
    """
    settings = factory_settings.load("history")
    factory_settings.remember(settings)
    with open_context(settings=settings) as ctx:
        code = data.write_imports(import_history(ctx, folder))
    if code:
        return code
    # The two instants lie before New Year's Day, on which nothing is made: three days
    # reach past it.
    parameters = {"production_optimization": {"days": 3}}
    codes = [0]
    for day in HISTORY_AS_OF:
        codes.append(_run_chain(settings, CHAIN, parse_instant(day), parameters))
        if codes[-1] == STOPPED:
            break
    return max(codes)


def _run_chain(
    settings: Settings,
    names: Sequence[str],
    as_of: datetime,
    parameters: Parameters,
    later: timedelta = timedelta(0),
) -> int:
    """Run jobs, also when one before it failed; return 1 if one did."""
    failures = 0
    for name in names:
        spec = job_settings(settings, name)
        at = as_of + later if name in LOOK_AHEAD else as_of
        options = runner.RunOptions(parameters=parameters.get(name, {}), after_run=alerts.after_run)
        folder, record = runner.run_job(settings, name, spec, at, options)
        failures += record.status != "ok"
        sentence = record.error or record.summary
        write(f"{name:<24}{record.ending:<8}{record.seconds:>5.0f} s  {sentence}")
        write(f"{'':<24}{folder / 'report.html'}")
        if record.status == "killed":
            return STOPPED  # the signal was meant for the command, not for one of its jobs
    return int(failures > 0)


@commands.command(
    "simulate", add_help_option=False, context_settings={"ignore_unknown_options": True}
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def simulate(options: tuple[str, ...]) -> int:
    """Serve simulated providers, each in its own wire format."""
    from factory_sim import __main__ as simulator

    return simulator.main(list(options))
