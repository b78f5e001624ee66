"""State of each job: begun, ended, due, overdue, paused or never run. Only looks.

Standard library only: `factory jobs` and the live page read it.
"""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple, cast

from factory_lib.clock import from_epoch
from factory_lib.runs import due, schedule
from factory_lib.runs.pauses import Pause, pauses
from factory_lib.runs.records import ending_of, is_running
from factory_lib.settings import Settings
from factory_lib.state import State, calls, marks
from factory_lib.state.cron_calls import Calls, cron_calls
from factory_lib.state.future import TOLERANCE
from factory_lib.state.marks import Mark

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
    for job in settings.jobs:
        start = starts.get(job)
        lives = start is not None and is_running(state, job, start.note)
        status = _status_of(settings, job, start, ends.get(job), now, lives=lives)
        overdue_since = None
        if cron and job not in paused and status.status != "running":
            overdue_since = _overdue_since(status.cron, called.get(job), cron, now)
        verdict = due.judge(settings, state, job, now)
        statuses.append(
            status._replace(
                called_at=called.get(job),
                overdue_since=overdue_since,
                pause=paused.get(job),
                waiting="" if verdict.is_due else verdict.why,
                due_because=verdict.why if verdict.is_due else "",
            )
        )
    return statuses


def _status_of(
    settings: Settings,
    job: str,
    start: Mark | None,
    end: Mark | None,
    now: datetime,
    *,
    lives: bool,
) -> JobStatus:
    """Return the state of a job by its last run alone, whose process may still live."""
    spec = settings.jobs[job]
    last = start or end
    return JobStatus(
        job=job,
        notebook=spec.notebook,
        cron=spec.cron,
        status=_state_of(start, end, now, timedelta(seconds=2 * spec.timeout_s), lives=lives),
        started_at=last.at if last else None,
        ended_at=None if start or not end else _ended_at(end),
        called_at=None,
        overdue_since=None,
        pause=None,
        waiting="",
        due_because="",
        summary=_summary(start, end, lives=lives),
        folder=last.note.get("folder", "") if last else "",
    )


def _state_of(
    start: Mark | None, end: Mark | None, now: datetime, longest: timedelta, *, lives: bool
) -> JobState:
    if start:
        if not lives:
            return "killed"
        return "hanging" if now - start.at > longest else "running"
    if end:
        ending = ending_of(end.note["status"], end.note.get("level") or "")
        return cast(JobState, ending)
    return "never"


def _overdue_since(
    cron: str, called_at: datetime | None, calls: Calls, now: datetime
) -> datetime | None:
    """Return the call that did not come though cron called other jobs, or None."""
    expected = schedule.latest(cron, min(now, calls.last) - schedule.GRACE) if cron else None
    since = max(called_at or calls.since, calls.since)
    return expected if expected is not None and expected > since else None


def _ended_at(end: Mark) -> datetime | None:
    return from_epoch(end.note["ended"]) if "ended" in end.note else None


def _summary(start: Mark | None, end: Mark | None, *, lives: bool) -> str:
    if start and not lives:
        return "The process ended before the notebook did."
    if start or not end:
        return ""
    note = end.note
    return str(note.get("error") or note.get("summary") or note.get("verdict", ""))
