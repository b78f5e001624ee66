"""The inbox: files dropped into ``data/<profile>/inbox/`` are imported by the next ingestion, then filed away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from factory_lib.errors import BadInput, JobLocked, WorldMismatch
from factory_lib.house import House
from factory_lib.pipeline import due
from factory_lib.pipeline.imports import import_path
from factory_lib.pipeline.ingest import IngestOutcome
from factory_lib.state import locked


@dataclass(frozen=True)
class Dropped:
    """What became of one file."""

    name: str
    new: int
    refused: bool
    note: str


def import_dropped(house: House) -> list[Dropped]:
    """Import what waits; it goes to ``archive/<day>/``, or to ``archive/refused/`` where nothing of it can be read.

    Two ingestions may start in the same minute: the second leaves the inbox to the first. A replay leaves it to the
    next ingestion of the present.
    """
    if house.replay or not due.dropped(house.settings):
        return []
    try:
        with locked(house.settings.paths.data / "locks", "inbox"):
            return list(_import(house, due.dropped(house.settings)))
    except JobLocked:
        return []


def _import(house: House, waiting: list[Path]) -> Iterator[Dropped]:
    archive = house.settings.paths.data / "archive"
    for file in waiting:
        try:
            report = import_path(house, file)
        except (BadInput, WorldMismatch) as error:
            _file_away(file, archive / "refused")
            yield Dropped(file.name, 0, True, error.message)
        else:
            refused = report.level == "fail"
            _file_away(file, archive / ("refused" if refused else f"{house.clock.now():%Y-%m-%d}"))
            if report.written.written:
                house.mark(due.STORED, "inbox", house.clock.now())
            yield Dropped(file.name, report.written.new, refused, report.verdict)


def _file_away(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target, number = folder / file.name, 1
    while target.exists():
        number += 1
        target = folder / f"{number}-{file.name}"
    file.rename(target)


def told(outcome: IngestOutcome, dropped: list[Dropped]) -> IngestOutcome:
    """Return the outcome of an ingestion that also emptied the inbox."""
    if not dropped:
        return outcome
    figures = {
        "inbox_files": len(dropped),
        "inbox_new": sum(each.new for each in dropped),
        "inbox_refused": sum(each.refused for each in dropped),
    }
    notes = tuple(f"Inbox: {each.name}{' refused' if each.refused else ''}: {each.note}" for each in dropped)
    return replace(outcome, figures={**outcome.figures, **figures}, notes=(*outcome.notes, *notes))
