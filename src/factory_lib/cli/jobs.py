"""The jobs of ``config/factory.toml``: run them when something new can exist, list them, show the settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from factory_lib import settings as _settings
from factory_lib.cli import simulation
from factory_lib.clock import SystemClock, parse_instant
from factory_lib.errors import BadInput, FactoryError, JobLocked
from factory_lib.runs import due
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import open_state
from factory_lib.state.marks import LAST_RUN, get_marks
from factory_lib.state.ticks import count_tick

_WORST_FIRST = (
    1,
    2,
    69,
    75,
    0,
)  # a job that failed outweighs one that was only locked, whatever the numbers say


def worst(codes: Iterable[int]) -> int:
    """Return the exit code that stands for all: failed, then wrong input, unavailable, locked and done."""
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
        raise BadInput(
            f"There is no job {job!r}.", next_step=f"Known: {', '.join(settings.jobs)}."
        ) from None


def run(
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

    A replay (``as_of``), explicit parameters and ``force`` always run; otherwise a job
    with nothing due is one row in the state and ends without starting a kernel.
    """
    chosen = _settings.load(profile)
    specs = {name: job_settings(chosen, name) for name in names}
    asked = force or bool(as_of) or bool(parameters)
    with simulation.provided(chosen) as settings:
        instant = parse_instant(as_of) if as_of else SystemClock(settings.clock_offset_s).now()
        return worst(
            _run_one(settings, name, spec, instant, parameters, asked, bool(as_of), code, as_json)
            for name, spec in specs.items()
        )


def _run_one(
    settings: Settings,
    name: str,
    spec: JobSettings,
    as_of: datetime,
    parameters: Mapping[str, Any] | None,
    asked: bool,
    replay: bool,
    code: bool,
    as_json: bool,
) -> int:
    if not asked and (nothing := _nothing_due(settings, name, as_of)):
        _say({"job": name, "status": "not_due", "summary": nothing}, as_json)
        return 0
    from factory_lib.monitoring import alerts
    from factory_lib.runs import runner

    try:
        options = runner.RunOptions(
            parameters=parameters or {}, code=code, replay=replay, after_run=alerts.after_run
        )
        folder, record = runner.run_job(settings, name, spec, as_of, options)
    except JobLocked as locked:
        with open_state(settings) as state:
            count_tick(state, name, "locked", as_of)
        _say({"job": name, "status": "skipped", "summary": str(locked)}, as_json)
        return locked.exit_code
    _say(
        {**asdict(record), "folder": str(folder)} if as_json else _line(settings, record, folder),
        as_json,
    )
    return record.exit_code


def _nothing_due(settings: Settings, name: str, now: datetime) -> str | None:
    """Return why there is nothing to do, after counting the tick; None when the job is due."""
    with open_state(settings) as state:
        reason = due.nothing_due(settings, state, name, now)
        if reason:
            count_tick(state, name, "not_due", now)
    return reason


def _line(settings: Settings, record: Any, folder: Any) -> dict[str, Any]:
    return {
        "job": record.job,
        "status": record.ending,
        "summary": record.error or record.summary,
        "report": folder / "report.html",
    }


def _say(fields: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(fields, default=str) + "\n")
        return
    report = f"\n  {fields['report']}" if "report" in fields else ""
    sys.stdout.write(f"{fields['job']}: {fields['status']}. {fields['summary']}{report}\n")
    sys.stdout.flush()


def show(profile: str | None, *, as_json: bool = False) -> int:
    """Print every job with notebook, cadence and last run."""
    settings = _settings.load(profile)
    with open_state(settings) as state:
        last = get_marks(state, LAST_RUN)
    rows = [
        {
            "job": name,
            "notebook": spec.notebook,
            "cron": spec.cron or "on demand",
            "last_run": last[name][0].isoformat() if name in last else None,
            "status": last[name][1]["status"] if name in last else None,
        }
        for name, spec in settings.jobs.items()
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        for row in rows:
            ran = f"{row['status']} at {row['last_run']}" if row["last_run"] else "never run"
            sys.stdout.write(f"{row['job']:<28}{row['notebook']:<24}{row['cron']:<16}{ran}\n")
    return 0


def config(profile: str | None, action: str, *, as_json: bool = False) -> int:
    """Check the settings, or print them with secrets masked; 1 where a check finds them wanting."""
    from factory_lib.planning import plant_summary

    settings = _settings.load(profile)
    if not as_json:
        sys.stdout.write(
            "\n".join(
                [
                    f"From {settings.file}, profile {settings.profile}:",
                    *plant_summary.told(settings),
                ]
            )
        )
    if action == "check":
        return _check(settings, as_json)
    if not as_json:
        sys.stdout.write("\n\nEverything that is set, secrets left out:\n")
    shown = {key: value for key, value in vars(settings).items() if key != "secrets"}
    plain = {key: _plain(value) for key, value in shown.items()}
    sys.stdout.write(
        json.dumps(plain, indent=None if as_json else 2, default=str, ensure_ascii=False) + "\n"
    )
    return 0


def _check(settings: Settings, as_json: bool) -> int:
    trouble = list(_trouble(settings))
    if as_json:
        found = {
            "file": str(settings.file),
            "profile": settings.profile,
            "sound": not trouble,
            "trouble": trouble,
        }
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        sound = "is not sound" if trouble else "is sound, and every weekday has a plan"
        sys.stdout.write("".join(f"\n{line}" for line in [*trouble, f"{settings.file} {sound}.\n"]))
    return int(bool(trouble))


def _trouble(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with settings that could be loaded: jobs that cannot run, a weekday that has no plan."""
    from factory_lib.planning import plant_summary
    from factory_lib.runs import runner

    for name, spec in settings.jobs.items():
        try:
            runner.notebook_for(settings, spec, {"profile": "", "as_of": "", **spec.parameters})
        except FactoryError as error:
            yield f"Job {name} cannot run: {error}"
    yield from (
        f"No plan is possible on a {line}." for line in plant_summary.cannot(settings.plant)
    )


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {key: _plain(item) for key, item in vars(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
