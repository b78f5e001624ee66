"""Export of the agroclimatic network's website: any number of stations and years."""

from __future__ import annotations

from factory_lib.clock import DAY_S
from factory_lib.errors import ImportFileError
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Lines, Reading

_PROVINCES = {"23": "J"}  # IdProvincia -> letters of the station code
_COLUMNS = {
    "temperature_mean_c": "Temp Media (ºC)",
    "temperature_max_c": "Temp Max (ºC)",
    "temperature_min_c": "Temp Mínima (ºC)",
    "humidity_mean_pct": "Humedad Media (%)",
    "humidity_max_pct": "Humedad Max (%)",
    "humidity_min_pct": "Humedad Min (%)",
    "precipitation_sum_mm": "Precipitación (mm)",
    "wind_speed_mean_ms": "Velviento (m/s)",
    "solar_radiation_mj_m2": "Radiación (MJ/m2)",
}


def read(member: Member) -> Reading:
    """Read ``IdProvincia;IdEstacion;Fecha;Año;Dia;…``: UTF-16, decimal commas, empty cells.

    A row whose day of the year does not fit its date is rejected.

    Raises
    ------
    ImportFileError
        If it is no export of one station.
    """
    needed = ["IdProvincia", "IdEstacion", "Fecha", "Año", "Dia", *_COLUMNS.values()]
    encoding = "utf-16-le" if b"\0" in member.data[:4] else "utf-8-sig"
    lines = Lines(member, needed, encoding=encoding, separator=";")
    day = lines.days(lines.text["Fecha"], "%d/%m/%Y")
    numbered = lines.days(lines.text["Año"] + lines.text["Dia"].str.zfill(3), "%Y%j")
    disagree = day.notna() & numbered.notna() & (day != numbered)
    lines.reject(disagree, lines.text["Fecha"], "date and day of the year disagree")
    letters = lines.text["IdProvincia"].map(_PROVINCES)
    lines.reject(letters.isna(), lines.text["IdProvincia"], "unknown province")
    station = letters + lines.text["IdEstacion"].str.zfill(2)
    if station.nunique() > 1:
        raise ImportFileError(member.label, f"holds rows of {station.nunique()} stations")
    return lines.reading(
        day.mask(disagree),
        {series: lines.numbers(column, decimal=",") for series, column in _COLUMNS.items()},
        place=station,
        source="siar",
        resolution_s=DAY_S,
    )
