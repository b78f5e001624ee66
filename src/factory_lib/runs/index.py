"""``runs/index.html``: the newest run of each job, the newest day, and a page for each day.

Every run is reached without a server, however many there are: a day's page lies in the
day's folder, and is written again only while the day can change.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from factory_lib.files import write_atomically
from factory_lib.runs import records
from factory_lib.runs.listing import names_by_day
from factory_lib.runs.report import TEMPLATES, stylesheet
from factory_lib.settings import Paths

PAGE = "index.html"
# a run of the day before may end after midnight; what is older is written once
CHANGING_DAYS = 2
Names = Mapping[str, list[str]]


def write_index(paths: Paths, *, every: bool = False) -> Path:
    """Write the index of one profile's runs and return its file.

    Parameters
    ----------
    every : bool
        Write the pages of all days again, not only those that are new or missing.
    """
    root = paths.runs
    names = names_by_day(root)
    days = list(names)
    root.mkdir(parents=True, exist_ok=True)
    for number, day in enumerate(days):
        file = root / day / PAGE
        if every or number < CHANGING_DAYS or not file.is_file():
            fields = {"day": day, "older": days[number + 1 : number + 2], "up": "../"}
            fields |= {"newer": days[number - 1 : number] if number else []}
            _write(file, root, names, [f"{day}/{name}" for name in names[day]], **fields)
    shown = [f"{day}/{name}" for day in days[:1] for name in names[day]]
    newest = _runs(root, list(_newest_of_each_job(names)))
    return _write(root / PAGE, root, names, shown, newest=newest, up="")


def _newest_of_each_job(names: Names) -> Iterator[str]:
    """Yield the folder of the newest run of each job."""
    seen = set()
    for day, folders in names.items():
        for name in folders:
            job = re.sub(r"-\d+$", "", name.partition("Z-")[2])
            if job not in seen:
                seen.add(job)
                yield f"{day}/{name}"


def _runs(root: Path, folders: list[str]) -> list[tuple[str, records.RunRecord, bool]]:
    """Return folder and record of each run, and whether it left a report."""
    return [
        (folder, records.read_record(root / folder), (root / folder / "report.html").is_file())
        for folder in folders
    ]


def _write(file: Path, root: Path, names: Names, folders: list[str], **fields: Any) -> Path:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    runs = _runs(root, folders)
    page = environment.get_template("index.html.j2").render(
        css=stylesheet(),
        counts={day: len(of_day) for day, of_day in names.items()},
        runs=runs,
        metrics_line=_metrics_line,
        simulated=any(record.simulated for _, record, _ in runs),
        **fields,
    )
    write_atomically(file, page)
    return file


def _metrics_line(metrics: Mapping[str, Any]) -> str:
    shown = {key: f"{v:.3g}" if isinstance(v, float) else v for key, v in metrics.items()}
    return " · ".join(f"{key} {value}" for key, value in shown.items())
