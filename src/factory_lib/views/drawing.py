"""Parts that the charts share: the figure in the page's style, its SVG, band and time axis."""

import hashlib
import io
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from html import escape
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, StepPatch
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from factory_lib.clock import display_zone
from factory_lib.views.palette import LIGHT, variable

WIDTH, NARROW = 9.6, 4.0  # inches: on a wide screen and on a phone
NARROW_TICKS = 5
STYLE: Any = {  # matplotlib types its keys as one literal of 300 names
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "factory",
    "path.simplify_threshold": 0.4,
    "savefig.transparent": True,
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": LIGHT["line2"],
    "axes.linewidth": 0.8,
    "axes.labelcolor": LIGHT["ink2"],
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LIGHT["line2"],
    "grid.linestyle": (0, (1, 3)),
    "grid.linewidth": 0.8,
    "xtick.color": LIGHT["ink2"],
    "ytick.color": LIGHT["ink2"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": LIGHT["ink"],
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "patch.linewidth": 0,
}
# By the step of the ticks, from years to seconds: a tick, one at the beginning of the next
# larger step, and the part of the date that they leave out.
_FORMATS = ["%Y", "%b", "%a %-d", "%H:%M", "%H:%M", "%S.%f"]
_ZERO_FORMATS = ["", "%b %Y", "%-d %b", "%a %-d", "%H:%M", "%H:%M"]
_OFFSET_FORMATS = ["", "%Y", "%b %Y", "%-d %b %Y", "%-d %b %Y", "%-d %b %Y"]
# A step to the next row of more than so many usual ones is a gap; rows that define the usual one.
_GAP_STEPS = 1.5
_NEIGHBOURS = 24
_SHORT_LEGEND = 3  # entries that fit beside a title
_COLOURS = {LIGHT[name]: name for name in LIGHT}
_DASHES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashed"}


class Chart(Figure):
    """A figure that a page shows as SVG: one wide drawing, one for a phone.

    Attributes
    ----------
    finding : str
        What it shows, in one sentence, for those who do not see it.
    """

    finding = "There is nothing to show."

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        title = self.axes[0].get_title(loc="left")
        copy = pickle.loads(pickle.dumps(self))  # noqa: S301  its own; the figure stays as it is
        legends = list(filter(None, (axes.get_legend() for axes in copy.axes)))
        keys = "".join(key for legend in legends for key in _keys(legend))
        for hidden in (*legends, *(axes.title for axes in copy.axes), copy.axes[0]._left_title):
            hidden.set_visible(False)
        wide = _svg(copy, self.finding, "wide")
        copy.set_size_inches(NARROW, copy.get_figheight())
        for axes in copy.axes:
            _thin_out(axes)
        narrow = _svg(copy, self.finding, "narrow")
        # the style sheet of the reports chooses between both; elsewhere the wide one is seen
        html = (
            f'<figure class="chart" style="background:{variable("card")};margin:1em 0">'
            f"<figcaption><b>{escape(title)}</b> {keys}</figcaption>"
            f'{wide}<div class="narrow" style="display:none">{narrow}</div></figure>'
        )
        return {"text/html": html, "text/plain": f"{title}: {self.finding}"}


def _keys(legend: Any) -> Iterator[str]:
    """Yield the entries of a legend as HTML."""
    for handle, label in zip(legend.legend_handles, legend.get_texts(), strict=True):
        if isinstance(handle, Line2D):
            line = _DASHES.get(str(handle.get_linestyle()), "solid")
            style = f"border-top:2px {line} {_colour(handle.get_color())};width:1.6em"
        else:
            edge = isinstance(handle, StepPatch)
            colour = mpl.colors.to_rgba(handle.get_edgecolor() if edge else handle.get_facecolor())
            style = f"background:{_colour(colour)};width:1em;height:{'2px' if edge else '.7em'}"
            style += f";opacity:{colour[3]:g}"
        swatch = f'<i style="display:inline-block;vertical-align:middle;{style}"></i>'
        words = escape(label.get_text())
        yield f'<span style="white-space:nowrap;margin-left:1em">{swatch} {words}</span>'


def _colour(value: Any) -> str:
    code = mpl.colors.to_hex(value)
    return variable(_COLOURS[code]) if code in _COLOURS else code


def _thin_out(axes: Axes) -> None:
    """Leave as many ticks of the x axis as a phone has room for."""
    for note in axes.texts:
        if isinstance(note, Annotation):  # of a stretch that is too short for it there
            note.set_visible(False)
    locator = axes.xaxis.get_major_locator()
    if isinstance(locator, AutoDateLocator):
        locator.minticks = 2
        locator.maxticks = dict.fromkeys(locator.maxticks, NARROW_TICKS)
    elif len(ticks := axes.get_xticks()) > NARROW_TICKS and axes.xaxis.get_ticklabels():
        labels = [label.get_text() for label in axes.get_xticklabels()]
        axes.set_xticks(ticks[::2], labels[::2] if any(labels) else None)


def _svg(figure: Figure, finding: str, css: str) -> str:
    """Return a drawing in the page's font and colours, its ids its own, its numbers short."""
    file = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>|<!--.*?-->", "", svg, flags=re.S
    )
    for colour, name in _COLOURS.items():
        svg = svg.replace(colour, variable(name))
    svg = re.sub(r"font: (?:\d+ )?([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r" font-family: [^;\"]*;| transform=\"rotate\(-0 [^\"]*\"|", "", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    used = set(re.findall(r"#([\w.]+)", svg))
    own = f"f{hashlib.sha1(svg.encode(), usedforsecurity=False).hexdigest()[:6]}"
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{own}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{own}", svg)
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda m: re.sub(r"(\.\d)\d+", r"\1", m[0]), svg)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><")
    svg = re.sub(r' d="([MLz\d. -]+)"', lambda m: f' d="{_corners(m[1])}"', svg)
    while svg != (svg := re.sub(r"<g[^>]*(?:/>|></g>)|<defs(?:/>|></defs>)", "", svg)):
        pass
    label = escape(finding)
    share = min(figure.get_figwidth() / WIDTH, 1.0) if css == "wide" else 1.0
    size = f"width:{share:.0%};height:auto"
    head = f'<svg class="{css}" role="img" aria-label="{label}" style="{size}" '
    return svg.replace("<svg ", head, 1)


def _corners(path: str) -> str:
    """Return a path without the points on the straight way from the one kept to the next.

    Of a corner that is written twice one stays.
    """
    points = re.findall(r"([MLz]) ?([\d.-]*) ?([\d.-]*)", path)
    kept = points[:1]
    for part, after in pairwise([*points[1:], *points[:1]]):
        straight = any(map(_alike, kept[-1][1:], part[1:], after[1:]))
        if not (part[0] == after[0] == "L" and straight):
            kept.append(part)
    return "".join(f"{letter}{x} {y}".rstrip() for letter, x, y in kept)


def _alike(*values: str) -> bool:
    return len(set(values)) == 1


@contextmanager
def chart(
    title: str, height: float, *, width: float = WIDTH, **grid: Any
) -> Iterator[tuple[Chart, list[Axes]]]:
    """Give a figure and its axes to draw on, in the library's style.

    The user's own settings of matplotlib stay as they are. ``grid`` is passed to
    ``Figure.subplots``; the title stands above the first panel. The caller sets ``finding``.
    """
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(width, height))
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
    axes.fill_between(
        x, low, high, step=step, color=LIGHT["market"], alpha=0.18, linewidth=0, label="8 in 10"
    )


def cells(axes: Axes, table: pd.DataFrame, styles: Sequence[tuple[str, float]]) -> None:
    """Draw a table as a grid of coloured cells.

    Parameters
    ----------
    table : DataFrame
        Numbers of ``styles``; NaN is left empty.
    styles : sequence of (name in the palette, opacity)
    """
    axes.grid(visible=False)
    codes = table.to_numpy(dtype=float)
    bars: dict[float, list[Any]] = {}
    for row, line in enumerate(codes):
        starts = np.flatnonzero(np.diff(line, prepend=-1.0))  # NaN differs from itself
        for first, after in pairwise([*starts, len(line)]):
            corners = (first - 0.5, row - 0.47), (after - 0.5, row + 0.47)
            bars.setdefault(line[first], []).append(Bbox(corners).corners()[[0, 1, 3, 2]])
    for code, (name, alpha) in enumerate(styles):
        if code in bars:
            path = Path.make_compound_path_from_polys(np.array(bars[code]))
            axes.add_patch(PathPatch(path, facecolor=LIGHT[name], alpha=alpha))
    axes.set_xlim(-0.5, codes.shape[1] - 0.5)
    axes.set_ylim(codes.shape[0] - 0.5, -0.5)


def binned(table: pd.DataFrame, edges: Sequence[float]) -> pd.DataFrame:
    """Return the number of the bin of each value; NaN stays NaN."""
    codes = np.digitize(table.to_numpy(dtype=float), edges).astype(float)
    return pd.DataFrame(codes, table.index, table.columns).where(table.notna())


def day_ticks(axes: Axes, days: pd.Index, pattern: str) -> None:
    """Label at most eight of the days that stand side by side."""
    ticks = np.unique(np.linspace(0, len(days) - 1, min(8, len(days))).astype(int))
    axes.set_xticks(ticks, [pd.Timestamp(days[tick]).strftime(pattern) for tick in ticks])


def local_axis(axes: Axes, *, now: datetime | None = None) -> None:
    """Label the time axis in local time and mark ``now``."""
    locator = AutoDateLocator(tz=display_zone(), minticks=4, maxticks=9)
    formatter = ConciseDateFormatter(
        locator, display_zone(), _FORMATS, _OFFSET_FORMATS, _ZERO_FORMATS
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    if now is not None:
        axes.axvline(date2num(now), color=LIGHT["ink"], linewidth=0.9, linestyle=":")


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
