"""Combined-cycle generation by market day, as the system operator publishes it."""

from __future__ import annotations

from collections.abc import Sequence

from factory_lib.clock import DAY_S
from factory_lib.pipeline.imports.files import Member
from factory_lib.pipeline.imports.price_csv import PLACE
from factory_lib.pipeline.imports.reading import Lines, Reading, join


def read(members: Sequence[Member]) -> Reading:
    """Read ``date,datetime,gas_gen_mwh,…``; ``datetime`` is the local midnight that begins the day, with its offset."""
    return join([_read(member) for member in members])


def _read(member: Member) -> Reading:
    lines = Lines(member, ["datetime", "gas_gen_mwh"])
    return lines.reading(
        lines.instants("datetime"),
        {"gas_generation_mwh": lines.numbers("gas_gen_mwh")},
        place=PLACE,
        source="ree",
        resolution_s=DAY_S,
    )
