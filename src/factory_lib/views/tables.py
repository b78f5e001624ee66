"""Frames as tables a person can read: units in the head, aligned figures, local times, unknown shown as unknown."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.views.page import Html
from factory_lib.views.palette import SEVERITY, STATUS

DECIMALS = {
    "EUR/MWh": 2,
    "EUR": 2,
    "°C": 1,
    "%": 1,
}  # as many as the unit deserves, whatever else a table holds
UNKNOWN = "–"
SHORT, LONG = (
    16,
    44,
)  # characters: a cell up to the first stays on one line, one beyond the second gets room to wrap
_UNITS = {
    "eur_mwh": "EUR/MWh",
    "eur_kwh": "EUR/kWh",
    "eur": "EUR",
    "mwh": "MWh",
    "kwh": "kWh",
    "mw": "MW",
    "kw": "kW",
    "c": "°C",
    "pct": "%",
    "h": "h",
    "s": "s",
    "ms": "ms",
    "mm": "mm",
    "hpa": "hPa",
    "kg": "kg",
    "mb": "MB",
}


def table(
    frame: pd.DataFrame,
    caption: str = "",
    *,
    limit: int = 40,
    decimals: int = 2,
    colours: Mapping[str, Mapping[str, str]] | None = None,
) -> Html:
    """Return a frame as an HTML table.

    Parameters
    ----------
    frame : DataFrame
        Columns are shown in order, the index is not; a name's unit suffix becomes the
        unit in the head, and instants are told in local time.
    limit : int
        Rows shown; the caption says how many there are in all.
    colours : mapping of column to {value: colour}, optional
        Marks words such as a severity or status.
    """
    shown = frame.head(limit)
    if len(frame) > limit:
        caption = f"{caption} (first {limit} of {len(frame):,})"
    if frame.empty:
        return Html(f"<p>{escape(caption)}: none.</p>", text=f"{caption}: none.")
    text = {name for name in shown.columns if not pd.api.types.is_numeric_dtype(shown[name].dtype)}
    head = "".join(
        f'<th class="{_css(name in text)}">{escape(_head(shown[name]))}</th>'
        for name in shown.columns
    )
    body = "".join(
        "<tr>"
        + "".join(
            _cell(name, value, name in text, decimals, colours or {}) for name, value in row.items()
        )
        + "</tr>"
        for row in shown.to_dict(orient="records")
    )
    html = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return Html(html, text=f"{caption}\n{shown.to_string(index=False)}")


def gaps(frame: pd.DataFrame, caption: str = "Gaps") -> Html:
    """Return a gap table with one row per window: series that miss the same hours share it.

    Parameters
    ----------
    frame : DataFrame
        Columns ``series``, ``place``, ``start``, ``end``, ``slots``, ``duration_h``,
        ``severity``, ``state``.
    """
    window = ["start", "end", "duration_h", "severity", "state"]
    shared = frame.groupby([*window, "place"], sort=False, as_index=False).agg(
        series=("series", list), slots=("slots", "sum")
    )
    shared["series"] = shared["series"].map(_few)
    shown = shared[["series", *window[:2], "slots", *window[2:]]]
    return table(shown, caption, colours={"severity": SEVERITY, "state": STATUS})


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"


def label(name: str) -> str:
    """Return a column name in words, its unit suffix as a unit."""
    for suffix, unit in _UNITS.items():
        if name.endswith(f"_{suffix}"):
            words = name.removesuffix(f"_{suffix}").replace("_", " ")
            return f"{words} ({unit})"
    return name.replace("_", " ")


def unit_of(name: str) -> str:
    """Return the unit that a column name ends in; an index has none and runs from 0 to 100."""
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(f"_{suffix}")), "0–100")


def _head(column: pd.Series) -> str:
    zone = " (local time)" if isinstance(column.dtype, pd.DatetimeTZDtype) else ""
    return f"{label(str(column.name))}{zone}"


def _css(text: bool) -> str:
    return "text" if text else "number"


def _cell(
    name: Any, value: Any, text: bool, decimals: int, colours: Mapping[str, Mapping[str, str]]
) -> str:
    colour = colours.get(str(name), {}).get(str(value))
    style = f' style="color:{colour};font-weight:600"' if colour else ""
    align = "left" if text else "right"
    words = show(value, min(decimals, DECIMALS.get(unit_of(str(name)), decimals)))
    more = " short" if len(words) <= SHORT else " long" if len(words) > LONG else ""
    return f'<td class="{_css(text)}{more}" align="{align}"{style}>{escape(words)}</td>'


def show(value: Any, decimals: int = 2) -> str:
    """Return one value in words: local time for instants, a dash for what is unknown, never 0 for it."""
    if value is None or value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)):
        return UNKNOWN
    if isinstance(value, pd.Timestamp):
        return f"{value.tz_convert(MADRID):%Y-%m-%d %H:%M}" if value.tzinfo else f"{value:%Y-%m-%d}"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.{decimals}f}"
    return str(value)
