"""Files of providers that are more than a table whose columns are series."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import MARKET_PRICES
from factory_lib.clock import (
    HOUR_S,
    day_start,
    epoch,
    from_epoch,
)
from factory_lib.errors import ImportFileError, SourceError
from factory_lib.importers.files import Member
from factory_lib.importers.office import read_table
from factory_lib.importers.plant_csv import market_steps, record_times
from factory_lib.importers.reading import (
    KEY_COLUMNS,
    YEARS,
    Format,
    Lines,
    Reading,
    Rejection,
)
from factory_lib.slots import to_index
from factory_lib.sources import aemet, ree
from factory_lib.sources.esios import INDICATORS, archive_hours, parse_download
from factory_lib.sources.omie import parse_marginalpdbc
from factory_lib.sources.parsing import Parsed

_SOURCES = ("ree", "esios", "omie", "entsoe")
_EDITION = re.compile(r"\.(\d+)$")
_DAY = re.compile(r"_(\d{8})$")
_PROVINCES = {"23": "J"}  # IdProvincia -> letters of the station code


READ_AT = from_epoch(4_000_000_000)  # later than anything a file can hold


def reading_of(
    member: Member, parsed: Parsed, notes: tuple[str, ...] = (), edition: int = 0
) -> Reading:
    """Return what a provider's parser made of a member as a reading, without line numbers."""
    if parsed.rows.empty:
        raise ImportFileError(member.label, "holds no value")
    rows = parsed.rows.assign(member=member.label, line=0, edition=edition)
    table = rows.pivot(index=list(KEY_COLUMNS), columns="series", values="value")
    rejected = tuple(Rejection(member.label, row.text, row.reason) for row in parsed.rejected)
    return Reading(table.reset_index().rename_axis(columns=None), rejected, notes=notes)


def _parsed(member: Member, parse: Callable[..., Parsed], *arguments: Any) -> Parsed:
    """Return what a provider's parser reads, with the file's name where it cannot."""
    try:
        return parse(*arguments, READ_AT)
    except SourceError as error:
        raise ImportFileError(member.label, error.detail) from error


# -- prices and the system ------------------------------------------------------------------------


def parse_spot(member: Member, fmt: Format) -> Reading:
    """Read prices, whose source is in the column ``src`` where there is one."""
    lines = Lines(member, fmt)
    start = fmt.time(lines)
    source = None
    if "src" in lines.text:
        texts = lines.column("src")
        source = texts.str.extract(rf"^({'|'.join(_SOURCES)})\b", expand=False)
        lines.reject(source.isna(), texts, "unknown source")
    return lines.reading(start, source=source, resolution_s=market_steps(start))


def edition(name: str) -> tuple[str, int]:
    """Split a file name into its subject and the number of its publication."""
    number = _EDITION.search(name)
    return (name[: number.start()], int(number[1])) if number else (name, 0)


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
    parsed = _parsed(
        member, partial(parse_marginalpdbc, day=named, area=str(fmt.place)), member.data
    )
    return reading_of(member, parsed, edition=number)


def parse_pvpc_json(member: Member, fmt: Format) -> Reading:
    """Read ``{"day": "2021-06-01", "data": {"0": 0.11633, …}}``.

    Keys are elapsed hours, except that the 23-hour day leaves out the hour that is
    skipped.

    Raises
    ------
    ImportFileError
        If it is not a day of prices.
    """
    try:
        body = json.loads(member.text)
        day = date.fromisoformat(body["day"])
        data = body["data"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImportFileError(member.label, f"is not a day of PVPC prices ({error})") from error
    if not isinstance(data, dict) or not YEARS[0] <= day.year <= YEARS[1]:
        raise ImportFileError(member.label, f"has no prices by hour of {day}")
    midnight = epoch(day_start(day))
    labels = enumerate(archive_hours(day))
    hours = {str(label): midnight + hour * HOUR_S for hour, label in labels}
    prices = {}
    rejected = []
    for key, price in data.items():
        if key in hours and isinstance(price, int | float):
            prices[hours[key]] = price
        else:
            reason = "not a number" if key in hours else f"{day} has {len(hours)} hours"
            rejected.append(Rejection(member.label, f"{key}: {price}", reason))
    (series,) = fmt.columns.values()
    table = pd.DataFrame(
        {
            "member": member.label,
            "line": 0,
            "place": "ES",
            "source": fmt.source,
            "resolution_s": fmt.resolution_s,
            "edition": 0,
            "start": to_index(np.array(list(prices), dtype=np.int64)),
            series: fmt.convert(series, np.array(list(prices.values()), dtype=np.float64)),
        }
    )
    return Reading(table, tuple(rejected))


# -- weather and climate --------------------------------------------------------------------------


def parse_siar(member: Member, fmt: Format) -> Reading:
    """Read an export of the agroclimatic network's website; its cells may all be empty.

    A row whose day of the year does not fit its date is rejected.

    Raises
    ------
    ImportFileError
        If it is no export of one station.
    """
    lines = Lines(member, fmt)
    dates = lines.column("Fecha")
    numbers = lines.column("Año") + lines.column("Dia").str.zfill(3)
    day = lines.times(dates, "%d/%m/%Y", dates, "not a date")
    numbered = lines.times(numbers, "%Y%j", numbers, "not a date")
    disagree = day.notna() & numbered.notna() & (day != numbered)
    lines.reject(disagree, dates, "date and day of the year disagree")
    letters = lines.column("IdProvincia").map(_PROVINCES)
    lines.reject(letters.isna(), lines.text["IdProvincia"], "unknown province")
    station = letters + lines.column("IdEstacion").str.zfill(2)
    stations = station[~lines.short].dropna().unique()
    if len(stations) > 1:
        raise ImportFileError(member.label, f"holds rows of {len(stations)} stations")
    return lines.reading(day.mask(disagree), place=station)


def parse_aemet_hourly(member: Member, fmt: Format) -> Reading:
    """Read ``fint,idema,measure,value``.

    As for every provider, a reading of instant ``fint`` is the slot that starts there,
    and the precipitation of the hour before it the slot that ends there.
    """
    lines = Lines(member, fmt)
    start = fmt.time(lines)
    measure = lines.column("measure")
    start = start.mask(measure == "prec", start - pd.Timedelta(seconds=HOUR_S))
    value = pd.Series(lines.numbers("value"), measure.index)
    values = {
        series: value.where(measure == name).to_numpy() for name, series in fmt.columns.items()
    }
    other = ", ".join(sorted(set(measure) - set(fmt.columns)))
    notes = [f"Left out, as no series of the catalogue: {other}."] if other else []
    reading = lines.reading(start, values, notes=notes)
    return replace(reading, table=_by_hour(reading.table, measure))


def _by_hour(table: pd.DataFrame, measure: pd.Series) -> pd.DataFrame:
    """Return one line per station and hour; a measure that comes twice makes a second line."""
    key = [name for name in KEY_COLUMNS if name != "line"]
    copy = table.groupby([*key, table["line"].map(measure)]).cumcount().rename("copy")
    return table.groupby([*key, copy], as_index=False).first().drop(columns="copy")


def city_of_name(lines: Lines) -> str:
    """Return the city in the name of a file of daily extremes."""
    city = re.search(r"tmin_([^_.]+)", lines.member.name)
    return city[1] if city else lines.member.name.split(".")[0]


# -- files that people download, read as the providers' clients do ---------


def parse_redata(member: Member, fmt: Format) -> Reading:
    """Read an answer of REData saved as a file."""
    parsed = _parsed(member, ree.parse_prices, member.data, MARKET_PRICES)
    return reading_of(member, parsed, fmt.notes)


def parse_aemet_json(member: Member, fmt: Format) -> Reading:
    """Read a document of AEMET OpenData: observations, or daily climate, of some stations.

    Raises
    ------
    ImportFileError
        If it is no list of records of stations.
    """
    try:
        records = json.loads(member.text)
    except (ValueError, RecursionError):
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
    text = member.text
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
        If it is no table.
    """
    lines = read_table(member, fmt)
    names = [name for name in lines.names if name.endswith("_mw") or name in MARKET_PRICES]
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
    steps = market_steps(table["start"])
    if "spot_eur_mwh" in table or (steps == HOUR_S).all():
        return replace(reading, table=table.assign(resolution_s=steps))
    by = [name for name in KEY_COLUMNS if name not in ("line", "start")]
    slots = table.assign(start=table["start"].dt.floor("h"), due=HOUR_S // steps)
    hours = slots.groupby([*by, "start"], as_index=False)
    whole = hours[reading.series].mean()
    is_whole = hours[reading.series].count()[reading.series].eq(hours["due"].max()["due"], axis=0)
    whole[reading.series] = whole[reading.series].where(is_whole)
    whole = whole.assign(line=hours["line"].first()["line"])[list(table)]
    notes = (*reading.notes, "Quarters were read as means of hours.")
    return replace(reading, table=pd.DataFrame(whole), notes=notes)
