"""The agroclimatic network's website export: UTF-16LE without mark, semicolons, decimal commas, one line per day."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from factory_lib.clock import DAY_S
from factory_lib.pipeline.imports.files import Member
from factory_lib.pipeline.imports.reading import Lines, Reading, join

_COLUMNS = {
    "Temp Media (ºC)": "temperature_mean_c",
    "Temp Max (ºC)": "temperature_max_c",
    "Temp Mínima (ºC)": "temperature_min_c",
    "Humedad Media (%)": "humidity_mean_pct",
    "Humedad Max (%)": "humidity_max_pct",
    "Humedad Min (%)": "humidity_min_pct",
    "Precipitación (mm)": "precipitation_sum_mm",
    "Velviento (m/s)": "wind_speed_mean_ms",
    "Radiación (MJ/m2)": "solar_radiation_mj_m2",
}
_PROVINCES = {"23": "J"}  # the network's letter of each province; others keep their number


def read(members: Sequence[Member]) -> Reading:
    """Read exports of any number of stations and years."""
    return join([_read(member) for member in members])


def _read(member: Member) -> Reading:
    lines = Lines(member, ["IdProvincia", "IdEstacion", "Fecha", *_COLUMNS], encoding="utf-16-le", separator=";")
    text = lines.text
    return lines.reading(
        lines.days(text["Fecha"], "%d/%m/%Y"),
        {series: lines.numbers(name, decimal=",") for name, series in _COLUMNS.items()},
        place=_station(text["IdProvincia"], text["IdEstacion"]),
        source="siar",
        resolution_s=DAY_S,
    )


def _station(province: pd.Series, number: pd.Series) -> pd.Series:
    """Return the station's code, as ``J09``."""
    return province.str.strip().replace(_PROVINCES) + number.str.strip().str.zfill(2)
