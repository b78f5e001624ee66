"""The shift sheet: what to do when, in the words of the people who do it, Spanish or English."""

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.views.page import Html, Page

if TYPE_CHECKING:
    from jinja2 import Environment

Language = Literal["es", "en"]

_TEMPLATES = Path(__file__).with_name("templates")


def shift_sheet(page: Page, steps: pd.DataFrame, language: Language = "es") -> Html:
    """Return the sheet as one printed page, and as text one line for each step; local times.

    Parameters
    ----------
    steps : DataFrame
        ``batch``, ``product``, ``kg``, ``stage``, ``machine``, ``people``, ``begun``;
        instants ``start``, ``latest_start``, ``end``, ``held_until`` (UTC).
    """
    words = tomllib.loads((_TEMPLATES / "shift_sheet.toml").read_text(encoding="utf-8"))[language]
    rows = steps.replace({"stage": words["names"], "machine": words["names"]})
    for name in ("start", "latest_start", "end", "held_until"):
        rows[name] = rows[name].dt.tz_convert(MADRID)
    rows["date"] = rows["start"].dt.date
    fields = {
        "words": words,
        "language": language,
        "rows": rows.to_dict("records"),
        "as_of": page.as_of.astimezone(MADRID),
        "page": page,
        "kg": rows.drop_duplicates("batch")["kg"].sum(),
        "number": rows["batch"].nunique(),
        "products": rows["product"].nunique(),
    }
    html, text = (
        _templates().get_template(f"shift_sheet.{kind}.j2").render(fields)
        for kind in ("html", "txt")
    )
    return Html(html, text=text)


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
