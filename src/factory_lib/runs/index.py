"""``runs/index.html``: every run, newest first, with status and key figures; no script, no request."""

from __future__ import annotations

from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from factory_lib.files import write_atomically
from factory_lib.runs import records
from factory_lib.runs.records import RunRecord
from factory_lib.runs.report import stylesheet
from factory_lib.settings import Paths

NEWEST = 500
_CLASS = {"ok": "ok", "warn": "warn", "started": "warn", "failed": "fail", "killed": "fail"}


def write(paths: Paths) -> Path:
    """Write the index of one profile's runs and return its file."""
    runs = list(islice(records.readable(records.folders(paths.runs)), NEWEST))
    rows = "\n".join(_row(paths.runs, folder, record) for folder, record in runs)
    simulated = any(record.simulated for _, record in runs)
    banner = (
        '<div class="simulated">SIMULATED: these runs read the simulator, not the world</div>'
        if simulated
        else ""
    )
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Runs</title><style>{stylesheet()}</style></head><body>{banner}<main>
<h1>Runs</h1><p>{len(runs)} runs, newest first. Times are UTC.</p>
<table><thead><tr><th class="text">started</th><th class="text">job</th><th class="text">status</th><th>took</th>
<th class="text">as of</th><th class="text">verdict and key figures</th></tr></thead><tbody>
{rows}
</tbody></table></main></body></html>
"""
    file = paths.runs / "index.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, page)
    return file


def _row(runs: Path, folder: Path, record: RunRecord) -> str:
    link = escape((folder.relative_to(runs) / "report.html").as_posix())
    took = "" if record.seconds is None else f"{record.seconds:.0f} s"
    job = (
        f'<a href="{link}">{escape(record.job)}</a>'
        if (folder / "report.html").is_file()
        else escape(record.job)
    )
    told = escape(record.error or record.verdict)
    figures = escape(" · ".join(f"{key} {_short(value)}" for key, value in record.figures.items()))
    as_of = record.as_of.replace("T", " ").removesuffix(":00Z")
    return (
        f'<tr><td class="text">{escape(record.started_at.replace("T", " "))}</td><td class="text">{job}</td>'
        f'<td class="text {_CLASS[record.ending]}">{record.ending}</td><td>{took}</td><td class="text">{as_of}</td>'
        f'<td class="text long">{told}<br><small>{figures}</small></td></tr>'
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
