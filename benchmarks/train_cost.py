"""What a training costs: four years of hours, judged, logged and decided.

And what it costs when nothing is new.

Real spot prices 2014–2017 and the hourly weather of Seville 2015–2017; 2014 borrows the
weather of 2015, which makes no difference to the cost. `noop_s` is a process of its own
from start to end, imports included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from typing import Any

import pandas as pd
from msgspec import structs

from benchmarks._cli import bench, find
from factory_lib import settings as factory_settings
from factory_lib.clock import HOUR_S, parse_instant
from factory_lib.context import RunContext, open_context
from factory_lib.frames import TIDY_COLUMNS
from factory_lib.importers import import_path
from factory_lib.models.retrain_trigger import train
from factory_lib.settings import Settings

AS_OF = parse_instant("2018-01-01")
BORROWED = timedelta(days=365)
NOOPS = 5
_NOOP = """
import sys
from msgspec import structs
from factory_lib import settings
from factory_lib.context import open_context
from factory_lib.models.retrain_trigger import train
chosen = settings.load("history", env={"FACTORY_HOME": sys.argv[1]})
training = structs.replace(chosen.training, history_days=int(sys.argv[2]))
chosen = structs.replace(chosen, training=training)
with open_context(settings=chosen, as_of=sys.argv[3]) as ctx:
    assert train(ctx).metrics["skipped"]
"""


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Fill a store, train, and train again."""
    with tempfile.TemporaryDirectory() as home:
        settings = factory_settings.load("history", env={"FACTORY_HOME": home})
        days = 365 if chosen.quick else 4 * 365 + 1
        settings = structs.replace(
            settings, training=structs.replace(settings.training, history_days=days)
        )
        with open_context(settings=settings, as_of=AS_OF) as ctx:
            fill(ctx, chosen)
            begun = time.perf_counter()
            result = train(ctx)
            seconds = time.perf_counter() - begun
        noops = [noop(home, days) for _ in range(NOOPS)]
        models = sizes_mb(settings)
    figures = {
        "rows": result.metrics["train_rows"],
        "hours": days * 24,
        "seconds": round(seconds, 1),
        "largest_model_mb": round(max(models.values()), 2),
        "noop_s": round(sorted(noops)[NOOPS // 2], 2),
    }
    return figures, {
        "figures": figures,
        "models_mb": models,
        "noops_s": noops,
        "outcome": result.metrics,
    }


def fill(ctx: RunContext, chosen: argparse.Namespace) -> None:
    """Import prices and weather, and lend 2014 the weather of 2015."""
    for pattern in ("spot_es_hourly_*", "es_weather_*"):
        sys.stderr.write(f"{import_path(ctx, find(chosen.data, pattern)).summary}\n")
    first = parse_instant("2015-01-01")
    rows = ctx.store.read(
        ["temperature_c", "humidity_pct"],
        places=ctx.settings.site.places.weather,
        start=first,
        end=first + BORROWED,
        grid_s=HOUR_S,
    )
    lent = rows.assign(start=(rows["start"] - BORROWED).astype(rows["start"].dtype))
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
