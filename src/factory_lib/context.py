"""The context of one run: settings, state, store, clock and ``as_of``, opened together."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from factory_lib import settings as factory_settings
from factory_lib.catalogue import Catalogue
from factory_lib.clock import (
    AS_OF_ENV,
    REPLAY_AFTER,
    Clock,
    SystemClock,
    displayed_in,
    parse_instant,
    save_clock,
)
from factory_lib.settings import Settings
from factory_lib.state import State, calls, marks, open_state
from factory_lib.store import open_store
from factory_lib.store.base import Store


@dataclass(frozen=True)
class RunContext:
    """The settings, files and times that every job works with.

    Attributes
    ----------
    as_of : datetime
        UTC; nothing that became available later is read, and due and late are judged at
        it.
    run_id : str
        Stamped on every row this run writes.
    explicit_as_of : bool
        Whether the caller gave an ``as_of`` other than now.
    records_calls : bool
        Whether each operation of store and registry leaves a row in the state.
    """

    settings: Settings
    state: State
    store: Store
    clock: Clock
    as_of: datetime
    run_id: str
    explicit_as_of: bool = False
    records_calls: bool = False

    @property
    def replay(self) -> bool:
        """Whether a past instant is replayed.

        Values are stored, but no mark is moved, and no alert raised or resolved.
        """
        return self.explicit_as_of or self.clock.now() - self.as_of > REPLAY_AFTER

    def set_mark(self, topic: str, entity: str, at: datetime, note: Any = None) -> None:
        """Set a mark for the next tick (``state.marks.set_mark``), unless this is a replay."""
        if not self.replay:
            marks.set_mark(self.state, topic, entity, at, note)

    def record_call(
        self, component: calls.Component, target: str, status: str, rows: int, duration_ms: float
    ) -> None:
        """Record one operation of store or registry for the metrics."""
        if self.records_calls:
            at = self.clock.now()
            call = calls.Call(at, component, target, status, rows, duration_ms=duration_ms)
            calls.record_call(self.state, call)

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


def in_job() -> bool:
    """Return whether this process is the kernel of a job."""
    return AS_OF_ENV in os.environ


@contextmanager
def open_context(
    profile: str | None = None,
    as_of: str | datetime | None = None,
    *,
    run_id: str | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    read_only: bool = False,
    lazy: bool = False,
) -> Iterator[RunContext]:
    """Open a profile's state and store, and close them again.

    Parameters
    ----------
    as_of : str or datetime, optional
        A replay, unless it is now or what a scheduled run gave its kernel.
    read_only : bool
        Leave the state as it is, and record no call.
    lazy : bool
        Record no call, and make no file before something else is written.

    Raises
    ------
    ConfigError, StoreUnavailable, OriginMismatch, SchemaMismatch
        If the settings cannot be used, or the store not opened.
    """
    settings = settings or factory_settings.load(profile)
    own_clock = clock or SystemClock(settings.clock_offset_s)
    instant = parse_instant(as_of) if isinstance(as_of, str) else as_of
    with (
        displayed_in(settings.plant.zone),
        open_state(settings, read_only=read_only, lazy=lazy) as state,
        closing(open_store(settings, lazy=state.read_only)) as store,
    ):
        context = RunContext(
            settings=settings,
            state=state,
            store=store,
            clock=own_clock,
            as_of=instant or own_clock.now(),
            run_id=run_id or uuid4().hex[:12],
            explicit_as_of=not _is_present(instant, own_clock),
            records_calls=not state.read_only,
        )
        store.on_operation = partial(context.record_call, "store")
        try:
            yield context
        finally:
            if clock is None and settings.clock_offset_s and not state.read_only:
                save_clock(settings.paths.clock, own_clock.now())


def _is_present(instant: datetime | None, clock: Clock) -> bool:
    """Return whether ``instant`` is now, by the clock or by the run that started this kernel."""
    if instant is None or instant == clock.now():
        return True
    present = os.environ.get(AS_OF_ENV)
    return bool(present) and instant == parse_instant(str(present))
