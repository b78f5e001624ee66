"""Growth: the size of an installation in a year's time, from that of each of the last days."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from factory_lib.files import size_mb
from factory_lib.settings import Settings
from factory_lib.state import State, marks

WEIGHED = "files"
FEWEST_DAYS, MOST_DAYS = 7, 35
DAYS_OF_YEAR = 365
# Of what a day adds, what stays once it was thinned (`[retention]`): of the databases the
# values and one issue of fourteen a day, of the runs the last one of each job.
LEFT_SHARE = 0.15


class Size(NamedTuple):
    """Sizes of an installation, MB: databases, runs, and the files of models.

    Databases grow on, runs are removed, of the models the last few versions are kept.
    """

    databases: float
    runs: float
    models: float = 0.0


def measure(settings: Settings) -> Size:
    """Return the sizes of now; backups, archive and inbox are not among them."""
    paths = settings.paths.shared
    registry = _file_mb(paths.mlflow_db)
    databases = _file_mb(paths.state) + _file_mb(paths.store) + registry
    models = sum(map(_file_mb, paths.mlflow_artifacts.rglob("*.skops")))
    runs = size_mb(paths.runs) - registry - models
    return Size(round(databases, 3), round(runs, 3), round(models, 3))


def _file_mb(file: Path) -> float:
    return file.stat().st_size / 1e6 if file.is_file() else 0.0


def keep_size(settings: Settings, state: State, now: datetime) -> None:
    """Store the sizes of the day, once: the first ever, and the last ones."""
    days = _remembered(state)
    if f"{now:%Y-%m-%d}" not in days:
        days[f"{now:%Y-%m-%d}"] = measure(settings)
        first, *others = sorted(days.items())
        marks.set_mark(state, marks.SIZE, WEIGHED, now, dict([first, *others[-MOST_DAYS:]]))


def year_gb(settings: Settings, state: State) -> float | None:
    """Return the size (GB) in a year's time, None before a week is known.

    What a day adds is thinned after a while (``[retention]``), which the last weeks of a
    young installation do not show yet. Each backup holds the databases once.
    """
    days = _remembered(state)
    if len(days) < FEWEST_DAYS:
        return None
    born = date.fromisoformat(min(days))
    (first, then), *_, (last, now) = sorted(days.items())[-MOST_DAYS:]
    begin, end = map(date.fromisoformat, (first, last))
    added = [max(0.0, x - y) / (end - begin).days for x, y in zip(now, then, strict=True)]
    kept = settings.retention
    whole = max(0, kept.forecasts_days - (end - born).days)
    left = 1.0 if (begin - born).days >= kept.forecasts_days else LEFT_SHARE
    databases = now.databases + added[0] * (whole + left * (DAYS_OF_YEAR - whole))
    reports = kept.reports_days + LEFT_SHARE * (kept.runs_days - kept.reports_days)
    runs = max(now.runs, added[1] * reports) + now.models
    return (databases * (1 + kept.backups) + runs) / 1000


def _remembered(state: State) -> dict[str, Size]:
    mark = marks.get_mark(state, marks.SIZE, WEIGHED)
    note: Mapping[str, list[float]] = mark.note if mark else {}
    return {day: Size(*sizes) for day, sizes in note.items()}
