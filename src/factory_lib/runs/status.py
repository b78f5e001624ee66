"""State of each job: begun, ended, due, overdue, paused or never run. Only looks.

Standard library only: `factory jobs` and the live page read it.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, cast

from factory_lib.clock import from_epoch
from factory_lib.runs import due, schedule
from factory_lib.runs.records import ending_of, is_running
from factory_lib.runs.schedule import Pause, pauses
from factory_lib.settings import Settings
from factory_lib.state import State, calls, marks
from factory_lib.state.marks import TOLERANCE, Calls, Mark, cron_calls

JobState = Literal["ok", "warn", "failed", "killed", "running", "hanging", "never"]


class JobStatus(NamedTuple):
    """The state of one job; times are UTC.

    Attributes
    ----------
    status : str
        How its last run ended; ``running``, ``hanging`` (running for more than twice the
        longest time of a cell), or ``never``.
    started_at, ended_at : datetime or None
        Of its last run; of an earlier version's run the end is not known.
    called_at : datetime or None
        Its last tick, due or not.
    overdue_since : datetime or None
        The call of its schedule that did not come.
    pause : Pause or None
    waiting : str
        Why a tick has nothing to do now; empty where the job is due.
    due_because : str
        Why the job is due; empty where it is not.
    folder : str
        The folder of its last run, below that of all runs.
    """

    job: str
    notebook: str
    cron: str
    status: JobState
    started_at: datetime | None
    ended_at: datetime | None
    called_at: datetime | None
    overdue_since: datetime | None
    pause: Pause | None
    waiting: str
    due_because: str
    summary: str
    folder: str


def is_scheduled(settings: Settings, state: State, now: datetime) -> bool:
    """Return whether cron is expected to call: it did before, or the profile lives by it."""
    lives_by_it = settings.origin == "real" and any(s.enabled for s in settings.sources.values())
    return lives_by_it or cron_calls(state, now) is not None


def job_statuses(settings: Settings, state: State, now: datetime) -> list[JobStatus]:
    """Return the state of every job of the settings, in their order."""
    # a clock that was corrected by seconds must not hide the tick of just now
    called = calls.last_ticks(state, now + TOLERANCE)
    starts = marks.get_marks(state, marks.STARTED)
    ends = marks.get_marks(state, marks.LAST_RUN)
    paused = pauses(state, now)
    cron = cron_calls(state, now)
    statuses = []
    for job, spec in settings.jobs.items():
        start = starts.get(job)
        lives = start is not None and is_running(state, job, start.note)
        longest = timedelta(seconds=2 * spec.timeout_s)
        last_run = _last_run(start, ends.get(job), now, longest, lives=lives)
        is_expected = job not in paused and last_run["status"] != "running"
        verdict = due.judge(settings, state, job, now)
        statuses.append(
            JobStatus(
                job=job,
                notebook=spec.notebook,
                cron=spec.cron,
                called_at=called.get(job),
                overdue_since=_overdue_since(spec.cron, called.get(job), cron, now)
                if cron and is_expected
                else None,
                pause=paused.get(job),
                waiting="" if verdict.is_due else verdict.why,
                due_because=verdict.why if verdict.is_due else "",
                **last_run,
            )
        )
    return statuses


def _last_run(
    start: Mark | None, end: Mark | None, now: datetime, longest: timedelta, *, lives: bool
) -> dict[str, Any]:
    """Return the fields of a status that the marks of the last run tell."""
    last = start or end
    ended = end.note.get("ended") if end and not start else None
    return {
        "status": _state_of(start, end, now, longest, lives=lives),
        "started_at": last.at if last else None,
        "ended_at": None if ended is None else from_epoch(ended),
        "summary": _summary(start, end, lives=lives),
        "folder": last.note.get("folder", "") if last else "",
    }


def _state_of(
    start: Mark | None, end: Mark | None, now: datetime, longest: timedelta, *, lives: bool
) -> JobState:
    if start and not lives:
        return "killed"
    if start:
        return "hanging" if now - start.at > longest else "running"
    if not end:
        return "never"
    return cast(JobState, ending_of(end.note["status"], end.note.get("level") or ""))


def _overdue_since(
    cron: str, called_at: datetime | None, calls: Calls, now: datetime
) -> datetime | None:
    """Return the call that did not come though cron called other jobs, or None."""
    expected = schedule.latest(cron, min(now, calls.last) - schedule.GRACE) if cron else None
    since = max(called_at or calls.since, calls.since)
    return expected if expected is not None and expected > since else None


def _summary(start: Mark | None, end: Mark | None, *, lives: bool) -> str:
    if start and not lives:
        return "The process ended before the notebook did."
    if start or not end:
        return ""
    note = end.note
    return str(note.get("error") or note.get("summary") or note.get("verdict", ""))
