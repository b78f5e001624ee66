"""Rules about a whole file: each says of values that are possible why they cannot be meant.

A person mixes up columns, dates and units in ways that leave every single value within
its range. What a rule finds is not stored; limits are in ``[quality]`` of the settings.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from factory_lib.catalogue import SITE, Catalogue, Measurement
from factory_lib.clock import DAY_S, HOUR_S, MADRID
from factory_lib.settings.records import QualitySettings

Reasons = np.ndarray
DARK_HOURS_UTC = (22, 23, 0, 1, 2)  # between Brest and Almería the sun never shines then
FEWEST_NIGHTS = 48  # values of one series by night, before a share of them says anything
LAST_MONTH = 12  # days after it cannot be exchanged with a month
FEWEST_DATES = 14  # dates of a file, before their order says anything
EXCHANGED = "its dates follow each other with day and month exchanged only"
FEWEST_MIDNIGHTS = 60  # of half a year: fewer vary by chance


def file_reasons(rows: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue) -> Reasons:
    """Return for each value why it is not stored, or an empty string.

    Parameters
    ----------
    rows : DataFrame
        ``series, place, resolution_s, start, value``, any order and index.
    """
    reasons = pd.Series("", rows.index, dtype=object)
    for (name, _), part in rows.groupby(["series", "place"], sort=False):
        ordered = part.sort_values("start")
        for rule in FILE_RULES:
            doubtful = rule(str(name), ordered, rules, catalogue)
            is_first = reasons[doubtful.index] == ""
            reasons.update(doubtful[is_first])
    return reasons.to_numpy()


FileRule = Callable[[str, pd.DataFrame, QualitySettings, Catalogue], "pd.Series[str]"]
NONE = pd.Series(dtype="str")


def sun_at_night(
    name: str, part: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue
) -> "pd.Series[str]":
    """Refuse a solar series that is as high by night: wind, or load, under the wrong name."""
    if "solar" not in name or part["resolution_s"].max() > HOUR_S:
        return NONE
    by_night = part["value"][part["start"].dt.hour.isin(DARK_HOURS_UTC)]
    mean = part["value"].mean()
    if len(by_night) < FEWEST_NIGHTS or by_night.mean() <= rules.night_share * mean:
        return NONE
    reason = f"by night {by_night.mean() / mean:.0%} of the mean: it is not solar, perhaps wind"
    return pd.Series(reason, part.index)


def day_and_month(
    name: str, part: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue
) -> "pd.Series[str]":
    """Refuse a series that jumps at midnight on days 1 to 12 alone: they are of other months."""
    is_price = name in catalogue and catalogue[name].measurement is Measurement.PRICES
    if "solar" in name or not is_price or part["resolution_s"].max() > HOUR_S:
        return NONE
    step = part["value"].diff().where(part["start"].diff().dt.total_seconds() <= HOUR_S)
    local = part["start"].dt.tz_convert(MADRID)
    midnight = step.notna() & (local.dt.hour == 0) & (local.dt.minute == 0)
    early = step[midnight & local.dt.day.between(2, LAST_MONTH)]
    late = step[midnight & (local.dt.day > LAST_MONTH + 1)]
    if min(len(early), len(late)) < FEWEST_MIDNIGHTS:
        return NONE
    spread = (late - late.median()).abs().mean()
    ratio = (early - early.median()).abs().mean() / max(spread, 1e-9)
    if ratio <= rules.midnight_ratio:
        return NONE
    reason = f"jumps {ratio:.1f} times as far at midnight on days 1 to 12: day and month exchanged"
    return pd.Series(reason, part.index)


def lone_october_hour(
    name: str, part: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue
) -> "pd.Series[str]":
    """Refuse the repeated hour of October that is there once, and as high as both together."""
    if name not in catalogue or catalogue[name].measurement is not Measurement.PRICES:
        return NONE
    hourly = part[part["resolution_s"] == HOUR_S]
    local = hourly["start"].dt.tz_convert(MADRID)
    october = (local.dt.month == 10) & (local.dt.day > 24) & (local.dt.day_of_week == 6)
    hours = local.dt.date.where(october & (local.dt.hour == 2))
    around = (hourly["value"].shift() + hourly["value"].shift(-1)) / 2
    lone = hours.map(hours.value_counts()) == 1
    ratio = (hourly["value"] / around.where(around > rules.scale_floor_eur_mwh))[lone]
    doubled = ratio[ratio > rules.doubled_over_neighbours]
    reasons: pd.Series[str] = doubled.map(
        "the repeated hour is there once, {:.1f} times the hours around".format
    )
    return reasons


def meter_unit(
    name: str, part: pd.DataFrame, rules: QualitySettings, catalogue: Catalogue
) -> "pd.Series[str]":
    """Refuse a meter whose mean power no contract of this size has: Wh, or another plant."""
    if not name.startswith("metered_") or not (part["source"] == SITE).all():
        return NONE
    power_kw = (part["value"] / (part["resolution_s"] / HOUR_S)).mean()
    if power_kw <= rules.meter_mean_kw:
        return NONE
    reason = f"a mean power of {power_kw:,.0f} kW: the energies may be in Wh"
    return pd.Series(reason, part.index)


FILE_RULES: tuple[FileRule, ...] = (sun_at_night, day_and_month, lone_october_hour, meter_unit)


def exchanged_members(table: pd.DataFrame) -> set[str]:
    """Return the members whose dates follow each other with day and month exchanged only.

    Parameters
    ----------
    table : DataFrame
        ``member, place, line, start``: the lines of files, whose order is as they were
        written.
    """
    members: set[str] = set()
    for (member, _), part in table.sort_values("line", kind="stable").groupby(["member", "place"]):
        if len(part) <= FEWEST_DATES:
            continue
        for zone in ("UTC", MADRID):
            days = part["start"].dt.tz_convert(zone).dt.tz_localize(None).dt.normalize()
            changes = days[days != days.shift()]
            if (
                len(changes) > FEWEST_DATES
                and daily_steps(_exchanged(changes)) > daily_steps(changes) + 0.2
            ):
                members.add(str(member))
    return members


def _exchanged(days: pd.Series) -> pd.Series:
    parts = {"year": days.dt.year, "month": days.dt.day, "day": days.dt.month}
    return pd.to_datetime(pd.DataFrame(parts), errors="coerce").fillna(days)


def daily_steps(days: pd.Series) -> float:
    """Return the share of dates that are one day after, or before, that above them."""
    steps = days.diff().dt.days.iloc[1:]
    return float(max((steps == 1).mean(), (steps == -1).mean())) if len(steps) else 0.0


def between_days(days: np.ndarray) -> np.ndarray:
    """Return single days (s) that lack between two of ``days``, each a midnight."""
    before_and_after = np.intersect1d(days + DAY_S, days - DAY_S)
    return np.setdiff1d(before_and_after, days)
