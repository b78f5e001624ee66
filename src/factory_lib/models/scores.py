"""Score and outdoor index of the hours ahead by random forests, evaluated beside naive forecasts.

Rolling origin: each fold is forecast by models fitted on nothing but hours that had
been observed when its first forecast was issued. The inputs are
``features.horizon.horizon_features`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import accuracy_score, f1_score, r2_score

from factory_lib.clock import HOUR_S, MADRID, market_day
from factory_lib.domain.indices import CLASSES
from factory_lib.features import horizon
from factory_lib.features.days import Flags
from factory_lib.models.evaluation import mean_absolute_error, rolling_origin
from factory_lib.models.history import History

# the names in the registry
SCORE, OUTDOOR_CLASS = "energy_optimization", "outdoor_index_class"
# local times before and after tomorrow's prices are published
BEFORE = time(12)
AFTER = time(14)
MOST_TEST_DAYS = 365
TEST_SHARE = 1 / 3
# Bounded, so that a version stays below 10 MB and a fit takes seconds: leaves by count,
# draws by count of rows.
FOREST = {"n_estimators": 60, "max_leaf_nodes": 256, "max_features": 0.4, "min_samples_leaf": 5}
MOST_DRAWS = 6_000
EXAMPLE_DAYS = 7
HEADLINE = "next 24 hours, issued at noon"


@dataclass(frozen=True)
class Examples:
    """Rows of a horizon data set, for training or test.

    Attributes
    ----------
    rows, x, y : DataFrame
        From ``horizon_rows``, ``horizon_features`` and ``horizon_targets``; one index.
    """

    rows: pd.DataFrame
    x: pd.DataFrame
    y: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, mask: Flags) -> Examples:
        """Return the rows that ``mask`` marks."""
        return Examples(self.rows[mask], self.x[mask], self.y[mask])


def build_examples(history: History, first: datetime, last: datetime) -> Examples:
    """Return the examples issued from ``first`` to ``last`` with targets and naive forecasts."""
    issues = horizon.issue_times(market_day(first), market_day(last), (BEFORE, AFTER))
    rows = horizon.horizon_rows([issue for issue in issues if first <= issue <= last])
    view = horizon.AsOfView(history.hourly, rows, history.known_until)
    everything = Examples(
        rows, horizon.horizon_features(view, rows), horizon.horizon_targets(view, rows)
    )
    complete = everything.y.notna().all(axis=1) & everything.x["rule_score"].notna()
    return everything.where(complete.to_numpy())


def forest_sizes(rows: int, most_draws: int, seed: int) -> dict[str, Any]:
    """Return the parameters of a forest fitted to so many rows, on all cores."""
    draws = min(most_draws, rows)
    return {**FOREST, "max_samples": draws, "n_jobs": -1, "random_state": seed}


@dataclass(frozen=True)
class Forests:
    """A regressor of the score and a classifier of the outdoor index."""

    score: RandomForestRegressor
    outdoor_index_class: RandomForestClassifier

    @classmethod
    def fit(cls, examples: Examples, seed: int) -> Forests:
        """Fit both; a NaN among the features is a value like any other to a tree."""
        sizes = forest_sizes(len(examples), MOST_DRAWS, seed)
        return cls(
            RandomForestRegressor(**sizes).fit(examples.x, examples.y["score"]),
            RandomForestClassifier(**sizes).fit(
                examples.x, examples.y["outdoor_index_class"].astype(str)
            ),
        )

    def predict(self, x: pd.DataFrame) -> pd.DataFrame:
        """Return ``score``, ``outdoor_index_class`` and ``p_<class>``, the probability of each."""
        chances = class_chances(self.outdoor_index_class, x)
        forecast = {"score": self.score.predict(x), "outdoor_index_class": chances.idxmax(axis=1)}
        return pd.DataFrame(forecast, index=x.index).join(chances.add_prefix("p_"))


def class_chances(classifier: RandomForestClassifier, x: pd.DataFrame) -> pd.DataFrame:
    """Return the probability of each of ``CLASSES``, 0 where it was never seen; index of ``x``."""
    chances = pd.DataFrame(classifier.predict_proba(x), x.index, classifier.classes_)
    return chances.reindex(columns=list(CLASSES), fill_value=0.0)


def split_folds(
    rows: pd.DataFrame, known_until: horizon.KnownUntil, count: int, test_days: int | None = None
) -> Iterator[tuple[Flags, Flags]]:
    """Yield training and test rows of ``count`` consecutive folds over the last ``test_days``.

    Without ``test_days`` that is the last third of the issues, a year at most.

    A training row's target ended, and could be observed, before the first issue of the
    fold.
    """
    issued = rows["issued_at"]
    last = issued.max()
    third = min(timedelta(days=MOST_TEST_DAYS), (last - issued.min()) * TEST_SHARE)
    tested = third if test_days is None else timedelta(days=test_days)
    # an issue on the edge of two folds belongs to the earlier one
    origins = pd.date_range(last - tested, last, periods=count + 1)[:-1] + timedelta(seconds=1)
    for _, test in rolling_origin(issued, origins):
        observed_until = min(rule(issued[test].min()) for rule in known_until.values())
        train = rows["target_start"] + timedelta(seconds=HOUR_S) <= observed_until
        yield train.to_numpy(), test


def forecast_folds(
    examples: Examples,
    known_until: horizon.KnownUntil,
    count: int,
    seed: int,
    test_days: int | None = None,
) -> pd.DataFrame:
    """Forecast every fold by forests fitted on earlier hours alone.

    Returns
    -------
    DataFrame
        The tested rows: columns of ``rows``, ``targets`` and ``Forests.predict``
        (``score_model``, ``outdoor_index_class_model``), ``outdoor_index_class_majority`` (of the
        fold's training rows) and ``fold`` (from 1).
    """
    parts = []
    renamed = {name: f"{name}_model" for name in ("score", "outdoor_index_class")}
    for number, (train, test) in enumerate(
        split_folds(examples.rows, known_until, count, test_days), 1
    ):
        past = examples.where(train)
        tested = examples.where(test)
        forecast = Forests.fit(past, seed).predict(tested.x).rename(columns=renamed)
        majority = past.y["outdoor_index_class"].mode()[0]
        joined = tested.rows.join([tested.y, forecast])
        parts.append(joined.assign(fold=number, outdoor_index_class_majority=majority))
    return pd.concat(parts)


def slices(tested: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tested rows by question.

    The next 24 hours, and tomorrow before and after its prices are published.
    """
    wall = tested["issued_at"].dt.tz_convert(MADRID).dt.time
    noon = tested[wall == BEFORE]
    return {
        HEADLINE: noon[noon["lead_h"] < 24],
        "tomorrow, prices unpublished (noon)": noon[noon["day_ahead"]],
        "tomorrow, prices published (14:00)": tested[(wall == AFTER) & tested["day_ahead"]],
    }


def evaluate(tested: pd.DataFrame) -> dict[str, Any]:
    """Return the scores of model and naive forecasts: errors in points, accuracies as shares."""
    actual = tested["score"]
    classes = tested["outdoor_index_class"].astype(str)
    mae = {
        name: mean_absolute_error(actual.to_numpy(), tested[f"score_{name}"].to_numpy())
        for name in ("model", "yesterday", "last")
    }
    ruled = tested[tested["score_rule"].notna()] if "score_rule" in tested else tested[:0]
    accuracy = {
        name: float(accuracy_score(classes, tested[f"outdoor_index_class_{name}"].astype(str)))
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
            f1_score(
                classes, tested["outdoor_index_class_model"], average="macro", zero_division=0.0
            )
        ),
        **(_rule_scores(ruled) if len(ruled) else {}),
    }


def _rule_scores(ruled: pd.DataFrame) -> dict[str, float]:
    """Return the scores of the rule over the forecasts, and the model's on the same hours."""
    classes = ruled["outdoor_index_class"].astype(str)
    return {
        "rule_hours": len(ruled),
        "rule_mae": float((ruled["score"] - ruled["score_rule"]).abs().mean()),
        "mae_same_hours": float((ruled["score"] - ruled["score_model"]).abs().mean()),
        "rule_accuracy": float((classes == ruled["outdoor_index_class_rule"].astype(str)).mean()),
        "accuracy_same_hours": float(
            (classes == ruled["outdoor_index_class_model"].astype(str)).mean()
        ),
    }


def mae_by_fold(tested: pd.DataFrame) -> pd.DataFrame:
    """Return the mean absolute error of the score by fold (index) and candidate (columns).

    The rule over the forecasts is NaN in folds of which less than half has it, absent
    where that is all of them.
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
    by_fold = pd.DataFrame(errors).groupby(tested["fold"])
    enough = by_fold.count().ge(by_fold.size() / 2, axis=0)
    return by_fold.mean().where(enough).dropna(axis="columns", how="all")


def last_days(tested: pd.DataFrame) -> pd.DataFrame:
    """Return ``actual``, ``forecast`` and ``naive`` score of the last tested days, by ``start``."""
    recent = tested[tested["issued_at"] > tested["issued_at"].max() - timedelta(days=EXAMPLE_DAYS)]
    columns = {"score": "actual", "score_model": "forecast", "score_yesterday": "naive"}
    return pd.DataFrame(recent[list(columns)].rename(columns=columns)).set_index(
        recent["target_start"].rename("start")
    )


def confusion_table(tested: pd.DataFrame) -> pd.DataFrame:
    """Return hours by actual class (index) and forecast class (columns)."""
    actual = tested["outdoor_index_class"].astype(str)
    counts = pd.crosstab(actual, tested["outdoor_index_class_model"].astype(str))
    return pd.DataFrame(counts.reindex(index=list(CLASSES), columns=list(CLASSES), fill_value=0))
