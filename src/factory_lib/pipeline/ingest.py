"""Ingestion: what is new at the providers, stored, counted in the store, and said out loud when it did not come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib import sources as providers
from factory_lib.catalogue import Measurement
from factory_lib.clock import day_start, epoch, from_epoch, market_day
from factory_lib.context import RunContext
from factory_lib.pipeline.fetch import Request, ask_all
from factory_lib.pipeline.gaps import known_until
from factory_lib.pipeline.ingest_stats import Tally
from factory_lib.pipeline.recent_data import Stock, overdue
from factory_lib.pipeline.request_plan import Wanted, plan
from factory_lib.pipeline.source_comparison import COMPARISON_COLUMNS, ask_order, side_by_side
from factory_lib.pipeline.targets import Door, Target, clients, targets
from factory_lib.slots import expected
from factory_lib.sources import select
from factory_lib.state import attempts
from factory_lib.state.marks import LATEST, get_mark

FIRST_LOAD_DAYS = 168  # six requests of 28 days: what features and a first training need
REREAD_DAYS = 2  # prices are revised after the day, and observations arrive late
MOST_REQUESTS = (
    6  # per provider and run, unless days are named; what is further back is the backfill's work
)

SOURCE_COLUMNS = [
    "source",
    "place",
    "series",
    "rows",
    "new",
    "revised",
    "unchanged",
    "older",
    "rejected",
    "error",
]
LATEST_COLUMNS = ["series", "place", "source", "start", "value", "unit", "due_until"]


@dataclass(frozen=True)
class IngestOutcome:
    """What was asked, what came, and what is known now.

    Attributes
    ----------
    by_source : DataFrame
        One row per provider, place and series (``SOURCE_COLUMNS``), counted in the
        store.
    latest : DataFrame
        The newest value of each series (``LATEST_COLUMNS``).
    rejected : DataFrame
        What providers sent and nobody can believe: ``source``, ``text``, ``reason``.
    notes : tuple of str
        Providers skipped or failing, and series that lag.
    overdue : tuple of str
        Series that had slots due and got none of them.
    quarantined : DataFrame
        Stored values that the quality rules doubt (``quality.OFFENDING_COLUMNS``).
    comparison : DataFrame
        How far the weather sources were apart in the last days
        (``hybrid.COMPARISON_COLUMNS``).
    offline : bool
        Whether every source is switched off here: the profile lives on imported files.
    """

    by_source: pd.DataFrame
    latest: pd.DataFrame
    rejected: pd.DataFrame
    quarantined: pd.DataFrame
    comparison: pd.DataFrame
    figures: Mapping[str, int | float | str]
    notes: tuple[str, ...] = ()
    overdue: tuple[str, ...] = ()
    skipped: tuple[str, ...] = field(default=())
    offline: bool = False

    @property
    def level(self) -> str:
        """``fail`` if rows were due and none came, ``warn`` if a provider failed, else ``ok``."""
        if self.offline:
            return "ok"
        if self.overdue or not self.figures["sources_asked"]:
            return "fail"
        return "warn" if self.figures["sources_failed"] or self.figures["quarantined"] else "ok"

    @property
    def verdict(self) -> str:
        """One sentence for the top of the page."""
        found = self.figures
        if self.offline:
            return "No provider is asked in this profile: its values come from imported files."
        if not found["sources_asked"]:
            return f"Nobody was asked: {'; '.join(self.skipped) or 'no source has anything for this site'}."
        counted = f"{found['new']:,} new values and {found['revised']:,} revised from {found['sources_asked']} sources"
        if self.overdue:
            causes = "; ".join(
                dict.fromkeys(error.rstrip(".") for error in self.by_source["error"] if error)
            )
            return f"{counted}, but {', '.join(self.overdue)} had values due and got none{causes and f': {causes}'}."
        failed = f"; {found['sources_failed']} of them failed" if found["sources_failed"] else ""
        doubted = (
            f"; {found['quarantined']:,} values are quarantined" if found["quarantined"] else ""
        )
        return f"{counted}{failed}{doubted}."


def ingest(ctx: RunContext, sources: str = "all", days: int | None = None) -> IngestOutcome:
    """Ask the providers side by side for what is new, and for the last days again.

    Parameters
    ----------
    sources : str
        ``all``, ``prices``, ``weather``, or the name of one provider.
    days : int, optional
        How far back to ask; default from each series' last slot, and
        ``FIRST_LOAD_DAYS`` where there is none.

    Raises
    ------
    BadInput
        If there is no such source.
    StoreUnavailable, WriteNotConfirmed
        If what came could not be kept. A provider that fails is named in the outcome
        and holds up no other.
    """
    names = select(ctx.settings, sources)
    skipped = tuple(
        f"{name}: {why}" for name in names if (why := providers.missing(name, ctx.settings))
    )
    able = [name for name in names if not providers.missing(name, ctx.settings)]
    ready = ask_order(able, ctx.as_of)
    wanted = [
        target for target in targets(ctx) if any(door.source in ready for door in target.doors)
    ]
    now = ctx.clock.now()
    before = Stock.read(ctx, wanted, days or FIRST_LOAD_DAYS, raw=True)
    tally, forecasts = Tally(ctx), 0
    requests = _requests(ctx, wanted, ready, before, days)
    for answer in ask_all(ctx, requests):
        tally.take(answer)
        if answer.request.forecast and len(news := _news(ctx, answer.rows)):
            forecasts += ctx.store.write_forecasts(news, run_id=ctx.run_id).new
    tally.judge_answers(requests)
    if not ctx.replay:
        attempts.record_requests(ctx.state, ready, now)
    return _outcome(ctx, tally, wanted, before, skipped, forecasts)


def _requests(
    ctx: RunContext, wanted: Sequence[Target], ready: Sequence[str], before: Stock, days: int | None
) -> list[Request]:
    """Return what to ask each door, newest first; series that one answer holds together share it.

    That is what is new, and the last days again where that takes no further request.
    """
    reread = day_start(market_day(ctx.as_of) - timedelta(days=REREAD_DAYS))
    together: dict[tuple[Door, Measurement], list[tuple[Wanted, Wanted]]] = {}
    requests: list[Request] = []
    with clients(ctx.settings, ctx.state, ctx.clock, ready) as opened:
        for target in wanted:
            end, held = (
                known_until(target.series, ctx.as_of),
                before.until(target) if days is None else {},
            )
            for door in (door for door in target.doors if door.source in opened):
                first, last = opened[door.source].reach(target.name)
                step = target.series.resolution_at(last)
                until = min(from_epoch(epoch(last) // step * step), end)
                since = max(first, held.get(door, before.since))
                both = [
                    _slots(target, door, begin, until)
                    for begin in (since, max(first, min(since, reread)))
                ]
                together.setdefault((door, target.series.measurement), []).append(
                    (both[0], both[1])
                )
        for pairs in together.values():
            new, again = (plan(parts, opened) for parts in zip(*pairs, strict=True))
            chosen = again if len(again) <= max(1, len(new)) else new
            requests += [planned.request for planned in chosen[: None if days else MOST_REQUESTS]]
    return requests + list(_forecast_requests(ctx, requests))


def _slots(target: Target, door: Door, since: datetime, until: datetime) -> Wanted:
    starts = expected(target.series, since, until)
    ends = np.append(starts[1:], epoch(until))[: len(starts)]
    return Wanted(target, door, starts, ends, np.zeros_like(starts))


def _forecast_requests(ctx: RunContext, requests: Sequence[Request]) -> Iterator[Request]:
    """Ask whoever is asked for values what it expects, too."""
    for door in dict.fromkeys(Door(request.source, request.place) for request in requests):
        if series := providers.SOURCES[door.source].foreseen(ctx.settings):
            yield Request(*door, series, ctx.as_of, ctx.as_of, forecast=True)


def _news(ctx: RunContext, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the forecast rows that say something else than the provider's latest stored issue."""
    if rows.empty:
        return rows
    start, end = rows["target_start"].min(), rows["target_start"].max() + pd.Timedelta(seconds=1)
    held = [
        ctx.store.read_forecasts(name, places=[place], start=start, end=end)
        for name, place in rows[["series", "place"]].drop_duplicates().itertuples(index=False)
    ]
    slot, said = ["series", "place", "model", "target_start", "resolution_s"], ["p10", "p50", "p90"]
    known = rows[slot].merge(pd.concat(held), on=slot, how="left")
    now, before = rows[said].to_numpy(dtype=float), known[said].to_numpy(dtype=float)
    same = (now == before) | (np.isnan(now) & np.isnan(before))
    told: pd.DataFrame = rows.loc[~(same.all(axis=1) & known["issued_at"].notna().to_numpy())]
    return told


def _outcome(
    ctx: RunContext,
    tally: Tally,
    wanted: Sequence[Target],
    before: Stock,
    skipped: Sequence[str],
    forecasts: int,
) -> IngestOutcome:
    """Read the store again and sum up."""
    after = Stock.read(ctx, wanted, FIRST_LOAD_DAYS, raw=False)
    late = tuple(
        target.name for target in wanted if overdue(before, after, target, _nowhere(ctx, target))
    )
    total = tally.total()
    notes = (
        *(f"Skipped {line}." for line in skipped),
        *(f"Failed: {message}" for message in tally.errors.values()),
        *(f"{name} has slots due after its latest value, and none of them came." for name in late),
    )
    figures: dict[str, int | float | str] = {
        "sources_asked": len(tally.sent),
        "sources_failed": len(tally.errors),
        "requests": tally.sent.total(),
        "rows": tally.rows.total(),
        **asdict(total),
        "rejected": total.rejected + len(tally.rejected),
        "quarantined": len(tally.quarantined),
        "forecasts": forecasts,
        "providers_away": int(tally.all_away),
    }
    has_weather = any(target.series.measurement is Measurement.WEATHER for target in wanted)
    return IngestOutcome(
        _by_source(tally),
        _latest(ctx, wanted, after),
        pd.DataFrame(tally.rejected, columns=["source", "text", "reason"]),
        tally.quarantined,
        side_by_side(ctx) if has_weather else pd.DataFrame(columns=COMPARISON_COLUMNS),
        figures,
        notes,
        late,
        tuple(skipped),
        not any(spec.enabled for spec in ctx.settings.sources.values()),
    )


def _nowhere(ctx: RunContext, target: Target) -> list[tuple[int, int]]:
    return attempts.unfillable_stretches(ctx.state, target.name, target.doors, ctx.as_of)


def _by_source(tally: Tally) -> pd.DataFrame:
    lines = [
        {**door._asdict(), "series": name, "rows": tally.rows[door, name], **asdict(result)}
        | {"error": tally.errors.get(door.source, "")}
        for (door, name), result in tally.written.items()
    ]
    return pd.DataFrame(lines, columns=SOURCE_COLUMNS).sort_values(
        ["source", "place"], kind="stable"
    )


def _latest(ctx: RunContext, wanted: Sequence[Target], after: Stock) -> pd.DataFrame:
    """Return the newest value of each series, and mark how far it reaches, which never goes back."""
    lines = []
    for target in wanted:
        last = after.newest(target)
        if last is None:
            continue
        until = last["start"].to_pydatetime() + timedelta(seconds=int(last["resolution_s"]))
        known = get_mark(ctx.state, LATEST, target.name)
        ctx.set_mark(LATEST, target.name, max(until, known.at) if known else until)
        values = {name: last[name] for name in ("series", "place", "source", "start", "value")}
        lines.append(
            {
                **values,
                "unit": target.series.unit,
                "due_until": target.series.due_until(ctx.as_of),
            }
        )
    return pd.DataFrame(lines, columns=LATEST_COLUMNS)
