"""Advice by hour on a year of spot prices: how often it is right, and what following it saves.

Every working hour of 2024 is judged by the regret of a whole batch begun in it (see
`factory_lib.domain.indices`), at published prices and at prices forecast at noon of the day
before. The plant is the committed default one with the tolls of 2026; the weather of Seville
2016 lies on the dates of 2024. A batch that could begin in a working hour waits for the first
Optimal hour of the 24 hours from it on, or where there is none for the hour named as best:
`captured_share` is what that saves, of what the best hour saves.

`models` judges two random forests for the same hours, of the class and of the regret, beside
the rule, the working day before (even where its prices were not published at the issue) and
the commonest class: refitted every four weeks on the hours since 2023 that had matured.

The whole year takes about ten minutes on two cores that others use as well: three days ahead
are forecast, not seven, and models are refitted every four weeks.
"""

import argparse
import sys
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from benchmarks._cli import bench
from benchmarks._plants import committed_plant, hourly_spot, tariff_of, weather_laid_on
from benchmarks.price_backtest import Market, exogenous
from factory_lib.catalogue import Kind, default_catalogue
from factory_lib.clock import day_start, local_instant
from factory_lib.domain.indices import AHEAD, CLASSES
from factory_lib.domain.plant import operators
from factory_lib.features.days import DayMatrix, day_matrix, to_slots
from factory_lib.features.horizon import PRICE, VALUES
from factory_lib.features.prices import price_features
from factory_lib.models.forecasters import LeadModel, rolling_forecast
from factory_lib.models.history import History
from factory_lib.planning import start_models
from factory_lib.planning.recommendation import OneBatch, one_batch, recommend

FIRST, LAST = date(2024, 1, 1), date(2024, 12, 28)  # chains of the day after it end in the year
QUICK_DAYS = 28
LEADS = (1, 2, 3)  # days that chains begun tomorrow, or a day later, reach into
REFIT_DAYS = 28
SCENARIO_DAYS = 60
USUAL = timedelta(days=31)  # four weeks that end three days before
LEARN_FROM = date(2023, 1, 1)
SERIES = ("spot_eur_mwh", "temperature_c", "humidity_pct")  # as the horizon's columns
HOURS = 24 * len(LEADS)
ASSUMPTIONS = [
    "forecasts are issued at 12:00 Europe/Madrid of the day before, from prices up to its end; "
    f"models are refitted every {REFIT_DAYS} days",
    "scenarios are the forecast's errors over the last 60 issues whose days were all published",
    "the forests learn from 2023 with the weather of Seville 2015 on its dates",
    "the weather of the coming days is that of the 24 hours before the issue, repeated",
    "the operators' forecasts, where asked for, are taken as available at 11:00 of the day before",
    "a batch that cannot begin in the hour advised, for its weather, begins in the next it can",
    "a usual batch is the median start of the four weeks that end three days before",
]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--exogenous", default="none", help="none, or countries: es or es,fr,pt")


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Judge every hour; the raw rows are the working hours with their classes and costs."""
    last = FIRST + timedelta(days=QUICK_DAYS - 1) if chosen.quick else LAST
    end = day_start(date(FIRST.year + 1, 1, 1))
    spot = hourly_spot(chosen.data)[: pd.Timestamp(end) - pd.Timedelta(hours=1)]
    weather = weather_laid_on(chosen.data, "Seville", 2016, FIRST.year)
    forecast_load = exogenous(chosen.data, Market(spot), chosen.exogenous) or {}
    paths = forecasts(day_matrix(spot), forecast_load, last)
    begin = day_start(LEARN_FROM) - USUAL
    index = pd.date_range(begin, end, freq="h", inclusive="left", unit="s")
    actual = weather.reindex(index).assign(price_eur_mwh=spot.reindex(index).interpolate())
    starts = start_models.past_starts(actual, lay)
    sys.stderr.write(f"{len(paths)} forecasts of {len(LEADS)} days; judging…\n")
    days = [FIRST + timedelta(days=n) for n in range((last - FIRST).days + 1)]
    issues = pd.DatetimeIndex(paths.index).date
    errors = {issue: past_error(issue, paths, actual) for issue in issues}
    rows = pd.concat([day_rows(day, paths, errors, actual, starts) for day in days])
    sys.stderr.write("fitting and judging the forests…\n")
    result = figures(rows) | {"models": models(actual, starts, rows)}
    return result | {"exogenous": chosen.exogenous, "assumptions": ASSUMPTIONS}, rows


def forecasts(prices: DayMatrix, exogenous: dict[str, DayMatrix], last: date) -> pd.DataFrame:
    """Return the forecast price of each issue day (index) by day ahead and local hour (columns)."""
    prices = prices.until(last + timedelta(days=max(LEADS) - 1))
    begin = prices.row(FIRST) - SCENARIO_DAYS - max(LEADS)
    work = [delayed(lead_forecasts)(lead, prices, exogenous, begin) for lead in LEADS]
    parts = dict(zip(LEADS, Parallel(n_jobs=2)(work), strict=True))
    table: pd.DataFrame = pd.concat(parts, axis=1, sort=True).dropna()
    return table


def lead_forecasts(
    lead: int, prices: DayMatrix, exogenous: dict[str, DayMatrix], begin: int
) -> pd.DataFrame:
    """Return the forecasts of one day ahead by issue day, from models fitted before."""
    origins = range(begin, len(prices.days), REFIT_DAYS)
    features = price_features(prices, lead, exogenous)
    grid = rolling_forecast(LeadModel(lead=lead), features, prices.grid, origins)
    return pd.DataFrame(grid[begin:], index=prices.days[begin:] - lead)


def lay(hourly: pd.DataFrame) -> OneBatch:
    """Lay a batch of the default plant on hours."""
    plant, contract = committed_plant("default", 60)
    return one_batch(plant, contract, tariff_of(2026), hourly, tolls=True)


def in_hours(issue_day: date, paths: pd.DataFrame) -> pd.Series:
    """Return a forecast by the start of the hours of the days ahead."""
    grid = paths.loc[[str(issue_day)]]
    parts = [to_slots(issue_day + timedelta(days=lead), grid[lead].to_numpy()[0]) for lead in LEADS]
    price: pd.Series = pd.concat(parts)
    return price


def day_rows(
    day: date,
    paths: pd.DataFrame,
    errors: dict[date, np.ndarray[Any, Any]],
    actual: pd.DataFrame,
    starts: pd.DataFrame,
) -> pd.DataFrame:
    """Judge the hours of a day at published and at forecast prices."""
    issue = day - timedelta(days=1)
    end = pd.Timestamp(day_start(day + timedelta(days=1)))
    price = in_hours(issue, paths)
    hourly = start_models.hours_ahead(price, actual, local_instant(issue, start_models.ISSUED))
    index = pd.DatetimeIndex(hourly.index)
    known = starts.reindex(index)
    usual = float(known["usual_eur"].iloc[0])
    issues = pd.date_range(end=issue - timedelta(days=max(LEADS)), periods=SCENARIO_DAYS)
    past = np.array([errors[each] for each in issues.date])
    advice = recommend(lay(hourly), usual, past[:, : len(index)])
    rows = known.join(advice.add_suffix("_forecast"))
    for suffix in ("", "_forecast"):
        rows[f"saved{suffix}_eur"] = known["cost_eur"] - followed(rows, suffix)
    plant, _ = committed_plant("default", 60)
    working = operators(plant, pd.DatetimeIndex(rows.index), 3600) > 0
    return rows[working & (rows.index < end)].reset_index(names="start")


def models(actual: pd.DataFrame, starts: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Any]:
    """Judge the forests beside the rule of ``rows`` and the naive forecasts, by the same hours."""
    rules = {
        name: default_catalogue()[series].publication[Kind.OBSERVED].known_until
        for name, series in zip(VALUES, SERIES, strict=True)
    }
    plant, _ = committed_plant("default", 60)
    data = start_models.examples(History(actual, rules, ()), starts, plant)
    begin = data.rows["issued_at"][data.rows["target_start"] >= rows["start"].iloc[0]].iloc[0]
    tested = start_models.forecast_starts(data, begin, rules[PRICE], seed=0)
    columns = [start_models.CLASS, start_models.REGRET]
    rule = rows.set_index("start")[[f"{name}_forecast" for name in columns]]
    rule = rule.reindex(tested.rows["target_start"]).set_axis(tested.y.index)
    y = tested.y.join(rule.set_axis([f"{name}_rule" for name in columns], axis=1))
    scores = start_models.score_starts(y)
    return {str(name): dict(row) for name, row in scores.iterrows()}


def past_error(issue: date, paths: pd.DataFrame, actual: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the error of one forecast by hour since its first midnight, of the longest days."""
    price = in_hours(issue, paths)
    error = (actual["price_eur_mwh"].reindex(price.index) - price).to_numpy()
    return np.pad(error, (0, HOURS + 1 - len(error)), mode="edge")


def followed(rows: pd.DataFrame, suffix: str) -> np.ndarray[Any, Any]:
    """Return the real cost of each start that waits as advised, then until a chain can begin."""
    cost = rows["cost_eur"].replace(np.inf, np.nan).bfill().to_numpy()
    optimal = (rows[f"production_recommendation{suffix}"] == CLASSES[0]).to_numpy()
    best = rows.index.get_indexer(pd.DatetimeIndex(rows[f"best_start{suffix}"]))
    slots = int(AHEAD / pd.Timedelta(hours=1))
    first = [np.flatnonzero(optimal[n : n + slots]) for n in range(len(rows))]
    at = [n + found[0] if len(found) else best[n] for n, found in enumerate(first)]
    return np.where(np.array(at) >= 0, cost[at], np.nan)


def figures(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the scores of the year."""
    actual, forecast = (
        rows[f"production_recommendation{suffix}"].cat.codes for suffix in ("", "_forecast")
    )
    shares = rows["production_recommendation"].value_counts(normalize=True)[list(CLASSES)]
    chances = rows[[f"p_{name}_forecast" for name in CLASSES]].to_numpy()
    possible = rows[np.isfinite(rows["regret_eur"])]
    total = possible["regret_eur"].sum()
    by_class = possible.groupby("production_recommendation", observed=False)["regret_eur"]
    return {
        "days": int(rows["start"].dt.tz_convert("Europe/Madrid").dt.date.nunique()),
        "hours": len(rows),
        "shares": shares.to_dict(),
        "right": float((actual == forecast).mean()),
        "within_one": float(((actual - forecast).abs() <= 1).mean()),
        "majority_right": float(shares.max()),
        "mean_probability_of_actual": float(chances[np.arange(len(rows)), actual].mean()),
        "regret_eur": by_class.mean().to_dict(),
        "no_chain_share": 1 - len(possible) / len(rows),
        "captured_share_known": float(possible["saved_eur"].sum() / total),
        "captured_share_forecast": float(possible["saved_forecast_eur"].sum() / total),
    }


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
