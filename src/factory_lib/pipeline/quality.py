"""Quality rules: each flags stored values that are not to be trusted, with a reason.

What cannot be at all (outside the catalogue's range, off the grid, contradicting
itself) is rejected before it is stored. What could be and probably is not is stored and
quarantined here: in no view, visible in reports, until a person who knows better
releases it. A value about which a decision was taken before is not quarantined again,
but the rules see it: without its first hours, a constant stretch would look short.

Every rule takes the latest revision of each value (``VIEW_COLUMNS``, ordered by series,
place, source, start) and returns the reasons of those that it flags, by their index.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

import numpy as np
import pandas as pd

from factory_lib import frames
from factory_lib.catalogue import Catalogue, Measurement
from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.pipeline.fetch import Request
from factory_lib.pipeline.targets import read_rows, trust
from factory_lib.settings.records import QualitySettings
from factory_lib.slots import from_index, number_runs, resolutions
from factory_lib.store.base import VERDICT_COLUMNS

BY = "quality rules"
CORRECTED_BY = "corrected by "  # begins the run of a corrected value; its author follows
CHECK_MARGIN = timedelta(days=2)  # read around the window, for neighbours and whole days
FLAGGED_COLUMNS = ["series", "place", "source", "start", "value", "rule", "reason"]
_CHANNEL = ["series", "place", "source"]
_IDENTITY = [*_CHANNEL, "start", "rev"]


def out_of_range(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.Series:
    """Flag a value that is possible somewhere and not plausible at this site."""
    low = _limits(rows, {name: limits[0] for name, limits in rules.plausible.items()})
    high = _limits(rows, {name: limits[1] for name, limits in rules.plausible.items()})
    value = rows["value"]
    return value[(value < low) | (value > high)].map("{:g} is not plausible here".format)


def step(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.Series:
    """Flag a spike: a value above, or below, both neighbouring slots by more than the limit."""
    limit = _limits(rows, rules.step)
    by = rows.groupby(_CHANNEL, sort=False)
    width = pd.to_timedelta(rows["resolution_s"], unit="s")
    before = (rows["value"] - by["value"].shift()).where(by["start"].diff() == width)
    after = (rows["value"] - by["value"].shift(-1)).where(-by["start"].diff(-1) == width)
    spike = (before.abs() > limit) & (after.abs() > limit) & (before * after > 0)
    return before[spike].map("{:+g} from the value before, and back".format)


def flat_line(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.Series:
    """Flag a reading that is constant too long; saturated air (100 %) may be."""
    readings = rows[rows["series"].isin(list(rules.flat_line_h)) & ~rows["value"].isin([100.0])]
    starts = from_index(readings["start"])
    alike = (readings[name] for name in (*_CHANNEL, "value"))
    run = number_runs(starts, starts + readings["resolution_s"].to_numpy(), *alike)
    hours = readings["resolution_s"].groupby(run).transform("sum") / HOUR_S
    return hours[hours >= _limits(readings, rules.flat_line_h)].map("unchanged for {:g} h".format)


def cross_source(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.Series:
    """Flag a value that contradicts a more trusted source of the same slot, at any place."""
    compared = rows[rows["series"].isin(list(rules.cross_source))]
    pairs = zip(compared["series"], compared["source"], strict=True)
    rank = [trust(catalogue[name], source) for name, source in pairs]
    ordered = compared.assign(trust=rank).sort_values("trust", kind="stable")
    best = ordered.groupby(["series", "start"])[["value", "source"]].transform("first")
    apart = (ordered["value"] - best["value"]).abs() > _limits(ordered, rules.cross_source)
    trusted = best[apart & (ordered["source"] != best["source"])]
    return trusted["source"] + trusted["value"].map(" says {:g}".format).astype("str")


def scale(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.Series:
    """Flag a day of spot prices far above the tariff that contains them: sums of quarters."""
    spot = rows[rows["series"] == "spot_eur_mwh"]
    tariff = rows[rows["series"] == "pvpc_eur_mwh"]
    level = tariff.groupby(_days(tariff))["value"].mean()
    by_day = spot.groupby([*(spot[name] for name in _CHANNEL), _days(spot)])["value"]
    above = by_day.transform("mean") / _days(spot).map(
        level.where(level > rules.scale_floor_eur_mwh)
    )
    too_high = above[above > rules.scale_over_tariff]
    return too_high.map("the day's mean is {:.1f} times the tariff's".format)


def doubled_hour(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.Series:
    """Flag the repeated hour of October where it looks like the sum of two."""
    hourly = rows[(rows["series"] == "spot_eur_mwh") & (rows["resolution_s"] == HOUR_S)]
    wall = hourly["start"].dt.tz_convert(MADRID).dt.tz_localize(None)
    repeated = hourly.assign(wall=wall).duplicated([*_CHANNEL, "wall"], keep=False)
    by = hourly.assign(value=hourly["value"].mask(repeated)).groupby(_CHANNEL, sort=False)["value"]
    around = (by.ffill() + by.bfill()) / 2
    ratio = hourly["value"] / around.where(around > rules.scale_floor_eur_mwh)
    doubled = ratio[repeated & (ratio > rules.doubled_over_neighbours)]
    return doubled.map("{:.1f} times the hours around".format)


def all_zero(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.Series:
    """Flag a market day of prices that are all zero, as an unpublished day looks."""
    names = [entry.name for entry in catalogue.of(Measurement.PRICES) if entry.low < 0]
    prices = rows[rows["series"].isin(names)]
    keys = [*(prices[name] for name in _CHANNEL), _days(prices)]
    whole = prices["resolution_s"].groupby(keys).transform("sum") >= 23 * HOUR_S
    zero = prices["value"].abs().groupby(keys).transform("max") == 0
    return pd.Series("the whole day is zero", prices.index[whole & zero])


Rule = Callable[[pd.DataFrame, QualitySettings, Catalogue], pd.Series]
RULES: tuple[tuple[str, Rule], ...] = (
    ("all_zero", all_zero),
    ("range", out_of_range),
    ("scale", scale),
    ("doubled_hour", doubled_hour),
    ("step", step),
    ("flat_line", flat_line),
    ("cross_source", cross_source),  # last: a spike or a frozen sensor is no witness
)


def flag(
    rows: pd.DataFrame,
    rules: QualitySettings,
    catalogue: Catalogue,
    quarantined: pd.MultiIndex | None = None,
) -> pd.DataFrame:
    """Return the rows that the rules flag, each by the first that does (``rule``, ``reason``).

    A value that one rule flags is no witness for the rules after it, and one that is
    ``quarantined`` (series, place, source, start, rev) contradicts no other source. What
    is of a kind or a cadence that the series does not have then is neither checked nor a
    witness: a decision about it would quarantine its namesake. Hours where quarters are
    due are therefore as good as their provider's day, which was checked on arrival.
    """
    slot = [*_CHANNEL, "start", "resolution_s"]
    left = rows[_visible(rows, catalogue)].sort_values([*slot, "rev"])
    left = left.drop_duplicates(slot, keep="last").reset_index(drop=True)
    parts = []
    for name, rule in RULES:
        if rule is cross_source and quarantined is not None:
            left = left[~pd.MultiIndex.from_frame(left[_IDENTITY]).isin(quarantined)]
        reasons = rule(left, rules, catalogue)
        parts.append(left.loc[reasons.index].assign(rule=name, reason=reasons.astype("str")))
        left = left.drop(index=reasons.index)
    return pd.concat(parts, ignore_index=True)


def run_checks(
    ctx: RunContext, names: Sequence[str], windows: Iterable[tuple[datetime, datetime]]
) -> pd.DataFrame:
    """Quarantine the stored values of half-open windows that the rules flag, and return them.

    Windows whose margins meet are checked together.

    Returns
    -------
    DataFrame
        ``FLAGGED_COLUMNS``.
    """
    joined: list[tuple[datetime, datetime]] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1] + 2 * CHECK_MARGIN:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return concat_flagged([_check(ctx, names, start, end) for start, end in joined])


def concat_flagged(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of flagged values (``FLAGGED_COLUMNS``) one below the other."""
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame({name: np.empty(0, dtype=object) for name in FLAGGED_COLUMNS})
    return pd.concat(filled, ignore_index=True)


def check_requested(ctx: RunContext, requests: Sequence[Request]) -> pd.DataFrame:
    """Run the checks on the windows of the requests of values."""
    observed = [request for request in requests if not request.forecast]
    names = dict.fromkeys(chain.from_iterable(request.series for request in observed))
    return run_checks(ctx, list(names), [(request.start, request.end) for request in observed])


def _check(ctx: RunContext, names: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
    values = [name for name in names if not ctx.catalogue[name].forecast_of]
    if not values:
        return concat_flagged([])
    rows = read_rows(ctx, values, start - CHECK_MARGIN, end + CHECK_MARGIN)
    quarantined = pd.MultiIndex.from_frame(ctx.store.read_verdicts()[_IDENTITY])
    flagged = flag(rows, ctx.settings.quality, ctx.catalogue, quarantined)
    # a person has decided about a corrected value
    corrected = flagged["run_id"].astype("str").str.startswith(CORRECTED_BY)
    return quarantine(ctx, flagged[~corrected], BY)[FLAGGED_COLUMNS]


def quarantine(ctx: RunContext, values: pd.DataFrame, by: str) -> pd.DataFrame:
    """Quarantine stored values, with ``rule`` and ``reason``, and return them.

    Those about which a decision was taken before are left out.
    """
    if values.empty:
        return values
    before = pd.MultiIndex.from_frame(ctx.store.read_verdicts(open_only=False)[_IDENTITY])
    new = values[~pd.MultiIndex.from_frame(values[_IDENTITY]).isin(before)]
    if len(new):
        _decide(ctx, new, "quarantined", by)
    return new


def _decide(ctx: RunContext, values: pd.DataFrame, decision: str, by: str) -> int:
    """Store a decision about values that have a ``rule`` and a ``reason``."""
    now = pd.Timestamp(ctx.clock.now()).as_unit("s")
    decisions = values.assign(verdict=decision, at=now, by=by)[list(VERDICT_COLUMNS)]
    return ctx.store.write_verdicts(decisions.reset_index(drop=True))


def _visible(rows: pd.DataFrame, catalogue: Catalogue) -> pd.Series:
    """Return a mask of the rows of a kind that the catalogue accepts, at the cadence valid then."""
    visible = pd.Series(False, index=rows.index)
    for name, part in rows.groupby("series"):
        entry = catalogue[str(name)]
        valid = part["resolution_s"].to_numpy() == resolutions(entry, from_index(part["start"]))
        visible.loc[part.index] = part["kind"].isin(list(entry.publication)) & valid
    return visible


def _limits(rows: pd.DataFrame, by_series: Mapping[str, float]) -> pd.Series:
    """Return each row's limit, NaN for series without one."""
    return rows["series"].map(dict(by_series)).astype("float64")


def _days(rows: pd.DataFrame) -> pd.Series:
    days: pd.Series = rows["start"].dt.tz_convert(MADRID).dt.normalize().rename("day")
    return days


# -- decisions of a person -----------------------------------------------------
# Values are quarantined, released or corrected, and never deleted.


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
    end = decisions["start"].max() + pd.Timedelta(seconds=1)
    stored = read_rows(ctx, decisions["series"].unique(), decisions["start"].min(), end)
    return decisions.merge(stored[[*_IDENTITY, "value"]], "left", on=_IDENTITY)


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
    return _decide(ctx, values.assign(rule="manual", reason=reason), decision, by)


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
    return read_rows(ctx, [selection.series], selection.start, selection.end)


def _selected(rows: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    inside = (rows["start"] >= selection.start) & (rows["start"] < selection.end)
    return rows[inside & ((rows["source"] == selection.source) | (selection.source is None))]
