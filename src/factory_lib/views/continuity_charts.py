"""Charts of completeness: slots present, missing and recovered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from factory_lib.views.drawing import cells, chart, day_ticks
from factory_lib.views.palette import GREEN, LINE, SEVERITY, STATUS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW_IN = 0.34  # inches
_HALF = "#f0c05a"


def calendar(daily: pd.DataFrame, title: str = "Completeness by market day") -> Figure:
    """Draw a row per series and a cell per market day, from red (nothing) to green (complete).

    Parameters
    ----------
    daily : DataFrame
        Index: market days (dates); one column per series; values: share present, 0 to
        1, NaN where nothing is expected.
    """
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("completeness", [STATUS["missing"], _HALF, GREEN])
    colours = ramp.with_extremes(bad=LINE)
    with chart(title, _ROW_IN * daily.shape[1] + 1.1) as (figure, [axes]):
        image = cells(axes, daily.T, cmap=colours, vmin=0, vmax=1)
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
        critical = SEVERITY["critical"]
        axes.barh(names, left, left=recovered, height=0.65, color=critical, label="left")
        axes.invert_yaxis()
        axes.set_xlabel("slots")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
    return figure
