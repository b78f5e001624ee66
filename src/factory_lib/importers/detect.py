"""Which format a member is in, told by its first bytes: names of files are the mirrors' own and say little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from factory_lib.errors import BadInput
from factory_lib.importers import (
    aemet_csv,
    energy_csv,
    omie_daily,
    openweather_csv,
    plant_csv,
    pvpc_json,
    siar_csv,
    tables_csv,
)
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Reading, each

_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """A way of writing values down: words that its beginning holds, and who reads it."""

    marks: tuple[str, ...]
    read: Callable[[Sequence[Member]], Reading]


FORMATS: Mapping[str, Format] = {
    "omie_daily": Format(("MARGINALPDBC;",), omie_daily.read),
    "spot_csv": Format(("time_utc,spot_eur_mwh",), each(tables_csv.read_spot)),
    "pvpc_csv": Format(("time_utc,pvpc_eur_kwh",), each(tables_csv.read_pvpc)),
    "pvpc_json": Format(('"day"', '"data"'), pvpc_json.read),
    "energy_csv": Format(
        ("time_utc,", "total load actual", "price day ahead"), each(energy_csv.read)
    ),
    "gas_csv": Format(("date,datetime,gas_gen_mwh",), each(tables_csv.read_gas)),
    "openweather_csv": Format(("dt_iso,city_name,temp",), each(openweather_csv.read)),
    "siar_csv": Format(("IdProvincia;IdEstacion;Fecha;",), each(siar_csv.read)),
    "aemet_hourly": Format(("fint,idema,measure,value",), each(aemet_csv.read_hourly)),
    "aemet_daily": Format(("Indicativo;Nombre;Provincia;",), each(aemet_csv.read_daily)),
    "aemet_extremes": Format(("fecha,maxima,minima",), each(aemet_csv.read_extremes)),
    "meter": Format(("energy_kwh",), each(plant_csv.read_meter)),
    "production": Format(("produced_kg",), each(plant_csv.read_production)),
}


def detect(member: Member) -> str | None:
    """Return the name of the member's format, or None where it is none of ours."""
    data = member.data[:_HEAD_BYTES]
    head = data.decode("utf-16-le" if data[1:2] == b"\0" else "latin-1", errors="replace")
    return next(
        (name for name, known in FORMATS.items() if all(mark in head for mark in known.marks)), None
    )


def named(name: str) -> Format:
    """Return a format by name.

    Raises
    ------
    BadInput
        If there is no such format.
    """
    if name not in FORMATS:
        raise BadInput(
            f"There is no import format {name!r}.", next_step=f"Known: {', '.join(FORMATS)}."
        )
    return FORMATS[name]
