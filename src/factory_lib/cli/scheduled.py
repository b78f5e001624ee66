"""Jobs as cron calls them: each runs when something new can exist.

Standard library only until a job is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from factory_lib.runs.records import RunRecord

# A job that failed outweighs one that was only locked, whatever the numbers say.
_WORST_FIRST = (1, 2, 69, 75, 0)


@dataclass(frozen=True)
class JobOptions:
    """Options of ``factory run``; with one of the first three a job runs even when not due."""

    as_of: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    code: bool = False
    as_json: bool = False

    @property
    def always(self) -> bool:
        """Whether jobs run even when nothing new can exist."""
        return self.force or bool(self.as_of) or bool(self.parameters)


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


def run_jobs(profile: str | None, names: Sequence[str], options: JobOptions) -> int:
    """Run jobs one after the other and return the worst exit code.

    A job with nothing due is one row in the state and ends without starting a kernel.
    """
    loaded = factory_settings.load(profile)
    specs = {name: job_settings(loaded, name) for name in names}
    with simulation.ensure_running(loaded) as settings:
        instant = SystemClock(settings.clock_offset_s).now()
        as_of = parse_instant(options.as_of) if options.as_of else instant
        return worst(_run(settings, name, spec, as_of, options) for name, spec in specs.items())


def _run(
    settings: Settings, name: str, spec: JobSettings, as_of: datetime, options: JobOptions
) -> int:
    if not options.always and (reason := _nothing_due(settings, name, as_of)):
        _report({"job": name, "status": "not_due", "summary": reason}, options.as_json)
        return 0
    from factory_lib.monitoring import alerts
    from factory_lib.runs import runner

    try:
        run_options = runner.RunOptions(
            parameters=options.parameters,
            code=options.code,
            replay=bool(options.as_of),
            after_run=alerts.after_run,
        )
        folder, record = runner.run_job(settings, name, spec, as_of, run_options)
    except JobLocked as locked:
        with open_state(settings) as state:
            count_tick(state, name, "locked", as_of)
        _report({"job": name, "status": "skipped", "summary": str(locked)}, options.as_json)
        return locked.exit_code
    _report_run(record, folder, options.as_json)
    return record.exit_code


def _nothing_due(settings: Settings, name: str, now: datetime) -> str | None:
    """Return why there is nothing to do, after counting the tick; None when the job is due."""
    with open_state(settings) as state:
        reason = due.nothing_due(settings, state, name, now)
        if reason:
            count_tick(state, name, "not_due", now)
    return reason


def _report_run(record: RunRecord, folder: Path, as_json: bool) -> None:
    if as_json:
        _report({**asdict(record), "folder": str(folder)}, as_json)
        return
    sentence = record.error or record.summary
    _report({"job": record.job, "status": record.ending, "summary": sentence}, as_json)
    write(f"  {folder / 'report.html'}")


def _report(fields: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        write_json(fields)
    else:
        write("{job}: {status}. {summary}".format(**fields))
