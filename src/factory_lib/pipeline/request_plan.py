"""The fewest requests that cover the slots that are needed, most urgent first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import Measurement
from factory_lib.clock import epoch, from_epoch
from factory_lib.pipeline.fetch import Request
from factory_lib.pipeline.targets import SourcePlace, Target
from factory_lib.settings.records import GapSettings, SourceSettings
from factory_lib.slots import Slots
from factory_lib.sources.base import Source

Windows = Callable[[datetime, datetime], list[tuple[datetime, datetime]]]

# The sources that a backfill requests first where trust alone would cost requests: those
# that answer for weeks before those that answer for a day (OMIE), and for climate the
# archives before AEMET's small batches. The others follow in order of trust.
LONG_RANGE_FIRST: Mapping[Measurement, tuple[str, ...]] = {
    Measurement.PRICES: ("ree", "esios"),
    Measurement.CLIMATE: ("siar",),
    Measurement.WEATHER: (),
}


@dataclass(frozen=True)
class PlannedRequest:
    """A request, the number of slots it is to bring, and their highest severity.

    ``severity`` is a position in the policy's severities; more is more urgent.
    """

    request: Request
    slots: int
    severity: int


def request_order(target: Target) -> tuple[SourcePlace, ...]:
    """Return the places of a target's sources in the order in which a backfill requests them."""
    first = LONG_RANGE_FIRST.get(target.series.measurement, ())
    rank = {name: position for position, name in enumerate(first)}
    return tuple(sorted(target.source_places, key=lambda at: rank.get(at.source, len(rank))))


def plan_requests(slots: pd.DataFrame, opened: Mapping[str, Source]) -> list[PlannedRequest]:
    """Return the fewest requests for the slots, the most urgent first and then the youngest.

    Series that a provider gives in one answer share their requests.

    Parameters
    ----------
    slots : DataFrame
        One row per slot and place of a source: ``series``, ``measurement``, ``source``,
        ``place``, ``start`` and ``end`` (seconds since 1970), ``severity``.
    opened : mapping of str to Source
        The clients of these sources.
    """
    groups = slots.groupby(["source", "place", "measurement"], sort=False, observed=True)
    planned = []
    for (source, place, _), group in groups:
        at = SourcePlace(str(source), str(place))
        planned += _requests(opened[at.source], at, group)
    return sorted(planned, key=lambda item: (-item.severity, -item.request.end.timestamp()))


def _requests(client: Source, at: SourcePlace, group: pd.DataFrame) -> list[PlannedRequest]:
    names = tuple(group["series"].unique())
    ordered = group.sort_values("start", kind="stable")
    starts = ordered["start"].to_numpy()
    # a little more than the first window can be long
    ahead = timedelta(days=client.limits.max_range_days + 2)

    def windows(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        return client.windows(start, min(end, start + ahead), names)

    planned = []
    for start, end in cover(starts, ordered["end"].to_numpy(), windows):
        inside = ordered[slice(*np.searchsorted(starts, [epoch(start), epoch(end)]))]
        series = set(inside["series"].unique())
        request = Request(*at, tuple(name for name in names if name in series), start, end)
        planned.append(PlannedRequest(request, len(inside), int(inside["severity"].max())))
    return planned


def cover(starts: Slots, ends: Slots, windows: Windows) -> list[tuple[datetime, datetime]]:
    """Return the fewest half-open windows that hold every slot.

    From the first slot not yet covered, as far as one request goes, and so on: no cover
    of points on a line by stretches of limited length has fewer.

    Parameters
    ----------
    starts, ends : int64 arrays
        Ordered by start; slots of different length may overlap.
    windows : callable
        Splits a window as a provider does; the first part is as much as one request can
        hold.
    """
    covered: list[tuple[datetime, datetime]] = []
    last_ends = np.maximum.accumulate(ends)
    at = 0
    while at < len(starts):
        first, limit = windows(from_epoch(int(starts[at])), from_epoch(int(last_ends[-1])))[0]
        at = int(np.searchsorted(starts, epoch(limit)))
        covered.append((first, min(limit, from_epoch(int(last_ends[at - 1])))))
    return covered


def request_seconds(limits: SourceSettings) -> float:
    """Return the seconds that one request takes at the provider's rate limit."""
    return max(limits.spacing_s, 60.0 / limits.requests_per_minute)


def plan_table(
    planned: Sequence[PlannedRequest], limits: Mapping[str, SourceSettings], policy: GapSettings
) -> pd.DataFrame:
    """Return one row per request, in order; ``seconds`` is its time at the rate limit."""
    lines = [
        {
            "source": item.request.source,
            "place": item.request.place,
            "series": ", ".join(item.request.series),
            "start": item.request.start,
            "end": item.request.end,
            "slots": item.slots,
            "severity": policy.severities[item.severity].name,
            "seconds": request_seconds(limits[item.request.source]),
        }
        for item in planned
    ]
    columns = ["source", "place", "series", "start", "end", "slots", "severity", "seconds"]
    return pd.DataFrame(lines, columns=columns)
