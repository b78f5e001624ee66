"""Hourly observations of the Spanish weather service: one line per station, hour and measure."""

import re
from dataclasses import replace

import pandas as pd

from factory_lib.clock import HOUR_S
from factory_lib.importers.files import Member
from factory_lib.importers.reading import (
    FIRST_LINE,
    KEY_COLUMNS,
    Format,
    Lines,
    Reading,
    one_by_one,
)

_PRECIPITATION = "prec"


@one_by_one
def parse_aemet_hourly(member: Member, fmt: Format) -> Reading:
    """Read ``fint,idema,measure,value``.

    As for every provider, a reading of instant ``fint`` is the slot that starts there,
    and the precipitation of the hour before it the slot that ends there.
    """
    lines = Lines(member, fmt)
    start = fmt.time(lines)
    measure = lines.column("measure")
    start = start.mask(measure == _PRECIPITATION, start - pd.Timedelta(seconds=HOUR_S))
    value = pd.Series(lines.numbers("value"))
    values = {
        column.series: value.where(measure == name).to_numpy()
        for name, column in fmt.columns.items()
    }
    other = ", ".join(sorted(set(measure) - set(fmt.columns)))
    notes = [f"Left out, as no series of the catalogue: {other}."] if other else []
    reading = lines.reading(start, values, notes=notes)
    return replace(reading, table=_by_hour(reading.table, measure))


def _by_hour(table: pd.DataFrame, measure: pd.Series) -> pd.DataFrame:
    """Return one line per station and hour; a measure that comes twice makes a second line."""
    key = [name for name in KEY_COLUMNS if name != "line"]
    measures = measure.to_numpy()[table["line"] - FIRST_LINE]
    copy = table.groupby([*key, measures]).cumcount().rename("copy")
    return table.groupby([*key, copy], as_index=False).first().drop(columns="copy")


def city_of_name(lines: Lines) -> str:
    """Return the city in the name of a file of daily extremes."""
    city = re.search(r"tmin_([^_.]+)", lines.member.name)
    return city[1] if city else lines.member.name.split(".")[0]
