"""The documented indices: rules on the price and the weather of one hour, not predictions.

Every function takes arrays (or scalars) and returns float arrays within 0…100; what is
unknown goes in as NaN and comes out as NaN. Temperatures in °C, relative humidity in %,
prices in EUR/kWh. Prices may be zero or negative.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BAND_DAYS = 90  # the window before the issue time that says what is cheap and expensive
BAND_MINIMUM_DAYS = 60  # with less history the index is unknown
BAND_PERCENTILES = (5.0, 95.0)
COMFORT_C = 21.0
COMFORT_PCT = 55.0
# Thom's discomfort index: below 21 no one is uncomfortable, above 32 it is a medical
# emergency (Giles et al. 1990).
DISCOMFORT_NONE_C = 21.0
DISCOMFORT_EMERGENCY_C = 32.0


# What a start is worth, best first.
CLASSES = ("Optimal", "Moderate", "Reduced", "Halt Production")
LOWEST_INDEX = np.array([75.0, 50.0, 25.0])  # of all classes but the last
NEAR_SHARE, NEAR_EUR = 0.05, 1.0  # Optimal: within either of the best start of the next day
MODERATE_SHARE, REDUCED_SHARE = 0.25, 0.60  # of a usual batch, saved by waiting
AHEAD = pd.Timedelta(hours=24)


@dataclass(frozen=True)
class PriceBand:
    """The 5th and 95th percentile of prices in the 90 days before an issue time, EUR/kWh.

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
    # hours begin at whole seconds, in which their index counts; a clock does not
    ends = pd.DatetimeIndex([issue - timedelta(days=BAND_DAYS), issue]).ceil("s")
    first, end = price_eur_kwh.index.searchsorted(ends)
    window = price_eur_kwh.to_numpy()[first:end]
    prices = window[np.isfinite(window)]
    if len(prices) < BAND_MINIMUM_DAYS * 24:
        return PriceBand(np.nan, np.nan)
    low, high = np.percentile(prices, BAND_PERCENTILES)
    return PriceBand(float(low), float(high))


def energy_cost_index(
    price_eur_kwh: ArrayLike, low_eur_kwh: ArrayLike, high_eur_kwh: ArrayLike
) -> Floats:
    """Return 0 for a price at the band's low end or below, 100 at its high end or above.

    It is 50 where the band is flat.
    """
    price = np.asarray(price_eur_kwh, dtype=np.float64)
    width = np.subtract(high_eur_kwh, low_eur_kwh)
    flat = width == 0
    index = 100.0 * np.subtract(price, low_eur_kwh) / np.where(flat, 1.0, width)
    return _clip(np.where(flat & ~np.isnan(price), 50.0, index))


def temperature_comfort_index(temperature_c: ArrayLike) -> Floats:
    """Return 100 at 21 °C, ten points less for each degree away from it."""
    return _clip(100.0 - 10.0 * np.abs(np.subtract(temperature_c, COMFORT_C)))


def humidity_stress_factor(humidity_pct: ArrayLike) -> Floats:
    """Return 0 at 55 % relative humidity and 100 in absolutely dry air; saturated air gives 82."""
    return _clip(100.0 * np.abs(np.subtract(humidity_pct, COMFORT_PCT)) / COMFORT_PCT)


def discomfort_index(temperature_c: ArrayLike, humidity_pct: ArrayLike) -> Floats:
    """Return Thom's discomfort index in °C: T - 0.55 (1 - 0.01 RH) (T - 14.5).

    Thom, E. C. (1959), "The discomfort index", Weatherwise 12(2), 57-61, in its Celsius
    form. It describes people at rest in the shade: no sun, no wind, no work load, no
    clothing, and it says nothing about cold.
    """
    celsius = np.asarray(temperature_c, dtype=np.float64)
    dry = 1.0 - np.multiply(0.01, humidity_pct)
    return np.asarray(celsius - 0.55 * dry * (celsius - 14.5))


def heat_stress_factor(temperature_c: ArrayLike, humidity_pct: ArrayLike) -> Floats:
    """Return Thom's index as 0 (no one uncomfortable, 21) to 100 (medical emergency, 32).

    The ends are those of the classes of Giles, Balafoutis and Maheras (1990), Int. J.
    Biometeorology 34, 98-104; between them it is linear. A sign of extreme weather
    outdoors; no substitute for a
    wet-bulb globe measurement at a workplace.
    """
    span = DISCOMFORT_EMERGENCY_C - DISCOMFORT_NONE_C
    return _clip(100.0 * (discomfort_index(temperature_c, humidity_pct) - DISCOMFORT_NONE_C) / span)


def chocolate_production_index(
    comfort: ArrayLike, energy_cost: ArrayLike, humidity_stress: ArrayLike
) -> Floats:
    """Return TCI - 0.5 ECI - 0.3 HSF, from 0 to 100."""
    return _clip(uncut_production_index(comfort, energy_cost, humidity_stress))


def uncut_production_index(
    comfort: ArrayLike, energy_cost: ArrayLike, humidity_stress: ArrayLike
) -> Floats:
    """Return the index below 0 as well, where most hours of southern Spain are."""
    burden = np.multiply(0.5, energy_cost) + np.multiply(0.3, humidity_stress)
    return np.asarray(np.subtract(comfort, burden), dtype=np.float64)


def energy_optimization_score(energy_cost: ArrayLike, comfort: ArrayLike) -> Floats:
    """Return 0.7 (100 - ECI) + 0.3 TCI."""
    return _clip(0.7 * np.subtract(100.0, energy_cost) + np.multiply(0.3, comfort))


def outdoor_index_class(production_index: ArrayLike) -> "pd.Categorical[str]":
    """Return the class of each production index.

    Optimal from 75, Moderate from 50, Reduced from 25, else Halt.
    """
    cpi = np.atleast_1d(np.asarray(production_index, dtype=np.float64))
    codes = (cpi[:, np.newaxis] < LOWEST_INDEX).sum(axis=1)
    return pd.Categorical.from_codes(np.where(np.isnan(cpi), -1, codes), pd.Index(CLASSES))


def start_regret(
    index: pd.DatetimeIndex, cost_eur: Floats, usual_eur: Floats | float
) -> pd.DataFrame:
    """Judge every start by what waiting for the best start of the next 24 hours would save.

    Parameters
    ----------
    index : DatetimeIndex
        Regular starts, UTC.
    cost_eur : array
        Cost of the cheapest whole chain by start, infinite where none can begin.
    usual_eur : float or array
        What a batch usually costs, by start where that differs.

    Returns
    -------
    DataFrame
        Index ``start``: cost_eur, regret_eur (infinite where no chain can begin),
        best_start (NaT where there is none within 24 hours), production_recommendation.
    """
    slots = int(AHEAD / (index[1] - index[0]))
    padded = np.append(cost_eur, np.full(slots - 1, np.inf))
    window = np.lib.stride_tricks.sliding_window_view(padded, slots)
    best = window.min(axis=1)
    possible = np.isfinite(cost_eur)
    regret = np.where(possible, cost_eur - np.where(possible, best, 0.0), np.inf)
    near = np.maximum(NEAR_EUR, NEAR_SHARE * np.abs(best))
    limits = (near, MODERATE_SHARE * usual_eur, REDUCED_SHARE * usual_eur)
    number = np.select([possible & (regret <= limit) for limit in limits], [0, 1, 2], 3)
    best_slot = (np.arange(len(index)) + window.argmin(axis=1)) % len(index)
    columns = {
        "cost_eur": cost_eur,
        "regret_eur": regret,
        "best_start": pd.Series(index[best_slot]).where(np.isfinite(best)).array,
        "production_recommendation": pd.Categorical.from_codes(
            number, pd.Index(CLASSES), ordered=True
        ),
    }
    return pd.DataFrame(columns, index=index)


def _clip(values: ArrayLike) -> Floats:
    return np.clip(np.asarray(values, dtype=np.float64), 0.0, 100.0)
