"""The documented rules applied to forecasts, hour by past hour: what would have been served without a learnt score."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from factory_lib.domain import indices
from factory_lib.features import horizon, weather_state
from factory_lib.features.documented import HUMIDITY, PRICE, TEMPERATURE
from factory_lib.models.expectation import VALUES, rolling_expectations
from factory_lib.models.history import History
from factory_lib.models.weather import rolling_forecasts

REFIT = "28D"


def rule_over_forecasts(
    history: History, rows: pd.DataFrame, prices: pd.Series, begin: datetime
) -> pd.DataFrame:
    """Return score and recommendation by rule, for rows issued from ``begin`` on.

    Parameters
    ----------
    rows : DataFrame
        From ``ahead.rows_ahead``, and ``group``: rows of one group and one UTC hour
        share their errors. Those before ``begin`` are what the first weather models
        learn from.
    prices : Series
        Forecasts (EUR/MWh) by ``start``, for hours that were not published at issue;
        none had seen its hour.

    Returns
    -------
    DataFrame
        Indexed like ``rows``. ``expectation.COLUMNS``: the rule over the forecasts and
        the errors that such forecasts had made by then; ``score_point`` and
        ``recommendation_point``: the rule of the forecasts themselves.
    """
    hourly, known_until = weather_state.with_vapour(history.hourly, history.known_until)
    past = horizon.Past(hourly, rows, known_until)
    refits = pd.date_range(begin, rows["issued_at"].max(), freq=REFIT)
    forecast = rolling_forecasts(past, rows, refits)
    published = past.known(PRICE, past.target_s)
    forecast[PRICE] = np.where(np.isnan(published), rows["target_start"].map(prices), published)
    actual = pd.DataFrame(
        {name: past.actual(name, past.target_s) for name in VALUES}, index=rows.index
    )
    expected = rolling_expectations(rows, forecast, actual, (past.low, past.high), refits)
    score, index = past.indices(
        *(forecast[name].to_numpy() for name in (PRICE, TEMPERATURE, HUMIDITY))
    )
    return expected.assign(
        score_point=score, recommendation_point=indices.production_recommendation(index)
    )
