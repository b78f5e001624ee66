"""The price of the hours ahead as it is served: published, else forecast, else naive, else unknown; and which it is.

The champion is served for the leads at which it beat the best naive forecast on the
sixteen weeks that it had not seen; for the others, and where there is none, the naive
forecast stands in.
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
from factory_lib.features.lags import DayMatrix, day_matrix, to_slots
from factory_lib.models.baselines import naive_forecasts
from factory_lib.models.calibration import WINDOW_DAYS, band, error_quantiles
from factory_lib.models.forecasters import LEADS, PriceForecaster
from factory_lib.models.quarters import in_quarters, quarter_factors

PUBLISHED, CHAMPION, NAIVE, UNAVAILABLE = "published", "champion", "naive", "unavailable"
QUANTILES = ("p10", "p50", "p90")
# Of the mean miss of a published day, so much is taken to go on. On the energy file
# 2017 it made the errors 2 to 7 days after issue 2 to 7 % smaller, any share from 0.4
# to 0.7 about as much; in 2016 those 2 and 3 days after 10 and 5 %.
MISS_KEPT = 0.6


@dataclass(frozen=True)
class PricesAhead:
    """Prices of coming slots.

    Attributes
    ----------
    slots : DataFrame
        UTC index; ``p10``, ``p50``, ``p90`` (EUR/MWh; all the same where published) and
        ``tier``.
    notes : tuple of str
        What stands in for what, and why.
    """

    slots: pd.DataFrame
    notes: tuple[str, ...]


def prices_ahead(
    known: pd.Series,
    index: pd.DatetimeIndex,
    champion: PriceForecaster | None,
    exogenous: Mapping[str, DayMatrix] | None = None,
    resolution_s: int = HOUR_S,
) -> PricesAhead:
    """Return the prices of the slots ``index``.

    Parameters
    ----------
    known : Series
        Prices (EUR/MWh) known at the issue time, tomorrow's included where published;
        UTC index, hours or, from some instant on, quarters.
    index : DatetimeIndex
        Of slots of ``resolution_s``: 3600, or 900 where ``known`` ends in quarters.
    champion : PriceForecaster, optional
        A fit on days that are all known.
    exogenous : mapping of str to DayMatrix, optional
        The operator's forecasts that it was fitted with.
    """
    known = known.dropna()
    slots = pd.DataFrame({quantile: known.reindex(index) for quantile in QUANTILES}, index=index)
    slots["tier"] = np.where(slots["p50"].notna(), PUBLISHED, UNAVAILABLE)
    history = whole_days(known)
    if history is None:
        return PricesAhead(slots, ("There is no whole day of prices to go by.",))
    quarters = None if resolution_s == HOUR_S else day_matrix(known, resolution_s)
    rmae = champion.rmae_ if champion else {}
    if champion:
        said = _said_by(champion, history, exogenous or {}, quarters, known)
        _fill(slots, said[said["lead"].map(rmae) < 1], CHAMPION)
    for lead in LEADS:
        _fill(slots, naive_day(history, lead, quarters), NAIVE)
    beaten = [str(lead) for lead, ratio in rmae.items() if not ratio < 1]
    worse = f"Naive where the champion was no better on the weeks kept from its fit: day {', '.join(beaten)}."
    return PricesAhead(slots, (worse,) if beaten else ())


def _said_by(
    champion: PriceForecaster,
    history: DayMatrix,
    exogenous: Mapping[str, DayMatrix],
    quarters: DayMatrix | None,
    known: pd.Series,
) -> pd.DataFrame:
    """Return what the champion says, issued on the last day that has prices and the operator's next forecasts.

    Where prices are published further than that, as every afternoon, its miss on the
    last published day moves the rest.
    """
    issue_day = min([history.days[-1], *(matrix.days[-1] - 1 for matrix in exogenous.values())])
    said = champion.predict(history.until(issue_day), exogenous, quarters)
    published = said.loc[said["lead"] == (history.days[-1] - issue_day).astype(int), "p50"]
    if len(published):
        said[list(QUANTILES)] += MISS_KEPT * (known.reindex(published.index) - published).mean()
    return said


def _fill(slots: pd.DataFrame, said: pd.DataFrame, tier: str) -> None:
    """Put what is said where nothing is known yet."""
    known = said[list(QUANTILES)].dropna(subset=["p50"])
    asked = known.index.intersection(slots.index[slots["tier"] == UNAVAILABLE])
    slots.loc[asked, list(QUANTILES)] = known.loc[asked]
    slots.loc[asked, "tier"] = tier


def whole_days(known: pd.Series) -> DayMatrix | None:
    """Return hourly prices up to the last day without a hole, by day; None where there is no such day."""
    if known.empty:
        return None
    matrix = day_matrix(known)
    whole = np.flatnonzero(np.isfinite(matrix.grid).all(axis=1))
    return matrix.until(matrix.days[whole[-1]]) if len(whole) else None


def naive_day(history: DayMatrix, lead: int, quarters: DayMatrix | None = None) -> pd.DataFrame:
    """Return the day ``lead`` days after the history's last by the naive forecast that did best over sixteen weeks.

    Returns
    -------
    DataFrame
        The day's slots; ``p10`` and ``p90`` are unknown where too few errors are.
    """
    day: date = (history.days[-1] + lead).item()
    future = history.spanning(history.days[0], day)
    candidates = naive_forecasts(future, lead)
    errors = {
        name: (future.grid - said)[-WINDOW_DAYS - lead :] for name, said in candidates.items()
    }
    usable = {
        name: _mean(np.abs(error))
        for name, error in errors.items()
        if np.isfinite(candidates[name][-1]).all()
    }
    if not usable:
        return pd.DataFrame({name: [] for name in QUANTILES}, index=pd.DatetimeIndex([], tz="UTC"))
    best = min(usable, key=lambda name: (np.nan_to_num(usable[name], nan=np.inf), name))
    point = candidates[best][-1]
    try:
        rows = band(point, error_quantiles(errors[best]), 1.0, lead)
    except TooFewRows:
        rows = np.stack([np.full_like(point, np.nan), point, np.full_like(point, np.nan)])
    if quarters is not None:
        fine = in_quarters(point[None, :], quarter_factors(quarters.until(history.days[-1]).grid))[
            0
        ]
        rows = fine + (rows - point).repeat(4, axis=1)
    return pd.DataFrame(
        {name: to_slots(day, row) for name, row in zip(QUANTILES, rows, strict=True)}
    )


def _mean(values: Matrix) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
