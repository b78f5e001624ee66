"""The inbox: what is dropped is imported once, filed away and counted.

What cannot be read is kept apart.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import cast

import pytest

from factory_lib.admin import inbox
from factory_lib.clock import day_bounds
from factory_lib.context import RunContext
from factory_lib.importers import import_path
from factory_lib.monitoring import diagnostics
from factory_lib.results import JobResult
from factory_lib.runs import due
from factory_lib.state.marks import REFUSED, STORED, get_marks
from factory_sim.clock import SimulatedClock

DAY = date(2026, 4, 14)


@pytest.fixture
def folder(ctx: RunContext) -> Path:
    ctx.settings.paths.inbox.mkdir(parents=True)
    return ctx.settings.paths.inbox


def drop(
    folder: Path, name: str = "marginalpdbc_20260414.1", day: date = DAY, *, seconds_ago: float = 60
) -> Path:
    """Write a day of prices as a person would have some time ago."""
    rows = [f"{day:%Y;%m;%d};{n};{n + 1.0};{n}.0;" for n in range(1, 97)]
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("\r\n".join(["MARGINALPDBC;", *rows, "*", ""]), encoding="latin-1")
    written(file, seconds_ago)
    return file


def written(entry: Path, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(entry, (then, then))


def test_a_dropped_file_is_stored_archived_and_counted(ctx: RunContext, folder: Path) -> None:
    drop(folder)
    (one,) = inbox.import_waiting(ctx)
    assert (one.name, one.new, one.refused) == ("marginalpdbc_20260414.1", 96, False)
    start, end = day_bounds(DAY)
    assert len(ctx.store.slots("spot_eur_mwh", places=["ES"], start=start, end=end)) == 96
    assert list(folder.iterdir()) == []
    assert get_marks(ctx.state, STORED)["inbox"][0] == ctx.clock.now()
    archive = ctx.settings.paths.data / "archive" / "2026-04-15"
    assert [file.name for file in archive.iterdir()] == ["marginalpdbc_20260414.1"]
    drop(folder)
    assert inbox.import_waiting(ctx)[0].new == 0
    assert len(list(archive.iterdir())) == 2


def test_a_replay_leaves_the_inbox_to_the_present(ctx: RunContext, folder: Path) -> None:
    drop(folder)
    assert inbox.import_waiting(replace(ctx, explicit_as_of=True)) == []
    assert len(list(folder.iterdir())) == 1


def test_what_cannot_be_read_is_kept_apart(ctx: RunContext, folder: Path) -> None:
    (folder / "holiday.txt").write_text("sun and sea", encoding="utf-8")
    written(folder / "holiday.txt", 60)
    (one,) = inbox.import_waiting(ctx)
    assert one.refused
    assert (ctx.settings.paths.refused / "holiday.txt").exists()
    assert inbox.import_waiting(ctx) == []


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_regular_file_is_refused_unread(
    ctx: RunContext, folder: Path, kind: str
) -> None:
    entry = folder / "endless.csv"
    if kind == "pipe":
        os.mkfifo(entry)
        written(entry, 60)
    else:
        entry.symlink_to("/dev/null")
    (one,) = inbox.import_waiting(ctx)
    assert (one.refused, "is no regular file" in one.note) == (True, True)
    assert list(folder.iterdir()) == []


def test_health_names_what_was_refused_for_a_day_or_until_it_is_taken_away(
    ctx: RunContext, folder: Path
) -> None:
    clock = cast(SimulatedClock, ctx.clock)

    def refuse(text: str) -> None:
        (folder / "holiday.txt").write_text(text, encoding="utf-8")
        written(folder / "holiday.txt", 60)
        inbox.import_waiting(ctx)

    def named() -> int:
        check = diagnostics._inbox(ctx.settings, ctx.state, ctx.clock.now())
        assert (check.status == "warn") == ("holiday.txt" in check.finding)
        return check.finding.count("holiday.txt")

    assert named() == 0
    refuse("sun and sea")
    clock.sleep(20 * 3600)
    refuse("rain")
    assert named() == 2
    clock.sleep(5 * 3600)
    assert named() == 1  # the second, which lies there under another name
    for file in ctx.settings.paths.refused.iterdir():
        file.unlink()
    assert named() == 0


def test_the_names_of_refused_files_do_not_grow_without_end(ctx: RunContext, folder: Path) -> None:
    for number in range(inbox.MOST_REFUSED + 2):
        (folder / f"{number}.txt").write_text("sun", encoding="utf-8")
        written(folder / f"{number}.txt", 60)
    inbox.import_waiting(ctx)
    note = get_marks(ctx.state, REFUSED)["inbox"].note
    assert len(note) == inbox.MOST_REFUSED


def test_a_waiting_file_makes_ingestion_due(ctx: RunContext, folder: Path) -> None:
    for name in (".hidden", "big.csv.part"):
        drop(folder, name)
    assert due.waiting_entries(ctx.settings) == []
    drop(folder)
    assert [file.name for file in due.waiting_entries(ctx.settings)] == ["marginalpdbc_20260414.1"]
    assert due.nothing_due(ctx.settings, ctx.state, "ree_price_ingestion", ctx.clock.now()) is None


def test_a_file_still_being_copied_is_left_and_named(ctx: RunContext, folder: Path) -> None:
    file = drop(folder, seconds_ago=0)
    whole = file.read_bytes()
    file.write_bytes(whole[:900])
    drop(folder, "other.csv.part")
    assert due.waiting_entries(ctx.settings) == []
    half, part = inbox.import_waiting(ctx)
    assert (half.left, half.new, part.left) == (True, 0, True)
    assert "still being written" in half.note
    file.write_bytes(whole)
    written(file, ctx.settings.inbox.settled_after_s + 1)
    whole_file, _ = inbox.import_waiting(ctx)
    assert (whole_file.new, whole_file.left) == (96, False)


def test_a_file_that_grows_while_it_is_read_stays(
    ctx: RunContext, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drop(folder)

    def grow(*_: object) -> object:
        with file.open("ab") as more:
            more.write(b"\r\n")
        return import_path(ctx, file)

    monkeypatch.setattr(inbox, "import_path", grow)
    (done,) = inbox.import_waiting(ctx)
    assert (done.left, done.refused, file.exists()) == (True, False, True)


def test_a_folder_is_imported_with_all_below_it(ctx: RunContext, folder: Path) -> None:
    days = [DAY - timedelta(days=ago) for ago in range(3)]
    for day, below in zip(days, ("drop", "drop/2026", "drop/2026/april"), strict=True):
        drop(folder, f"{below}/marginalpdbc_{day:%Y%m%d}.1", day)
    (folder / "drop" / ".DS_Store").write_bytes(b"")
    for entry in sorted(folder.rglob("*"), reverse=True):
        written(entry, 60)
    (done,) = inbox.import_waiting(ctx)
    assert (done.name, done.new, done.refused) == ("drop", 3 * 96, False)
    archive = ctx.settings.paths.data / "archive" / "2026-04-15" / "drop"
    assert len(list(archive.rglob("*.1"))) == 3


def test_a_folder_waits_for_its_last_file_and_an_empty_one_for_its_first(
    ctx: RunContext, folder: Path
) -> None:
    drop(folder, "drop/marginalpdbc_20260414.1")
    drop(folder, "drop/next.1", seconds_ago=0)
    (folder / "empty").mkdir()
    (done,) = inbox.import_waiting(ctx)
    assert (done.name, done.left) == ("drop", True)
    assert sorted(entry.name for entry in folder.iterdir()) == ["drop", "empty"]


def test_the_result_counts_the_files_of_the_inbox() -> None:
    plain = JobResult("ok", "1 new value.", {"new": 1})
    result = inbox.with_inbox(
        plain,
        [
            inbox.InboxEntry("a.csv", 5, False, "5 new"),
            inbox.InboxEntry("b.txt", 0, True, "unknown"),
        ],
    )
    assert result.metrics == {"new": 1, "inbox_files": 2, "inbox_new": 5, "inbox_refused": 1}
    assert result.notes == ("Inbox: a.csv: 5 new", "Inbox: b.txt refused: unknown")
    assert inbox.with_inbox(plain, []) is plain


def test_a_file_from_the_future_is_not_waited_for(ctx: RunContext, folder: Path) -> None:
    drop(folder, seconds_ago=-86_400)
    assert [done.new for done in inbox.import_waiting(ctx)] == [96]


@pytest.mark.parametrize(
    "refused", [pytest.param(False, id="read"), pytest.param(True, id="refused")]
)
def test_a_name_that_is_not_utf_8_is_shown_as_text(
    ctx: RunContext, folder: Path, refused: bool
) -> None:
    file = drop(folder)
    if refused:
        file.write_text("sun and sea", encoding="utf-8")
        written(file, 60)
    file.rename(folder / os.fsdecode(b"marginalpdbc_\xff_20260414.1"))
    (done,) = inbox.import_waiting(ctx)
    assert (done.name, done.refused) == ("marginalpdbc_?_20260414.1", refused)
    assert done.note.encode("utf-8")
    assert list(folder.iterdir()) == []
