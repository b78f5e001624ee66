"""Due or not due: decided from the shared state and the publication rules alone, for either store.

Standard library only. A tick with nothing due reads a few rows of one SQLite file and
ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from factory_lib import sources as providers
from factory_lib.catalogue import DayAhead, Grid, Series
from factory_lib.clock import HOUR_S, day_start, epoch, market_day
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.state import State, attempts
from factory_lib.state.marks import DRIFT, LAST_RUN, LATEST, STORED, get_mark, get_marks

PLAN_AGAIN_AFTER = timedelta(hours=6)
LONGEST_QUIET = timedelta(hours=1)  # health is looked at that often, and whenever a job has failed


def nothing_due(settings: Settings, state: State, job: str, now: datetime) -> str | None:
    """Return why a job has nothing to do, or None when something new can exist.

    Ingestion goes by who was asked when, the automatic backfill by its passes; every
    other job is due after a run that failed.
    """
    spec = settings.jobs[job]
    if spec.notebook == "01_ingest":
        return None if dropped(settings) else _nothing_to_ingest(settings, state, spec, now)
    found = get_mark(state, LAST_RUN, job)
    if found and spec.notebook == "03_backfill" and spec.parameters.get("automatic", True):
        return _nothing_to_fill(settings, state, *found, now)
    if not found or found[1]["status"] != "ok" or spec.notebook == "09_maintenance":
        return None
    last, _ = found
    if spec.notebook == "08_health":
        return _all_quiet(state, last, now)
    if spec.notebook == "07_production_plan":
        return _nothing_to_plan(settings, state, last, now)
    if spec.notebook in ("02_gap_analysis", "03_backfill") and _may_have_gaps(
        settings, state, last, now
    ):
        return None
    if spec.notebook == "05_model_training" and any(
        why and at >= last for at, why in get_marks(state, DRIFT).values()
    ):
        return None
    return _nothing_stored(state, last)


def dropped(settings: Settings, *, settled: bool = True) -> list[Path]:
    """Return what waits in the inbox, files and folders that hold one; only what is complete, or only what is not.

    ``name.part`` is still being written, and so is what was written to in the last
    seconds (setting); ``.name`` is not looked at.
    """
    # files have the machine's time, whatever the profile's is; one from the future is
    # not waited for
    now = time.time()
    latest = now - settings.inbox.settled_after_s
    return [
        entry
        for entry in sorted(settings.paths.inbox.glob("[!.]*"))
        if (parts := contents(entry))
        and settled
        == all(
            part.suffix != ".part" and not latest < written <= now
            for part, (_, written) in parts.items()
        )
    ]


def contents(entry: Path) -> dict[Path, tuple[int, float]]:
    """Return size and time of the last writing of a file, or of all in a folder; empty where that holds no file."""
    below = list(entry.rglob("*")) if entry.is_dir() else [entry]
    if not any(not part.is_dir() for part in below):
        return {}
    found = {}
    for part in (entry, *below):
        with suppress(FileNotFoundError):  # taken away just now
            about = part.stat() if part.exists() else part.lstat()  # a link to nothing
            found[part] = (about.st_size, about.st_mtime)
    return found


def _all_quiet(state: State, last: datetime, now: datetime) -> str | None:
    if now - last >= LONGEST_QUIET or any(
        at >= last and end["status"] != "ok" for at, end in get_marks(state, LAST_RUN).values()
    ):
        return None
    return f"all was quiet since {last:%H:%M}Z"


def _served(settings: Settings, source: str) -> Iterable[Series]:
    return (settings.catalogue[name] for name in providers.SOURCES[source].served(settings))


def _nothing_to_ingest(
    settings: Settings, state: State, spec: JobSettings, now: datetime
) -> str | None:
    names = [
        name
        for name in providers.select(settings, str(spec.parameters.get("sources", "all")))
        if not providers.missing(name, settings)
    ]
    latest = get_marks(state, LATEST)
    requests = attempts.last_requests(state)
    if not names or any(name not in requests for name in names):
        return None
    since = min(requests[name] for name in names)
    newest = {
        series.name: _newest(series, name, now)
        for name in names
        for series in _served(settings, name)
        if series.name in latest
    }
    born = [at for name, (end, at) in newest.items() if end > latest[name][0]]
    if not born:
        return f"{', '.join(names)} can have nothing new since {since:%H:%M}Z"
    if now >= attempts.late_retry_at(since, max(born)):
        return None
    return f"what is late was asked for at {since:%H:%M}Z"


def _newest(series: Series, source: str, now: datetime) -> tuple[datetime, datetime]:
    """Return the end of the newest slot that a source can have at ``now``, and when it could first have it."""
    rule = series.publication_by_source.get(source) or next(iter(series.publication.values()))
    known = rule.known_until(now)
    if isinstance(rule, DayAhead):
        return known, rule.available_at(known - timedelta(seconds=1), HOUR_S)
    step = series.resolution_at(now)
    end = known - timedelta(seconds=epoch(known) % step)
    return end, now - (known - end)


def _nothing_to_fill(
    settings: Settings, state: State, last: datetime, end: Mapping[str, Any], now: datetime
) -> str | None:
    """Between two looks at the whole account, passes alone are due, even after a run that failed."""
    following = attempts.next_pass(state)
    if following is None:
        return None
    if now < following.at <= now + attempts.LOOK_EVERY:
        return f"gaps are looked for again at {following.at:%H:%M}Z"
    clock_was_put_back = following.at > now
    if clock_was_put_back or following.is_retry or end["status"] != "ok":
        return None
    return None if _may_have_gaps(settings, state, last, now) else _nothing_stored(state, last)


def _may_have_gaps(settings: Settings, state: State, last: datetime, now: datetime) -> bool:
    """Return whether a slot fell due, what no source had is to be looked for, or a market day ended since ``last``."""
    if market_day(last) < market_day(now):
        return True
    latest = get_marks(state, LATEST)
    ends = (
        (_due_slots_end(settings.catalogue[name], now), until)
        for name, (until, _) in latest.items()
    )
    if any(due > until for due, until in ends):
        return True
    retry_at = attempts.next_gap_retry(state, latest)
    return retry_at is not None and retry_at <= now


def _due_slots_end(series: Series, now: datetime) -> datetime:
    """Return the end of the last whole slot that is due: part of a day makes no daily value late."""
    due = series.due_until(now)
    cadence = next(c for c in reversed(series.cadences) if due >= c.since)
    if cadence.grid is Grid.LOCAL_DAY:
        return day_start(market_day(due))
    return due - timedelta(seconds=epoch(due) % cadence.resolution_s)


def _nothing_to_plan(settings: Settings, state: State, last: datetime, now: datetime) -> str | None:
    """Plans go by prices first of all; the air ahead changes slowly, and a new day has a tomorrow of its own."""
    priced = get_mark(state, STORED, f"{settings.tariff.price_basis}_eur_mwh")
    if (
        (priced and priced[0] >= last)
        or market_day(last) < market_day(now)
        or now - last >= PLAN_AGAIN_AFTER
    ):
        return None
    return f"no price came since the last plan at {last:%Y-%m-%d %H:%M}Z"


def _nothing_stored(state: State, last: datetime) -> str | None:
    if any(at >= last for at, _ in get_marks(state, STORED).values()):
        return None
    return f"nothing was stored since the last run at {last:%Y-%m-%d %H:%M}Z"
