"""The schedule of ``[jobs]`` as files: a crontab, systemd timers, or Quadlets of containers.

A timer calls a template of one service for all jobs, by ``factory-<profile>@<job>``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from factory_lib.admin import cron
from factory_lib.errors import JobLocked
from factory_lib.files import write_atomically
from factory_lib.runs import schedule
from factory_lib.settings import Settings
from factory_lib.settings.records import cron_fields
from factory_lib.state.cron_calls import CALLER, NAME

UnitFormat = Literal["crontab", "systemd", "quadlet"]
UNIT_FORMATS: tuple[UnitFormat, ...] = ("crontab", "systemd", "quadlet")
IMAGE = "localhost/factory"
_SPECIAL = set(" \"'\\%$")
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Sections = Mapping[str, Mapping[str, object]]


def files(settings: Settings, fmt: UnitFormat) -> dict[str, str]:
    """Return the files of a format: their names and texts."""
    if fmt == "crontab":
        return {"crontab": "\n".join(cron.block(settings)) + "\n"}
    stem = f"factory-{settings.profile}"
    made = _timers(settings, stem)
    about = {"Unit": {"Description": f"factory job %i, profile {settings.profile}"}}
    # that a job runs already is no failure
    once = {"Service": {"Type": "oneshot", "SuccessExitStatus": JobLocked.exit_code}}
    if fmt == "systemd":
        once["Service"] |= {
            "Environment": _quoted([f"{k}={v}" for k, v in cron.variables(settings).items()]),
            "ExecStart": _quoted([*cron.make_command(settings), "JOB=%i"]),
        }
        return {f"{stem}@.service": _unit({**about, **once}), **made}
    sites = " --site all" if settings.sites else ""
    job = _container(settings, f"run %i{sites}", {CALLER: NAME})
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
        for name, spec in cron.scheduled(settings).items()
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
