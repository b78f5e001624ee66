"""What the store holds of the last weeks: how far each provider has been read, and the newest value of each series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import from_epoch
from factory_lib.context import RunContext
from factory_lib.pipeline.coverage import NO_SLOTS, SlotState, account
from factory_lib.pipeline.gaps import known_until
from factory_lib.pipeline.targets import Door, Target
from factory_lib.slots import Slots, from_index


@dataclass(frozen=True)
class Stock:
    """Rows of the store since some days before ``as_of``, by series.

    ``raw`` ones, to know what each provider has given, or those of the view.
    """

    since: datetime
    as_of: datetime
    by_series: dict[str, pd.DataFrame]

    @classmethod
    def read(cls, ctx: RunContext, wanted: Sequence[Target], days: int, *, raw: bool) -> Stock:
        """Read all targets with one question per measurement."""
        since, found = ctx.as_of - timedelta(days=days), {}
        for places in dict.fromkeys(target.places for target in wanted):
            together = [target for target in wanted if target.places == places]
            end = max(known_until(target.series, ctx.as_of) for target in together)
            names = [target.name for target in together]
            rows = ctx.store.read(
                names, places=places, start=since, end=end, as_of=ctx.as_of, raw=raw
            )
            found.update({str(name): part for name, part in rows.groupby("series")})
        return cls(since, ctx.as_of, found)

    def slots(self, target: Target) -> Slots:
        """Return the starts of the target's slots, ascending."""
        rows = self.by_series.get(target.name)
        return NO_SLOTS if rows is None else np.unique(from_index(rows["start"]))

    def until(self, target: Target) -> dict[Door, datetime]:
        """Return the end of the newest slot that each provider gave."""
        rows = self.by_series.get(target.name)
        if rows is None:
            return {}
        ends = pd.Series(from_index(rows["start"])) + rows["resolution_s"].to_numpy()
        newest = ends.groupby([rows["source"].to_numpy(), rows["place"].to_numpy()]).max()
        return {
            Door(source, place): from_epoch(int(end)) for (source, place), end in newest.items()
        }

    def newest(self, target: Target) -> pd.Series | None:
        """Return the row of the newest slot, or None."""
        rows = self.by_series.get(target.name)
        return None if rows is None else rows.sort_values("start").iloc[-1]


def overdue(
    before: Stock, after: Stock, target: Target, known_nowhere: Sequence[tuple[int, int]]
) -> bool:
    """Return whether slots that follow the newest one of ``before`` are due and ``after`` has none of them.

    ``known_nowhere`` are stretches that no source has; a day is judged where nothing
    was stored before.
    """
    held = before.slots(target)
    start = from_epoch(int(held[-1]) + 1) if len(held) else before.as_of - timedelta(days=1)
    books = account(
        target.series,
        start,
        known_until(target.series, before.as_of),
        after.slots(target),
        as_of=before.as_of,
        unfillable=known_nowhere,
    )
    return len(books.where(SlotState.MISSING)) > 0 and not len(books.where(SlotState.PRESENT))
