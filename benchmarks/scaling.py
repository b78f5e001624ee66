"""What sites cost: live some simulated days with N sites, and count what that took.

Prices and weather of six weeks are stored at first, not fetched. With ``--dask`` the sites run
on a local cluster of two workers, one of which is killed as soon as both are at work.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
from msgspec import structs

from benchmarks._cli import bench
from factory_lib import settings as factory_settings
from factory_lib.cli import fan_out
from factory_lib.clock import save_clock
from factory_lib.context import open_context
from factory_lib.runs import records, simulation
from factory_lib.settings import ROOT, Settings, own_environment
from factory_lib.settings.records import ScaleSettings
from factory_sim.world import World
from tests.support.stored import store_observed

PROFILE = "demo"
STORED = timedelta(days=42)
JOBS = "hybrid_weather_ingestion,ml_predictions,production_optimization"
MOST_WAIT_S = 1800.0  # until both workers are at a run, on a busy machine


def run(options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Live the days in a home of their own and return the figures."""
    days = 1 if options.quick else options.days
    jobs = options.jobs.split(",")
    with TemporaryDirectory(prefix="factory-scaling-") as folder, own_environment():
        settings = _install(Path(folder), options.sites)
        _furnish(settings, days)
        start = time.perf_counter()
        with _scale(dask=options.dask) as (scale, cluster):
            for day in range(days):
                at = simulation.BEGIN + timedelta(days=day)
                _live(settings, at, jobs, scale, None if day else cluster)
        return _figures(settings, days, time.perf_counter() - start)


def _install(home: Path, sites: int) -> Settings:
    """Write the shipped settings with so many sites, each at a point of its own."""
    tables = [
        f'[sites.s{n}.site.places]\nweather = ["{38 + n / 1000:.3f},-3.629"]'
        for n in range(1, sites)
    ]
    shipped = (ROOT / "config" / "factory.toml").read_text(encoding="utf-8")
    file = home / "factory.toml"
    file.write_text("\n".join([shipped, *tables]), encoding="utf-8")
    os.environ.update(FACTORY_HOME=str(home), FACTORY_CONFIG=str(file))
    return factory_settings.load(PROFILE)


def _furnish(settings: Settings, days: int) -> None:
    """Store prices, and the weather of every site, to the end of the last day but one."""
    world = World()
    until = simulation.BEGIN
    places = [settings.for_site(name).site.places.weather[0] for name in settings.site_ids]
    wanted = [("spot_eur_mwh", "ES", "ree", 900, until + timedelta(days=days))]
    for name in ("temperature_c", "humidity_pct"):
        wanted += [(name, place, "open_meteo_recent", 3600, until) for place in places]
    with open_context(settings=settings) as ctx:
        for name, place, source, step_s, end in wanted:
            starts, values = world.window(name, until - STORED, end)
            store_observed(
                ctx,
                name,
                starts,
                np.asarray(values),
                place=place,
                source=source,
                at=until,
                step_s=step_s,
            )


@contextmanager
def _scale(*, dask: bool) -> Iterator[tuple[ScaleSettings, Any]]:
    """Yield where sites run, and the cluster where there is one."""
    if not dask:
        yield ScaleSettings(), None
        return
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield ScaleSettings(dask=cluster.scheduler_address), cluster


def _live(
    settings: Settings, at: datetime, jobs: list[str], scale: ScaleSettings, lost: Any
) -> None:
    """Run the jobs of every site at an instant; kill a worker of the cluster that is ``lost``."""
    with simulation.start(settings, at) as running:
        sites = [running.for_site(name) for name in running.site_ids]
        killer = Thread(target=_kill_one, args=(running, lost), daemon=True)
        if lost:
            killer.start()
        for first in (True, False):  # what a market's site forecasts serves the others
            stage = [site for site in sites if site.has_market is first]
            commands = [_command(site, jobs) for site in stage]
            scaled = structs.replace(running, scale=scale)
            for code, output in fan_out.run_commands(scaled, commands):
                last = output.strip().splitlines()[-2:]
                sys.stderr.write(f"{at:%Y-%m-%d} exit {code}: {' '.join(last)}\n")
        if lost:
            killer.join()
        save_clock(settings.paths.clock, at)


def _command(site: Settings, jobs: list[str]) -> list[str]:
    own = filter(site.jobs.__contains__, jobs)
    return ["run", *own, "--force", "--profile", PROFILE, "--site", site.site_id]


def _kill_one(settings: Settings, cluster: Any) -> None:
    until = time.monotonic() + MOST_WAIT_S
    while _running(settings) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    worker = next(iter(cluster.workers.values())).process.process.pid
    os.kill(worker, signal.SIGKILL)
    sys.stderr.write(f"worker {worker} killed\n")


def _running(settings: Settings) -> int:
    return sum(record.status == "started" for _, record in _records(settings))


def _records(settings: Settings) -> list[tuple[str, records.RunRecord]]:
    runs = [(name, settings.for_site(name).paths.runs) for name in settings.site_ids]
    return [
        (name, records.read_record(folder)) for name, at in runs for folder in records.folders(at)
    ]


def _figures(settings: Settings, days: int, wall_s: float) -> tuple[dict[str, Any], Any]:
    runs = _records(settings)
    plans = {
        name: len({*settings.for_site(name).paths.data.glob("plans/[0-9]*/*Z.json")})
        for name in settings.site_ids
    }
    with open_context(settings=settings, read_only=True) as ctx:
        inventory = ctx.store.inventory()
    files = [file for file in settings.paths.data.rglob("*.db*") if file.is_file()]
    figures = {
        "sites": len(settings.site_ids),
        "days": days,
        "statuses": Counter(record.status for _, record in runs),
        "not_ok": [record.error for _, record in runs if record.status != "ok"],
        "sites_with_a_plan_each_day": sum(count >= days for count in plans.values()),
        "plans": sum(plans.values()),
        "values": int(inventory["rows"].sum()),
        "requests": sum(record.metrics.get("requests", 0) for _, record in runs),
        "cpu_s": sum(record.cpu_seconds or 0.0 for _, record in runs),
        "peak_memory_mb": max((record.peak_memory_mb or 0.0 for _, record in runs), default=0.0),
        "database_mb": sum(file.stat().st_size for file in files) / 1e6,
        "wall_s": wall_s,
    }
    rows = [{"site": name, **structs.asdict(record)} for name, record in runs]
    return figures, rows


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sites", type=int, default=10, help="sites (default %(default)s)")
    parser.add_argument("--days", type=int, default=2, help="simulated days (default %(default)s)")
    parser.add_argument(
        "--jobs", default=JOBS, help="jobs of a day, with commas (default %(default)s)"
    )
    parser.add_argument("--dask", action="store_true", help="two workers, one killed on the way")


if __name__ == "__main__":
    bench(__doc__, run, arguments=_arguments)
