"""The documented rules applied to forecasts: score and outdoor index to be expected.

The rule is bent (clipping, classes), so applying it to the forecast itself is biased.
Here it is applied to the forecast plus each of the errors that past forecasts of the
same hour made together in price, temperature and humidity: the score is the median of
the results, the outdoor index their commonest class, its probability its share.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

import numpy as np
import pandas as pd
from scipy.special import ndtri

from factory_lib.clock import HOUR_S
from factory_lib.domain import indices
from factory_lib.domain.indices import CLASSES, Floats, PriceBand
from factory_lib.features import horizon
from factory_lib.features.horizon import MWH_PER_KWH, PRICE, VALUES
from factory_lib.features.weather import with_vapour
from factory_lib.models.evaluation import rolling_origin
from factory_lib.models.history import History
from factory_lib.models.weather_forecast import (
    FEWEST_ERRORS,
    MOST_ERRORS,
    WeatherForecast,
    rolling_weather,
)

EXPECTATION_COLUMNS = (
    "score",
    "score_p10",
    "score_p90",
    "outdoor_index_class",
    *(f"p_{name}" for name in CLASSES),
)
LEAST_DEPARTURES = 120
REFIT = "28D"


def expect(
    forecast: pd.DataFrame, errors: Floats, low_eur_kwh: Floats, high_eur_kwh: Floats
) -> pd.DataFrame:
    """Return the expected score and outdoor index of forecast hours.

    Parameters
    ----------
    forecast : DataFrame
        Columns ``horizon.VALUES``.
    errors : array, shape (past forecasts, 3) or (rows, past forecasts, 3)
        Actual minus forecast of the same columns, made together; 0 for a price that was
        already published.
    low_eur_kwh, high_eur_kwh : array
        The price band of each row's issue time.

    Returns
    -------
    DataFrame
        Indexed like ``forecast``, columns ``EXPECTATION_COLUMNS``: the score's median and 10-90 %
        band, the commonest class and the probability of each; NaN where the forecast
        is.
    """
    values = forecast[list(VALUES)].to_numpy(dtype=np.float64)
    price, temperature, humidity = (values[:, :, None] + np.swapaxes(errors, -1, -2)).transpose(
        1, 0, 2
    )
    eci = indices.energy_cost_index(
        price * MWH_PER_KWH, low_eur_kwh[:, None], high_eur_kwh[:, None]
    )
    tci = indices.temperature_comfort_index(temperature)
    hsf = indices.humidity_stress_factor(np.clip(humidity, 0.0, 100.0))
    score = indices.energy_optimization_score(eci, tci)
    low, middle, high = np.quantile(score, (0.1, 0.5, 0.9), axis=1)
    index = indices.chocolate_production_index(tci, eci, hsf)
    codes = indices.outdoor_index_class(index.ravel()).codes.reshape(index.shape)
    shares = np.column_stack([(codes == code).mean(axis=1) for code in range(len(CLASSES))])
    shares[np.isnan(middle)] = np.nan
    commonest = [None if np.isnan(share[0]) else CLASSES[share.argmax()] for share in shares]
    columns = [middle, low, high, commonest, *shares.T]
    return pd.DataFrame(dict(zip(EXPECTATION_COLUMNS, columns, strict=True)), index=forecast.index)


def forecast_by_rule(
    hourly: pd.DataFrame, weather: WeatherForecast, band: PriceBand, issued_at: datetime
) -> pd.DataFrame:
    """Return the expected score and outdoor index of the hours ahead; see ``expect``.

    Errors of temperature and humidity are taken together, as past forecasts made them;
    those of the price apart, because the weather of one town and the price of a country
    err for different reasons.

    Parameters
    ----------
    hourly : DataFrame
        UTC index; ``horizon.VALUES``, ``price_p10``, ``price_p90``, ``weather_source``.
    """
    draw = np.random.default_rng(0)
    low = np.array([band.low_eur_kwh])
    high = np.array([band.high_eur_kwh])
    index = pd.DatetimeIndex(hourly.index)
    lead_days = (index - pd.Timestamp(issued_at)).days
    prices = hourly[["price_p10", PRICE, "price_p90"]].to_numpy(dtype=float)
    alike = defaultdict(list)  # hours with as many errors are worked out together
    for row, source in enumerate(hourly["weather_source"]):
        errors = weather.errors_like(index[row].hour, lead_days[row], source)
        errors = np.resize(errors, (max(len(errors), LEAST_DEPARTURES), 2))
        p10, p50, p90 = prices[row]
        departures = draw.permutation(band_departures(p10, p50, p90, len(errors)))
        alike[len(errors)].append((row, np.column_stack([departures, errors])))
    parts = []
    for group in alike.values():
        rows, errors = zip(*group, strict=True)
        parts.append(expect(hourly.iloc[list(rows)], np.stack(errors), low, high))
    return pd.concat(parts).reindex(index)


def band_departures(p10: float, p50: float, p90: float, count: int) -> Floats:
    """Return ``count`` equally likely departures from ``p50`` that meet ``p10`` and ``p90``.

    They follow the halves of two normal distributions. An unknown band, or that of a
    published price, has no departures.
    """
    if not np.isfinite([p10, p50, p90]).all():
        return np.zeros(count)
    z = ndtri((np.arange(count) + 0.5) / count)
    departures: Floats = z * np.where(z < 0, p50 - p10, p90 - p50) / ndtri(0.9)
    return departures


def rolling_rule_forecast(
    history: History, rows: pd.DataFrame, prices: pd.Series, begin: datetime
) -> pd.DataFrame:
    """Return score and outdoor index by rule, for rows issued from ``begin`` on.

    Parameters
    ----------
    rows : DataFrame
        From ``horizon.horizon_rows``, and ``group``: rows of one group and one UTC hour
        share their errors. Those before ``begin`` train the first weather models.
    prices : Series
        Out-of-sample forecasts (EUR/MWh) by ``start``, for hours that were not published
        at issue.

    Returns
    -------
    DataFrame
        Indexed like ``rows``. ``EXPECTATION_COLUMNS``: the rule over the forecasts and the
        errors of such forecasts observed by then; ``score_point`` and
        ``outdoor_index_class_point``: the rule of the forecasts themselves.
    """
    hourly, known_until = with_vapour(history.hourly, history.known_until)
    view = horizon.AsOfView(hourly, rows, known_until)
    refits = pd.date_range(begin, rows["issued_at"].max(), freq=REFIT)
    forecast = rolling_weather(view, rows, refits)
    published = view.known_values(PRICE, view.target_s)
    forecast[PRICE] = np.where(np.isnan(published), rows["target_start"].map(prices), published)
    values = {name: view.actual(name, view.target_s) for name in VALUES}
    actual = pd.DataFrame(values, index=rows.index)
    expected = rolling_expectations(rows, forecast, actual, (view.low, view.high), refits)
    score, index = view.indices(*(forecast[name].to_numpy() for name in VALUES))
    recommendation = indices.outdoor_index_class(index)
    return expected.assign(score_point=score, outdoor_index_class_point=recommendation)


def rolling_expectations(
    rows: pd.DataFrame,
    forecast: pd.DataFrame,
    actual: pd.DataFrame,
    band: tuple[Floats, Floats],
    refits: pd.DatetimeIndex,
) -> pd.DataFrame:
    """Return the expectation of each row, by the errors observed until the latest refit.

    Parameters
    ----------
    rows : DataFrame
        From ``horizon.horizon_rows``, and a column ``group``: rows of one group and one
        UTC hour share their errors.
    forecast, actual : DataFrame
        Indexed like ``rows``, columns ``horizon.VALUES``; forecasts are out-of-sample.

    Returns
    -------
    DataFrame
        Indexed like ``rows``, columns ``EXPECTATION_COLUMNS``; NaN before the first refit and where
        fewer than ``FEWEST_ERRORS`` errors had been observed.
    """
    errors = (actual[list(VALUES)] - forecast[list(VALUES)]).to_numpy(dtype=np.float64)
    complete = np.isfinite(errors).all(axis=1)
    observed_at = rows["target_start"] + pd.Timedelta(seconds=2 * HOUR_S)
    keys = pd.MultiIndex.from_arrays([rows["group"], rows["target_start"].dt.hour]).factorize()[0]
    draw = np.random.default_rng(0)
    parts = []
    for origin, issued in rolling_origin(rows["issued_at"], refits):
        observed = (observed_at <= origin).to_numpy() & complete
        for key in np.unique(keys[issued]):
            past = np.flatnonzero(observed & (keys == key))
            now = issued & (keys == key)
            if len(past) < FEWEST_ERRORS:
                continue
            if len(past) > MOST_ERRORS:
                past = draw.choice(past, MOST_ERRORS, replace=False)
            parts.append(expect(forecast[now], errors[past], band[0][now], band[1][now]))
    expected = pd.concat(parts) if parts else pd.DataFrame(columns=list(EXPECTATION_COLUMNS))
    return expected.reindex(rows.index)
