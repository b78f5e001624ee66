"""Backfill: fetch the slots that are missing, from one source after the other.

A slot counts as recovered if it was missing before and is present when the store is
read again, so the rate can never exceed one. Killed at any moment, the next run looks
at the store anew and requests only what is still missing.

The tables of the result are ``gaps_before``; ``plan``, the first requests in their
order; the missing and recovered slots ``by_source``, ``by_series`` and ``by_severity``;
the ``remaining`` stretches with their reason; and the values ``quarantined`` in the run.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import pandas as pd

from factory_lib import sources
from factory_lib.clock import day_start, from_epoch, market_day
from factory_lib.context import RunContext
from factory_lib.pipeline.fetch import (
    FetchResult,
    IngestStats,
    Request,
    fetch_all,
    plan_table,
    request_seconds,
)
from factory_lib.pipeline.forecasts import ASSUMPTION
from factory_lib.pipeline.gaps import GapReport, analyse
from factory_lib.pipeline.quality import check_requested, concat_flagged, run_checks
from factory_lib.pipeline.summary import summarise_backfill
from factory_lib.pipeline.targets import clients, places_of, targets
from factory_lib.pipeline.work_table import (
    KNOWN_LATER,
    NO_SOURCE_HAS_IT,
    NO_SOURCE_OUTCOMES,
    NONE_IN_REACH_HAS_IT,
    ONLY_QUARANTINED,
    OPEN,
    OUT_OF_REACH,
    RECOVERED,
    RowStatus,
    failed_severities,
    mark_present,
    next_requests,
    record_results,
    stretches,
    summarise_slots,
    work_table,
)
from factory_lib.results import JobResult
from factory_lib.slots import Slots, to_index
from factory_lib.sources.base import Source
from factory_lib.state import attempts
from factory_lib.state.attempts import RetryPass

TOO_SHORT = "too short for the automatic backfill: left to daily_backfill"
LEFT_COLUMNS = ["series", "place", "start", "end", "slots", "severity", "reason"]


@dataclass(frozen=True)
class Progress:
    """Requests done and planned, and the seconds of the rest at the rate limits."""

    done: int
    planned: int
    remaining_s: float


def backfill(
    ctx: RunContext,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    automatic: bool = True,
    dry_run: bool = False,
    series: Sequence[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> JobResult:
    """Check what is stored and fill what is missing.

    Parameters
    ----------
    since, until : datetime, optional
        As for ``gaps.analyse``; with ``since`` all from there on is expected and
        checked by the quality rules, else yesterday and today if not ``automatic``.
    automatic : bool
        Only gaps longer than ``settings.gaps.automatic_above_h``, in passes: failed
        ones are due again as often as their severity says (``state.attempts``).
    dry_run : bool
        Plan the requests and send none.
    progress : callable, optional
        Called after each request.

    Raises
    ------
    StoreUnavailable, WriteNotConfirmed
        If what was received could not be stored.
    """
    stats = IngestStats()
    if not dry_run:
        stats.flagged.append(_check_recent(ctx, since, until, automatic, series))
    before = analyse(ctx, since, until, series=series)
    schedule = _schedule(ctx) if automatic else None
    with clients(ctx.settings, ctx.state, ctx.clock, sources.configured(ctx.settings)) as opened:
        work = work_table(before, opened, schedule)
        plan = plan_table(next_requests(work, opened), ctx.settings.sources, before.policy)
        if not dry_run:
            work = _fill(ctx, work, opened, stats, progress)
    slots = summarise_slots(work, stats.errors, before.policy)
    if not (dry_run or ctx.replay):
        _remember(ctx, before, work, slots, schedule)
    tables = {"gaps_before": before.gaps, "plan": plan, **_recovery_tables(work, slots, stats)}
    tables["remaining"] = _remaining(slots, before, schedule)
    _record_rates(ctx, tables, dry_run=dry_run)
    filled = tables["by_series"].query("recovered > 0")["series"]
    notes = (ASSUMPTION,) if any(ctx.catalogue[name].forecast_of for name in filled) else ()
    metrics = _metrics(slots, stats, tables, dry_run=dry_run)
    return summarise_backfill(metrics, tables, dry_run=dry_run, notes=notes)


def _fill(
    ctx: RunContext,
    work: pd.DataFrame,
    opened: Mapping[str, Source],
    stats: IngestStats,
    progress: Callable[[Progress], None] | None,
) -> pd.DataFrame:
    """Request each slot from one source after the other, until it is there."""
    while planned := next_requests(work, opened):
        requests = [item.request for item in planned]
        work = record_results(work, stats.store_all(ctx, _fetch(ctx, requests, progress)))
        stats.flagged.append(check_requested(ctx, requests))
        work = mark_present(work, *_stored(ctx, work))
    return work


def _check_recent(
    ctx: RunContext,
    since: datetime | None,
    until: datetime | None,
    automatic: bool,
    series: Sequence[str] | None,
) -> pd.DataFrame:
    yesterday = day_start(market_day(ctx.as_of) - timedelta(days=1))
    windows = [] if automatic and not since else [(since or yesterday, until or ctx.as_of)]
    return run_checks(ctx, [target.name for target in targets(ctx, series)], windows)


def _schedule(ctx: RunContext) -> RetryPass:
    """Return the severities' turn; a replay takes none of the present's."""
    return RetryPass(ctx.as_of) if ctx.replay else attempts.begin_pass(ctx.state, ctx.as_of)


def _fetch(
    ctx: RunContext,
    requests: Sequence[Request],
    progress: Callable[[Progress], None] | None,
) -> Iterator[FetchResult]:
    """Yield the results of the requests, and report the progress after each."""
    waiting = Counter(request.source for request in requests)
    seconds = {name: request_seconds(ctx.settings.sources[name]) for name in waiting}
    for done, result in enumerate(fetch_all(ctx, requests), 1):
        yield result
        waiting[result.request.source] -= 1
        if progress is not None:
            remaining_s = max(count * seconds[name] for name, count in waiting.items())
            progress(Progress(done, len(requests), remaining_s))


def _stored(ctx: RunContext, work: pd.DataFrame) -> tuple[dict[str, Slots], dict[str, Slots]]:
    """Return the slots that the store holds as known at ``ctx.as_of``, and for a replay at all."""
    present: dict[str, Slots] = {}
    stored: dict[str, Slots] = {}
    for group, rows in work.groupby("series", observed=True):
        name = str(group)
        start = from_epoch(int(rows["start"].min()))
        end = from_epoch(int(rows["end"].max()))
        places = places_of(ctx.settings, ctx.catalogue[name])
        read = partial(ctx.store.slots, name, places=places, start=start, end=end)
        present[name] = read(as_of=ctx.as_of)
        stored[name] = read() if ctx.replay else present[name]
    return present, stored


def _remember(
    ctx: RunContext,
    report: GapReport,
    work: pd.DataFrame,
    slots: pd.DataFrame,
    schedule: RetryPass | None,
) -> None:
    """Remember what no source has, and when the failed requests are to be repeated."""
    attempts.delete_expired(ctx.state, ctx.as_of)
    without_source = stretches(slots[slots["outcome"].isin(NO_SOURCE_OUTCOMES)].assign(reason=""))
    for part in report.coverages:
        mine = without_source[without_source["series"] == part.target.name]
        rows = mine[["start", "end", "opens_in_s"]].itertuples(index=False, name=None)
        attempts.record_unfillable(
            ctx.state, part.target.name, rows, part.target.source_places, ctx.as_of
        )
    if schedule:
        failed = [report.policy.severities[n] for n in failed_severities(work)]
        attempts.record_pass(ctx.state, schedule, failed)


def _metrics(
    slots: pd.DataFrame,
    stats: IngestStats,
    tables: Mapping[str, pd.DataFrame],
    *,
    dry_run: bool,
) -> dict[str, int | float]:
    outcomes = slots["outcome"].value_counts()
    total = stats.total()
    seconds = tables["plan"].groupby("source")["seconds"].sum()
    short = tables["remaining"]["reason"] == TOO_SHORT

    def count(*names: str) -> int:
        return int(outcomes.reindex(names, fill_value=0).sum())

    metrics: dict[str, int | float] = {
        "missing": len(slots),
        "recovered": count(RECOVERED),
        "missing_quarantined": int(slots["quarantined"].sum()),
        "unfillable": count(NO_SOURCE_HAS_IT, NONE_IN_REACH_HAS_IT),
        "only_quarantined": count(ONLY_QUARANTINED),
        "unreached": count(OUT_OF_REACH),
        "known_later": count(KNOWN_LATER),
        "left": count(OPEN),
        "requests": len(tables["plan"]) if dry_run else stats.sent.total(),
        "requests_failed": stats.failed.total(),
        "providers_away": int(stats.providers_away),
        "new": total["new"],
        "revised": total["revised"],
        "quarantined": len(tables["quarantined"]),
        "planned_s": float(seconds.max()) if len(seconds) else 0.0,
        "untouched_gaps": int(short.sum()),
        "untouched": int(tables["remaining"].loc[short, "slots"].sum()),
    }
    if len(slots) and not dry_run:
        metrics["success_rate"] = metrics["recovered"] / len(slots)
    return metrics


def _record_rates(ctx: RunContext, tables: Mapping[str, pd.DataFrame], *, dry_run: bool) -> None:
    """Record slots missing and recovered by source and severity, for the metrics."""
    for by in () if dry_run else ("source", "severity"):
        for row in tables[f"by_{by}"].to_dict("records"):
            for status in ("missing", "recovered"):
                ctx.record_call("backfill", f"{by} {row[by]}", status, int(row[status]), 0.0)


def _recovery_tables(
    work: pd.DataFrame, slots: pd.DataFrame, stats: IngestStats
) -> dict[str, pd.DataFrame]:
    return {
        "by_source": _by_source(work, stats),
        "by_series": _recovery(slots, "series"),
        "by_severity": _recovery(slots, "severity"),
        "quarantined": concat_flagged(stats.flagged),
    }


def _recovery(slots: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return missing and recovered slots and their rate, by series or severity."""
    recovered = slots["outcome"] == RECOVERED
    counts = recovered.groupby(slots[by], observed=False).agg(["size", "sum"])
    return _with_rate(counts.set_axis(["missing", "recovered"], axis=1).reset_index())


def _by_source(work: pd.DataFrame, stats: IngestStats) -> pd.DataFrame:
    """Return the requested slots of each source, those that it recovered, and its requests.

    A slot that two sources delivered counts for the first.
    """
    requested = work[work["status"].isin([RowStatus.FAILED, RowStatus.ABSENT, RowStatus.DELIVERED])]
    delivered = requested[requested["present"] & (requested["status"] == RowStatus.DELIVERED)]
    counts = {
        "missing": Counter(requested["source"]),
        "recovered": Counter(delivered.drop_duplicates("slot")["source"]),
        "requests": stats.sent,
        "failed": stats.failed,
    }
    table = stats.by("source").drop(columns="rows")
    for position, (name, by_source) in enumerate(counts.items(), 1):
        table.insert(position, name, [by_source[at] for at in table["source"]])
    return _with_rate(table)


def _with_rate(table: pd.DataFrame) -> pd.DataFrame:
    rate = table["recovered"].astype("float64") / table["missing"].where(table["missing"] > 0)
    table.insert(3, "rate", rate)
    return table


def _remaining(slots: pd.DataFrame, report: GapReport, schedule: RetryPass | None) -> pd.DataFrame:
    """Return the stretches still missing (``LEFT_COLUMNS``), with the severity and the reason."""
    places = {part.target.name: part.target.place for part in report.coverages}
    left = stretches(slots[slots["outcome"] != RECOVERED])
    series = left["series"].astype("str")
    table = left.assign(
        series=series,
        place=series.map(places),
        start=to_index(left["start"].to_numpy()),
        end=to_index(left["end"].to_numpy()),
        severity=left["severity"].astype("str"),
    )[LEFT_COLUMNS]
    if schedule is None:
        return table.reset_index(drop=True)
    gaps = report.gaps
    short = (gaps["state"] == "missing") & (gaps["duration_h"] <= report.policy.automatic_above_h)
    filled = [part for part in (table, gaps[short].assign(reason=TOO_SHORT)) if len(part)]
    return pd.concat(filled or [table], ignore_index=True)[LEFT_COLUMNS]
