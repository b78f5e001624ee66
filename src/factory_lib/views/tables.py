"""Frames as tables for people: units in the head, aligned numbers, local times, unknown as –."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import display_zone
from factory_lib.views.page import Html, prose
from factory_lib.views.palette import SEVERITY, STATUS, variable
from factory_lib.views.words import Words

UNKNOWN = "–"
# Numbers of a column whose middle is larger than this deserve so many decimals.
_DECIMALS = {30.0: 0, 3.0: 1, 0.3: 2}
LEAST_SHOWN = 0.0005
# Characters: a shorter cell stays on one line, a longer one gets room to wrap.
SHORT = 20
LONG = 44
_PHONE_COLUMNS = 6  # of numbers that fit beside each other; a text takes the room of two
_FOLD = 12  # rows that are shown at once
_LONG_DAYS = 180  # a column of instants that spans more shows the year
# Columns that hold internal names, shown in words.
_NAMED = {
    "series",
    "job",
    "source",
    "provider",
    "model",
    "target",
    "component",
    "entity",
    "kind",
    "reference",
}
_WORDS = Words("en")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_HEADS = {
    "mae": "MAE",
    "rmae": "rMAE",
    "r2": "R²",
    "f1": "F1",
}
_UNITS = {
    "eur_mwh": "€/MWh",
    "eur_kwh": "€/kWh",
    "eur": "€",
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
        Rows shown, most of them folded; the caption says how many there are in all.
    colours : mapping of column to {value: name in the palette}, optional
        Marks words such as a severity or status.
    """
    shown = frame.head(limit)
    if len(frame) > limit:
        caption = f"{caption} (first {limit} of {len(frame):,})"
    if frame.empty:
        return Html(f"<p>{prose(caption)}: none.</p>", text=f"{caption}: none.")
    marks = colours or {}
    numbers = shown.select_dtypes("number").shape[1]
    wide = 2 * len(shown.columns) - numbers > _PHONE_COLUMNS
    columns = [_column(shown[name], decimals, marks.get(str(name), {}), wide) for name in shown]
    head, *body = (f"<tr>{''.join(row)}</tr>" for row in zip(*columns, strict=True))
    first = len(body) if len(body) <= _FOLD + 3 else _FOLD
    html = f'<p class="caption">{prose(caption)}</p>{_rows(head, body[:first], caption, wide)}'
    if rest := body[first:]:
        more = _rows(head, rest, f"{caption}, continued", wide)
        html += f"<details><summary>{len(rest)} more rows</summary>{more}</details>"
    return Html(html, text=f"{caption}\n{shown.to_string(index=False)}")


def _rows(head: str, body: list[str], name: str, wide: bool) -> str:
    """Return a table that scrolls within its frame where it does not fit.

    On a phone, the rows of a wide one become lines (class ``stack``).
    """
    css = ' class="stack"' if wide else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">'
        f"<table{css}><thead>{head}</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _column(column: pd.Series, decimals: int, colours: Mapping[str, str], wide: bool) -> list[str]:
    """Return the cells of a column: its head, then its values."""
    name = str(column.name)
    number = pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != bool
    css = "number" if number else "text"
    digits = min(decimals, _deserved(column)) if number else 0
    dated = isinstance(column.dtype, pd.DatetimeTZDtype)
    years = dated and column.max() - column.min() > pd.Timedelta(days=_LONG_DAYS)
    heading = f"{label(name)}{' (local time)' if dated else ''}"
    cells = [f'<th class="{css}" scope="col" title="{escape(name)}">{escape(heading)}</th>']
    align = "right" if number else "left"
    named = _attribute("data-name", label(name) if wide else "")
    for value in column:
        words, hover = _words(name, value, digits, years=years)
        width = _width(words)
        colour = colours.get(str(value))
        style = f' style="color:{variable(colour)};font-weight:600"' if colour else ""
        title = _attribute("title", hover)
        cells.append(
            f'<td class="{css}{width}" align="{align}"{named}{style}{title}>{prose(words)}</td>'
        )
    return cells


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(value)}"' if value else ""


def _width(words: str) -> str:
    return " short" if len(words) <= SHORT else " long" if len(words) > LONG else ""


def _words(name: str, value: Any, digits: int, *, years: bool) -> tuple[str, str]:
    """Return a value in words, and what its cell says on hover."""
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        value = pd.Timestamp(value)
    if name in _NAMED and isinstance(value, str):
        named = ", ".join(_WORDS.name(part) for part in value.split(", "))
        return named, value if named != value else ""
    if isinstance(value, float) and LEAST_SHOWN <= abs(value) < 10.0**-digits:
        digits = _finest(name)  # small among large ones, and not zero
    hover = value.isoformat() if isinstance(value, pd.Timestamp) else ""
    return format_value(value, digits, years=years), hover


def _finest(name: str) -> int:
    return 2 if name.endswith("_eur") else 3


def _deserved(column: pd.Series) -> int:
    """Return the decimals that the numbers of a column deserve: two digits or three."""
    sizes = column.astype(float).abs()
    middle = sizes[np.isfinite(sizes) & (sizes > 0)].median()
    if np.isnan(middle):
        return 0
    return next((digits for least, digits in _DECIMALS.items() if middle >= least), 3)


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
    words = [_WORDS.name(name) for name in names]
    return ", ".join(words) if len(words) < 3 else f"{words[0]} and {len(words) - 1} more"


def label(name: str) -> str:
    """Return a column name in words, its unit suffix as a unit."""
    stem, unit = _split(name)
    words = " ".join(_HEADS.get(word, word) for word in stem.split("_"))
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


def format_value(value: Any, decimals: int = 2, *, years: bool = False) -> str:
    """Return one value in words: local time for instants, a dash and never 0 for an unknown."""
    if value is None or value is pd.NaT:
        return UNKNOWN
    if isinstance(value, date):
        return _day_and_time(pd.Timestamp(value), years=years)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return _WORDS.number(int(value))
    if isinstance(value, float | np.floating):
        return _WORDS.number(float(value), decimals)
    return str(value)


def local_minute(instant: str) -> str:
    """Return an ISO 8601 instant as local day, year and time; what is none as it is."""
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        return instant
    return f"{at.astimezone(display_zone()):%a %-d %b %Y %H:%M}"


def _day_and_time(at: pd.Timestamp, *, years: bool) -> str:
    """Return a day, of an instant with the local time."""
    local = at.tz_convert(display_zone()) if at.tzinfo else at
    day = f"{local:%-d %b %Y}" if years else f"{local:%a %-d %b}"
    return f"{day} {local:%H:%M}" if at.tzinfo else day
