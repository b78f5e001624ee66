"""The hall: settings, state, store, clock and ``as_of`` of one run, opened together and handed from room to room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from factory_lib import settings as _settings
from factory_lib.catalogue import Catalogue
from factory_lib.clock import AS_OF_ENV, REPLAY_AFTER, Clock, SystemClock, parse_instant, save_clock
from factory_lib.settings import Settings
from factory_lib.state import State, marks, open_state
from factory_lib.store import open_store
from factory_lib.store.base import Store


@dataclass(frozen=True)
class RunContext:
    """What every job works with.

    Attributes
    ----------
    as_of : datetime
        UTC; nothing that became available later is read, and due and late are judged at
        it.
    run_id : str
        Stamped on every row this run writes.
    explicit_as_of : bool
        Whether somebody named ``as_of``, and it is not now.
    """

    settings: Settings
    state: State
    store: Store
    clock: Clock
    as_of: datetime
    run_id: str
    explicit_as_of: bool = False

    @property
    def replay(self) -> bool:
        """Whether the past is told again: values are kept, but no mark is moved, and no alert raised or ended."""
        return self.explicit_as_of or self.clock.now() - self.as_of > REPLAY_AFTER

    def set_mark(self, topic: str, entity: str, at: datetime, note: Any = None) -> None:
        """Set a mark for the next tick (``state.marks.set_mark``), unless this is a replay."""
        if not self.replay:
            marks.set_mark(self.state, topic, entity, at, note)

    @property
    def catalogue(self) -> Catalogue:
        """The series in use."""
        return self.settings.catalogue

    @property
    def profile(self) -> str:
        """The profile's name."""
        return self.settings.profile

    @property
    def site_name(self) -> str:
        """Name of the plant's place, from the settings."""
        return self.settings.site.name

    @property
    def simulated(self) -> bool:
        """Whether the store is stamped as simulated; the stamp decides, not the settings."""
        return self.store.origin == "simulated"


@contextmanager
def open_context(
    profile: str | None = None,
    as_of: str | datetime | None = None,
    *,
    run_id: str | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
) -> Iterator[RunContext]:
    """Open a profile's state and store, and close them again.

    An ``as_of`` that is neither now nor what a scheduled run handed to its kernel makes
    it a replay.

    Raises
    ------
    ConfigError, StoreUnavailable, OriginMismatch, SchemaMismatch
        If the settings cannot be used, or the store not opened.
    """
    chosen = settings or _settings.load(profile)
    ticking = clock or SystemClock(chosen.clock_offset_s)
    instant = parse_instant(as_of) if isinstance(as_of, str) else as_of or ticking.now()
    present = os.environ.get(AS_OF_ENV)
    now = {ticking.now(), *([parse_instant(present)] if present else [])}
    with open_state(chosen) as state:
        store = open_store(chosen)
        try:
            explicit_as_of = as_of is not None and instant not in now
            yield RunContext(
                chosen, state, store, ticking, instant, run_id or uuid4().hex[:12], explicit_as_of
            )
        finally:
            store.close()
            if clock is None and chosen.clock_offset_s:
                save_clock(chosen.paths.clock, ticking.now())
