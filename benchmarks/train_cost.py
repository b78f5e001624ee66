"""What a training costs: four years of hours with fundamentals, judged, logged and decided.

Done twice: by prices of these four years alone, and by all that the served settings read
(`price_history_days`, the figures with `served`). And what it costs when nothing is new.

Real spot prices, and the day-ahead forecasts of load, wind and sun of Spain, France and
Portugal 2022–2024; the weather is Seville's of 2015–2017, seven years later, 2021 borrows
that of 2022: which weather it is makes no difference to the cost. `noop_s` is a process of
its own from start to end, imports included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from itertools import chain
from typing import Any

import pandas as pd
from msgspec import structs

from benchmarks._cli import bench, find
from factory_lib import lab
from factory_lib import settings as factory_settings
from factory_lib.clock import HOUR_S, parse_instant
from factory_lib.context import RunContext, open_context
from factory_lib.frames import TIDY_COLUMNS
from factory_lib.importers import import_path
from factory_lib.results import JobResult
from factory_lib.settings import Settings

AS_OF = parse_instant("2025-01-01")
YEARS_LATER = timedelta(days=2557)
BORROWED = timedelta(days=365)
PATTERNS = ("spot_es_hourly_*", "entsoe_day_ahead_forecasts_*", "es_weather_*")
NOOPS = 5
_NOOP = """
import sys
from msgspec import structs
from factory_lib import settings
from factory_lib.context import open_context
from factory_lib.models.retrain_trigger import train
chosen = settings.load("history", env={"FACTORY_HOME": sys.argv[1]})
history_days = int(sys.argv[2])
training = structs.replace(chosen.training, history_days=history_days)
chosen = structs.replace(chosen, training=training)
with open_context(settings=chosen, as_of=sys.argv[3]) as ctx:
    assert train(ctx).metrics["skipped"]
"""


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Fill a store, train, train on a longer history of prices, and train again."""
    days = 365 if chosen.quick else 4 * 365 + 1
    with tempfile.TemporaryDirectory() as home:
        settings = factory_settings.load("history", env={"FACTORY_HOME": home})
        with open_context(settings=settings, as_of=AS_OF) as ctx:
            fill(ctx, chosen)
        longest = settings.training.price_history_days
        timed = [timed_training(settings, days, prices) for prices in (0, longest)]
        noops = [noop(home, days) for _ in range(NOOPS)]
        models = sizes_mb(settings)
    (result, seconds), (served, served_seconds) = timed
    figures = {
        "rows": result.metrics["train_rows"],
        "hours": days * 24,
        "seconds": round(seconds, 1),
        "served_price_days": longest,
        "served_seconds": round(served_seconds, 1),
        "largest_model_mb": round(max(models.values()), 2),
        "noop_s": round(sorted(noops)[NOOPS // 2], 2),
        "cores": os.cpu_count(),
    }
    outcomes = [result.metrics, served.metrics]
    return figures, {"figures": figures, "models_mb": models, "noops_s": noops, "runs": outcomes}


def timed_training(settings: Settings, days: int, price_days: int) -> tuple[JobResult, float]:
    """Train as the notebook does, its charts and judged starts included."""
    training = structs.replace(settings.training, history_days=days, price_history_days=price_days)
    chosen = structs.replace(settings, training=training)
    with open_context(settings=chosen, as_of=AS_OF) as ctx:
        begun = time.perf_counter()
        result = lab.train(ctx)
        return result, time.perf_counter() - begun


def fill(ctx: RunContext, chosen: argparse.Namespace) -> None:
    """Import prices, forecasts and weather, the latter where the others are."""
    for file in chain.from_iterable(find(chosen.data, pattern) for pattern in PATTERNS):
        sys.stderr.write(f"{import_path(ctx, file).summary}\n")
    rows = ctx.store.read(
        ["temperature_c", "humidity_pct"],
        places=ctx.settings.site.places.weather,
        start=AS_OF - YEARS_LATER - 3 * BORROWED - timedelta(days=1),
        end=AS_OF - YEARS_LATER,
        grid_s=HOUR_S,
    )
    first = rows["start"] < rows["start"].min() + BORROWED
    for part, later in ((rows, YEARS_LATER), (rows[first], YEARS_LATER - BORROWED)):
        lent = part.assign(start=(part["start"] + later).astype(part["start"].dtype))
        ctx.store.write(pd.DataFrame(lent[list(TIDY_COLUMNS)]), run_id=ctx.run_id)


def noop(home: str, days: int) -> float:
    """Return the seconds of a process that finds nothing new to learn."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _NOOP, home, str(days), AS_OF.isoformat()], check=True)
    return time.perf_counter() - begun


def sizes_mb(settings: Settings) -> dict[str, float]:
    """Return the size of every stored model."""
    files = settings.paths.mlflow_artifacts.rglob("*.skops")
    return {
        str(file.relative_to(settings.paths.mlflow_artifacts)): file.stat().st_size / 1e6
        for file in files
    }


if __name__ == "__main__":
    bench(__doc__, run)
