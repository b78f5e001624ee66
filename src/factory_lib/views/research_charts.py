"""Charts for looking around: how a series is distributed, and when the room is out of limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from factory_lib.views.palette import BLUE, INK, SOFT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def distribution(values: pd.Series, by_hour: pd.DataFrame, *, unit: str, title: str) -> Figure:
    """Draw how often which value comes, and the usual course of the day where there is one.

    Parameters
    ----------
    values : Series
        Floats; NaN is left out.
    by_hour : DataFrame
        Index local hour; ``p10``, ``p50``, ``p90``. Empty for series without hours.
    """
    from matplotlib.figure import Figure

    known = values.dropna().to_numpy(dtype=float)
    with styled():
        figure = Figure(figsize=(9.2, 2.8))
        panels = np.atleast_1d(
            np.asarray(figure.subplots(1, 1 if by_hour.empty else 2), dtype=object)
        )
        panels[0].set_axisbelow(True)
        panels[0].hist(known, bins=60, color=BLUE, alpha=0.75)
        panels[0].set_xlabel(unit)
        panels[0].set_ylabel("slots")
        panels[0].set_title(title)
        if not by_hour.empty:
            hours = np.asarray(by_hour.index, dtype=float)
            panels[1].fill_between(
                hours,
                by_hour["p10"],
                by_hour["p90"],
                color=BLUE,
                alpha=0.18,
                linewidth=0,
                label="10–90 %",
            )
            panels[1].plot(hours, by_hour["p50"], color=INK, label="median")
            panels[1].set_xticks(range(0, 25, 6))
            panels[1].set_xlabel("local hour")
            panels[1].set_ylabel(unit)
            panels[1].legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2)
    return figure


def months_by_hour(shares: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw, side by side for each stage, the share of hours out of limits: local hours down, months across.

    Parameters
    ----------
    shares : mapping of stage to DataFrame
        0 to 1; index local hour, columns months.
    """
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(9.2, 3.4))
        panels = np.atleast_1d(
            np.asarray(figure.subplots(1, max(len(shares), 1), sharey=True), dtype=object)
        )
        for axes, (stage, table) in zip(panels, shares.items(), strict=False):
            drawn = axes.imshow(
                np.ma.masked_invalid(table.to_numpy(dtype=float)),
                cmap="YlOrRd",
                vmin=0,
                vmax=1,
                aspect="auto",
            )
            axes.set_xticks(range(table.shape[1]), [str(name)[0] for name in table.columns])
            axes.set_yticks(range(0, 24, 6))
            axes.grid(visible=False)
            axes.set_xlabel(stage, color=SOFT)
        if shares:
            panels[0].set_ylabel("local hour")
            bar = figure.colorbar(drawn, ax=list(panels), ticks=[0, 0.5, 1], pad=0.01)
            bar.set_ticklabels(["never", "half", "always"])
        panels[0].set_title(title)
    return figure
