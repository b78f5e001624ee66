"""The hours that features and models work on, read from the store as of one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import pandas as pd

from factory_lib.catalogue import Kind, Publication
from factory_lib.clock import HOUR_S, MADRID, day_start, market_day
from factory_lib.context import RunContext
from factory_lib.features import diurnal
from factory_lib.features.documented import HUMIDITY, PRICE, TEMPERATURE
from factory_lib.features.horizon import KnownAt, KnownUntil
from factory_lib.features.lags import DayMatrix
from factory_lib.features.prices import operator_days
from factory_lib.frames import wide
from factory_lib.slots import expected, to_index

RECENT = timedelta(days=35)  # what quarters of an hour are learnt from, and a week more
PUBLISHED_AHEAD = timedelta(days=2)  # nothing is published further ahead than the next market day
NOON_BEFORE = timedelta(
    hours=12
)  # before a day begins: what is forecast by then may enter its price forecast
OPERATOR, OPERATOR_SERIES = "ree", ("load_mw", "wind_mw", "solar_mw")
LEAST_OPERATOR_DAYS = 180  # with fewer, prices alone forecast better
_COLUMNS = [PRICE, TEMPERATURE, HUMIDITY]


@dataclass(frozen=True)
class History:
    """Hourly price and weather with what an issue time may know of them.

    Attributes
    ----------
    hourly : DataFrame
        Gapless hourly UTC index; ``price_eur_mwh`` (the plant's price basis),
        ``temperature_c``, ``humidity_pct``.
    known_until : mapping of column to function
        The end (UTC) of what is known at an issue time.
    notes : tuple of str
        What a reader of any figure from these hours has to know.
    operator : mapping of str to DayMatrix
        The system operator's day-ahead forecasts (``features.prices.operator_days``),
        empty where there are too few.
    """

    hourly: pd.DataFrame
    known_until: KnownUntil
    notes: tuple[str, ...]
    operator: Mapping[str, DayMatrix] = field(default_factory=dict)


def load(ctx: RunContext, days: int) -> History:
    """Read the hours of the last ``days`` market days before ``ctx.as_of``, and the prices published beyond it.

    Hourly weather is used where the window has any; else hours are drawn between the
    extremes of the daily climate.
    """
    start = day_start(market_day(ctx.as_of) - timedelta(days=days))
    end = ctx.as_of + PUBLISHED_AHEAD
    price_series = f"{ctx.settings.tariff.price_basis}_eur_mwh"
    index = to_index(expected(ctx.catalogue[TEMPERATURE], start, end))
    prices = _read(ctx, [price_series], start, end, HOUR_S).rename(columns={price_series: PRICE})
    weather = _read(ctx, [TEMPERATURE, HUMIDITY], start, end, HOUR_S)
    contains = (
        "the tolls of 2.0TD in it" if price_series.startswith("pvpc") else "energy only, no tolls"
    )
    notes = [f"Price basis: {price_series.removesuffix('_eur_mwh')}, hourly means; {contains}."]
    weather_until: KnownAt = ctx.catalogue[TEMPERATURE].publication[Kind.OBSERVED].known_until
    note = "Weather is taken as known one hour after its slot, as stations publish, however it came into the store."
    if not weather.notna().all(axis=1).any():
        weather, note = _from_climate(ctx, start, end)
        rule = ctx.catalogue["temperature_max_c"].publication[Kind.OBSERVED]
        weather_until = partial(_climate_known_until, rule)
    hourly = (
        prices.join(weather, how="outer").reindex(index=index, columns=_COLUMNS).astype("float64")
    )
    price_until = ctx.catalogue[price_series].publication[Kind.OBSERVED].known_until
    known_until = {PRICE: price_until, TEMPERATURE: weather_until, HUMIDITY: weather_until}
    return History(hourly, known_until, (*notes, note), _operator(ctx, start, end))


def _operator(ctx: RunContext, start: datetime, end: datetime) -> dict[str, DayMatrix]:
    """Return the operator's forecasts of each day as issued by noon of the day before; none where they are too few."""
    parts = {}
    for name in OPERATOR_SERIES:
        rows = ctx.store.read_forecasts(
            name,
            places=ctx.settings.site.places.prices,
            start=start,
            end=end,
            as_of=ctx.as_of,
            models=(OPERATOR,),
            latest=False,
        )
        day = rows["target_start"].dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
        noon_before = (day - NOON_BEFORE).dt.tz_localize(MADRID)
        rows = rows[rows["issued_at"] <= noon_before].sort_values("issued_at")
        parts[name] = rows.drop_duplicates("target_start", keep="last").set_index("target_start")[
            "p50"
        ]
    known = pd.DataFrame(parts).dropna()
    return operator_days(known) if len(known) >= LEAST_OPERATOR_DAYS * 24 else {}


def published_slots(ctx: RunContext, history: History) -> pd.Series:
    """Return the prices of ``history`` with the last weeks' as the market has them, hours or quarters, by ``start``."""
    name, end = f"{ctx.settings.tariff.price_basis}_eur_mwh", ctx.as_of + PUBLISHED_AHEAD
    recent = _read(ctx, [name], ctx.as_of - RECENT, end, None)[name].dropna()
    hourly = history.hourly[PRICE].dropna()
    return pd.concat([hourly[hourly.index < recent.index[0]], recent]) if len(recent) else hourly


def _read(
    ctx: RunContext, names: list[str], start: datetime, end: datetime, grid_s: int | None
) -> pd.DataFrame:
    places = ctx.settings.site.places.of(ctx.catalogue[names[0]].measurement)
    rows = ctx.store.read(
        names, places=places, start=start, end=end, as_of=ctx.as_of, grid_s=grid_s
    )
    return wide(rows).reindex(columns=names)


def _climate_known_until(rule: Publication, issued_at: datetime) -> datetime:
    return diurnal.known_until(rule.known_until(issued_at))


def _from_climate(ctx: RunContext, start: datetime, end: datetime) -> tuple[pd.DataFrame, str]:
    daily = _read(ctx, list(diurnal.DAILY), start, end, None)
    if daily.empty:
        return pd.DataFrame(columns=[TEMPERATURE, HUMIDITY]), "There is no weather in this window."
    known = daily.notna().all(axis=1)
    return diurnal.hourly_from_daily(daily), (
        f"Imputed: no hourly weather here, so hours are drawn between the extremes of {int(known.sum()):,} days of "
        f"daily climate (to {daily.index[-1]:%Y-%m-%d}, each known four days later). Scores hold for such ideal days."
    )
