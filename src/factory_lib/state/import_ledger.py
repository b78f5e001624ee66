"""The import ledger: the contents whose import was started, and whether it was completed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from factory_lib.clock import epoch, from_epoch
from factory_lib.state.database import State

STARTED = "started"
COMPLETE = "complete"


class Content(Protocol):
    """A file, or a member of an archive, identified by its content."""

    @property
    def sha256(self) -> str:
        """The checksum of the content."""

    @property
    def name(self) -> str:
        """The name inside its archive or folder."""

    @property
    def label(self) -> str:
        """The name with that of the archive."""


class LedgerEntry(NamedTuple):
    """One content and how far its import came: ``started`` or ``complete``."""

    member: str
    format: str
    status: str
    at: datetime
    sha256: str


def record_start(state: State, members: Sequence[Content], file_format: str, at: datetime) -> None:
    """Store that these members are being imported; one that was complete stays so."""
    rows = [
        (member.sha256, member.name, file_format, STARTED, epoch(at), "{}") for member in members
    ]
    state.change("INSERT INTO import_ledger VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)


def record_completion(state: State, members: Sequence[Content], at: datetime) -> None:
    """Store that the members are imported in full."""
    rows = [(COMPLETE, epoch(at), member.sha256, member.name, STARTED) for member in members]
    state.change(
        "UPDATE import_ledger SET status = ?, at = ?"
        " WHERE sha256 = ? AND member = ? AND status = ?",
        rows,
    )


def completed_labels(state: State, members: Sequence[Content]) -> set[str]:
    """Return the labels of those members that an earlier import completed."""
    done = {(entry.sha256, entry.member) for entry in entries(state) if entry.status == COMPLETE}
    return {member.label for member in members if (member.sha256, member.name) in done}


def completed_names(state: State, file_format: str) -> set[str]:
    """Return the names of all completed members of a format."""
    return {
        entry.member
        for entry in entries(state)
        if entry.format == file_format and entry.status == COMPLETE
    }


def entries(state: State) -> list[LedgerEntry]:
    """Return the whole ledger, newest first."""
    rows = state.query(
        "SELECT member, format, status, at, sha256 FROM import_ledger ORDER BY at DESC, member"
    )
    return [
        LedgerEntry(member, file_format, status, from_epoch(at), sha256)
        for member, file_format, status, at, sha256 in rows
    ]
