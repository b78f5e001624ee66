"""The inbox: files dropped into ``data/<profile>/inbox/`` are imported by the next ingestion, then filed away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from factory_lib.context import RunContext
from factory_lib.errors import BadInput, JobLocked, OriginMismatch
from factory_lib.files import lock
from factory_lib.importers import import_path
from factory_lib.importers.files import printable
from factory_lib.results import JobResult
from factory_lib.runs import due
from factory_lib.state.marks import STORED

UNFINISHED = "still being written, left for the next run"


@dataclass(frozen=True)
class Dropped:
    """What became of one file or folder; ``left`` in the inbox for the next run, or filed away."""

    name: str
    new: int
    refused: bool
    note: str
    left: bool = False


def import_dropped(ctx: RunContext) -> list[Dropped]:
    """Import what waits; it goes to ``archive/<day>/``, or to ``archive/refused/`` where nothing of it can be read.

    A folder is imported with all below it. What is still being written is left for the
    next run. Two ingestions may start in the same minute: the second leaves the inbox
    to the first. A replay leaves it to the next ingestion of the present.
    """
    if ctx.replay:
        return []
    unfinished = due.dropped(ctx.settings, settled=False)
    try:
        with lock(ctx.settings.paths.lock("inbox"), wait=False):
            done = list(_import(ctx, due.dropped(ctx.settings)))
    except JobLocked:
        return []
    return [
        *done,
        *(Dropped(printable(entry.name), 0, False, UNFINISHED, left=True) for entry in unfinished),
    ]


def _import(ctx: RunContext, waiting: list[Path]) -> Iterator[Dropped]:
    archive = ctx.settings.paths.data / "archive"
    for entry in waiting:
        before = due.contents(entry)
        try:
            report = import_path(ctx, entry)
        except (BadInput, OriginMismatch) as error:
            done = Dropped(printable(entry.name), 0, True, printable(error.message))
        else:
            done = Dropped(
                printable(entry.name), report.written.new, report.level == "fail", report.verdict
            )
            if report.written.written:
                ctx.set_mark(STORED, "inbox", ctx.clock.now())
        if (
            due.contents(entry) != before
        ):  # what was read of it is stored; the next run reads the whole
            yield replace(done, refused=False, note=UNFINISHED, left=True)
            continue
        _file_away(entry, archive / ("refused" if done.refused else f"{ctx.clock.now():%Y-%m-%d}"))
        yield done


def _file_away(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target, number = folder / file.name, 1
    while target.exists():
        number += 1
        target = folder / f"{number}-{file.name}"
    file.rename(target)


def told(result: JobResult, dropped: list[Dropped]) -> JobResult:
    """Return the result of an ingestion that also emptied the inbox."""
    if not dropped:
        return result
    metrics = {
        "inbox_files": sum(not each.left for each in dropped),
        "inbox_new": sum(each.new for each in dropped),
        "inbox_refused": sum(each.refused for each in dropped),
    }
    notes = tuple(
        f"Inbox: {each.name}{' refused' if each.refused else ''}: {each.note}" for each in dropped
    )
    return replace(result, metrics={**result.metrics, **metrics}, notes=(*result.notes, *notes))
