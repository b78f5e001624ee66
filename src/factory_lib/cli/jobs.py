"""Commands on the jobs of ``config/factory.toml``: run as cron does, list, settings, index.

Standard library and click only, until a job is due.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.cli import fan_out
from factory_lib.cli.common import (
    ALL_SITES,
    as_of_option,
    by_option,
    common_options,
    named_values,
    plain,
    write,
    write_either,
)
from factory_lib.clock import SystemClock, displayed_in, local_time, parse_instant
from factory_lib.errors import BadInput, FactoryError, JobLocked
from factory_lib.runs import due, schedule, simulation, status
from factory_lib.runs.records import RunRecord, is_running
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import State, calls, marks, open_state

# A job that failed outweighs one that was only locked, whatever the numbers say.
STOPPED = 130
_WORST_FIRST = (STOPPED, 74, 1, 2, 69, 75, 0)

commands = click.Group()


# -- running ---------------------------------------------------------------------------


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
    callback=lambda _, __, texts: named_values(texts, "--param", "days=3"),
    metavar="NAME=VALUE",
    help="A parameter of the notebook.",
)
@click.option("--force", is_flag=True, help="Run even when nothing new can exist.")
@click.option("--code", is_flag=True, help="Show the cells' source in the report.")
@common_options
def run(profile: str | None, jobs: tuple[str, ...], **options: Any) -> int:
    """Run jobs: their notebooks, into dated folders with a report.

    `factory jobs` lists them. A job with nothing due ends at once; one with --as-of, --param
    or --force always runs. `--site all` runs those of every site, as many at once as there
    are cores.
    """
    fan_out.end_with_parent()
    if os.environ.get("FACTORY_SITE") != ALL_SITES:
        return run_jobs(profile, jobs, **options)
    os.environ["FACTORY_SITE"] = ""
    return run_everywhere(profile, jobs, **options)


def run_everywhere(
    profile: str | None,
    names: Sequence[str],
    *,
    as_of: str | None,
    parameters: Mapping[str, Any],
    force: bool,
    code: bool,
    as_json: bool,
) -> int:
    """Run jobs of every site side by side and return the worst exit code.

    Sites that fetch prices and train their model for others as well come first.
    """
    loaded = factory_settings.load(profile)
    for name in names:
        job_settings(loaded, name)
    always = [f"--param={name}={value}" for name, value in parameters.items()]
    always += _given({f"--as-of={as_of}": as_of, "--force": force})
    words = [*always, *_given({"--code": code, "--json": as_json})]
    codes = [0]
    with simulation.ensure_running(loaded) as settings:
        sites = [settings.for_site(name) for name in settings.site_ids]
        for works_for_market in (True, False):
            stage = (site for site in sites if site.has_market is works_for_market)
            commands = list(_commands(stage, names, words, bool(always)))
            for exit_code, output in fan_out.run_commands(settings, commands):
                codes.append(exit_code if exit_code in _WORST_FIRST else 1)
                write(output.rstrip())
    return worst(codes)


def _commands(
    sites: Iterable[Settings], names: Sequence[str], words: Sequence[str], always: bool
) -> Iterator[list[str]]:
    """Yield the command of each site that has something to do."""
    for site in sites:
        if own := _due(site, names, always):
            yield ["run", *own, "--profile", site.profile, "--site", site.site_id, *words]


def _given(flags: Mapping[str, Any]) -> list[str]:
    return [flag for flag, given in flags.items() if given]


def _due(site: Settings, names: Sequence[str], always: bool) -> list[str]:
    """Return those of the jobs that a site has and that are due; count the ticks of the others."""
    own = [name for name in names if name in site.jobs]
    if always or not own:
        return own
    now = SystemClock(site.clock_offset_s).now()
    _begin_tick(site, now)
    return [name for name in own if not _nothing_due(site, name, now)]


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
        now = SystemClock(settings.clock_offset_s).now()
        at = parse_instant(as_of) if as_of else now
        _begin_tick(settings, now)
        for name, spec in specs.items():
            if not always and (reason := _nothing_due(settings, name, at)):
                _report({"job": name, "status": "not_due", "summary": reason}, as_json)
                continue
            codes.append(_run(settings, name, spec, at, always=always, as_json=as_json, **options))
            if codes[-1] == STOPPED:
                break  # the signal was meant for the command, not for one of its jobs
    return worst(codes)


def _begin_tick(settings: Settings, now: datetime) -> None:
    """Put the state in order: what a killed run or a clock that was ahead left, cron's call."""
    with open_state(settings) as state:
        forgotten = marks.forget_future(state, now)
        silent_since = _record_cron(settings, state, now)
        starts = marks.get_marks(state, marks.STARTED).items()
        killed = any(not is_running(state, job, start.note) for job, start in starts)
        if forgotten or silent_since or killed:
            from factory_lib.monitoring import alerts
            from factory_lib.runs import runner

            alerts.after_interruption(state, settings, forgotten, silent_since, now)
            runner.settle_killed(settings, state, now, alerts.after_run)
    if os.environ.get(marks.CALLER) != marks.CRON:  # a person's command: notebooks open its profile
        factory_settings.remember(settings)


def _record_cron(settings: Settings, state: State, now: datetime) -> datetime | None:
    """Record a call of cron; return its last one before, where a long silence ends now."""
    if os.environ.get(marks.CALLER) != marks.CRON:
        return None
    before = marks.cron_calls(state, now)
    silent = before is not None and schedule.cron_was_silent(settings, before.last, now)
    marks.record_cron_call(state, now, was_silent=silent)
    return before.last if before and silent else None


def worst(codes: Iterable[int]) -> int:
    """Return the exit code for all: that of the worst one."""
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
    always: bool,
    as_json: bool,
    details: Callable[["RunRecord"], Mapping[str, Any]],
    **options: Any,
) -> int:
    from factory_lib.monitoring import alerts
    from factory_lib.runs import runner

    def nothing_due(state: State) -> str | None:
        return None if always else due.nothing_due(settings, state, name, as_of)

    run_options = runner.RunOptions(**options, after_run=alerts.after_run, nothing_due=nothing_due)
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
    return STOPPED if record.status == "killed" else record.exit_code


def _report(fields: Mapping[str, str], as_json: bool) -> None:
    status_words = fields["status"].replace("_", " ")
    write_either(as_json, fields, f"{fields['job']}: {status_words}. {fields['summary']}")


# -- listing ---------------------------------------------------------------------------


@commands.group("jobs", invoke_without_command=True)
@click.pass_context
@common_options
def jobs(group: click.Context, /, **options: Any) -> None:
    """List the jobs: cadence, last run, due or not; pause or resume one."""
    if group.invoked_subcommand is None:
        group.invoke(list_jobs, **options)


@jobs.command("list")
@common_options
def list_jobs(profile: str | None, as_json: bool) -> None:
    """List the jobs: cadence, last run, due or not."""
    settings = factory_settings.load(profile)
    now = SystemClock(settings.clock_offset_s).now()
    with open_state(settings, read_only=True) as state:
        statuses = status.job_statuses(settings, state, now)
    rows = [_row(each) for each in statuses]
    lines = [
        f"{each.job:<28}{each.notebook:<24}{each.cron or 'on demand':<16}{_state_of(each)}"
        for each in statuses
    ]
    write_either(as_json, rows, "\n".join(lines))


def _row(job: status.JobStatus) -> dict[str, Any]:
    """Return a job as JSON can hold it, times in ISO 8601."""
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in job._asdict().items()
    }
    return {**values, "pause": str(job.pause) if job.pause else "", "due": not job.waiting}


def _state_of(job: status.JobStatus) -> str:
    """Return the state of a job in words."""
    parts = [f"{job.status} at {local_time(job.started_at)}" if job.started_at else "never run"]
    if job.overdue_since:
        parts.append(f"not called at {local_time(job.overdue_since)}, when it should have been")
    if job.status not in ("running", "hanging"):
        called = (
            f"due at the next tick: {job.due_because}" if job.cron else "runs when it is called"
        )
        parts.append(job.waiting or called)
    return "; ".join(parts)


@jobs.command("pause")
@click.argument("name")
@click.option("--until", help="When it goes on by itself: YYYY-MM-DD, or an instant.")
@click.option("--reason", default="", help="Reason of the pause.")
@by_option
@common_options
def pause_job(
    profile: str | None, name: str, until: str | None, reason: str, by: str, as_json: bool
) -> None:
    """Let cron not start a job for a while; after a day that is an alert."""
    settings = factory_settings.load(profile)
    job_settings(settings, name)
    now = SystemClock(settings.clock_offset_s).now()
    end = parse_instant(until) if until else None
    with open_state(settings) as state:
        pause = schedule.pause(state, name, now, until=end, by=by, reason=reason)
    write_either(as_json, {"job": name, "pause": str(pause)}, f"{name} is {pause}.")


@jobs.command("resume")
@click.argument("name")
@common_options
def resume_job(profile: str | None, name: str, as_json: bool) -> None:
    """End the pause of a job."""
    settings = factory_settings.load(profile)
    job_settings(settings, name)
    with open_state(settings) as state:
        schedule.resume(state, name)
    write_either(as_json, {"job": name, "resumed": True}, f"{name} is due by its rule again.")


@commands.command("index")
@common_options
def write_index(profile: str | None, as_json: bool) -> None:
    """Write runs/index.html anew."""
    from factory_lib.runs import index

    settings = factory_settings.load(profile)
    with displayed_in(settings.plant.zone):
        file = str(index.write_index(settings.paths, every=True))
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
    hidden = ("secrets", "catalogue", "table")
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
            names = {"profile": "", "as_of": "", **spec.parameters}
            runner.check_declared(runner.read_notebook(settings, spec), spec, names)
        except FactoryError as error:
            yield f"Job {name} cannot run: {error}"
    yield from week_problems(settings)
