"""Requests to several providers side by side: one thread each, so that a slow one delays no other.

The threads only fetch. The caller stores each result in its own thread as it arrives:
a run that is killed keeps everything it had already received.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from threading import Event

import pandas as pd

from factory_lib import frames
from factory_lib.context import RunContext
from factory_lib.errors import AuthError, CircuitOpen, NoDataYet, QuotaError, SourceError
from factory_lib.pipeline.targets import clients
from factory_lib.sources.base import Source
from factory_lib.state import open_state

GIVE_UP = (AuthError, CircuitOpen, QuotaError)  # the next request of this run would fare no better


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
    if not by_source:
        return
    results: SimpleQueue[FetchResult | None] = SimpleQueue()
    stop = Event()
    with ThreadPoolExecutor(len(by_source), thread_name_prefix="fetch") as pool:
        workers = [
            pool.submit(_fetch_source, ctx, source, mine, results, stop)
            for source, mine in by_source.items()
        ]
        try:
            running = len(workers)
            while running:
                result = results.get()
                if result is None:
                    running -= 1
                else:
                    yield result
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
    rejected = tuple((row.text, row.reason) for row in client.rejected[before:])
    return FetchResult(request, rows, error, rejected)
