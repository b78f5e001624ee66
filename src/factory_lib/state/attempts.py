"""Attempts: what was requested and did not come, when that was, and when it is tried again.

A *retry* repeats a request within one call (``http``); the *limiter* and the
*breaker* say when a host may be asked at all. An attempt outlives the run that made it:
one row per source (ingestion), per gap (what no source has) and for the automatic
backfill (what a provider failed to answer for). Standard library only: every tick reads
them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from factory_lib.clock import DAY_S, HOUR_S, epoch, from_epoch
from factory_lib.settings.records import SeverityRule
from factory_lib.state.database import State, upsert

# A slot that does not come when it can is requested at the next tick, then ever more
# seldom, at least twice an hour.
PATIENCE = 0.5
LONGEST_PAUSE = timedelta(minutes=30)

# A gap that no source can fill is requested again once it is twice as old: an hour that a
# provider fills late costs little to request again, a day lost years ago is worth a
# request a month.
SOONEST_S = 2 * HOUR_S
LONGEST_S = 30 * DAY_S

LOOK_EVERY = timedelta(hours=2)  # the automatic backfill accounts for every slot


class Attempt(NamedTuple):
    """The latest attempt of one subject: a source, a series or a job.

    Attributes
    ----------
    since, until : int
        The half-open stretch of slots, seconds since 1970; 0 where there is none.
    requested : str
        The ``source@place`` that were asked, sorted, with spaces between them.
    first_at, at, retry_at : int
        The first and the latest attempt, and the next one; seconds since 1970.
    outcome : str
        ``requested``, ``empty`` (no source has it), ``failed`` or ``complete``.
    """

    scope: str
    subject: str
    since: int
    until: int
    requested: str
    first_at: int
    at: int
    retry_at: int
    outcome: str


def _save(state: State, attempts: Iterable[Attempt]) -> None:
    state.change(upsert("attempt", Attempt._fields, keys=5), attempts)


def _select(state: State, scope: str, subject: str = "") -> list[Attempt]:
    given = (scope, subject) if subject else (scope,)
    which = "scope = ? AND subject = ?" if subject else "scope = ?"
    rows = state.query(f"SELECT * FROM attempt WHERE {which} ORDER BY subject, since", given)
    return [Attempt(*row) for row in rows]


# -- per source: ingestion ---------


def record_requests(state: State, sources: Iterable[str], now: datetime) -> None:
    """Store that the sources were asked for what is new."""
    at = epoch(now)
    _save(state, [Attempt("source", name, 0, 0, "", at, at, at, "requested") for name in sources])


def last_requests(state: State) -> dict[str, datetime]:
    """Return when each source was last asked for what is new."""
    return {attempt.subject: from_epoch(attempt.at) for attempt in _select(state, "source")}


def late_retry_at(requested_at: datetime, available_at: datetime) -> datetime:
    """Return when a slot is requested again that could be there since ``available_at``."""
    pause = max(timedelta(0), (requested_at - available_at) * PATIENCE)
    return requested_at + min(LONGEST_PAUSE, pause)


# -- per gap: what no source has ---------


def record_unfillable(
    state: State,
    series: str,
    stretches: Iterable[tuple[int, int, int]],
    requested: Iterable[tuple[str, str]],
    now: datetime,
) -> None:
    """Store stretches of ``series`` that none of the ``requested`` (source, place) has.

    The third number of a stretch is the longest wait in seconds until it is requested
    again.
    """
    at = epoch(now)
    names = _names(requested)
    attempts = []
    for since, until, longest_s in stretches:
        wait_s = min(max(at - until, SOONEST_S), LONGEST_S, longest_s)
        attempts.append(Attempt("gap", series, since, until, names, at, at, at + wait_s, "empty"))
    _save(state, attempts)


def delete_expired(state: State, now: datetime) -> None:
    """Delete the gaps to be requested again at ``now``: they were requested, or filled."""
    state.change("DELETE FROM attempt WHERE scope = 'gap' AND retry_at <= ?", [(epoch(now),)])


def unfillable_stretches(
    state: State, series: str, requestable: Iterable[tuple[str, str]], as_of: datetime
) -> list[tuple[int, int]]:
    """Return the stretches that none of ``requestable`` (source, place) had at ``as_of``.

    They are half-open, in seconds since 1970. One that was not asked makes a stretch
    missing again.
    """
    at = epoch(as_of)
    names = set(_names(requestable).split())
    return [
        (gap.since, gap.until)
        for gap in _select(state, "gap", series)
        if gap.at <= at < gap.retry_at and names <= set(gap.requested.split())
    ]


def next_gap_retry(state: State, series: Iterable[str]) -> datetime | None:
    """Return when the first gap of the series is requested again."""
    names = set(series)
    due = [gap.retry_at for gap in _select(state, "gap") if gap.subject in names]
    return from_epoch(min(due)) if due else None


def _names(requested: Iterable[tuple[str, str]]) -> str:
    return " ".join(sorted(f"{source}@{place}" for source, place in requested))


# -- the automatic backfill: what a provider failed to answer for ---------


@dataclass(frozen=True)
class RetryPass:
    """The passes of one run: those due after one minute and until another from ``first_at``.

    Every two hours all slots are accounted for; passes are counted in minutes from
    there (``[gaps]`` of the settings), the more of them the longer the gap.
    """

    first_at: datetime
    after_min: float = -1.0
    until_min: float = 0.0

    def includes(self, rule: SeverityRule) -> bool:
        """Return whether gaps of a severity are requested now."""
        return any(self.after_min < minute <= self.until_min for minute in rule.passes_at_min)


class NextPass(NamedTuple):
    """The next automatic backfill: for what failed, else to account for all slots."""

    at: datetime
    is_retry: bool


BACKFILL = "automatic"


def begin_pass(state: State, now: datetime) -> RetryPass:
    """Return the passes of a run at ``now``: the next if they are due, else a new account."""
    latest = next(iter(_select(state, "backfill")), None)
    if latest and latest.retry_at <= epoch(now):
        first_at = from_epoch(latest.first_at)
        if now - first_at < LOOK_EVERY:
            done_min = (latest.at - latest.first_at) / 60
            return RetryPass(first_at, done_min, (now - first_at) / timedelta(minutes=1))
    # cron's minute: its next tick must not come seconds too early
    return RetryPass(now.replace(second=0, microsecond=0))


def record_pass(state: State, done: RetryPass, failed: Iterable[SeverityRule]) -> None:
    """Store a pass, and when gaps of the severities that ``failed`` are requested again."""
    minutes = [
        minute for rule in failed for minute in rule.passes_at_min if minute > done.until_min
    ]
    wait = min([LOOK_EVERY, *(timedelta(minutes=minute) for minute in minutes)])
    first_at = epoch(done.first_at)
    at = epoch(done.first_at + timedelta(minutes=done.until_min))
    outcome = "failed" if minutes else "complete"
    retry_at = epoch(done.first_at + wait)
    _save(state, [Attempt("backfill", BACKFILL, 0, 0, "", first_at, at, retry_at, outcome)])


def next_pass(state: State) -> NextPass | None:
    """Return the next automatic backfill, None if none ran yet."""
    latest = next(iter(_select(state, "backfill")), None)
    return NextPass(from_epoch(latest.retry_at), latest.outcome == "failed") if latest else None
