"""Charts of forecasts and their quality, always beside the naive baseline."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from factory_lib.clock import display_zone
from factory_lib.views.drawing import (
    binned,
    cells,
    chart,
    day_ticks,
    draw_band,
    legend,
    local_axis,
    split_at_gaps,
)
from factory_lib.views.palette import LIGHT, RECOMMENDATION
from factory_lib.views.words import Words

_SHARES = tuple(n / 10 for n in range(1, 10))
# at most half, on which a number stands out both on light and on dark pages
_SHADES = tuple(("market", max(n / 18, 0.03)) for n in range(10))


def fold_scores(scores: pd.DataFrame, *, metric: str, title: str) -> Figure:
    """Draw a metric by fold: a solid line for the model, a dashed one for each other candidate.

    Parameters
    ----------
    scores : DataFrame
        Index: fold; one column per candidate, the model first; NaN where a candidate was
        not scored on the whole fold.
    """
    colours = (LIGHT["red"], LIGHT["ink2"], LIGHT["s3"])
    others = cycle(zip(colours, ("--", ":", "-."), "s^v", strict=True))
    with chart(title, 2.6) as (figure, [axes]):
        for name in scores:
            first = name == scores.columns[0]
            colour, line, marker = (LIGHT["market"], "-", "o") if first else next(others)
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
        means = ", ".join(f"{name} {mean:.2g}" for name, mean in scores.mean().items())
        figure.finding = f"{metric}, mean of {len(scores)} folds: {means}."
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
    is_forecast = values[middle].notna().any()
    with chart(title, 2.8) as (figure, [axes]):
        if is_forecast and {"p10", "p90"} <= set(values.columns):
            draw_band(axes, values.index, values["p10"], values["p90"])
        if "naive" in values:
            axes.plot(
                values.index, values["naive"], "--", color=LIGHT["ink2"], label="naive", linewidth=1
            )
        if is_forecast:
            axes.plot(values.index, values[middle], color=LIGHT["market"], label="forecast")
        if "actual" in values:
            axes.plot(
                values.index, values["actual"], color=LIGHT["ink"], label="actual", linewidth=1.1
            )
        axes.set_ylabel(unit)
        local_axis(axes)
        legend(axes)
        figure.finding = _course(frame, middle, unit)
    return figure


def _course(frame: pd.DataFrame, middle: str, unit: str) -> str:
    """Return where a forecast runs, and how far what came was from it."""
    values = frame[middle].dropna()
    if values.empty:
        actual = frame.get("actual", values)
        ends = f"actual from {actual.min():.0f} to {actual.max():.0f} {unit}"
        return f"No forecast of these hours; {ends}."
    ends = f"Forecast from {values.min():.0f} to {values.max():.0f} {unit}"
    off = (frame[middle] - frame["actual"]).abs().mean() if "actual" in frame else np.nan
    return f"{ends}; {off:.1f} off in the mean." if np.isfinite(off) else f"{ends}."


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
        cells(axes, binned(shares, _SHARES), _SHADES)
        for (row, column), count in np.ndenumerate(hours):
            axes.text(column, row, f"{count:,}", ha="center", va="center")
        names = [str(name).replace(" ", "\n") for name in counts.columns]
        axes.set_xticks(range(counts.shape[1]), names)
        axes.set_yticks(range(counts.shape[0]), [str(name) for name in counts.index])
        total = max(int(hours.sum()), 1)
        right = int(np.trace(hours))
        figure.finding = f"Right in {right:,} of {total:,} hours ({right / total:.0%})."
    return figure


def importances(weights: Mapping[str, float], title: str, *, most: int = 12) -> Figure:
    """Draw the largest feature importances."""
    top = pd.Series(weights).nlargest(most)[::-1]
    with chart(title, 0.26 * len(top) + 0.9) as (figure, [axes]):
        names = [str(name).replace("_", " ") for name in top.index]
        axes.barh(names, top.to_numpy(), color=LIGHT["market"], height=0.7)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x")
        most_important = f"{names[-1]} ({top.iloc[-1]:.0%})" if len(top) else "none"
        figure.finding = f"The most important feature: {most_important}."
    return figure


def recommendations(classes: pd.Series, title: str) -> Figure:
    """Draw a class per hour as a calendar: local hours down, market days across.

    Parameters
    ----------
    classes : Series
        UTC index (hours); values are the recommendation's classes.
    """
    names = list(RECOMMENDATION)
    local = pd.DatetimeIndex(classes.index).tz_convert(display_zone())
    codes = classes.map({name: code for code, name in enumerate(names)}).astype(float)
    hours = pd.DataFrame({"day": local.date, "hour": local.hour, "code": codes.to_numpy()})
    table = hours.pivot_table(index="hour", columns="day", values="code", aggfunc="first")
    with chart(title, 3.2) as (figure, [axes]):
        styles = [(colour, 1.0) for colour in RECOMMENDATION.values()]
        cells(axes, table.reindex(range(24)), styles)
        day_ticks(axes, table.columns, "%a %-d")
        axes.set_yticks(range(0, 24, 6))
        axes.set_ylabel("local hour")
        patches = [
            Patch(color=LIGHT[colour], label=Words("en").name(name))
            for name, colour in RECOMMENDATION.items()
        ]
        axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
        counts = classes.value_counts()
        parts = (f"{Words('en').name(name)} in {counts.get(name, 0)}" for name in names)
        figure.finding = f"Of {classes.notna().sum()} hours: {', '.join(parts)}."
    return figure
