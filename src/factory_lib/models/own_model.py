"""A regressor of one's own as a price model: tested, registered and served as ours are.

Any scikit-learn regressor learns the normalised prices of all hours from the lags of
``features.prices``, and from further inputs that it names. An input is a forecast of load
or generation (``residual_load_mw``), or a figure of a catalogue series that its name spells:
``temperature_c_mean_3d`` is the mean of its last three known days at each hour. So a stored
model carries with it how its inputs are made, and no input can look ahead.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from factory_lib.catalogue import Kind
from factory_lib.clock import HOUR_S, day_start, local_instant, market_day
from factory_lib.context import RunContext
from factory_lib.errors import BadInput, UnknownSeries
from factory_lib.features.days import DayMatrix, Matrix, day_matrix
from factory_lib.features.prices import AHEAD_SUFFIX, SPOT, DayFeatures
from factory_lib.frames import wide
from factory_lib.models.forecasters import HOURS, ForecasterConfig, LeadModel, learnable

STATISTICS = ("mean", "min", "max", "std")
_NAME = re.compile(rf"(?P<series>\w+)_(?P<statistic>{'|'.join(STATISTICS)})_(?P<days>\d+)d")
LONGEST_DAYS = 60


@dataclass(frozen=True)
class OwnConfig(ForecasterConfig):
    """The parameters of a price forecaster with a regressor of one's own.

    Attributes
    ----------
    estimator : object
        A scikit-learn regressor, not fitted.
    """

    estimator: Any = None

    def lead_model(self, lead: int) -> "OwnModel":
        """Return the model of a lead, not fitted."""
        return OwnModel(self, lead)


class OwnModel(LeadModel):
    """One lead's regressor; a missing input is imputed, all are standardised."""

    config: OwnConfig

    @property
    def prior(self) -> tuple[float, ...]:
        """Return the weight of the only expert."""
        return (1.0,)

    @property
    def expert_names(self) -> tuple[str, ...]:
        """Return the name of the only expert."""
        return (type(self.config.estimator).__name__,)

    def fit(self, features: DayFeatures, prices: Matrix, end: int) -> Self:
        """Fit on the target rows before ``end``, see ``LeadModel.fit``."""
        target, days = learnable(features, prices, end)
        target = target[-self.config.tree_window_days :]
        clip = self.config.clip_spreads
        inputs = days.at(slice(-len(target), None)).pooled().reshape(target.size, -1)
        self.model_ = make_pipeline(
            SimpleImputer(keep_empty_features=True), StandardScaler(), clone(self.config.estimator)
        ).fit(inputs, np.clip(target, -clip, clip).ravel())
        return self

    def predict(self, features: DayFeatures, rows: Any) -> Matrix:
        """Return the forecast of the target rows: (1, rows, 24), in spreads around the level."""
        pooled = features.at(np.asarray(rows, dtype=int)).pooled()
        inputs = pooled.reshape(len(pooled) * HOURS, -1)
        return np.asarray(self.model_.predict(inputs)).reshape(1, -1, HOURS)


def own_inputs(
    ctx: RunContext, names: Iterable[str], prices: DayMatrix, operator: Mapping[str, DayMatrix]
) -> dict[str, DayMatrix]:
    """Return inputs by name: forecasts of the ``operator``, and figures of series.

    With a forecast of the next day come those of later days, where there are any.

    Raises
    ------
    BadInput
        If a name is neither.
    UnknownSeries
        If it spells a series that the catalogue lacks.
    """
    of_days = {name: name.rsplit("_", 2)[0] for name in operator if name.endswith(AHEAD_SUFFIX)}
    offered = set(operator) - set(of_days) - {SPOT}
    named = set(names) & offered
    forecasts = {name: of for name, of in operator.items() if of_days.get(name, name) in named}
    made = figures(ctx, set(names) - named, prices)
    if unknown := sorted(set(names) - named - set(made)):
        if (match := _NAME.fullmatch(unknown[0])) and match["series"] not in ctx.catalogue:
            raise UnknownSeries(match["series"], sorted(ctx.catalogue))
        present = ", ".join(sorted(offered)) or "none, too few days are stored"
        raise BadInput(
            f"{unknown[0]!r} is no input.",
            next_step=f"Name a forecast ({present}), or a figure of a series like "
            f"temperature_c_mean_3d: {', '.join(STATISTICS)} of 1 to {LONGEST_DAYS} days.",
        )
    return forecasts | made


def figures(ctx: RunContext, names: Iterable[str], prices: DayMatrix) -> dict[str, DayMatrix]:
    """Return the inputs that spell a figure of a series, for the days of prices and one more.

    The row of a day holds what was known at noon of the day before, by the publication
    rules of the values that are stored. A series that the catalogue has no more makes none.
    """
    spelled = {name: match for name in names if (match := _NAME.fullmatch(name))}
    return {
        name: _figure(ctx, match["series"], match["statistic"], int(match["days"]), prices)
        for name, match in spelled.items()
        if match["series"] in ctx.catalogue and 1 <= int(match["days"]) <= LONGEST_DAYS
    }


def _figure(
    ctx: RunContext, series: str, statistic: str, length: int, prices: DayMatrix
) -> DayMatrix:
    entry = ctx.catalogue[series]
    target = prices.spanning(prices.days[0], prices.days[-1] + 1)
    rows = ctx.store.read(
        series,
        places=ctx.settings.site.places.of(entry.measurement),
        start=day_start(target.days[0].item()) - timedelta(days=2 * LONGEST_DAYS),
        end=day_start(target.days[-1].item()),
        as_of=ctx.as_of,
        grid_s=HOUR_S,
    )
    if rows.empty:
        return DayMatrix(target.days, np.full_like(target.grid, np.nan))
    today = market_day(ctx.as_of)
    noon = local_instant(today, time(12))
    ends = [entry.publication[Kind(kind)].known_until(noon) for kind in rows["kind"].unique()]
    age = (today - market_day(min(ends))).days + 2  # of the newest whole day, from the target
    values = day_matrix(wide(rows)[series])
    values = values.spanning(target.days[0] - LONGEST_DAYS - age, target.days[-1])
    window = pd.DataFrame(values.grid).shift(age).rolling(length, min_periods=1)
    grid = getattr(window, statistic)().to_numpy()
    return DayMatrix(target.days, grid[-len(target.days) :])
