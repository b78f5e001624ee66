"""The two learnt models of the hours ahead, the naive forecasts beside them, and how both are judged.

Rolling origin: each fold is forecast by models fitted on nothing but hours that had
been observed when its first forecast was issued. The estimators see
``features.ahead.features`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import accuracy_score, f1_score, r2_score

from factory_lib.clock import HOUR_S, MADRID, market_day
from factory_lib.domain.indices import CLASSES
from factory_lib.features import horizon
from factory_lib.models.evaluation import mean_absolute_error
from factory_lib.models.history import History

SCORE, RECOMMENDATION = (
    "energy_optimization",
    "production_recommendation",
)  # the names in the registry
BEFORE, AFTER = time(12), time(14)  # local: before and after tomorrow's prices are published
MOST_TEST_DAYS = 365
TEST_SHARE = 1 / 3
# Bounded, so that a version stays below 10 MB and a fit takes seconds: leaves by count,
# draws by count of rows.
FOREST = {"n_estimators": 60, "max_leaf_nodes": 256, "max_features": 0.4, "min_samples_leaf": 5}
MOST_DRAWS = 6_000
EXAMPLE_DAYS = 7

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Examples:
    """Rows to learn from or to be judged on.

    Attributes
    ----------
    rows, x, y : DataFrame
        From ``ahead.rows_ahead``, ``ahead.features`` and ``ahead.outcomes``; one index.
    """

    rows: pd.DataFrame
    x: pd.DataFrame
    y: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, mask: Mask) -> Examples:
        """Return the rows that ``mask`` marks."""
        return Examples(self.rows[mask], self.x[mask], self.y[mask])


def examples(history: History, first: datetime, last: datetime) -> Examples:
    """Return the examples of every issue from ``first`` to ``last`` whose targets and naive forecasts are known."""
    issues = horizon.issue_times(market_day(first), market_day(last), (BEFORE, AFTER))
    issues = [issue for issue in issues if first <= issue <= last]
    rows = horizon.rows_ahead(issues)
    past = horizon.Past(history.hourly, rows, history.known_until)
    made = Examples(rows, horizon.features(past, rows), horizon.outcomes(past, rows))
    complete = made.y.notna().all(axis=1) & made.x["rule_score"].notna()
    return made.where(complete.to_numpy())


@dataclass(frozen=True)
class Forests:
    """The reference's pair, for values ahead: a regressor for the score and a classifier for the recommendation."""

    score: RandomForestRegressor
    recommendation: RandomForestClassifier

    @classmethod
    def fit(cls, known: Examples, seed: int) -> Forests:
        """Fit both; a NaN among the features is a value like any other to a tree."""
        sizes = {
            **FOREST,
            "max_samples": min(MOST_DRAWS, len(known)),
            "n_jobs": -1,
            "random_state": seed,
        }
        return cls(
            RandomForestRegressor(**sizes).fit(known.x, known.y["score"]),
            RandomForestClassifier(**sizes).fit(known.x, known.y["recommendation"].astype(str)),
        )

    def predict(self, x: pd.DataFrame) -> pd.DataFrame:
        """Return ``score`` and ``recommendation`` of each row, and ``p_<class>`` for the classes' probabilities."""
        chances = pd.DataFrame(
            self.recommendation.predict_proba(x),
            index=x.index,
            columns=self.recommendation.classes_,
        ).reindex(columns=list(CLASSES), fill_value=0.0)
        said = {"score": self.score.predict(x), "recommendation": chances.idxmax(axis=1)}
        return pd.DataFrame(said, index=x.index).join(chances.add_prefix("p_"))


def folds(
    rows: pd.DataFrame, known_until: horizon.KnownUntil, count: int, test_days: int | None = None
) -> Iterator[tuple[Mask, Mask]]:
    """Yield training and test rows of ``count`` consecutive folds over the last ``test_days``.

    Without ``test_days`` that is the last third of the issues, a year at most.

    A training row's target ended, and could be observed, before the first issue of the
    fold.
    """
    issued = rows["issued_at"]
    last = issued.max()
    third = min(timedelta(days=MOST_TEST_DAYS), (last - issued.min()) * TEST_SHARE)
    tested = third if test_days is None else timedelta(days=test_days)
    edges = pd.date_range(last - tested, last, periods=count + 1)
    for begin, end in pairwise(edges):
        test = (issued > begin) & (issued <= end)
        observed_until = min(rule(issued[test].min()) for rule in known_until.values())
        train = rows["target_start"] + timedelta(seconds=HOUR_S) <= observed_until
        yield train.to_numpy(), test.to_numpy()


def rolling_origin(
    known: Examples,
    known_until: horizon.KnownUntil,
    count: int,
    seed: int,
    test_days: int | None = None,
) -> pd.DataFrame:
    """Forecast every fold by models that could not have seen it.

    Returns
    -------
    DataFrame
        The tested rows: columns of ``rows``, ``outcomes`` and ``Forests.predict``
        (``score_model``, ``recommendation_model``), ``recommendation_majority`` (of the
        fold's training rows) and ``fold`` (from 1).
    """
    parts = []
    for number, (train, test) in enumerate(
        folds(known.rows, known_until, count, test_days), start=1
    ):
        past, tested = known.where(train), known.where(test)
        said = Forests.fit(past, seed).predict(tested.x)
        said = said.rename(columns={name: f"{name}_model" for name in ("score", "recommendation")})
        usual = past.y["recommendation"].mode()[0]
        parts.append(
            tested.rows.join([tested.y, said]).assign(fold=number, recommendation_majority=usual)
        )
    return pd.concat(parts)


def slices(tested: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tested rows by question: the next 24 hours, and tomorrow before and after its prices are published."""
    wall = tested["issued_at"].dt.tz_convert(MADRID).dt.time
    noon = tested[wall == BEFORE]
    return {
        "next 24 hours, issued at noon": noon[noon["lead_h"] < 24],
        "tomorrow, prices unpublished (noon)": noon[noon["day_ahead"]],
        "tomorrow, prices published (14:00)": tested[(wall == AFTER) & tested["day_ahead"]],
    }


HEADLINE = "next 24 hours, issued at noon"


def judge(tested: pd.DataFrame) -> dict[str, Any]:
    """Score model and naive forecasts on ``tested``: errors in score points, accuracies as shares."""
    actual, classes = tested["score"], tested["recommendation"].astype(str)
    mae = {
        name: mean_absolute_error(actual.to_numpy(), tested[f"score_{name}"].to_numpy())
        for name in ("model", "yesterday", "last")
    }
    ruled = tested[tested["score_rule"].notna()] if "score_rule" in tested else tested[:0]
    accuracy = {
        name: float(accuracy_score(classes, tested[f"recommendation_{name}"].astype(str)))
        for name in ("model", "yesterday", "last", "majority")
    }
    return {
        "hours": len(tested),
        "mae": mae["model"],
        "naive_mae": mae["yesterday"],
        "last_value_mae": mae["last"],
        "rmae": mae["model"] / mae["yesterday"],
        "r2": float(r2_score(actual, tested["score_model"])),
        "accuracy": accuracy["model"],
        "persistence_accuracy": accuracy["yesterday"],
        "last_value_accuracy": accuracy["last"],
        "majority_accuracy": accuracy["majority"],
        "f1_macro": float(
            f1_score(classes, tested["recommendation_model"], average="macro", zero_division=0.0)
        ),
        **(_beside_the_rule(ruled) if len(ruled) else {}),
    }


def _beside_the_rule(ruled: pd.DataFrame) -> dict[str, float]:
    """Return the figures of the rule over the forecasts, and the model's on the same hours."""
    classes = ruled["recommendation"].astype(str)
    return {
        "rule_hours": len(ruled),
        "rule_mae": float((ruled["score"] - ruled["score_rule"]).abs().mean()),
        "mae_same_hours": float((ruled["score"] - ruled["score_model"]).abs().mean()),
        "rule_accuracy": float((classes == ruled["recommendation_rule"].astype(str)).mean()),
        "accuracy_same_hours": float((classes == ruled["recommendation_model"].astype(str)).mean()),
    }


def mae_by_fold(tested: pd.DataFrame) -> pd.DataFrame:
    """Return the mean absolute error of the score by fold (index) and candidate (columns).

    The rule over the forecasts is NaN in folds of which it was tried on less than half,
    absent where that is all.
    """
    candidates = {
        "model": "model",
        "rule over the forecasts": "rule",
        "same hour yesterday": "yesterday",
        "last value": "last",
    }
    errors = {
        label: (tested["score"] - tested[column]).abs()
        for label, name in candidates.items()
        if (column := f"score_{name}") in tested
    }
    folds = pd.DataFrame(errors).groupby(tested["fold"])
    return (
        folds.mean()
        .where(folds.count().ge(folds.size() / 2, axis=0))
        .dropna(axis="columns", how="all")
    )


def last_days(tested: pd.DataFrame) -> pd.DataFrame:
    """Return ``actual``, ``forecast`` and ``naive`` score of the last tested days, indexed by ``start`` (UTC)."""
    recent = tested[tested["issued_at"] > tested["issued_at"].max() - timedelta(days=EXAMPLE_DAYS)]
    columns = {"score": "actual", "score_model": "forecast", "score_yesterday": "naive"}
    return pd.DataFrame(recent[list(columns)].rename(columns=columns)).set_index(
        recent["target_start"].rename("start")
    )


def confusion(tested: pd.DataFrame) -> pd.DataFrame:
    """Return hours by class that came (index) and class forecast (columns)."""
    counts = pd.crosstab(
        tested["recommendation"].astype(str), tested["recommendation_model"].astype(str)
    )
    return pd.DataFrame(counts.reindex(index=list(CLASSES), columns=list(CLASSES), fill_value=0))
