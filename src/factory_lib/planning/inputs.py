"""Inputs of a plan as of one instant: prices, outdoor air, solar power, load so far."""

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID, day_start
from factory_lib.context import RunContext
from factory_lib.domain import tariff
from factory_lib.domain.plant import Floats, auxiliary_kw, pv_kw
from factory_lib.frames import QUANTILES
from factory_lib.models.history import load_hours
from factory_lib.models.weather_forecast import NAMES, forecast_weather
from factory_lib.settings import ROOT, Settings
from factory_lib.settings.plant import Photovoltaics

TARIFFS = ROOT / "config" / "tariffs_es.csv"
QUARTER = timedelta(minutes=15)
LOOK_BACK = timedelta(days=28)  # what the cheapest fixed start is judged on
CLIMATE_DAYS = 400  # of weather: climatology takes the same days of the year before
PUBLISHED, FORECAST, WEEK_EARLIER = "published", "forecast", "same hour a week earlier"
METERED = ["metered_quarter_kwh", "metered_hour_kwh"]


def prices(ctx: RunContext, begin: datetime, end: datetime) -> pd.DataFrame:
    """Return the whole price of every quarter from four weeks before ``begin`` to ``end``.

    Returns
    -------
    DataFrame
        UTC index ``start``; the columns of :func:`factory_lib.domain.tariff.all_in`;
        ``p10``, ``p50``, ``p90`` of the market price (EUR/MWh; a band only where it is
        forecast); ``period`` (P1…P6); ``known``, how the price is known.
    """
    index = quarters(begin - LOOK_BACK, end)
    settings = ctx.settings
    frame = _market(ctx, index)
    frame["period"] = tariff.labels(
        tariff.periods(index, settings.tariff.access, settings.tariff.area)
    )
    # PVPC contains its tolls
    terms = None if settings.tariff.price_basis == "pvpc" else tariff_of(settings)
    return pd.concat([tariff.all_in(index, frame["p50"], terms, settings.contract), frame], axis=1)


def tariff_of(settings: Settings) -> tariff.Tariff:
    """Return the tolls and charges; a plant on 2.0TD is held to those of 3.0TD."""
    terms = settings.tariff
    if not terms.published:
        return tariff.own_tariff(settings.contract.toll_eur_mwh, terms.area)
    access = "3.0TD" if terms.access == "2.0TD" else terms.access
    return tariff.read_tariff(TARIFFS, access, year=terms.year, area=terms.area)


def _market(ctx: RunContext, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the market price as published, else forecast, else of the same hour a week earlier."""
    name = f"{ctx.settings.tariff.price_basis}_eur_mwh"
    window: dict[str, Any] = {
        "places": ctx.settings.site.places.prices,
        "start": index[0].to_pydatetime(),
        "end": (index[-1] + QUARTER).to_pydatetime(),
        "as_of": ctx.as_of,
    }
    # of an hour that a source gave as a whole, each quarter that is not known costs its mean
    both = [ctx.store.read([name], grid_s=grid_s, **window) for grid_s in (None, HOUR_S)]
    rows = pd.concat(both).drop_duplicates(["start", "resolution_s"])
    published = lay_in_quarters(rows, "value", index)
    rows = ctx.store.read_forecasts(name, **window).rename(columns={"target_start": "start"})
    rows = rows.sort_values("issued_at").drop_duplicates(["start", "resolution_s"], keep="last")
    band = {key: lay_in_quarters(rows, key, index) for key in QUANTILES}
    earlier = _weeks_earlier(published, index)
    frame = pd.DataFrame(
        {key: published.fillna(value).fillna(earlier) for key, value in band.items()}
    )
    frame["known"] = np.select(
        [published.notna(), band["p50"].notna(), earlier.notna()],
        [PUBLISHED, FORECAST, WEEK_EARLIER],
        default="",
    )
    return frame


def lay_in_quarters(rows: pd.DataFrame, column: str, index: pd.DatetimeIndex) -> pd.Series:
    """Lay hours and quarters on quarters; a quarter's own value comes before its hour's."""
    laid = pd.Series(np.nan, index=index)
    for resolution_s, part in rows.groupby("resolution_s"):
        values = part.set_index("start")[column]
        laid = laid.fillna(values.reindex(index.floor(f"{resolution_s}s")).set_axis(index))
    return laid


def _weeks_earlier(values: pd.Series, index: pd.DatetimeIndex) -> pd.Series:
    """Return the latest value of the same local time one to four weeks earlier."""
    wall = index.tz_convert(MADRID).tz_localize(None)
    local = values.set_axis(wall)
    local = local[~local.index.duplicated()]
    weeks = [local.reindex(wall - timedelta(days=days)).set_axis(index) for days in (7, 14, 21, 28)]
    return pd.concat(weeks, axis=1).bfill(axis=1).iloc[:, 0]


def weather(ctx: RunContext, begin: datetime, end: datetime) -> pd.DataFrame:
    """Return the outdoor air of the hours ahead.

    Returns
    -------
    DataFrame
        ``models.weather_forecast.WeatherForecast.hourly``.
    """
    index = pd.date_range(
        pd.Timestamp(begin).floor("h"), end, freq="h", inclusive="left", unit="s", name="start"
    )
    observed = load_hours(ctx, CLIMATE_DAYS).hourly.loc[: pd.Timestamp(ctx.as_of), NAMES]
    return forecast_weather(ctx, observed, index).hourly


def solar_kw(
    ctx: RunContext, modules: Photovoltaics, begin: datetime, end: datetime
) -> pd.Series | None:
    """Return the expected solar power by hour; None without modules or without a forecast."""
    site = ctx.settings.site
    rows = ctx.store.read_forecasts(
        "solar_radiation_wm2", places=site.places.weather, start=begin, end=end, as_of=ctx.as_of
    )
    if not modules.kwp or rows.empty:
        return None
    radiation = rows.sort_values("issued_at").groupby("target_start")["p50"].last()
    radiation = radiation.asfreq("h").interpolate(limit=2)
    return pv_kw(radiation, modules, site.latitude, site.longitude, HOUR_S)


def load_kw(ctx: RunContext, stages: pd.DataFrame, index: pd.DatetimeIndex) -> pd.Series:
    """Return the plant's load by quarter: metered, else what was planned and begun.

    Parameters
    ----------
    stages : DataFrame
        Of ``planning.documents.carried_out``.
    """
    planned = pd.Series(planned_kw(ctx, stages, index), index=index)
    return metered_kw(ctx, index).fillna(planned)


def planned_kw(ctx: RunContext, stages: pd.DataFrame, index: pd.DatetimeIndex) -> Floats:
    """Return by quarter the loads that always run and the stages that run."""
    kw = np.asarray(auxiliary_kw(ctx.settings.plant, index), float)
    for start, end, stage_kw in zip(stages["start"], stages["end"], stages["kw"], strict=True):
        kw[index.searchsorted(start) : index.searchsorted(end)] += stage_kw
    return kw


def metered_kw(ctx: RunContext, index: pd.DatetimeIndex) -> pd.Series:
    """Return the metered load by quarter; an hour metered as a whole is its mean in each."""
    rows = ctx.store.read(
        METERED,
        places=(ctx.settings.site.places.plant,),
        start=index[0].to_pydatetime(),
        end=(index[-1] + QUARTER).to_pydatetime(),
        as_of=ctx.as_of,
    )
    mean_kw = rows["value"] * HOUR_S / rows["resolution_s"]
    return lay_in_quarters(rows.assign(kw=mean_kw), "kw", index)


def produced_kg(ctx: RunContext, first: date, until: date) -> pd.Series:
    """Return the kilograms recorded as produced, by local day."""
    rows = ctx.store.read(
        "produced_kg",
        places=(ctx.settings.site.places.plant,),
        start=day_start(first),
        end=day_start(until),
        as_of=ctx.as_of,
    )
    return rows.set_index(rows["start"].dt.tz_convert(MADRID).dt.date)["value"]


def quarters(begin: datetime, end: datetime) -> pd.DatetimeIndex:
    """Return the quarters of a window."""
    return pd.date_range(begin, end, freq="15min", inclusive="left", unit="s", name="start")
