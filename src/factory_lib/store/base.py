"""What every store promises; one test suite holds each backend to it.

Rows are appended, never updated. A row is one value; its identity is series, place, source, kind, resolution, start
and ``rev``. ``rev`` rises with each different value that arrives; an equal value writes nothing. Reading gives one
value per slot: without open verdicts, best kind, most trusted place and source, highest ``rev`` available at ``as_of``.

The contract is kept in one place (``keeper``); a backend only loads and appends ``Rows``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import pandas as pd

from factory_lib.slots import Slots
from factory_lib.store.rows import Channel, Rows

SCHEMA_VERSION = 1

VIEW_COLUMNS = (
    "series", "place", "source", "kind", "resolution_s", "start", "rev", "value",
    "available_at", "retrieved_at", "provider_updated_at", "run_id",
)  # fmt: skip
VERDICT_COLUMNS = (
    "series", "place", "source", "start", "rev", "verdict", "rule", "reason", "at", "by",
)  # fmt: skip

World = Literal["real", "simulated"]
OnCall = Callable[[str, int, float], None]


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


@dataclass(frozen=True)
class Window:
    """What to load: half-open in slot starts (seconds since 1970); no ``places`` means all, no ``as_of`` no limit."""

    series: tuple[str, ...]
    start: int
    end: int
    places: tuple[str, ...] | None = None
    as_of: int | None = None


class Backend(Protocol):
    """What a database must do; every method raises ``StoreUnavailable`` when it cannot be reached."""

    world: World

    def writing(self, measurement: str) -> AbstractContextManager[None]:
        """Admit one writer per measurement; what it appended counts when the block ends without an error."""

    def load(self, window: Window, *, columns: Sequence[str] | None = None, first_only: bool = False) -> Rows:
        """Return rows by channel, start and rev; ``first_only`` leaves out revisions."""

    def append(self, rows: Rows) -> None:
        """Add rows that the store does not hold."""

    def load_forecasts(self, window: Window) -> Rows:
        """Return forecast rows whose target lies in the window, issued at or before ``as_of``."""

    def append_forecasts(self, rows: Rows) -> None:
        """Add forecast rows; one of the same identity is replaced."""

    def load_verdicts(self) -> pd.DataFrame:
        """Return every verdict (``VERDICT_COLUMNS``), oldest first."""

    def append_verdicts(self, rows: pd.DataFrame) -> None:
        """Add verdicts."""

    def channels(self) -> list[Channel]:
        """Return what is stored; forecasts have the kind ``forecast`` and the model as source."""

    def maintain(self) -> None:
        """Compact whatever the backend lets grow."""

    def close(self) -> None:
        """Release files and connections."""


class Store(Protocol):
    """The contract. Every method raises ``StoreUnavailable`` when the backend cannot be reached.

    Attributes
    ----------
    on_call : callable, optional
        Told the kind of each call, its rows and its milliseconds.
    """

    world: World
    backend: Backend
    on_call: OnCall | None

    def write(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Append tidy rows (``frames.TIDY_COLUMNS``).

        ``available_at`` of a first value is the catalogue's publication rule; of a changed one the latest of that rule
        and ``provider_updated_at``, else ``retrieved_at``. Rejected and counted: a value outside the catalogue's range
        or not finite, and a start that is not on the grid of its resolution.

        Raises
        ------
        BadInput
            If the catalogue does not know the series.
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
        """Return view rows (``VIEW_COLUMNS``) of the half-open window, in the order of ``series``, then by start.

        ``places`` are in order of trust. ``grid_s=3600`` gives the mean of an hour's four quarters, and nothing where
        one is absent. ``raw`` returns every stored row, quarantined ones and old revisions included.
        """

    def slots(
        self, series: str, *, places: Sequence[str], start: datetime, end: datetime, as_of: datetime | None = None
    ) -> Slots:
        """Return the ascending, distinct starts of the slots that ``read`` would show, as seconds since 1970."""

    def write_forecasts(self, rows: pd.DataFrame, *, run_id: str) -> WriteResult:
        """Store forecast rows (``frames.FORECAST_COLUMNS``); identity: series, place, model, issued_at, target_start.

        A different forecast of the same identity replaces the first and counts as revised. Rejected and counted: no
        ``p50``, or a target before its issue or further ahead than ``rows.MAX_LEAD_S``.
        """

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
        """Return forecasts of target slots in the window issued at or before ``as_of``, by model, target and issue.

        ``latest``: of each model and target only the last issue, from the most trusted place.
        """

    def write_verdicts(self, rows: pd.DataFrame) -> int:
        """Append verdicts (``VERDICT_COLUMNS``, ``verdict`` quarantined or released) and return how many were new.

        The last verdict on a value counts.
        """

    def read_verdicts(self, *, open_only: bool = True) -> pd.DataFrame:
        """Return the verdicts, newest first."""

    def inventory(self) -> pd.DataFrame:
        """Return one row per measurement, series, place, source and kind: ``rows``, ``first``, ``last``, ``checksum``.

        Forecasts count as measurement ``forecasts``, verdicts as ``verdicts``. Equal checksums mean equal content, in
        whatever order and backend.
        """

    def maintain(self) -> None:
        """Compact whatever the backend lets grow."""

    def close(self) -> None:
        """Release files and connections."""
