"""Due or not due: decided from the shared state and the publication rules alone.

One rule for each kind of job (``kind`` in ``[jobs]``); a rule returns whether it is due,
and why. Standard library only: a tick with
nothing due reads a few rows of one SQLite file and ends.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from factory_lib import sources as providers
from factory_lib.catalogue import MARKET_PRICES, DayAhead, Grid, Series
from factory_lib.clock import HOUR_S, day_start, epoch, floored, local_day, local_time, market_day
from factory_lib.runs.schedule import pauses
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import State, attempts, marks, open_state

PLAN_AGAIN_AFTER = timedelta(hours=6)
LONGEST_QUIET = timedelta(hours=1)  # health is checked that often, and after a job that failed


class JobTick(NamedTuple):
    """One tick of a job, with the beginning of its last run."""

    settings: Settings
    state: State
    last: datetime
    ended_well: bool
    now: datetime


class Verdict(NamedTuple):
    """Whether a job is due, and why."""

    is_due: bool
    why: str


DueRule = Callable[[JobTick], Verdict]


def nothing_due(settings: Settings, state: State, job: str, now: datetime) -> str | None:
    """Return why a job has nothing to do, or None when something new can exist."""
    verdict = judge(settings, state, job, now)
    return None if verdict.is_due else verdict.why


def judge(settings: Settings, state: State, job: str, now: datetime) -> Verdict:
    """Return whether a job is due, and why.

    Ingestion goes by the latest requests, the automatic backfill by its passes; every
    other job is due after a run that failed.
    """
    spec = settings.jobs[job]
    if paused := pauses(state, now).get(job):
        return Verdict(False, str(paused))
    if spec.kind == "ingestion":
        if waiting := waiting_entries(settings):
            return Verdict(True, f"the inbox holds {_some(entry.name for entry in waiting)}")
        return _new_values(settings, state, spec, now)
    last_run = marks.get_mark(state, marks.LAST_RUN, job)
    if last_run is None:
        return Verdict(True, "it has not run yet")
    tick = JobTick(settings, state, last_run.at, last_run.note["status"] == "ok", now)
    if spec.kind == "backfill" and spec.parameters.get("automatic", True):
        return _pass(tick)
    return DUE_RULES[spec.kind](tick) if tick.ended_well else _AFTER_FAILURE


_AFTER_FAILURE = Verdict(True, "its last run did not end well")


def _some(names: Iterable[str], most: int = 3) -> str:
    """Return a few names, and how many more there are."""
    listed = sorted(names)
    more = [f"{len(listed) - most} more"] if len(listed) > most else []
    return ", ".join([*listed[:most], *more])


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


def _new_values(settings: Settings, state: State, spec: JobSettings, now: datetime) -> Verdict:
    names = [
        name
        for name in providers.select(settings, str(spec.parameters.get("sources", "all")))
        if not providers.missing(name, settings)
    ]
    requests = attempts.last_requests(state)
    if not names:
        return Verdict(True, "it has no source, which its run says")
    if never := [name for name in names if name not in requests]:
        return Verdict(True, f"not asked yet: {_some(never)}")
    since = min(requests[name] for name in names)
    available_at = _newest_late_slot(settings, state, names, now)
    if available_at is None:
        return Verdict(False, f"{_some(names)} can have nothing new since {local_time(since)}")
    if now >= attempts.late_retry_at(since, available_at):
        return Verdict(True, f"new values can be there since {local_time(available_at)}")
    return Verdict(False, f"what is late was asked for at {local_time(since)}")


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
    end = floored(published_until, series.resolution_at(now))
    return end, now - (published_until - end)


# -- gaps ------------------------------------------------------------------------------


def _pass(tick: JobTick) -> Verdict:
    """Return whether a pass of the automatic backfill is due.

    Between two accounts of all slots only passes are due, even after a run that failed, and
    what an analysis found.
    """
    following = attempts.next_pass(tick.state)
    if following is None:
        return Verdict(True, "the slots were not accounted for yet")
    gap = marks.get_mark(tick.state, marks.NEW_GAP, marks.NEW_GAP)
    if gap and gap.at >= tick.last:
        return Verdict(True, f"a gap was found at {local_time(gap.at)}")
    if tick.now < following.at <= tick.now + attempts.LOOK_EVERY:
        return Verdict(False, f"gaps are looked for again at {local_time(following.at)}")
    if following.at > tick.now:
        return Verdict(True, "the clock was put back")
    if following.is_retry:
        return Verdict(True, "what a provider did not answer for is requested again")
    return _new_gap(tick) if tick.ended_well else _AFTER_FAILURE


def _new_gap(tick: JobTick) -> Verdict:
    """Return whether a gap can be new or filled.

    One can where a slot fell due, an unfillable one is to be requested again, or a market
    day ended since the last run.
    """
    if market_day(tick.last) < market_day(tick.now):
        return Verdict(True, "a market day ended since its last run")
    latest = marks.get_marks(tick.state, marks.LATEST_SLOT)
    catalogue = tick.settings.catalogue
    if late := [
        n for n, mark in latest.items() if _due_slots_end(catalogue[n], tick.now) > mark.at
    ]:
        return Verdict(True, f"slots of {_some(late)} are due and not there")
    retry_at = attempts.next_gap_retry(tick.state, latest)
    if retry_at is not None and retry_at <= tick.now:
        return Verdict(True, "slots that no source had are requested again")
    return _new_stored(tick)


def _due_slots_end(series: Series, now: datetime) -> datetime:
    """Return the end of the last whole slot that is due; part of a day is no daily value."""
    due = series.due_until(now)
    cadence = next(c for c in reversed(series.cadences) if due >= c.since)
    if cadence.grid is Grid.LOCAL_DAY:
        return day_start(market_day(due))
    return floored(due, cadence.resolution_s)


# -- the other jobs --------------------------------------------------------------------


def _stored(tick: JobTick) -> dict[str, marks.Mark]:
    """Return when each series last got a value, those of the market where another site has it."""
    stored = marks.get_marks(tick.state, marks.STORED)
    if tick.settings.has_market:
        return stored
    market = tick.settings.for_site(tick.settings.market_id)
    with open_state(market, read_only=True) as state:
        return marks.get_marks(state, marks.STORED) | stored


def _new_stored(tick: JobTick, among: Collection[str] = ()) -> Verdict:
    """Return whether values were stored since the last run, of some series where they are named."""
    stored = _stored(tick).items()
    if new := [n for n, mark in stored if mark.at >= tick.last and (not among or n in among)]:
        return Verdict(True, f"values of {_some(new)} were stored since its last run")
    if killed := _ended(tick, ("ingestion", "backfill"), ("killed",)):
        return Verdict(True, f"killed, and may have stored values: {_some(killed)}")
    what = "no price" if among else "nothing"
    return Verdict(False, f"{what} was stored since the last run at {local_time(tick.last)}")


def _ended(tick: JobTick, kinds: Sequence[str], statuses: Sequence[str]) -> list[str]:
    """Return the jobs of some kinds whose last run ended so since the last run of this one."""
    runs = marks.get_marks(tick.state, marks.LAST_RUN)
    return [
        name
        for name, spec in tick.settings.jobs.items()
        if spec.kind in kinds
        and name in runs
        and runs[name].note["status"] in statuses
        and runs[name].note.get("ended", 0) >= epoch(tick.last)
    ]


def _retraining(tick: JobTick) -> Verdict:
    """Return whether a training can be worth it: on drift, for prices, and once a day.

    Weather that comes every hour is learnt with the next prices.
    """
    drifts = marks.get_marks(tick.state, marks.DRIFT)
    drifting = [name for name, mark in drifts.items() if mark.note and mark.at >= tick.last]
    if drifting:
        return Verdict(True, f"the forecasts of {_some(drifting)} are out of line")
    is_new_day = market_day(tick.last) < market_day(tick.now)
    return _new_stored(tick) if is_new_day else _new_stored(tick, MARKET_PRICES)


def _old_plan(tick: JobTick) -> Verdict:
    """Return whether the plan is to be made anew.

    It goes by prices first of all; the weather forecast changes slowly, and a new day has
    a tomorrow of its own.
    """
    priced = _stored(tick).get(f"{tick.settings.tariff.price_basis}_eur_mwh")
    if priced and priced.at >= tick.last:
        return Verdict(True, f"prices came at {local_time(priced.at)}")
    zone = tick.settings.plant.zone
    if local_day(tick.last, zone) < local_day(tick.now, zone):
        return Verdict(True, "it is a new day")
    if tick.now - tick.last >= PLAN_AGAIN_AFTER:
        return Verdict(True, f"the last plan is of {local_time(tick.last)}")
    return Verdict(False, f"no price came since the last plan at {local_time(tick.last)}")


def _look_again(tick: JobTick) -> Verdict:
    """Return whether health is to be looked at: hourly, after a failure or a backfill."""
    runs = marks.get_marks(tick.state, marks.LAST_RUN)
    bad = [job for job, run in runs.items() if run.at >= tick.last and run.note["status"] != "ok"]
    if bad:
        return Verdict(True, f"{_some(bad)} did not end well")
    if filled := _ended(tick, ("backfill",), ("ok",)):
        return Verdict(True, f"{_some(filled)} ended")
    if tick.now - tick.last >= LONGEST_QUIET:
        return Verdict(True, f"the last look was at {local_time(tick.last)}")
    return Verdict(False, f"all was quiet since {local_time(tick.last)}")


# after a run that ended well; ingestion and the automatic backfill have rules of their own
DUE_RULES: Mapping[str, DueRule] = {
    "gap_analysis": _new_gap,
    "backfill": _new_gap,
    "features": _new_stored,
    "training": _retraining,
    "predictions": _new_stored,
    "plan": _old_plan,
    "health": _look_again,
    "maintenance": lambda _: Verdict(True, "it runs whenever it is called"),
    "other": _new_stored,
}
