"""The shift sheet: what to do when, in the words of the people who do it, Spanish or English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from factory_lib.clock import MADRID

Language = Literal["es", "en"]

VERBS: Mapping[str, Mapping[str, str]] = {
    "es": {
        "mixing": "Mezclar",
        "refining": "Refinar",
        "conching": "Conchar",
        "tempering": "Templar",
        "moulding": "Moldear",
    },
    "en": {
        "mixing": "Mix",
        "refining": "Refine",
        "conching": "Conche",
        "tempering": "Temper",
        "moulding": "Mould",
    },
}
WEEKDAY_NAMES = {
    "es": ("lun", "mar", "mié", "jue", "vie", "sáb", "dom"),
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}
WORDS: Mapping[str, Mapping[str, str]] = {
    "es": {
        "title": "Hoja de turno",
        "nothing": "Nada que empezar.",
        "step": "{start}  {verb} lote {batch} ({product}, {kg:.0f} kg) en {machine}",
        "people": ", {people} persona(s)",
        "latest": "; a más tardar {latest}",
        "end": ", termina {end}",
        "hold": ", mantener hasta {held_until}",
        "begun": " (en marcha)",
    },
    "en": {
        "title": "Shift sheet",
        "nothing": "Nothing to start.",
        "step": "{start}  {verb} batch {batch} ({product}, {kg:.0f} kg) on {machine}",
        "people": ", {people} person(s)",
        "latest": "; no later than {latest}",
        "end": ", ends {end}",
        "hold": ", hold until {held_until}",
        "begun": " (running)",
    },
}


def shift_sheet(steps: pd.DataFrame, language: Language = "es") -> str:
    """Return one line for each step, in local times.

    Parameters
    ----------
    steps : DataFrame
        ``batch``, ``product``, ``kg``, ``stage``, ``machine``, ``people``, ``begun``;
        instants ``start``, ``latest_start``, ``end``, ``held_until`` (UTC).
    """
    words = WORDS[language]
    lines = [_line(step, language) for step in steps.to_dict("records")]
    return "\n".join([words["title"], *(lines or [words["nothing"]])])


def _line(step: Mapping[Any, Any], language: Language) -> str:
    words = WORDS[language]
    stage = str(step["stage"])
    times = {
        "start": _local(step["start"], language),
        "latest": _local(step["latest_start"], language),
        "end": _local(step["end"], language),
        "held_until": _local(step["held_until"], language),
    }
    parts = ["step"]
    parts += ["people"] * bool(step["people"])
    parts += ["latest"] * (step["latest_start"] > step["start"])
    parts += ["end"]
    parts += ["hold"] * (step["held_until"] > step["end"])
    parts += ["begun"] * bool(step["begun"])
    verb = VERBS[language].get(stage, stage.capitalize())
    return "".join(words[part] for part in parts).format(**{**step, **times, "verb": verb})


def _local(instant: pd.Timestamp, language: Language) -> str:
    there = instant.tz_convert(MADRID)
    return f"{WEEKDAY_NAMES[language][there.weekday()]} {there:%H:%M}"
