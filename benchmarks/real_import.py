"""Import every real public file into a throw-away store, twice, and report what the imports found.

``missing_days`` are days without any line between the first and the last one of a place
(of daily files of the market operator: none, each day is judged by its periods).
``empty_days`` have a line and no value; they are missing in the store too. The second
pass must store nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._cli import bench
from factory_lib import settings
from factory_lib.context import RunContext, open_context
from factory_lib.errors import ImportFileError
from factory_lib.importers import import_path
from factory_lib.results import JobResult

STORED = ("new", "revised", "forecasts_new")
_PER_PLACE = ("missing_days", "incomplete_days", "empty_days", "duplicates", "frozen_hours")


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Import all files of the data folder in a temporary home."""
    with tempfile.TemporaryDirectory() as home:
        history = settings.load("history", env={"FACTORY_HOME": home})
        with open_context(settings=history, run_id="real_import") as ctx:
            reports = _import_all(ctx, chosen.data)
            again = [] if chosen.quick else _import_all(ctx, chosen.data)
    if not reports:
        raise SystemExit(f"No data file in {chosen.data}: name the folder with --data.")
    metrics = pd.DataFrame([report.metrics for report in reports]).drop(columns="path")
    total = metrics.sum().astype(int)
    written = [report.metrics[name] for report in again for name in STORED]
    figures = {
        "files": len(reports),
        "rows_read": total["values_read"],
        "rows_stored": total["new"] + total["revised"],
        "rows_unchanged": total["unchanged"],
        "rows_rejected": total["rejected"],
        "rows_repeated": total["repeated_values"],
        "forecasts_stored": total["forecasts_new"],
        "stored_by_second_pass": None if chosen.quick else sum(written),
        "by_file": {report.metrics["path"]: _by_file(report) for report in reports},
    }
    return figures, pd.concat([_findings(report) for report in reports], ignore_index=True)


def _import_all(ctx: RunContext, data: Path) -> list[JobResult]:
    reports = []
    for file in sorted(data.glob("*.gz")):
        began = time.perf_counter()
        try:
            reports.append(import_path(ctx, file))
        except ImportFileError as error:
            sys.stderr.write(f"{error}\n")
            continue
        sys.stderr.write(f"{time.perf_counter() - began:5.1f} s  {reports[-1].summary}\n")
    return reports


def _by_file(report: JobResult) -> dict[str, Any]:
    """Return the key figures; ``by_place`` where there are several places, but not hundreds."""
    places = report["places"].set_index("place")[list(_PER_PLACE)]
    detail = (
        {"by_place": places.to_dict("index")} if 1 < len(places) <= 12 else {"places": len(places)}
    )
    counts = {name: value for name, value in report.metrics.items() if name != "path"}
    return {**counts, "level": report.status, **detail, "notes": list(report.notes)}


def _findings(report: JobResult) -> pd.DataFrame:
    """Return every single finding as a row: ``file, finding, place, at, …``."""
    days = report["missing"].rename(columns={"day": "at"}).assign(finding="missing")
    days["reason"] = (
        days["slots_missing"].astype(str) + " of " + days["slots_expected"].astype(str) + " slots"
    )
    bad = report["rejected"].rename(columns={"start": "at"}).assign(finding="rejected")
    marks = (
        report["quarantined"]
        .rename(columns={"start": "at", "value": "text"})
        .assign(finding="quarantined")
    )
    again = report["repeated"].rename(columns={"start": "at"}).assign(finding="duplicate")
    parts = [part.astype(object) for part in (days, bad, again, marks) if len(part)]
    columns = ["file", "finding", "place", "at", "series", "member", "line", "text", "reason"]
    findings = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    return findings.assign(file=report.metrics["path"]).reindex(columns=columns)


if __name__ == "__main__":
    bench(__doc__, run)
