"""All runs of a profile, newest first, kept in memory: a run that has ended is read once."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from sys import intern
from typing import NamedTuple
from zoneinfo import ZoneInfo

from factory_lib.clock import MADRID, local_day
from factory_lib.runs import records

REREAD = ("started", "unreadable")  # the record may be another the next time


class RunRow(NamedTuple):
    """A run as lists show it.

    Attributes
    ----------
    folder : str
        ``YYYY-MM-DD/HHMMSSZ-<job>``, UTC.
    day : str
        The local day of its start.
    ending : str
        Its status, or ``warn`` where a run that ended well found something to look at.
    """

    folder: str
    day: str
    job: str
    ending: str
    started_at: str
    as_of: str
    seconds: float | None
    text: str
    cpu_seconds: float | None
    peak_memory_mb: float | None
    mlflow_run_id: str | None
    simulated: bool

    @property
    def started(self) -> datetime:
        """The instant of the start, UTC."""
        return datetime.fromisoformat(self.started_at)


def read_row(root: Path, folder: str, zone: ZoneInfo) -> RunRow:
    """Read the record of one run folder."""
    record = records.read_record(root / folder)
    return RunRow(
        folder=folder,
        day=intern(str(local_day(datetime.fromisoformat(record.started_at), zone))),
        job=intern(record.job),
        ending=intern(record.ending),
        started_at=record.started_at,
        as_of=record.as_of,
        seconds=record.seconds,
        text=record.error or record.summary,
        cpu_seconds=record.cpu_seconds,
        peak_memory_mb=record.peak_memory_mb,
        mlflow_run_id=record.mlflow_run_id,
        simulated=record.simulated,
    )


def names_by_day(root: Path) -> dict[str, list[str]]:
    """Return the names of the run folders by day, both newest first; no record is read."""
    return {day: run_names(root / day) for day in _days(root)}


def _days(root: Path) -> list[str]:
    return sorted((day.name for day in root.glob("????-??-??") if day.is_dir()), reverse=True)


def run_names(day: Path) -> list[str]:
    """Return the names of one day's run folders, newest first."""
    with os.scandir(day) as entries:
        names = [entry.name for entry in entries if "Z-" in entry.name and entry.is_dir()]
    return sorted(names, reverse=True)


class RunList:
    """The runs below a folder; a day is listed again when its folder changed."""

    def __init__(self, root: Path, zone: ZoneInfo = MADRID) -> None:
        self.root = root
        self.zone = zone
        self._days: dict[str, tuple[int, list[str]]] = {}
        self._rows: dict[str, RunRow] = {}

    def all(self) -> Sequence[RunRow]:
        """Return every run, newest first."""
        rows = [row for folder in self._folders() if (row := self._row(folder))]
        if len(self._rows) > len(rows):  # folders were removed
            self._rows = {row.folder: row for row in rows}
        return rows

    def _folders(self) -> Iterator[str]:
        for day in _days(self.root):
            changed = (self.root / day).stat().st_mtime_ns
            if self._days.get(day, (0, []))[0] != changed:
                self._days[day] = (changed, run_names(self.root / day))
            for name in self._days[day][1]:
                yield f"{day}/{name}"

    def _row(self, folder: str) -> RunRow | None:
        row = self._rows.get(folder)
        if row and row.ending not in REREAD:
            return row
        if not (self.root / folder / "run.json").is_file():
            return None  # it is just being made
        try:
            self._rows[folder] = read_row(self.root, folder, self.zone)
        except ValueError:  # a foreign folder: its name is no instant
            return None
        return self._rows[folder]
