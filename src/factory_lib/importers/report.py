"""What an import did, for a person and for a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from factory_lib.importers.check import Findings
from factory_lib.store.base import WriteResult

UNREADABLE, UNKNOWN, SUPERSEDED, REPEATED, STORED = (
    "unreadable",
    "unknown",
    "superseded",
    "repeated",
    "stored",
)
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


@dataclass(frozen=True, kw_only=True)
class ImportReport(Findings):
    """What one path held, what was found in it, and what became of it.

    Every value that was read is new, revised, unchanged, rejected or a repetition
    within the file: the five add up to ``values_read``.

    Attributes
    ----------
    path : str
        What was named.
    members : DataFrame
        One row per file or archive entry: its format, and whether it was stored,
        repeated (finished by an earlier import), superseded (a later publication is
        known), unreadable or unknown.
    written, forecasts : WriteResult
        Counted in the store.
    notes : tuple of str
        Assumptions and omissions.
    """

    path: str
    members: pd.DataFrame
    written: WriteResult = field(default_factory=WriteResult)
    forecasts: WriteResult = field(default_factory=WriteResult)
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
            **{name: self.count(name) for name in _COUNTED},
            **{state: self.in_state(state) for state in (UNREADABLE, UNKNOWN, SUPERSEDED)},
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
        findings = "".join(
            f", {figures[name]:,} {words}" for name, words in _FINDINGS.items() if figures[name]
        )
        stored = ", ".join(f"{figures[name]:,} {name}" for name in ("new", "revised", "unchanged"))
        extra = f", {self.forecasts.written:,} forecasts stored" if self.forecasts.written else ""
        return f"{self.path}: {self.values_read:,} values read, {stored}{extra}{findings}."


def listed(states: Mapping[str, str], fmt: str) -> pd.DataFrame:
    """Return ``ImportReport.members``: the state of each member of a format."""
    return pd.DataFrame(
        {"member": list(states), "format": fmt, "state": list(states.values())}, dtype="str"
    )
