"""The shift sheet: what to do when, in the words of the people who do it, Spanish or English."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from jinja2 import Environment, FileSystemLoader, select_autoescape

from factory_lib.clock import display_zone
from factory_lib.views.page import Html

Language = Literal["es", "en"]

_FOLDER = Path(__file__).with_name("templates")
_TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=select_autoescape(["html.j2"]),
    trim_blocks=True,
    lstrip_blocks=True,
)


def shift_sheet(page: Any, steps: pd.DataFrame, language: Language, until: str = "") -> Html:
    """Return the sheet as one printed page, and as text one line for each step; local times.

    Parameters
    ----------
    page : RunContext
        With ``as_of``, ``simulated`` and ``site_name``.
    steps : DataFrame
        ``batch``, ``product``, ``kg``, ``stage``, ``machine``, ``people``, ``begun``;
        instants ``start``, ``latest_start``, ``end``, ``held_until`` (UTC).
    until : str
        The last day of the sheet, which is named where nothing is to start.
    """
    words = tomllib.loads((_FOLDER / "shift_sheet.toml").read_text(encoding="utf-8"))[language]
    rows = steps.replace({"stage": words["names"], "machine": words["names"]})
    for name in ("start", "latest_start", "end", "held_until"):
        rows[name] = rows[name].dt.tz_convert(display_zone())
    rows["date"] = rows["start"].dt.date
    fields = {
        "words": words,
        "language": language,
        "rows": rows.to_dict("records"),
        "as_of": page.as_of.astimezone(display_zone()),
        "page": page,
        "until": date.fromisoformat(until) if until else None,
        "kg": rows.drop_duplicates("batch")["kg"].sum(),
        "number": rows["batch"].nunique(),
        "products": rows["product"].nunique(),
    }
    html, text = (
        _TEMPLATES.get_template(f"shift_sheet.{kind}.j2").render(fields) for kind in ("html", "txt")
    )
    return Html(html, text=text)
