"""Charts of completeness: what is there, what is missing, what was recovered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from factory_lib.views.palette import GREEN, LINE, SEVERITY, STATUS, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def calendar(daily: pd.DataFrame, title: str = "Completeness by market day") -> Figure:
    """Draw one row per series and one cell per market day, from red (nothing) to green (complete).

    Parameters
    ----------
    daily : DataFrame
        Index: market days (dates); one column per series; values: share present, 0 to
        1, NaN where nothing is expected.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    ramp = LinearSegmentedColormap.from_list("completeness", [STATUS["missing"], "#f0c05a", GREEN])
    colours = ramp.with_extremes(bad=LINE)
    with styled():
        figure = Figure(figsize=(9.2, 0.34 * daily.shape[1] + 1.1))
        axes = figure.subplots()
        grid = np.ma.masked_invalid(daily.to_numpy(dtype=float).T)
        image = axes.imshow(
            grid, aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest"
        )
        axes.set_yticks(range(daily.shape[1]), [str(name) for name in daily.columns])
        ticks = np.unique(np.linspace(0, len(daily) - 1, min(8, len(daily))).astype(int))
        axes.set_xticks(ticks, [f"{pd.Timestamp(daily.index[t]):%d %b %y}" for t in ticks])
        axes.grid(visible=False)
        axes.set_title(title)
        figure.colorbar(
            image, ax=axes, shrink=0.9, aspect=12, pad=0.01, format=lambda value, _: f"{value:.0%}"
        )
    return figure


def recovery(by_group: pd.DataFrame, title: str = "Missing slots: recovered and left") -> Figure:
    """Draw a bar per row: what was recovered and what is left.

    Parameters
    ----------
    by_group : DataFrame
        Index: a name per bar; columns ``missing`` and ``recovered`` (slots).
    """
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(9.2, 0.34 * max(len(by_group), 1) + 1.0))
        axes = figure.subplots()
        names = [str(name) for name in by_group.index]
        left = by_group["missing"] - by_group["recovered"]
        axes.barh(names, by_group["recovered"], color=GREEN, label="recovered", height=0.65)
        axes.barh(
            names,
            left,
            left=by_group["recovered"],
            color=SEVERITY["critical"],
            label="left",
            height=0.65,
        )
        axes.invert_yaxis()
        axes.set_xlabel("slots")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right")
        axes.set_title(title)
    return figure
