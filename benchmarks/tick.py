"""What a scheduled tick costs through make, beside ``papermill`` on an empty notebook.

Both in the same minute.

Each round, one simulated day after the last: papermill on a notebook without cells, a
price tick with tomorrow's prices just published (due), and the same tick again (nothing
can be new). Ratios are taken within a round, then the median, so that a busy machine
slows both sides. The simulator answers at once and needs no sparing, so the due tick is
the work of this machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import nbformat

from benchmarks._cli import bench
from factory_lib.settings import ROOT
from factory_sim.launch import Remote, launched

FIRST_EVENING = datetime(2026, 4, 15, 20, 0, tzinfo=UTC)  # both prices of the next day are out
ROUNDS, QUICK_ROUNDS = 9, 3
NO_NEWS_TICKS = 5  # per round: they are short, so one alone is noise
JOB = "ree_price_ingestion"
PAPERMILL = ROOT / ".venv" / "bin" / "papermill"
MAKE = ("make", "--no-print-directory", "--directory", str(ROOT), "run", f"JOB={JOB}")


def timed(command: Sequence[str], env: Mapping[str, str]) -> tuple[float, str]:
    """Return the seconds a command took and its output; a failure ends the benchmark."""
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


def tick(env: Mapping[str, str], expected: str) -> float:
    """Return the seconds of one tick that has to end as ``expected``."""
    seconds, output = timed((*MAKE, "ARGS=--json"), env)
    status = json.loads(output.splitlines()[-1])["status"]
    if status != expected:
        raise SystemExit(f"The tick was to be {expected} and was {status}:\n{output}")
    return seconds


def evening(remote: Remote, env: dict[str, str], day: int) -> None:
    """Move the simulator and this machine's ticks to one evening."""
    now = FIRST_EVENING + timedelta(days=day)
    remote.set_clock(now, speed=1.0)
    env["FACTORY_CLOCK_OFFSET_S"] = str((now - datetime.now(UTC)).total_seconds())


def one_round(remote: Remote, env: dict[str, str], day: int, empty: Path) -> dict[str, float]:
    """Return the seconds of papermill, a due tick and a tick without news, and their ratios."""
    evening(remote, env, day)
    papermill, _ = timed(
        (str(PAPERMILL), "--no-progress-bar", str(empty), str(empty.with_name("out.ipynb"))), env
    )
    due = tick(env, "ok")
    no_news = median(tick(env, "not_due") for _ in range(NO_NEWS_TICKS))
    print(f"papermill {papermill:.2f} s, due {due:.2f} s, no news {no_news:.3f} s", file=sys.stderr)
    return {
        "empty_papermill_s": papermill,
        "no_news_s": no_news,
        "due_s": due,
        "no_news_ratio": no_news / papermill,
        "due_ratio": due / papermill,
    }


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Run the rounds in a home of their own."""
    rounds = QUICK_ROUNDS if chosen.quick else ROUNDS
    with tempfile.TemporaryDirectory() as home, launched(now=FIRST_EVENING, speed=1.0) as remote:
        env = {
            **os.environ,
            "FACTORY_HOME": home,
            "FACTORY_PROFILE": "demo",
            "FACTORY_SIMULATOR_URL": remote.url,
        }
        empty = Path(home) / "empty.ipynb"
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": kernel}), empty)
        evening(remote, env, 0)
        tick(env, "ok")  # the first load, and whatever is read from disk for the first time
        seen = [one_round(remote, env, day, empty) for day in range(1, rounds + 1)]
    return {name: round(median(line[name] for line in seen), 4) for name in seen[0]}, seen


if __name__ == "__main__":
    bench(__doc__, run)
