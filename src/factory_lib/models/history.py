"""Hourly prices and weather read from the store as of one instant, and their documented features.

The set of features of the last days is stored under its hash.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256

import pandas as pd

from factory_lib.catalogue import Kind
from factory_lib.clock import HOUR_S, MADRID, day_start, market_day
from factory_lib.context import RunContext
from factory_lib.domain.indices import BAND_DAYS
from factory_lib.errors import TooFewRows
from factory_lib.features.days import DayMatrix, day_matrix
from factory_lib.features.horizon import (
    HUMIDITY,
    PRICE,
    TEMPERATURE,
    VALUES,
    KnownAt,
    KnownUntil,
    documented_features,
)
from factory_lib.features.prices import LONGEST_LEAD_DAYS, SPOT, operator_days
from factory_lib.features.weather import (
    CLIMATE_COLUMNS,
    RADIATION,
    WIND_SPEED,
    hourly_from_daily,
    hourly_from_daily_until,
    system_ahead,
)
from factory_lib.files import replacing
from factory_lib.frames import wide
from factory_lib.models.tracking import PRICE_MODEL
from factory_lib.slots import expected, to_index

FEATURE_SET_VERSION = 1  # rises with every change of a definition
FEWEST_COMPLETE_HOURS = 24
# the errors of sixteen weeks, the shape of quarters before, a fit four weeks old
RECENT = timedelta(days=168)
PUBLISHED_AHEAD = timedelta(days=2)  # nothing is published further ahead than the next market day
# before a day begins: forecasts issued by then may enter its price forecast
NOON_BEFORE = timedelta(hours=12)
SPAIN = "ES"
OPERATOR_AREAS = (SPAIN, "FR", "PT")
OPERATOR_SERIES = ("load_mw", "wind_mw", "solar_mw")
# further ahead: of the weather, and the operator's load of the week
AHEAD_MODELS = {WIND_SPEED: ["open_meteo"], RADIATION: ["open_meteo"], "load_mw": ["ree_week"]}
# On spot 2022, 60 days had 87 % of the gain that two years of forecasts bring.
LEAST_OPERATOR_DAYS = 60


@dataclass(frozen=True)
class History:
    """Hourly price and weather, with the publication rules that say when they were known.

    Attributes
    ----------
    hourly : DataFrame
        Gapless hourly UTC index; ``price_eur_mwh`` (the plant's price basis),
        ``temperature_c``, ``humidity_pct``.
    known_until : mapping of column to function
        End (UTC) of the known values at an issue time.
    notes : tuple of str
        Provenance of price and weather, for readers of any figure from these hours.
    prices : Series
        The hourly prices (EUR/MWh, UTC index) that price models learn from: further back.
    operator : mapping of str to DayMatrix
        The system operator's day-ahead forecasts (``features.prices.operator_days``),
        empty where there are too few; and the spot prices, where there are any beside
        the regulated tariff.
    spot : Series, optional
        Hourly spot prices (EUR/MWh, UTC index), where the price basis is the regulated
        tariff: those of tomorrow are published hours before it.
    """

    hourly: pd.DataFrame
    known_until: KnownUntil
    notes: tuple[str, ...]
    prices: pd.Series = field(default_factory=pd.Series)
    operator: Mapping[str, DayMatrix] = field(default_factory=dict)
    spot: pd.Series | None = None


def price_series(ctx: RunContext) -> str:
    """Return the catalogue name of the plant's price basis."""
    return f"{ctx.settings.tariff.price_basis}_eur_mwh"


def price_model(ctx: RunContext) -> str:
    """Return the registered name of the model of the plant's price basis."""
    return f"{ctx.settings.tariff.price_basis}{PRICE_MODEL}"


def load_hours(ctx: RunContext, days: int) -> History:
    """Read the last ``days`` market days before ``ctx.as_of``, and prices published beyond it.

    Hourly weather is used where the window has any; else hours are imputed between the
    extremes of the daily climate. Without what only price models need (``load_history``).
    """
    start, end = _window(ctx, days)
    basis = price_series(ctx)
    prices = _read(ctx, [basis], start, end, HOUR_S).rename(columns={basis: PRICE})
    tolls = "the tolls of 2.0TD in it" if basis.startswith("pvpc") else "energy only, no tolls"
    price_note = f"Price basis: {ctx.settings.tariff.price_basis}, hourly means; {tolls}."
    weather, weather_until, weather_note = _weather(ctx, start, end)
    hourly = prices.join(weather, how="outer").reindex(
        index=to_index(expected(ctx.catalogue[TEMPERATURE], start, end)), columns=list(VALUES)
    )
    known_until = {
        PRICE: ctx.catalogue[basis].publication[Kind.OBSERVED].known_until,
        TEMPERATURE: weather_until,
        HUMIDITY: weather_until,
    }
    return History(hourly.astype("float64"), known_until, (price_note, weather_note))


def load_history(ctx: RunContext, days: int, price_days: int = 0) -> History:
    """Read :func:`load_hours`, and ``price_days`` of what price models learn from."""
    hours = load_hours(ctx, days)
    start, end = _window(ctx, max(days, price_days))
    operator = _operator(ctx, start, end)
    basis = price_series(ctx)
    prices = hours.hourly[PRICE]
    if price_days > days:
        prices = _read(ctx, [basis], start, end, HOUR_S)[basis].astype("float64")
    is_tariff = basis.startswith("pvpc")
    spot = _read(ctx, [SPOT], start, end, HOUR_S)[SPOT] if is_tariff else None
    if spot is not None and len(spot.dropna()):
        operator[SPOT] = day_matrix(spot)
    return replace(hours, prices=prices, operator=operator, spot=spot)


def _window(ctx: RunContext, days: int) -> tuple[datetime, datetime]:
    first = market_day(ctx.as_of) - timedelta(days=days)
    return day_start(first), ctx.as_of + PUBLISHED_AHEAD


def _operator(ctx: RunContext, start: datetime, end: datetime) -> dict[str, DayMatrix]:
    """Return the operators' forecasts of each day, issued by noon of the day before, if enough.

    An area enters with ``LEAST_OPERATOR_DAYS`` days of all its series, the neighbours only
    beside Spain; and days two to seven from weather forecasts, with as many.
    """
    matrices: dict[str, DayMatrix] = {}
    for area in OPERATOR_AREAS:
        parts = {name: _day_ahead(ctx, name, area, start, end) for name in OPERATOR_SERIES}
        forecasts = pd.DataFrame(parts)
        complete = len(forecasts.dropna()) >= LEAST_OPERATOR_DAYS * 24
        if complete and (matrices or area == OPERATOR_AREAS[0]):
            matrices |= operator_days(forecasts, area.lower())
            if area == SPAIN:
                matrices |= _further_days(ctx, forecasts, start, end)
    return matrices


def _further_days(
    ctx: RunContext, forecasts: pd.DataFrame, start: datetime, end: datetime
) -> dict[str, DayMatrix]:
    """Return load and generation of Spain by lead above 1, see ``features.weather``."""
    end += timedelta(days=LONGEST_LEAD_DAYS)
    issues: dict[Hashable, pd.DataFrame] = {
        name: _forecasts(ctx, name, SPAIN, models, start, end)
        for name, models in AHEAD_MODELS.items()
    }
    then = {name: _newest_by_noon(rows, 1) for name, rows in issues.items()}
    made: dict[str, DayMatrix] = {}
    if len(then[WIND_SPEED]) < LEAST_OPERATOR_DAYS * 24:
        return made
    for lead in range(2, LONGEST_LEAD_DAYS + 1):
        ahead = {name: _newest_by_noon(rows, lead) for name, rows in issues.items()}
        made |= system_ahead(forecasts, then, ahead, lead)
    return made


def _day_ahead(ctx: RunContext, name: str, area: str, start: datetime, end: datetime) -> pd.Series:
    """Return the newest forecasts (MW) of a series at noon of the day before, by target hour.

    Those of the most trusted source that has the hour.
    """
    entry = ctx.catalogue[f"{area.lower()}_{name.replace('_mw', '_forecast_mw')}"]
    return _newest_by_noon(_forecasts(ctx, name, area, list(entry.models), start, end), 1)


def _forecasts(
    ctx: RunContext, name: str, area: str, models: Sequence[str], start: datetime, end: datetime
) -> pd.DataFrame:
    """Return all issues of a series' forecasts: the most trusted model last, then the newest.

    With the market ``day`` (datetime64) of each target.
    """
    rows = ctx.store.read_forecasts(
        name,
        places=[area],
        start=start,
        end=end,
        as_of=ctx.as_of,
        models=models,
        latest=False,
    )
    trust = rows["model"].map(list(models).index)
    day = rows["target_start"].dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
    order = ["trust", "issued_at"]
    return rows.assign(trust=trust, day=day).sort_values(order, ascending=[False, True])


def _newest_by_noon(rows: pd.DataFrame, lead: int) -> pd.Series:
    """Return by target hour the newest forecast at noon, ``lead`` days before the day.

    Where none of the next day had been seen by noon, the first one seen after it:
    operators publish before, and what is known at ``ctx.as_of`` counts.
    """
    of_day, days = pd.factorize(rows["day"])  # few days of many rows
    noons = (pd.DatetimeIndex(days) - timedelta(days=lead - 1) - NOON_BEFORE).tz_localize(MADRID)
    is_late = (rows["issued_at"] > noons[of_day]).to_numpy()
    forecasts = _last_of_hour(rows[~is_late])
    if lead > 1:
        return forecasts
    late = rows[is_late].sort_values(["trust", "issued_at"], ascending=False)
    return forecasts.combine_first(_last_of_hour(late))


def _last_of_hour(rows: pd.DataFrame) -> pd.Series:
    forecasts: pd.Series = rows.drop_duplicates("target_start", keep="last").set_index(
        "target_start"
    )["p50"]
    return forecasts.sort_index()


def published_slots(ctx: RunContext, history: History) -> pd.Series:
    """Return the prices of ``history``, those of the last months in the market's own slots.

    A slot whose hour alone was given has the hour's price.
    """
    basis = price_series(ctx)
    start = ctx.as_of - RECENT
    end = ctx.as_of + PUBLISHED_AHEAD
    slots = to_index(expected(ctx.catalogue[basis], start, end))
    hourly = history.hourly[PRICE].dropna()
    of_hour = hourly.reindex(slots.floor("h")).set_axis(slots)
    recent = _read(ctx, [basis], start, end, None)[basis].reindex(slots).fillna(of_hour).dropna()
    return pd.concat([hourly[hourly.index < recent.index[0]], recent]) if len(recent) else hourly


def _read(
    ctx: RunContext, names: list[str], start: datetime, end: datetime, grid_s: int | None
) -> pd.DataFrame:
    places = ctx.settings.site.places.of(ctx.catalogue[names[0]].measurement)
    rows = ctx.store.read(
        names, places=places, start=start, end=end, as_of=ctx.as_of, grid_s=grid_s
    )
    return wide(rows).reindex(columns=names)


def _weather(ctx: RunContext, start: datetime, end: datetime) -> tuple[pd.DataFrame, KnownAt, str]:
    """Return hourly weather, its publication rule, and a note on its provenance."""
    weather = _read(ctx, [TEMPERATURE, HUMIDITY], start, end, HOUR_S)
    if weather.notna().all(axis=1).any():
        return (
            weather,
            ctx.catalogue[TEMPERATURE].publication[Kind.OBSERVED].known_until,
            "Weather is taken as known one hour after its slot, as stations publish, also "
            "where it was imported later.",
        )
    rule = ctx.catalogue["temperature_max_c"].publication[Kind.OBSERVED]

    def known_until(issued_at: datetime) -> datetime:
        return hourly_from_daily_until(rule.known_until(issued_at))

    daily = _read(ctx, list(CLIMATE_COLUMNS), start, end, None)
    if daily.empty:
        return weather[:0], known_until, "There is no weather in this window."
    days = int(daily.notna().all(axis=1).sum())
    return (
        hourly_from_daily(daily),
        known_until,
        f"Imputed: there is no hourly weather, so hours are interpolated between the extremes of "
        f"{days:,} days of daily climate (to {daily.index[-1]:%Y-%m-%d}, each known four days "
        "later). Scores hold for such ideal days.",
    )


@dataclass(frozen=True)
class FeatureSet:
    """The documented features of each hour of a window, as of one instant.

    Attributes
    ----------
    frame : DataFrame
        From ``documented_features``.
    hash : str
        Of names, version, hours and values: equal hashes, equal sets.
    notes : tuple of str
        Provenance of the hours.
    """

    frame: pd.DataFrame
    hash: str
    notes: tuple[str, ...]


def build_feature_set(ctx: RunContext, days: int) -> FeatureSet:
    """Build the set of the last ``days`` days, or of the latest complete ones; a job stores it.

    Raises
    ------
    TooFewRows
        If fewer than ``FEWEST_COMPLETE_HOURS`` hours have price and weather.
    """
    history = load_hours(ctx, days + BAND_DAYS + 1)
    end = ctx.as_of
    notes = history.notes
    if history.hourly[-24 * days :].dropna().empty:
        history = load_hours(ctx, ctx.settings.training.history_days + BAND_DAYS + 1)
        complete = history.hourly.dropna()
        if len(complete):
            end = complete.index[-1].to_pydatetime() + timedelta(hours=1)
            notes = (
                *history.notes,
                f"No hour after {end:%Y-%m-%d} has both price and weather: these are the days "
                "before it.",
            )
    hourly = history.hourly[history.hourly.index < end + PUBLISHED_AHEAD]
    features = documented_features(hourly, end, ctx.settings.tariff.area)
    window = features[features.index >= pd.Timestamp(end - timedelta(days=days))]
    window = window[: window["energy_optimization_score"].last_valid_index()]
    hours = int(window["energy_optimization_score"].notna().sum())
    if hours < FEWEST_COMPLETE_HOURS:
        raise TooFewRows("The feature set", hours, FEWEST_COMPLETE_HOURS)
    total = sha256(f"{FEATURE_SET_VERSION} {tuple(window.columns)}".encode())
    plain = window.astype(dict.fromkeys(window.select_dtypes("category"), "str"))
    total.update(pd.util.hash_pandas_object(plain).to_numpy().tobytes())
    digest = total.hexdigest()[:12]
    name = f"thirteen-v{FEATURE_SET_VERSION}-{digest}.parquet"
    file = ctx.settings.paths.data / "features" / name
    if not (file.exists() or ctx.state.read_only):  # looking stores nothing
        with replacing(file) as part:
            window.to_parquet(part)
    return FeatureSet(window, digest, notes)
