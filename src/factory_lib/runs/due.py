"""Due or not due: decided from the shared state and the publication rules alone.

One rule for each kind of job (``kind`` in ``[jobs]``); a rule returns why there is
nothing to do, or None when something new can exist. Standard library only: a tick with
nothing due reads a few rows of one SQLite file and ends.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from factory_lib import sources as providers
from factory_lib.catalogue import DayAhead, Grid, Series
from factory_lib.clock import HOUR_S, day_start, epoch, market_day
from factory_lib.runs.pauses import pauses
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import State, attempts, marks

PLAN_AGAIN_AFTER = timedelta(hours=6)
LONGEST_QUIET = timedelta(hours=1)  # health is checked that often, and after a job that failed


class JobTick(NamedTuple):
    """One tick of a job, with the beginning of its last run."""

    settings: Settings
    state: State
    last: datetime
    ended_well: bool
    now: datetime


DueRule = Callable[[JobTick], str | None]


def nothing_due(settings: Settings, state: State, job: str, now: datetime) -> str | None:
    """Return why a job has nothing to do, or None when something new can exist.

    Ingestion goes by the latest requests, the automatic backfill by its passes; every
    other job is due after a run that failed.
    """
    spec = settings.jobs[job]
    if paused := pauses(state, now).get(job):
        return str(paused)
    if spec.kind == "ingestion":
        return None if waiting_entries(settings) else _nothing_new(settings, state, spec, now)
    last_run = marks.get_mark(state, marks.LAST_RUN, job)
    if last_run is None:
        return None
    tick = JobTick(settings, state, last_run.at, last_run.note["status"] == "ok", now)
    if spec.kind == "backfill" and spec.parameters.get("automatic", True):
        return _nothing_to_fill(tick)
    return DUE_RULES[spec.kind](tick) if tick.ended_well else None


# -- the inbox -------------------------------------------------------------------------


def waiting_entries(settings: Settings, *, complete: bool = True) -> list[Path]:
    """Return the files of the inbox, and the folders that hold one, that are complete, or not.

    ``name.part`` is still being written, and so is what was written to in the last
    seconds (setting); ``.name`` is left alone.
    """
    # Files have the machine's time, whatever the profile's is; one from the future is
    # complete.
    now = time.time()
    latest = now - settings.inbox.settled_after_s

    def is_complete(parts: Mapping[Path, tuple[int, float]]) -> bool:
        return all(
            part.suffix != ".part" and not latest < written <= now
            for part, (_, written) in parts.items()
        )

    entries = [(entry, entry_files(entry)) for entry in settings.paths.inbox.glob("[!.]*")]
    return sorted(entry for entry, parts in entries if parts and is_complete(parts) == complete)


def entry_files(entry: Path) -> dict[Path, tuple[int, float]]:
    """Return size and time of change of a file, or of all in a folder; empty without a file."""
    below = list(entry.rglob("*")) if entry.is_dir() else [entry]
    if not any(not part.is_dir() for part in below):
        return {}
    files = {}
    for part in (entry, *below):
        with suppress(FileNotFoundError):  # removed just now
            status = part.stat() if part.exists() else part.lstat()  # a link to nothing
            files[part] = (status.st_size, status.st_mtime)
    return files


# -- ingestion -------------------------------------------------------------------------


def _nothing_new(settings: Settings, state: State, spec: JobSettings, now: datetime) -> str | None:
    names = [
        name
        for name in providers.select(settings, str(spec.parameters.get("sources", "all")))
        if not providers.missing(name, settings)
    ]
    requests = attempts.last_requests(state)
    if not names or any(name not in requests for name in names):
        return None
    since = min(requests[name] for name in names)
    available_at = _newest_late_slot(settings, state, names, now)
    if available_at is None:
        return f"{', '.join(names)} can have nothing new since {since:%H:%M}Z"
    if now >= attempts.late_retry_at(since, available_at):
        return None
    return f"what is late was asked for at {since:%H:%M}Z"


def _newest_late_slot(
    settings: Settings, state: State, names: list[str], now: datetime
) -> datetime | None:
    """Return since when the newest slot that the sources can have and the store lacks is there."""
    latest = marks.get_marks(state, marks.LATEST_SLOT)
    newest: dict[str, tuple[datetime, datetime]] = {}
    for name in names:
        for series in map(settings.catalogue.__getitem__, providers.SOURCES[name].served(settings)):
            if series.name in latest:
                newest[series.name] = _newest_slot(series, name, now)
    late = [at for name, (end, at) in newest.items() if end > latest[name].at]
    return max(late, default=None)


def _newest_slot(series: Series, source: str, now: datetime) -> tuple[datetime, datetime]:
    """Return the end of the newest slot a source can have at ``now``, and since when it can."""
    rule = series.publication_by_source.get(source) or next(iter(series.publication.values()))
    published_until = rule.known_until(now)
    if isinstance(rule, DayAhead):
        last = published_until - timedelta(seconds=1)
        return published_until, rule.available_at(last, HOUR_S)
    step_s = series.resolution_at(now)
    end = published_until - timedelta(seconds=epoch(published_until) % step_s)
    return end, now - (published_until - end)


# -- gaps ------------------------------------------------------------------------------


def _nothing_to_fill(tick: JobTick) -> str | None:
    """Return why the automatic backfill has nothing to do.

    Between two accounts of all slots only passes are due, even after a run that failed.
    """
    following = attempts.next_pass(tick.state)
    if following is None:
        return None
    if tick.now < following.at <= tick.now + attempts.LOOK_EVERY:
        return f"gaps are looked for again at {following.at:%H:%M}Z"
    clock_was_put_back = following.at > tick.now
    if clock_was_put_back or following.is_retry or not tick.ended_well:
        return None
    return _no_new_gap(tick)


def _no_new_gap(tick: JobTick) -> str | None:
    """Return why no gap can be new or filled.

    One can where a slot fell due, an unfillable one is to be requested again, or a market
    day ended since the last run.
    """
    if market_day(tick.last) < market_day(tick.now):
        return None
    latest = marks.get_marks(tick.state, marks.LATEST_SLOT)
    catalogue = tick.settings.catalogue
    if any(_due_slots_end(catalogue[name], tick.now) > mark.at for name, mark in latest.items()):
        return None
    retry_at = attempts.next_gap_retry(tick.state, latest)
    if retry_at is not None and retry_at <= tick.now:
        return None
    return _nothing_stored(tick)


def _due_slots_end(series: Series, now: datetime) -> datetime:
    """Return the end of the last whole slot that is due; part of a day is no daily value."""
    due = series.due_until(now)
    cadence = next(c for c in reversed(series.cadences) if due >= c.since)
    if cadence.grid is Grid.LOCAL_DAY:
        return day_start(market_day(due))
    return due - timedelta(seconds=epoch(due) % cadence.resolution_s)


# -- the other jobs --------------------------------------------------------------------


def _nothing_stored(tick: JobTick) -> str | None:
    if any(mark.at >= tick.last for mark in marks.get_marks(tick.state, marks.STORED).values()):
        return None
    return f"nothing was stored since the last run at {tick.last:%Y-%m-%d %H:%M}Z"


def _no_drift(tick: JobTick) -> str | None:
    drifts = marks.get_marks(tick.state, marks.DRIFT).values()
    if any(drift.note and drift.at >= tick.last for drift in drifts):
        return None
    return _nothing_stored(tick)


def _plan_is_current(tick: JobTick) -> str | None:
    """Return why the plan is current.

    It goes by prices first of all; the weather forecast changes slowly, and a new day has
    a tomorrow of its own.
    """
    priced = marks.get_mark(tick.state, marks.STORED, f"{tick.settings.tariff.price_basis}_eur_mwh")
    if (
        (priced and priced.at >= tick.last)
        or market_day(tick.last) < market_day(tick.now)
        or tick.now - tick.last >= PLAN_AGAIN_AFTER
    ):
        return None
    return f"no price came since the last plan at {tick.last:%Y-%m-%d %H:%M}Z"


def _no_job_failed(tick: JobTick) -> str | None:
    runs = marks.get_marks(tick.state, marks.LAST_RUN).values()
    failed = any(run.at >= tick.last and run.note["status"] != "ok" for run in runs)
    if failed or tick.now - tick.last >= LONGEST_QUIET:
        return None
    return f"all was quiet since {tick.last:%H:%M}Z"


def _always_due(tick: JobTick) -> None:
    return None


# after a run that ended well; ingestion and the automatic backfill have rules of their own
DUE_RULES: Mapping[str, DueRule] = {
    "gap_analysis": _no_new_gap,
    "backfill": _no_new_gap,
    "features": _nothing_stored,
    "training": _no_drift,
    "predictions": _nothing_stored,
    "plan": _plan_is_current,
    "health": _no_job_failed,
    "maintenance": _always_due,
    "other": _nothing_stored,
}
