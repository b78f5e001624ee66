"""Prices of the hours ahead as served: published, else forecast, else naive, each with its tier.

The champion is served for the leads at which it beat the best naive forecast on the
sixteen weeks kept from its fit; the naive forecast serves the others, and all of them
where there is no champion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S
from factory_lib.errors import TooFewRows
from factory_lib.features.calendar import Matrix
from factory_lib.features.lags import DayMatrix, day_matrix
from factory_lib.models.baselines import naive_forecasts
from factory_lib.models.calibration import (
    WINDOW_DAYS,
    band,
    error_quantiles,
    in_quarters,
    quarter_factors,
)
from factory_lib.models.forecasters import LEADS, QUANTILES, PriceForecaster, band_of_day

PUBLISHED, CHAMPION, NAIVE, UNAVAILABLE = "published", "champion", "naive", "unavailable"
# Of the mean miss on a published day, the share taken to persist. On the energy file
# 2017 it made the errors 2 to 7 days after issue 2 to 7 % smaller, any share from 0.4
# to 0.7 about as much; in 2016 those 2 and 3 days after 10 and 5 %.
PERSISTING_MISS = 0.6


@dataclass(frozen=True)
class PriceForecast:
    """Prices of coming slots.

    Attributes
    ----------
    slots : DataFrame
        UTC index; ``p10``, ``p50``, ``p90`` (EUR/MWh; all the same where published) and
        ``tier``.
    naive_leads : tuple of int
        Leads (days) at which the champion was no better than the best naive forecast.
    """

    slots: pd.DataFrame
    naive_leads: tuple[int, ...] = ()


def forecast_prices(
    prices: pd.Series,
    index: pd.DatetimeIndex,
    champion: PriceForecaster | None,
    exogenous: Mapping[str, DayMatrix] | None = None,
    resolution_s: int = HOUR_S,
) -> PriceForecast:
    """Return the prices of the slots ``index``.

    Parameters
    ----------
    prices : Series
        Prices (EUR/MWh) known at the issue time, tomorrow's included where published;
        UTC index, hours or, from some instant on, quarters. Without a whole day of them
        the rest is unavailable.
    index : DatetimeIndex
        Of slots of ``resolution_s``: 3600, or 900 where ``prices`` ends in quarters.
    champion : PriceForecaster, optional
        A fit on days that are all known.
    exogenous : mapping of str to DayMatrix, optional
        The operator's forecasts that it was fitted with.
    """
    prices = prices.dropna()
    slots = pd.DataFrame({quantile: prices.reindex(index) for quantile in QUANTILES}, index=index)
    slots["tier"] = np.where(slots["p50"].notna(), PUBLISHED, UNAVAILABLE)
    history = whole_days(prices)
    if history is None:
        return PriceForecast(slots)
    quarters = None if resolution_s == HOUR_S else day_matrix(prices, resolution_s)
    naive_leads: tuple[int, ...] = ()
    if champion:
        forecast = _champion_forecast(champion, history, exogenous or {}, quarters, prices)
        naive_leads = tuple(lead for lead, rmae in champion.rmae_.items() if not rmae < 1)
        _fill(slots, forecast[~forecast["lead"].isin(naive_leads)], CHAMPION)
    for lead in LEADS:
        _fill(slots, naive_day(history, lead, quarters), NAIVE)
    return PriceForecast(slots, naive_leads)


def _champion_forecast(
    champion: PriceForecaster,
    history: DayMatrix,
    exogenous: Mapping[str, DayMatrix],
    quarters: DayMatrix | None,
    prices: pd.Series,
) -> pd.DataFrame:
    """Return the champion's forecast of the last day with prices and the operator's forecasts.

    Where prices are published further than that, as every afternoon, its miss on the
    last published day shifts the rest.
    """
    issue_day = min([history.days[-1], *(matrix.days[-1] - 1 for matrix in exogenous.values())])
    forecast = champion.predict(history.until(issue_day), exogenous, quarters)
    last_published = forecast["lead"] == (history.days[-1] - issue_day).astype(int)
    published = forecast.loc[last_published, "p50"]
    if len(published):
        miss = (prices.reindex(published.index) - published).mean()
        forecast[list(QUANTILES)] += PERSISTING_MISS * miss
    return forecast


def _fill(slots: pd.DataFrame, forecast: pd.DataFrame, tier: str) -> None:
    """Write the forecast into the slots that are still unavailable."""
    filling = forecast[list(QUANTILES)].dropna(subset=["p50"])
    filled = filling.index.intersection(slots.index[slots["tier"] == UNAVAILABLE])
    slots.loc[filled, list(QUANTILES)] = filling.loc[filled]
    slots.loc[filled, "tier"] = tier


def whole_days(prices: pd.Series) -> DayMatrix | None:
    """Return hourly prices by day, to the last day without a hole; None without such a day."""
    if prices.empty:
        return None
    matrix = day_matrix(prices)
    whole = np.flatnonzero(np.isfinite(matrix.grid).all(axis=1))
    return matrix.until(matrix.days[whole[-1]]) if len(whole) else None


def naive_day(history: DayMatrix, lead: int, quarters: DayMatrix | None = None) -> pd.DataFrame:
    """Return the day ``lead`` days after the last one by the best naive forecast of sixteen weeks.

    Returns
    -------
    DataFrame
        The day's slots; ``p10`` and ``p90`` are NaN where too few errors are known.
    """
    day: date = (history.days[-1] + lead).item()
    future = history.spanning(history.days[0], day)
    # best first; a name decides between equals
    candidates = []
    for name, forecast in naive_forecasts(future, lead).items():
        errors = (future.grid - forecast)[-WINDOW_DAYS - lead :]
        if np.isfinite(forecast[-1]).all():
            candidates.append((_mean_absolute(errors), name, errors, forecast[-1]))
    if not candidates:
        return pd.DataFrame({name: [] for name in QUANTILES}, index=pd.DatetimeIndex([], tz="UTC"))
    _, _, errors, point = min(candidates, key=lambda candidate: candidate[:2])
    try:
        rows = band(point, error_quantiles(errors), 1.0, lead)
    except TooFewRows:
        unknown = np.full_like(point, np.nan)
        rows = np.stack([unknown, point, unknown])
    if quarters is not None:
        factors = quarter_factors(quarters.until(history.days[-1]).grid)
        rows = in_quarters(point[None, :], factors)[0] + (rows - point).repeat(4, axis=1)
    return band_of_day(day, rows)


def _mean_absolute(errors: Matrix) -> float:
    absolute = np.abs(errors[np.isfinite(errors)])
    return float(absolute.mean()) if len(absolute) else float("inf")
