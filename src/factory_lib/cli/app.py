"""The command line itself: which commands there are, and the module each lives in."""

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from factory_lib import failures
from factory_lib.cli.common import common_options
from factory_lib.errors import BadInput, FactoryError
from factory_lib.settings.secrets import hide_users

EXIT_CODES = (
    "exit codes: 0 done · 1 failed · 2 unusable input · 69 a service is away · 74 the machine "
    "refuses · 75 skipped, locked"
)
FIRST_STEPS = "begin: `factory demo`, then `factory serve --profile demo`, `factory run --help`"
# Name -> module and first line of its help: `factory --help` imports none of the modules.
COMMANDS = {
    "run": ("jobs", "Run jobs: their notebooks, into dated folders with a report."),
    "jobs": ("jobs", "List the jobs: cadence, last run, due or not; pause or resume one."),
    "index": ("jobs", "Write runs/index.html anew."),
    "config": ("jobs", "Check or show the settings."),
    "import": ("data", "Import data files or folders, or the plant's records."),
    "gaps": ("data", "Account for every slot and list the gaps."),
    "backfill": ("data", "Fill what is missing and report what was really recovered."),
    "export": ("data", "Write a view to CSV or Parquet, with units and provenance."),
    "quarantine": ("data", "List quarantined values; release, reject or correct values."),
    "predict": ("models", "Predict the hours ahead, or apply the rule to one made-up hour."),
    "models": (
        "models",
        "List registered model versions or a champion's experts, or roll a version back.",
    ),
    "plan": ("planning", "Plan the next seven days; print the shift sheet."),
    "doctor": ("admin", "Check keys, providers, store, registry, clock and disk."),
    "health": ("admin", "Show the state of jobs, providers and series."),
    "alerts": ("admin", "List, acknowledge, mute or test alerts."),
    "backup": ("admin", "Back up store, state and champions while jobs go on; list or verify."),
    "restore": ("admin", "Restore a backup, after checking it; what it replaces is kept aside."),
    "store": (
        "admin",
        "Make the profile's store: file, InfluxDB bucket or PostgreSQL schema.",
    ),
    "copy": ("admin", "Copy the store into another backend; repeating it completes it."),
    "cron": (
        "admin",
        "Show, install or remove the block of the user's crontab; run it where there is none.",
    ),
    "serve": ("admin", "Serve the live page, the JSON API and the metrics; nothing is written."),
    "mlflow": ("admin", "Serve the MLflow pages on 127.0.0.1."),
    "demo": ("demo", "Live two days on simulated data, offline: every step, then the daily ones."),
    "history": ("demo", "Import a folder of real files and run the notebooks on them."),
    "simulate": ("demo", "Serve simulated providers, each in its own wire format."),
}


class LazyGroup(click.Group):
    """Commands known by name and help; the module of one is imported when it is called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the real command in place of the one that stands for it in the help."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None:
            module = import_module(f"factory_lib.cli.{COMMANDS[name][0]}")
            command = module.commands.get_command(ctx, name)
        return name, command, rest


@click.group(
    cls=LazyGroup,
    commands=[click.Command(name, short_help=text) for name, (_, text) in COMMANDS.items()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{FIRST_STEPS}\n\n{EXIT_CODES}",
)
@click.version_option(package_name="factory-lib", prog_name="factory")
@common_options
def factory(profile: str | None, as_json: bool) -> None:
    """Energy-aware production: data, forecasts and plans for one factory."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error becomes one sentence on stderr and an exit code.

    So do the errors of others that ``failures`` knows; with ``FACTORY_DEBUG`` set they
    keep their traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with failures.Explained():
            answer = factory.main(words or ["--help"], prog_name="factory", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as bare:  # a group of commands, alone
        sys.stderr.write(f"{bare.format_message()}\n")
        return BadInput.exit_code
    except click.UsageError as usage:
        return _write_error(_unusable(usage, words))
    except FactoryError as error:
        return _write_error(error)
    except (click.Abort, KeyboardInterrupt):
        return 130
    return int(answer or 0)


def _write_error(error: FactoryError) -> int:
    """Write an error as one sentence on stderr; return its exit code."""
    sys.stderr.write(f"factory: {hide_users(str(error))}\n")
    return error.exit_code


def _unusable(usage: click.UsageError, words: Sequence[str]) -> BadInput:
    """Return click's message as a whole sentence, with the help to read."""
    # click's parser of options does not say which command it was parsing
    command = next((word for word in words if word in COMMANDS), "")
    path = usage.ctx.command_path if usage.ctx else f"factory {command}".strip()
    message = usage.format_message()
    end = "" if message.endswith((".", "?", "?)")) else "."
    return BadInput(f"{message}{end}", next_step=f"See `{path} --help`.")
