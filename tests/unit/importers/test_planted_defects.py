"""Defects that a person plants without knowing, in a file of every format that can have them.

Each format has a writer here, and a new one fails the first test until it has. What it
holds, by hours or days, decides which defects it is written with; each must be refused
or flagged, and the same file without it must raise no doubt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.clock import MADRID, day_bounds
from factory_lib.context import RunContext
from factory_lib.errors import ImportFileError
from factory_lib.importers import import_path
from factory_lib.importers.formats import FORMATS
from factory_lib.sources.esios import archive_hours
from tests.unit.importers.conftest import SIAR_HEADER

Values = pd.Series  # by the UTC start of its slot
Files = dict[str, str]
Writer = Callable[[Values, bool], Files]
CATALOGUE = default_catalogue()
SOLAR, SPOT, PVPC = "es_solar_forecast_mw", "spot_eur_mwh", "pvpc_eur_mwh"
METER = "metered_hour_kwh"
OCTOBER = date(2021, 10, 31)
FIGURES = ["noticed", "rejected", "quarantined", "incomplete_days", "missing_days"]


def clock(at: pd.Timestamp, swap: bool) -> datetime:
    """Return the wall time of Madrid; ``swap`` exchanges day and month where that is a date."""
    local = at.tz_convert(MADRID).to_pydatetime().replace(tzinfo=None)
    return exchanged(local) if swap else local


def exchanged(at: datetime) -> datetime:
    return at.replace(day=at.month, month=at.day) if at.day <= 12 else at


def utc(at: pd.Timestamp, swap: bool) -> datetime:
    written = at.to_pydatetime().replace(tzinfo=None)
    return exchanged(written) if swap else written


def lines(head: str, row: Callable[[pd.Timestamp, float, bool], str]) -> Writer:
    """Return the writer of a table with one line for each value."""

    def write(values: Values, swap: bool) -> Files:
        rows = [row(at, value, swap) for at, value in values.items()]
        return {"file.csv": "\n".join([head, *rows, ""])}

    return write


def hour_of_day(at: pd.Timestamp) -> int:
    first = day_bounds(at.tz_convert(MADRID).date())[0]
    return int((at - pd.Timestamp(first)) / pd.Timedelta(hours=1)) + 1


def by_day(write: Callable[[date, Values], tuple[str, str]]) -> Writer:
    """Return the writer of a folder with a file for each market day."""

    def folder(values: Values, swap: bool) -> Files:
        days = values.groupby(values.index.tz_convert(MADRID).date)
        return dict(write(day, part) for day, part in days)

    return folder


def omie(day: date, part: Values) -> tuple[str, str]:
    rows = [f"{day:%Y;%m;%d};{n};{v};{v};" for n, v in enumerate(part, 1)]
    return f"marginalpdbc_{day:%Y%m%d}.1", "\n".join(["MARGINALPDBC;", *rows, "*", ""])


def pvpc_day(day: date, part: Values) -> tuple[str, str]:
    keys = archive_hours(day)
    data = {str(keys[hour_of_day(at) - 1]): value / 1000 for at, value in part.items()}
    return f"{day}.json", json.dumps({"day": str(day), "data": data})


def redata(values: Values, swap: bool) -> Files:
    entries = [
        {"value": value, "datetime": at.tz_convert(MADRID).isoformat(timespec="milliseconds")}
        for at, value in values.items()
    ]
    included = [{"id": "600", "attributes": {"values": entries}}]
    return {"redata.json": json.dumps({"data": {}, "included": included})}


def aemet_days(values: Values, swap: bool) -> Files:
    records = [
        {"fecha": f"{at:%Y-%m-%d}", "indicativo": "5279X", "tmax": f"{v:.1f}".replace(".", ",")}
        for at, v in values.items()
    ]
    return {"aemet.json": json.dumps(records)}


def aemet_hours(values: Values, swap: bool) -> Files:
    records = [
        {"idema": "5279X", "fint": f"{at:%Y-%m-%dT%H:%M:%S}+0000", "ta": v}
        for at, v in values.items()
    ]
    return {"aemet.json": json.dumps(records)}


def siar(at: pd.Timestamp, value: float, swap: bool) -> str:
    text = f"{value:.2f}".replace(".", ",")
    return f"23;9;{utc(at, swap):%d/%m/%Y};{at.year};{at:%j};" + ";".join([text] * 19)


def esios(identity: int, geo: int) -> Writer:
    return lines(
        "id;name;geoid;geoname;value;datetime",
        lambda at, v, _: f"{identity};x;{geo};España;{v};{at.tz_convert(MADRID).isoformat()}",
    )


def iso(at: pd.Timestamp, swap: bool) -> str:
    return f"{utc(at, swap):%Y-%m-%dT%H:%M:%S}Z"


@dataclass(frozen=True)
class Written:
    """How a format is written, by the series that it is written with.

    ``dates`` are texts in which a person's program may exchange day and month.
    """

    writers: Mapping[str, Writer]
    dates: bool = True
    folder: bool = False


ENERGY = "time_utc,forecast solar day ahead,forecast wind onshore day ahead,total load forecast,"
ENERGY += "total load actual,price day ahead"
ENTSOE = "MTU (CET/CEST);{} BZN|ES"
AEMET_DAILY = "Indicativo;Nombre;Provincia;Altitud;Año;Mes;Dia;T.Max;Hora;T.Min;Hora;T.Med;Racha;"
AEMET_DAILY += "Dir;Hora;Vel.media;Prec.;Sol"
WRITTEN: Mapping[str, Written] = {
    "omie_daily": Written({SPOT: by_day(omie)}, dates=False, folder=True),
    "spot_csv": Written(
        {SPOT: lines("time_utc,spot_eur_mwh", lambda at, v, s: f"{iso(at, s)},{v}")}
    ),
    "pvpc_csv": Written(
        {PVPC: lines("time_utc,pvpc_eur_kwh", lambda at, v, s: f"{iso(at, s)},{v / 1000:.5f}")}
    ),
    "pvpc_json": Written({PVPC: by_day(pvpc_day)}, dates=False, folder=True),
    "energy_csv": Written(
        {
            SPOT: lines(ENERGY, lambda at, v, s: f"{iso(at, s)},,,,,{v}"),
            SOLAR: lines(ENERGY, lambda at, v, s: f"{iso(at, s)},{v},,,,"),
        }
    ),
    "gas_csv": Written(
        {
            "gas_generation_mwh": lines(
                "date,datetime,gas_gen_mwh",
                lambda at, v, s: (
                    f"{clock(at, s):%Y-%m-%d},{clock(at, s):%Y-%m-%d}T00:00:00"
                    f"{at.tz_convert(MADRID):%z},{v}"
                ),
            )
        }
    ),
    "openweather_csv": Written(
        {
            "temperature_c": lines(
                "dt_iso,city_name,temp,humidity,wind_speed,rain_1h",
                lambda at, v, s: f"{utc(at, s):%Y-%m-%d %H:%M:%S}+00:00,Sevilla,{v + 273},50,2,0",
            )
        }
    ),
    "siar_csv": Written({"temperature_max_c": lines(SIAR_HEADER, siar)}),
    "aemet_hourly": Written(
        {
            "temperature_c": lines(
                "fint,idema,measure,value", lambda at, v, s: f"{iso(at, s)},5279X,ta,{v}"
            )
        }
    ),
    "aemet_daily": Written(
        {
            "temperature_max_c": lines(
                AEMET_DAILY,
                lambda at, v, s: (
                    f"5270B;JAEN;JAEN;580;{utc(at, s):%Y;%m;%d};{v:.1f}".replace(".", ",")
                    + ";;;;;;;;;;"
                ),
            )
        }
    ),
    "aemet_extremes": Written(
        {
            "temperature_max_c": lines(
                "fecha,maxima,minima", lambda at, v, s: f"{utc(at, s):%Y-%m-%d},{v},{v - 10}"
            )
        }
    ),
    "forecasts_csv": Written(
        {
            SOLAR: lines(
                f"time_utc,es_load_forecast_mw,{SOLAR}",
                lambda at, v, s: f"{iso(at, s)},25000,{v}",
            )
        }
    ),
    "redata_json": Written({SPOT: redata}, dates=False),
    "aemet_daily_json": Written({"temperature_max_c": aemet_days}, dates=False),
    "aemet_observations_json": Written({"temperature_c": aemet_hours}, dates=False),
    "esios_csv": Written({SPOT: esios(600, 3), SOLAR: esios(1779, 8741)}, dates=False),
    "entsoe_csv": Written(
        {
            name: lines(
                ENTSOE.format(head),
                lambda at, v, s: f"{clock(at, s):%d.%m.%Y %H:%M} - {clock(at, s):%d.%m.%Y};{v}",
            )
            for name, head in {
                SPOT: "Day-ahead Price [EUR/MWh]",
                SOLAR: "Generation - Solar [MW] Day Ahead/",
            }.items()
        }
    ),
    "price_table": Written(
        {
            SPOT: lines(
                "Fecha;Hora;Precio",
                lambda at, v, s: f"{clock(at, s):%d/%m/%Y};{hour_of_day(at)};{v}",
            )
        }
    ),
    "meter": Written(
        {
            METER: lines(
                "time_local;energy_kwh", lambda at, v, s: f"{clock(at, s):%d/%m/%Y %H:%M};{v}"
            )
        }
    ),
    "production": Written(
        {"produced_kg": lines("Fecha;kg", lambda at, v, s: f"{clock(at, s):%d/%m/%Y};{v}")}
    ),
}


def test_every_format_has_a_writer() -> None:
    assert set(WRITTEN) == set(FORMATS)


def combinations(applies: Callable[[str, Written], bool]) -> list[Any]:
    return [
        pytest.param(written, name, id=f"{fmt}-{name}")
        for fmt, written in WRITTEN.items()
        for name in written.writers
        if applies(name, written)
    ]


def is_hourly(name: str) -> bool:
    return CATALOGUE[name].resolution_at(datetime(2020, 1, 1, tzinfo=UTC)) == 3600


def series(name: str, first: str, last: str) -> Values:
    """Return plausible values between two market days: the sun by day, else a slow drift."""
    start = day_bounds(date.fromisoformat(first))[0]
    end = day_bounds(date.fromisoformat(last))[1]
    if is_hourly(name):
        index = pd.date_range(start, end, freq="h", inclusive="left")
    else:
        days = pd.date_range(first, last, freq="D")
        entry = CATALOGUE[name]
        local = entry.cadences[0].grid.value == "local_day"
        index = days.tz_localize(MADRID).tz_convert("UTC") if local else days.tz_localize("UTC")
    hours = (index - index[0]) / pd.Timedelta(hours=1)
    if name == SOLAR:
        height = np.cos((index.hour - 12) * np.pi / 12)
        return pd.Series((9000 * np.maximum(height, 0)).round(1), index)
    drift = np.sin(hours / 200) + 0.2 * np.sin(hours * 2 * np.pi / 24) + 0.01 * (hours % 5)
    scale = {"gas_generation_mwh": 60_000, "produced_kg": 300, METER: 40}.get(name, 12)
    return pd.Series((scale * (2 + 0.8 * drift)).round(2), index)


def figures(ctx: RunContext, tmp_path: Path, files: Files) -> dict[str, int]:
    """Return what the import noticed; ``noticed`` is one where it refused the file."""
    if len(files) == 1:
        ((name, text),) = files.items()
        target = tmp_path / name
        target.write_text(text, encoding="iso-8859-1" if text.startswith("Indic") else "utf-8")
    else:
        target = tmp_path / "folder"
        target.mkdir()
        for name, text in files.items():
            (target / name).write_text(text, encoding="utf-8")
    try:
        metrics = import_path(ctx, target).metrics
    except ImportFileError:
        return {"noticed": 1}
    return {name: int(metrics.get(name, 0)) for name in FIGURES}


@pytest.mark.parametrize(("written", "name"), combinations(lambda name, _: True))
def test_a_file_without_defect_raises_no_doubt(
    ctx: RunContext, tmp_path: Path, written: Written, name: str
) -> None:
    files = written.writers[name](series(name, "2023-03-01", "2023-04-20"), False)
    assert not any(figures(ctx, tmp_path, files).values())


@pytest.mark.parametrize(("written", "name"), combinations(lambda name, _: name == SOLAR))
def test_wind_for_sun_is_noticed(
    ctx: RunContext, tmp_path: Path, written: Written, name: str
) -> None:
    wind = series(METER, "2023-01-01", "2023-02-28") * 100
    assert any(figures(ctx, tmp_path, written.writers[name](wind, False)).values())


@pytest.mark.parametrize(("written", "name"), combinations(lambda _, written: written.dates))
def test_exchanged_day_and_month_are_noticed(
    ctx: RunContext, tmp_path: Path, written: Written, name: str
) -> None:
    files = written.writers[name](series(name, "2023-01-01", "2023-03-31"), True)
    assert any(figures(ctx, tmp_path, files).values())


@pytest.mark.parametrize(("written", "name"), combinations(lambda name, _: name == SPOT))
def test_the_first_24_of_96_quarters_are_noticed(
    ctx: RunContext, tmp_path: Path, written: Written, name: str
) -> None:
    start = day_bounds(date(2026, 3, 2))[0]
    quarters = pd.date_range(start, periods=24, freq="15min")
    values = pd.Series(50.0 + np.arange(24) % 7, quarters)
    assert any(figures(ctx, tmp_path, written.writers[name](values, False)).values())


@pytest.mark.parametrize(("written", "name"), combinations(lambda name, _: name in (SPOT, PVPC)))
def test_a_doubled_october_hour_without_its_twin_is_noticed(
    ctx: RunContext, tmp_path: Path, written: Written, name: str
) -> None:
    values = series(name, "2021-10-29", "2021-11-02").round(2)
    twice = pd.Timestamp(day_bounds(OCTOBER)[0]) + pd.Timedelta(hours=2)
    values[twice] += values[twice + pd.Timedelta(hours=1)]
    values = values.drop(twice + pd.Timedelta(hours=1))
    assert any(figures(ctx, tmp_path, written.writers[name](values, False)).values())


@pytest.mark.parametrize(("written", "name"), combinations(lambda _, written: True))
def test_a_single_missing_day_is_noticed(
    ctx: RunContext, tmp_path: Path, written: Written, name: str
) -> None:
    if name == "produced_kg":
        pytest.skip("a plant does not produce every day")
    values = series(name, "2023-02-01", "2023-02-28")
    local = values.index.tz_convert(MADRID if is_hourly(name) else "UTC").date
    files = written.writers[name](values[local != date(2023, 2, 11)], False)
    assert any(figures(ctx, tmp_path, files).values())


@pytest.mark.parametrize(("written", "name"), combinations(lambda name, _: name == METER))
@pytest.mark.parametrize("change", [lambda v: v * 1000, lambda v: v.cumsum()], ids=["Wh", "sum"])
def test_a_meter_in_wh_or_as_a_register_is_noticed(
    ctx: RunContext,
    tmp_path: Path,
    written: Written,
    name: str,
    change: Callable[[Values], Values],
) -> None:
    values = change(series(name, "2023-02-01", "2023-02-28"))
    assert any(figures(ctx, tmp_path, written.writers[name](values, False)).values())
