"""Inbox: files in ``data/<profile>/inbox/`` are imported by the next ingestion, then archived."""

from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from factory_lib.clock import epoch
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, JobLocked, OriginMismatch
from factory_lib.files import lock
from factory_lib.importers import import_path
from factory_lib.importers.files import printable
from factory_lib.results import JobResult
from factory_lib.runs import due
from factory_lib.state.marks import REFUSED, STORED, get_mark

MOST_REFUSED = 20  # names kept of them
UNFINISHED = "still being written, left for the next run"


@dataclass(frozen=True)
class InboxEntry:
    """Result of one file or folder; ``left`` in the inbox for the next run, or archived."""

    name: str
    new: int
    refused: bool
    note: str
    left: bool = False


def import_waiting(ctx: RunContext) -> list[InboxEntry]:
    """Import the waiting files and move them to ``archive/<day>/`` or ``archive/refused/``.

    A folder is imported with all below it; one file or folder of which nothing can be
    read is refused. A file that is still being written is left for the next run. Two
    ingestions may start in the same minute: the second leaves the inbox to the first. A
    replay leaves it to the next ingestion of the present.
    """
    if ctx.replay:
        return []
    unfinished = due.waiting_entries(ctx.settings, complete=False)
    try:
        with lock(ctx.settings.paths.lock("inbox"), wait=False):
            entries = [_import(ctx, path) for path in due.waiting_entries(ctx.settings)]
    except JobLocked:
        return []
    entries += [
        InboxEntry(printable(path.name), 0, False, UNFINISHED, left=True) for path in unfinished
    ]
    return entries


def _import(ctx: RunContext, path: Path) -> InboxEntry:
    name = printable(path.name)
    before = due.entry_files(path)
    try:
        result = import_path(ctx, path)
    except (BadInput, OriginMismatch) as error:
        entry = InboxEntry(name, 0, True, printable(error.message))
    else:
        new = result.metrics["new"]
        entry = InboxEntry(name, new, result.status == "fail", result.summary)
        if new + result.metrics["revised"]:
            ctx.set_mark(STORED, "inbox", ctx.clock.now())
    if due.entry_files(path) != before:
        # The part that was read is stored; the next run reads the whole.
        return replace(entry, refused=False, note=UNFINISHED, left=True)
    if entry.refused:
        _remember_refused(ctx, _archive(path, ctx.settings.paths.refused), entry)
    else:
        _archive(path, ctx.settings.paths.data / "archive" / f"{ctx.clock.now():%Y-%m-%d}")
    return entry


def _remember_refused(ctx: RunContext, name: str, entry: InboxEntry) -> None:
    """Add a refused file to those that health names, the latest ones."""
    mark = get_mark(ctx.state, REFUSED, "inbox")
    earlier = list(mark.note.items())[1 - MOST_REFUSED :] if mark else []
    now = ctx.clock.now()
    why = entry.note if entry.name in entry.note else f"{entry.name}: {entry.note}"
    note = {**dict(earlier), name: [epoch(now), why]}
    ctx.set_mark(REFUSED, "inbox", now, note)


def _archive(path: Path, folder: Path) -> str:
    """Move a file or folder and return its name there."""
    folder.mkdir(parents=True, exist_ok=True)
    names = chain([path.name], (f"{number}-{path.name}" for number in count(2)))
    name = next(name for name in names if not (folder / name).exists())
    path.rename(folder / name)
    return name


def with_inbox(result: JobResult, entries: list[InboxEntry]) -> JobResult:
    """Return the result of an ingestion that also emptied the inbox."""
    if not entries:
        return result
    metrics = {
        "inbox_files": sum(not entry.left for entry in entries),
        "inbox_new": sum(entry.new for entry in entries),
        "inbox_refused": sum(entry.refused for entry in entries),
    }
    notes = (
        f"Inbox: {entry.name}{' refused' if entry.refused else ''}: {entry.note}"
        for entry in entries
    )
    metrics = {**result.metrics, **metrics}
    return replace(result, metrics=metrics, notes=(*result.notes, *notes))
