"""Values that a file gives and that are not to be trusted: stored, and quarantined by name of a rule."""

from __future__ import annotations

import pandas as pd

from factory_lib.clock import HOUR_S, MADRID

FROZEN_RULE, HALVED_RULE = "flat_line", "halved_hour"
MARK_COLUMNS = ("series", "place", "source", "start", "value", "rule", "reason")
_READINGS = ("temperature_c", "humidity_pct", "wind_speed_ms", "precipitation_mm")


def frozen(table: pd.DataFrame, hours: float) -> pd.DataFrame:
    """Return the lines of hourly weather that lie in so many ``hours`` or more alike in every reading."""
    readings = [name for name in _READINGS if name in table]
    if not readings:
        return table[:0]
    ordered = table.sort_values(["place", "start"])
    alike = ordered[["place", *readings]].eq(ordered[["place", *readings]].shift()).all(axis=1)
    next_hour = ordered["start"].diff() == pd.Timedelta(seconds=HOUR_S)
    run = (~(alike & next_hour)).cumsum()
    return ordered[run.groupby(run).transform("size") >= hours]


def marks(rows: pd.DataFrame, frozen_lines: pd.DataFrame, hours: float) -> pd.DataFrame:
    """Return the values (``MARK_COLUMNS``) of frozen lines and of halved hours."""
    where = pd.MultiIndex.from_frame(frozen_lines[["member", "line"]])
    feed = (
        rows[pd.MultiIndex.from_frame(rows[["member", "line"]]).isin(where)]
        if len(where)
        else rows[:0]
    )
    found = (
        feed.assign(rule=FROZEN_RULE, reason=f"unchanged in every reading for {hours:g} h or more"),
        halved(rows).assign(
            rule=HALVED_RULE, reason="both repeated hours hold half of the sum published for them"
        ),
    )
    return pd.DataFrame(pd.concat(found, ignore_index=True), columns=list(MARK_COLUMNS))


def halved(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the repeated October hours of years in which the system operator published one sum for both.

    Public copies then hold half of that sum in each: alike to the last digit, and up to
    1 EUR/MWh off.
    """
    spot = rows[
        (rows["series"] == "spot_eur_mwh")
        & (rows["source"] == "ree")
        & (rows["resolution_s"] == HOUR_S)
    ]
    wall = spot["start"].dt.tz_convert(MADRID).dt.tz_localize(None)
    twice = spot[wall.duplicated(keep=False)]
    alike = twice.groupby(wall[twice.index])["value"].transform("nunique") == 1
    return pd.DataFrame(twice[alike])
