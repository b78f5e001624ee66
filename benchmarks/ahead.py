"""Score and outdoor index of tomorrow's hours on real 2017, before and after its prices.

Before (noon) prices are forecast, with the operator's forecasts of load, wind and solar
taken as available at 11:00; after (14:00) they are known. Temperature and humidity of
Seville are forecast from their own past in both. Beside stand the naive forecast (same
hour yesterday), the documented rules applied to the same forecasts, and the two
forests.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._cli import bench
from benchmarks.price_backtest import Market, energy, exogenous
from benchmarks.real_training import real_history
from factory_lib.analysis.price_backtest import backtest_prices
from factory_lib.clock import MADRID, day_start
from factory_lib.features import horizon
from factory_lib.features.days import DayMatrix, day_matrix
from factory_lib.models import scores
from factory_lib.models.history import History
from factory_lib.models.rule_forecast import rolling_rule_forecast

TEST = (date(2017, 1, 1), date(2017, 12, 31))
WARM_UP_DAYS = 184  # before the test: what the first errors are taken from
ASSUMPTIONS = [
    "before: issued at 12:00 Europe/Madrid of day I for the hours of I+1, whose prices are "
    "not published yet",
    "after: issued at 14:00, when they are",
    "the operator's forecasts of load, wind and solar for I+1 are taken as available at 11:00 of I",
    "weather observations are known one hour after their slot; no provider's weather forecast "
    "is used",
    "the naive forecast is the same hour of day I, even where the issue time did not know it yet",
]


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Forecast and judge; the raw rows are the hours with every forecast of them."""
    last = TEST[0] + timedelta(days=55) if chosen.quick else TEST[1]
    market = energy(chosen.data)
    history = real_history(chosen.data, "2018-01-01")
    figures: dict[str, Any] = {}
    tested = evaluated(history, market, exogenous(chosen.data, market, "es"), last)
    figures |= {str(name): evaluate(part) for name, part in tested.groupby("group")}
    if not chosen.quick:
        unaided = evaluated(history, market, None, last)
        figures["before_prices_only"] = evaluate(unaided[unaided["group"] == "before"])
    return figures | {"assumptions": ASSUMPTIONS}, tested


def evaluated(
    history: History, market: Market, operator: dict[str, DayMatrix] | None, last: date
) -> pd.DataFrame:
    """Return the tested hours with every forecast of them."""
    begin = TEST[0] - timedelta(days=WARM_UP_DAYS)
    sys.stderr.write(
        f"prices {begin} to {last}, {'with' if operator else 'without'} the operator's forecasts…\n"
    )
    days = day_matrix(market.prices)
    prices = backtest_prices(days, begin, last, operator, leads=(1,), jobs=1).set_index("start")[
        "p50"
    ]
    sys.stderr.write("weather, scores and forests…\n")
    rows = forecast_rows(history, prices, begin, last)
    forests = scores.forecast_folds(
        scores.build_examples(
            history,
            history.hourly.index[0].to_pydatetime(),
            history.hourly.index[-1].to_pydatetime(),
        ),
        history.known_until,
        count=6,
        seed=0,
        test_days=scores.MOST_TEST_DAYS,
    )
    keys = ["issued_at", "target_start"]
    forecasts = forests.rename(
        columns={
            "score_model": "score_forest",
            "outdoor_index_class_model": "outdoor_index_class_forest",
        }
    )
    rows = rows.merge(
        forecasts[
            [*keys, "score_forest", "outdoor_index_class_forest", "outdoor_index_class_majority"]
        ],
        on=keys,
    )
    return rows[rows["target_start"] >= pd.Timestamp(str(TEST[0]), tz=MADRID)]


def forecast_rows(history: History, prices: pd.Series, begin: date, last: date) -> pd.DataFrame:
    """Return tomorrow's hours for every issue, with targets, naive and rule forecasts."""
    issues = horizon.issue_times(
        history.hourly.index[0].date(), last - timedelta(days=1), (scores.BEFORE, scores.AFTER)
    )
    rows = horizon.horizon_rows(issues)
    rows = rows[rows["day_ahead"]].reset_index(drop=True)
    rows["group"] = np.where(
        rows["issued_at"].dt.tz_convert(MADRID).dt.time == scores.BEFORE, "before", "after"
    )
    forecasts = rolling_rule_forecast(history, rows, prices, day_start(begin)).rename(
        columns={
            "score": "score_model",
            "outdoor_index_class": "outdoor_index_class_model",
            "score_point": "score_rule",
            "outdoor_index_class_point": "outdoor_index_class_rule",
        }
    )
    view = horizon.AsOfView(history.hourly, rows, history.known_until)
    return rows.join([horizon.horizon_targets(view, rows), forecasts]).dropna(
        subset=["score", "score_model"]
    )


def evaluate(tested: pd.DataFrame) -> dict[str, Any]:
    """Score the expectation, with the rule's and the forests' figures beside."""
    others = {
        name: scores.evaluate(
            tested.drop(columns=["score_model", "outdoor_index_class_model"]).rename(
                columns={
                    f"score_{name}": "score_model",
                    f"outdoor_index_class_{name}": "outdoor_index_class_model",
                }
            )
        )
        for name in ("rule", "forest")
    }
    beside = {
        f"{name}_{key}": scored[key]
        for name, scored in others.items()
        for key in ("r2", "mae", "accuracy", "f1_macro")
    }
    return {**scores.evaluate(tested), **beside}


if __name__ == "__main__":
    bench(__doc__, run)
