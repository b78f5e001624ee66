"""Charts of series: over local time, by distribution, by month and hour, by completeness."""

from datetime import datetime
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from factory_lib.views.drawing import (
    cells,
    chart,
    day_ticks,
    draw_band,
    legend,
    local_axis,
    split_at_gaps,
    step_line,
)
from factory_lib.views.palette import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LINE,
    ORANGE,
    PURPLE,
    RED,
    SEVERITY,
    SKY,
    SOFT,
    STATUS,
)
from factory_lib.views.tables import label, unit_of

_COLOURS = {
    "spot_eur_mwh": BLUE,
    "pvpc_eur_mwh": ORANGE,
    "temperature_c": RED,
    "humidity_pct": SKY,
}
_OTHERS = (GREEN, PURPLE, GREY, INK)
_ROW_IN = 0.34  # inches
# red: nothing; yellow; green: complete
_COMPLETENESS = LinearSegmentedColormap.from_list(
    "completeness", [STATUS["missing"], "#f0c05a", GREEN]
).with_extremes(bad=LINE)


def lines(
    frame: pd.DataFrame, title: str, *, now: datetime | None = None, steps: bool = True
) -> Figure:
    """Draw each column of a wide frame in a panel per unit; gaps stay gaps.

    Parameters
    ----------
    frame : DataFrame
        Wide: UTC index ``start``, one float column per series.
    now : datetime, optional
        Marked by a dotted line; values right of it are published ahead.
    steps : bool
        Prices hold for their whole slot, so they are drawn as steps.
    """
    names_by_unit = frame.columns.to_series().groupby(unit_of, sort=False).groups
    values = split_at_gaps(frame)
    height = 2.3 * len(names_by_unit) + 0.4
    with chart(title, height, nrows=len(names_by_unit), sharex=True) as (figure, panels):
        for axes, (unit, names) in zip(panels, names_by_unit.items(), strict=True):
            others = cycle(_OTHERS)
            for name in names:
                colour = _COLOURS.get(name) or next(others)
                words = label(name).partition(" (")[0]
                if steps:
                    step_line(axes, values[name], label=words, color=colour)
                else:
                    axes.plot(values.index, values[name], label=words, color=colour)
            axes.set_ylabel(str(unit))
            if frame[names].min().min() < 0:
                axes.axhline(0, color=LINE, linewidth=1)
            legend(axes)
            local_axis(axes, now=now)
    return figure


def distribution(values: pd.Series, by_hour: pd.DataFrame, *, unit: str, title: str) -> Figure:
    """Draw the frequency of the values, and the usual course of the day where there is one.

    Parameters
    ----------
    values : Series
        Floats; NaN is left out.
    by_hour : DataFrame
        Index local hour; ``p10``, ``p50``, ``p90``. Empty for series without hours.
    """
    with chart(title, 2.8, ncols=1 if by_hour.empty else 2) as (figure, panels):
        panels[0].hist(values.dropna().to_numpy(dtype=float), bins=60, color=BLUE, alpha=0.75)
        panels[0].set_xlabel(unit)
        panels[0].set_ylabel("slots")
        if not by_hour.empty:
            hours = np.asarray(by_hour.index, dtype=float)
            draw_band(panels[1], hours, by_hour["p10"], by_hour["p90"])
            panels[1].plot(hours, by_hour["p50"], color=INK, label="median")
            panels[1].set_xticks(range(0, 25, 6))
            panels[1].set_xlabel("local hour")
            panels[1].set_ylabel(unit)
            legend(panels[1])
    return figure


def months_by_hour(shares: pd.DataFrame, title: str) -> Figure:
    """Draw the share of hours out of limits, side by side for each stage.

    Parameters
    ----------
    shares : DataFrame
        0 to 1; index local hour (down), columns stage and month (across).
    """
    stages = list(shares.columns.unique(0)) if len(shares) else []
    with chart(title, 3.4, ncols=max(len(stages), 1), sharey=True) as (figure, panels):
        for axes, stage in zip(panels, stages, strict=False):
            table = pd.DataFrame(shares[stage])
            image = cells(axes, table, cmap="YlOrRd", vmin=0, vmax=1)
            axes.set_xticks(range(table.shape[1]), [str(name)[0] for name in table.columns])
            axes.set_yticks(range(0, 24, 6))
            axes.set_xlabel(stage, color=SOFT)
        if stages:
            panels[0].set_ylabel("local hour")
            bar = figure.colorbar(image, ax=panels, ticks=[0, 0.5, 1], pad=0.01)
            bar.set_ticklabels(["never", "half", "always"])
    return figure


def calendar(daily: pd.DataFrame, title: str = "Completeness by market day") -> Figure:
    """Draw a row per series and a cell per market day, from red (nothing) to green (complete).

    Parameters
    ----------
    daily : DataFrame
        Index: market days (dates); one column per series; values: share present, 0 to
        1, NaN where nothing is expected.
    """
    with chart(title, _ROW_IN * daily.shape[1] + 1.1) as (figure, [axes]):
        image = cells(axes, daily.T, cmap=_COMPLETENESS, vmin=0, vmax=1)
        axes.set_yticks(range(daily.shape[1]), [str(name) for name in daily.columns])
        day_ticks(axes, daily.index, "%d %b %y")
        percent = "{x:.0%}"
        figure.colorbar(image, ax=axes, shrink=0.9, aspect=12, pad=0.01, format=percent)
    return figure


def recovery(by_group: pd.DataFrame, title: str = "Missing slots: recovered and left") -> Figure:
    """Draw a bar per row with the recovered slots and those left.

    Parameters
    ----------
    by_group : DataFrame
        Index: a name per bar; columns ``missing`` and ``recovered`` (slots).
    """
    names = [str(name) for name in by_group.index]
    recovered = by_group["recovered"]
    left = by_group["missing"] - recovered
    with chart(title, _ROW_IN * max(len(by_group), 1) + 1.0) as (figure, [axes]):
        axes.barh(names, recovered, height=0.65, color=GREEN, label="recovered")
        red = SEVERITY["critical"]
        axes.barh(names, left, left=recovered, height=0.65, color=red, label="left")
        axes.invert_yaxis()
        axes.set_xlabel("slots")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
    return figure
