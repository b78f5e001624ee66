"""The list of runs, filtered and in pages, and a report with the way to its neighbours."""

import calendar
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from factory_lib.errors import BadInput, NotThere
from factory_lib.runs.index import REPORT
from factory_lib.runs.listing import RunRow
from factory_lib.views.words import Words, text

PAGE_ROWS = 100
LEVELS: Mapping[str, tuple[str, ...]] = {
    "watch": ("warn", "failed", "killed", "unreadable"),
    "failed": ("failed", "killed", "unreadable"),
}
SORTS = ("new", "long")
LATEST_ENDINGS = 32
MONTHS = 6


@dataclass(frozen=True)
class Filters:
    """Conditions on a list of runs."""

    job: str = ""
    level: str = ""
    day: str = ""
    q: str = ""
    sort: str = "new"
    page: int = 1

    def query(self, **changes: Any) -> str:
        """Return the query of the same list with changes."""
        values = {**vars(self), "page": 1, **changes}
        given = {name: value for name, value in values.items() if value not in ("", "new", 1)}
        return f"?{urlencode(given)}" if given else "?"


def filters_of(query: Mapping[str, str]) -> Filters:
    """Return the filters of a request.

    Raises
    ------
    BadInput
        If one is not understood.
    """
    values: dict[str, Any] = dict(query)
    try:
        values["page"] = min(max(int(values.get("page", 1)), 1), 10_000)
        if values.get("day"):
            values["day"] = date.fromisoformat(values["day"]).isoformat()
    except ValueError:
        raise BadInput("page is a number, and day a date such as 2026-01-31.") from None
    if values.get("level", "") not in ("", *LEVELS) or values.get("sort", "new") not in SORTS:
        raise BadInput("level is watch or failed, sort is new or long.")
    return Filters(**values)


def has_report(root: Path, row: RunRow) -> bool:
    """Return whether the report of a run is there still: the maintenance removes old ones."""
    return (root / row.folder / REPORT).is_file()


def listing(rows: Sequence[RunRow], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of the page of all runs."""
    filters = filters_of(query)
    selected = _select(rows, filters)
    first = (filters.page - 1) * PAGE_ROWS
    shown = selected[first : first + PAGE_ROWS]
    by_day: dict[str, list[RunRow]] = {}
    for row in shown:
        by_day.setdefault(row.day if filters.sort == "new" else "", []).append(row)
    newest_day = rows[0].day if rows else ""
    return {
        "filters": filters,
        "total": len(rows),
        "matches": len(selected),
        "first": first + 1,
        "last": first + len(shown),
        "days": by_day,
        "counts": _counts(rows),
        "jobs": sorted({row.job for row in rows}),
        "newest": _newest(rows),
        "newest_start": rows[0].started if rows else None,
        "today": Counter(row.ending for row in rows if row.day == newest_day),
        "months": _months(rows),
        "has_older": first + PAGE_ROWS < len(selected),
    }


def _counts(rows: Sequence[RunRow]) -> dict[str, int]:
    endings = Counter(row.ending for row in rows)
    return {name: sum(map(endings.__getitem__, of)) for name, of in LEVELS.items()}


def _select(rows: Sequence[RunRow], filters: Filters) -> list[RunRow]:
    selected = [row for row in rows if _fits(row, filters)]
    if filters.sort == "long":
        selected.sort(key=lambda row: row.seconds or 0.0, reverse=True)
    return selected


def _fits(row: RunRow, filters: Filters) -> bool:
    """Return whether a run is in the list."""
    if filters.level and row.ending not in LEVELS[filters.level]:
        return False
    if filters.job not in ("", row.job) or filters.day not in ("", row.day):
        return False
    content = f"{row.job} {row.text} {row.folder}".lower() if filters.q else ""
    return all(word in content for word in filters.q.lower().split())


def _newest(rows: Sequence[RunRow]) -> list[tuple[RunRow, list[str]]]:
    """Return the newest run of each job with the endings of its last ones, oldest first."""
    endings: dict[str, list[str]] = {}
    first: dict[str, RunRow] = {}
    for row in rows:
        first.setdefault(row.job, row)
        of_job = endings.setdefault(row.job, [])
        if len(of_job) < LATEST_ENDINGS:
            of_job.append(row.ending)
    return [(row, endings[job][::-1]) for job, row in sorted(first.items())]


def _months(rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """Return the newest months as weeks of (day, date, ending of the worst run, runs)."""
    worst: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.day] += 1
        if row.ending in LEVELS["failed"]:
            worst[row.day] = "failed"
        elif row.ending != "ok":
            worst.setdefault(row.day, "watch")
    months = sorted({day[:7] for day in counts}, reverse=True)[:MONTHS]
    result = []
    for month in months:
        year, number = map(int, month.split("-"))
        weeks = []
        for week in calendar.monthcalendar(year, number):
            days = [f"{month}-{day:02d}" if day else "" for day in week]
            weeks.append([(day, worst.get(day, ""), counts.get(day, 0)) for day in days])
        result.append({"year": year, "number": number, "weeks": weeks})
    return result


def report(root: Path, rows: Sequence[RunRow], path: Mapping[str, str], words: Words) -> bytes:
    """Return a run's report with links to all runs and its neighbours put in front.

    Raises
    ------
    NotThere
        If there is no such run, or it left no report.
    """
    folder = f"{path['day']}/{path['name']}"
    row = next((row for row in rows if row.folder == folder), None)
    if row is None or not has_report(root, row):
        raise NotThere("There is no such report.", next_step="See /runs.")
    page = (root / folder / REPORT).read_text(encoding="utf-8", errors="replace")
    way = f'<nav class="way">{" · ".join(_links(root, rows, row, words))}</nav>'
    # the links of the report lead to files beside it, and to those of the plan
    page = re.sub(r'<nav class="way">.*?</nav>', "", page, count=1, flags=re.DOTALL)
    page = re.sub(r'href="[^"]*/plans/(plan\.\w+)"', r'href="/\1"', page)
    return page.replace("<main>", f"<main>{way}", 1).encode()


def _links(root: Path, rows: Sequence[RunRow], row: RunRow, words: Words) -> list[str]:
    """Return links to all runs and to the job's reports before and after one."""
    links = [f'<a href="/runs">← {words("all_runs_link")}</a>']
    of_job = [other for other in rows if other.job == row.job]
    at = of_job.index(row)
    beside = {"earlier_run": of_job[at + 1 :], "later_run": of_job[:at][::-1]}
    for key, others in beside.items():
        if other := next((other for other in others if has_report(root, other)), None):
            name = text(words(key, job=words.name(row.job)))
            links.append(f'<a href="/runs/{quote(other.folder)}">{name}</a>')
    return links
