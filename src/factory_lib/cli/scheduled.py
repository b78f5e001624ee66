"""Jobs as cron calls them: each runs when something new can exist.

Standard library only until a job is due.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from factory_lib import settings as factory_settings
from factory_lib.cli import simulation
from factory_lib.cli.output import write, write_json
from factory_lib.clock import SystemClock, parse_instant
from factory_lib.errors import BadInput, JobLocked
from factory_lib.runs import due
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import open_state
from factory_lib.state.ticks import count_tick

# A job that failed outweighs one that was only locked, whatever the numbers say.
_WORST_FIRST = (1, 2, 69, 75, 0)


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
    try:
        return settings.jobs[job]
    except KeyError:
        jobs = ", ".join(settings.jobs)
        raise BadInput(f"There is no job {job!r}.", next_step=f"Known: {jobs}.") from None


def run_jobs(
    profile: str | None,
    names: Sequence[str],
    *,
    as_of: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    code: bool = False,
    as_json: bool = False,
) -> int:
    """Run jobs one after the other and return the worst exit code.

    A job with nothing due is one row in the state and ends without starting a kernel; with
    ``as_of``, ``parameters`` or ``force`` every job runs.
    """
    loaded = factory_settings.load(profile)
    specs = {name: job_settings(loaded, name) for name in names}
    always = force or bool(as_of) or bool(parameters)
    codes = []
    with simulation.ensure_running(loaded) as settings:
        at = parse_instant(as_of) if as_of else SystemClock(settings.clock_offset_s).now()
        for name, spec in specs.items():
            if not always and (reason := _nothing_due(settings, name, at)):
                _report({"job": name, "status": "not_due", "summary": reason}, as_json)
                codes.append(0)
                continue
            options = {"parameters": parameters or {}, "code": code, "replay": bool(as_of)}
            codes.append(_run(settings, name, spec, at, as_json=as_json, **options))
    return worst(codes)


def _run(
    settings: Settings,
    name: str,
    spec: JobSettings,
    as_of: datetime,
    *,
    as_json: bool,
    **options: Any,
) -> int:
    from factory_lib.monitoring import alerts
    from factory_lib.runs import runner

    run_options = runner.RunOptions(**options, after_run=alerts.after_run)
    try:
        folder, record = runner.run_job(settings, name, spec, as_of, run_options)
    except JobLocked as locked:
        with open_state(settings) as state:
            count_tick(state, name, "locked", as_of)
        _report({"job": name, "status": "skipped", "summary": str(locked)}, as_json)
        return locked.exit_code
    if as_json:
        write_json({**asdict(record), "folder": str(folder)})
    else:
        sentence = f"{record.error or record.summary}\n  {folder / 'report.html'}"
        _report({"job": name, "status": record.ending, "summary": sentence}, as_json)
    return record.exit_code


def _nothing_due(settings: Settings, name: str, now: datetime) -> str | None:
    """Return why there is nothing to do, after counting the tick; None when the job is due."""
    with open_state(settings) as state:
        reason = due.nothing_due(settings, state, name, now)
        if reason:
            count_tick(state, name, "not_due", now)
    return reason


def _report(fields: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        write_json(fields)
    else:
        write("{job}: {status}. {summary}".format(**fields))
