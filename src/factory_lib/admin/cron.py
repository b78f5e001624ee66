"""The user's crontab: one marked block for each checkout and profile; every other line is left as it is.

cron gives a job PATH=/usr/bin:/bin, a home directory and little else, so each line
names everything it needs. It keeps the machine's own time zone, and so do the times in
``[jobs]``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from factory_lib.errors import BadInput, FactoryError
from factory_lib.settings import Settings

# What a line takes along from the shell that installs it, where it is set. Keys are
# none of it: they belong in `.env`.
CARRIED = ("FACTORY_HOME", "FACTORY_CONFIG", "FACTORY_SIMULATOR_URL", "FACTORY_CLOCK_OFFSET_S")


def lines(settings: Settings) -> list[str]:
    """Return one line for each job that has a cadence and a notebook."""
    log = settings.paths.data / "cron.log"
    variables = {"FACTORY_PROFILE": settings.profile} | {
        name: os.environ[name] for name in CARRIED if name in os.environ
    }
    words = ["env", *(f"{name}={value}" for name, value in variables.items())]
    words += [
        shutil.which("make") or "make",
        "--no-print-directory",
        "--directory",
        str(settings.paths.root),
        "run",
    ]
    jobs = {
        name: spec.cron
        for name, spec in settings.jobs.items()
        if spec.cron and (settings.paths.notebooks / f"{spec.notebook}.ipynb").is_file()
    }
    commands = {
        name: shlex.join([*words, f"JOB={name}"]) + f" >> {shlex.quote(str(log))} 2>&1"
        for name in jobs
    }
    return [f"{cadence} " + commands[name].replace("%", r"\%") for name, cadence in jobs.items()]


def show(settings: Settings) -> int:
    """Print the block that ``install`` would write."""
    sys.stdout.write("\n".join(_block(settings)) + "\n")
    return 0


def install(settings: Settings) -> int:
    """Put the block at the end of the crontab, in place of an earlier one."""
    settings.paths.data.mkdir(parents=True, exist_ok=True)
    _write([*_others(settings), *_block(settings)])
    sys.stdout.write(
        f"{len(lines(settings))} jobs installed; they log to {settings.paths.data / 'cron.log'}.\n"
    )
    return 0


def remove(settings: Settings) -> int:
    """Take the block out of the crontab."""
    _write(_others(settings))
    sys.stdout.write(
        f"No job of {settings.paths.root}, profile {settings.profile}, is scheduled any more.\n"
    )
    return 0


def _marks(settings: Settings) -> tuple[str, str]:
    what = f"factory_lib {settings.paths.root} {settings.profile}"
    return f"# >>> {what} >>>", f"# <<< {what} <<<"


def _block(settings: Settings) -> list[str]:
    begin, end = _marks(settings)
    return [
        begin,
        "# Written by `factory cron install`; changes belong in config/factory.toml.",
        *lines(settings),
        end,
    ]


def _others(settings: Settings) -> list[str]:
    """Return the crontab without the block.

    Raises
    ------
    BadInput
        If the block has lost one of its marks: what is ours cannot be told then, so
        nothing is changed.
    """
    table, (begin, end) = _crontab("-l").splitlines(), _marks(settings)
    if begin not in table and end not in table:
        return table
    if table.count(begin) != 1 or table.count(end) != 1 or table.index(begin) > table.index(end):
        raise BadInput(
            "The marks of the block are damaged.",
            next_step="Repair or remove it with `crontab -e`.",
        )
    return table[: table.index(begin)] + table[table.index(end) + 1 :]


def _write(table: list[str]) -> None:
    _crontab("-", "".join(f"{line}\n" for line in table))


def _crontab(argument: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(
            ["crontab", argument], input=given, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise FactoryError(
            "There is no crontab here.", next_step="Install cron, or run `make run JOB=…`."
        ) from None
    if done.returncode and not (argument == "-l" and "no crontab" in done.stderr):
        raise FactoryError(f"crontab {argument}: {done.stderr.strip()}.")
    return done.stdout if not done.returncode else ""
