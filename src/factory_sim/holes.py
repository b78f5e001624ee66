"""Values that arrive late or never: what a gap analysis has to find and a backfill to recover.

A late value is left out of the first answer of each source that covers it and delivered
from the second on. A lost one is never delivered. Which slots are held back depends
only on the script and, for the demo's, on the day.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from factory_lib.catalogue import Measurement
from factory_lib.clock import DAY_S, epoch, from_epoch, parse_instant
from factory_lib.errors import BadInput
from factory_sim import SERIES
from factory_sim.noise import Ints

PRICES = ("spot_eur_mwh", "pvpc_eur_mwh")
WEATHER = tuple(entry.name for entry in SERIES.of(Measurement.WEATHER))


@dataclass(frozen=True)
class Hole:
    """A half-open window (UTC) in which some series are held back; ``lost`` ones for ever."""

    series: tuple[str, ...]
    start: datetime
    end: datetime
    lost: bool = False


# Days before the day of ``now``, first hour (UTC), hours, series, lost: single slots to
# days, young and old.
_DEMO: tuple[tuple[int, float, float, tuple[str, ...], bool], ...] = (
    (2, 9, 0.25, PRICES[:1], False),
    (3, 22, 1, PRICES[1:], False),
    (4, 9, 4, WEATHER, False),
    (5, 4, 5, PRICES, False),
    (7, 13, 2, WEATHER, False),
    (8, 20, 8, WEATHER, False),
    (10, 6, 5, PRICES, True),
    (11, 0, 1, WEATHER[:2], False),
    (13, 15, 20, PRICES, False),
    (16, 3, 12, WEATHER, False),
    (18, 10, 30, WEATHER, False),
    (20, 17, 2, PRICES, False),
    (21, 8, 6, WEATHER, True),
    (24, 5, 60, PRICES, False),
    (28, 0, 26, WEATHER[:1], False),
    (47, 12, 9, PRICES, False),
    (71, 7, 72, WEATHER, False),
    (96, 23, 14, PRICES, False),
)


def demo_holes(now: datetime) -> tuple[Hole, ...]:
    """Return the demo's script: holes of every severity in prices and weather, two unfillable."""
    today = from_epoch(epoch(now) // DAY_S * DAY_S)

    def hole(
        days: int, first_h: float, length_h: float, series: tuple[str, ...], lost: bool
    ) -> Hole:
        start = today - timedelta(days=days) + timedelta(hours=first_h)
        return Hole(series, start, start + timedelta(hours=length_h), lost)

    return tuple(hole(*line) for line in _DEMO)


def read_holes(script: Iterable[Mapping[str, Any]]) -> tuple[Hole, ...]:
    """Read holes from parsed TOML or JSON.

    Their keys: ``series`` (names, ``prices``, ``weather``), ``start``, ``end``, ``lost``.

    Raises
    ------
    BadInput
        If a series is unknown or an instant is naive.
    """
    groups = {"prices": PRICES, "weather": WEATHER}
    holes = []
    for entry in script:
        named = [entry["series"]] if isinstance(entry["series"], str) else list(entry["series"])
        series = tuple(name for item in named for name in groups.get(item, (item,)))
        if unknown := set(series) - set(SERIES):
            raise BadInput(f"A hole names series that do not exist: {sorted(unknown)}.")
        start, end = (parse_instant(str(entry[key])) for key in ("start", "end"))
        holes.append(Hole(series, start, end, bool(entry.get("lost", False))))
    return tuple(holes)


class Holes:
    """Decides, request by request, which slots a source leaves out."""

    def __init__(self, holes: Iterable[Hole] = ()) -> None:
        self.holes = tuple(holes)
        self._asked: dict[tuple[str, str], set[int]] = {}
        self._lock = Lock()

    def delivered(self, source: str, series: str, starts: Ints) -> npt.NDArray[np.bool_]:
        """Return which of ``starts`` the source delivers now, and remember the request."""
        late = self._inside(series, starts, lost=False)
        lost = self._inside(series, starts, lost=True)
        if not late.any():
            return ~lost
        with self._lock:
            before = self._asked.setdefault((source, series), set())
            again = np.isin(starts, np.fromiter(before, np.int64, len(before)))
            before.update(starts[late].tolist())
        return ~lost & (~late | again)

    def lost(self, series: str, starts: Ints) -> npt.NDArray[np.bool_]:
        """Return which slots no source will ever deliver."""
        return self._inside(series, starts, lost=True)

    def _inside(self, series: str, starts: Ints, *, lost: bool) -> npt.NDArray[np.bool_]:
        inside = np.zeros(len(starts), dtype=bool)
        for hole in self.holes:
            if series in hole.series and hole.lost is lost:
                inside |= (starts >= epoch(hole.start)) & (starts < epoch(hole.end))
        return inside
