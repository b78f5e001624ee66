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
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=MADRID))
    if now is not None:
        axes.axvline(pd.Timestamp(now), color=GREY, linewidth=0.9, linestyle=":")  # type: ignore[arg-type]


def lines(frame: pd.DataFrame, title: str, *, now: datetime | None = None, steps: bool = True) -> Figure:
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
                    frame.index, frame[name], label=label(name).partition(" (")[0], color=_COLOURS.get(name), **style
                )
            axes.set_ylabel(unit)
            if frame[names].min().min() < 0:
                axes.axhline(0, color=LINE, linewidth=1)
            axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=len(names))
            local_axis(axes, now=now)
        panels[0].set_title(title)
    return figure
