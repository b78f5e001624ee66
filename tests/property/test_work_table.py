"""Whatever sources have, lack or fail to answer.

Each slot ends as its sources say, and no request is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_lib.catalogue import default_catalogue
from factory_lib.clock import epoch
from factory_lib.errors import NoDataYet, Unreachable
from factory_lib.pipeline.fetch import FetchResult, Request
from factory_lib.pipeline.gaps import GapReport, TargetCoverage, classify
from factory_lib.pipeline.targets import SourcePlace, Target
from factory_lib.pipeline.work_table import (
    NO_SOURCE_HAS_IT,
    NONE_IN_REACH_HAS_IT,
    ONLY_QUARANTINED,
    OPEN,
    OUT_OF_REACH,
    RECOVERED,
    mark_present,
    next_requests,
    record_results,
    stretches,
    summarise_slots,
    work_table,
)
from factory_lib.settings.records import GapSettings, SeverityRule
from factory_lib.slots import Slots, expected, to_index
from factory_lib.sources.base import split_days

CATALOGUE = default_catalogue()
BEGIN = datetime(2025, 9, 25, tzinfo=UTC)  # the change to quarters lies in the window
NAMES = ("spot_eur_mwh", "pvpc_eur_mwh", "temperature_c", "gas_generation_mwh")
SOURCES = ("ree", "omie", "esios", "open_meteo")
RULES = GapSettings(
    (
        SeverityRule("minor", "wait", "low", (0,), 2.0),
        SeverityRule("critical", "fill", "high", (0,)),
    )
)


@dataclass
class Provider:
    """A source that has some slots, or does not answer, within its reach."""

    first: datetime
    last: datetime
    days: int
    answers: bool
    slots: dict[tuple[str, str], set[int]]

    @property
    def limits(self) -> Any:
        return SimpleNamespace(max_range_days=self.days)

    def available_window(self, series: str) -> tuple[datetime, datetime]:
        return self.first, self.last

    def windows(
        self, start: datetime, end: datetime, series: Sequence[str]
    ) -> list[tuple[datetime, datetime]]:
        return split_days(start, end, self.days, UTC)

    def fetch(self, request: Request) -> FetchResult:
        """Return what the provider has of a request."""
        if not self.answers:
            error = Unreachable(request.source, "away")
            return FetchResult(request, pd.DataFrame({"series": [], "start": []}), error)
        tables = []
        for name in request.series:
            window = range(epoch(request.start), epoch(request.end))
            starts = sorted(at for at in self.slots[name, request.place] if at in window)
            index = to_index(np.array(starts, dtype=np.int64))
            tables.append(pd.DataFrame({"series": name, "start": index}))
        rows = pd.concat(tables)
        return FetchResult(request, rows, None if len(rows) else NoDataYet(request.source, "none"))


@dataclass
class Case:
    """A report of what is missing, and the providers."""

    report: GapReport
    providers: dict[str, Provider]
    stored: dict[str, set[int]]

    def store(self, result: FetchResult) -> None:
        """Store the rows of a result, but for the values that are quarantined."""
        at = SourcePlace(result.request.source, result.request.place)
        for name, rows in result.rows.groupby("series"):
            (part,) = (part for part in self.report.coverages if part.target.name == name)
            starts = {epoch(start) for start in rows["start"]}
            self.stored[str(name)] |= starts - set(part.quarantined.get(at, ()))

    def present(self) -> dict[str, Slots]:
        """Return the slots that hold a trusted value."""
        return {name: np.array(sorted(slots)) for name, slots in self.stored.items()}


def some(rng: np.random.Generator, slots: Slots) -> Slots:
    """Return stretches of the slots, none or all of them among others."""
    mask = np.zeros(len(slots), dtype=bool)
    for first in rng.integers(0, max(1, len(slots)), rng.integers(0, 6)):
        mask[first : first + int(2 ** rng.uniform(0, 8))] = True
    return slots[mask]


def draw(rng: np.random.Generator) -> Case:
    """Return a random case."""
    providers = {
        name: Provider(
            BEGIN + timedelta(hours=int(rng.integers(-100, 100))),
            BEGIN + timedelta(hours=int(rng.integers(100, 400))),
            int(rng.integers(1, 9)),
            bool(rng.random() < 0.7),
            {},
        )
        for name in SOURCES
    }
    parts = []
    stored = {}
    for name in NAMES[: rng.integers(0, 5)]:
        series = CATALOGUE[name]
        slots = expected(series, BEGIN, BEGIN + timedelta(days=12))
        places = ("A", "B")[: rng.integers(1, 3)]
        addresses = [
            SourcePlace(source, place)
            for source in rng.permutation(SOURCES)[: rng.integers(0, 4)].tolist()
            for place in places
        ]
        quarantined = {at: some(rng, slots) for at in addresses if rng.random() < 0.4}
        flagged = np.unique(np.concatenate([slots[:0], *quarantined.values()]))
        present = np.setdiff1d(slots[~np.isin(slots, some(rng, slots))], flagged)
        coverage = classify(
            series,
            BEGIN,
            BEGIN + timedelta(days=12),
            present,
            as_of=BEGIN + timedelta(days=40),
            quarantined=flagged,
        )
        for at in addresses:
            provider = providers[at.source]
            in_reach = (coverage.starts >= epoch(provider.first)) & (
                coverage.ends <= epoch(provider.last)
            )
            provider.slots[name, at.place] = set(some(rng, slots[in_reach]).tolist())
        parts.append(
            TargetCoverage(Target(series, places, tuple(addresses)), coverage, quarantined)
        )
        stored[name] = set(present.tolist())
    return Case(GapReport(tuple(parts), BEGIN, RULES), providers, stored)


def fill(case: Case) -> tuple[pd.DataFrame, list[Request]]:
    """Work through the table as a backfill does, and return it with all requests."""
    opened: Any = case.providers
    work = work_table(case.report, opened, None)
    requests = []
    while planned := next_requests(work, opened):
        results = [case.providers[item.request.source].fetch(item.request) for item in planned]
        for result in results:
            case.store(result)
        requests += [item.request for item in planned]
        work = mark_present(record_results(work, results), case.present(), case.present())
    return work, requests


def outcome(part: TargetCoverage, case: Case, start: int, end: int) -> str:
    """Return how a slot should end, from what each of its sources has."""
    reached, undecided, missed, delivered = [], [], [], False
    for at in part.target.source_places:
        provider = case.providers[at.source]
        if not epoch(provider.first) <= start < end <= epoch(provider.last):
            missed.append(at)
            continue
        reached.append(at)
        gave = start in part.quarantined.get(at, ())
        has = start in provider.slots[part.target.name, at.place]
        delivered |= has and provider.answers and not gave
        if not gave and not provider.answers:
            undecided.append(at)
    quarantined = any(start in slots for slots in part.quarantined.values())
    if delivered:
        return RECOVERED
    if not reached:
        return OUT_OF_REACH
    if undecided:
        return OPEN
    if quarantined:
        return ONLY_QUARANTINED
    return NONE_IN_REACH_HAS_IT if missed else NO_SOURCE_HAS_IT


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_each_slot_ends_as_its_sources_say(seed: int) -> None:
    case = draw(np.random.default_rng(seed))
    missing = {
        part.target.name: set(part.coverage.starts.tolist()) - case.stored[part.target.name]
        for part in case.report.coverages
    }
    work, requests = fill(case)
    assert len(requests) == len(set(requests))

    slots = summarise_slots(work, {}, RULES)
    parts = {part.target.name: part for part in case.report.coverages}
    assert {name: set(rows["start"]) for name, rows in slots.groupby("series", observed=True)} == {
        name: starts for name, starts in missing.items() if starts
    }
    for row in slots.itertuples():
        assert row.outcome == outcome(parts[row.series], case, row.start, row.end)

    left = slots[slots["outcome"] != RECOVERED]
    runs = stretches(left)
    assert runs["slots"].sum() == len(left)
    assert not len(runs) or (runs["end"] > runs["start"]).all()
    assert next_requests(work, case.providers) == []  # type: ignore[arg-type]
