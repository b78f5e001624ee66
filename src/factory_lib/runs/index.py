"""``runs/index.html``: the newest run of each job, the newest day, and a page for each day.

Every run is reached without a server, however many there are: a day's page lies in the
day's folder, and is written again only while the day can change.
"""

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from factory_lib.files import write_atomically
from factory_lib.runs import records
from factory_lib.runs.listing import names_by_day
from factory_lib.runs.report import TEMPLATES, parted, stylesheet
from factory_lib.settings import Paths

PAGE = "index.html"
REPORT = "report.html"
# a run of the day before may end after midnight; what is older is written once
CHANGING_DAYS = 2
Names = Mapping[str, list[str]]
_BESIDE = re.compile(r'<span class="beside">.*?</span>')


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
    by_job = _by_job(names)
    _link_reports(root, by_job, every=every)
    shown = [f"{day}/{name}" for day in days[:1] for name in names[day]]
    newest = _runs(root, sorted((str(of_job[0]) for of_job in by_job.values()), reverse=True))
    return _write(root / PAGE, root, names, shown, newest=newest, up="")


def _by_job(names: Names) -> dict[str, list[Path]]:
    """Return the folders of each job's runs below the root, newest first."""
    folders = [Path(day, name) for day, of_day in names.items() for name in of_day]
    result: dict[str, list[Path]] = {}
    for folder in folders:
        result.setdefault(records.job_of(folder), []).append(folder)
    return result


def _link_reports(root: Path, by_job: Mapping[str, list[Path]], *, every: bool) -> None:
    """Lead from each report to those of its job before and after it, and to its notebook.

    Unless ``every`` may have changed, only the two newest of each job are written.
    """
    for folders in by_job.values():
        reports = (folder for folder in folders if (root / folder / REPORT).is_file())
        newest = [None, *(reports if every else islice(reports, 3)), None]
        for later, folder, earlier in list(zip(newest, newest[1:], newest[2:], strict=False)):
            if folder and (every or folder in newest[1:3]):
                _link_report(root / folder, {"← Earlier": earlier, "Later →": later})


def _link_report(folder: Path, beside: Mapping[str, Path | None]) -> None:
    links = [
        f'<a href="../../{quote(str(other))}/{REPORT}">{name}</a>'
        for name, other in beside.items()
        if other
    ]
    links += [f'<a href="{file.name}">Notebook</a>' for file in folder.glob("notebook.ipynb*")]
    before = (folder / REPORT).read_text(encoding="utf-8", errors="replace")
    page = _BESIDE.sub(f'<span class="beside">{" · ".join(links)}</span>', before, count=1)
    if page != before:
        write_atomically(folder / REPORT, page)


def _runs(root: Path, folders: list[str]) -> list[tuple[str, records.RunRecord, bool]]:
    """Return folder and record of each run, and whether it left a report."""
    return [
        (folder, records.read_record(root / folder), (root / folder / REPORT).is_file())
        for folder in folders
    ]


def _write(file: Path, root: Path, names: Names, folders: list[str], **fields: Any) -> Path:
    from jinja2 import Environment, FileSystemLoader

    from factory_lib.views.page import prose
    from factory_lib.views.tables import local_minute
    from factory_lib.views.words import Words

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["prose"] = prose
    runs = _runs(root, folders)
    page = environment.get_template("index.html.j2").render(
        css=stylesheet(),
        counts={day: len(of_day) for day, of_day in names.items()},
        runs=runs,
        metrics_line=_metrics_line,
        parted=parted,
        local=local_minute,
        words=Words("en").name,
        simulated=any(record.simulated for _, record, _ in runs),
        **fields,
    )
    write_atomically(file, page)
    return file


def _metrics_line(metrics: Mapping[str, Any]) -> str:
    shown = {key: f"{v:.3g}" if isinstance(v, float) else v for key, v in metrics.items()}
    return " · ".join(f"{key} {value}" for key, value in shown.items())
