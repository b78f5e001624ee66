"""The thirteen documented features of an hour, as of one issue time."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from factory_lib.domain import indices, tariff

DOCUMENTED_FEATURES = (
    "price_eur_kwh",
    "energy_cost_index",
    "tariff_period",
    "temperature_c",
    "humidity_pct",
    "temperature_comfort_index",
    "humidity_stress_factor",
    "chocolate_production_index",
    "energy_optimization_score",
    "heat_stress_factor",
    "production_recommendation",
    "price_trend_1h",
    "price_volatility_24h",
)
# The price basis of the plant (spot or PVPC, a setting) and the weather, as columns of
# every hourly frame here.
PRICE, TEMPERATURE, HUMIDITY = "price_eur_mwh", "temperature_c", "humidity_pct"
MWH_PER_KWH = 1e-3
VOLATILITY_HOURS = 24


def documented_features(
    hourly: pd.DataFrame, issued_at: datetime, *, access: tariff.Access = "3.0TD"
) -> pd.DataFrame:
    """Return the thirteen features of every hour in ``hourly``.

    Parameters
    ----------
    hourly : DataFrame
        Values available at ``issued_at``: a gapless hourly UTC index, columns
        ``price_eur_mwh``, ``temperature_c`` and ``humidity_pct``, NaN where unknown.
        Hours after ``issued_at`` may be there, such as tomorrow's prices.
    issued_at : datetime
        One price band, of the 90 days before it, serves every hour, past and future: so
        a row is comparable with every other row, and with the input of a model trained
        for this issue time.

    Returns
    -------
    DataFrame
        Index of ``hourly``, columns ``DOCUMENTED_FEATURES``: floats, but
        ``tariff_period`` and ``production_recommendation`` are categories.
        ``price_trend_1h`` is the difference to the hour before, ``price_volatility_24h``
        the standard deviation of the 24 hours that end with this one, both in EUR/kWh:
        prices may be zero, so ratios are of no use.
    """
    assert isinstance(hourly.index, pd.DatetimeIndex)
    price_eur_kwh = hourly[PRICE] * MWH_PER_KWH
    band = indices.price_band(price_eur_kwh, issued_at)
    eci = indices.energy_cost_index(price_eur_kwh, band.low_eur_kwh, band.high_eur_kwh)
    tci = indices.temperature_comfort_index(hourly[TEMPERATURE])
    hsf = indices.humidity_stress_factor(hourly[HUMIDITY])
    cpi = indices.chocolate_production_index(tci, eci, hsf)
    columns = {
        "price_eur_kwh": price_eur_kwh,
        "energy_cost_index": eci,
        "tariff_period": tariff.labels(tariff.periods(hourly.index, access)),
        "temperature_c": hourly[TEMPERATURE],
        "humidity_pct": hourly[HUMIDITY],
        "temperature_comfort_index": tci,
        "humidity_stress_factor": hsf,
        "chocolate_production_index": cpi,
        "energy_optimization_score": indices.energy_optimization_score(eci, tci),
        "heat_stress_factor": indices.heat_stress_factor(hourly[TEMPERATURE], hourly[HUMIDITY]),
        "production_recommendation": indices.production_recommendation(cpi),
        "price_trend_1h": price_eur_kwh.diff(),
        "price_volatility_24h": price_eur_kwh.rolling(VOLATILITY_HOURS).std(),
    }
    return pd.DataFrame(columns, index=hourly.index)[list(DOCUMENTED_FEATURES)]
