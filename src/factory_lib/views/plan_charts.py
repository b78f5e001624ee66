"""Charts of a production plan: stages over the price, power and contract, cost by start."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from factory_lib.views.drawing import chart, draw_band, legend, local_axis
from factory_lib.views.palette import BLUE, GREEN, GREY, INK, LINE, ORANGE, PURPLE, RED, SKY, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAGES = (SKY, ORANGE, GREEN, PURPLE, BLUE, RED)
# The more expensive the period, the darker.
_SHADES = {"P1": 0.34, "P2": 0.26, "P3": 0.18, "P4": 0.12, "P5": 0.06, "P6": 0.0}
_ROW_IN = 0.34  # of a batch
_LABEL_SHARE = 0.025  # of the window: a shorter span is too narrow for its period's name


def gantt(
    schedule: pd.DataFrame, prices: pd.DataFrame, title: str = "Batches over the price they pay"
) -> Figure:
    """Draw batches over the price they pay, the tariff's periods shaded and named.

    Parameters
    ----------
    schedule : DataFrame
        One row for each stage of each batch: ``batch``, ``kg``, ``product``, ``stage``,
        ``start``, ``end``, ``held_until`` (UTC). Empty where there is no plan: the
        price is drawn all the same.
    prices : DataFrame
        UTC index; ``p50``, ``p10``, ``p90`` (EUR/MWh), ``period``, ``known``.
    """
    rows = max(schedule["batch"].nunique(), 1)
    heights = [rows * _ROW_IN + 0.5, 2.3]
    grid: dict[str, Any] = {"nrows": 2, "sharex": True, "height_ratios": heights}
    with chart(title, 3.4 + _ROW_IN * rows, **grid) as (figure, [bars, curve]):
        for axes in (bars, curve):
            _shade(axes, prices)
        _batches(bars, schedule)
        bars.set_title(title, pad=22)
        _curve(curve, prices)
        _name_periods(curve, prices)
    return figure


def _batches(axes: Axes, schedule: pd.DataFrame) -> None:
    from matplotlib.patches import Patch

    axes.grid(axis="y", visible=False)
    if schedule.empty:
        _write(axes, "no batch")
        return
    stages = dict(zip(dict.fromkeys(schedule["stage"]), _STAGES * 9, strict=False))
    holding = schedule["held_until"] > schedule["end"]
    of = schedule.sort_values("start").drop_duplicates("batch")
    rows = dict(zip(of["batch"], range(1, len(of) + 1), strict=True))
    for row in schedule.to_dict("records"):
        y = rows[row["batch"]]
        _bar(axes, y, row["start"], row["end"], color=stages[row["stage"]])
        if row["held_until"] > row["end"]:
            _bar(axes, y, row["end"], row["held_until"], color=GREY, alpha=0.45)
    names = [f"{row.batch}: {row.kg:.0f} kg {row.product}" for row in of.itertuples()]
    axes.set_yticks(list(rows.values()), names)
    axes.set_ylim(len(of) + 0.6, 0.4)
    patches = [Patch(color=colour, label=name) for name, colour in stages.items()]
    patches += [Patch(color=GREY, alpha=0.45, label="held")] if holding.any() else []
    axes.legend(
        handles=patches,
        loc="lower left",
        bbox_to_anchor=(0, 0.98),
        ncols=len(patches),
        borderaxespad=0.2,
    )


def _write(axes: Axes, words: str) -> None:
    """Write words where there is nothing to draw."""
    axes.set_yticks([])
    if not axes.has_data():
        axes.set_xticks([])
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=SOFT)


def _bar(axes: Axes, y: float, begin: Any, end: Any, **style: Any) -> None:
    axes.barh(y, end - begin, left=begin, height=0.62, linewidth=0, **style)


def _edges(index: pd.Index) -> Any:
    """Return the starts of all slots and the end of the last."""
    return [*index, index[-1] + (index[-1] - index[-2])]


def _to_the_end(values: pd.Series) -> Any:
    """Return values at every slot's start and, the last one again, at the end."""
    return np.append(values.to_numpy(), values.iloc[-1])


def _curve(axes: Axes, prices: pd.DataFrame) -> None:
    """Draw the price as steps with its band, dashed where it is expected."""
    edges = _edges(prices.index)
    price = _to_the_end(prices["p50"])
    low = _to_the_end(prices["p10"])
    high = _to_the_end(prices["p90"])
    if (high > low).any():
        draw_band(axes, edges, low, high, step="post")
    expected = _to_the_end(prices["known"]) != "published"
    for mask, line, label in ((~expected, "-", "published"), (expected, "--", "expected")):
        # the first slot of the other kind closes the step between the two
        shown = mask | np.append(False, mask[:-1])
        if mask.any():
            axes.plot(
                edges,
                np.where(shown, price, np.nan),
                line,
                drawstyle="steps-post",
                color=BLUE,
                label=label,
            )
    if min(price.min(), low.min()) < 0:
        axes.axhline(0, color=LINE, linewidth=1)
    axes.set_ylabel("EUR/MWh")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.08), ncols=3, borderaxespad=0)
    axes.set_xlim(edges[0], edges[-1])
    local_axis(axes)


def _spans(prices: pd.DataFrame) -> list[tuple[Any, Any, str]]:
    """Return the spans of one tariff period each: begin, end, name."""
    period = prices["period"].astype(str).to_numpy()
    edges = _edges(prices.index)
    first = np.flatnonzero(np.append(True, period[1:] != period[:-1]))
    bounds = pairwise([*first, len(period)])
    return [(edges[begin], edges[end], period[begin]) for begin, end in bounds]


def _shade(axes: Axes, prices: pd.DataFrame) -> None:
    for begin, end, name in _spans(prices):
        axes.axvspan(begin, end, color=SOFT, alpha=_SHADES[name], linewidth=0, zorder=0)


def _name_periods(axes: Axes, prices: pd.DataFrame) -> None:
    from matplotlib.transforms import blended_transform_factory

    edges = _edges(prices.index)
    above = blended_transform_factory(axes.transData, axes.transAxes)
    for begin, end, name in _spans(prices):
        if (end - begin) / (edges[-1] - edges[0]) >= _LABEL_SHARE:
            middle = begin + (end - begin) / 2
            axes.text(
                middle,
                1.01,
                name,
                transform=above,
                ha="center",
                va="bottom",
                fontsize=7.5,
                color=SOFT,
            )


def power(
    frame: pd.DataFrame, contracted_kw: float, title: str = "Power of the whole plant"
) -> Figure:
    """Draw production on top of the loads that always run, and the contract.

    Parameters
    ----------
    frame : DataFrame
        UTC index; ``production_kw``, ``base_kw``, ``import_kw``, ``excess_kw``.
    """
    with chart(title, 2.6) as (figure, [axes]):
        edges = _edges(frame.index)
        load = {name: _to_the_end(frame[name]) for name in frame}
        base = load["base_kw"]
        total = base + load["production_kw"]
        axes.fill_between(
            edges, 0, base, step="post", color=GREY, alpha=0.5, linewidth=0, label="always on"
        )
        axes.fill_between(
            edges, base, total, step="post", color=BLUE, alpha=0.6, linewidth=0, label="production"
        )
        if (load["excess_kw"] > 0).any():
            within = total - load["excess_kw"]
            axes.fill_between(
                edges,
                within,
                total,
                step="post",
                color=RED,
                linewidth=0,
                label="above the contract",
            )
        axes.axhline(
            contracted_kw,
            color=INK,
            linestyle="--",
            linewidth=1.1,
            label=f"contract {contracted_kw:g} kW",
        )
        axes.set_ylabel("kW")
        axes.set_ylim(0, max(contracted_kw, total.max()) * 1.08)
        axes.set_xlim(edges[0], edges[-1])
        legend(axes)
        local_axis(axes)
    return figure


def expected_price(
    frame: pd.DataFrame, title: str = "Price expected when planning, and as published"
) -> Figure:
    """Draw the prices that past plans expected against the published ones.

    Parameters
    ----------
    frame : DataFrame
        UTC index; ``p10``, ``p50``, ``p90``, ``actual`` (EUR/MWh), NaN where unknown.
    """
    with chart(title, 2.6) as (figure, [axes]):
        if (frame["p90"] > frame["p10"]).any():
            draw_band(axes, frame.index, frame["p10"], frame["p90"], step="post")
        shape = "steps-post"
        axes.plot(frame["actual"], drawstyle=shape, color=INK, label="published", linewidth=1.6)
        axes.plot(frame["p50"], "--", drawstyle=shape, color=ORANGE, label="expected")
        axes.set_ylabel("EUR/MWh")
        axes.set_xlim(frame.index[0], frame.index[-1])
        legend(axes)
        local_axis(axes)
    return figure
