"""The regulated tariff as one JSON file per market day: ``{"day": "2021-06-01", "data": {"0": 0.11633, …}}``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, day_start, epoch, slots_in_day
from factory_lib.errors import ImportFileError
from factory_lib.importers.files import Member
from factory_lib.importers.reading import YEARS, Reading, rejected
from factory_lib.importers.tables_csv import KWH_PER_MWH, PLACE, PRICE_DECIMALS
from factory_lib.slots import to_index

_SKIPPED_HOUR = 2  # 02:00 does not exist on the day the clocks go forward, and its key is absent


def read(members: Sequence[Member]) -> Reading:
    """Read daily files; keys are elapsed hours, except that the 23-hour day leaves out the hour that is skipped."""
    good: list[tuple[str, int, float]] = []
    bad: list[tuple[str, str, str]] = []
    for member in members:
        day, data = _parse(member)
        midnight, hours = epoch(day_start(day)), slots_in_day(day, HOUR_S)
        for key, price in data.items():
            elapsed = _elapsed(key, hours)
            if elapsed is None:
                bad.append((member.label, f"{key}: {price}", f"{day} has {hours} hours"))
            elif not isinstance(price, int | float):
                bad.append((member.label, f"{key}: {price}", "not a number"))
            else:
                good.append((member.label, midnight + elapsed * HOUR_S, price))
    frame = pd.DataFrame(good, columns=["member", "start", "price"]).astype({"member": "str"})
    table = frame[["member"]].assign(
        line=0,
        place=PLACE,
        source="esios",
        resolution_s=HOUR_S,
        edition=0,
        start=to_index(frame["start"].to_numpy(dtype=np.int64)),
        pvpc_eur_mwh=(frame["price"].astype("float64") * KWH_PER_MWH).round(PRICE_DECIMALS),
    )
    unusable = pd.DataFrame(bad, columns=["member", "text", "reason"])
    return Reading(
        table,
        rejected(
            series="pvpc_eur_mwh", **{name: unusable[name] for name in ("member", "text", "reason")}
        ),
    )


def _parse(member: Member) -> tuple[date, dict[str, Any]]:
    try:
        body = json.loads(member.text("utf-8"))
        day, data = date.fromisoformat(body["day"]), body["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ImportFileError(member.label, f"is not a day of PVPC prices ({error})") from error
    if not isinstance(data, dict) or not YEARS[0] <= day.year <= YEARS[1]:
        raise ImportFileError(member.label, f"has no prices by hour of {day}")
    return day, data


def _elapsed(key: str, hours: int) -> int | None:
    """Return how many hours after local midnight the price begins, or None where the day has no such hour."""
    if not key.isdecimal():
        return None
    hour = int(key)
    if hours == 23:
        if hour == _SKIPPED_HOUR:
            return None
        hour -= hour > _SKIPPED_HOUR
    return hour if hour < hours else None
