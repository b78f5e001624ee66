"""The two learnt models on a real year.

Next 24 hours issued at noon, by rolling origin, beside the naive forecasts.

Prices of the energy file (day-ahead, 2015–2017) and the hourly weather of Seville,
imported as a user would do it. The last year of the file is tested in folds, each
forecast by models fitted on what had been observed before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._cli import bench, find
from factory_lib import settings as factory_settings
from factory_lib.clock import parse_instant
from factory_lib.context import open_context
from factory_lib.importers import import_path
from factory_lib.models import scores
from factory_lib.models.history import History, load_history

FILES = ("es_energy_*", "es_weather_*")
FOLDS = 6


def real_history(data: Path, as_of: str) -> History:
    """Import the files into a store of their own and read the hours as the training job does."""
    with tempfile.TemporaryDirectory() as home:
        settings = factory_settings.load("history", env={"FACTORY_HOME": home})
        with open_context(settings=settings, as_of=parse_instant(as_of)) as ctx:
            for file in chain.from_iterable(find(data, pattern) for pattern in FILES):
                sys.stderr.write(f"{import_path(ctx, file).summary}\n")
            return load_history(ctx, settings.training.history_days)


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Train and judge; the raw rows are the tested hours with every forecast of them."""
    hours = real_history(chosen.data, chosen.as_of)
    first, last = (hours.hourly.index[edge].to_pydatetime() for edge in (0, -1))
    known = scores.build_examples(hours, first, last)
    sys.stderr.write(f"{len(known):,} rows, testing {FOLDS} folds…\n")
    folds = 2 if chosen.quick else FOLDS
    tested = scores.forecast_folds(
        known, hours.known_until, folds, seed=0, test_days=scores.MOST_TEST_DAYS
    )
    questions = {name: scores.evaluate(rows) for name, rows in scores.slices(tested).items()}
    headline = questions[scores.HEADLINE]
    train_rows = int((known.rows["issued_at"] < tested["issued_at"].min()).sum())
    figures = {
        **headline,
        "train_rows": train_rows,
        "test_rows": headline["hours"],
        "by_question": questions,
    }
    return figures, tested


if __name__ == "__main__":
    bench(
        __doc__,
        run,
        arguments=lambda parser: parser.add_argument(
            "--as-of",
            default="2018-01-01",
            help="end of the tested year, a market day (default %(default)s)",
        ),
    )
