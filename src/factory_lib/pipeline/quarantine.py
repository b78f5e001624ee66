"""Decisions of a person: values are quarantined, released or corrected, and never deleted."""

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from factory_lib import frames
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.pipeline.quality import CORRECTED_BY
from factory_lib.pipeline.targets import places_of
from factory_lib.store.base import VERDICT_COLUMNS

MANUAL_RULE = "manual"
_KEY = ["series", "place", "source", "start", "rev"]


@dataclass(frozen=True)
class Selection:
    """Values of one series in a half-open window, of one source or of all."""

    series: str
    start: datetime
    end: datetime
    source: str | None = None


def open_decisions(ctx: RunContext, series: str | None = None) -> pd.DataFrame:
    """Return the open quarantine decisions, newest first, with the value each is about."""
    decisions = ctx.store.read_verdicts()
    if series is not None:
        decisions = decisions[decisions["series"] == series]
    if decisions.empty:
        return decisions.assign(value=[])
    values = []
    for name, rows in decisions.groupby("series"):
        end = rows["start"].max() + pd.Timedelta(seconds=1)
        values.append(_stored(ctx, Selection(str(name), rows["start"].min(), end)))
    return decisions.merge(pd.concat(values)[[*_KEY, "value"]], "left", on=_KEY)


def record_decision(
    ctx: RunContext, selection: Selection, decision: str, reason: str, by: str
) -> int:
    """Take a decision about the selected values and return their number.

    Parameters
    ----------
    decision : str
        ``quarantined``, or ``released``: then of the selected values those that are in
        quarantine.

    Raises
    ------
    BadInput
        If there are none.
    """
    released = decision == "released"
    rows = open_decisions(ctx, selection.series) if released else _stored(ctx, selection)
    values = _selected(rows, selection)
    if values.empty:
        raise BadInput(
            f"There is no {'quarantined ' * released}value of {selection.series} there.",
            next_step="See `factory quarantine list`.",
        )
    now = pd.Timestamp(ctx.clock.now()).as_unit("s")
    decisions = values[_KEY].assign(
        verdict=decision, rule=MANUAL_RULE, reason=reason, at=now, by=by
    )
    return ctx.store.write_verdicts(decisions[list(VERDICT_COLUMNS)].reset_index(drop=True))


def correct(ctx: RunContext, selection: Selection, value: float, reason: str, by: str) -> int:
    """Store ``value`` as a revision of every selected slot, its author in ``run_id``.

    What it replaces stays readable. It counts as updated now: what its provider says it
    updated before does not undo it when it is read again.

    Raises
    ------
    BadInput
        If there is nothing to correct, or the value cannot be.
    """
    entry = ctx.catalogue[selection.series]
    if entry.outside(value):
        raise BadInput(f"{selection.series} lies within {entry.limits}: {value:g} cannot be.")
    latest = _stored(ctx, selection).drop_duplicates(
        ["place", "source", "kind", "start"], keep="last"
    )
    rows = _selected(latest, selection)
    now = pd.Timestamp(ctx.clock.now()).as_unit("s")
    revised = frames.conform(rows.assign(value=value, retrieved_at=now, provider_updated_at=now))
    result = ctx.store.write(revised.reset_index(drop=True), run_id=f"{CORRECTED_BY}{by}: {reason}")
    if not result.written:
        raise BadInput(f"{selection.series} has no value there that is not {value:g} already.")
    return result.written


def _stored(ctx: RunContext, selection: Selection) -> pd.DataFrame:
    places = places_of(ctx.settings, ctx.catalogue[selection.series])
    return ctx.store.read(
        selection.series, places=places, start=selection.start, end=selection.end, raw=True
    )


def _selected(rows: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    inside = (rows["start"] >= selection.start) & (rows["start"] < selection.end)
    return rows[inside & ((rows["source"] == selection.source) | (selection.source is None))]
