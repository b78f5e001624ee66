"""Colours and the look of every chart; distinguishable with the common colour-vision deficiencies (Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#7a858f",
)
INK, SOFT, LINE = "#1d2329", "#5d6873", "#d9dee3"

LEVEL = {"ok": "#1d7a3e", "warn": "#a15c00", "fail": "#b3261e"}
SEVERITY = {"minor": SKY, "moderate": ORANGE, "critical": RED}
STATUS = {"present": GREEN, "late": SKY, "quarantined": PURPLE, "missing": RED, "unfillable": GREY}
RECOMMENDATION = {"Optimal": GREEN, "Moderate": SKY, "Reduced": ORANGE, "Halt Production": RED}

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
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house's style and leave the user's own settings as they were."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        yield
