"""Charts of prices and weather over local time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.views.palette import BLUE, GREY, LINE, ORANGE, RED, SKY, styled
from factory_lib.views.tables import label, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "spot_eur_mwh": BLUE,
    "pvpc_eur_mwh": ORANGE,
    "temperature_c": RED,
    "humidity_pct": SKY,
}


def local_axis(axes: Axes, *, now: datetime | None = None) -> None:
    """Label the time axis in local time and mark ``now``."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=MADRID, minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    iso = [
        "",
        "%Y",
        "%Y-%m",
        "%Y-%m-%d",
        "%Y-%m-%d",
        "%Y-%m-%d %H:%M",
    ]  # of what the ticks leave out, by their step
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=MADRID, offset_formats=iso))
    if now is not None:
        axes.axvline(pd.Timestamp(now), color=GREY, linewidth=0.9, linestyle=":")  # type: ignore[arg-type]


def lines(
    frame: pd.DataFrame, title: str, *, now: datetime | None = None, steps: bool = True
) -> Figure:
    """Draw each column of a wide frame in a panel per unit; holes stay holes.

    Parameters
    ----------
    frame : DataFrame
        Wide: UTC index ``start``, one float column per series.
    now : datetime, optional
        Marked by a dotted line; what lies right of it is published ahead.
    steps : bool
        Prices hold for their whole slot, so they are drawn as steps.
    """
    from matplotlib.figure import Figure

    groups: dict[str, list[str]] = {}
    for name in frame.columns:
        groups.setdefault(unit_of(name), []).append(name)
    with styled():
        figure = Figure(figsize=(9.2, 2.3 * len(groups) + 0.4))
        panels: list[Any] = list(figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0])
        for axes, (unit, names) in zip(panels, groups.items(), strict=True):
            for name in names:
                style = {"drawstyle": "steps-post"} if steps else {}
                axes.plot(
                    frame.index,
                    frame[name],
                    label=label(name).partition(" (")[0],
                    color=_COLOURS.get(name),
                    **style,
                )
            axes.set_ylabel(unit)
            if frame[names].min().min() < 0:
                axes.axhline(0, color=LINE, linewidth=1)
            axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=len(names))
            local_axis(axes, now=now)
        many = (
            len(next(iter(groups.values()), [])) > 3
        )  # then the legend needs a line of its own below the title
        panels[0].set_title(title, pad=26 if many else None)
    return figure
