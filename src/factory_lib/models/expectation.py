"""From forecasts to score and recommendation: the rule applied to what may come, not only to what is forecast.

The rule is bent (clipping, classes), so applying it to the forecast itself is biased.
Here it is applied to the forecast plus each of the errors that past forecasts of the
same hour made together in price, temperature and humidity: the score is the median of
the results, the recommendation their commonest class, its probability its share.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from factory_lib.clock import HOUR_S
from factory_lib.domain import indices
from factory_lib.domain.indices import CLASSES
from factory_lib.features.documented import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE

Floats = NDArray[np.float64]

VALUES = (PRICE, TEMPERATURE, HUMIDITY)
COLUMNS = ("score", "score_p10", "score_p90", "recommendation", *(f"p_{name}" for name in CLASSES))
MOST_ERRORS = 300
FEWEST_ERRORS = 30


def expect(
    forecast: pd.DataFrame, errors: Floats, low_eur_kwh: Floats, high_eur_kwh: Floats
) -> pd.DataFrame:
    """Return score and recommendation to expect of hours that were forecast.

    Parameters
    ----------
    forecast : DataFrame
        Columns ``VALUES``.
    errors : array, shape (past forecasts, 3)
        Actual minus forecast of ``VALUES``, made together; 0 for a price that was
        already published.
    low_eur_kwh, high_eur_kwh : array
        The price band of each row's issue time.

    Returns
    -------
    DataFrame
        Indexed like ``forecast``, columns ``COLUMNS``: the score's median and 10-90 %
        band, the commonest class and the probability of each; NaN where the forecast
        is.
    """
    price, temperature, humidity = (
        forecast[[name]].to_numpy(dtype=np.float64) + errors[:, n] for n, name in enumerate(VALUES)
    )
    eci = indices.energy_cost_index(
        price * MWH_PER_KWH, low_eur_kwh[:, None], high_eur_kwh[:, None]
    )
    tci = indices.temperature_comfort_index(temperature)
    hsf = indices.humidity_stress_factor(np.clip(humidity, 0.0, 100.0))
    low, middle, high = np.quantile(
        indices.energy_optimization_score(eci, tci), (0.1, 0.5, 0.9), axis=1
    )
    index = indices.chocolate_production_index(tci, eci, hsf)
    codes = indices.production_recommendation(index.ravel()).codes.reshape(index.shape)
    shares = np.column_stack([(codes == code).mean(axis=1) for code in range(len(CLASSES))])
    shares[np.isnan(middle)] = np.nan
    commonest = [None if np.isnan(share[0]) else CLASSES[share.argmax()] for share in shares]
    columns = [middle, low, high, commonest, *shares.T]
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=forecast.index)


def rolling_expectations(
    rows: pd.DataFrame,
    forecast: pd.DataFrame,
    actual: pd.DataFrame,
    band: tuple[Floats, Floats],
    refits: pd.DatetimeIndex,
) -> pd.DataFrame:
    """Return what was to be expected of each row, by the errors that had been observed at the latest refit.

    Parameters
    ----------
    rows : DataFrame
        From ``ahead.rows_ahead``, and a column ``group``: rows of one group and one UTC
        hour share their errors.
    forecast, actual : DataFrame
        Indexed like ``rows``, columns ``VALUES``; a forecast must itself be one that
        had not seen its row.

    Returns
    -------
    DataFrame
        Indexed like ``rows``, columns ``COLUMNS``; NaN before the first refit and where
        fewer than ``FEWEST_ERRORS`` errors had been observed.
    """
    errors = (actual[list(VALUES)] - forecast[list(VALUES)]).to_numpy(dtype=np.float64)
    complete = np.isfinite(errors).all(axis=1)
    issued, observed_at = rows["issued_at"], rows["target_start"] + pd.Timedelta(seconds=2 * HOUR_S)
    keys = pd.MultiIndex.from_arrays([rows["group"], rows["target_start"].dt.hour]).factorize()[0]
    draw = np.random.default_rng(0)
    parts = []
    for begin, end in pairwise([*refits, issued.max() + pd.Timedelta(seconds=1)]):
        past, asked = (
            (observed_at <= begin).to_numpy() & complete,
            ((issued >= begin) & (issued < end)).to_numpy(),
        )
        for key in np.unique(keys[asked]):
            seen, now = np.flatnonzero(past & (keys == key)), asked & (keys == key)
            if len(seen) < FEWEST_ERRORS:
                continue
            chosen = (
                draw.choice(seen, MOST_ERRORS, replace=False) if len(seen) > MOST_ERRORS else seen
            )
            parts.append(expect(forecast[now], errors[chosen], band[0][now], band[1][now]))
    return (
        pd.concat(parts).reindex(rows.index)
        if parts
        else pd.DataFrame(index=rows.index, columns=list(COLUMNS))
    )
