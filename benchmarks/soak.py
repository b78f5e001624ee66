"""Whether all ingestion jobs survive bad providers.

72 simulated hours under cron's cadence, faults on all the time.

Three days, each from an empty store: both clock changes and the change of the market to
quarters of an hour. Every five simulated minutes each scheduled ingestion job asks
whether it is due and, if so, runs against a simulator over HTTP that fails 5 % of the
requests with 5xx, 5 % with 429, cuts 1 %, answers 1 % with a page, resets 2 %, and is
away for three hours per provider, for most of them just when news is due. At the end
every slot that should be there since the day before the start is looked up in the
store, and every stored row is held against the simulated world.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._cli import bench
from factory_lib import settings as factory_settings
from factory_lib import sources
from factory_lib.catalogue import Kind, Measurement, default_catalogue
from factory_lib.clock import HOUR_S, local_instant, market_day
from factory_lib.context import RunContext, open_context
from factory_lib.errors import FactoryError
from factory_lib.pipeline.ingest import ingest
from factory_lib.pipeline.targets import places_of
from factory_lib.runs import due
from factory_lib.settings import Settings
from factory_lib.settings.records import JobSettings
from factory_lib.slots import Mask, expected, from_index, resolutions
from factory_sim import DEFAULT_SEED
from factory_sim.climate import ACCUMULATED
from factory_sim.clock import SimulatedClock
from factory_sim.engine import PROVIDERS, Simulator, WorldClock
from factory_sim.faults import Rule
from factory_sim.holes import PRICES, WEATHER
from factory_sim.server import http_server
from factory_sim.world import World

CATALOGUE = default_catalogue()

SCENARIOS = {
    "clocks forward": datetime(2026, 3, 28, 12, tzinfo=UTC),
    "clocks back": datetime(2026, 10, 24, 12, tzinfo=UTC),
    "hours become quarters": datetime(2025, 9, 30, 6, tzinfo=UTC),
}
LENGTH = timedelta(hours=24)
TICK = timedelta(minutes=5)
BEFORE = timedelta(days=1)  # what lay there when the run began has to come with the first load
OUTAGE = timedelta(hours=3)
# Local time at which each provider goes away, once in every scenario: those of prices
# just before they publish, any other at OTHERS_AWAY_AT.
OTHERS_AWAY_AT = time(11)
AWAY_AT = {
    "omie": time(13, 30),
    "ree": time(19),
    "esios": time(20),
    "aemet": time(9),
    "openweathermap": time(16),
    "open_meteo": time(0),
    "open_meteo_recent": time(5),
    "siar": time(2),
}
RATES = {"server_error": 0.05, "too_many": 0.05, "truncated": 0.01, "html": 0.01, "reset": 0.02}
SERIES = (*PRICES, *WEATHER)
KINDS = {"open_meteo": Kind.REANALYSIS, "open_meteo_recent": Kind.REANALYSIS}
# Half of the last digit each kind of value is printed with, by the coarsest of its
# providers.
TOLERANCE = {"humidity_pct": 0.51, "pressure_station_hpa": 0.51, "pressure_sea_level_hpa": 0.51}
# OpenWeatherMap measures every ten minutes at an odd second; any of the readings may
# stand for the hour. The rain of the sixty minutes before a reading stands for the hour
# before its own, that of an hour's last reading for this hour.
READING_EVERY_S = 600
READINGS_S = 185 + READING_EVERY_S * np.arange(6)


class SharedClock(SimulatedClock):
    """One simulated time for all threads and the server."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        """Advance at once."""
        with self._lock:
            super().sleep(seconds)


class FollowingClock(WorldClock):
    """The server's time is that of the jobs."""

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__()
        self._followed = clock

    def now(self) -> datetime:
        """Return the jobs' time."""
        return self._followed.now()


def main(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Run the scenarios and sum up."""
    logging.disable(logging.WARNING)
    scenarios = dict(list(SCENARIOS.items())[:1]) if arguments.quick else SCENARIOS
    totals: Counter[str] = Counter()
    problems: list[dict[str, Any]] = []
    by_scenario = {}
    for name, start in scenarios.items():
        began = perf_counter()
        figures, found = _scenario(start, arguments.seed)
        problems += [{"scenario": name, **problem} for problem in found]
        by_scenario[name] = {**figures, "seconds": round(perf_counter() - began, 1)}
        totals.update({key: value for key, value in figures.items() if isinstance(value, int)})
        sys.stderr.write(f"{name}: {by_scenario[name]}\n")
    return {**totals, "by_scenario": by_scenario}, problems


def _scenario(start: datetime, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    clock = SharedClock(start)
    simulator = Simulator(World(seed), FollowingClock(clock), rules=tuple(_faults(start)))
    try:
        with (
            _serving(simulator) as url,
            open_context(settings=_settings(folder, url), clock=clock) as ctx,
        ):
            ran = _run(ctx, clock, start + LENGTH)
            published, problems, rows = _judge(
                replace(ctx, as_of=clock.now()), simulator.world, start
            )
    finally:
        shutil.rmtree(folder)
    kinds = Counter(problem["what"] for problem in problems)
    struck = Counter(entry.fault for entry in simulator.log if entry.fault)
    counted = {
        "hours": int(LENGTH / timedelta(hours=1)),
        "published": published,
        "stored": published - kinds["missing"],
        "missing": kinds["missing"],
        "wrong": kinds["wrong"],
        "duplicates": kinds["duplicate"],
        "rows_checked": rows,
        "requests": len(simulator.log),
        "faults": sum(struck.values()),
        **ran,
    }
    busiest = {source: asked["max_in_60s"] for source, asked in simulator.requests().items()}
    return {**counted, "by_fault": dict(struck), "max_in_60s": busiest}, problems


def _faults(start: datetime) -> Iterator[Rule]:
    """Yield the outages, one provider after the other, and the faults of any time."""
    for source in PROVIDERS:
        days = (
            local_instant(
                market_day(start) + timedelta(days=day), AWAY_AT.get(source, OTHERS_AWAY_AT)
            )
            for day in range(2)
        )
        since = next(at for at in days if at >= start)
        yield Rule("outage", source, since=since, until=since + OUTAGE)
    for kind, rate in RATES.items():
        yield Rule(kind, rate=rate)


def _settings(folder: Path, url: str) -> Settings:
    """Return the committed settings in a simulated profile of their own, with the real limits."""
    text = (factory_settings.ROOT / "config" / "factory.toml").read_text(encoding="utf-8")
    config = folder / "factory.toml"
    config.write_text(f'{text}\n[profiles.soak]\norigin = "simulated"\n', encoding="utf-8")
    environment = {
        "FACTORY_HOME": str(folder),
        "FACTORY_CONFIG": str(config),
        "FACTORY_SIMULATOR_URL": url,
        "AEMET_API_KEY": "simulated.aemet.key",
        "OPENWEATHERMAP_API_KEY": "simulated-openweathermap-key",
    }
    return factory_settings.load("soak", env=environment)


@contextmanager
def _serving(simulator: Simulator) -> Iterator[str]:
    with http_server(simulator) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _run(ctx: RunContext, clock: SimulatedClock, end: datetime) -> dict[str, int]:
    """Look in every five minutes.

    A job that overruns its tick makes the next one late, as its lock would.
    """
    counted: Counter[str] = Counter()
    tick = clock.now()
    while tick <= end:
        clock.set(max(clock.now(), tick))
        for job, spec in _jobs(ctx).items():
            now = clock.now()
            if due.nothing_due(ctx.settings, ctx.state, job, now):
                counted["ticks_not_due"] += 1
                continue
            counted["ticks_due"] += 1
            try:
                ingest(replace(ctx, as_of=now, run_id=job), str(spec.parameters["sources"]))
            except FactoryError as error:
                counted["ticks_failed"] += 1
                sys.stderr.write(f"{now:%d %H:%M} {job}: {error}\n")
        tick += TICK
    return dict(counted)


def _jobs(ctx: RunContext) -> dict[str, JobSettings]:
    """Return the ingestion jobs that cron starts."""
    return {
        name: spec
        for name, spec in ctx.settings.jobs.items()
        if spec.notebook == "01_ingest" and spec.cron
    }


# -- the judge -------------------------------------------------------------------------


def _judge(
    ctx: RunContext, world: World, start: datetime, asked: set[str] | None = None
) -> tuple[int, list[dict[str, Any]], int]:
    """Return how many slots should be there, what is wrong, and how many rows were looked at.

    ``asked`` are the sources that may have given a row, by default those of ingestion.
    """
    published = rows = 0
    problems: list[dict[str, Any]] = []
    asked = asked or {
        name
        for job in _jobs(ctx).values()
        for name in sources.select(ctx.settings, str(job.parameters["sources"]))
    }
    for name in SERIES:
        entry = CATALOGUE[name]
        places = places_of(ctx.settings, entry)
        # Without holes in the simulated world somebody still offers every slot that is
        # out and not merely late.
        wanted = expected(entry, start - BEFORE, entry.due_until(ctx.as_of))
        window: dict[str, Any] = {
            "places": places,
            "start": start - timedelta(days=60),
            "end": ctx.as_of + timedelta(days=3),
        }
        stored = ctx.store.read(name, raw=True, **window)
        present = ctx.store.slots(name, **window)
        published, rows = published + len(wanted), rows + len(stored)
        problems += [
            _problem("missing", name, "", at) for at in np.setdiff1d(wanted, present).tolist()
        ]
        for source, part in stored.groupby("source"):
            starts = from_index(part["start"])
            for at in starts[~_right(world, str(source), name, part, asked, places)].tolist():
                problems.append(_problem("wrong", name, str(source), at))
            problems += [
                _problem("duplicate", name, str(source), at)
                for at in starts[_twice(part, source)].tolist()
            ]
    return published, problems, rows


def _twice(rows: pd.DataFrame, source: object) -> Mask:
    """Return which rows repeat another one of the same source, by revision or by value."""
    identity = ["place", "kind", "resolution_s", "start"]
    twice = rows.duplicated([*identity, "rev"])
    if (
        source != "openweathermap"
    ):  # its readings revise each other within the hour, and may come back to a value
        twice |= rows.duplicated([*identity, "value"])
    return twice.to_numpy()


def _right(
    world: World,
    source: str,
    name: str,
    rows: pd.DataFrame,
    asked: set[str],
    places: tuple[str, ...],
) -> Mask:
    """Return which rows say what the world says, of a time that was known when they came."""
    starts, values = from_index(rows["start"]), rows["value"].to_numpy()
    low, high = _truth(world, source, name, starts)
    tolerance = TOLERANCE.get(name, 0.051)
    right: Mask = (values >= low - tolerance) & (values <= high + tolerance)
    right &= (
        rows["kind"].eq(KINDS.get(source, Kind.OBSERVED)).to_numpy()
        & rows["place"].isin(places).to_numpy()
    )
    right &= rows["resolution_s"].to_numpy() == resolutions(CATALOGUE[name], starts)
    if CATALOGUE[name].measurement is Measurement.WEATHER:
        begun = starts + (HOUR_S if name in ACCUMULATED else 0)
        right &= begun <= from_index(rows["retrieved_at"])
    return right & (source in asked)


def _truth(world: World, source: str, name: str, starts: Any) -> tuple[Any, Any]:
    """Return the lowest and highest value that ``source`` may rightly have given for each slot."""
    if CATALOGUE[name].measurement is Measurement.PRICES:
        values = world.values(name, starts)
        return values, values
    seen: Callable[..., Any] = world.climate.as_seen_by
    if source != "openweathermap":
        return (seen(source, name, starts),) * 2
    first = READING_EVERY_S if name in ACCUMULATED else 0
    readings = np.stack([seen(source, name, starts + offset - first) for offset in READINGS_S])
    return readings.min(axis=0), readings.max(axis=0)


def _problem(what: str, series: str, source: str, at: int) -> dict[str, Any]:
    return {
        "what": what,
        "series": series,
        "source": source,
        "start": datetime.fromtimestamp(at, UTC).isoformat(),
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="of the world and of the faults"
    )


if __name__ == "__main__":
    bench(__doc__, main, arguments=_arguments)
