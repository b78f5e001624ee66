"""The table of file formats: columns, units, time convention and parser of each.

Formats are recognised by their first bytes, or by the columns of a table as an office
saves it: names of files are the mirrors' own. Adding one is an entry here and, where its
lines are no plain table, a parser.
"""

from collections.abc import Mapping

import numpy as np

from factory_lib.catalogue import MARKET_PRICES, SITE, default_catalogue
from factory_lib.clock import DAY_S
from factory_lib.importers import office, plant_csv, provider_files
from factory_lib.importers.files import Member, decoded
from factory_lib.importers.reading import (
    Format,
    instants,
    named_by,
    utc_midnights,
)
from factory_lib.pipeline.forecasts import ASSUMPTION, ISSUED_AT
from factory_lib.settings.records import SeriesSettings

_HEAD_BYTES = 4096
DAY_AHEAD_COLUMNS = (
    *(name for name in default_catalogue() if name.endswith("_forecast_mw")),
    "fr_wind_offshore_forecast_mw",
    "pt_wind_offshore_forecast_mw",
)
# A table of one's own that is not recognised is answered with these.
EXAMPLES = (
    "`time_local;energy_kwh` (2026-03-01 01:00;12,5)",
    "`CUPS;Fecha;Hora;Consumo_kWh` (ES0…;01/03/2026;1;12,5)",
    "`day;produced_kg` (2026-03-01;200)",
    "`time_utc;spot_eur_mwh` (2026-03-01T00:00Z;57.3)",
)

FORMATS: Mapping[str, Format] = {
    "omie_daily": Format(
        words_at_start=("MARGINALPDBC;",),
        parse=provider_files.parse_omie,
        continuous=False,
        editions=True,
        own_market=True,
    ),
    "spot_csv": Format(
        words_at_start=("time_utc,spot_eur_mwh",),
        columns={"spot_eur_mwh": "spot_eur_mwh"},
        source="omie",
        parse=provider_files.parse_spot,
    ),
    "pvpc_csv": Format(
        words_at_start=("time_utc,pvpc_eur_kwh",),
        columns={"pvpc_eur_kwh": "pvpc_eur_mwh"},
        units={"pvpc_eur_mwh": "EUR/kWh"},
        source="esios",
    ),
    "pvpc_json": Format(
        words_at_start=('"day"', '"data"'),
        columns={"data": "pvpc_eur_mwh"},
        units={"pvpc_eur_mwh": "EUR/kWh"},
        source="esios",
        parse=provider_files.parse_pvpc_json,
    ),
    "energy_csv": Format(
        words_at_start=("time_utc,", "total load actual", "price day ahead"),
        columns={
            "total load actual": "load_mw",
            "price day ahead": "spot_eur_mwh",
            "total load forecast": "es_load_forecast_mw",
            "forecast wind onshore day ahead": "es_wind_forecast_mw",
            "forecast solar day ahead": "es_solar_forecast_mw",
        },
        source="entsoe",
        notes=(
            f"Assumed: the system operator issued its forecasts at {ISSUED_AT:%H:%M} local time "
            "of the day before.",
            "`price actual` is the final price with system costs, not the market's: left out, "
            "as are the generation columns.",
        ),
    ),
    # the day's local midnight with its offset
    "gas_csv": Format(
        words_at_start=("date,datetime,gas_gen_mwh",),
        columns={"gas_gen_mwh": "gas_generation_mwh"},
        time=instants("datetime"),
        source="ree",
        resolution_s=DAY_S,
    ),
    # one line per weather condition of an hour, so that hours repeat
    "openweather_csv": Format(
        words_at_start=("dt_iso,city_name,temp",),
        columns={
            "temp": "temperature_c",
            "humidity": "humidity_pct",
            "wind_speed": "wind_speed_ms",
            "rain_1h": "precipitation_mm",
        },
        units={"temperature_c": "K"},
        time=instants("dt_iso"),
        place=named_by("city_name", {"Seville": "Sevilla"}),
        source="openweathermap",
        sums_before=("precipitation_mm",),
        notes=(
            "Pressure was left out: the column holds station and sea-level values "
            "(Madrid: 967 hPa in early 2015, then 1017).",
            "rain_1h comes in classes (0.3, 0.9, 3.0 mm), not as measured amounts.",
        ),
    ),
    "siar_csv": Format(
        words_at_start=("IdProvincia;IdEstacion;Fecha;",),
        columns={
            "Temp Media (ºC)": "temperature_mean_c",
            "Temp Max (ºC)": "temperature_max_c",
            "Temp Mínima (ºC)": "temperature_min_c",
            "Humedad Media (%)": "humidity_mean_pct",
            "Humedad Max (%)": "humidity_max_pct",
            "Humedad Min (%)": "humidity_min_pct",
            "Precipitación (mm)": "precipitation_sum_mm",
            "Velviento (m/s)": "wind_speed_mean_ms",
            "Radiación (MJ/m2)": "solar_radiation_mj_m2",
        },
        source="siar",
        resolution_s=DAY_S,
        separator=";",
        decimal=",",
        parse=provider_files.parse_siar,
    ),
    "aemet_hourly": Format(
        words_at_start=("fint,idema,measure,value",),
        columns={
            "ta": "temperature_c",
            "hr": "humidity_pct",
            "prec": "precipitation_mm",
            "pres": "pressure_station_hpa",
            "vv": "wind_speed_ms",
        },
        time=instants("fint"),
        place=named_by("idema"),
        source="aemet",
        parse=provider_files.parse_aemet_hourly,
        shared_window=True,
    ),
    "aemet_daily": Format(
        words_at_start=("Indicativo;Nombre;Provincia;",),
        columns={
            "T.Med": "temperature_mean_c",
            "T.Max": "temperature_max_c",
            "T.Min": "temperature_min_c",
            "Prec.": "precipitation_sum_mm",
            "Vel.media": "wind_speed_mean_ms",
        },
        time=utc_midnights("Año", "Mes", "Dia"),
        place=named_by("Indicativo"),
        source="aemet",
        resolution_s=DAY_S,
        separator=";",
        decimal=",",
        # a trace below 0.1 mm; an amount measured together with a later day's
        words={"Ip": 0.0, "Acum": np.nan, "Varias": np.nan},
        notes=("Precipitation: traces (Ip) are read as 0.0, accumulated (Acum) as unknown.",),
    ),
    "aemet_extremes": Format(
        words_at_start=("fecha,maxima,minima",),
        columns={
            "maxima": "temperature_max_c",
            "minima": "temperature_min_c",
        },
        time=utc_midnights("fecha"),
        place=provider_files.city_of_name,
        source="aemet",
        resolution_s=DAY_S,
        notes=("The table names no station: its place is the city in the file's name.",),
    ),
    "forecasts_csv": Format(
        words_at_start=("time_utc,", "_load_forecast_mw"),
        source="entsoe",
        parse=provider_files.parse_forecasts,
        notes=(ASSUMPTION,),
    ),
    "redata_json": Format(
        words_at_start=('"included"', '"attributes"'),
        parse=provider_files.parse_redata,
        notes=("Instants carry their offset.",),
    ),
    "aemet_daily_json": Format(
        words_at_start=('"indicativo"', '"fecha"'),
        parse=provider_files.parse_aemet_json,
        resolution_s=DAY_S,
        notes=("Days are UTC days; rain (prec) is that from 07 to 07 UTC.",),
    ),
    "aemet_observations_json": Format(
        words_at_start=('"idema"', '"fint"'),
        parse=provider_files.parse_aemet_json,
        notes=("fint is UTC and ends the hour: a reading is of that instant.",),
        shared_window=True,
    ),
    "esios_csv": Format(
        words_at_start=("geoid", "geoname", "datetime"),
        parse=provider_files.parse_esios_csv,
        notes=("Instants carry their offset.", ASSUMPTION),
    ),
    "entsoe_csv": Format(
        names=tuple(
            (time, name)
            for time in ("time_utc", "time_local")
            for name in ("load_mw", *DAY_AHEAD_COLUMNS)
        ),
        source="entsoe",
        parse=provider_files.parse_entsoe_csv,
        notes=("CET/CEST is local time; the hour that October repeats stands twice.", ASSUMPTION),
    ),
    "meter": Format(
        names=(("time_utc", "energy_kwh"), ("time_local", "energy_kwh"), ("day", "energy_kwh")),
        place=SITE,
        source=SITE,
        parse=plant_csv.parse_meter,
    ),
    "price_table": Format(
        names=tuple(
            (*times, name)
            for times in (("time_utc",), ("time_local",), ("day", "period"))
            for name in MARKET_PRICES
        ),
        source="omie",
        parse=plant_csv.parse_price_table,
        own_market=True,
    ),
    "production": Format(
        names=(
            ("day", "produced_kg"),
            ("finished_utc", "produced_kg"),
            ("finished_local", "produced_kg"),
        ),
        place=SITE,
        source=SITE,
        resolution_s=DAY_S,
        parse=plant_csv.parse_production,
        continuous=False,
        notes=(
            "Kilograms are summed by local day: a file holds whole days, and one imported "
            "again replaces the day's sum.",
        ),
    ),
}


def formats_of(series: Mapping[str, SeriesSettings]) -> Mapping[str, Format]:
    """Return all formats, with one for each series of one's own, under its name."""
    own = {
        name: Format(
            names=(("time_utc", name), ("time_local", name), ("day", name)),
            headings={office.plain_heading(spec.column): name},
            columns={name: name},
            place=SITE,
            source=SITE,
            resolution_s=spec.step_min * 60,
            parse=plant_csv.parse_own,
        )
        for name, spec in series.items()
    }
    return {**own, **FORMATS}


def detect(member: Member, among: Mapping[str, Format] = FORMATS) -> str | None:
    """Return the name of the member's format, or None where it is none of these."""
    head = decoded(member.data[:_HEAD_BYTES])
    for name, fmt in among.items():
        if fmt.words_at_start and all(words in head for words in fmt.words_at_start):
            return name
    for name, fmt in among.items():
        columns = office.column_names(member, fmt.headings) if fmt.names else frozenset()
        if any(columns.issuperset(names) for names in fmt.names):
            return name
    return None
