"""Growth: the size of an installation in a year's time, from that of each of the last days."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from factory_lib.files import size_mb
from factory_lib.settings import Settings
from factory_lib.state import State, marks

WEIGHED = "files"
FEWEST_DAYS, MOST_DAYS = 7, 35
DAYS_OF_YEAR = 365


class Size(NamedTuple):
    """Sizes of an installation, MB: databases, which grow on, and runs, which are removed."""

    databases: float
    runs: float


def measure(settings: Settings) -> Size:
    """Return the sizes of now; backups, archive and inbox are not among them."""
    paths = settings.paths.shared
    registry = _file_mb(paths.mlflow_db)
    databases = _file_mb(paths.state) + _file_mb(paths.store) + registry
    return Size(round(databases, 3), round(size_mb(paths.runs) - registry, 3))


def _file_mb(file: Path) -> float:
    return file.stat().st_size / 1e6 if file.is_file() else 0.0


def keep_size(settings: Settings, state: State, now: datetime) -> None:
    """Store the sizes of the day, once."""
    days = _remembered(state)
    if f"{now:%Y-%m-%d}" not in days:
        days[f"{now:%Y-%m-%d}"] = measure(settings)
        marks.set_mark(state, marks.SIZE, WEIGHED, now, dict(sorted(days.items())[-MOST_DAYS:]))


def year_gb(settings: Settings, state: State) -> float | None:
    """Return the size (GB) in a year's time, None before a week is known.

    Databases grow on as in the last weeks. Runs do so until the first ones are removed
    (``[retention]``); each backup holds the databases once.
    """
    days = _remembered(state)
    if len(days) < FEWEST_DAYS:
        return None
    (first, then), *_, (last, now) = sorted(days.items())
    span = (date.fromisoformat(last) - date.fromisoformat(first)) / timedelta(days=1)
    by_day = [max(0.0, (after - before) / span) for before, after in zip(then, now, strict=True)]
    kept = settings.retention
    databases = now.databases + by_day[0] * DAYS_OF_YEAR
    runs = max(now.runs, by_day[1] * kept.runs_days)
    return (databases * (1 + kept.backups) + runs) / 1000


def _remembered(state: State) -> dict[str, Size]:
    mark = marks.get_mark(state, marks.SIZE, WEIGHED)
    note: Mapping[str, list[float]] = mark.note if mark else {}
    return {day: Size(*sizes) for day, sizes in note.items()}
