"""What a database must do to hold the store: load and append ``Rows``; the contract above it is in ``base``."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import pandas as pd

from factory_lib.errors import OriginMismatch, SchemaMismatch
from factory_lib.store.rows import Channel, Rows

SCHEMA_VERSION = 1
VERDICT_COLUMNS = (
    "series",
    "place",
    "source",
    "start",
    "rev",
    "verdict",
    "rule",
    "reason",
    "at",
    "by",
)
Origin = Literal["real", "simulated"]


@dataclass(frozen=True)
class Window:
    """What to load: half-open in slot starts (seconds since 1970); no ``places`` means all, no ``as_of`` no limit."""

    series: tuple[str, ...]
    start: int
    end: int
    places: tuple[str, ...] | None = None
    as_of: int | None = None


class Backend(Protocol):
    """One database; every method raises ``StoreUnavailable`` when it cannot be reached."""

    origin: Origin

    def writing(self, measurement: str) -> AbstractContextManager[None]:
        """Admit one writer per measurement; what it appended counts when the block ends without an error."""

    def load(
        self, window: Window, *, columns: Sequence[str] | None = None, first_only: bool = False
    ) -> Rows:
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


def check_stamps(where: object, stamps: dict[str, str], origin: str) -> None:
    """Compare a store's own stamps with what is expected of it.

    Raises
    ------
    SchemaMismatch, OriginMismatch
        If they differ.
    """
    if stamps.get("schema") != str(SCHEMA_VERSION):
        raise SchemaMismatch(
            f"{where} has schema {stamps.get('schema')}, this version writes {SCHEMA_VERSION}.",
            next_step="Use the version that wrote it, or move the store away.",
        )
    if stamps.get("world") != origin:
        raise OriginMismatch(f"{where} holds {stamps.get('world')} data, this profile is {origin}.")
