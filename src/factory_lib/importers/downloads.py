"""Files that people download from providers' sites, read as the providers' clients do."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, from_epoch
from factory_lib.errors import ImportFileError, SourceError
from factory_lib.importers.files import Member
from factory_lib.importers.office import decoded, read_table
from factory_lib.importers.plant_csv import record_times
from factory_lib.importers.reading import KEY_COLUMNS, Format, Lines, Reading, Rejection
from factory_lib.sources import aemet, ree
from factory_lib.sources.esios import INDICATORS, PRICES, parse_download
from factory_lib.sources.parsing import Parsed

READ_AT = from_epoch(4_000_000_000)  # later than anything a file can hold


def reading_of(member: Member, parsed: Parsed, notes: tuple[str, ...] = ()) -> Reading:
    """Return what a provider's parser made of a member as a reading, without line numbers."""
    if parsed.rows.empty:
        raise ImportFileError(member.label, "holds no value")
    rows = parsed.rows.assign(member=member.label, line=0, edition=0)
    table = rows.pivot(index=list(KEY_COLUMNS), columns="series", values="value")
    rejected = tuple(Rejection(member.label, row.text, row.reason) for row in parsed.rejected)
    return Reading(table.reset_index().rename_axis(columns=None), rejected, notes=notes)


def _parsed(member: Member, parse: Callable[..., Parsed], *arguments: Any) -> Parsed:
    """Return what a provider's parser reads, with the file's name where it cannot."""
    try:
        return parse(*arguments, READ_AT)
    except SourceError as error:
        raise ImportFileError(member.label, error.detail) from error


def parse_redata(member: Member, fmt: Format) -> Reading:
    """Read an answer of REData saved as a file."""
    parsed = _parsed(member, ree.parse_prices, member.data, PRICES)
    return reading_of(member, parsed, fmt.notes)


def parse_aemet_json(member: Member, fmt: Format) -> Reading:
    """Read a document of AEMET OpenData: observations, or daily climate, of some stations.

    Raises
    ------
    ImportFileError
        If it is no list of records of stations.
    """
    try:
        records = json.loads(decoded(member.data))
    except ValueError:
        raise ImportFileError(member.label, "is not whole JSON") from None
    key = "idema" if "idema" in str(records)[:4000] else "indicativo"
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and isinstance(record.get(key), str) for record in records
    ):
        raise ImportFileError(member.label, "is no list of records of stations")
    parse = aemet.parse_observations if key == "idema" else aemet.parse_daily

    def station(record: dict[str, Any]) -> str:
        return str(record[key])

    parts = []
    for place, group in groupby(sorted(records, key=station), station):
        parts.append(_parsed(member, parse, json.dumps(list(group)), place))
    if not parts:
        raise ImportFileError(member.label, "holds no record")
    return reading_of(member, sum(parts[1:], start=parts[0]), fmt.notes)


def parse_esios_csv(member: Member, fmt: Format) -> Reading:
    """Read an export of ESIOS: one line per indicator, geography and instant with its offset.

    Raises
    ------
    ImportFileError
        If it holds none of the indicators that are read.
    """
    text = decoded(member.data)
    separator = ";" if ";" in text.partition("\n")[0] else ","
    lines = list(csv.DictReader(io.StringIO(text), delimiter=separator))
    by_id: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_id.setdefault(str(line.get("id")).strip(), []).append(line)
    names = {str(identity): name for name, (identity, _) in INDICATORS.items()}
    parts = [
        _parsed(member, parse_download, rows, names[identity])
        for identity, rows in by_id.items()
        if identity in names
    ]
    if not parts:
        readable = ", ".join(names)
        raise ImportFileError(
            member.label,
            f"holds indicators {', '.join(sorted(by_id)[:5])}",
            next_step=f"Read are {readable}. Nothing of this file was stored.",
        )
    left = ", ".join(sorted(set(by_id) - set(names)))
    notes = (*fmt.notes, *([f"Indicators left out: {left}."] if left else []))
    return reading_of(member, sum(parts[1:], start=parts[0]), notes)


def parse_entsoe_csv(member: Member, fmt: Format) -> Reading:
    """Read an export of the transparency platform; wind at sea is added to that on land.

    Raises
    ------
    ImportFileError
        If it has no column that is read.
    """
    lines = read_table(member, fmt)
    if lines is None:
        raise ImportFileError(member.label, "names no quantity that is read")
    names = [name for name in lines.names if name.endswith("_mw") or name in PRICES]
    return hourly(lines.reading(record_times(lines, "time"), _with_wind_at_sea(lines, names)))


def parse_forecasts(member: Member, fmt: Format) -> Reading:
    """Read a table of day-ahead forecasts whose columns are called like the series."""
    lines = Lines(member, fmt)
    names = [name for name in lines.names if name.endswith("_forecast_mw")]
    return lines.reading(values=_with_wind_at_sea(lines, names))


def _with_wind_at_sea(lines: Lines, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns by series, with wind at sea added to that on land."""
    values = {name: lines.numbers(name) for name in names}
    for name in [name for name in names if "_wind_offshore_" in name]:
        at_sea = np.nan_to_num(values.pop(name))
        land = name.replace("_offshore", "")
        values[land] = values[land] + at_sea if land in values else at_sea
    return values


def hourly(reading: Reading) -> Reading:
    """Return quarters of quantities that are stored by the hour as means of whole hours."""
    table = reading.table
    quarters = (table["start"].dt.minute != 0).any()
    if not quarters or "spot_eur_mwh" in table:
        resolution = np.where(quarters, HOUR_S // 4, HOUR_S)
        return Reading(table.assign(resolution_s=resolution), reading.rejected, notes=reading.notes)
    by = [name for name in KEY_COLUMNS if name not in ("line", "start")]
    hours = table.assign(start=table["start"].dt.floor("h")).groupby([*by, "start"], as_index=False)
    whole = hours[reading.series].mean()
    whole[reading.series] = whole[reading.series].where(
        hours[reading.series].count()[reading.series] == 4
    )
    whole = whole.assign(line=hours["line"].first()["line"])[list(table)]
    notes = (*reading.notes, "Quarters were read as means of hours.")
    return Reading(pd.DataFrame(whole), reading.rejected, notes=notes)
