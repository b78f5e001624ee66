"""Inputs of a plan as of one instant: prices, outdoor air, solar power, load so far."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import SITE
from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.domain import tariff
from factory_lib.domain.plant import Floats, auxiliary_kw
from factory_lib.domain.pv import pv_kw
from factory_lib.frames import wide
from factory_lib.settings import ROOT, Settings

TARIFFS = ROOT / "config" / "tariffs_es.csv"
QUARTER = timedelta(minutes=15)
LOOK_BACK = timedelta(days=28)  # what the cheapest fixed start is judged on
AIR = ["temperature_c", "humidity_pct"]
PUBLISHED, FORECAST, WEEK_EARLIER = "published", "forecast", "same hour a week earlier"
DAY_EARLIER = "same hour of the last day observed"


def prices(ctx: RunContext, begin: datetime, end: datetime) -> pd.DataFrame:
    """Return the whole price of every quarter from four weeks before ``begin`` to ``end``.

    Returns
    -------
    DataFrame
        UTC index ``start``; the columns of :func:`factory_lib.domain.tariff.all_in`;
        ``p10``, ``p50``, ``p90`` of the market price (EUR/MWh; a band only where it is
        forecast); ``period`` (P1…P6); ``known``, how the price is known.
    """
    index = _quarters(begin - LOOK_BACK, end)
    frame = _market(ctx, index)
    settings = ctx.settings
    pvpc = settings.tariff.price_basis == "pvpc"
    whole = tariff.all_in(index, frame["p50"], None if pvpc else tariff_of(ctx), settings.contract)
    return pd.concat([whole, frame], axis=1)


def tariff_of(ctx: RunContext) -> tariff.Tariff:
    """Return the published tolls and charges of the plant's access tariff."""
    return published_tariff(ctx.settings)


def published_tariff(settings: Settings) -> tariff.Tariff:
    """Return the published tolls and charges of the access tariff of the settings.

    PVPC contains its tolls; a plant on 2.0TD is held to the periods of 3.0TD.
    """
    access = settings.tariff.access
    return tariff.read_tariff(
        TARIFFS, "3.0TD" if access == "2.0TD" else access, year=settings.tariff.year
    )


def _market(ctx: RunContext, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the market price as published, else forecast, else of a week earlier."""
    settings = ctx.settings
    name = f"{settings.tariff.price_basis}_eur_mwh"
    window: dict[str, Any] = {
        "places": settings.site.places.prices,
        "start": index[0].to_pydatetime(),
        "end": (index[-1] + QUARTER).to_pydatetime(),
        "as_of": ctx.as_of,
    }
    published = _in_quarters(ctx.store.read([name], **window), "value", index)
    rows = ctx.store.read_forecasts(name, **window).sort_values("issued_at")
    rows = rows.drop_duplicates(["target_start", "resolution_s"], keep="last")
    rows = rows.rename(columns={"target_start": "start"})
    week = _first_known(published, index, range(7, 29, 7))
    columns = ("p10", "p50", "p90")
    band = {key: _in_quarters(rows, key, index).where(published.isna()) for key in columns}
    frame = pd.DataFrame(
        {key: published.fillna(value).fillna(week) for key, value in band.items()}, index=index
    )
    access = settings.tariff.access
    frame["period"] = np.asarray(tariff.labels(tariff.periods(index, access)))
    frame["known"] = np.select(
        [published.notna(), band["p50"].notna(), week.notna()],
        [PUBLISHED, FORECAST, WEEK_EARLIER],
        default="",
    )
    return frame


def solar_kw(ctx: RunContext, begin: datetime, end: datetime) -> pd.Series | None:
    """Return the expected solar power by hour; None without modules or without a forecast."""
    site = ctx.settings.site
    modules = ctx.settings.plant.pv
    if not modules.kwp:
        return None
    rows = ctx.store.read_forecasts(
        "solar_radiation_wm2", places=site.places.weather, start=begin, end=end, as_of=ctx.as_of
    )
    if rows.empty:
        return None
    radiation = rows.sort_values("issued_at").groupby("target_start")["p50"].last()
    radiation = radiation.asfreq("h").interpolate(limit=2)
    return pv_kw(radiation, modules, site.latitude, site.longitude, HOUR_S)


def load_kw(ctx: RunContext, stages: pd.DataFrame, begin: datetime, end: datetime) -> pd.Series:
    """Return the plant's load by quarter: metered, else what was planned and begun.

    Parameters
    ----------
    stages : DataFrame
        ``planning.documents.STAGE_COLUMNS`` of what was carried out.
    """
    index = _quarters(begin, end)
    planned = pd.Series(planned_kw(ctx, stages, index), index=index)
    return (metered_kwh(ctx, index) * 4).fillna(planned)


def planned_kw(ctx: RunContext, stages: pd.DataFrame, index: pd.DatetimeIndex) -> Floats:
    """Return by quarter the loads that always run and the stages that run."""
    kw = np.asarray(auxiliary_kw(ctx.settings.plant, index), float)
    rows: list[dict[Any, Any]] = stages.to_dict("records")
    for row in rows:
        kw += row["kw"] * np.asarray((index >= row["start"]) & (index < row["end"]))
    return kw


def metered_kwh(ctx: RunContext, index: pd.DatetimeIndex) -> pd.Series:
    """Return metered energy by quarter; an hour metered as a whole is spread over its quarters."""
    values = {}
    for name in ("metered_quarter_kwh", "metered_hour_kwh"):
        rows = ctx.store.read(
            name,
            places=(SITE,),
            start=index[0].to_pydatetime(),
            end=(index[-1] + QUARTER).to_pydatetime(),
            as_of=ctx.as_of,
        )
        values[name] = rows.set_index("start")["value"]
    hours = values["metered_hour_kwh"].reindex(index.floor("h")).set_axis(index)
    return values["metered_quarter_kwh"].reindex(index).fillna(hours / 4)


def weather(ctx: RunContext, begin: datetime, end: datetime) -> pd.DataFrame:
    """Return outdoor ``temperature_c`` and ``humidity_pct`` by hour, and how each is ``known``.

    The provider whose forecast covers most of the window comes first; where there is
    none, the same hour of the last day that was observed. UTC index ``start``; unknown
    is NaN.
    """
    index = pd.date_range(
        pd.Timestamp(begin).floor("h"), end, freq="h", inclusive="left", unit="s", name="start"
    )
    rows = ctx.store.read(
        AIR,
        places=ctx.settings.site.places.weather,
        start=begin - timedelta(days=7),
        end=end,
        as_of=ctx.as_of,
        grid_s=HOUR_S,
    )
    observed = wide(rows)
    nothing = pd.Series(dtype="float64", index=index[:0])
    forecast = pd.DataFrame({name: _forecast_air(ctx, name, index) for name in AIR}, index=index)
    frame = pd.DataFrame(
        {
            name: forecast[name].fillna(
                _first_known(observed.get(name, nothing), index, range(1, 8))
            )
            for name in AIR
        },
        index=index,
    )
    complete = [forecast.notna().all(axis=1), frame.notna().all(axis=1)]
    frame["known"] = np.select(complete, [FORECAST, DAY_EARLIER], default="")
    return frame


def _forecast_air(ctx: RunContext, name: str, index: pd.DatetimeIndex) -> pd.Series:
    """Return the providers' forecast of each hour, of the one that covers most of them first."""
    rows = ctx.store.read_forecasts(
        name,
        places=ctx.settings.site.places.weather,
        start=index[0].to_pydatetime(),
        end=(index[-1] + timedelta(hours=1)).to_pydatetime(),
        as_of=ctx.as_of,
    )
    models = rows.pivot(index="target_start", columns="model", values="p50").reindex(index)
    if not models.shape[1]:
        return pd.Series(np.nan, index=index)
    order = models.count().sort_values(ascending=False, kind="stable").index
    return models[order].interpolate(limit=2).bfill(axis="columns").iloc[:, 0]


def _quarters(begin: datetime, end: datetime) -> pd.DatetimeIndex:
    return pd.date_range(begin, end, freq="15min", inclusive="left", unit="s", name="start")


def _in_quarters(rows: pd.DataFrame, column: str, index: pd.DatetimeIndex) -> pd.Series:
    """Lay hours and quarters on quarters; a quarter's own value comes before its hour's."""
    laid = pd.Series(np.nan, index=index)
    for resolution_s, part in rows.groupby("resolution_s"):
        values = part.set_index("start")[column]
        laid = laid.fillna(values.reindex(index.floor(f"{resolution_s}s")).set_axis(index))
    return laid


def _first_known(values: pd.Series, index: pd.DatetimeIndex, days: Iterable[int]) -> pd.Series:
    """Return the value of the same local time so many days earlier, the first that is known."""
    wall = index.tz_convert(MADRID).tz_localize(None)
    first = pd.Series(np.nan, index=index)
    for back in days:
        earlier = (wall - timedelta(days=back)).tz_localize(
            MADRID, ambiguous=np.ones(len(index), dtype=bool), nonexistent="shift_forward"
        )
        first = first.fillna(values.reindex(earlier.tz_convert("UTC")).set_axis(index))
    return first
