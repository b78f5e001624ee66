"""Requests: the fewest that cover the slots that are needed, sent to several providers at once.

Each provider has a thread of its own, so that a slow one delays no other. The threads
only fetch. The caller stores each result in its own thread as it arrives: a run that is
killed keeps everything it had already received.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from queue import SimpleQueue
from threading import Event

import numpy as np
import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import Measurement
from factory_lib.clock import epoch, from_epoch
from factory_lib.context import RunContext
from factory_lib.errors import AuthError, CircuitOpen, NoDataYet, QuotaError, SourceError
from factory_lib.pipeline.forecasts import store_forecasts
from factory_lib.pipeline.targets import SourcePlace, Target, clients
from factory_lib.settings.records import GapSettings, SourceSettings
from factory_lib.slots import Slots
from factory_lib.sources.base import Source
from factory_lib.state import open_state
from factory_lib.state.marks import STORED
from factory_lib.store.base import WriteResult

COUNTS = [field.name for field in fields(WriteResult)]
GIVE_UP = (AuthError, CircuitOpen, QuotaError)  # the next request of this run would fare no better
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
class Request:
    """One request to one provider: several series of one place in a half-open window.

    ``forecast`` requests the provider's forecast instead, whatever the window.
    """

    source: str
    place: str
    series: tuple[str, ...]
    start: datetime
    end: datetime
    forecast: bool = False


# -- the fewest requests for some slots ---------------------------------------


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
    planned = []
    groups = slots.groupby(["source", "place", "measurement"], sort=False, observed=True)
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


# -- sending requests, storing and counting what they bring -------------------


@dataclass(frozen=True)
class FetchResult:
    """The result of a request: rows, or the reason why there are none.

    Attributes
    ----------
    error : SourceError or None
        ``NoDataYet`` says that the provider was reached and has nothing there.
    rejected : tuple of (text, reason)
        Values of the answer that cannot be true.
    sent : bool
        False where the request was left out, because an earlier result of this run made
        it pointless.
    """

    request: Request
    rows: pd.DataFrame
    error: SourceError | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    sent: bool = True

    @property
    def conclusive(self) -> bool:
        """Whether the provider answered: it does not have what is not in the rows."""
        return self.error is None or isinstance(self.error, NoDataYet)


def fetch_all(ctx: RunContext, requests: Sequence[Request]) -> Iterator[FetchResult]:
    """Yield the results of all requests as they arrive; those of one provider in the given order.

    Leaving the iteration early stops the providers after the request they are at.
    """
    by_source: dict[str, list[Request]] = {}
    for request in requests:
        by_source.setdefault(request.source, []).append(request)
    results: SimpleQueue[FetchResult | None] = SimpleQueue()
    stop = Event()
    with ThreadPoolExecutor(len(by_source) or 1, thread_name_prefix="fetch") as pool:
        workers = [
            pool.submit(_fetch_source, ctx, source, mine, results, stop)
            for source, mine in by_source.items()
        ]
        try:
            for _ in workers:  # each ends with None
                yield from iter(results.get, None)
        finally:
            stop.set()
    for worker in workers:
        worker.result()  # raises an error that is not a provider's


def _fetch_source(
    ctx: RunContext,
    source: str,
    requests: Sequence[Request],
    results: SimpleQueue[FetchResult | None],
    stop: Event,
) -> None:
    try:
        with (
            open_state(ctx.settings) as state,
            clients(ctx.settings, state, ctx.clock, [source]) as opened,
        ):
            final: SourceError | None = None
            for request in requests:
                if stop.is_set():
                    return
                if final is None:
                    result = _fetch(opened[source], request)
                    final = result.error if isinstance(result.error, GIVE_UP) else None
                else:
                    result = FetchResult(request, frames.empty_tidy(), final, sent=False)
                results.put(result)
    finally:
        results.put(None)


def _fetch(client: Source, request: Request) -> FetchResult:
    before = len(client.rejected)
    error = None
    rows = frames.empty_tidy()
    try:
        if request.forecast:
            rows = client.forecast(request.series, request.place)
        else:
            rows = client.fetch(request.series, request.place, request.start, request.end)
    except SourceError as raised:
        error = raised
    return FetchResult(request, rows, error, tuple(client.rejected[before:]))


def _write(ctx: RunContext, rows: pd.DataFrame) -> WriteResult:
    """Store the rows of one series as values or, where it consists of them, as forecasts."""
    if rows.empty:
        return WriteResult()
    if ctx.catalogue[str(rows["series"].iloc[0])].forecast_of:
        return store_forecasts(ctx, rows)
    return ctx.store.write(rows, run_id=ctx.run_id)


class IngestStats:
    """Counts that grow with every result.

    Attributes
    ----------
    sent, failed : Counter
        Requests by source.
    errors, source_errors : mapping of (SourcePlace, series), and of source, to str
        The first error of each: those after it often say no more than that the provider
        is not contacted any more.
    rejected : list of (source, text, reason)
        Values of answers that cannot be true.
    flagged : list of DataFrame
        Stored values that the quality rules flag (``quality.FLAGGED_COLUMNS``).
    """

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.errors: dict[tuple[SourcePlace, str], str] = {}
        self.source_errors: dict[str, str] = {}
        self.rejected: list[tuple[str, str, str]] = []
        self.flagged: list[pd.DataFrame] = []
        self._written: list[dict[str, str | int]] = []

    def store_all(self, ctx: RunContext, results: Iterable[FetchResult]) -> Iterator[FetchResult]:
        """Store the rows of each result as it arrives, count them, and yield it.

        Forecasts are left to the caller.
        """
        for result in results:
            request = result.request
            at = SourcePlace(request.source, request.place)
            self.sent[at.source] += result.sent
            self.rejected += [(at.source, *row) for row in result.rejected]
            if result.error is not None and not result.conclusive:
                self.failed[at.source] += result.sent
                message = result.error.message.rstrip(".")
                self.source_errors.setdefault(at.source, message)
                for name in request.series:
                    self.errors.setdefault((at, name), message)
            for name in () if request.forecast else request.series:
                rows = result.rows[result.rows["series"] == name]
                written = _write(ctx, rows)
                line = {**at._asdict(), "series": name, "rows": len(rows), **asdict(written)}
                self._written.append(line)
                if written.written:
                    ctx.record_call("ingest", at.source, "stored", written.written, 0.0)
                    ctx.set_mark(STORED, name, ctx.clock.now())
            yield result

    @property
    def providers_away(self) -> bool:
        """Whether requests were sent, and all of them failed."""
        return self.sent.total() > 0 and self.sent == self.failed

    def total(self) -> dict[str, int]:
        """Return the sums of what came and what the store made of it."""
        sums = self.by("source")[["rows", *COUNTS]].sum()
        return {str(name): int(total) for name, total in sums.items()}

    def by(self, *keys: str) -> pd.DataFrame:
        """Return rows, counts and the first error by some of the columns."""
        columns = ["source", "place", "series", "rows", *COUNTS]
        by_keys = pd.DataFrame(self._written, columns=columns).groupby(list(keys))
        table = by_keys[["rows", *COUNTS]].sum().reset_index()
        return table.assign(error=[self.source_errors.get(name, "") for name in table["source"]])
