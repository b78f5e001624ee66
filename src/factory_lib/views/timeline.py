"""Charts of the live page: SVG that stretches with the page, and labels in HTML that do not.

x runs from 0 to 1000 along the time axis and y from 0 (above) to 100. Whatever stands at an
x says so in ``data-x``, so that the script of the page can enlarge a part.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import day_start, days_between, display_zone
from factory_lib.views.words import Words, text

WIDTH = 1000.0
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_TICKS = 5
NARROW = 110  # of 1000: no room for a word on a phone
DAY_NAME = 150  # of 1000: what the name of a day takes on a phone
LONG_DAYS = 21  # from so many days on a label names the month
MOST_WEEKENDS = 62  # days of an axis on which they do not blur


@dataclass(frozen=True)
class TimeAxis:
    """The time that a chart shows, UTC; ``now`` is marked where it lies inside."""

    begin: datetime
    end: datetime
    now: datetime | None = None

    def x(self, at: datetime) -> float:
        """Return the place of an instant, at most at an end of the axis."""
        share = (at - self.begin) / (self.end - self.begin)
        return round(WIDTH * min(max(share, 0.0), 1.0), 2)

    def xs(self, index: pd.DatetimeIndex) -> list[float]:
        """Return the places of many instants."""
        shares = (index - self.begin) / (self.end - self.begin)
        places: list[float] = np.round(WIDTH * np.clip(shares, 0.0, 1.0), 2).tolist()
        return places

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.end - self.begin) / timedelta(days=1)


@dataclass(frozen=True)
class Scale:
    """The values that a chart shows, with ticks at round ones."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def y(self, value: float) -> float:
        """Return the height of a value, from above."""
        return round(100 * (self.high - value) / (self.high - self.low), 2)

    def ys(self, values: pd.Series) -> list[float]:
        """Return the heights of many values."""
        heights = 100 * (self.high - values.to_numpy(float)) / (self.high - self.low)
        result: list[float] = np.round(heights, 2).tolist()
        return result


def scale_of(*values: pd.Series, zero: bool = False) -> Scale:
    """Return a scale for all values; ``zero`` lets it begin at 0 or below."""
    numbers = pd.concat([pd.Series(part, dtype=float) for part in values]).dropna()
    numbers = pd.concat([numbers, pd.Series([0.0] if zero or numbers.empty else [])])
    low = float(numbers.min())
    high = float(numbers.max())
    span = max(high - low, 1e-9)
    rough = span / _MOST_TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(nice * power for nice in _NICE if nice * power >= rough)
    first = np.floor(low / step)
    last = max(np.ceil((high + 0.02 * span) / step), first + 1)
    ticks = tuple(float(n * step) for n in np.arange(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


# -- paths -------------------------------------------------------------------------------


def _stretches(values: pd.DataFrame, step: timedelta) -> Iterator[pd.DataFrame]:
    """Yield the parts without a gap."""
    whole = values.dropna()
    if whole.empty:
        return
    gaps = whole.index.to_series().diff() > step * 1.5
    for _, part in whole.groupby(gaps.cumsum()):
        yield part


def _edges(axis: TimeAxis, part: pd.DataFrame, step: timedelta) -> list[tuple[float, float]]:
    places = axis.xs(pd.DatetimeIndex(part.index))
    return list(zip(places, [*places[1:], axis.x(part.index[-1] + step)], strict=True))


def _stairs(edges: Sequence[tuple[float, float]], heights: Sequence[float]) -> str:
    """Return the commands that follow the heights from left to right."""
    return "".join(f"V{y:g}H{right:g}" for (_, right), y in zip(edges, heights, strict=True))


def line(axis: TimeAxis, scale: Scale, values: pd.Series, step: timedelta, css: str) -> str:
    """Return a line of steps: a value holds for its slot, and a gap stays one."""
    path = []
    for part in _stretches(values.to_frame("value"), step):
        edges = _edges(axis, part, step)
        heights = scale.ys(part["value"])
        path.append(f"M{edges[0][0]:g} {heights[0]:g}{_stairs(edges, heights)}")
    return f'<path class="{css}" d="{"".join(path)}"/>' if path else ""


def area(
    axis: TimeAxis, scale: Scale, low: pd.Series, high: pd.Series, step: timedelta, css: str
) -> str:
    """Return the area between two series, in steps."""
    path = []
    for part in _stretches(pd.DataFrame({"low": low, "high": high}), step):
        edges = _edges(axis, part, step)
        upper = scale.ys(part["high"])
        lower = scale.ys(part["low"])[::-1]
        back = "".join(f"V{y:g}H{left:g}" for (left, _), y in zip(edges[::-1], lower, strict=True))
        path.append(f"M{edges[0][0]:g} {upper[0]:g}{_stairs(edges, upper)}{back}Z")
    return f'<path class="{css}" d="{"".join(path)}"/>' if path else ""


def ground(axis: TimeAxis, begin: datetime, end: datetime, css: str) -> str:
    """Return a ground from top to bottom."""
    x = axis.x(begin)
    return f'<rect class="{css}" x="{x:g}" y="0" width="{axis.x(end) - x:g}" height="100"/>'


def weekends(axis: TimeAxis) -> str:
    """Return the grounds of Saturdays and Sundays; a long axis has none."""
    if axis.days > MOST_WEEKENDS:
        return ""
    zone = display_zone()
    free = [day for day in days_between(axis.begin, axis.end, zone) if day.weekday() > 4]
    days = [(day_start(day, zone), day_start(day + timedelta(days=1), zone)) for day in free]
    return "".join(ground(axis, begin, end, "weekend") for begin, end in days)


# -- labels ------------------------------------------------------------------------------


def label(x: float, words: str, css: str) -> str:
    """Return a label at an x; the words are HTML already."""
    return f'<span class="{css}" data-x="{x:g}" style="left:{x / 10:g}%">{words}</span>'


def bar(x: float, right: float, css: str, words: str = "", title: str = "") -> str:
    """Return a bar from an x to another."""
    width = max(right - x, 0.0)
    hint = f' title="{text(title)}"' if title else ""
    css = f"{css} narrow" if width < NARROW else css
    return (
        f'<span class="{css}"{hint} data-x="{x:g}" data-w="{width:g}" '
        f'style="left:{x / 10:g}%;width:{width / 10:g}%">{words}</span>'
    )


def day_names(axis: TimeAxis, words: Words) -> str:
    """Return the names of the days at their midnights, or of some days of a long axis."""
    days = list(days_between(axis.begin, axis.end, display_zone()))
    room = axis.x(day_start(days[0] + timedelta(days=1), display_zone()))
    if room < min(DAY_NAME, WIDTH / axis.days / 2):  # the end of a day that began before the axis
        del days[0]
    labels = []
    for number, day in enumerate(days[:: max(1, -(-len(days) // 8))]):
        start = day_start(day, display_zone())
        name = words.weekday(start) if axis.days < LONG_DAYS else words.dated(start)[:-6]
        labels.append(label(axis.x(start), name, "day second" if number % 2 else "day"))
    return f'<div class="days">{"".join(labels)}</div>'


def hour_labels(axis: TimeAxis) -> str:
    """Return the local hours, three apart, the ones of noon and midnight in bold."""
    hours = pd.date_range(axis.begin, axis.end, freq="h", inclusive="left").tz_convert(
        display_zone()
    )
    labels = [
        label(
            axis.x(at),
            f"{at.hour:02d}",
            "hour major" if at.hour % 12 == 0 else "hour" if at.hour % 6 == 0 else "hour minor",
        )
        for at in hours
        if at.hour % 3 == 0 and at.minute == 0
    ]
    return f'<div class="hours">{"".join(labels)}</div>'


def value_labels(scale: Scale, words: Words, unit: str) -> str:
    """Return the values of the grid lines, and the unit once above them."""
    step = scale.ticks[1] - scale.ticks[0]
    decimals = next((n for n in range(4) if abs(step - round(step, n)) < 1e-9), 4)
    labels = [
        f'<span style="top:{scale.y(tick):g}%">{words.number(tick, decimals)}</span>'
        for tick in scale.ticks[:-1]
    ]
    return f'<div class="values"><b>{text(unit)}</b>{"".join(labels)}</div>'


def grid(scale: Scale) -> str:
    """Return the grid lines."""
    lines = (f"M0 {scale.y(tick):g}H1000" for tick in scale.ticks[:-1])
    zero = f'<path class="zero" d="M0 {scale.y(0):g}H1000"/>' if scale.low < 0 < scale.high else ""
    return f'<path class="grid" d="{"".join(lines)}"/>{zero}'


# -- the whole ---------------------------------------------------------------------------


def plot(drawing: str, labels: str, css: str = "") -> str:
    """Return one drawing with its labels."""
    svg = (
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">{drawing}</svg>'
    )
    return f'<div class="plot {css}">{svg}{labels}</div>'


def lane(title: str, hint: str, content: str, css: str = "") -> str:
    """Return a row of a chart: what it shows at the left, and the content on the time axis."""
    return (
        f'<div class="lane {css}"><div class="lane-name">{text(title)}<small>{text(hint)}</small>'
        f'</div><div class="on-axis">{content}</div></div>'
    )


@dataclass(frozen=True)
class Readout:
    """The text that a chart shows for the slot that begins at ``x``."""

    x: float
    head: str
    body: str


def _first(axis: TimeAxis, readings: Sequence[Readout]) -> Readout:
    """Return the readout of now, else the first."""
    past = [one for one in readings if axis.now is None or one.x <= axis.x(axis.now)]
    return past[-1] if past else next(iter(readings), Readout(0, "", ""))


def chart(
    axis: TimeAxis,
    title: str,
    hint: str,
    finding: str,
    lanes: Iterable[str],
    readings: Sequence[Readout],
    words: Words,
    legend: Iterable[tuple[str, str]] = (),
    table: str = "",
) -> str:
    """Return a chart of lanes on one time axis, with a line that is moved over it.

    Parameters
    ----------
    finding : str
        What the picture shows, for those who do not see it.
    readings : sequence of Readout
        Ascending in x; shown at a fixed place when the line comes to them.
    legend : iterable of (class, text)
        Kinds of areas.
    """
    first = _first(axis, readings)
    marks = "".join(f'<span><i class="{css}"></i>{text(name)}</span>' for css, name in legend)
    data = json.dumps([[one.x, one.head, one.body] for one in readings], ensure_ascii=False)
    now = ""
    if axis.now is not None and axis.begin < axis.now < axis.end:
        now = label(axis.x(axis.now), "", "now")
    details = f"<details><summary>{words('as_table')}</summary>{table}</details>" if table else ""
    return (
        f'<figure class="card chart"><figcaption><div><h2>{text(title)}</h2>'
        f"<p>{text(hint)}</p></div>"
        f'<p class="readout" aria-live="polite"><b>{text(first.head)}</b> {text(first.body)}</p>'
        f'</figcaption><div class="canvas" tabindex="0" role="img" aria-label="{text(finding)}">'
        f'{"".join(lanes)}<div class="over">{now}<span class="cursor" hidden></span></div></div>'
        f'<div class="legend">{marks}<button type="button" class="whole" hidden>{words("whole")}'
        f"</button></div>{details}"
        f'<script type="application/json">{data.replace("<", chr(92) + "u003c")}</script></figure>'
    )
