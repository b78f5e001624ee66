"""Backfill: a plan, then requests side by side, then the truth as the store tells it.

A slot counts as recovered if it was missing before and is present when the store is read again, so the rate can never
exceed one. Killed at any moment, the next run accounts anew and asks only for what is still missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from factory_lib import sources
from factory_lib.house import House
from factory_lib.pipeline import due, hunt, unfillable
from factory_lib.pipeline.asking import ask_all
from factory_lib.pipeline.gaps import GapReport, analyse
from factory_lib.pipeline.hunt import Hunt
from factory_lib.pipeline.requests import Planned, plan, plan_table, turn_s
from factory_lib.pipeline.scope import clients
from factory_lib.pipeline.tally import Tally


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
        ``missing`` slots (of a source: those it was asked for), ``recovered`` of them, and their ``rate``. A slot whose
        value was quarantined by an earlier run is missing until somebody gives one to trust.
    remaining : DataFrame
        Stretches still missing, with the ``reason``.
    untouched_gaps : int
        Gaps too short to be filled without being asked for.
    """

    before: GapReport
    plan: pd.DataFrame
    by_source: pd.DataFrame
    by_series: pd.DataFrame
    by_severity: pd.DataFrame
    remaining: pd.DataFrame
    figures: Mapping[str, int | float | str]
    dry_run: bool = False

    @property
    def level(self) -> str:
        """``ok`` if all that any source has is there, ``fail`` if sources failed and nothing was recovered."""
        if self.dry_run or not self.left:
            return "warn" if self.figures["unreached"] else "ok"
        return "warn" if self.figures["recovered"] else "fail"

    @property
    def left(self) -> int:
        """Slots that a configured source may still have."""
        names = ("missing", "recovered", "unfillable", "only_quarantined", "unreached")
        missing, *settled = (int(self.figures[name]) for name in names)
        return missing - sum(settled)

    @property
    def verdict(self) -> str:
        """One sentence for the top of the page."""
        found = self.figures
        if not found["missing"]:
            short = (
                f" ({found['untouched_gaps']} gaps are too short to be filled unasked)"
                if found["untouched_gaps"]
                else ""
            )
            return f"Nothing to fill{short}."
        if self.dry_run:
            return (
                f"{found['missing']:,} missing slots would take {found['requests']:,} requests and at least "
                f"{found['planned_s']:,.0f} s. Nothing was asked."
            )
        barred = found["only_quarantined"]
        nowhere = f"; {barred:,} have quarantined values alone" if barred else ""
        nowhere += f"; {found['unreached']:,} are out of every configured source's reach" if found["unreached"] else ""
        return (
            f"{found['recovered']:,} of {found['missing']:,} missing slots recovered with {found['requests']:,} "
            f"requests; {found['unfillable']:,} are with no source{nowhere}; {self.left:,} remain to be tried again."
        )


def backfill(
    house: House,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    automatic: bool = True,
    dry_run: bool = False,
    patience: timedelta = timedelta(),
    series: Sequence[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> BackfillOutcome:
    """Fill what is missing in the window.

    Parameters
    ----------
    since, until : datetime, optional
        As for ``gaps.analyse``; naming ``since`` makes everything from there on expected: the first load.
    automatic : bool
        Only gaps longer than ``settings.gaps.automatic_above_h``.
    dry_run : bool
        Plan and ask nothing.
    patience : timedelta
        How long to wait in this run for the further passes of severe gaps; what is not tried again by then is left to a
        later run, which the shared state remembers.
    progress : callable, optional
        Told after each answer.

    Raises
    ------
    StoreUnavailable, WriteNotConfirmed
        If what was received could not be kept. What any provider does is in the outcome instead.
    """
    before = analyse(house, since, until, series=series)
    campaign = _Campaign(house, hunt.hunts(before, automatic=automatic), progress)
    first = campaign.next_round()
    planned = plan_table(first, house.settings.sources, [rule.name for rule in house.settings.gaps.severities])
    if not dry_run:
        campaign.run(first, patience)
    return campaign.outcome(before, planned, dry_run=dry_run)


class _Campaign:
    """One run: rounds of requests until nobody is left to ask, passes for what failed."""

    def __init__(self, house: House, quarry: Sequence[Hunt], progress: Callable[[Progress], None] | None) -> None:
        self.house = house
        self.hunts = {each.target.name: each for each in quarry}
        self.began = house.clock.now()
        self.rules = house.settings.gaps.severities
        self.progress = progress
        self.tally = Tally(house)

    def run(self, first: Sequence[Planned], patience: timedelta) -> None:
        planned = first
        for number in range(max(len(rule.passes_at_min) for rule in self.rules)):
            if number and not self._wait_for_pass(number, patience):
                break
            planned = planned if not number else self.next_round()
            while planned:
                self._carry_out(planned)
                planned = self.next_round()
        self._remember()

    def next_round(self) -> list[Planned]:
        """Plan requests to the next door of every slot that is still missing."""
        ready = sources.configured(self.house.settings)
        with clients(self.house.settings, self.house.state, self.house.clock, ready) as opened:
            wanted = [part for each in self.hunts.values() for part in each.wanted(opened)]
            return plan(wanted, opened)

    def _carry_out(self, planned: Sequence[Planned]) -> None:
        left = dict.fromkeys(self.house.settings.sources, 0.0)
        for item in planned:
            left[item.request.source] += turn_s(self.house.settings.sources[item.request.source])
        for done, answer in enumerate(ask_all(self.house, [item.request for item in planned]), 1):
            source = answer.request.source
            self.tally.take(answer)
            for name in answer.request.series:
                self.hunts[name].note(answer)
            left[source] -= turn_s(self.house.settings.sources[source])
            if self.progress is not None:
                self.progress(Progress(done, len(planned), max(left.values())))
        self.tally.judge(item.request for item in planned)
        for each in self.hunts.values():
            each.read_again(self.house)

    # -- passes ---------------------------------------------------------------------------------------------------

    def _next_try(self, number: int, quarry: Collection[Hunt]) -> timedelta | None:
        """Return how long after the first pass ``number`` of what failed is due; None if nothing is tried so often."""
        at = [
            rule.passes_at_min[number]
            for severity, rule in enumerate(self.rules)
            if number < len(rule.passes_at_min) and any(each.failed(severity).any() for each in quarry)
        ]
        return timedelta(minutes=min(at)) if at else None

    def _wait_for_pass(self, number: int, patience: timedelta) -> bool:
        wait = self._next_try(number, self.hunts.values())
        if wait is None or wait > patience:
            return False
        self.house.clock.sleep((self.began + wait - self.house.clock.now()).total_seconds())
        for severity, rule in enumerate(self.rules):
            if number < len(rule.passes_at_min):
                for each in self.hunts.values():
                    each.try_again(severity)
        return True

    def _remember(self) -> None:
        """Leave word of what no source has, and of when the rest is to be tried again; a replay knows less."""
        if self.house.replay:
            return
        for name, each in self.hunts.items():
            unfillable.remember(self.house.state, name, each.nowhere(), each.target.doors, self.house.as_of)
            if wait := self._next_try(1, [each]):
                self.house.mark(due.AGAIN, name, self.house.clock.now() + wait)

    # -- what came of it ------------------------------------------------------------------------------------------

    def outcome(self, before: GapReport, planned: pd.DataFrame, *, dry_run: bool) -> BackfillOutcome:
        """Sum up, from the hunts' last reading of the store."""
        quarry = list(self.hunts.values())
        severities = [rule.name for rule in self.rules]
        remaining = hunt.remaining_table(quarry, severities)
        missing, recovered = (sum(getattr(each, name) for each in quarry) for name in ("missing", "recovered"))
        gaps = before.gaps
        taken = sum(each.gaps for each in quarry)
        total = self.tally.total()
        figures: dict[str, int | float | str] = {
            "missing": missing,
            "recovered": recovered,
            "barred": sum(int(each.was_barred.sum()) for each in quarry),
            "unfillable": sum(int(each.unfillable().sum()) for each in quarry),
            "only_quarantined": sum(int(each.barred().sum()) for each in quarry),
            "unreached": sum(int(each.unreached().sum()) for each in quarry),
            "requests": len(planned) if dry_run else self.tally.sent.total(),
            "requests_failed": self.tally.failed.total(),
            "new": total.new,
            "revised": total.revised,
            "quarantined": len(self.tally.quarantined),
            "planned_s": float(planned.groupby("source")["seconds"].sum().max()) if len(planned) else 0.0,
            "untouched_gaps": int((gaps["state"] == "missing").sum()) - taken,
        }
        if missing and not dry_run:
            figures["success_rate"] = recovered / missing
        return BackfillOutcome(
            before,
            planned,
            hunt.by_source(quarry, self.tally.by_source()),
            hunt.by_series(quarry),
            hunt.by_severity(quarry, severities),
            remaining,
            figures,
            dry_run,
        )
