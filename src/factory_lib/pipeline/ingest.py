"""Ingestion: fetch what is new at the providers, store it, and report what is overdue."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd

from factory_lib import sources as providers
from factory_lib.catalogue import Catalogue, Measurement
from factory_lib.clock import MADRID, day_start, epoch, floored, market_day
from factory_lib.context import RunContext
from factory_lib.frames import QUANTILES
from factory_lib.pipeline.fetch import (
    FetchResult,
    IngestStats,
    PlannedRequest,
    Request,
    fetch_all,
    plan_requests,
)
from factory_lib.pipeline.gaps import by_the_hour, classify, expected_until
from factory_lib.pipeline.quality import check_requested
from factory_lib.pipeline.summary import summarise_ingest
from factory_lib.pipeline.targets import SourcePlace, Target, clients, read_rows, targets, trust
from factory_lib.results import JobResult
from factory_lib.slots import expected, from_index
from factory_lib.sources import select
from factory_lib.sources.base import Source
from factory_lib.state.attempts import record_requests, unfillable_stretches
from factory_lib.state.calls import calls_since
from factory_lib.state.marks import LATEST_SLOT, get_mark

FIRST_LOAD_DAYS = 168  # six requests of 28 days: what features and a first training need
REREAD_DAYS = 2  # prices are revised after the day, and observations arrive late
# Not sooner, where nothing is new: while one provider is late, the others are left alone.
REREAD_AFTER = timedelta(hours=1)
# per provider and run, unless days are named; the backfill fetches what is further back
MOST_REQUESTS = 6

COMPARE_DAYS = 7
COMPARISON_COLUMNS = ["series", "source", "place", "reference", "hours", "bias", "mae", "unit"]
# AEMET's observations by night, OpenWeatherMap's by day, local hours: until 8, and from
# 8 on.
DAY_BEGINS = 8
NIGHT_FIRST = ("aemet", "openweathermap")
DAY_FIRST = ("openweathermap", "aemet")

LATEST_COLUMNS = ["series", "place", "source", "start", "value", "unit", "due_until"]
_FORECAST_VALUE = ["series", "place", "model", "target_start", "resolution_s", *QUANTILES]


def ingest(ctx: RunContext, sources: str = "all", days: int | None = None) -> JobResult:
    """Fetch what is new at the providers, side by side, and the last days again.

    Parameters
    ----------
    sources : str
        ``all``, ``prices``, ``weather``, or the name of one provider.
    days : int, optional
        Days of history to fetch; default from each series' last slot on, and
        ``FIRST_LOAD_DAYS`` where there is none.

    Raises
    ------
    BadInput
        If there is no such source.
    StoreUnavailable, WriteNotConfirmed
        If what came could not be stored. A provider that fails is named in the result
        and delays no other.
    """
    reasons = {
        name: providers.missing(name, ctx.settings) for name in select(ctx.settings, sources)
    }
    skipped = {name: reason for name, reason in reasons.items() if reason}
    ready = order_by_hour([name for name in reasons if name not in skipped], ctx.as_of)
    served = _served(ctx, ready)
    now = ctx.clock.now()
    before = recent_rows(ctx, served, days or FIRST_LOAD_DAYS, raw=True)
    requests = _requests(ctx, served, ready, before, days)
    stats = IngestStats()
    results = stats.store_all(ctx, fetch_all(ctx, requests))
    forecasts = sum(_store_forecasts(ctx, result) for result in results)
    flagged = check_requested(ctx, requests)
    if not ctx.replay:
        record_requests(ctx.state, ready, now)
    after = recent_rows(ctx, served, FIRST_LOAD_DAYS, raw=False)
    tables = {
        "by_source": stats.by("source", "place", "series"),
        "latest": _latest(ctx, served, after),
        "rejected": pd.DataFrame(stats.rejected, columns=["source", "text", "reason"]),
        "quarantined": flagged,
        "comparison": _comparison(ctx, served),
    }
    return summarise_ingest(
        {**_metrics(stats), "quarantined": len(flagged), "forecasts": forecasts},
        tables,
        errors=stats.source_errors,
        overdue=_overdue(ctx, served, before, after),
        skipped=skipped,
        idle=_idle(ctx, served, requests),
    )


def _idle(
    ctx: RunContext, served: Sequence[Target], requests: Sequence[Request]
) -> Literal["", "offline", "current"]:
    """Return why it is well that no source was asked, if it is."""
    if not any(spec.enabled for spec in ctx.settings.sources.values()):
        return "offline"
    return "current" if served and not requests else ""


def _served(ctx: RunContext, ready: Sequence[str]) -> list[Target]:
    """Return the targets that one of the sources serves."""
    served = []
    for target in targets(ctx):
        if any(at.source in ready for at in target.source_places):
            served.append(target)
    return served


def recent_rows(ctx: RunContext, served: Sequence[Target], days: int, *, raw: bool) -> pd.DataFrame:
    """Return the rows of the last days, with one query per measurement.

    ``raw`` ones show what each provider has given, the others those of the view.
    """
    names = [target.name for target in served]
    ends = [expected_until(target.series, ctx.as_of) for target in served]
    start = ctx.as_of - timedelta(days=days)
    return read_rows(ctx, names, start, max(ends, default=start), as_of=ctx.as_of, raw=raw)


def _requests(
    ctx: RunContext,
    served: Sequence[Target],
    ready: Sequence[str],
    before: pd.DataFrame,
    days: int | None,
) -> list[Request]:
    """Return the requests, newest first; series that one answer holds together share them.

    They fetch what is new, and the last days again where that takes no further request or
    a source has a file for each day.
    """
    requests: list[Request] = []
    # a person who names one provider wants it asked
    answered = _answered(ctx, ctx.clock.now() - REREAD_AFTER) if len(ready) > 1 else set()
    with clients(ctx.settings, ctx.state, ctx.clock, ready) as opened:
        slots = _slots(ctx, served, opened, before, days)
        for (source, _, _), group in slots.groupby(["source", "place", "measurement"], sort=False):
            planned = _planned(group, opened, answered=source in answered)
            requests += [item.request for item in planned[: None if days else MOST_REQUESTS]]
    return requests + _forecast_requests(ctx, requests)


def _forecast_requests(ctx: RunContext, requests: Sequence[Request]) -> list[Request]:
    """Return a request of the forecast of each place that a source is asked for."""
    places = dict.fromkeys(SourcePlace(item.source, item.place) for item in requests)
    series = {
        at: providers.SOURCES[at.source].served(ctx.settings, forecasts=True) for at in places
    }
    return [
        Request(*at, names, ctx.as_of, ctx.as_of, forecast=True)
        for at, names in series.items()
        if names
    ]


def _planned(
    slots: pd.DataFrame, opened: Mapping[str, Source], *, answered: bool
) -> list[PlannedRequest]:
    """Return the requests of one source and place for what is new, or for the last days whole."""
    new = plan_requests(slots[slots["new"]], opened)
    again = plan_requests(slots, opened)
    # A file of one day may have been corrected: once a day the last ones are read again.
    by_day = opened[str(slots["source"].iloc[0])].limits.max_range_days == 1 and len(new) > 0
    at_once = len(again) <= 1 and not answered
    return again if at_once or by_day or len(again) <= len(new) else new


def _answered(ctx: RunContext, since: datetime) -> set[str]:
    """Return the sources that gave an answer since then."""
    calls = calls_since(ctx.state, since)
    return {call.target for call in calls if (call.component, call.status) == ("http", "200")}


def _slots(
    ctx: RunContext,
    served: Sequence[Target],
    opened: Mapping[str, Source],
    before: pd.DataFrame,
    days: int | None,
) -> pd.DataFrame:
    """Return the slots of the last days that each source may have, and which are ``new``.

    New are all slots of ``days``, else those after the newest that the source gave.
    """
    oldest = ctx.as_of - timedelta(days=days or FIRST_LOAD_DAYS)
    ends = before["start"] + pd.to_timedelta(before["resolution_s"], unit="s")
    newest = ends.groupby([before[name] for name in ("series", "source", "place")]).max()
    read_until = {} if days else {at: end.to_pydatetime() for at, end in newest.items()}
    blocks = [pd.DataFrame(columns=["source", "place", "measurement"])]
    for target in served:
        for at in target.source_places:
            if at.source in opened:
                since = read_until.get((target.name, *at), oldest)
                blocks.append(_recent_slots(ctx.as_of, target, at, opened[at.source], since))
    return pd.concat(blocks)


def _recent_slots(
    as_of: datetime, target: Target, at: SourcePlace, client: Source, since: datetime
) -> pd.DataFrame:
    first, last = client.available_window(target.name)
    step = target.series.resolution_at(last)
    until = min(floored(last, step), expected_until(target.series, as_of))
    reread = day_start(market_day(as_of) - timedelta(days=REREAD_DAYS))
    starts = expected(target.series, max(first, min(since, reread)), until)
    return pd.DataFrame(
        {
            "series": target.name,
            "measurement": target.series.measurement,
            **at._asdict(),
            "start": starts,
            "end": np.append(starts[1:], epoch(until))[: len(starts)],
            "severity": 0,
            "new": starts >= epoch(since),
        }
    )


def _store_forecasts(ctx: RunContext, result: FetchResult) -> int:
    """Store the forecasts that differ from the provider's latest; return their number."""
    rows = result.rows
    if rows.empty or not result.request.forecast:
        return 0
    window = {
        "start": rows["target_start"].min(),
        "end": rows["target_start"].max() + pd.Timedelta(seconds=1),
    }
    stored = [
        ctx.store.read_forecasts(name, places=[place], **window, as_of=ctx.clock.now())
        for name, place in rows[["series", "place"]].drop_duplicates().itertuples(index=False)
    ]
    before = pd.concat(stored)[_FORECAST_VALUE].assign(is_stored=True)
    is_stored = rows.merge(before, "left", on=_FORECAST_VALUE)["is_stored"].notna()
    news = rows[~is_stored.to_numpy()]
    return ctx.store.write_forecasts(news, run_id=ctx.run_id).new if len(news) else 0


def _overdue(
    ctx: RunContext, served: Sequence[Target], before: pd.DataFrame, after: pd.DataFrame
) -> list[str]:
    """Return the series with slots due after the newest one of ``before`` and none of them there.

    A day is judged where nothing was stored before.
    """
    names = []
    for target in served:
        newest = before.loc[before["series"] == target.name, "start"].max()
        yesterday = ctx.as_of - timedelta(days=1)
        start = yesterday if pd.isna(newest) else newest.to_pydatetime() + timedelta(seconds=1)
        coverage = classify(
            target.series,
            start,
            expected_until(target.series, ctx.as_of),
            from_index(after.loc[after["series"] == target.name, "start"]),
            as_of=ctx.as_of,
            unfillable=unfillable_stretches(
                ctx.state, target.name, target.source_places, ctx.as_of
            ),
        )
        counts = coverage.counts()
        none_there = counts["missing"] and not counts["present"]
        if none_there and not by_the_hour(ctx, target, coverage):
            names.append(target.name)
    return names


def _comparison(ctx: RunContext, served: Sequence[Target]) -> pd.DataFrame:
    if any(target.series.measurement is Measurement.WEATHER for target in served):
        return compare_weather(ctx)
    return pd.DataFrame(columns=COMPARISON_COLUMNS)


def _metrics(stats: IngestStats) -> dict[str, int]:
    total = stats.total()
    return {
        "sources_asked": len(stats.sent),
        "sources_failed": len(stats.source_errors),
        "requests": stats.sent.total(),
        **total,
        "rejected": total["rejected"] + len(stats.rejected),
        "providers_away": int(stats.providers_away),
    }


def _latest(ctx: RunContext, served: Sequence[Target], after: pd.DataFrame) -> pd.DataFrame:
    """Return the newest value of each series, and mark its end, which never goes back.

    What lies beyond what can be known was stored or marked while the clock was ahead.
    """
    now = ctx.clock.now()
    ends = {target.name: expected_until(target.series, now) for target in served}
    after = after[after["start"] < after["series"].map(ends)]
    newest = after.sort_values("start", kind="stable").groupby("series").last()
    lines = []
    for target in served:
        if target.name in newest.index:
            row = newest.loc[target.name]
            step = timedelta(seconds=row["resolution_s"].item())
            until = row["start"].to_pydatetime() + step
            mark = get_mark(ctx.state, LATEST_SLOT, target.name)
            if mark and mark.at <= ends[target.name] + step:
                until = max(until, mark.at)
            ctx.set_mark(LATEST_SLOT, target.name, until)
            line = {"series": target.name, **row[["place", "source", "start", "value"]]}
            line |= {"unit": target.series.unit, "due_until": target.series.due_until(ctx.as_of)}
            lines.append(line)
    return pd.DataFrame(lines, columns=LATEST_COLUMNS)


# -- weather of several providers ----------------------------------------------
# One value per hour is shown, by order of trust. All providers with a key are requested, and
# everything they give is stored; the hour only decides which request comes first.


def order_by_hour(sources: Sequence[str], now: datetime) -> list[str]:
    """Return the sources, the preferred one of the local hour first."""
    first = NIGHT_FIRST if now.astimezone(MADRID).hour < DAY_BEGINS else DAY_FIRST
    return sorted(sources, key=lambda name: first.index(name) if name in first else len(first))


def compare_sources(rows: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """Compare each source with the most trusted one that has the same hours.

    Parameters
    ----------
    rows : DataFrame
        Stored rows of all sources and places (``VIEW_COLUMNS``, raw).

    Returns
    -------
    DataFrame
        ``COMPARISON_COLUMNS``; ``bias`` is source minus reference, in ``unit``.
    """
    latest = rows.sort_values("rev").drop_duplicates(
        ["series", "place", "source", "start"], keep="last"
    )
    lines = []
    for name, part in latest.groupby("series"):
        series = catalogue[str(name)]
        table = part.pivot(index="start", columns=["source", "place"], values="value")
        trusted = sorted(table.columns, key=lambda at: trust(series, at[0]))
        for position, at in enumerate(trusted):
            for reference in trusted[:position]:
                error = (table[at] - table[reference]).dropna()
                if len(error):
                    lines.append(
                        [
                            name,
                            *at,
                            reference[0],
                            len(error),
                            error.mean(),
                            error.abs().mean(),
                            series.unit,
                        ]
                    )
                    break
    return pd.DataFrame(lines, columns=COMPARISON_COLUMNS)


def compare_weather(ctx: RunContext, days: int = COMPARE_DAYS) -> pd.DataFrame:
    """Compare the weather sources over the last days; the archive has few of them."""
    names = [entry.name for entry in ctx.catalogue.of(Measurement.WEATHER)]
    start = ctx.as_of - timedelta(days=days)
    rows = read_rows(ctx, names, start, ctx.as_of, as_of=ctx.as_of)
    return compare_sources(rows, ctx.catalogue)
