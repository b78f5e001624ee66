"""What every benchmark's command line has in common."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEFAULT_DATA = Path(os.environ.get("FACTORY_REAL_DATA", "../shared/data"))


def bench(
    doc: str | None,
    run: Callable[[argparse.Namespace], tuple[dict[str, Any], Any]],
    *,
    arguments: Callable[[argparse.ArgumentParser], object] | None = None,
) -> None:
    """Parse the common options, run, and print one JSON object as the last line of standard output.

    ``run`` returns the figures and the raw rows behind them: a frame (written as CSV)
    or anything JSON can hold. Progress goes to standard error. The exit code is 0 even
    when a figure is poor: a benchmark measures, and judges nothing.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        help="folder of real public data (default %(default)s)",
    )
    parser.add_argument("--out", type=Path, help="file for the raw rows behind the figures")
    parser.add_argument("--quick", action="store_true", help="a smaller run, for a first look")
    if arguments:
        arguments(parser)
    chosen = parser.parse_args()
    figures, rows = run(chosen)
    if chosen.out:
        write_rows(chosen.out, rows)
    sys.stdout.write(json.dumps(figures, default=float) + "\n")


def write_rows(file: Path, rows: Any) -> None:
    """Write a frame as CSV, anything else as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if hasattr(rows, "to_csv"):
        rows.to_csv(file, index=False)
    else:
        file.write_text(json.dumps(rows, default=str, indent=1), encoding="utf-8")


def find(data: Path, pattern: str) -> list[Path]:
    """Return all files of ``data`` that fit ``pattern``, by name.

    Raises
    ------
    SystemExit
        If there is none: a benchmark without its data measures nothing.
    """
    files = sorted(data.glob(pattern))
    if not files:
        raise SystemExit(f"No {pattern} in {data}: name the folder with --data.")
    return files
