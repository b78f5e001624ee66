"""Commands on the jobs of ``config/factory.toml``: run as cron does, list, settings, index.

Standard library and click only, until a job is due.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.cli import simulation
from factory_lib.cli.common import as_of_option, common_options, plain, write_either
from factory_lib.clock import SystemClock, parse_instant
from factory_lib.errors import BadInput, FactoryError, JobLocked
from factory_lib.runs import due
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import calls, marks, open_state

if TYPE_CHECKING:
    from factory_lib.runs.records import RunRecord

# A job that failed outweighs one that was only locked, whatever the numbers say.
_WORST_FIRST = (1, 2, 69, 75, 0)

commands = click.Group()


# -- running ---------------------------------------------------------------------------


def _parameters(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    return dict(_parameter(text) for text in texts)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, raw = text.partition("=")
    if not equals:
        raise BadInput(f"--param {text!r} is not NAME=VALUE.")
    try:
        return name, json.loads(raw)
    except json.JSONDecodeError:
        return name, raw


def _job_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the jobs that a shell may complete."""
    settings = factory_settings.load(ctx.params.get("profile"))
    return [name for name in settings.jobs if name.startswith(incomplete)]


@commands.command("run")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=_job_names)
@as_of_option
@click.option(
    "--param",
    "parameters",
    multiple=True,
    callback=_parameters,
    metavar="NAME=VALUE",
    help="A parameter of the notebook.",
)
@click.option("--force", is_flag=True, help="Run even when nothing new can exist.")
@click.option("--code", is_flag=True, help="Show the cells' source in the report.")
@common_options
def run(profile: str | None, jobs: tuple[str, ...], **options: Any) -> int:
    """Run jobs: their notebooks, into dated folders with a report.

    `factory jobs` lists them. A job with nothing due ends at once; one with --as-of, --param
    or --force always runs.
    """
    return run_jobs(profile, jobs, **options)


def run_jobs(
    profile: str | None,
    names: Sequence[str],
    *,
    as_of: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    code: bool = False,
    as_json: bool = False,
    details: Callable[["RunRecord"], Mapping[str, Any]] = lambda _: {},
) -> int:
    """Run jobs one after the other and return the worst exit code.

    A job with nothing due is one row in the state and ends without starting a kernel; with
    ``as_of``, ``parameters`` or ``force`` every job runs. ``details`` of a run are written
    with its record as JSON.
    """
    loaded = factory_settings.load(profile)
    specs = {name: job_settings(loaded, name) for name in names}
    always = force or bool(as_of) or bool(parameters)
    options: dict[str, Any] = {
        "parameters": parameters or {},
        "code": code,
        "replay": bool(as_of),
        "details": details,
    }
    codes = [0]
    with simulation.ensure_running(loaded) as settings:
        at = parse_instant(as_of) if as_of else SystemClock(settings.clock_offset_s).now()
        for name, spec in specs.items():
            if not always and (reason := _nothing_due(settings, name, at)):
                _report({"job": name, "status": "not_due", "summary": reason}, as_json)
            else:
                codes.append(_run(settings, name, spec, at, as_json=as_json, **options))
    return worst(codes)


def worst(codes: Iterable[int]) -> int:
    """Return the exit code for all: failed, then wrong input, unavailable, locked and done."""
    return min(codes, key=_WORST_FIRST.index)


def job_settings(settings: Settings, job: str) -> JobSettings:
    """Return a job's settings.

    Raises
    ------
    BadInput
        If there is no such job; the message lists those there are.
    """
    if job not in settings.jobs:
        jobs = ", ".join(settings.jobs)
        raise BadInput(f"There is no job {job!r}.", next_step=f"Known: {jobs}.")
    return settings.jobs[job]


def _nothing_due(settings: Settings, name: str, now: datetime) -> str | None:
    """Return why there is nothing to do, after counting the tick; None when the job is due."""
    with open_state(settings) as state:
        reason = due.nothing_due(settings, state, name, now)
        if reason:
            calls.count_tick(state, name, "not_due", now)
    return reason


def _run(
    settings: Settings,
    name: str,
    spec: JobSettings,
    as_of: datetime,
    *,
    as_json: bool,
    details: Callable[["RunRecord"], Mapping[str, Any]],
    **options: Any,
) -> int:
    from factory_lib.monitoring import alerts
    from factory_lib.runs import runner

    run_options = runner.RunOptions(**options, after_run=alerts.after_run)
    try:
        folder, record = runner.run_job(settings, name, spec, as_of, run_options)
    except JobLocked as locked:
        with open_state(settings) as state:
            calls.count_tick(state, name, "locked", as_of)
        _report({"job": name, "status": "skipped", "summary": str(locked)}, as_json)
        return locked.exit_code
    sentence = f"{record.error or record.summary}\n  {folder / 'report.html'}"
    more = details(record) if as_json else {}
    fields = {**structs.asdict(record), "folder": str(folder), **more}
    write_either(as_json, fields, f"{name}: {record.ending}. {sentence}")
    return record.exit_code


def _report(fields: Mapping[str, str], as_json: bool) -> None:
    write_either(as_json, fields, "{job}: {status}. {summary}".format(**fields))


# -- listing ---------------------------------------------------------------------------


@commands.command("jobs")
@common_options
def list_jobs(profile: str | None, as_json: bool) -> None:
    """List the jobs: notebook, cadence, last run."""
    settings = factory_settings.load(profile)
    with open_state(settings, read_only=True) as state:
        last = marks.get_marks(state, marks.LAST_RUN)
    rows = []
    lines = []
    for name, spec in settings.jobs.items():
        cron = spec.cron or "on demand"
        mark = last.get(name)
        row = {
            "job": name,
            "notebook": spec.notebook,
            "cron": cron,
            "last_run": mark.at.isoformat() if mark else None,
            "status": mark.note["status"] if mark else None,
        }
        rows.append(row)
        ran = "{status} at {last_run}".format(**row) if mark else "never run"
        lines.append(f"{name:<28}{spec.notebook:<24}{cron:<16}{ran}")
    write_either(as_json, rows, "\n".join(lines))


@commands.command("index")
@common_options
def write_index(profile: str | None, as_json: bool) -> None:
    """Write runs/index.html anew."""
    from factory_lib.runs import report

    file = str(report.write_index(factory_settings.load(profile).paths))
    write_either(as_json, {"index": file}, file)


# -- settings --------------------------------------------------------------------------


@commands.group("config")
@common_options
def config(profile: str | None, as_json: bool) -> None:
    """Check or show the settings."""


@config.command("check")
@common_options
def check_config(profile: str | None, as_json: bool) -> int:
    """Check the settings; exit code 1 where a job cannot run or a week misses its demand."""
    settings = factory_settings.load(profile)
    problems = list(_problems(settings))
    answer = {
        "file": str(settings.file),
        "profile": settings.profile,
        "sound": not problems,
        "problems": problems,
    }
    sound = "is not sound" if problems else "is sound, and an ordinary week meets its demand"
    lines = [_plant(settings), *problems, f"{settings.file} {sound}."]
    write_either(as_json, answer, "\n".join(lines))
    return int(bool(problems))


@config.command("show")
@common_options
def show_config(profile: str | None, as_json: bool) -> None:
    """Show the settings, secrets left out."""
    settings = factory_settings.load(profile)
    hidden = ("secrets", "catalogue")
    values = {key: value for key, value in structs.asdict(settings).items() if key not in hidden}
    text = json.dumps(values, indent=2, default=plain, ensure_ascii=False)
    head = "Everything that is set, secrets left out:"
    write_either(as_json, values, f"{_plant(settings)}\n\n{head}\n{text}")


def _plant(settings: Settings) -> str:
    from factory_lib.planning.summary import describe_plant

    return f"From {settings.file}, profile {settings.profile}:\n{describe_plant(settings)}"


def _problems(settings: Settings) -> Iterator[str]:
    """Yield the jobs that cannot run, and what of a week's demand is not met."""
    from factory_lib.planning.daily import week_problems
    from factory_lib.runs import runner

    for name, spec in settings.jobs.items():
        try:
            runner.notebook_for(settings, spec, {"profile": "", "as_of": "", **spec.parameters})
        except FactoryError as error:
            yield f"Job {name} cannot run: {error}"
    for line in week_problems(settings):
        yield f"An ordinary week does not meet its demand in time: {line}."
