"""Temperature and humidity of the hours ahead from the site's own past, where no provider's forecast is at hand.

One ridge regression per local issue time and lead corrects the mean of the last week at
the target's hour. It is fitted in a second, so every issue time fits its own; nothing
is stored.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from factory_lib.clock import HOUR_S, MADRID
from factory_lib.features.documented import HUMIDITY, TEMPERATURE
from factory_lib.features.horizon import Floats, Past
from factory_lib.features.weather_state import air_state, recent_mean

RIDGE_PENALTY = 10.0
FEWEST_ROWS = 60


def rolling_forecasts(past: Past, rows: pd.DataFrame, refits: pd.DatetimeIndex) -> pd.DataFrame:
    """Forecast temperature and humidity of every row, by models that had not seen it.

    Parameters
    ----------
    past : Past
        Over hours from ``air.with_vapour``.
    refits : DatetimeIndex
        Ascending instants; rows issued from one to the next are forecast by models
        fitted on targets that had been observed at the first of them. Rows before the
        first refit are not forecast.

    Returns
    -------
    DataFrame
        Indexed like ``rows``: ``temperature_c``, ``humidity_pct``; NaN where there was
        too little to learn from.
    """
    x, group = air_state(past, rows), _groups(rows)
    issued, target_end = rows["issued_at"], rows["target_start"] + pd.Timedelta(seconds=HOUR_S)
    edges = [*refits, issued.max() + pd.Timedelta(seconds=1)]
    forecasts = {}
    for name in (TEMPERATURE, HUMIDITY):
        base = recent_mean(past, name)
        correction = past.actual(name, past.target_s) - base
        learnable = np.isfinite(correction)
        said = np.full(len(rows), np.nan)
        for begin, end in pairwise(edges):
            observed = (target_end + pd.Timedelta(seconds=HOUR_S) <= begin).to_numpy() & learnable
            asked = ((issued >= begin) & (issued < end)).to_numpy() & np.isfinite(base)
            for key in np.unique(group[asked]):
                train, test = observed & (group == key), asked & (group == key)
                if train.sum() >= FEWEST_ROWS:
                    said[test] = base[test] + _fit_predict(x[train], correction[train], x[test])
        forecasts[name] = said
    forecasts[HUMIDITY] = np.clip(forecasts[HUMIDITY], 0.0, 100.0)
    return pd.DataFrame(forecasts, index=rows.index)


def _fit_predict(x: Floats, y: Floats, asked: Floats) -> Floats:
    model = make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), Ridge(RIDGE_PENALTY)
    )
    said: Floats = model.fit(x, y).predict(asked)
    return said


def _groups(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Return one number for each combination of local issue time and lead."""
    wall = rows["issued_at"].dt.tz_convert(MADRID)
    keys = [wall.dt.hour * 60 + wall.dt.minute, rows["lead_h"]]
    return pd.MultiIndex.from_arrays(keys).factorize()[0]
