"""The market operator's daily files ``marginalpdbc_YYYYMMDD.N``: one market day each, judged by its periods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, day_start, epoch, slots_in_day
from factory_lib.errors import ImportFileError
from factory_lib.pipeline.imports.files import Member
from factory_lib.pipeline.imports.price_csv import PLACE
from factory_lib.pipeline.imports.reading import Reading, rejected
from factory_lib.series import get
from factory_lib.slots import to_index

_HEADER, _END = "MARGINALPDBC;", "*"
_SPAIN = 5  # year; month; day; period; Portugal; Spain
_EDITION = re.compile(r"\.(\d+)$")


def edition(name: str) -> tuple[str, int]:
    """Split a file name into what it is about and which publication of it: ``….2`` replaces ``….1``."""
    found = _EDITION.search(name)
    return (name[: found.start()], int(found[1])) if found else (name, 0)


def read(members: Sequence[Member]) -> Reading:
    """Read daily files; a day with another number of periods than the market's is rejected as a whole."""
    days = [_read(member) for member in members]
    table = pd.concat([table for table, _ in days], ignore_index=True)
    bad = pd.concat([bad for _, bad in days], ignore_index=True)
    return Reading(table, bad, continuous=False)


def _read(member: Member) -> tuple[pd.DataFrame, pd.DataFrame]:
    day, prices = parse_marginalpdbc(member)
    resolution_s = get("spot_eur_mwh").resolution_at(day_start(day))
    due = slots_in_day(day, resolution_s)
    complete = len(prices) == due
    starts = epoch(day_start(day)) + resolution_s * np.arange(len(prices), dtype=np.int64)
    table = pd.DataFrame(
        {
            "member": member.label,
            "line": np.arange(len(prices), dtype=np.int64) + 2,
            "place": PLACE,
            "source": "omie",
            "resolution_s": resolution_s,
            "edition": edition(member.name)[1],
            "start": to_index(starts),
            "spot_eur_mwh": prices,
        }
    )
    if complete:
        return table, rejected()
    reason = f"{day} has {len(prices)} periods, the market day has {due}"
    text = [f"{price:g}" for price in prices]
    return table[:0], rejected(member=member.label, line=table["line"], start=table["start"], place=PLACE, series="spot_eur_mwh", text=text, reason=reason)


def parse_marginalpdbc(member: Member) -> tuple[date, np.ndarray]:
    lines = member.text("ascii").split()
    if not lines or lines[0] != _HEADER:
        raise ImportFileError(member.label, f"does not begin with {_HEADER}")
    if lines[-1] != _END:
        raise ImportFileError(member.label, f"does not end with {_END}: it was cut")
    rows = [line.rstrip(";").split(";") for line in lines[1:-1]]
    days = {tuple(map(int, row[:3])) for row in rows}
    if len(days) != 1 or [int(row[3]) for row in rows] != list(range(1, len(rows) + 1)):
        raise ImportFileError(member.label, "is not the periods of one day in order")
    return date(*days.pop()), np.array([float(row[_SPAIN]) for row in rows])
