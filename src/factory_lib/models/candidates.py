"""A new version put to the test: its losses on hours it had not learnt, beside those of every rival on the same hours.

What it has to beat: the naive forecasts, and for score and recommendation also the
documented rules applied to the forecasts of price and weather, which is what serves
where no version is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import local_instant
from factory_lib.errors import ModelIncompatible
from factory_lib.features.lags import DayMatrix
from factory_lib.frames import UTC_S
from factory_lib.models.forecasters import PriceForecaster
from factory_lib.models.scores import RECOMMENDATION, SCORE, Examples

NOON = time(12)  # local: when a price forecast counts as issued
_COLUMN = {SCORE: "score", RECOMMENDATION: "recommendation"}
_RIVALS = {
    SCORE: ("yesterday", "last", "rule"),
    RECOMMENDATION: ("yesterday", "last", "majority", "rule"),
}


@dataclass(frozen=True)
class Trial:
    """The losses of one new version and its rivals.

    Attributes
    ----------
    model, measure : str
        The registered name, and what a mean loss is.
    losses : DataFrame
        One row per forecast: ``model`` and a column per rival, NaN where a rival said
        nothing.
    issued_at : Series
        When each forecast was issued; indexed like ``losses``.
    rerun : function
        Gives an earlier version's losses on the same rows, NaN where the two are not to
        be compared; raises ``ModelIncompatible`` where it cannot be run on them.
    """

    model: str
    measure: str
    losses: pd.DataFrame
    issued_at: pd.Series
    rerun: Callable[[Any], pd.Series]

    def strongest_rival(self) -> tuple[str, float, float]:
        """Return the rival that is hardest to beat, its mean loss, and the version's own on the same rows."""
        pairs = {}
        for name in self.losses.columns.drop("model"):
            both = self.losses[["model", name]].dropna()
            if len(both):
                pairs[str(name)] = (float(both[name].mean()), float(both["model"].mean()))
        rival = min(pairs, key=lambda name: pairs[name][0] - pairs[name][1])
        return rival, *pairs[rival]


def price_name(basis: str) -> str:
    """Return the registered name of the price model of a basis."""
    return f"{basis}_price"


def price_trial(
    basis: str,
    fitted: PriceForecaster,
    prices: DayMatrix,
    exogenous: Mapping[str, DayMatrix] | None,
) -> Trial:
    """Return the trial of a price model on the weeks kept from its fit, all leads together."""
    losses = fitted.losses(prices, exogenous)
    days, which = np.unique(losses["issue_day"].to_numpy("datetime64[D]"), return_inverse=True)
    noons = pd.DatetimeIndex([local_instant(day, NOON) for day in days.tolist()]).astype(UTC_S)

    def rerun(champion: PriceForecaster) -> pd.Series:
        if missing := set(champion.exogenous_) - set(fitted.exogenous_):
            raise ModelIncompatible(
                f"the champion needs forecasts of {', '.join(sorted(missing))} that are not here"
            )
        return fitted.losses(prices, exogenous, champion)["rival"]

    return Trial(
        price_name(basis),
        "MAE, EUR/MWh, days 1 to 7",
        losses[["model", "naive"]].rename(columns={"naive": "best naive of the day"}),
        pd.Series(noons[which], index=losses.index),
        rerun,
    )


def score_trial(model: str, tested: pd.DataFrame, known: Examples) -> Trial:
    """Return the trial of one of the forests.

    Parameters
    ----------
    tested : DataFrame
        The rolling origin's rows that decide, with ``<target>_model`` of the new
        version's own folds.
    known : Examples
        The examples they were taken from.
    """
    column = _COLUMN[model]
    rivals = [name for name in _RIVALS[model] if f"{column}_{name}" in tested]
    losses = pd.DataFrame(
        {name: _loss(tested[column], tested[f"{column}_{name}"]) for name in ("model", *rivals)},
        index=tested.index,
    )

    def rerun(champion: Any) -> pd.Series:
        x = known.x.loc[tested.index]
        if list(champion.feature_names_in_) != list(x.columns):
            raise ModelIncompatible("it needs other features")
        return _loss(tested[column], pd.Series(champion.predict(x), index=tested.index))

    measure = "MAE, score points" if model == SCORE else "share of hours wrong"
    return Trial(model, measure, losses, tested["issued_at"], rerun)


def _loss(actual: pd.Series, said: pd.Series) -> pd.Series:
    """Return absolute errors of numbers, 1 or 0 for classes that are wrong or right; NaN where nothing was said."""
    if pd.api.types.is_numeric_dtype(actual):
        return (actual - said).abs()
    return (actual.astype(str) != said.astype(str)).astype(float).where(said.notna())
