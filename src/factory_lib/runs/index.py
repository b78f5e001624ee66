"""``runs/index.html``: every run, newest first, with status and metrics; no script, no request."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory_lib.files import write_atomically
from factory_lib.runs import records
from factory_lib.runs.report import TEMPLATES, stylesheet
from factory_lib.settings import Paths

MOST = 500


def write_index(paths: Paths) -> Path:
    """Write the index of one profile's runs and return its file."""
    from jinja2 import Environment, FileSystemLoader

    folders = list(records.folders(paths.runs))
    runs = [(folder, records.read_record(folder)) for folder in folders[:MOST]]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("index.html.j2").render(
        css=stylesheet(),
        total=len(folders),
        runs=runs,
        root=paths.runs,
        metrics_line=_metrics_line,
        simulated=any(record.simulated for _, record in runs),
    )
    file = paths.runs / "index.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, page)
    return file


def _metrics_line(metrics: Mapping[str, Any]) -> str:
    shown = {key: f"{v:.3g}" if isinstance(v, float) else v for key, v in metrics.items()}
    return " · ".join(f"{key} {value}" for key, value in shown.items())
