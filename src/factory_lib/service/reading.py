"""The content of pages and answers: results of the library's readers, kept until a file changes.

Every value is computed in a context that is open for reading alone and closed again at
once: a reader that stays open would keep the write-ahead logs from being folded in.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, TypeVar

from factory_lib import settings as factory_settings
from factory_lib.clock import SystemClock, displayed_in, load_clock
from factory_lib.context import RunContext, open_context
from factory_lib.runs.listing import RunList
from factory_lib.settings import Paths, Settings

Part = Literal["store", "state", "plans", "registry", "runs"]
PARTS: tuple[Part, ...] = ("store", "state", "plans", "registry", "runs")
FRESH_S = 60.0
MOST_KEPT = 256
T = TypeVar("T")


class Kept(NamedTuple):
    """A value, what the files were like when it was computed, and when that was."""

    value: Any
    stamp: tuple[object, ...]
    at: float


class Standing:
    """A clock that stands at one instant."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """Return the instant."""
        return self._at

    def sleep(self, seconds: float) -> None:
        """Wait for nothing: a reader asks no provider."""


class Reading:
    """The cache of one site of a profile.

    Parameters
    ----------
    profile, site : str, optional
        As ``settings.load`` takes them.
    """

    def __init__(self, profile: str | None = None, site: str | None = None) -> None:
        self._load = partial(factory_settings.load, profile, site)
        self._settings = self._load()
        self._kept: OrderedDict[object, Kept] = OrderedDict()
        self._computing = threading.RLock()
        self._clock_stamp: object = None
        self.runs = RunList(self._settings.paths.runs, self._settings.plant.zone)

    @property
    def settings(self) -> Settings:
        """The settings; a simulated profile's clock stands where the last command left it."""
        return self._settings

    def get(
        self,
        key: object,
        compute: Callable[[RunContext], T],
        parts: Sequence[Part] = PARTS,
        fresh_s: float = FRESH_S,
    ) -> T:
        """Return a value, computed again where one of the ``parts`` changed or it grew old.

        Raises
        ------
        StoreUnavailable and whatever else ``compute`` raises; nothing is kept then.
        """
        stamp = tuple(self._stamp(part) for part in parts)
        if kept := self._current(key, stamp, fresh_s):
            return kept.value  # type: ignore[no-any-return]
        with self._computing:
            if kept := self._current(key, stamp, fresh_s):
                return kept.value  # type: ignore[no-any-return]
            at = time.monotonic()
            opened = self._bare() if set(parts) <= {"runs"} else self._context()
            with displayed_in(self._settings.plant.zone), opened as ctx:
                value = compute(ctx)
            self._kept[key] = Kept(value, stamp, at)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return value

    def _current(self, key: object, stamp: tuple[object, ...], fresh_s: float) -> Kept | None:
        kept = self._kept.get(key)
        old = kept is None or kept.stamp != stamp or time.monotonic() - kept.at > fresh_s
        return None if old else kept

    @contextmanager
    def _bare(self) -> Iterator[Any]:
        """Yield what runs and files need of a context: a damaged store hides no report."""
        settings, at = self._present()
        clock = Standing(at) if at else SystemClock()
        yield SimpleNamespace(
            settings=settings,
            clock=clock,
            as_of=clock.now(),
            replay=False,
            simulated=settings.simulated,
            profile=settings.profile,
            site_name=settings.site.name,
        )

    def _context(self) -> Any:
        settings, at = self._present()
        clock = Standing(at) if at else None
        return open_context(settings=settings, as_of=at, clock=clock, read_only=True)

    def _present(self) -> tuple[Settings, datetime | None]:
        """Return the settings, and the instant at which a simulated profile stands."""
        at: datetime | None = None
        if self._settings.simulated:
            # its time stands still between commands, and a command leaves another
            left = file_stamp(self._settings.paths.clock)
            if left != self._clock_stamp:
                self._settings = self._load()
                self._clock_stamp = left
            at = load_clock(self._settings.paths.clock)
        return self._settings, at

    def _stamp(self, part: Part) -> tuple[object, ...]:
        paths = self._settings.paths
        return tuple(file_stamp(file) for file in files_of(paths, part))


def files_of(paths: Paths, part: Part) -> tuple[Path, ...]:
    """Return the files that change when a part does."""
    plans = paths.data / "plans"
    return {
        "store": (paths.store, paths.store.with_name("store.db-wal"), paths.clock),
        "state": (paths.state, paths.data / "state.db-wal", paths.clock),
        "plans": (plans / "plan.json", plans / "advice.json", plans / "overrides.json"),
        "registry": (paths.mlflow_db,),
        "runs": (paths.runs / "index.html",),  # written after each run
    }[part]


def file_stamp(file: Path) -> tuple[int, int] | None:
    """Return time of change and size; None for a file that is missing or empty."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if status.st_size else None
