"""Which version is used: promoted only if better than every naive forecast and better than the champion."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from factory_lib.clock import parse_instant
from factory_lib.errors import ModelError
from factory_lib.house import House
from factory_lib.models import registry
from factory_lib.models.scores import RECOMMENDATION, SCORE, Examples

FEWEST_COMPARED_HOURS = 168  # a champion is only judged on a week or more that it has not learnt from
MEASURE = {SCORE: "MAE, score points", RECOMMENDATION: "share of hours wrong"}
_NAIVE = {SCORE: ("yesterday", "last"), RECOMMENDATION: ("yesterday", "last", "majority")}
_COLUMN = {SCORE: "score", RECOMMENDATION: "recommendation"}


@dataclass(frozen=True)
class Decision:
    """What became of a version, with the errors it was decided on (lower is better, ``measure`` says of what)."""

    model: str
    version: str
    alias: str
    measure: str
    error: float
    naive_error: float
    champion: str
    champion_error: float | None
    error_on_same_hours: float | None
    reason: str

    @property
    def promoted(self) -> bool:
        """Whether the version is the champion now."""
        return self.alias == registry.CHAMPION


def error(model: str, tested: pd.DataFrame, candidate: str) -> float:
    """Return the error of one candidate: mean absolute error of the score, share of wrong recommendations."""
    column = _COLUMN[model]
    actual, said = tested[column], tested[f"{column}_{candidate}"]
    if model == SCORE:
        return float((actual - said).abs().mean())
    return float((actual.astype(str) != said.astype(str)).mean())


def decide(house: House, model: str, version: str, tested: pd.DataFrame, known: Examples) -> Decision:
    """Compare a new version with the naive forecasts and the champion, and set the aliases.

    The champion is scored again on the hours of the new version's folds that were issued after the champion's training:
    on those before it has seen the answers.

    Parameters
    ----------
    tested : DataFrame
        The rolling origin's rows that decide, with ``<target>_model`` of the new version's own folds.
    known : Examples
        The examples they were taken from.
    """
    own, naive = error(model, tested, "model"), min(error(model, tested, name) for name in _NAIVE[model])
    champion = champion_error = same_hours = None
    promote, reason = own < naive, "better than naive" if own < naive else "not better than naive"
    try:
        champion = registry.load(house, model)
        unseen = tested[tested["issued_at"] >= parse_instant(champion.tags["as_of"])]
        x = known.x.loc[unseen.index]
        if list(champion.estimator.feature_names_in_) != list(x.columns):
            reason += "; the champion cannot be run on these features"
        elif len(unseen) < FEWEST_COMPARED_HOURS:
            promote = False
            reason += f"; {len(unseen)} hours are new to the champion, {FEWEST_COMPARED_HOURS} are needed to replace it"
        else:
            again = unseen.assign(**{f"{_COLUMN[model]}_champion": champion.estimator.predict(x)})
            champion_error, same_hours = error(model, again, "champion"), error(model, again, "model")
            promote = promote and same_hours < champion_error
            better = "better" if same_hours < champion_error else "not better"
            reason += f"; {better} than champion {champion.number} on {len(unseen)} hours new to it"
    except ModelError as missing:
        reason += f"; {missing.message.rstrip('.')}"
    (registry.promote if promote else registry.challenge)(house, model, version, reason)
    return Decision(
        model,
        version,
        registry.CHAMPION if promote else registry.CHALLENGER,
        MEASURE[model],
        own,
        naive,
        champion.number if champion else "",
        champion_error,
        same_hours,
        reason,
    )
