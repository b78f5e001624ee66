"""Charts of a production plan: stages over the price, power and contract."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from factory_lib.clock import display_zone
from factory_lib.views.drawing import chart, draw_band, legend, local_axis, step_line
from factory_lib.views.palette import LIGHT

_STAGES = tuple(LIGHT[f"s{n}"] for n in range(1, 6)) * 9
# The more expensive the period, the darker.
_SHADES = {"P1": 0.25, "P2": 0.19, "P3": 0.14, "P4": 0.09, "P5": 0.05, "P6": 0.0}
_ROW_IN = 0.34  # of a batch
_LABEL_SHARE = 0.025  # of the window: a shorter span is too narrow for its period's name
_LAYERS = {
    "always on": LIGHT["toll"],
    "production": LIGHT["market"],
    "above the contract": LIGHT["halt"],
}


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
    grid: dict[str, Any] = {"sharex": True, "height_ratios": [rows * _ROW_IN + 0.5, 2.3]}
    with chart(title, 3.4 + _ROW_IN * rows, nrows=2, **grid) as (figure, [bars, curve]):
        bars.set_title(title, pad=22)
        _batches(bars, schedule.sort_values("start"))
        _curve(curve, prices)
        _periods(bars, curve, prices)
        starts = schedule["start"].dt.tz_convert(display_zone()).dt.strftime("%a %-d %b %H:%M")
        first = f", the first from {starts[schedule['start'].idxmin()]}" if len(starts) else ""
        price = prices["p50"]
        count = schedule["batch"].nunique()
        batches = "One batch" if count == 1 else f"{count} batches"
        figure.finding = (
            f"{batches}{first}; the market "
            f"price runs from {price.min():.0f} to {price.max():.0f} €/MWh."
        )
    return figure


def _batches(axes: Axes, stages: pd.DataFrame) -> None:
    axes.grid(axis="y", visible=False)
    if stages.empty:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no batch", transform=axes.transAxes, ha="center", color=LIGHT["ink2"])
        return
    number = stages["batch"].astype(str)
    stages = stages.assign(row=number + stages["kg"].map(": {:.0f} kg ".format) + stages["product"])
    for (name, part), colour in zip(stages.groupby("stage", sort=False), _STAGES, strict=False):
        _bars(axes, part, "start", "end", color=colour, label=name)
    holding = stages[stages["held_until"] > stages["end"]]
    if len(holding):
        thin = {"height": 0.14, "color": LIGHT["ink2"]}  # seen on every ground
        _bars(axes, holding, "end", "held_until", label="held", **thin)
    axes.invert_yaxis()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.98), ncols=9, borderaxespad=0.2)


def _bars(axes: Axes, rows: pd.DataFrame, begin: str, end: str, **style: Any) -> None:
    width: Any = (rows[end] - rows[begin]).to_numpy()
    axes.barh(rows["row"], width, left=rows[begin], linewidth=0, **{"height": 0.62, **style})


def _curve(axes: Axes, prices: pd.DataFrame) -> None:
    """Draw the price as steps with its band, dashed where it is expected."""
    if (prices["p90"] > prices["p10"]).any():
        draw_band(axes, prices.index, prices["p10"], prices["p90"], step="post")
    published = prices["known"] == "published"
    for shown, line, label in ((published, "-", "published"), (~published, "--", "expected")):
        if shown.any():
            values = prices["p50"].where(shown)
            step_line(axes, values, color=LIGHT["market"], linestyle=line, label=label)
    if prices[["p10", "p50"]].min().min() < 0:
        axes.axhline(0, color=LIGHT["line2"], linewidth=1)
    axes.set_ylabel("€/MWh")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.08), ncols=3, borderaxespad=0)
    axes.margins(x=0)
    local_axis(axes)


def _periods(bars: Axes, curve: Axes, prices: pd.DataFrame) -> None:
    """Shade the tariff's periods, and name those that are wide enough for it."""
    slot: Any = prices.index[1] - prices.index[0]
    window = prices.index[-1] - prices.index[0]
    run = prices["period"].ne(prices["period"].shift()).cumsum()
    for _, span in prices["period"].groupby(run):
        begin: Any = span.index[0]
        end: Any = span.index[-1] + slot
        for axes in (bars, curve):
            axes.axvspan(
                begin, end, color=LIGHT["ink2"], alpha=_SHADES[span.iloc[0]], linewidth=0, zorder=0
            )
        if end - begin >= _LABEL_SHARE * window:
            where: dict[str, Any] = {
                "xy": (begin + (end - begin) / 2, 1.01),
                "xycoords": ("data", "axes fraction"),
            }
            curve.annotate(span.iloc[0], **where, ha="center", fontsize=8, color=LIGHT["ink2"])


def power(
    frame: pd.DataFrame, contracted_kw: float, title: str = "Power of the whole plant"
) -> Figure:
    """Draw production on top of the loads that always run, and the contract.

    Parameters
    ----------
    frame : DataFrame
        UTC index; ``production_kw``, ``base_kw``, ``excess_kw``.
    """
    excess = frame["excess_kw"]
    layers = pd.DataFrame(
        dict(zip(_LAYERS, (frame["base_kw"], frame["production_kw"] - excess, excess), strict=True))
    )
    layers = layers.loc[:, layers.any()]
    style: dict[str, Any] = {"step": "post", "linewidth": 0, "labels": layers.columns}
    with chart(title, 2.6) as (figure, [axes]):
        colours = [_LAYERS[str(name)] for name in layers]
        axes.stackplot(layers.index, layers.T, colors=colours, **style)
        label = f"contract {contracted_kw:g} kW"
        axes.axhline(contracted_kw, color=LIGHT["ink"], linestyle="--", linewidth=1.1, label=label)
        axes.set_ylabel("kW")
        axes.margins(x=0)
        legend(axes)
        local_axis(axes)
        most = frame[["production_kw", "base_kw"]].sum(axis=1).max()
        figure.finding = f"At most {most:.0f} kW; the contract is {contracted_kw:g} kW."
    return figure
