"""The fewest requests that cover what is missing, most urgent first; planned before anything is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from factory_lib.catalogue import Measurement
from factory_lib.clock import epoch, from_epoch
from factory_lib.pipeline.fetch import Request
from factory_lib.pipeline.targets import Door, Target
from factory_lib.settings.records import SourceSettings
from factory_lib.slots import Slots

if TYPE_CHECKING:
    from factory_lib.sources.base import Source

Windows = Callable[[datetime, datetime], list[tuple[datetime, datetime]]]

# Whom a backfill asks first where trust alone would cost requests: those that answer
# for weeks before those that answer for a day (OMIE), and for climate the archives
# before AEMET's small batches. The others follow in order of trust.
LONG_RANGE_FIRST: Mapping[Measurement, tuple[str, ...]] = {
    Measurement.PRICES: ("ree", "esios"),
    Measurement.CLIMATE: ("siar",),
    Measurement.WEATHER: (),
}


@dataclass(frozen=True)
class Wanted:
    """Slots of one target that one door is to be asked for in this round.

    Attributes
    ----------
    starts, ends : int64 arrays
        Ascending; not necessarily neighbours.
    urgency : int array
        Position of each slot's gap in the settings' severities; more is more urgent.
    """

    target: Target
    door: Door
    starts: Slots
    ends: Slots
    urgency: Slots


@dataclass(frozen=True)
class Planned:
    """A request, the number of missing slots it is to bring, and how urgent it is."""

    request: Request
    slots: int
    urgency: int


def in_order(target: Target) -> tuple[Door, ...]:
    """Return the doors of a target in the order in which a backfill asks them."""
    first = LONG_RANGE_FIRST[target.series.measurement]
    rank = {name: place for place, name in enumerate(first)}
    return tuple(sorted(target.doors, key=lambda door: rank.get(door.source, len(rank))))


def plan(wanted: Sequence[Wanted], opened: Mapping[str, Source]) -> list[Planned]:
    """Return the fewest requests for what is wanted, each provider's most urgent first and then its youngest.

    Series that a provider gives in one answer share their requests.
    """
    groups: dict[tuple[Door, Measurement], list[Wanted]] = {}
    for part in wanted:
        if len(part.starts):
            groups.setdefault((part.door, part.target.series.measurement), []).append(part)
    planned = [
        item
        for (door, _), parts in groups.items()
        for item in _requests(opened[door.source], door, parts)
    ]
    return sorted(planned, key=lambda item: (-item.urgency, -item.request.end.timestamp()))


def _requests(client: Source, door: Door, parts: Sequence[Wanted]) -> list[Planned]:
    starts, ends = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("starts", "ends")
    )
    order = np.argsort(starts, kind="stable")
    names = tuple(part.target.name for part in parts)
    ahead = timedelta(
        days=client.limits.max_range_days + 2
    )  # a little more than the first window can be long

    def windows(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        return client.windows(start, min(end, start + ahead), names)

    return [
        _planned(door, parts, first, last)
        for first, last in cover(starts[order], ends[order], windows)
    ]


def cover(starts: Slots, ends: Slots, windows: Windows) -> list[tuple[datetime, datetime]]:
    """Return the fewest half-open windows that hold every slot.

    From the first slot not yet covered, as far as one request goes, and so on: no cover
    of points on a line by stretches of limited length has fewer.

    Parameters
    ----------
    starts, ends : int64 arrays
        Ordered by start; slots of different length may overlap.
    windows : callable
        How a provider splits a window; the first part is as much as one request can
        hold.
    """
    covered: list[tuple[datetime, datetime]] = []
    reach, at = np.maximum.accumulate(ends), 0
    while at < len(starts):
        first, limit = windows(from_epoch(int(starts[at])), from_epoch(int(reach[-1])))[0]
        at = int(np.searchsorted(starts, epoch(limit)))
        covered.append((first, min(limit, from_epoch(int(reach[at - 1])))))
    return covered


def _planned(door: Door, parts: Sequence[Wanted], start: datetime, end: datetime) -> Planned:
    inside = [(part.starts >= epoch(start)) & (part.starts < epoch(end)) for part in parts]
    series = tuple(part.target.name for part, mask in zip(parts, inside, strict=True) if mask.any())
    urgency = max(
        int(part.urgency[mask].max())
        for part, mask in zip(parts, inside, strict=True)
        if mask.any()
    )
    return Planned(
        Request(*door, series, start, end), int(sum(mask.sum() for mask in inside)), urgency
    )


def turn_s(limits: SourceSettings) -> float:
    """Return the seconds that one request takes at the provider's rate limit."""
    return max(limits.spacing_s, 60.0 / limits.requests_per_minute)


def plan_table(
    planned: Sequence[Planned], limits: Mapping[str, SourceSettings], severities: Sequence[str]
) -> pd.DataFrame:
    """Return one row per request, in the order of asking; ``seconds`` is its time at the rate limit."""
    return pd.DataFrame(
        [
            {
                "source": item.request.source,
                "place": item.request.place,
                "series": ", ".join(item.request.series),
                "start": item.request.start,
                "end": item.request.end,
                "slots": item.slots,
                "severity": severities[item.urgency],
                "seconds": turn_s(limits[item.request.source]),
            }
            for item in planned
        ],
        columns=["source", "place", "series", "start", "end", "slots", "severity", "seconds"],
    )
