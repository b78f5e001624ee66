"""Files of one day or one station each."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, day_start, epoch, from_epoch, slots_in_day
from factory_lib.errors import ImportFileError, SourceError
from factory_lib.importers.files import Member
from factory_lib.importers.reading import (
    KEY_COLUMNS,
    YEARS,
    Format,
    Lines,
    Reading,
    Rejection,
    one_by_one,
)
from factory_lib.slots import to_index
from factory_lib.sources.omie import parse_marginalpdbc

_EDITION = re.compile(r"\.(\d+)$")
_DAY = re.compile(r"_(\d{8})$")
_PROVINCES = {"23": "J"}  # IdProvincia -> letters of the station code
_SKIPPED_HOUR = 2  # 02:00 does not exist on the day the clocks go forward, and its key is absent


def edition(name: str) -> tuple[str, int]:
    """Split a file name into its subject and the number of its publication."""
    number = _EDITION.search(name)
    return (name[: number.start()], int(number[1])) if number else (name, 0)


@one_by_one
def parse_omie(member: Member, fmt: Format) -> Reading:
    """Read ``marginalpdbc_YYYYMMDD.N``, refused if it has not the periods of its market day.

    Raises
    ------
    ImportFileError
        If it is not what the market operator publishes.
    """
    subject, number = edition(member.name)
    day = _DAY.search(subject)
    named = date.fromisoformat(day[1]) if day else None
    try:
        parsed = parse_marginalpdbc(member.data, from_epoch(0), day=named)
    except SourceError as error:
        raise ImportFileError(member.label, error.detail) from error
    if not len(parsed.rows):
        raise ImportFileError(member.label, "holds no value")
    rows = parsed.rows.assign(member=member.label, line=0, edition=number)
    table = rows.pivot(index=list(KEY_COLUMNS), columns="series", values="value")
    return Reading(
        table.reset_index().rename_axis(columns=None),
        tuple(
            Rejection(member.label, row.text, row.reason, row.line or 0) for row in parsed.rejected
        ),
    )


@one_by_one
def parse_siar(member: Member, fmt: Format) -> Reading:
    """Read an export of the agroclimatic network's website; its cells may all be empty.

    A row whose day of the year does not fit its date is rejected.

    Raises
    ------
    ImportFileError
        If it is no export of one station.
    """
    encoding = "utf-16-le" if b"\0" in member.data[:4] else fmt.encoding
    lines = Lines(member, replace(fmt, encoding=encoding))
    dates = lines.column("Fecha")
    numbers = lines.column("Año") + lines.column("Dia").str.zfill(3)
    day = lines.times(dates, "%d/%m/%Y", dates, "not a date")
    numbered = lines.times(numbers, "%Y%j", numbers, "not a date")
    disagree = day.notna() & numbered.notna() & (day != numbered)
    lines.reject(disagree, dates, "date and day of the year disagree")
    letters = lines.column("IdProvincia").map(_PROVINCES)
    lines.reject(letters.isna(), lines.text["IdProvincia"], "unknown province")
    station = letters + lines.column("IdEstacion").str.zfill(2)
    stations = station.dropna().unique()
    if len(stations) > 1:
        raise ImportFileError(member.label, f"holds rows of {len(stations)} stations")
    return lines.reading(day.mask(disagree), place=station)


def parse_pvpc_json(members: Sequence[Member], fmt: Format) -> Reading:
    """Read ``{"day": "2021-06-01", "data": {"0": 0.11633, …}}``.

    Keys are elapsed hours, except that the 23-hour day leaves out the hour that is
    skipped.
    """
    prices: list[tuple[str, int, float]] = []
    rejected = []
    for member in members:
        day, data = _day_of_prices(member)
        hours = _hours_by_key(day)
        for key, price in data.items():
            if key in hours and isinstance(price, int | float):
                prices.append((member.label, hours[key], price))
            else:
                reason = "not a number" if key in hours else f"{day} has {len(hours)} hours"
                rejected.append(Rejection(member.label, f"{key}: {price}", reason))
    (column,) = fmt.columns.values()
    labels, starts, values = zip(*prices, strict=True) if prices else ((), (), ())
    table = pd.DataFrame(
        {
            "member": pd.Series(labels, dtype="str"),
            "line": 0,
            "place": "ES",
            "source": fmt.source,
            "resolution_s": fmt.resolution_s,
            "edition": 0,
            "start": to_index(np.array(starts, dtype=np.int64)),
            column.series: column.convert(np.array(values, dtype=np.float64)),
        }
    )
    return Reading(table, tuple(rejected))


def _day_of_prices(member: Member) -> tuple[date, dict[str, Any]]:
    try:
        body = json.loads(member.text("utf-8"))
        day = date.fromisoformat(body["day"])
        data = body["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ImportFileError(member.label, f"is not a day of PVPC prices ({error})") from error
    if not isinstance(data, dict) or not YEARS[0] <= day.year <= YEARS[1]:
        raise ImportFileError(member.label, f"has no prices by hour of {day}")
    return day, data


def _hours_by_key(day: date) -> dict[str, int]:
    """Return the start of each hour of a day (seconds since 1970) by its key."""
    midnight = epoch(day_start(day))
    hours = slots_in_day(day, HOUR_S)
    keys = [key for key in range(25) if hours != 23 or key != _SKIPPED_HOUR][:hours]
    return {str(key): midnight + hour * HOUR_S for hour, key in enumerate(keys)}
