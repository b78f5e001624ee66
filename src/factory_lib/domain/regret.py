"""Advice by hour: what waiting for a better start of a batch would save."""

from __future__ import annotations

import numpy as np
import pandas as pd

from factory_lib.domain.plant import Floats

RECOMMENDATIONS = np.array(["Optimal", "Moderate", "Reduced", "Halt Production"])
NEAR_SHARE, NEAR_EUR = 0.05, 1.0  # Optimal: within either of the best start of the next day
MODERATE_SHARE, REDUCED_SHARE = 0.25, 0.60  # of a usual batch, saved by waiting
AHEAD = pd.Timedelta(hours=24)


def start_regret(index: pd.DatetimeIndex, cost_eur: Floats, usual_eur: float) -> pd.DataFrame:
    """Judge every start by what waiting for the best start of the next 24 hours would save.

    Parameters
    ----------
    index : DatetimeIndex
        Regular starts, UTC.
    cost_eur : array
        Cost of the cheapest whole chain by start, infinite where none can begin.
    usual_eur : float
        What a batch usually costs.

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
    names = pd.Categorical(RECOMMENDATIONS[number], RECOMMENDATIONS, ordered=True)
    return pd.DataFrame(
        {
            "cost_eur": cost_eur,
            "regret_eur": regret,
            "best_start": pd.Series(index[best_slot]).where(np.isfinite(best)).array,
            "production_recommendation": names,
        },
        index=index,
    )
