"""Time the coverage of ten years of quarters against pandas, and with the store a bare SELECT.

Two series of 350,640 quarter slots each, with holes of all sizes in them. Ours:
expected slots, the five states, gaps, severities. pandas: ``date_range``,
``DatetimeIndex.difference`` and grouping into stretches with their severity. Both are
given what is present in the form they need. With the store: the slots read from SQLite
and the coverage, against a bare SELECT of the same starts. Runs alternate, so that both
see the same machine; medians are compared.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._cli import bench
from factory_lib import frames
from factory_lib import settings as factory_settings
from factory_lib.catalogue import default_catalogue
from factory_lib.context import RunContext, open_context
from factory_lib.pipeline.gaps import SlotState, classify, severity_index
from factory_lib.slots import Slots, expected, to_index

CATALOGUE = default_catalogue()

SLOTS, STEP_S = 350_640, 900
START = datetime(2025, 12, 1, tzinfo=UTC)
END = START + timedelta(seconds=SLOTS * STEP_S)
NAMES = ("first", "second")  # the same entry twice: two series of quarters
ENTRY = CATALOGUE["spot_eur_mwh"]
ROUNDS, SEED = 21, 4


def with_holes(slots: Slots, rng: np.random.Generator) -> Slots:
    """Cut some two hundred holes, from one slot to a month."""
    missing = np.zeros(len(slots), dtype=bool)
    for first in rng.integers(0, len(slots), 200):
        missing[first : first + int(2 ** rng.uniform(0, 11.5))] = True
    return slots[~missing]


def ours(present: Slots, ctx: RunContext) -> tuple[int, int]:
    """Classify every slot; return missing slots and gaps that are critical."""
    coverage = classify(ENTRY, START, END, present, as_of=END + timedelta(days=2))
    gaps = coverage.runs(SlotState.MISSING)
    severity = severity_index(gaps.seconds / 3600, ctx.settings.gaps)
    return coverage.counts()["missing"], int((severity == 2).sum())


def with_pandas(present: pd.DatetimeIndex) -> tuple[int, int]:
    """Find the same with pandas."""
    whole = pd.date_range(START, END, freq=f"{STEP_S}s", inclusive="left", unit="s")
    missing = whole.difference(present)
    stretch = (missing.to_series().diff() != pd.Timedelta(seconds=STEP_S)).cumsum()
    gaps = missing.to_series().groupby(stretch).agg(["min", "max", "size"])
    severity = pd.cut(
        gaps["size"] * STEP_S / 3600, [0, 2, 12, np.inf], labels=["minor", "moderate", "critical"]
    )
    return len(missing), int((severity == "critical").sum())


def paired(rounds: int, *work: Callable[[], Any]) -> list[float]:
    """Return the median milliseconds of each piece of work, done in turns."""
    times: list[list[float]] = [[] for _ in work]
    for _ in range(rounds):
        for each, spent in zip(work, times, strict=True):
            began = perf_counter()
            each()
            spent.append((perf_counter() - began) * 1e3)
    return [median(spent) for spent in times]


def fill(ctx: RunContext, present: Slots) -> None:
    """Store one series."""
    rows = frames.tidy(
        ENTRY.name,
        present,
        np.linspace(0, 100, len(present)),
        place="ES",
        source="ree",
        kind="observed",
        resolution_s=STEP_S,
        retrieved_at=END,
    )
    ctx.store.write(rows, run_id="bench")


def read_ours(ctx: RunContext) -> tuple[int, int]:
    """Read the slots through the store's contract and classify them."""
    present = ctx.store.slots(ENTRY.name, places=["ES"], start=START, end=END)
    return ours(present, ctx)


def bare_select(database: sqlite3.Connection) -> list[tuple[int]]:
    """Read the same starts from the file with nothing in between, not even an array."""
    return database.execute("SELECT start FROM value ORDER BY channel, start").fetchall()


def run(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Measure both in turns."""
    rounds = 5 if arguments.quick else ROUNDS
    rng = np.random.default_rng(SEED)
    grid = expected(ENTRY, START, END)
    present = [with_holes(grid, rng) for _ in NAMES]
    indices = [to_index(each) for each in present]
    with tempfile.TemporaryDirectory() as home:
        world = factory_settings.load("history", env={"FACTORY_HOME": home})
        with open_context(settings=world, as_of=END, run_id="gap_scan") as ctx:
            agreed = [ours(p, ctx) == with_pandas(i) for p, i in zip(present, indices, strict=True)]
            ours_ms, pandas_ms = paired(
                rounds,
                lambda: [ours(each, ctx) for each in present],
                lambda: [with_pandas(each) for each in indices],
            )
            print(f"coverage: {ours_ms:.1f} ms, pandas {pandas_ms:.1f} ms", file=sys.stderr)
            fill(ctx, present[0])
            database = sqlite3.connect(f"file:{world.paths.store}?mode=ro", uri=True)
            store_ms, select_ms = paired(
                rounds, lambda: read_ours(ctx), lambda: bare_select(database)
            )
            database.close()
    figures = {
        "slots": len(grid) * len(NAMES),
        "ours_ms": ours_ms,
        "pandas_ms": pandas_ms,
        "ratio": pandas_ms / ours_ms,
        "store_ms": store_ms,
        "select_ms": select_ms,
        "store_ratio": store_ms / select_ms,
        "agreed": all(agreed),
    }
    return figures, pd.DataFrame([figures])


if __name__ == "__main__":
    bench(__doc__, run)
