"""Frames as tables for people: units in the head, aligned numbers, local times, unknown as –."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.views.page import Html, prose
from factory_lib.views.palette import SEVERITY, STATUS

# Digits that a unit deserves, however many a table shows of other numbers.
DECIMALS = {"EUR/MWh": 2, "EUR": 2, "°C": 1, "%": 1}
UNKNOWN = "–"
# Characters: a shorter cell stays on one line, a longer one gets room to wrap.
SHORT = 20
LONG = 44
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
        unit in the head, and instants are shown in local time.
    limit : int
        Rows shown; the caption says how many there are in all.
    colours : mapping of column to {value: colour}, optional
        Marks words such as a severity or status.
    """
    shown = frame.head(limit)
    if len(frame) > limit:
        caption = f"{caption} (first {limit} of {len(frame):,})"
    if frame.empty:
        return Html(f"<p>{prose(caption)}: none.</p>", text=f"{caption}: none.")
    marks = colours or {}
    columns = [_column(shown[name], decimals, marks.get(str(name), {})) for name in shown]
    head, *body = (f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    html = (
        f"<table><caption>{prose(caption)}</caption><thead>{head}</thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )
    return Html(html, text=f"{caption}\n{shown.to_string(index=False)}")


def _column(column: pd.Series, decimals: int, colours: Mapping[str, str]) -> list[str]:
    """Return the cells of a column: its head, then its values."""
    name = str(column.name)
    number = pd.api.types.is_numeric_dtype(column.dtype)
    css = "number" if number else "text"
    align = "right" if number else "left"
    digits = min(decimals, DECIMALS.get(unit_of(name), decimals))
    zone = " (local time)" if isinstance(column.dtype, pd.DatetimeTZDtype) else ""
    cells = [f'<th class="{css}">{escape(label(name) + zone)}</th>']
    for value in column:
        words = format_value(value, digits)
        width = " short" if len(words) <= SHORT else " long" if len(words) > LONG else ""
        colour = colours.get(str(value))
        style = f' style="color:{colour};font-weight:600"' if colour else ""
        cells.append(f'<td class="{css}{width}" align="{align}"{style}>{escape(words)}</td>')
    return cells


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
    stem, unit = _split(name)
    words = stem.replace("_", " ")
    return f"{words} ({unit})" if unit else words


def unit_of(name: str) -> str:
    """Return the unit that a column name ends in; an index has none and runs from 0 to 100."""
    return _split(name)[1] or "0–100"


def _split(name: str) -> tuple[str, str]:
    """Return a column name without its unit suffix, and the unit."""
    for suffix, unit in _UNITS.items():
        if name.endswith(f"_{suffix}"):
            return name.removesuffix(f"_{suffix}"), unit
    return name, ""


def format_value(value: Any, decimals: int = 2) -> str:
    """Return one value in words: local time for instants, a dash and never 0 for an unknown."""
    if isinstance(value, pd.Timestamp):
        return f"{value.tz_convert(MADRID):%Y-%m-%d %H:%M}" if value.tzinfo else f"{value:%Y-%m-%d}"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:,.{decimals}f}" if np.isfinite(value) else UNKNOWN
    return UNKNOWN if value is None or value is pd.NaT else str(value)
