"""Predictions of the hours ahead: price, weather, score and outdoor index with probabilities.

Every run stores its forecasts under the model name ``factory``, so that verification can
compare them with the observations later; an unchanged forecast is stored once a day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, day_start, epoch, market_day
from factory_lib.context import RunContext
from factory_lib.domain import indices
from factory_lib.domain.indices import CLASSES, Floats, PriceBand
from factory_lib.errors import BadInput
from factory_lib.features import horizon
from factory_lib.features.days import DayMatrix, Flags
from factory_lib.features.horizon import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE
from factory_lib.frames import FORECAST_COLUMNS, QUANTILES, UTC_S
from factory_lib.models import registry, verification
from factory_lib.models.forecasters import PriceForecaster
from factory_lib.models.history import (
    History,
    load_history,
    price_model,
    price_series,
    published_slots,
)
from factory_lib.models.own_model import figures
from factory_lib.models.price_forecast import (
    CHAMPION,
    FROM_SPOT,
    NAIVE,
    PUBLISHED,
    PriceForecast,
    forecast_prices,
    whole_days,
)
from factory_lib.models.rule_forecast import forecast_by_rule
from factory_lib.models.scores import OUTDOOR_CLASS, SCORE, class_chances
from factory_lib.models.weather_forecast import OWN, WeatherForecast, forecast_weather
from factory_lib.slots import to_index

LONGEST_HORIZON_DAYS = 7
HISTORY_DAYS = 4 * 365  # climatology is taken from the same days of so many years
PRICE_INPUTS = "price_inputs"  # a champion that lacks some serves from prices alone
SCORE_SERIES = "energy_optimization_score"
RULE = "rule"
PRICE_COLUMNS = {"p50": PRICE, "p10": "price_p10", "p90": "price_p90"}


@dataclass(frozen=True)
class Prediction:
    """Expected prices, weather, scores and outdoor classes, and the record of earlier ones.

    Attributes
    ----------
    hourly : DataFrame
        UTC index: ``price_eur_mwh`` with ``price_p10`` and ``price_p90``, ``tier``,
        ``temperature_c``, ``humidity_pct``, ``weather_source``,
        ``rule_forecast.EXPECTATION_COLUMNS``, ``score_source`` and
        ``outdoor_index_class_source`` (rule or champion).
    slots : DataFrame
        UTC index at the market's cadence, quarters since October 2025: price, band and
        tier. Hours are their means.
    band : PriceBand
        The price band of the scores.
    weather : WeatherForecast
    verification : DataFrame
        ``verification.ACCURACY_COLUMNS`` after ``series``: past forecasts against observations,
        by lead in market days.
    drifts : dict of str to str
        Series whose recent errors are out of line, and how.
    price_errors : array, shape (scenarios, hours)
        Errors of whole past forecasts, laid on the hours of ``hourly``.
    naive_leads : tuple of int
        Leads at which the price champion serves no hour.
    unserved : dict of str to str
        Models without a champion in use, or inputs that it lacks, and the reason.
    served_hours : dict of str to int
        Hours of score and outdoor index by each champion.
    history_notes : tuple of str
        Provenance of the past hours.
    stored : int
        Forecast rows that were new.
    """

    hourly: pd.DataFrame
    slots: pd.DataFrame
    band: PriceBand
    weather: WeatherForecast
    verification: pd.DataFrame
    drifts: dict[str, str]
    price_errors: Floats
    naive_leads: tuple[int, ...]
    unserved: dict[str, str]
    served_hours: dict[str, int]
    history_notes: tuple[str, ...]
    stored: int


def predict(ctx: RunContext, days: int = LONGEST_HORIZON_DAYS) -> Prediction:
    """Predict the hours that begin from ``ctx.as_of`` on, and store the forecasts.

    Raises
    ------
    BadInput
        If ``days`` is not 1 … 7.
    """
    if not 1 <= days <= LONGEST_HORIZON_DAYS:
        raise BadInput(
            f"{days} days cannot be predicted.", next_step=f"Choose 1 … {LONGEST_HORIZON_DAYS}."
        )
    begin = -(-epoch(ctx.as_of) // HOUR_S) * HOUR_S
    index = to_index(np.arange(begin, begin + days * 24 * HOUR_S, HOUR_S, dtype=np.int64))
    history = load_history(ctx, HISTORY_DAYS)
    forecast, slots, unserved = _prices(ctx, history, index)
    hourly = forecast.slots.rename(columns=PRICE_COLUMNS)
    observed = history.hourly.loc[: pd.Timestamp(ctx.as_of), [TEMPERATURE, HUMIDITY]]
    weather = forecast_weather(ctx, observed, index)
    band = indices.price_band(history.hourly[PRICE] * MWH_PER_KWH, ctx.as_of)
    hourly = hourly.join(weather.hourly)
    hourly = hourly.join(forecast_by_rule(hourly, weather, band, ctx.as_of))
    hourly = hourly.assign(score_source=RULE, outdoor_index_class_source=RULE)
    served_hours = {}
    for model in (SCORE, OUTDOOR_CLASS):
        served_hours[model], reason = _serve(ctx, model, history, hourly)
        unserved |= {model: reason} if reason else {}
    stored = _store(ctx, hourly, slots)
    reviewed, drifts = _verification(ctx)
    return Prediction(
        hourly=hourly,
        slots=slots,
        band=band,
        weather=weather,
        verification=reviewed,
        drifts=drifts,
        price_errors=forecast.errors,
        naive_leads=forecast.naive_leads,
        unserved=unserved,
        served_hours=served_hours,
        history_notes=history.notes,
        stored=stored,
    )


def _prices(
    ctx: RunContext, history: History, index: pd.DatetimeIndex
) -> tuple[PriceForecast, pd.DataFrame, dict[str, str]]:
    """Return prices by hour and in the market's own slots, and models not in use."""
    model = price_model(ctx)
    estimator, reason = registry.champion(ctx, model)
    exogenous, missing = _inputs(ctx, estimator, history)
    if missing:
        reason = f"The price champion needs forecasts of {missing} that are missing."
        if not estimator.expert_errors_:  # fitted by earlier code
            estimator = None
    entry = ctx.catalogue[price_series(ctx)]
    step_s = entry.resolution_at(index[-1].to_pydatetime())
    end = index[-1] + pd.Timedelta(seconds=HOUR_S)
    fine = pd.date_range(index[0], end, freq=f"{step_s}s", inclusive="left", unit="s")
    prices = history.hourly[PRICE] if step_s == HOUR_S else published_slots(ctx, history)
    forecast = forecast_prices(prices, fine, estimator, exogenous, step_s, history.spot)
    slots = forecast.slots.rename(columns=PRICE_COLUMNS)
    unserved = {PRICE_INPUTS if estimator else model: reason} if reason else {}
    return _by_hour(forecast, index), slots, unserved


def _inputs(
    ctx: RunContext, estimator: PriceForecaster | None, history: History
) -> tuple[dict[str, DayMatrix], str]:
    """Return the forecasts of load and generation that a champion needs, and those missing.

    With them come the figures of series that one of one's own needs.
    """
    names = estimator.exogenous_ if estimator else []
    exogenous = {name: history.operator[name] for name in names if name in history.operator}
    if prices := whole_days(history.hourly[PRICE]) if names else None:
        exogenous |= figures(ctx, names, prices)
    return exogenous, ", ".join(name for name in names if name not in exogenous)


def _by_hour(forecast: PriceForecast, index: pd.DatetimeIndex) -> PriceForecast:
    """Return means of the hours ``index``; an hour is published where all of its slots are."""
    slots = forecast.slots
    shape = (len(index), -1)
    means = {name: slots[name].to_numpy().reshape(shape).mean(axis=1) for name in QUANTILES}
    tiers = slots["tier"].to_numpy().reshape(shape)
    first = (tiers != PUBLISHED).argmax(axis=1)[:, np.newaxis]
    tier = np.take_along_axis(tiers, first, axis=1)[:, 0]
    errors = forecast.errors.reshape(len(forecast.errors), *shape).mean(axis=2)
    return replace(
        forecast, slots=pd.DataFrame({**means, "tier": tier}, index=index), errors=errors
    )


def _serve(ctx: RunContext, model: str, history: History, hourly: pd.DataFrame) -> tuple[int, str]:
    """Write a champion's scores or outdoor classes over the rule's, where there is a champion.

    A version is champion only if it was better than the rule over the forecasts. It
    reaches to the end of the next market day; its score has no band.

    Returns
    -------
    (int, str)
        Hours served by the champion, and the reason why it is not in use.
    """
    estimator, reason = registry.champion(ctx, model)
    rows = horizon.horizon_rows([ctx.as_of])
    rows = rows[rows["target_start"].isin(hourly.index[hourly["score"].notna()])]
    if estimator is None or rows.empty:
        return 0, reason
    x = horizon.horizon_features(horizon.AsOfView(history.hourly, rows, history.known_until), rows)
    if list(estimator.feature_names_in_) != list(x.columns):
        return 0, f"{model} needs other features: run `make train`."
    at = pd.DatetimeIndex(rows["target_start"])
    if model == SCORE:
        hourly.loc[at, "score_source"] = CHAMPION
        hourly.loc[at, "score"] = estimator.predict(x)
        hourly.loc[at, ["score_p10", "score_p90"]] = float("nan")
    else:
        chances = class_chances(estimator, x).set_axis(at)
        hourly.loc[at, "outdoor_index_class_source"] = CHAMPION
        hourly.loc[at, "outdoor_index_class"] = chances.idxmax(axis=1)
        hourly.loc[at, [f"p_{label}" for label in CLASSES]] = chances.to_numpy()
    return len(at), ""


def _store(ctx: RunContext, hourly: pd.DataFrame, slots: pd.DataFrame) -> int:
    """Store the new forecasts, the price in the market's slots, and return their number.

    Hourly means of quarters are aggregates, which are never stored.
    """
    places = ctx.settings.site.places
    prices = slots[slots["tier"].isin([CHAMPION, NAIVE, FROM_SPOT])]
    step_s = int((slots.index[1] - slots.index[0]).total_seconds())
    weather = hourly["weather_source"]
    price_band = ["price_p10", PRICE, "price_p90"]
    score_band = ["score_p10", "score", "score_p90"]
    price = (price_series(ctx), places.prices[0], prices[price_band], prices["tier"], step_s)
    return (
        (_write(ctx, *price) if ctx.settings.has_market else 0)
        + _write(ctx, TEMPERATURE, places.weather[0], hourly[[TEMPERATURE]], weather)
        + _write(ctx, HUMIDITY, places.weather[0], hourly[[HUMIDITY]], weather)
        + _write(ctx, SCORE_SERIES, places.weather[0], hourly[score_band], hourly["tier"])
    )


def _write(
    ctx: RunContext,
    series: str,
    place: str,
    values: pd.DataFrame,
    tier: pd.Series,
    resolution_s: int = HOUR_S,
) -> int:
    """Store the new forecasts of a series: columns of p10, p50 and p90, or the median alone."""
    quantiles = QUANTILES if values.shape[1] == len(QUANTILES) else ["p50"]
    rows = values.set_axis(list(quantiles), axis=1).reindex(columns=list(QUANTILES))
    rows = rows.dropna(subset=["p50"]).astype("float64")
    rows = rows.assign(
        series=series,
        place=place,
        model=OWN,
        issued_at=pd.Timestamp(ctx.as_of).floor("s"),
        target_start=rows.index,
        resolution_s=resolution_s,
        tier=tier.reindex(rows.index),
    )
    rows = rows[list(FORECAST_COLUMNS)].astype({"issued_at": UTC_S, "target_start": UTC_S})
    new = rows[~_unchanged(ctx, rows)] if len(rows) else rows
    if new.empty:
        return 0
    return ctx.store.write_forecasts(new.reset_index(drop=True), run_id=ctx.run_id).written


def _unchanged(ctx: RunContext, rows: pd.DataFrame) -> Flags:
    """Return which rows equal the latest issue of this market day."""
    last = ctx.store.read_forecasts(
        rows["series"].iloc[0],
        places=(rows["place"].iloc[0],),
        start=rows["target_start"].min(),
        end=rows["target_start"].max() + pd.Timedelta(seconds=1),
        as_of=ctx.as_of,
        models=(OWN,),
    )
    today = last["issued_at"] >= day_start(market_day(ctx.as_of))
    same_step = last["resolution_s"].isin(rows["resolution_s"])
    stored = last[today & same_step].set_index("target_start").reindex(rows["target_start"])
    ours = rows[list(QUANTILES)].to_numpy(dtype=float)
    theirs = stored[list(QUANTILES)].to_numpy(dtype=float)
    equal: Flags = np.isclose(ours, theirs, rtol=0, atol=1e-6, equal_nan=True).all(axis=1)
    return equal & stored["p50"].notna().to_numpy()


def _verification(ctx: RunContext) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the accuracy of past forecasts, and the drift of this library's own."""
    parts = []
    drifts = {}
    for name in (price_series(ctx), TEMPERATURE, HUMIDITY):
        rows = verification.verification_pairs(ctx, name)
        parts.append(verification.by_lead(rows).assign(series=name))
        own_work = ctx.settings.has_market or name != price_series(ctx)
        if own_work and (drift := verification.drift(rows[rows["model"] == OWN])):
            drifts[name] = drift
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else parts[0]
    return table[["series", *verification.ACCURACY_COLUMNS]], drifts
