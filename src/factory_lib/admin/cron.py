"""The schedule of ``[jobs]``: in the crontab, as units of systemd or Quadlet, or called here.

The crontab has one marked block for each checkout and profile; other lines are untouched.
A container has no crontab: ``call_jobs`` reads the same table there.

cron gives a job PATH=/usr/bin:/bin, a home directory and little else, so each line
names everything it needs. It keeps the machine's own time zone, and so do the times in
``[jobs]``.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from factory_lib.errors import BadInput, FactoryError, JobLocked
from factory_lib.files import write_atomically
from factory_lib.runs import schedule
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings, cron_fields
from factory_lib.state.marks import CALLER, CRON

MINUTE_S = 60.0
# Variables that a line takes from the shell that installs it. Keys are none of them: they
# belong in `.env`.
INHERITED = (
    "FACTORY_HOME",
    "FACTORY_CONFIG",
    "FACTORY_STORE",
    "FACTORY_SIMULATOR_URL",
    "FACTORY_CLOCK_OFFSET_S",
)

UnitFormat = Literal["crontab", "systemd", "quadlet"]
UNIT_FORMATS: tuple[UnitFormat, ...] = ("crontab", "systemd", "quadlet")
IMAGE = "localhost/factory"
_SPECIAL = set(" \"'\\%$")
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Sections = Mapping[str, Mapping[str, object]]


def scheduled(settings: Settings) -> dict[str, JobSettings]:
    """Return the jobs that have a cadence and a notebook."""
    return {
        name: spec
        for name, spec in settings.jobs.items()
        if spec.cron and (settings.paths.notebooks / f"{spec.notebook}.ipynb").is_file()
    }


def variables(settings: Settings) -> dict[str, str]:
    """Return the environment of a scheduled job, beside what `.env` holds."""
    own = {"FACTORY_PROFILE": settings.profile, CALLER: CRON}
    return own | {name: os.environ[name] for name in INHERITED if name in os.environ}


def make_command(settings: Settings) -> list[str]:
    """Return the command that runs a job, without the job."""
    program = shutil.which("make") or "make"
    sites = ["JOB_ARGS=--site all"] if settings.sites else []
    return [program, "--no-print-directory", "--directory", str(settings.paths.root), "run", *sites]


def job_lines(settings: Settings) -> list[str]:
    """Return one line of a crontab for each scheduled job."""
    given = [f"{name}={value}" for name, value in variables(settings).items()]
    command = ["env", *given, *make_command(settings)]
    log = shlex.quote(str(settings.paths.data / "cron.log"))
    lines = []
    for name, spec in scheduled(settings).items():
        line = f"{shlex.join([*command, f'JOB={name}'])} >> {log} 2>&1"
        lines.append(f"{spec.cron} " + line.replace("%", r"\%"))
    return lines


def block(settings: Settings) -> list[str]:
    """Return the marked block of lines."""
    begin, end = _marks(settings)
    note = "# Written by `factory cron install`; changes belong in config/factory.toml."
    return [begin, note, *job_lines(settings), end]


def install(settings: Settings) -> int:
    """Put the block at the end of the crontab, in place of an earlier one; return its jobs."""
    settings.paths.data.mkdir(parents=True, exist_ok=True)
    _write([*_others(settings), *block(settings)])
    return len(scheduled(settings))


def remove(settings: Settings) -> None:
    """Take the block out of the crontab."""
    _write(_others(settings))


def call_jobs(settings: Settings) -> None:
    """Call the scheduled jobs at their minutes, until SIGTERM or SIGINT: cron without root.

    The running ones are ended then, and waited for. Times are those of ``TZ``, as
    everywhere; minutes that were slept through count once.
    """
    environment = os.environ | variables(settings)
    command = make_command(settings)
    running: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    since = datetime.now(UTC)
    try:
        while True:
            time.sleep(MINUTE_S - time.time() % MINUTE_S)
            now = datetime.now(UTC)
            running = [process for process in running if process.poll() is None]
            for name in due_between(settings, since, now):
                running.append(subprocess.Popen([*command, f"JOB={name}"], env=environment))
            since = now
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def due_between(settings: Settings, since: datetime, now: datetime) -> list[str]:
    """Return the jobs that cron would have called after ``since``, up to ``now``."""
    calls = {name: schedule.latest(spec.cron, now) for name, spec in scheduled(settings).items()}
    return [name for name, call in calls.items() if call is not None and call > since]


def _marks(settings: Settings) -> tuple[str, str]:
    owner = f"factory_lib {settings.paths.root} {settings.profile}"
    return f"# >>> {owner} >>>", f"# <<< {owner} <<<"


def _others(settings: Settings) -> list[str]:
    """Return the crontab without the block.

    Raises
    ------
    BadInput
        If the block has lost one of its marks: it is unclear then which lines belong to
        it, so nothing is changed.
    """
    table = _crontab("-l").splitlines()
    begin, end = _marks(settings)
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


# -- units of systemd and Quadlet ------------------------------------------------------
#
# A timer calls a template of one service for all jobs, by ``factory-<profile>@<job>``.


def files(settings: Settings, fmt: UnitFormat) -> dict[str, str]:
    """Return the files of a format: their names and texts."""
    if fmt == "crontab":
        return {"crontab": "\n".join(block(settings)) + "\n"}
    stem = f"factory-{settings.profile}"
    made = _timers(settings, stem)
    about = {"Unit": {"Description": f"factory job %i, profile {settings.profile}"}}
    # that a job runs already is no failure
    once = {"Service": {"Type": "oneshot", "SuccessExitStatus": JobLocked.exit_code}}
    if fmt == "systemd":
        once["Service"] |= {
            "Environment": _quoted([f"{k}={v}" for k, v in variables(settings).items()]),
            "ExecStart": _quoted([*make_command(settings), "JOB=%i"]),
        }
        return {f"{stem}@.service": _unit({**about, **once}), **made}
    sites = " --site all" if settings.sites else ""
    job = _container(settings, f"run %i{sites}", {CALLER: CRON})
    page = _container(settings, "serve --host 0.0.0.0 --behind-proxy", {})
    page["Container"] |= {"PublishPort": "127.0.0.1:8080:8080"}
    always = {"Service": {"Restart": "always"}, "Install": {"WantedBy": "default.target"}}
    return {
        f"{stem}@.container": _unit({**about, **job, **once}),
        f"{stem}-page.container": _unit({**page, **always}),
        **made,
    }


def write_files(settings: Settings, fmt: UnitFormat, folder: Path) -> list[str]:
    """Write the files of a format into a folder; return their names."""
    made = files(settings, fmt)
    for name, text in made.items():
        write_atomically(folder / name, text)
    return list(made)


def calendars(cadence: str) -> list[str]:
    """Return five cron fields as the ``OnCalendar=`` of a timer.

    Two where day and weekday are both restricted: cron calls when either fits
    (crontab(5)), systemd when both do (systemd.time(7)).
    """
    minutes, hours, days, months, weekdays = cron_fields(cadence)
    names = list(dict.fromkeys(_WEEKDAYS[number] for number in weekdays))
    by_weekday = f"{','.join(names)} " if len(names) < 7 else ""
    month = _listed(months, 12)
    date = f"*-{month}-{_listed(days, 31)}"
    clock = f"{_listed(hours, 24)}:{_listed(minutes, 60)}:00"
    if schedule.either_day(cadence):
        return [f"{date} {clock}", f"{by_weekday}*-{month}-* {clock}"]
    return [f"{by_weekday}{date} {clock}"]


def _listed(numbers: Sequence[int], all_of_them: int) -> str:
    return ",".join(f"{n:02d}" for n in numbers) if len(numbers) < all_of_them else "*"


def _timers(settings: Settings, stem: str) -> dict[str, str]:
    """Return one timer for each job that cron would call."""
    return {
        f"{stem}-{name}.timer": _unit(
            {
                "Unit": {"Description": f"factory job {name}, profile {settings.profile}"},
                "Timer": {
                    "OnCalendar": calendars(spec.cron),
                    "AccuracySec": "1s",
                    "Unit": f"{stem}@{name}.service",
                },
                "Install": {"WantedBy": "timers.target"},
            }
        )
        for name, spec in scheduled(settings).items()
    }


def _container(
    settings: Settings, command: str, variables: Mapping[str, str]
) -> dict[str, dict[str, object]]:
    """Return the section of a Quadlet: the image, one volume, and the checkout's settings."""
    root = str(settings.paths.root).replace("%", "%%")
    environment = {"FACTORY_PROFILE": settings.profile, **variables}
    container: dict[str, object] = {
        "Image": IMAGE,
        "Exec": command,
        "Environment": _quoted([f"{key}={value}" for key, value in environment.items()]),
        "EnvironmentFile": f"{root}/.env",
        "ReadOnly": "true",
        "Tmpfs": "/tmp",  # noqa: S108 - of the container
        "Timezone": "local",
        "Volume": ["factory:/var/lib/factory", f"{root}/config:/app/config:ro,z"],
    }
    return {"Container": container}


def _unit(sections: Sections) -> str:
    """Return the text of a unit; a list is one line for each of its texts."""
    lines = []
    for section, entries in sections.items():
        lines.append(f"[{section}]")
        for key, value in entries.items():
            values = value if isinstance(value, list) else [value]
            lines += [f"{key}={each}" for each in values]
        lines.append("")
    return "\n".join(lines)


def _quoted(words: Sequence[str]) -> str:
    """Return words as systemd.syntax(7) quotes them; %i, the instance, stays."""
    return " ".join(map(_quoted_word, words))


def _quoted_word(word: str) -> str:
    if word == "JOB=%i" or not _SPECIAL & set(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
