"""The committed plants, and the prices and weather they are planned with."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
from msgspec import structs

from factory_lib.domain.tariff import Tariff, read_tariff
from factory_lib.settings.loading import decode
from factory_lib.settings.plant import Plant
from factory_lib.settings.tariff import ContractSettings

ROOT = Path(__file__).parents[1]
PLANTS = ROOT / "benchmarks" / "plants"
NAMES = ("default", "free", "tight")


def committed_plant(name: str, slot_min: int) -> tuple[Plant, ContractSettings]:
    """Return a committed plant, on a grid of ``slot_min``, and its contract."""
    file = PLANTS / f"{name}.toml"
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    plant = decode(Plant, table["plant"], "plant", file=str(file))
    contract = decode(ContractSettings, table["contract"], "contract", file=str(file))
    return structs.replace(plant, slot_min=slot_min), contract


def tariff_of(year: int) -> Tariff:
    """Return the published tolls and charges of 3.0TD in one year."""
    return read_tariff(ROOT / "config" / "tariffs_es.csv", "3.0TD", year=year)


def hourly_spot(data: Path) -> pd.Series:
    """Return spot prices by hour (UTC), EUR/MWh, of the years settled in quarters too."""
    files = sorted({*data.glob("spot_es_hourly_*"), *data.glob("omie_15min_*")})
    if not files:
        raise SystemExit(f"No spot_es_hourly_* in {data}: name the folder with --data.")
    parts = [pd.read_csv(file, parse_dates=["time_utc"], index_col="time_utc") for file in files]
    prices = pd.concat(parts)["spot_eur_mwh"]
    prices = prices[~prices.index.duplicated(keep="last")].sort_index()
    return prices.resample("h").mean()


def weather_laid_on(data: Path, city: str, source_year: int, year: int) -> pd.DataFrame:
    """Return a city's hourly weather of one year on the dates of another, UTC."""
    (file,) = data.glob("es_weather_*")
    table = pd.read_csv(file)
    table = table[table["city_name"].str.strip() == city].drop_duplicates("dt_iso")
    start = pd.to_datetime(table["dt_iso"], utc=True) + pd.DateOffset(years=year - source_year)
    frame = pd.DataFrame(
        {"temperature_c": table["temp"] - 273.15, "humidity_pct": table["humidity"]}
    ).set_axis(pd.DatetimeIndex(start))
    frame = frame[~frame.index.duplicated()].sort_index()
    return frame[str(year - 1) : str(year + 1)].asfreq("h").ffill(limit=3)
