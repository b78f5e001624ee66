"""Parts that the charts share: the figure in the library's style, legend, band and time axis."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from factory_lib.clock import MADRID
from factory_lib.views.palette import BLUE, GREY, INK, LINE, SOFT

WIDTH = 9.2  # inches
STYLE: Any = {  # matplotlib types its keys as one literal of 300 names
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
}
# By the step of the ticks, from years to seconds: a tick, one at the beginning of the next
# larger step, and the part of the date that they leave out.
_FORMATS = ["%Y", "%b", "%a %d", "%H:%M", "%H:%M", "%S.%f"]
_ZERO_FORMATS = ["", "%Y", "%b", "%a %d", "%H:%M", "%H:%M"]
_OFFSET_FORMATS = ["", "%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"]
# A step to the next row of more than so many usual ones is a gap; rows that define the usual one.
_GAP_STEPS = 1.5
_NEIGHBOURS = 24
_SHORT_LEGEND = 3  # entries that fit beside a title


@contextmanager
def chart(
    title: str, height: float, *, width: float = WIDTH, **grid: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure and its axes to draw on, in the library's style.

    The user's own settings of matplotlib stay as they are. ``grid`` is passed to
    ``Figure.subplots``; the title stands above the first panel.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        panels = list(np.ravel(figure.subplots(**grid)))
        panels[0].set_title(title)
        yield figure, panels


def legend(axes: Axes) -> None:
    """Put the legend in one line above the axes at the right; a long one below the title."""
    labels = axes.get_legend_handles_labels()[1]
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=max(1, len(labels)))
    title = axes.get_title(loc="left")
    if title and len(labels) > _SHORT_LEGEND:
        axes.set_title(title, pad=26)


def draw_band(axes: Axes, x: Any, low: Any, high: Any, *, step: Any = None) -> None:
    """Draw the band that holds eight values in ten."""
    axes.fill_between(x, low, high, step=step, color=BLUE, alpha=0.18, linewidth=0, label="10–90 %")


def cells(axes: Axes, table: pd.DataFrame, **style: Any) -> Any:
    """Draw a table as a grid of coloured cells; NaN is left empty."""
    axes.grid(visible=False)
    grid = np.ma.masked_invalid(table.to_numpy(dtype=float))
    return axes.imshow(grid, aspect="auto", interpolation="nearest", **style)


def day_ticks(axes: Axes, days: pd.Index, pattern: str) -> None:
    """Label at most eight of the days that stand side by side."""
    ticks = np.unique(np.linspace(0, len(days) - 1, min(8, len(days))).astype(int))
    axes.set_xticks(ticks, [pd.Timestamp(days[tick]).strftime(pattern) for tick in ticks])


def local_axis(axes: Axes, *, now: datetime | None = None) -> None:
    """Label the time axis in local time and mark ``now``."""
    locator = AutoDateLocator(tz=MADRID, minticks=4, maxticks=9)
    formatter = ConciseDateFormatter(locator, MADRID, _FORMATS, _OFFSET_FORMATS, _ZERO_FORMATS)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    if now is not None:
        axes.axvline(date2num(now), color=GREY, linewidth=0.9, linestyle=":")


def split_at_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with a row of NaN in each gap of its index, which no line then crosses.

    Parameters
    ----------
    frame : DataFrame
        Times in order. The cadence may change: the usual step is the larger one of the
        medians before and after.
    """
    steps = frame.index.to_series().diff().shift(-1).dt.total_seconds()
    before = steps.rolling(_NEIGHBOURS, min_periods=1).median()
    after = steps[::-1].rolling(_NEIGHBOURS, min_periods=1).median()[::-1]
    usual = np.maximum(before, after)
    ends = frame.index + pd.to_timedelta(usual, unit="s")
    return frame.reindex(frame.index.union(ends[steps > _GAP_STEPS * usual]))


def step_line(axes: Axes, values: pd.Series, **style: Any) -> None:
    """Draw values that hold for their whole slot, the last one before a gap too."""
    starts = pd.DatetimeIndex(values.index)
    width = starts[-1] - starts[-2] if len(starts) > 1 else pd.Timedelta(hours=1)
    edges: Any = starts.append(starts[-1:] + width)
    style["linewidth"] = STYLE["lines.linewidth"]
    axes.stairs(values.to_numpy(float), edges, baseline=None, **style)
