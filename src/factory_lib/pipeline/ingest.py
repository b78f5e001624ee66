"""Ingestion: what is new at the providers, stored, counted in the store, and said out loud when it did not come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pandas as pd

from factory_lib import sources as providers
from factory_lib.clock import day_start, from_epoch, market_day
from factory_lib.errors import NothingIngested
from factory_lib.house import House
from factory_lib.pipeline import due, unfillable
from factory_lib.pipeline.accounting import SlotState, account
from factory_lib.pipeline.asking import Answer, Request, ask_all
from factory_lib.pipeline.gaps import known_until
from factory_lib.pipeline.scope import Door, Target, clients, targets
from factory_lib.slots import Slots, from_index
from factory_lib.store.base import WriteResult

FIRST_LOAD_DAYS = 30
REREAD_DAYS = 2  # prices are revised after the day, and observations arrive late
MOST_REQUESTS = 6  # per provider and run; what is further back is the backfill's work

SOURCE_COLUMNS = ["source", "place", "series", "rows", "new", "revised", "unchanged", "rejected", "error"]
LATEST_COLUMNS = ["series", "place", "source", "start", "value", "unit", "due_until"]


@dataclass(frozen=True)
class IngestOutcome:
    """What was asked, what came, and what is known now.

    Attributes
    ----------
    by_source : DataFrame
        One row per provider, place and series (``SOURCE_COLUMNS``), counted in the store.
    latest : DataFrame
        The newest value of each series (``LATEST_COLUMNS``).
    rejected : DataFrame
        What providers sent and nobody can believe: ``source``, ``text``, ``reason``.
    notes : tuple of str
        Providers skipped or failing, and series that lag.
    overdue : tuple of str
        Series that had slots due and got none of them.
    offline : bool
        Whether every source is switched off here: the profile lives on imported files.
    """

    by_source: pd.DataFrame
    latest: pd.DataFrame
    rejected: pd.DataFrame
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
        return "warn" if self.figures["sources_failed"] else "ok"

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
            return f"{counted}, but {', '.join(self.overdue)} had values due and got none."
        failed = f"; {found['sources_failed']} of them failed" if found["sources_failed"] else ""
        return f"{counted}{failed}."

    def require(self) -> None:
        """Raise ``NothingIngested`` where rows were due and none came."""
        if self.level == "fail":
            raise NothingIngested(self.verdict, next_step=" ".join(self.notes))


def ingest(house: House, sources: str = "all", days: int | None = None) -> IngestOutcome:
    """Ask the providers side by side for what is new, and for the last days again.

    Parameters
    ----------
    sources : str
        ``all``, ``prices``, ``weather``, or the name of one provider.
    days : int, optional
        How far back to ask; default from each series' last slot, and ``FIRST_LOAD_DAYS`` where there is none.

    Raises
    ------
    BadInput
        If there is no such source.
    StoreUnavailable, WriteNotConfirmed
        If what came could not be kept. A provider that fails is named in the outcome and holds up no other.
    """
    names = due.chosen(house.settings, sources)
    skipped = tuple(f"{name}: {why}" for name in names if (why := providers.missing(name, house.settings)))
    ready = [name for name in names if not providers.missing(name, house.settings)]
    wanted = [target for target in targets(house) if any(door.source in ready for door in target.doors)]
    now = house.clock.now()
    held = {target.name: _held(house, target, days) for target in wanted}
    tally = _Tally(house)
    for answer in ask_all(house, _requests(house, wanted, ready, held, days)):
        tally.take(answer)
    for name in ready:
        house.state.mark(due.ASKED, name, now)
    return tally.outcome(wanted, held, skipped)


@dataclass(frozen=True)
class _Held:
    """What is stored of one target before anything is asked: slots, and the end of them per source."""

    slots: Slots
    until: Mapping[Door, datetime]


def _held(house: House, target: Target, days: int | None) -> _Held:
    start, end = house.as_of - timedelta(days=days or FIRST_LOAD_DAYS), known_until(target.series, house.as_of)
    rows = house.store.read(target.name, places=target.places, start=start, end=end, raw=True)
    ends = from_index(rows["start"]) + rows["resolution_s"].to_numpy()  # ascending, so the last one of each door stays
    until = {Door(*at): from_epoch(int(end)) for *at, end in zip(rows["source"], rows["place"], ends, strict=True)}
    return _Held(house.store.slots(target.name, places=target.places, start=start, end=end), until)


def _requests(
    house: House, wanted: Sequence[Target], ready: Sequence[str], held: Mapping[str, _Held], days: int | None
) -> list[Request]:
    """Return what to ask each door, newest first; series that one answer holds together share it."""
    together: dict[tuple[Door, str], list[tuple[str, datetime, datetime]]] = {}
    requests: list[Request] = []
    with clients(house.settings, house.state, house.clock, ready) as opened:
        for target in wanted:
            for door in (door for door in target.doors if door.source in opened):
                first, last = opened[door.source].reach(target.name)
                start = max(first, _since(house, held[target.name].until.get(door), days))
                end = min(last, known_until(target.series, house.as_of))
                if start < end:
                    key = (door, target.series.measurement.value)
                    together.setdefault(key, []).append((target.name, start, end))
        for (door, _), parts in together.items():
            names = tuple(name for name, _, _ in parts)
            start, end = min(start for _, start, _ in parts), max(end for *_, end in parts)
            windows = opened[door.source].windows(start, end, names)[::-1][:MOST_REQUESTS]
            requests += [Request(*door, names, first, last) for first, last in windows]
    return requests + list(_forecast_requests(house, requests))


def _since(house: House, until: datetime | None, days: int | None) -> datetime:
    first = house.as_of - timedelta(days=days or FIRST_LOAD_DAYS)
    if until is None or days is not None:
        return first
    return min(until, day_start(market_day(house.as_of) - timedelta(days=REREAD_DAYS)))


def _forecast_requests(house: House, requests: Sequence[Request]) -> Iterator[Request]:
    """Ask whoever is asked for values what it expects, too."""
    for door in dict.fromkeys(Door(request.source, request.place) for request in requests):
        if series := providers.SOURCES[door.source].forecasts:
            yield Request(*door, series, house.as_of, house.as_of, forecast=True)


class _Tally:
    """Stores answers as they come and keeps count."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.lines: dict[tuple[Door, str], dict[str, object]] = {}
        self.counts: dict[tuple[Door, str], WriteResult] = {}
        self.rows: dict[tuple[Door, str], int] = {}
        self.came: dict[str, list[Slots]] = {}
        self.failed: dict[str, str] = {}
        self.asked: set[str] = set()
        self.rejected: list[tuple[str, str, str]] = []
        self.requests = 0
        self.forecasts = 0

    def take(self, answer: Answer) -> None:
        """Store what an answer brought."""
        request = answer.request
        self.requests += answer.sent
        self.asked.add(request.source)
        self.rejected += [(request.source, *row) for row in answer.rejected]
        if answer.error is not None and not answer.settled:
            self.failed[request.source] = answer.error.message
        if request.forecast:
            if len(answer.rows):
                self.forecasts += self.house.store.write_forecasts(answer.rows, run_id=self.house.run_id).new
            return
        door = Door(request.source, request.place)
        for name in request.series:
            rows = answer.rows[answer.rows["series"] == name]
            key = (door, name)
            result = self.house.store.write(rows, run_id=self.house.run_id) if len(rows) else WriteResult()
            self.counts[key] = self.counts.get(key, WriteResult()) + result
            self.rows[key] = self.rows.get(key, 0) + len(rows)
            self.came.setdefault(name, []).append(from_index(rows["start"]))

    def outcome(self, wanted: Sequence[Target], held: Mapping[str, _Held], skipped: Sequence[str]) -> IngestOutcome:
        """Read the store again and sum up."""
        overdue = tuple(target.name for target in wanted if self._overdue(target, held[target.name]))
        latest = self._latest(wanted)
        total = sum(self.counts.values(), start=WriteResult())
        notes = (
            *(f"Skipped {line}." for line in skipped),
            *(f"Failed: {message}" for message in self.failed.values()),
            *(f"{name} has slots due after its latest value, and none of them came." for name in overdue),
        )
        return IngestOutcome(
            self._by_source(),
            latest,
            pd.DataFrame(self.rejected, columns=["source", "text", "reason"]),
            {
                "sources_asked": len(self.asked),
                "sources_failed": len(self.failed),
                "requests": self.requests,
                "rows": sum(self.rows.values()),
                "new": total.new,
                "revised": total.revised,
                "unchanged": total.unchanged,
                "rejected": total.rejected + len(self.rejected),
                "forecasts": self.forecasts,
            },
            notes,
            overdue,
            tuple(skipped),
            not any(spec.enabled for spec in self.house.settings.sources.values()),
        )

    def _overdue(self, target: Target, held: _Held) -> bool:
        """Return whether slots after the latest stored one were due and none of them came."""
        as_of = self.house.as_of
        after = from_epoch(int(held.slots[-1]) + 1) if len(held.slots) else as_of - timedelta(days=1)
        books = account(
            target.series,
            after,
            known_until(target.series, as_of),
            self._present(target, after),
            as_of=as_of,
            unfillable=unfillable.recall(self.house.state, target.name, target.doors, as_of),
        )
        counts = books.counts()
        return bool(counts[SlotState.MISSING.name.lower()]) and not counts[SlotState.PRESENT.name.lower()]

    def _present(self, target: Target, since: datetime) -> Slots:
        end = known_until(target.series, self.house.as_of)
        return self.house.store.slots(target.name, places=target.places, start=since, end=end)

    def _by_source(self) -> pd.DataFrame:
        lines = [
            {
                "source": door.source,
                "place": door.place,
                "series": name,
                "rows": self.rows[door, name],
                "new": result.new,
                "revised": result.revised,
                "unchanged": result.unchanged,
                "rejected": result.rejected,
                "error": self.failed.get(door.source, ""),
            }
            for (door, name), result in self.counts.items()
        ]
        return pd.DataFrame(lines, columns=SOURCE_COLUMNS).sort_values(["source", "place"], kind="stable")

    def _latest(self, wanted: Sequence[Target]) -> pd.DataFrame:
        """Return the newest value of each series, and leave word of it for the next tick."""
        lines = []
        for target in wanted:
            end = known_until(target.series, self.house.as_of)
            rows = self.house.store.read(
                target.name, places=target.places, start=self.house.as_of - timedelta(days=FIRST_LOAD_DAYS), end=end
            )
            if rows.empty:
                continue
            last = rows.iloc[-1]
            until = last["start"].to_pydatetime() + timedelta(seconds=int(last["resolution_s"]))
            self.house.state.mark(due.LATEST, target.name, until)
            if any(result.written for (_, name), result in self.counts.items() if name == target.name):
                self.house.state.mark(due.STORED, target.name, self.house.clock.now())
            values = {name: last[name] for name in ("series", "place", "source", "start", "value")}
            lines.append({**values, "unit": target.series.unit, "due_until": target.series.due_until(self.house.as_of)})
        return pd.DataFrame(lines, columns=LATEST_COLUMNS)
