"""What a backfill recovers of everything that some provider still has.

Random holes, outages and providers with only part.

Each scenario is a store of three months, full but for holes from one slot to three
months, at an instant often near a clock change or the end of a month. Some values are
with no provider, some with only one of them; 5 % of the requests get a 5xx, 3 % a 429,
and mostly one provider is away for a while. The backfill runs as it is scheduled: at
the passes of a critical gap and then at two looks, two simulated hours apart, while it
says that something remains.

``recoverable`` is counted here from the script of the scenario, by asking which
provider was told to deliver what, and ``wrong`` by holding every recovered value
against the simulated world.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._cli import bench
from factory_lib import frames
from factory_lib import settings as factory_settings
from factory_lib.catalogue import default_catalogue
from factory_lib.clock import day_bounds, epoch, from_epoch, market_day
from factory_lib.context import RunContext, open_context
from factory_lib.pipeline.backfill import backfill
from factory_lib.pipeline.gaps import SlotState, analyse
from factory_lib.slots import Mask, Slots, expected, from_index
from factory_sim.clock import SimulatedClock
from factory_sim.engine import Simulator
from factory_sim.faults import Rule
from factory_sim.holes import Holes
from factory_sim.server import http_server
from factory_sim.world import World

CATALOGUE = default_catalogue()

SCENARIOS, SEED = 200, 42
DAYS, LONGEST_H = 91, 90 * 24  # the forecast endpoint keeps 92 days
PRICES, WEATHER = ("spot_eur_mwh", "pvpc_eur_mwh"), ("temperature_c", "humidity_pct")
# Who can be asked without a key; the archive for what is older than five days.
SERVES = {
    "spot_eur_mwh": ("ree", "omie"),
    "pvpc_eur_mwh": ("ree", "esios"),
    "temperature_c": ("open_meteo", "open_meteo_recent"),
    "humidity_pct": ("open_meteo", "open_meteo_recent"),
}
EDGES = tuple(
    datetime(*day, tzinfo=UTC)
    for day in [
        (2024, 3, 31),
        (2024, 10, 27),
        (2025, 3, 30),
        (2025, 10, 26),
        (2026, 3, 29),
        (2025, 3, 1),
        (2026, 1, 1),
    ]
)
RATES = (Rule("server_error", rate=0.05), Rule("too_many", rate=0.03))


class Withheld(Holes):
    """Slots that some providers do not have, by provider and series."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[tuple[str, str], set[int]] = {}

    def withhold(self, source: str, series: str, slots: Slots) -> None:
        """Take slots from a provider for ever."""
        if source == "omie" and len(slots):  # a file has all of its day, or there is none
            days = {market_day(from_epoch(int(slot))) for slot in slots}
            slots = np.concatenate([expected(CATALOGUE[series], *day_bounds(day)) for day in days])
        self.slots.setdefault((source, series), set()).update(slots.tolist())

    def delivered(self, source: str, series: str, starts: Slots) -> Mask:
        """Return which slots a provider has."""
        gone = self.slots.get((source, series), set())
        return ~np.isin(starts, np.fromiter(gone, np.int64, len(gone)))


@dataclass
class Scenario:
    """What is missing, and who has it."""

    now: datetime
    since: datetime
    until: datetime
    missing: dict[str, Slots]
    withheld: Withheld
    rules: tuple[Rule, ...]
    result: dict[str, Any] = field(default_factory=dict)

    def offered(self, name: str, at: datetime) -> Mask:
        """Return which missing slots some provider has and reaches at an instant."""
        slots = self.missing[name]
        old = slots + 3600 <= epoch(at - timedelta(days=5))
        reach = {"open_meteo": old}
        able = [
            self.withheld.delivered(source, name, slots) & reach.get(source, True)
            for source in SERVES[name]
        ]
        any_able: Mask = np.any(able, axis=0)
        return any_able


def draw(rng: np.random.Generator) -> Scenario:
    """Make up a scenario."""
    edge = EDGES[rng.integers(len(EDGES))]
    near = timedelta(hours=float(rng.uniform(-36, 36 * rng.integers(1, 60))))
    now = (edge + near).replace(minute=int(rng.integers(60)), second=0, microsecond=0)
    until = now.replace(minute=0) - timedelta(hours=5)
    since = until - timedelta(days=DAYS)
    names = (PRICES, WEATHER, PRICES + WEATHER)[rng.integers(3)]
    withheld, missing = Withheld(), {}
    cuts = [cut(rng, since) for _ in range(rng.integers(1, 6))]
    for name in names:
        slots = expected(CATALOGUE[name], since, until)
        mine = [hole for hole in cuts if rng.random() < 0.8] or cuts
        gone = np.zeros(len(slots), dtype=bool)
        for first, last in mine:
            inside = (slots >= first) & (slots < last)
            gone |= inside
            if rng.random() < 0.35:
                part = slots[inside][: max(1, int(inside.sum() * rng.random()))]
                holders = SERVES[name] if rng.random() < 0.5 else SERVES[name][:1]
                for source in holders:
                    withheld.withhold(source, name, part)
        missing[name] = slots[gone]
    away = sorted({source for name in names for source in SERVES[name]})
    outages = [
        Rule(
            "outage",
            source=str(rng.choice(away)),
            since=now,
            until=now + timedelta(minutes=float(rng.uniform(1, 100))),
        )
        for _ in range(rng.integers(0, 3))
    ]
    return Scenario(now, since, until, missing, withheld, (*outages, *RATES))


def cut(rng: np.random.Generator, since: datetime) -> tuple[int, int]:
    """Return a hole of one quarter of an hour to ninety days, short ones as often as long ones."""
    length_h = 0.25 * (LONGEST_H * 4) ** rng.random() ** 1.3
    first = epoch(since) + int(rng.uniform(0, DAYS * 24 * 3600) // 900 * 900)
    return first, first + max(900, int(length_h * 4) * 900)


def play(
    scenario: Scenario, env: dict[str, str], simulator: Simulator, clock: SimulatedClock
) -> dict[str, Any]:
    """Fill a store but for the holes, backfill, and count."""
    clock.set(scenario.now)
    simulator.set_rules(scenario.rules)
    simulator.holes = scenario.withheld
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        settings = factory_settings.load("demo", env={**env, "FACTORY_HOME": home})
        ctx = stack.enter_context(
            open_context(settings=settings, as_of=scenario.now, clock=clock, run_id="before")
        )
        for name in scenario.missing:
            store_all_but(ctx, scenario, name, simulator.world)
        names, runs = list(scenario.missing), 0
        for runs, minutes in enumerate((*settings.gaps.severities[-1].passes_at_min, 120, 240), 1):
            clock.set(max(clock.now(), scenario.now + timedelta(minutes=minutes)))
            ctx = replace(ctx, as_of=clock.now(), run_id=f"run {runs}")
            result = backfill(ctx, scenario.since, scenario.until, automatic=False, series=names)
            if not result.metrics["left"]:
                break
        return {"runs": runs, **count(ctx, scenario, simulator.world)}


def store_all_but(ctx: RunContext, scenario: Scenario, name: str, world: World) -> None:
    """Store a series of the scenario's window without its holes."""
    slots = expected(CATALOGUE[name], scenario.since, scenario.until)
    slots = slots[~np.isin(slots, scenario.missing[name])]
    source, kind = ("ree", "observed") if name in PRICES else ("open_meteo_recent", "reanalysis")
    place = "ES" if name in PRICES else ctx.settings.site.grid_place
    steps = [CATALOGUE[name].resolution_at(from_epoch(int(slot))) for slot in slots]
    rows = frames.tidy(
        name,
        slots,
        world.values(name, slots),
        place=place,
        source=source,
        kind=kind,
        resolution_s=steps,
        retrieved_at=scenario.now,
    )
    ctx.store.write(rows, run_id="before")


def count(ctx: RunContext, scenario: Scenario, world: World) -> dict[str, Any]:
    """Hold what is in the store now against the script and the world."""
    report = analyse(ctx, scenario.since, scenario.until)
    coverages = {part.target.name: part.coverage for part in report.coverages}
    found = {
        "missing": 0,
        "recoverable": 0,
        "recovered": 0,
        "wrong": 0,
        "unfillable": 0,
        "unfillable_reported": 0,
    }
    for name, slots in scenario.missing.items():
        offered = scenario.offered(name, scenario.now)
        clear = offered == scenario.offered(
            name, ctx.clock.now()
        )  # who comes in reach meanwhile may be asked or not
        slots, offered = slots[clear], offered[clear]
        places = ("ES",) if name in PRICES else ctx.settings.site.places.weather
        rows = ctx.store.read(name, places=places, start=scenario.since, end=scenario.until)
        came = rows[np.isin(from_index(rows["start"]), slots)]
        unfillable = coverages[name].starts[coverages[name].states == SlotState.UNFILLABLE]
        found["missing"] += len(slots)
        found["recoverable"] += int(offered.sum())
        found["recovered"] += len(came)
        found["wrong"] += int((~right(came, name, world)).sum()) + int(
            (~np.isin(from_index(came["start"]), slots[offered])).sum()
        )
        found["unfillable"] += int((~offered).sum())
        found["unfillable_reported"] += int(np.isin(slots[~offered], unfillable).sum())
    return found


def right(rows: pd.DataFrame, name: str, world: World) -> Mask:
    """Return which values are what the provider that gave them has, to the digits it writes."""
    starts = from_index(rows["start"])
    if name in PRICES:
        equal: Mask = np.abs(rows["value"].to_numpy() - world.values(name, starts)) <= 0.0051
        return equal
    seen = [
        world.climate.as_seen_by("open_meteo", name, starts),
        world.climate.as_seen_by("open_meteo_recent", name, starts),
    ]
    truth = np.where(rows["source"] == "open_meteo", *seen)
    close: Mask = np.abs(rows["value"].to_numpy() - truth) <= (
        0.051 if name == "temperature_c" else 0.51
    )
    return close


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Play all scenarios."""
    logging.getLogger("factory_lib").setLevel(logging.CRITICAL)
    rng = np.random.default_rng(SEED)
    clock = SimulatedClock(datetime(2026, 1, 1, tzinfo=UTC))
    simulator = Simulator(World(), clock)  # type: ignore[arg-type]
    lines = []
    with http_server(simulator, 0) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        env = {"FACTORY_SIMULATOR_URL": f"http://127.0.0.1:{server.server_address[1]}"}
        for number in range(SCENARIOS // 10 if arguments.quick else SCENARIOS):
            scenario = draw(rng)
            lines.append(
                {
                    "scenario": number,
                    "now": scenario.now,
                    **play(scenario, env, simulator, clock),
                }
            )
            print(lines[-1], file=sys.stderr)
        server.shutdown()
    table = pd.DataFrame(lines)
    keys = ["missing", "recoverable", "recovered", "wrong", "unfillable", "unfillable_reported"]
    totals = {name: int(table[name].sum()) for name in keys}
    return {"scenarios": len(table), **totals}, table


if __name__ == "__main__":
    bench(__doc__, run)
