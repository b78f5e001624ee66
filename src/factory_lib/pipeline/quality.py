"""Values that are stored and not to be trusted: named rules, each returning the rows it doubts and why.

What cannot be at all (outside the catalogue's range, off the grid, contradicting
itself) is rejected before it is stored. What could be and probably is not is stored and
quarantined here: in no view, visible in reports, until a person who knows better
releases it. A value that somebody judged before is not judged again, but the rules see
it: without its first hours, a stretch that stands still would look short.

Every rule takes the latest revision of each value (``VIEW_COLUMNS``, ordered by series,
place, source, start) and returns rows of it with ``reason``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue, Measurement
from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.pipeline.targets import places_of, trust
from factory_lib.settings.records import QualitySettings
from factory_lib.slots import from_index, resolutions
from factory_lib.store.base import VERDICT_COLUMNS

BY = "quality rules"
CORRECTED_BY = "corrected by "  # how the run of a value made by hand begins; its author follows
MARGIN = timedelta(days=2)  # read around the window, for neighbours and whole days
OFFENDING_COLUMNS = ["series", "place", "source", "start", "value", "rule", "reason"]
_CHANNEL = ["series", "place", "source"]
_IDENTITY = [*_CHANNEL, "start", "rev"]


def out_of_range(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.DataFrame:
    """Doubt what is possible somewhere and not plausible at this site."""
    low = _limits(rows, {name: limits[0] for name, limits in rules.plausible.items()})
    high = _limits(rows, {name: limits[1] for name, limits in rules.plausible.items()})
    found = rows[(rows["value"] < low) | (rows["value"] > high)]
    return found.assign(reason=[f"{value:g} is not plausible here" for value in found["value"]])


def step(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.DataFrame:
    """Doubt a spike: a value that leaves both its neighbours, one slot away, by more than the limit, the same way."""
    limit = _limits(rows, rules.step)
    by = rows.groupby(_CHANNEL, sort=False)
    width = pd.to_timedelta(rows["resolution_s"], unit="s")
    before = (rows["value"] - by["value"].shift()).where(by["start"].diff() == width)
    after = (rows["value"] - by["value"].shift(-1)).where(-by["start"].diff(-1) == width)
    found = rows[(before.abs() > limit) & (after.abs() > limit) & (before * after > 0)]
    return found.assign(
        reason=[f"{jump:+g} from the value before, and back" for jump in before[found.index]]
    )


def flat_line(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.DataFrame:
    """Doubt a reading that stands still for too many hours; saturated air (100 %) may."""
    watched = rows[rows["series"].isin(list(rules.flat_line_h)) & ~rows["value"].isin([100.0])]
    by = watched.groupby(_CHANNEL, sort=False)
    follows = by["start"].diff() == pd.to_timedelta(watched["resolution_s"], unit="s")
    stretch = (~(follows & (by["value"].diff() == 0))).cumsum()
    hours = watched["resolution_s"].groupby(stretch).transform("sum") / HOUR_S
    found = watched[hours >= _limits(watched, rules.flat_line_h)]
    return found.assign(reason=[f"unchanged for {span:g} h" for span in hours[found.index]])


def cross_source(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.DataFrame:
    """Doubt what contradicts a more trusted source of the same slot, at whichever of the site's places."""
    watched = rows[rows["series"].isin(list(rules.cross_source))]
    rank = [
        trust(catalogue[name], at)
        for name, at in zip(watched["series"], watched["source"], strict=True)
    ]
    ordered = watched.assign(trust=rank).sort_values("trust", kind="stable")
    best = ordered.groupby(["series", "start"])[["value", "source"]].transform("first")
    apart = (ordered["value"] - best["value"]).abs()
    contradicted = (apart > _limits(ordered, rules.cross_source)) & (
        ordered["source"] != best["source"]
    )
    found = ordered[contradicted].drop(columns="trust")
    said = best.loc[found.index]
    return found.assign(
        reason=[f"{s} says {v:g}" for s, v in zip(said["source"], said["value"], strict=True)]
    )


def scale(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.DataFrame:
    """Doubt a day of spot prices far above the regulated tariff, which contains them: quarters summed, not averaged."""
    spot = rows[rows["series"] == "spot_eur_mwh"]
    tariff = rows[rows["series"] == "pvpc_eur_mwh"]
    level = tariff.groupby(_days(tariff))["value"].mean()
    mean = spot.groupby([*(spot[name] for name in _CHANNEL), _days(spot)])["value"].transform(
        "mean"
    )
    above = mean / _days(spot).map(level.where(level > rules.scale_floor_eur_mwh))
    found = spot[above > rules.scale_over_tariff]
    return found.assign(
        reason=[f"the day's mean is {ratio:.1f} times the tariff's" for ratio in above[found.index]]
    )


def doubled_hour(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.DataFrame:
    """Doubt the repeated hour of October where it stands out like the sum of two."""
    hourly = rows[(rows["series"] == "spot_eur_mwh") & (rows["resolution_s"] == HOUR_S)]
    wall = hourly["start"].dt.tz_convert(MADRID).dt.tz_localize(None)
    repeated = hourly.assign(wall=wall).duplicated([*_CHANNEL, "wall"], keep=False)
    by = hourly.assign(value=hourly["value"].mask(repeated)).groupby(_CHANNEL, sort=False)["value"]
    around = (by.ffill() + by.bfill()) / 2
    ratio = hourly["value"] / around.where(around > rules.scale_floor_eur_mwh)
    found = hourly[repeated & (ratio > rules.doubled_over_neighbours)]
    return found.assign(
        reason=[f"{times:.1f} times the hours around" for times in ratio[found.index]]
    )


def all_zero(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> pd.DataFrame:
    """Doubt a market day of prices that are all zero: how an unpublished day looks."""
    prices = rows[
        rows["series"].isin(
            [entry.name for entry in catalogue.of(Measurement.PRICES) if entry.low < 0]
        )
    ]
    keys = [*(prices[name] for name in _CHANNEL), _days(prices)]
    whole = prices["resolution_s"].groupby(keys).transform("sum") >= 23 * HOUR_S
    zero = prices["value"].abs().groupby(keys).transform("max") == 0
    return prices[whole & zero].assign(reason="the whole day is zero")


Check = Callable[[pd.DataFrame, QualitySettings, Catalogue], pd.DataFrame]
RULES: tuple[tuple[str, Check], ...] = (
    ("all_zero", all_zero),
    ("range", out_of_range),
    ("scale", scale),
    ("doubled_hour", doubled_hour),
    ("step", step),
    ("flat_line", flat_line),
    ("cross_source", cross_source),  # last: a spike or a frozen sensor contradicts nobody
)


def doubted(
    rows: pd.DataFrame,
    rules: QualitySettings,
    catalogue: Catalogue,
    barred: pd.MultiIndex | None = None,
) -> pd.DataFrame:
    """Return what the rules doubt: rows with ``rule`` and ``reason``, each value once, by the first rule that does.

    A value that one rule doubts is no witness for the rules after it, and one that is
    ``barred`` (series, place, source, start, rev) contradicts no other source. What no
    view shows anyway, a kind or a cadence that the series does not have then, is
    neither judged nor a witness: a verdict on it would bar its namesake.
    """
    latest = rows[_showable(rows, catalogue)].sort_values(
        [*_CHANNEL, "start", "resolution_s", "rev"]
    )
    left = latest.drop_duplicates([*_CHANNEL, "start", "resolution_s"], keep="last").reset_index(
        drop=True
    )
    parts = []
    for name, rule in RULES:
        if rule is cross_source and barred is not None:
            left = left[~pd.MultiIndex.from_frame(left[_IDENTITY]).isin(barred)]
        found = rule(left, rules, catalogue).assign(rule=name)
        parts.append(found)
        left = left.drop(index=found.index)
    return pd.concat(parts, ignore_index=True)


def judge(ctx: RunContext, names: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
    """Judge what is stored in the window, quarantine what is doubted, and return it (``OFFENDING_COLUMNS``)."""
    parts = []
    for measurement in dict.fromkeys(ctx.catalogue[name].measurement for name in names):
        together = [name for name in names if ctx.catalogue[name].measurement is measurement]
        places = places_of(ctx.settings, ctx.catalogue[together[0]])
        parts.append(
            ctx.store.read(
                together, places=places, start=start - MARGIN, end=end + MARGIN, raw=True
            )
        )
    barred = pd.MultiIndex.from_frame(ctx.store.read_verdicts()[_IDENTITY])
    found = doubted(pd.concat(parts), ctx.settings.quality, ctx.catalogue, barred)
    by_rule = found[
        ~found["run_id"].astype("str").str.startswith(CORRECTED_BY)
    ]  # a person has judged the others
    return bar(ctx, by_rule, BY)[OFFENDING_COLUMNS]


def bar(ctx: RunContext, found: pd.DataFrame, by: str) -> pd.DataFrame:
    """Quarantine stored values, with ``rule`` and ``reason``, but those that were judged before; return the others."""
    known = pd.MultiIndex.from_frame(ctx.store.read_verdicts(open_only=False)[_IDENTITY])
    fresh = found[~pd.MultiIndex.from_frame(found[_IDENTITY]).isin(known)] if len(found) else found
    if len(fresh):
        now = pd.Timestamp(ctx.clock.now()).as_unit("s")
        verdicts = fresh.assign(verdict="quarantined", at=now, by=by)[list(VERDICT_COLUMNS)]
        ctx.store.write_verdicts(verdicts.reset_index(drop=True))
    return fresh


def _showable(rows: pd.DataFrame, catalogue: Catalogue) -> pd.Series:
    """Return a mask of the rows of a kind that the catalogue accepts, at the cadence valid then."""
    good = pd.Series(False, index=rows.index)
    for name, part in rows.groupby("series"):
        entry = catalogue[str(name)]
        valid = part["resolution_s"].to_numpy() == resolutions(entry, from_index(part["start"]))
        good.loc[part.index] = part["kind"].isin(list(entry.publication)) & valid
    return good


def _limits(rows: pd.DataFrame, by_series: Mapping[str, float]) -> pd.Series:
    """Return each row's limit, NaN for series without one."""
    return rows["series"].map(dict(by_series)).astype("float64")


def _days(rows: pd.DataFrame) -> pd.Series:
    days: pd.Series = rows["start"].dt.tz_convert(MADRID).dt.normalize().rename("day")
    return days


def nothing_doubted() -> pd.DataFrame:
    """Return an empty table of offending rows."""
    return pd.DataFrame({name: np.empty(0, dtype=object) for name in OFFENDING_COLUMNS})
