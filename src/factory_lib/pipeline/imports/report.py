"""What an import did, for a person and for a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from factory_lib.pipeline.imports.absences import ACCOUNT_COLUMNS, MISSING_COLUMNS
from factory_lib.pipeline.imports.check import REPEATED_COLUMNS
from factory_lib.pipeline.imports.reading import rejected
from factory_lib.pipeline.imports.suspects import MARK_COLUMNS
from factory_lib.store.base import WriteResult

UNREADABLE, UNKNOWN, SUPERSEDED, REPEATED, STORED = "unreadable", "unknown", "superseded", "repeated", "stored"
MEMBER_COLUMNS = ("member", "format", "state")
_COUNTED = ("missing_days", "incomplete_days", "empty_days", "duplicates", "frozen_hours")
_FINDINGS = {
    "rejected": "rejected",
    "quarantined": "in quarantine",
    "missing_days": "days missing",
    "incomplete_days": "days incomplete",
    "empty_days": "days empty",
    "duplicates": "duplicate lines",
    "frozen_hours": "hours frozen",
    UNREADABLE: "files unreadable",
    UNKNOWN: "files of no known format",
    SUPERSEDED: "files superseded",
}


@dataclass(frozen=True)
class ImportReport:
    """What one path held and what became of it.

    Every value that was read is new, revised, unchanged, rejected or a repetition within the file: the five add up to
    ``values_read``.

    Attributes
    ----------
    path : str
        What was named.
    members : DataFrame
        One row per file or archive entry: its format, and whether it was stored, repeated (finished by an earlier
        import), superseded (a later publication is known), unreadable or unknown.
    written, forecasts : WriteResult
        Counted in the store.
    rejected : DataFrame
        The offending rows, and why (``reading.REJECTED_COLUMNS``).
    repeated : DataFrame
        Lines for a slot that has one already (``check.REPEATED_COLUMNS``).
    marks : DataFrame
        Values stored under quarantine (``suspects.MARK_COLUMNS``).
    accounts, missing : DataFrame
        What the files lack, by place and by day (``absences``), with their ``format``.
    notes : tuple of str
        Assumptions and omissions.
    """

    path: str
    members: pd.DataFrame
    written: WriteResult
    forecasts: WriteResult
    rejected: pd.DataFrame
    repeated: pd.DataFrame
    marks: pd.DataFrame
    accounts: pd.DataFrame
    missing: pd.DataFrame
    values_read: int
    duplicate_values: int
    notes: tuple[str, ...] = ()

    def count(self, column: str) -> int:
        """Return the sum of a column of ``accounts``."""
        return int(self.accounts[column].sum())

    def in_state(self, state: str) -> int:
        """Return how many members are in ``state``."""
        return int((self.members["state"] == state).sum())

    @property
    def figures(self) -> dict[str, int]:
        """The key figures."""
        return {
            "files": len(self.members),
            "values_read": self.values_read,
            "new": self.written.new,
            "revised": self.written.revised,
            "unchanged": self.written.unchanged,
            "repeated_values": self.duplicate_values,
            "forecasts_new": self.forecasts.written,
            "rejected": len(self.rejected),
            "quarantined": len(self.marks),
            **{name: int(self.accounts[name].sum()) for name in _COUNTED},
            **{state: int((self.members["state"] == state).sum()) for state in (UNREADABLE, UNKNOWN, SUPERSEDED)},
        }

    @property
    def level(self) -> Literal["ok", "warn", "fail"]:
        """``fail``: something could not be read, so that the import is incomplete; ``warn``: look at the findings."""
        figures = self.figures
        if figures[UNREADABLE] or 0 < self.values_read == figures["rejected"]:
            return "fail"
        return "warn" if any(figures[name] for name in _FINDINGS) else "ok"

    @property
    def verdict(self) -> str:
        """One sentence: what was read, what was stored, what was found."""
        figures = self.figures
        findings = "".join(f", {figures[name]:,} {words}" for name, words in _FINDINGS.items() if figures[name])
        stored = ", ".join(f"{figures[name]:,} {name}" for name in ("new", "revised", "unchanged"))
        extra = f", {self.forecasts.written:,} forecasts stored" if self.forecasts.written else ""
        return f"{self.path}: {self.values_read:,} values read, {stored}{extra}{findings}."


def listed(members: Sequence[str], fmt: str, state: str) -> pd.DataFrame:
    """Return rows of ``ImportReport.members``."""
    columns = {"member": pd.Series(list(members), dtype="str"), "format": fmt, "state": state}
    return pd.DataFrame(columns, index=range(len(members)))


def blank(path: str, members: pd.DataFrame, bad: pd.DataFrame | None = None) -> ImportReport:
    """Return the report of members of which nothing was read."""
    shapes = (REPEATED_COLUMNS, MARK_COLUMNS, (*ACCOUNT_COLUMNS, *_COUNTED[3:], "format"), (*MISSING_COLUMNS, "format"))
    repeated, marks, accounts, missing = (pd.DataFrame(columns=list(columns)) for columns in shapes)
    unread, none = rejected() if bad is None else bad, WriteResult()
    return ImportReport(path, members, none, none, unread, repeated, marks, accounts, missing, len(unread), 0)


def join(path: str, parts: Sequence[ImportReport]) -> ImportReport:
    """Join the reports of the formats found under one path."""

    def rows(name: str) -> pd.DataFrame:
        frames: list[pd.DataFrame] = [getattr(part, name) for part in parts]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)

    return ImportReport(
        path,
        rows("members"),
        sum((part.written for part in parts), WriteResult()),
        sum((part.forecasts for part in parts), WriteResult()),
        rows("rejected"),
        rows("repeated"),
        rows("marks"),
        rows("accounts"),
        rows("missing"),
        sum(part.values_read for part in parts),
        sum(part.duplicate_values for part in parts),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
