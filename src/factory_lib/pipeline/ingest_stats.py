"""Counts of one run: the requests, and the rows that they brought into the store."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.pipeline.fetch import FetchResult
from factory_lib.pipeline.targets import SourcePlace
from factory_lib.state.marks import STORED
from factory_lib.store.base import WriteResult

COUNTS = [field.name for field in fields(WriteResult)]


class IngestStats:
    """Counts that grow with every result.

    Attributes
    ----------
    sent, failed : Counter
        Requests by source.
    errors : mapping of (SourcePlace, series) to str
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
                for name in request.series:
                    self.errors.setdefault((at, name), result.error.message.rstrip("."))
            for name in () if request.forecast else request.series:
                rows = result.rows[result.rows["series"] == name]
                written = ctx.store.write(rows, run_id=ctx.run_id) if len(rows) else WriteResult()
                line = {**at._asdict(), "series": name, "rows": len(rows), **asdict(written)}
                self._written.append(line)
                if written.written:
                    ctx.set_mark(STORED, name, ctx.clock.now())
            yield result

    @property
    def providers_away(self) -> bool:
        """Whether requests were sent, and all of them failed."""
        return self.sent.total() > 0 and self.sent == self.failed

    @property
    def source_errors(self) -> dict[str, str]:
        """The first error of each source."""
        first: dict[str, str] = {}
        for (at, _), message in self.errors.items():
            first.setdefault(at.source, message)
        return first

    def total(self) -> dict[str, int]:
        """Return the sums of what came and what the store made of it."""
        return {
            str(name): int(total)
            for name, total in self.by("source")[["rows", *COUNTS]].sum().items()
        }

    def by(self, *keys: str) -> pd.DataFrame:
        """Return rows, counts and the first error by ``source``, ``place`` and ``series``."""
        columns = ["source", "place", "series", "rows", *COUNTS]
        written = pd.DataFrame(self._written, columns=columns)
        table = written.groupby(list(keys))[["rows", *COUNTS]].sum().reset_index()
        errors = self.source_errors
        return table.assign(error=[errors.get(source, "") for source in table["source"]])
