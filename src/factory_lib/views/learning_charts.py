"""Charts of forecasts and their quality, always beside the naive baseline."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.views.palette import BLUE, GREY, INK, ORANGE, RECOMMENDATION, styled
from factory_lib.views.series_charts import local_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def folds(scores: pd.DataFrame, *, metric: str, title: str) -> Figure:
    """Draw a metric by fold, one line per candidate: the model first and whole, each of the others dashed its own way.

    Parameters
    ----------
    scores : DataFrame
        Index: fold; one column per candidate, NaN where it was not judged on the whole
        fold.
    """
    from matplotlib.figure import Figure

    styles = cycle([(ORANGE, "--", "s"), (GREY, ":", "^"), (INK, "-.", "v")])
    with styled():
        figure = Figure(figsize=(9.2, 2.6))
        axes = figure.subplots()
        for name in scores:
            colour, line, marker = (BLUE, "-", "o") if name == scores.columns[0] else next(styles)
            axes.plot(
                scores.index.astype(str),
                scores[name],
                line,
                marker=marker,
                color=colour,
                label=str(name),
            )
        axes.set_ylabel(metric)
        axes.set_xlabel("fold, oldest first")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=scores.shape[1])
        axes.set_title(title)
    return figure


def forecast(frame: pd.DataFrame, *, unit: str, title: str) -> Figure:
    """Draw actual and forecast over local time, with the band where there is one.

    Parameters
    ----------
    frame : DataFrame
        UTC index; columns ``actual`` and ``forecast`` or ``p50``, optionally ``p10``,
        ``p90`` and ``naive``.
    """
    from matplotlib.figure import Figure

    middle = "p50" if "p50" in frame else "forecast"
    with styled():
        figure = Figure(figsize=(9.2, 2.8))
        axes = figure.subplots()
        if {"p10", "p90"} <= set(frame.columns):
            axes.fill_between(
                frame.index,
                frame["p10"],
                frame["p90"],
                color=BLUE,
                alpha=0.18,
                label="10–90 %",
                linewidth=0,
            )
        if "naive" in frame:
            axes.plot(frame.index, frame["naive"], "--", color=GREY, label="naive", linewidth=1)
        axes.plot(frame.index, frame[middle], color=BLUE, label="forecast")
        if "actual" in frame:
            axes.plot(frame.index, frame["actual"], color=INK, label="actual", linewidth=1.1)
        axes.set_ylabel(unit)
        local_axis(axes)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=4)
        axes.set_title(title)
    return figure


def confusion(
    counts: pd.DataFrame, title: str = "Recommendation: forecast (columns) against what came (rows)"
) -> Figure:
    """Draw a confusion table as shares of each row, with the counts written in.

    Parameters
    ----------
    counts : DataFrame
        Index: class that came; columns: class forecast; values: hours.
    """
    from matplotlib.figure import Figure

    hours = counts.to_numpy(dtype=int)
    shares = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0).fillna(0.0).to_numpy()
    with styled():
        figure = Figure(figsize=(5.6, 3.2))
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.55 else INK
            axes.text(
                column, row, f"{hours[row, column]:,}", ha="center", va="center", color=colour
            )
        axes.set_xticks(range(counts.shape[1]), [str(name) for name in counts.columns])
        axes.set_yticks(range(counts.shape[0]), [str(name) for name in counts.index])
        axes.grid(visible=False)
        axes.set_title(title)
    return figure


def importances(weights: Mapping[str, float], title: str, *, most: int = 12) -> Figure:
    """Draw the largest feature importances."""
    from matplotlib.figure import Figure

    top = sorted(weights.items(), key=lambda item: -item[1])[:most][::-1]
    with styled():
        figure = Figure(figsize=(9.2, 0.26 * len(top) + 0.9))
        axes = figure.subplots()
        axes.barh([name for name, _ in top], [weight for _, weight in top], color=BLUE, height=0.7)
        axes.grid(axis="y", visible=False)
        axes.set_title(title)
    return figure


def recommendations(classes: pd.Series, title: str) -> Figure:
    """Draw a class per hour as a calendar: local hours down, market days across.

    Parameters
    ----------
    classes : Series
        UTC index (hours); values are the recommendation's classes.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = list(RECOMMENDATION)
    index = pd.DatetimeIndex(classes.index).tz_convert(MADRID)
    codes = classes.map({name: code for code, name in enumerate(names)}).astype(float)
    grid = pd.DataFrame({"day": index.date, "hour": index.hour, "code": codes.to_numpy()})
    table = grid.pivot_table(index="hour", columns="day", values="code", aggfunc="first").reindex(
        range(24)
    )
    with styled():
        figure = Figure(figsize=(9.2, 3.2))
        axes = figure.subplots()
        axes.imshow(
            np.ma.masked_invalid(table.to_numpy(dtype=float)),
            cmap=ListedColormap(list(RECOMMENDATION.values())),
            vmin=-0.5,
            vmax=len(names) - 0.5,
            aspect="auto",
            interpolation="nearest",
        )
        ticks = np.unique(np.linspace(0, table.shape[1] - 1, min(8, table.shape[1])).astype(int))
        axes.set_xticks(ticks, [f"{table.columns[t]:%d %b}" for t in ticks])
        axes.set_yticks(range(0, 24, 6))
        axes.set_ylabel("local hour")
        axes.grid(visible=False)
        axes.set_title(title)
        patches = [Patch(color=colour, label=name) for name, colour in RECOMMENDATION.items()]
        axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
    return figure
