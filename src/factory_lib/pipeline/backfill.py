"""Backfill: a plan, then requests side by side, then the truth as the store tells it.

A slot counts as recovered if it was missing before and is present when the store is
read again, so the rate can never exceed one. Killed at any moment, the next run
accounts anew and asks only for what is still missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from factory_lib import sources
from factory_lib.clock import day_start, market_day
from factory_lib.context import RunContext
from factory_lib.pipeline import gap_filling
from factory_lib.pipeline.fetch import ask_all
from factory_lib.pipeline.gap_filling import Hunt
from factory_lib.pipeline.gaps import GapReport, analyse
from factory_lib.pipeline.ingest_stats import Tally
from factory_lib.pipeline.request_plan import Planned, plan, plan_table, turn_s
from factory_lib.pipeline.targets import clients, targets
from factory_lib.state import attempts
from factory_lib.state.attempts import RetryPass


@dataclass(frozen=True)
class Progress:
    """How far a backfill is: requests done and planned so far, and the seconds the rest takes at the rate limits."""

    done: int
    planned: int
    remaining_s: float


@dataclass(frozen=True)
class BackfillOutcome:
    """What was planned, what was done, and what the store holds after it.

    Attributes
    ----------
    before : GapReport
        The account before the first request.
    plan : DataFrame
        The first round's requests in the order of asking (``requests.plan_table``).
    by_source, by_series, by_severity : DataFrame
        ``missing`` slots (of a source: those it was asked for), ``recovered`` of them,
        and their ``rate``. A slot whose value was quarantined by an earlier run is
        missing until somebody gives one to trust.
    remaining : DataFrame
        Stretches still missing, with the ``reason``; gaps too short to be filled
        unasked among them.
    quarantined : DataFrame
        Stored values that the quality rules doubt (``quality.OFFENDING_COLUMNS``).
    """

    before: GapReport
    plan: pd.DataFrame
    by_source: pd.DataFrame
    by_series: pd.DataFrame
    by_severity: pd.DataFrame
    remaining: pd.DataFrame
    quarantined: pd.DataFrame
    figures: Mapping[str, int | float | str]
    dry_run: bool = False

    @property
    def level(self) -> str:
        """``ok`` if all that any source has is there, ``fail`` if sources failed and nothing was recovered."""
        if self.dry_run or not self.left:
            return "warn" if self.figures["unreached"] or self.figures["quarantined"] else "ok"
        return "warn" if self.figures["recovered"] else "fail"

    @property
    def left(self) -> int:
        """Slots that a configured source may still have."""
        names = (
            "missing",
            "recovered",
            "unfillable",
            "only_quarantined",
            "unreached",
            "known_later",
        )
        missing, *settled = (int(self.figures[name]) for name in names)
        return missing - sum(settled)

    @property
    def verdict(self) -> str:
        """One sentence for the top of the page."""
        found = self.figures
        remarks = [
            f"{found[name]:,} {words}"
            for name, words in (
                ("only_quarantined", "have quarantined values alone"),
                ("unreached", "are out of every configured source's reach"),
                ("known_later", "are stored, but were not known then"),
                ("untouched_gaps", "gaps too short to be filled unasked"),
                ("quarantined", "newly quarantined"),
            )
            if found[name]
        ]
        if not found["missing"]:
            told = "Nothing to fill"
        elif self.dry_run:
            told = (
                f"{found['missing']:,} missing slots would take {found['requests']:,} requests and at least "
                f"{found['planned_s']:,.0f} s; nothing was asked"
            )
        else:
            told = (
                f"{found['recovered']:,} of {found['missing']:,} missing slots recovered with {found['requests']:,} "
                f"requests; {found['unfillable']:,} are with no source; {self.left:,} remain to be tried again"
            )
        return "; ".join([told, *remarks]) + "."


def backfill(
    ctx: RunContext,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    automatic: bool = True,
    dry_run: bool = False,
    series: Sequence[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> BackfillOutcome:
    """Validate what is stored and fill what is missing.

    Parameters
    ----------
    since, until : datetime, optional
        As for ``gaps.analyse``; naming ``since`` makes everything from there on
        expected, the first load, and has the quality rules look at all of it. So they
        do at yesterday and today where the run is not ``automatic``.
    automatic : bool
        Only gaps longer than ``settings.gaps.automatic_above_h``, in passes: those that
        a provider did not answer for are due again as often as their severity asks for
        (``passes``).
    dry_run : bool
        Plan and ask nothing.
    progress : callable, optional
        Told after each answer.

    Raises
    ------
    StoreUnavailable, WriteNotConfirmed
        If what was received could not be kept. What any provider does is in the outcome
        instead.
    """
    tally = Tally(ctx)
    judged_since = since or (
        None if automatic else day_start(market_day(ctx.as_of) - timedelta(days=1))
    )
    if judged_since and not dry_run:
        tally.judge(
            [target.name for target in targets(ctx, series)],
            [(judged_since, until or ctx.as_of)],
        )
    before = analyse(ctx, since, until, series=series)
    turn = None
    if automatic:  # a replay takes no turn of the present's
        turn = RetryPass(ctx.as_of) if ctx.replay else attempts.begin_pass(ctx.state, ctx.as_of)
    campaign = _Campaign(ctx, gap_filling.hunts(before, turn), tally, progress)
    first = campaign.next_round()
    planned = plan_table(
        first, ctx.settings.sources, [rule.name for rule in ctx.settings.gaps.severities]
    )
    if not dry_run:
        campaign.run(first, turn)
    return campaign.outcome(before, planned, gap_filling.left_alone(before, turn), dry_run=dry_run)


class _Campaign:
    """One run: rounds of requests until nobody is left to ask."""

    def __init__(
        self,
        ctx: RunContext,
        quarry: Sequence[Hunt],
        tally: Tally,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.ctx = ctx
        self.hunts = {each.target.name: each for each in quarry}
        self.progress = progress
        self.tally = tally

    def run(self, first: Sequence[Planned], turn: RetryPass | None) -> None:
        """Ask, and leave word of what no source has and of when the rest is tried again; a replay knows less."""
        planned = first
        while planned:
            self._carry_out(planned)
            planned = self.next_round()
        if self.ctx.replay:
            return
        attempts.delete_expired(self.ctx.state, self.ctx.as_of)
        for name, each in self.hunts.items():
            attempts.record_unfillable(
                self.ctx.state, name, each.nowhere(), each.target.doors, self.ctx.as_of
            )
        if turn:
            rules = self.ctx.settings.gaps.severities
            failed = {
                int(at) for each in self.hunts.values() for at in each.severity[each.failed()]
            }
            attempts.record_pass(self.ctx.state, turn, [rules[at] for at in failed])

    def next_round(self) -> list[Planned]:
        """Plan requests to the next door of every slot that is still missing."""
        ready = sources.configured(self.ctx.settings)
        with clients(self.ctx.settings, self.ctx.state, self.ctx.clock, ready) as opened:
            wanted = [part for each in self.hunts.values() for part in each.wanted(opened)]
            return plan(wanted, opened)

    def _carry_out(self, planned: Sequence[Planned]) -> None:
        left = dict.fromkeys(self.ctx.settings.sources, 0.0)
        for item in planned:
            left[item.request.source] += turn_s(self.ctx.settings.sources[item.request.source])
        for done, answer in enumerate(ask_all(self.ctx, [item.request for item in planned]), 1):
            source = answer.request.source
            self.tally.take(answer)
            for name in answer.request.series:
                self.hunts[name].note(answer)
            left[source] -= turn_s(self.ctx.settings.sources[source])
            if self.progress is not None:
                self.progress(Progress(done, len(planned), max(left.values())))
        self.tally.judge_answers(item.request for item in planned)
        for each in self.hunts.values():
            each.read_again(self.ctx)

    def outcome(
        self, before: GapReport, planned: pd.DataFrame, left_alone: pd.DataFrame, *, dry_run: bool
    ) -> BackfillOutcome:
        """Sum up, from the hunts' last reading of the store."""
        quarry = list(self.hunts.values())
        severities = [rule.name for rule in self.ctx.settings.gaps.severities]
        remaining = gap_filling.remaining_table(quarry, severities, left_alone)
        missing, recovered = (
            sum(getattr(each, name) for each in quarry) for name in ("missing", "recovered")
        )
        total = self.tally.total()
        figures: dict[str, int | float | str] = {
            "missing": missing,
            "recovered": recovered,
            "barred": sum(int(each.was_barred.sum()) for each in quarry),
            "unfillable": sum(int(each.unfillable().sum()) for each in quarry),
            "only_quarantined": sum(int(each.barred().sum()) for each in quarry),
            "unreached": sum(int(each.unreached().sum()) for each in quarry),
            "known_later": sum(int(each.known_later.sum()) for each in quarry),
            "requests": len(planned) if dry_run else self.tally.sent.total(),
            "requests_failed": self.tally.failed.total(),
            "providers_away": int(self.tally.all_away),
            "new": total.new,
            "revised": total.revised,
            "quarantined": len(self.tally.quarantined),
            "planned_s": float(planned.groupby("source")["seconds"].sum().max())
            if len(planned)
            else 0.0,
            "untouched_gaps": len(left_alone),
            "untouched": int(left_alone["slots"].sum()),
        }
        if missing and not dry_run:
            figures["success_rate"] = recovered / missing
        return BackfillOutcome(
            before,
            planned,
            gap_filling.by_source(quarry, self.tally.by_source()),
            gap_filling.by_series(quarry),
            gap_filling.by_severity(quarry, severities),
            remaining,
            self.tally.quarantined,
            figures,
            dry_run,
        )
