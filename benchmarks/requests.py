"""How many requests a backfill issues, counted by the server, beside the fewest that could do.

Three years of prices and one year of hourly weather into an empty store, at the real
limits in simulated time; the first load of an installation since 2022, with the
operators' forecasts and without a key; then random sets of gaps in a store that is
otherwise full.
The minimum is counted here, by dynamic programming over the market days that miss
something, and not by the plan that is judged.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from msgspec import structs

from benchmarks._cli import bench
from factory_lib import frames
from factory_lib import settings as factory_settings
from factory_lib.catalogue import Measurement, default_catalogue
from factory_lib.clock import day_start, epoch, from_epoch, market_day
from factory_lib.context import RunContext, open_context
from factory_lib.pipeline.backfill import backfill
from factory_lib.slots import Mask, Slots, expected
from factory_sim.clock import SimulatedClock
from factory_sim.launch import Remote, launched
from factory_sim.world import World

CATALOGUE = default_catalogue()

SETS, SEED = 50, 4
NOW = datetime(2026, 4, 15, 10, 0, tzinfo=UTC)
YEARS_OF_PRICES, WEATHER_DAYS = 3, 365
LONGEST = {
    "ree": 28,
    "open_meteo": 366,
}  # days that one request may ask for, as the providers document it
FIRST_LOAD = datetime(2021, 12, 31, 23, tzinfo=UTC)
FORECAST_TYPES = 11  # load, sun and wind of three countries, in two of them wind at sea too
RUNS_SINCE = CATALOGUE["es_wind_speed_100m_forecast_ms"].since
WINDOW_DAYS, PRICE = 300, "pvpc_eur_mwh"


@contextmanager
def house_at(remote: Remote) -> Iterator[RunContext]:
    """Open a profile of its own in the simulated world, with the limits of the real one."""
    with tempfile.TemporaryDirectory() as home:
        env = {"FACTORY_HOME": home, "FACTORY_SIMULATOR_URL": remote.url}
        real = factory_settings.load("live", env=env)
        demo = factory_settings.load("demo", env=env)
        limits = {
            name: structs.replace(spec, base_url=demo.sources[name].base_url)
            for name, spec in real.sources.items()
        }
        with open_context(
            settings=structs.replace(demo, sources=limits), as_of=NOW, clock=SimulatedClock(NOW)
        ) as ctx:
            yield ctx


def whole_years(
    remote: Remote, names: list[str], since: datetime, until: datetime
) -> tuple[dict[str, int], float]:
    """Return requests by source of a first load, and its simulated seconds."""
    remote.reset_requests()
    with house_at(remote) as ctx:
        before = ctx.clock.now()
        result = backfill(ctx, since, until, automatic=False, series=names)
        seconds = (ctx.clock.now() - before).total_seconds()
    print(result.summary, file=sys.stderr)
    return {source: int(seen["count"]) for source, seen in remote.requests().items()}, seconds


def random_holes(slots: Slots, chance: random.Random) -> Mask:
    """Return which slots are missing: a few stretches, from one slot to three months."""
    missing = np.zeros(len(slots), dtype=bool)
    for _ in range(chance.randint(1, 12)):
        first = chance.randrange(len(slots))
        missing[first : first + int(2 ** chance.uniform(0, 11))] = True
    return missing


def fewest(days: list[int], longest: int) -> int:
    """Return the least number of stretches of ``longest`` days that hold all ``days``."""
    best = {-1: 0}
    for last, day in enumerate(days):
        best[last] = min(
            best[first - 1] + 1 for first in range(last + 1) if day - days[first] < longest
        )
    return best[len(days) - 1]


def one_set(remote: Remote, world: World, chance: random.Random) -> dict[str, Any]:
    """Fill one random set of gaps and compare the requests with the minimum."""
    until = day_start(market_day(NOW) - timedelta(days=chance.randint(1, 300)))
    since = day_start(market_day(until) - timedelta(days=WINDOW_DAYS))
    slots = expected(CATALOGUE[PRICE], since, until)
    missing = random_holes(slots, chance)
    remote.reset_requests()
    with house_at(remote) as ctx:
        rows = frames.tidy(
            PRICE,
            slots[~missing],
            world.values(PRICE, slots[~missing]),
            place="ES",
            source="ree",
            kind="observed",
            resolution_s=3600,
            retrieved_at=NOW,
        )
        ctx.store.write(rows, run_id="full")
        backfill(ctx, since, until, automatic=False, series=[PRICE])
    days = sorted({market_day(from_epoch(int(slot))).toordinal() for slot in slots[missing]})
    issued = sum(int(seen["count"]) for seen in remote.requests().values())
    return {
        "since": since,
        "until": until,
        "missing": int(missing.sum()),
        "issued": issued,
        "minimum": fewest(days, LONGEST["ree"]),
    }


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Load years, then fill random gaps."""
    chance = random.Random(SEED)
    today = day_start(market_day(NOW))
    prices_since = day_start(market_day(NOW).replace(year=NOW.year - YEARS_OF_PRICES))
    weather_until = from_epoch(epoch(today) - 10 * 86400)
    with launched(now=NOW) as remote:
        world = World(remote.seed)
        prices, seconds = whole_years(
            remote,
            [entry.name for entry in CATALOGUE.of(Measurement.PRICES)][:2],
            prices_since,
            today,
        )
        weather, _ = whole_years(
            remote,
            [entry.name for entry in CATALOGUE.of(Measurement.WEATHER)],
            weather_until - timedelta(days=WEATHER_DAYS),
            weather_until,
        )
        forecasts = [name for name, entry in CATALOGUE.items() if entry.forecast_of]
        prices_and_weather = ["spot_eur_mwh", "pvpc_eur_mwh", "temperature_c", "humidity_pct"]
        first, first_s = whole_years(remote, [*prices_and_weather, *forecasts], FIRST_LOAD, today)
        sets = [
            one_set(remote, world, chance) for _ in range(SETS // 10 if arguments.quick else SETS)
        ]
    spacing = factory_settings.load("live", env={}).sources["ree"].spacing_s
    load_days = (market_day(NOW) - market_day(FIRST_LOAD)).days
    long_requests = fewest(list(range(load_days)), LONGEST["open_meteo"])
    runs_days = (market_day(NOW) - market_day(RUNS_SINCE)).days
    price_days = (market_day(NOW) - market_day(prices_since)).days
    figures = {
        "prices_issued": sum(prices.values()),
        "prices_minimum": fewest(list(range(price_days)), LONGEST["ree"]),
        "weather_issued": sum(weather.values()),
        "weather_minimum": fewest(list(range(WEATHER_DAYS)), LONGEST["open_meteo"]),
        "first_load_issued": sum(first.values()),
        "first_load_minimum": fewest(list(range(load_days)), LONGEST["ree"])
        + long_requests * (1 + FORECAST_TYPES)
        + fewest(list(range(runs_days)), LONGEST["open_meteo"]) * 2  # wind and sun of the country
        + 1,  # the last days of the weather, which the archive has later
        "first_load_minutes": first_s / 60,
        "wall_ratio": seconds / (prices["ree"] * spacing),
        "by_source": {"prices": prices, "weather": weather, "first_load": first},
        "gap_sets": len(sets),
        "gap_sets_at_minimum": sum(row["issued"] == row["minimum"] for row in sets),
    }
    return figures, sets


if __name__ == "__main__":
    bench(__doc__, run)
