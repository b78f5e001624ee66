"""What answers brought: stored as they come, counted in the store, judged by the quality rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.pipeline import quality
from factory_lib.pipeline.fetch import Answer, Request
from factory_lib.pipeline.targets import Door
from factory_lib.state.marks import STORED
from factory_lib.store.base import WriteResult

COUNTS = tuple(field.name for field in fields(WriteResult))


class Tally:
    """The count of one run.

    Attributes
    ----------
    written, rows : mapping of (Door, series)
        What the store made of the rows of each, and how many came.
    sent, failed : Counter
        Requests by source.
    errors : dict
        The first failure of each source: those after it often say no more than that it
        is left alone.
    rejected : list of (source, text, reason)
        What providers sent and nobody can believe.
    """

    def __init__(self, ctx: RunContext) -> None:
        self.ctx = ctx
        self.written: dict[tuple[Door, str], WriteResult] = {}
        self.rows: Counter[tuple[Door, str]] = Counter()
        self.sent: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.errors: dict[str, str] = {}
        self.rejected: list[tuple[str, str, str]] = []
        self._doubted: list[pd.DataFrame] = []

    def take(self, answer: Answer) -> None:
        """Store what an answer brought; forecasts are left to who asked for them."""
        request = answer.request
        self.sent[request.source] += answer.sent
        self.rejected += [(request.source, *row) for row in answer.rejected]
        if answer.error is not None and not answer.settled:
            self.failed[request.source] += answer.sent
            self.errors.setdefault(request.source, answer.error.message)
        for name in () if request.forecast else request.series:
            key, rows = (
                (Door(request.source, request.place), name),
                answer.rows[answer.rows["series"] == name],
            )
            result = (
                self.ctx.store.write(rows, run_id=self.ctx.run_id) if len(rows) else WriteResult()
            )
            self.written[key] = self.written.get(key, WriteResult()) + result
            self.rows[key] += len(rows)
            if result.written:
                self.ctx.set_mark(STORED, name, self.ctx.clock.now())

    def judge_answers(self, requests: Iterable[Request]) -> None:
        """Let the quality rules look at what was asked for."""
        asked = [request for request in requests if not request.forecast]
        names = dict.fromkeys(name for request in asked for name in request.series)
        self.judge(list(names), [(request.start, request.end) for request in asked])

    def judge(self, names: Sequence[str], windows: Iterable[tuple[datetime, datetime]]) -> None:
        """Let the quality rules look at half-open windows; those whose margins meet are looked at together."""
        joined: list[tuple[datetime, datetime]] = []
        for start, end in sorted(windows):
            if joined and start <= joined[-1][1] + 2 * quality.MARGIN:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        self._doubted += [quality.judge(self.ctx, names, start, end) for start, end in joined]

    @property
    def quarantined(self) -> pd.DataFrame:
        """What the rules doubted (``quality.OFFENDING_COLUMNS``)."""
        filled = [part for part in self._doubted if len(part)]
        return pd.concat(filled, ignore_index=True) if filled else quality.nothing_doubted()

    @property
    def all_away(self) -> bool:
        """Whether providers were asked, and all requests of all of them failed."""
        return self.sent.total() > 0 and self.sent == self.failed

    def total(self) -> WriteResult:
        """Return the sum of what was written."""
        return sum(self.written.values(), start=WriteResult())

    def by_source(self) -> dict[str, dict[str, int | str]]:
        """Return, for each source that was to be asked, its requests, failures, counts and first error."""
        totals = dict.fromkeys(self.sent, WriteResult())
        for (door, _), result in self.written.items():
            totals[door.source] += result
        return {
            name: {"requests": self.sent[name], "failed": self.failed[name], **asdict(result)}
            | {"error": self.errors.get(name, "")}
            for name, result in totals.items()
        }
