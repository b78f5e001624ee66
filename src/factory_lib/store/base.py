"""What every store promises; one test suite holds each backend to it.

Rows are appended, never updated. A row is one value; its identity is series, place, source, kind, resolution, start and
``rev``. ``rev`` rises with each different value that arrives; an equal value writes nothing. Reading gives one value per
slot: without open verdicts, best kind, most trusted place and source, highest ``rev``, available at ``as_of``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import pandas as pd

from factory_lib.slots import Slots

SCHEMA_VERSION = 1

VIEW_COLUMNS = (
    "series", "place", "source", "kind", "resolution_s", "start", "rev", "value",
    "available_at", "retrieved_at", "provider_updated_at", "run_id",
)  # fmt: skip
VERDICT_COLUMNS = (
    "series", "place", "source", "start", "rev", "verdict", "rule", "reason", "at", "by",
)  # fmt: skip

World = Literal["real", "simulated"]


@dataclass(frozen=True)
class WriteResult:
    """What a write did, counted in the store."""

    new: int = 0
    revised: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __add__(self, other: WriteResult) -> WriteResult:
        return WriteResult(
            self.new + other.new,
            self.revised + other.revised,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
        )

    @property
    def written(self) -> int:
        """Rows that the store did not hold before."""
        return self.new + self.revised


class Store(Protocol):
    """The contract. Every method raises ``StoreUnavailable`` when the backend cannot be reached."""

    world: World

    def write(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Append tidy rows (``frames.TIDY_COLUMNS``).

        ``available_at`` of a first value is the catalogue's publication rule; of a changed one the latest of that rule
        and ``provider_updated_at``, else ``retrieved_at``. Values outside the catalogue's range are rejected and counted.

        Raises
        ------
        WriteNotConfirmed
            If what was written is not found when read again; repeating the write completes it.
        """

    def read(
        self,
        series: str | Sequence[str],
        *,
        places: Sequence[str],
        start: datetime,
        end: datetime,
        as_of: datetime | None = None,
        grid_s: int | None = None,
        raw: bool = False,
    ) -> pd.DataFrame:
        """Return view rows (``VIEW_COLUMNS``) of the half-open window, ordered by series and start.

        ``places`` are in order of trust. ``grid_s=3600`` gives the mean of an hour's four quarters, and nothing where one
        is absent. ``raw`` returns every stored row, quarantined ones and old revisions included.
        """

    def slots(
        self, series: str, *, places: Sequence[str], start: datetime, end: datetime, as_of: datetime | None = None
    ) -> Slots:
        """Return the ascending, distinct starts of the slots that ``read`` would show, as seconds since 1970."""

    def write_forecasts(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Append forecast rows (``frames.FORECAST_COLUMNS``); identity: series, place, model, issued_at, target_start."""

    def read_forecasts(
        self,
        series: str,
        *,
        places: Sequence[str],
        start: datetime,
        end: datetime,
        as_of: datetime | None = None,
        models: Sequence[str] | None = None,
        latest: bool = True,
    ) -> pd.DataFrame:
        """Return forecasts of target slots in the window issued at or before ``as_of``; ``latest``: the last issue of each model."""

    def write_verdicts(self, rows: pd.DataFrame) -> int:
        """Append verdicts (``VERDICT_COLUMNS``; ``verdict`` is ``quarantined`` or ``released``); the last one counts."""

    def read_verdicts(self, *, open_only: bool = True) -> pd.DataFrame:
        """Return the verdicts, newest first."""

    def inventory(self) -> pd.DataFrame:
        """Return one row per measurement, series, place, source and kind: ``rows``, ``first``, ``last``, ``checksum``."""

    def close(self) -> None:
        """Release files and connections."""
