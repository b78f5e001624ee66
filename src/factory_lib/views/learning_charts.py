"""Charts of forecasts and their quality, always beside the naive baseline."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from factory_lib.clock import MADRID
from factory_lib.views.drawing import (
    cells,
    chart,
    day_ticks,
    draw_band,
    legend,
    local_axis,
    split_at_gaps,
)
from factory_lib.views.palette import BLUE, GREY, INK, ORANGE, RECOMMENDATION

_DARK = 0.55  # share from which a cell needs white text


def fold_scores(scores: pd.DataFrame, *, metric: str, title: str) -> Figure:
    """Draw a metric by fold: a solid line for the model, a dashed one for each other candidate.

    Parameters
    ----------
    scores : DataFrame
        Index: fold; one column per candidate, the model first; NaN where a candidate was
        not scored on the whole fold.
    """
    others = cycle([(ORANGE, "--", "s"), (GREY, ":", "^"), (INK, "-.", "v")])
    with chart(title, 2.6) as (figure, [axes]):
        for name in scores:
            first = name == scores.columns[0]
            colour, line, marker = (BLUE, "-", "o") if first else next(others)
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
        legend(axes)
    return figure


def forecast(frame: pd.DataFrame, *, unit: str, title: str) -> Figure:
    """Draw actual and forecast over local time, with the band where there is one.

    Parameters
    ----------
    frame : DataFrame
        UTC index; columns ``actual`` and ``forecast`` or ``p50``, optionally ``p10``,
        ``p90`` and ``naive``.
    """
    values = split_at_gaps(frame)
    middle = "p50" if "p50" in values else "forecast"
    with chart(title, 2.8) as (figure, [axes]):
        if {"p10", "p90"} <= set(values.columns):
            draw_band(axes, values.index, values["p10"], values["p90"])
        if "naive" in values:
            axes.plot(values.index, values["naive"], "--", color=GREY, label="naive", linewidth=1)
        axes.plot(values.index, values[middle], color=BLUE, label="forecast")
        if "actual" in values:
            axes.plot(values.index, values["actual"], color=INK, label="actual", linewidth=1.1)
        axes.set_ylabel(unit)
        local_axis(axes)
        legend(axes)
    return figure


def confusion_matrix(
    counts: pd.DataFrame,
    title: str = "Outdoor index: forecast class (columns) and actual class (rows)",
) -> Figure:
    """Draw a confusion matrix as shares of each row, with the counts written in.

    Parameters
    ----------
    counts : DataFrame
        Index: actual class; columns: forecast class; values: hours.
    """
    shares = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0).fillna(0.0)
    hours = counts.to_numpy(dtype=int)
    with chart(title, 3.2, width=5.6) as (figure, [axes]):
        cells(axes, shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares.to_numpy()):
            colour = "white" if share > _DARK else INK
            count = f"{hours[row, column]:,}"
            axes.text(column, row, count, ha="center", va="center", color=colour)
        axes.set_xticks(range(counts.shape[1]), [str(name) for name in counts.columns])
        axes.set_yticks(range(counts.shape[0]), [str(name) for name in counts.index])
    return figure


def importances(weights: Mapping[str, float], title: str, *, most: int = 12) -> Figure:
    """Draw the largest feature importances."""
    top = pd.Series(weights).nlargest(most)[::-1]
    with chart(title, 0.26 * len(top) + 0.9) as (figure, [axes]):
        axes.barh(list(top.index), top.to_numpy(), color=BLUE, height=0.7)
        axes.grid(axis="y", visible=False)
    return figure


def recommendations(classes: pd.Series, title: str) -> Figure:
    """Draw a class per hour as a calendar: local hours down, market days across.

    Parameters
    ----------
    classes : Series
        UTC index (hours); values are the recommendation's classes.
    """
    names = list(RECOMMENDATION)
    local = pd.DatetimeIndex(classes.index).tz_convert(MADRID)
    codes = classes.map({name: code for code, name in enumerate(names)}).astype(float)
    hours = pd.DataFrame({"day": local.date, "hour": local.hour, "code": codes.to_numpy()})
    table = hours.pivot_table(index="hour", columns="day", values="code", aggfunc="first")
    colours = ListedColormap(list(RECOMMENDATION.values()))
    with chart(title, 3.2) as (figure, [axes]):
        cells(axes, table.reindex(range(24)), cmap=colours, vmin=-0.5, vmax=len(names) - 0.5)
        day_ticks(axes, table.columns, "%d %b")
        axes.set_yticks(range(0, 24, 6))
        axes.set_ylabel("local hour")
        patches = [Patch(color=colour, label=name) for name, colour in RECOMMENDATION.items()]
        axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
    return figure
