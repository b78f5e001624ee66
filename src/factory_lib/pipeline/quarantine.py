"""Judging by hand: values are barred, let back in or corrected with a reason and a name, and none is ever deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from factory_lib import frames
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.pipeline.quality import CORRECTED_BY
from factory_lib.pipeline.targets import places_of
from factory_lib.store.base import VERDICT_COLUMNS

BY_HAND = "by hand"
_KEY = ["series", "place", "source", "start", "rev"]


@dataclass(frozen=True)
class Choice:
    """Which values: of one series, in a half-open window, of one source or of all."""

    series: str
    start: datetime
    end: datetime
    source: str | None = None


def listed(ctx: RunContext, series: str | None = None) -> pd.DataFrame:
    """Return the open verdicts, newest first, with the value each is about."""
    found = ctx.store.read_verdicts()
    found = found if series is None else found[found["series"] == series]
    if found.empty:
        return found.assign(value=[])
    values = [
        _stored(
            ctx,
            Choice(str(name), rows["start"].min(), rows["start"].max() + pd.Timedelta(seconds=1)),
        )
        for name, rows in found.groupby("series")
    ]
    return found.merge(pd.concat(values)[[*_KEY, "value"]], "left", on=_KEY)


def judge(ctx: RunContext, choice: Choice, verdict: str, reason: str, by: str) -> int:
    """Release the barred values of a choice, or bar all of them (``quarantined``); return how many.

    Raises
    ------
    BadInput
        If there are none.
    """
    rows = listed(ctx, choice.series) if verdict == "released" else _stored(ctx, choice)
    chosen = rows[(rows["start"] >= choice.start) & (rows["start"] < choice.end)]
    if choice.source is not None:
        chosen = chosen[chosen["source"] == choice.source]
    if chosen.empty:
        what = "barred value" if verdict == "released" else "value"
        raise BadInput(
            f"There is no {what} of {choice.series} there.",
            next_step="See `factory quarantine list`.",
        )
    now = pd.Timestamp(ctx.clock.now()).as_unit("s")
    told = chosen[_KEY].assign(verdict=verdict, rule=BY_HAND, reason=reason, at=now, by=by)
    return ctx.store.write_verdicts(told[list(VERDICT_COLUMNS)].reset_index(drop=True))


def correct(ctx: RunContext, choice: Choice, value: float, reason: str, by: str) -> int:
    """Store ``value`` as a revision of every chosen slot, its author in ``run_id``; what it replaces stays readable.

    It counts as updated now: what its provider says it updated before does not undo it
    when it is read again.

    Raises
    ------
    BadInput
        If there is nothing to correct, or the value cannot be.
    """
    entry = ctx.catalogue[choice.series]
    if entry.outside(value):
        raise BadInput(f"{choice.series} lies within {entry.limits}: {value:g} cannot be.")
    rows = _stored(ctx, choice).drop_duplicates(["place", "source", "kind", "start"], keep="last")
    if choice.source is not None:
        rows = rows[rows["source"] == choice.source]
    now = pd.Timestamp(ctx.clock.now()).as_unit("s")
    revised = frames.conform(rows.assign(value=value, retrieved_at=now, provider_updated_at=now))
    result = ctx.store.write(revised.reset_index(drop=True), run_id=f"{CORRECTED_BY}{by}: {reason}")
    if not result.written:
        raise BadInput(f"{choice.series} has no value there that is not {value:g} already.")
    return result.written


def _stored(ctx: RunContext, choice: Choice) -> pd.DataFrame:
    places = places_of(ctx.settings, ctx.catalogue[choice.series])
    return ctx.store.read(
        choice.series, places=places, start=choice.start, end=choice.end, raw=True
    )
