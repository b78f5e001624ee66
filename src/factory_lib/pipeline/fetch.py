"""Providers asked side by side: one thread each, so that a slow or failing one holds up no other.

Threads only ask. What they get is written by the caller, in its own thread, as it
arrives: a run that is killed keeps everything it had already received.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING

import pandas as pd

from factory_lib import frames
from factory_lib.context import RunContext
from factory_lib.errors import AuthError, CircuitOpen, NoDataYet, QuotaError, SourceError
from factory_lib.pipeline.targets import clients
from factory_lib.state import open_state

if TYPE_CHECKING:
    from factory_lib.sources.base import Source

GIVE_UP = (AuthError, CircuitOpen, QuotaError)  # the next request of this run would fare no better


@dataclass(frozen=True)
class Request:
    """One request to one provider: several series of one place in a half-open window.

    ``forecast`` asks for what the provider expects instead, whatever the window.
    """

    source: str
    place: str
    series: tuple[str, ...]
    start: datetime
    end: datetime
    forecast: bool = False


@dataclass(frozen=True)
class Answer:
    """What came of a request: rows, or why there are none.

    Attributes
    ----------
    error : SourceError or None
        ``NoDataYet`` says that the provider was reached and has nothing there.
    rejected : tuple of (text, reason)
        What the provider sent and nobody can believe.
    sent : bool
        False where the provider was not asked, because an earlier answer of this run
        made it pointless.
    """

    request: Request
    rows: pd.DataFrame
    error: SourceError | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    sent: bool = True

    @property
    def settled(self) -> bool:
        """Whether the provider has spoken: what is not in the rows, it does not have."""
        return self.error is None or isinstance(self.error, NoDataYet)


def ask_all(ctx: RunContext, requests: Sequence[Request]) -> Iterator[Answer]:
    """Yield the answers of all requests as they arrive; each provider is asked in the order given.

    Leaving the iteration early stops the providers after the request they are at.
    """
    by_source: dict[str, list[Request]] = {}
    for request in requests:
        by_source.setdefault(request.source, []).append(request)
    if not by_source:
        return
    answers: SimpleQueue[Answer | None] = SimpleQueue()
    stop = Event()
    with ThreadPoolExecutor(len(by_source), thread_name_prefix="ask") as pool:
        askers = [
            pool.submit(_ask, ctx, source, asked, answers, stop)
            for source, asked in by_source.items()
        ]
        try:
            running = len(askers)
            while running:
                answer = answers.get()
                if answer is None:
                    running -= 1
                else:
                    yield answer
        finally:
            stop.set()
    for asker in askers:
        asker.result()  # an error that is no provider's is ours, and is raised here


def _ask(
    ctx: RunContext,
    source: str,
    requests: Sequence[Request],
    answers: SimpleQueue[Answer | None],
    stop: Event,
) -> None:
    try:
        with (
            open_state(ctx.settings) as state,
            clients(ctx.settings, state, ctx.clock, [source]) as opened,
        ):
            hopeless: SourceError | None = None
            for request in requests:
                if stop.is_set():
                    return
                if hopeless is None:
                    answer = _answer(opened[source], request)
                    hopeless = answer.error if isinstance(answer.error, GIVE_UP) else None
                else:
                    answer = Answer(request, frames.empty_tidy(), hopeless, sent=False)
                answers.put(answer)
    finally:
        answers.put(None)


def _answer(client: Source, request: Request) -> Answer:
    known = len(client.rejected)
    error, rows = None, frames.empty_tidy()
    try:
        if request.forecast:
            rows = client.forecast(request.series, request.place)
        else:
            rows = client.fetch(request.series, request.place, request.start, request.end)
    except SourceError as raised:
        error = raised
    return Answer(
        request, rows, error, tuple((row.text, row.reason) for row in client.rejected[known:])
    )
