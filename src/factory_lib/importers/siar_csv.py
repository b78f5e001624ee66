"""The agroclimatic network's website export: any number of stations and years, one station and year a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from factory_lib.clock import DAY_S, from_epoch
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Reading, parsed_reading
from factory_lib.sources.siar import PROVINCES, parse_website_csv

_EMPTY = "no value"  # how the parser names a line that holds a date and nothing else


def read(members: Sequence[Member]) -> Reading:
    """Read exports; a line without any value stays in the table, as a day that is there and empty."""
    reading = parsed_reading(members, lambda member: parse_website_csv(member.data, from_epoch(0)))
    empty = reading.rejected["reason"] == _EMPTY
    lines = reading.rejected[empty]
    cells = lines["text"].str.split(";", expand=True)
    if not len(lines):
        return reading
    table = pd.DataFrame(
        {
            "member": lines["member"],
            "line": lines["line"],
            "place": cells[0].astype(int).map(PROVINCES) + cells[1].str.zfill(2),
            "source": "siar",
            "resolution_s": DAY_S,
            "edition": 0,
            "start": pd.to_datetime(cells[2], format="%d/%m/%Y", utc=True).dt.as_unit("s"),
        }
    )
    return replace(
        reading,
        table=pd.concat([reading.table, table], ignore_index=True),
        rejected=reading.rejected[~empty].reset_index(drop=True),
    )
