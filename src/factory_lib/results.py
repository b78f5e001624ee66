"""The one shape in which every job reports what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

# Under this MIME type an executed notebook carries the metrics that its run record keeps.
METRICS_MIME = "application/vnd.factory.metrics+json"
NOTEBOOK_ENV = "JPY_SESSION_NAME"  # tells a kernel its notebook; JupyterLab sets it, too
ResultStatus = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class JobResult:
    """Result of a job, as its page, its run record and ``--json`` show it.

    Computation returns frames and records of its own; a ``summary`` function beside it
    composes this.

    Attributes
    ----------
    status : {"ok", "warn", "fail"}
        ``warn`` where a person should look, ``fail`` where the job did not do its work.
    summary : str
        One sentence a person can act on.
    metrics : mapping of str to number or str
        Key figures; units in the names.
    tables : mapping of str to DataFrame
        Shown on the page below the sentence; also as ``result["name"]``.
    notes : tuple of str
        Remarks, each a sentence.
    """

    status: ResultStatus
    summary: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, table: str) -> pd.DataFrame:
        return self.tables[table]
