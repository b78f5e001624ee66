"""Three tables of the Spanish weather service: hourly observations, the daily release, and extremes of a city."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S
from factory_lib.importers.files import Member
from factory_lib.importers.reading import FIRST_LINE, Lines, Reading

SOURCE = "aemet"
_MEASURES = {
    "ta": "temperature_c",
    "hr": "humidity_pct",
    "prec": "precipitation_mm",
    "pres": "pressure_station_hpa",
    "vv": "wind_speed_ms",
}
_DAILY = {
    "T.Med": "temperature_mean_c",
    "T.Max": "temperature_max_c",
    "T.Min": "temperature_min_c",
    "Prec.": "precipitation_sum_mm",
    "Vel.media": "wind_speed_mean_ms",
}
# `Ip` is a trace below 0.1 mm; `Acum` is measured together with a later day, so that
# this day's amount is unknown.
_WORDS = {"Ip": 0.0, "Acum": np.nan, "Varias": np.nan}


def read_hourly(member: Member) -> Reading:
    """Read ``fint,idema,measure,value``.

    As for every provider, a reading of instant ``fint`` is the slot that starts there,
    and the precipitation of the hour before it the slot that ends there.
    """
    lines = Lines(member, ["fint", "idema", "measure", "value"])
    start, value = lines.instants("fint"), pd.Series(lines.numbers("value"))
    station, measure = lines.text["idema"].str.strip(), lines.text["measure"].str.strip()
    values = {series: value.where(measure == name).to_numpy() for name, series in _MEASURES.items()}
    start = start.mask(measure == "prec", start - pd.Timedelta(seconds=HOUR_S))
    reading = lines.reading(
        start, values, place=station, source=SOURCE, resolution_s=HOUR_S, shared_window=True
    )
    other = sorted(set(measure) - set(_MEASURES))
    notes = (f"Left out, as no series of ours: {', '.join(other)}.",) if other else ()
    return replace(reading, table=_by_hour(reading.table, measure), notes=(*reading.notes, *notes))


def _by_hour(table: pd.DataFrame, measure: pd.Series) -> pd.DataFrame:
    """Turn one line per measure into one per station and hour; a measure that comes twice makes a second line."""
    key = ["member", "place", "source", "resolution_s", "edition", "start"]
    copy = (
        table.groupby([*key, measure.to_numpy()[table["line"] - FIRST_LINE]])
        .cumcount()
        .rename("copy")
    )
    return table.groupby([*key, copy], as_index=False).first().drop(columns="copy")


def read_daily(member: Member) -> Reading:
    """Read ``Indicativo;Nombre;…;Año;Mes;Dia;T.Max;…``: ISO-8859-1, decimal commas, words among numbers."""
    lines = Lines(
        member, ["Indicativo", "Año", "Mes", "Dia", *_DAILY], encoding="iso-8859-1", separator=";"
    )
    text = lines.text
    words = {name: int(text["Prec."].eq(name).sum()) for name in ("Ip", "Acum")}
    return lines.reading(
        lines.days(text["Año"] + "-" + text["Mes"] + "-" + text["Dia"], "%Y-%m-%d"),
        {series: lines.numbers(name, decimal=",", words=_WORDS) for name, series in _DAILY.items()},
        place=text["Indicativo"].str.strip(),
        source=SOURCE,
        resolution_s=DAY_S,
        notes=[
            f"Precipitation: {words['Ip']} traces (Ip) read as 0.0, {words['Acum']} accumulated (Acum) as unknown."
        ],
    )


def read_extremes(member: Member) -> Reading:
    """Read ``fecha,maxima,minima``; the place is the city in the file's name, since the table does not say."""
    lines = Lines(member, ["fecha", "maxima", "minima"])
    found = re.search(r"tmin_([^_.]+)", member.name)
    place = found[1] if found else member.name.split(".")[0]
    return lines.reading(
        lines.days(lines.text["fecha"], "%Y-%m-%d"),
        {
            "temperature_max_c": lines.numbers("maxima"),
            "temperature_min_c": lines.numbers("minima"),
        },
        place=place,
        source=SOURCE,
        resolution_s=DAY_S,
        notes=[f"The table names no station: its place is {place!r}, from the file's name."],
    )
