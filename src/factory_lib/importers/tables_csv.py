"""Tables by instant: the market price in hours or quarters, the regulated tariff, gas generation by market day."""

from __future__ import annotations

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S, MADRID, QUARTER_S
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Lines, Reading

PLACE = "ES"
KWH_PER_MWH = 1000.0
PRICE_DECIMALS = (
    5  # of EUR/MWh: as many as the files carry, so that the change of unit adds no digit of its own
)
_SOURCE_WORDS = {"ree": "ree", "esios": "esios", "omie": "omie", "entsoe": "entsoe"}


def read_spot(member: Member) -> Reading:
    """Read ``time_utc,spot_eur_mwh[,src]``; a table without ``src`` is the market operator's own."""
    lines = Lines(member, ["time_utc", "spot_eur_mwh"])
    start = lines.instants("time_utc")
    source: str | pd.Series = "omie"
    if "src" in lines.text:
        source = lines.text["src"].str.extract(r"^(\w+)", expand=False).map(_SOURCE_WORDS)
        lines.reject(source.isna(), lines.text["src"], "unknown source")
    return lines.reading(
        start,
        {"spot_eur_mwh": lines.numbers("spot_eur_mwh")},
        place=PLACE,
        source=source,
        resolution_s=_resolution(start),
    )


def _resolution(start: pd.Series) -> np.ndarray:
    """Return quarters for a market day with any value off the full hour; the catalogue judges whether that may be."""
    off_hour = start.dt.minute != 0
    in_quarters = off_hour.groupby(start.dt.tz_convert(MADRID).dt.date).transform("any")
    return np.where(in_quarters.to_numpy(dtype=bool, na_value=False), QUARTER_S, HOUR_S)


def read_pvpc(member: Member) -> Reading:
    """Read ``time_utc,pvpc_eur_kwh``, the archive's values as a table."""
    lines = Lines(member, ["time_utc", "pvpc_eur_kwh"])
    price = np.round(lines.numbers("pvpc_eur_kwh") * KWH_PER_MWH, PRICE_DECIMALS)
    return lines.reading(
        lines.instants("time_utc"),
        {"pvpc_eur_mwh": price},
        place=PLACE,
        source="esios",
        resolution_s=HOUR_S,
    )


def read_gas(member: Member) -> Reading:
    """Read ``date,datetime,gas_gen_mwh,…``; ``datetime`` is the local midnight that begins the day, with its offset."""
    lines = Lines(member, ["datetime", "gas_gen_mwh"])
    values = {"gas_generation_mwh": lines.numbers("gas_gen_mwh")}
    return lines.reading(
        lines.instants("datetime"), values, place=PLACE, source="ree", resolution_s=DAY_S
    )
