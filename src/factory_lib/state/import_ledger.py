"""The import ledger: contents whose import was started, and whether it was completed."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from factory_lib.clock import epoch
from factory_lib.state.database import State


class Content(NamedTuple):
    """A file, or a member of an archive, by its content and its name there."""

    sha256: str
    member: str


def record_start(state: State, contents: Iterable[Content], file_format: str, at: datetime) -> None:
    """Store that these contents are being imported; one that was complete stays so."""
    state.change(
        "INSERT INTO import_ledger VALUES (?, ?, ?, 'started', ?, '{}') ON CONFLICT DO NOTHING",
        [(*content, file_format, epoch(at)) for content in contents],
    )


def record_completion(state: State, contents: Iterable[Content], at: datetime) -> None:
    """Store that the contents are imported in full."""
    state.change(
        "UPDATE import_ledger SET status = 'complete', at = ?"
        " WHERE sha256 = ? AND member = ? AND status = 'started'",
        [(epoch(at), *content) for content in contents],
    )


def completed_contents(state: State, file_format: str) -> set[Content]:
    """Return the contents of a format whose import was completed."""
    rows = state.query(
        "SELECT sha256, member FROM import_ledger WHERE format = ? AND status = 'complete'",
        (file_format,),
    )
    return {Content(*row) for row in rows}
