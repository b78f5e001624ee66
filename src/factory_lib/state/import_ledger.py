"""The import ledger: what was begun and what was finished, by content, so that nothing is ever silently half."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import pandas as pd

from factory_lib.clock import epoch
from factory_lib.slots import to_index
from factory_lib.state import State

STARTED = "started"
COMPLETE = "complete"


class Content(Protocol):
    """What the ledger identifies by its content: a file, or a member of an archive."""

    @property
    def sha256(self) -> str:
        """The checksum of the content."""

    @property
    def name(self) -> str:
        """The name inside its archive or folder."""

    @property
    def label(self) -> str:
        """The name with that of the archive."""


def begin(state: State, members: Sequence[Content], fmt: str, at: datetime) -> None:
    """Note that these members are being imported; one that was complete stays so."""
    rows = [(member.sha256, member.name, fmt, STARTED, epoch(at), "{}") for member in members]
    with state.transaction() as sql:
        sql.executemany("INSERT OR IGNORE INTO import_ledger VALUES (?, ?, ?, ?, ?, ?)", rows)


def finish(
    state: State, members: Sequence[Content], at: datetime, figures: dict[str, dict[str, int]]
) -> None:
    """Note that they are stored in full; ``figures`` by label goes with each."""
    rows = [
        (COMPLETE, epoch(at), json.dumps(figures.get(m.label, {})), m.sha256, m.name, STARTED)
        for m in members
    ]
    with state.transaction() as sql:
        sql.executemany(
            "UPDATE import_ledger SET state = ?, at = ?, report = ? WHERE sha256 = ? AND member = ? AND state = ?",
            rows,
        )


def complete(state: State, members: Sequence[Content]) -> set[str]:
    """Return the labels of those that a former import finished."""
    done = set(state.query("SELECT sha256, member FROM import_ledger WHERE state = ?", (COMPLETE,)))
    return {member.label for member in members if (member.sha256, member.name) in done}


def names(state: State, fmt: str) -> set[str]:
    """Return the names of all finished members of a format."""
    found = state.query(
        "SELECT member FROM import_ledger WHERE format = ? AND state = ?", (fmt, COMPLETE)
    )
    return {str(name) for (name,) in found}


def table(state: State, *, unfinished_only: bool = False) -> pd.DataFrame:
    """Return the ledger, newest first: ``member, format, state, at, sha256``."""
    rows = state.query(
        "SELECT member, format, state, at, sha256 FROM import_ledger ORDER BY at DESC, member"
    )
    frame = pd.DataFrame(rows, columns=["member", "format", "state", "at", "sha256"])
    frame["at"] = to_index(frame["at"].to_numpy(dtype="int64"))
    return frame[frame["state"] != COMPLETE] if unfinished_only else frame
