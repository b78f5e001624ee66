"""The documented indices: rules on the price and the weather of one hour, not predictions.

Every function takes arrays (or scalars) and returns float arrays within 0…100; what is
unknown goes in as NaN and comes out as NaN. Temperatures in °C, relative humidity in %,
prices in EUR/kWh. Prices may be zero or negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BAND_DAYS = 90  # the window before the issue time that says what is cheap and what is dear
BAND_MINIMUM_DAYS = 60  # with less history the index is unknown
BAND_PERCENTILES = (5.0, 95.0)
COMFORT_C = 21.0
COMFORT_PCT = 55.0
# Thom's discomfort index: below 21 nobody is uncomfortable, above 32 it is a medical
# emergency (Giles et al. 1990).
DISCOMFORT_NONE_C = 21.0
DISCOMFORT_EMERGENCY_C = 32.0


class Recommendation(StrEnum):
    """What the outdoor index says about production, best first; the one definition of the class names."""

    OPTIMAL = "Optimal"
    MODERATE = "Moderate"
    REDUCED = "Reduced"
    HALT = "Halt Production"


CLASSES: tuple[str, ...] = tuple(str(name) for name in Recommendation)
_CLASS_INDEX = pd.Index(CLASSES)
_LOWEST_CPI = np.array([75.0, 50.0, 25.0])  # of all classes but the last


@dataclass(frozen=True)
class PriceBand:
    """What counted as cheap (5th percentile) and dear (95th) in the 90 days before an issue time, EUR/kWh.

    Both are NaN where fewer than 60 days of hours were known: then every index that
    needs the price is unknown.
    """

    low_eur_kwh: float
    high_eur_kwh: float


def price_band(price_eur_kwh: pd.Series, issued_at: datetime) -> PriceBand:
    """Return the band that holds for every target hour of a forecast issued at ``issued_at``.

    Parameters
    ----------
    price_eur_kwh : Series
        Hourly prices, UTC index of slot starts, ascending; slots from ``issued_at`` on
        are not looked at, although those of the rest of the day are known, so that the
        band does not depend on the hour of publication.
    """
    issue = pd.Timestamp(issued_at)
    window = price_eur_kwh.loc[issue - timedelta(days=BAND_DAYS) : issue]
    known = window[window.index < issue].dropna().to_numpy()
    if len(known) < BAND_MINIMUM_DAYS * 24:
        return PriceBand(np.nan, np.nan)
    low, high = np.percentile(known, BAND_PERCENTILES)
    return PriceBand(float(low), float(high))


def energy_cost_index(
    price_eur_kwh: ArrayLike, low_eur_kwh: ArrayLike, high_eur_kwh: ArrayLike
) -> Floats:
    """Return 0 for a price at the band's low end or below, 100 at its high end or above; 50 where the band is flat."""
    price, low, high = (
        np.asarray(x, dtype=np.float64) for x in (price_eur_kwh, low_eur_kwh, high_eur_kwh)
    )
    width = high - low
    flat = width == 0
    index = 100.0 * (price - low) / np.where(flat, 1.0, width)
    return _clip(np.where(flat & ~np.isnan(price), 50.0, index))


def temperature_comfort_index(temperature_c: ArrayLike) -> Floats:
    """Return 100 at 21 °C, ten points less for each degree away from it."""
    return _clip(100.0 - 10.0 * np.abs(np.asarray(temperature_c, dtype=np.float64) - COMFORT_C))


def humidity_stress_factor(humidity_pct: ArrayLike) -> Floats:
    """Return 0 at 55 % relative humidity and 100 in absolutely dry air; saturated air gives 82."""
    return _clip(
        100.0 * np.abs(np.asarray(humidity_pct, dtype=np.float64) - COMFORT_PCT) / COMFORT_PCT
    )


def discomfort_index(temperature_c: ArrayLike, humidity_pct: ArrayLike) -> Floats:
    """Return Thom's discomfort index in °C: T - 0.55 (1 - 0.01 RH) (T - 14.5).

    Thom, E. C. (1959), "The discomfort index", Weatherwise 12(2), 57-61, in its Celsius
    form. It describes people at rest in the shade: no sun, no wind, no work load, no
    clothing, and it says nothing about cold.
    """
    t, rh = np.asarray(temperature_c, dtype=np.float64), np.asarray(humidity_pct, dtype=np.float64)
    return np.asarray(t - 0.55 * (1.0 - 0.01 * rh) * (t - 14.5))


def heat_stress_factor(temperature_c: ArrayLike, humidity_pct: ArrayLike) -> Floats:
    """Return Thom's index as 0 (nobody uncomfortable, 21) to 100 (medical emergency, 32), linear between.

    The ends are those of the classes of Giles, Balafoutis and Maheras (1990), Int. J.
    Biometeorology 34, 98-104. A sign of extreme weather outdoors; no substitute for a
    wet-bulb globe measurement at a workplace.
    """
    span = DISCOMFORT_EMERGENCY_C - DISCOMFORT_NONE_C
    return _clip(100.0 * (discomfort_index(temperature_c, humidity_pct) - DISCOMFORT_NONE_C) / span)


def chocolate_production_index(
    comfort: ArrayLike, energy_cost: ArrayLike, humidity_stress: ArrayLike
) -> Floats:
    """Return TCI - 0.5 ECI - 0.3 HSF."""
    tci, eci, hsf = (
        np.asarray(x, dtype=np.float64) for x in (comfort, energy_cost, humidity_stress)
    )
    return _clip(tci - 0.5 * eci - 0.3 * hsf)


def energy_optimization_score(energy_cost: ArrayLike, comfort: ArrayLike) -> Floats:
    """Return 0.7 (100 - ECI) + 0.3 TCI."""
    eci, tci = (np.asarray(x, dtype=np.float64) for x in (energy_cost, comfort))
    return _clip(0.7 * (100.0 - eci) + 0.3 * tci)


def production_recommendation(production_index: ArrayLike) -> pd.Categorical[str]:
    """Return the class of each production index: Optimal from 75, Moderate from 50, Reduced from 25, else Halt."""
    cpi = np.atleast_1d(np.asarray(production_index, dtype=np.float64))
    codes = (cpi[:, np.newaxis] < _LOWEST_CPI).sum(axis=1)
    return pd.Categorical.from_codes(np.where(np.isnan(cpi), -1, codes), categories=_CLASS_INDEX)


def _clip(values: Floats) -> Floats:
    return np.clip(values, 0.0, 100.0)
