"""Charts of series: over local time, by distribution, by month and hour, by completeness."""

from datetime import datetime
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from factory_lib.views.drawing import (
    binned,
    cells,
    chart,
    day_ticks,
    draw_band,
    legend,
    local_axis,
    split_at_gaps,
    step_line,
)
from factory_lib.views.live_charts import COMPLETE, NEARLY, PARTLY
from factory_lib.views.palette import LIGHT
from factory_lib.views.tables import label, unit_of
from factory_lib.views.words import Words

_COLOURS = {
    "spot_eur_mwh": LIGHT["market"],
    "pvpc_eur_mwh": LIGHT["red"],
    "temperature_c": LIGHT["halt"],
    "humidity_pct": LIGHT["mod"],
}
_OTHERS = tuple(LIGHT[name] for name in ("market", "opt", "s3", "ink2"))
_ROW_IN = 0.3
# Shares of a day's due values from which on a cell is paler, and the colours from none on.
_COMPLETE = (PARTLY, NEARLY, COMPLETE)
_COMPLETENESS = (("halt", 1.0), ("red", 1.0), ("red", 0.45), ("full", 1.0))
_SHARES = tuple(n / 10 for n in range(1, 10))
_SHADES = tuple(("halt", max(n / 10, 0.04)) for n in range(10))


def lines(
    frame: pd.DataFrame, title: str, *, now: datetime | None = None, steps: bool = True
) -> Figure:
    """Draw each column of a wide frame in a panel per unit; gaps stay gaps.

    Parameters
    ----------
    frame : DataFrame
        Wide: UTC index ``start``, one float column per series.
    now : datetime, optional
        Marked by a dotted line; values right of it are published ahead.
    steps : bool
        Prices hold for their whole slot, so they are drawn as steps.
    """
    names_by_unit = frame.columns.to_series().groupby(unit_of, sort=False).groups
    values = split_at_gaps(frame)
    height = 2.3 * len(names_by_unit) + 0.4
    findings = []
    with chart(title, height, nrows=len(names_by_unit), sharex=True) as (figure, panels):
        for axes, (unit, names) in zip(panels, names_by_unit.items(), strict=True):
            others = cycle(_OTHERS)
            for name in names:
                colour = _COLOURS.get(name) or next(others)
                words = Words("en").name(str(name))
                words = label(name).partition(" (")[0] if words == name else words
                findings.append(_finding(frame[name], words, str(unit)))
                if steps:
                    step_line(axes, values[name], label=words, color=colour)
                else:
                    axes.plot(values.index, values[name], label=words, color=colour)
            axes.set_ylabel(str(unit))
            if frame[names].min().min() < 0:
                axes.axhline(0, color=LIGHT["line2"], linewidth=1)
            legend(axes)
            local_axis(axes, now=now)
        figure.finding = "; ".join(findings) + "."
    return figure


def _finding(values: pd.Series, name: str, unit: str) -> str:
    """Return between which values a series lies, and how much of it is not finite."""
    if values.notna().sum() == 0:
        return f"{name}: no value"
    holes = f", {values.isna().mean():.0%} without a value" if values.isna().any() else ""
    ends = f"from {values.min():.0f} to {values.max():.0f}"
    return f"{name} {ends} {unit}, {values.mean():.0f} in the mean{holes}"


def distribution(values: pd.Series, by_hour: pd.DataFrame, *, unit: str, title: str) -> Figure:
    """Draw the frequency of the values, and the usual course of the day where there is one.

    Parameters
    ----------
    values : Series
        Floats; NaN is left out.
    by_hour : DataFrame
        Index local hour; ``p10``, ``p50``, ``p90``. Empty for series without hours.
    """
    finite = values.dropna().astype(float)
    with chart(title, 2.8, ncols=1 if by_hour.empty else 2) as (figure, panels):
        panels[0].hist(finite.to_numpy(), bins=60, color=LIGHT["market"])
        panels[0].set_xlabel(unit)
        panels[0].set_ylabel("slots")
        if not by_hour.empty:
            hours = np.asarray(by_hour.index, dtype=float)
            draw_band(panels[1], hours, by_hour["p10"], by_hour["p90"])
            panels[1].plot(hours, by_hour["p50"], color=LIGHT["ink"], label="median")
            panels[1].set_xticks(range(0, 25, 6))
            panels[1].set_xlabel("local hour")
            panels[1].set_ylabel(unit)
            legend(panels[1])
        if len(finite):
            low, high = finite.quantile([0.1, 0.9])
            figure.finding = (
                f"Eight of ten values lie between {low:.0f} and {high:.0f} {unit}, "
                f"the middle one is {finite.median():.0f}."
            )
    return figure


def months_by_hour(shares: pd.DataFrame, title: str) -> Figure:
    """Draw the share of hours out of limits, side by side for each stage.

    Parameters
    ----------
    shares : DataFrame
        0 to 1; index local hour (down), columns stage and month (across).
    """
    stages = list(shares.columns.unique(0)) if len(shares) else []
    with chart(title, 3.4, ncols=max(len(stages), 1), sharey=True) as (figure, panels):
        for axes, stage in zip(panels, stages, strict=False):
            table = pd.DataFrame(shares[stage])
            cells(axes, binned(table, _SHARES), _SHADES)
            axes.set_xticks(range(table.shape[1]), [str(name)[0] for name in table.columns])
            axes.set_yticks(range(0, 24, 6))
            axes.set_xlabel(f"{stage}: {np.nanmean(table.to_numpy()):.0%}", color=LIGHT["ink2"])
        if stages:
            panels[0].set_ylabel("local hour")
            worst = shares.T.groupby(level=0, sort=False).mean().T.mean()
            figure.finding = (
                f"Darker is more often out of limits; most often {worst.idxmax()}, in "
                f"{worst.max():.0%} of the hours."
            )
    return figure


def calendar(daily: pd.DataFrame, title: str = "Completeness by market day") -> Figure:
    """Draw a row per series and a cell per market day, from red (nothing) to green (complete).

    Parameters
    ----------
    daily : DataFrame
        Index: market days (dates); one column per series; values: share present, 0 to
        1, NaN where nothing is expected.
    """
    words = Words("en")
    with chart(title, _ROW_IN * daily.shape[1] + 0.9) as (figure, [axes]):
        cells(axes, binned(daily.T, _COMPLETE), _COMPLETENESS)
        axes.set_yticks(range(daily.shape[1]), [words.name(str(name)) for name in daily.columns])
        day_ticks(axes, daily.index, "%-d %b")
        kinds = dict(zip(("none", "part", "nearly all", "complete"), _COMPLETENESS, strict=True))
        patches = [
            Patch(color=LIGHT[colour], alpha=alpha, label=kind)
            for kind, (colour, alpha) in reversed(kinds.items())
        ]
        axes.legend(handles=patches, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
        means = daily.mean().sort_values()
        if means.notna().any():
            figure.finding = (
                f"{words.percent(float(np.nanmean(daily)))} of the due values are here; of "
                f"{words.name(str(means.index[0]))} {words.percent(float(means.iloc[0]))}."
            )
    return figure


def recovery(by_group: pd.DataFrame, title: str = "Missing slots: recovered and left") -> Figure:
    """Draw a bar per row with the recovered slots and those left.

    Parameters
    ----------
    by_group : DataFrame
        Index: a name per bar; columns ``missing`` and ``recovered`` (slots).
    """
    names = [Words("en").name(str(name)) for name in by_group.index]
    recovered = by_group["recovered"]
    left = by_group["missing"] - recovered
    with chart(title, _ROW_IN * max(len(by_group), 1) + 1.0) as (figure, [axes]):
        axes.barh(names, recovered, height=0.65, color=LIGHT["opt"], label="recovered")
        axes.barh(names, left, left=recovered, height=0.65, color=LIGHT["red"], label="left")
        axes.invert_yaxis()
        axes.set_xlabel("slots")
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x")
        axes.legend(loc="lower right")
        whole = f"{recovered.sum():,.0f} of {by_group['missing'].sum():,.0f}"
        figure.finding = f"{whole} missing slots were recovered."
    return figure
