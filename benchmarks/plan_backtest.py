"""A year of production re-planned every day on real prices, against doing it simply and against perfect foresight.

Each day is planned from its own midnight, or from the afternoon before where its shifts
are too short (with ``--early`` always), from what the strategy believes; what was
really charged is paid. All strategies make the same kilograms under the same
constraints.

`known` plans with the published prices at the production gap of 1 %; `morning` with the
forecast issued at 12:00 of the day before, ahead of publication; `naive` takes
yesterday's prices for tomorrow's; `perfect` has the published prices and solves to the
end. A share is the part of the saving of `perfect` over the baseline `fixed start`:
every chain begins at the time of day that was cheapest over the last 28 days, the best
of the simple rules that do not look at tomorrow's prices. The other baselines stand
beside it. Forecasts come from the house's price forecaster, refitted every 14 days on
what was published at the issue time; they are made once, and every plant is planned
with the same. ``--mlflow PROFILE`` also logs the figures and daily rows as a run of
that profile.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from factory_lib.plan import value

from benchmarks._cli import bench
from benchmarks.price_backtest import spot
from factory_lib.clock import day_start
from factory_lib.context import open_context
from factory_lib.features.lags import day_matrix
from factory_lib.models import registry
from factory_lib.models.backtest import backtest as forecast_backtest
from factory_lib.settings.loading import build
from factory_lib.settings.plant import Plant

PLANTS = Path(__file__).parent / "plants"
NAMES = ("default", "free", "tight")
BASELINE = value.REFERENCE[0]
BASELINES = {
    "fixed start": "each chain begins at the time of day that was cheapest over the 28 days before",
    "shift begin": "each chain begins with a shift of its day; no prices are looked at",
    "greedy": "batch after batch at its cheapest feasible start, knowing the published prices",
}
QUICK_FROM, QUICK_DAYS = timedelta(days=274), 28  # autumn, a season of ordinary spreads
LOOK_BACK = timedelta(days=29)
COUNTED = "market energy and excess power; no tolls, capacity terms, taxes or loads that always run"


def read_plant(name: str) -> Plant:
    """Read a committed plant, on the grid of the hourly prices of these years."""
    file = PLANTS / f"{name}.toml"
    plant = build(
        Plant, tomllib.loads(file.read_text(encoding="utf-8"))["plant"], "plant", file=str(file)
    )
    return replace(plant, slot_min=60)


def hourly_spot(data: Path) -> pd.Series:
    """Return spot prices by hour, of the years settled in quarters too."""
    return spot(data).prices.resample("h").mean().rename("spot_eur_mwh")


def published(prices: pd.Series) -> value.Believed:
    """Believe the market: its prices up to the end of the day are known at the lead-in."""

    def believed(day: date) -> pd.DataFrame:
        first, last = (
            day_start(day) - LOOK_BACK,
            day_start(day + timedelta(days=1)) - timedelta(hours=1),
        )
        return prices[first:last].to_frame("p50")

    return believed


def instead(
    prices: pd.Series, tomorrow: Callable[[pd.DatetimeIndex], pd.DataFrame]
) -> value.Believed:
    """Believe ``tomorrow`` for the day planned and what is published for the hours before."""
    known = published(prices)

    def believed(day: date) -> pd.DataFrame:
        frame = known(day)
        hours = frame.index[frame.index >= day_start(day)]
        return pd.concat([frame.drop(hours), tomorrow(hours)])

    return believed


def strategies(prices: pd.Series, forecast: pd.DataFrame) -> list[value.Strategy]:
    """Return every strategy of the comparison."""
    known = published(prices)
    yesterday = instead(prices, lambda hours: _shifted(prices, hours))
    morning = instead(prices, lambda hours: forecast.reindex(hours))
    exact = value.optimal(gap=1e-4)
    return [
        value.Strategy("perfect", known, exact),
        value.Strategy("known", known, value.optimal(gap=0.01)),
        value.Strategy("morning", morning, exact),
        value.Strategy("naive", yesterday, exact),
        *(value.Strategy(name, known, value.simple(name)) for name in BASELINES),
    ]


def _shifted(prices: pd.Series, hours: pd.DatetimeIndex) -> pd.DataFrame:
    """Yesterday's prices by elapsed hour; the 25th hour of a long day repeats the last one."""
    before = prices[hours[0] - timedelta(hours=24) : hours[0] - timedelta(hours=1)].to_numpy()
    return pd.DataFrame(
        {"p50": [before[min(n, len(before) - 1)] for n in range(len(hours))]}, index=hours
    )


def one(
    name: str, prices: pd.Series, forecast: pd.DataFrame, days: list[date], early: bool
) -> pd.DataFrame:
    """Run every strategy on one plant."""
    plant, actual, parts = read_plant(name), prices.to_frame("spot_eur_mwh"), []
    for strategy in strategies(prices, forecast):
        began = time.monotonic()
        parts.append(value.backtest(plant, actual, strategy, days, early=early))
        sys.stderr.write(f"{name}: {strategy.name} {time.monotonic() - began:.0f} s\n")
    return pd.concat(parts, ignore_index=True).assign(plant=name)


def figures(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of one plant from its rows; money in EUR over all days."""
    share = value.shares(rows, baseline=BASELINE)
    paid = rows.groupby("strategy")["paid_eur"].sum()
    saving = float(paid[BASELINE] - paid["known"])
    return {
        "days": int(rows["day"].nunique()),
        "baseline": BASELINE,
        **{f"share_{name}": share[name] for name in ("known", "morning", "naive")},
        "saving_eur": saving,
        "saving_pct": 100 * saving / float(paid[BASELINE]),
        "under_500_eur": saving < value.WORTH_SAYING_EUR,
        "saving_morning_eur": float(paid[BASELINE] - paid["morning"]),
        "saving_over_greedy_eur": float(paid["greedy"] - paid["known"]),
        "forecast_error_costs_eur": {
            name: float(paid[name] - paid["known"]) for name in ("morning", "naive")
        },
        "by_baseline": {
            name: {
                "saving_eur": float(paid[name] - paid["known"]),
                **value.shares(rows, baseline=name),
            }
            for name in value.REFERENCE[:2]
        },
        "worst_days": _worst_days(rows),
        "excess_eur": {
            str(name): float(eur)
            for name, eur in rows.groupby("strategy")["excess_eur"].sum().items()
        },
        "paid_eur": {str(name): float(eur) for name, eur in paid.items()},
        "kg": {str(name): float(kg) for name, kg in rows.groupby("strategy")["kg"].sum().items()},
    }


def _worst_days(rows: pd.DataFrame, count: int = 5) -> dict[str, float]:
    """Return the days on which planning with the forecast lost most against the baseline, EUR."""
    by_day = rows.pivot(index="day", columns="strategy", values="paid_eur")
    lost = (by_day["morning"] - by_day[BASELINE]).nlargest(count)
    return {str(day): float(eur) for day, eur in lost.items()}


def _accuracy(prices: pd.Series, forecast: pd.DataFrame, days: list[date]) -> dict[str, float]:
    """Return the mean absolute error of what `morning` and `naive` believed, EUR/MWh."""
    naive = [
        _shifted(prices, prices[day_start(day) : day_start(day + timedelta(days=1))].index[:-1])
        for day in days
    ]
    believed = {"morning": forecast["p50"], "naive": pd.concat(naive)["p50"]}
    return {
        name: float((said - prices.reindex(said.index)).abs().mean())
        for name, said in believed.items()
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2024, 1, 1))
    parser.add_argument("--to", dest="last", type=date.fromisoformat, default=date(2024, 12, 31))
    parser.add_argument(
        "--early", action="store_true", help="let every day begin the afternoon before"
    )
    parser.add_argument("--plants", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument(
        "--mlflow", metavar="PROFILE", help="log figures and rows as an MLflow run of this profile"
    )


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Forecast once, then run the plants side by side."""
    first, last = chosen.first, chosen.last
    if chosen.quick:
        first = min(first + QUICK_FROM, last)
        last = min(last, first + timedelta(days=QUICK_DAYS - 1))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    prices = hourly_spot(chosen.data)
    sys.stderr.write(f"forecasting {len(days)} days\n")
    forecast = forecast_backtest(day_matrix(prices), first, last, leads=(1,)).set_index("start")[
        ["p10", "p50", "p90"]
    ]
    shared = (prices, forecast, days, chosen.early)
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        parts = list(
            pool.map(one, chosen.plants, *([item] * len(chosen.plants) for item in shared))
        )
    by_plant = {name: figures(part) for name, part in zip(chosen.plants, parts, strict=True)}
    told = {
        "by_plant": by_plant,
        "price_mae_eur_mwh": _accuracy(prices, forecast, days),
        "slot_min": 60,
        "counted": COUNTED,
        "baselines": BASELINES,
    }
    rows = pd.concat(parts, ignore_index=True)
    if chosen.mlflow:
        told["mlflow_run_id"] = _logged(chosen.mlflow, told, rows)
    return told, rows


def _logged(profile: str, told: dict[str, Any], rows: pd.DataFrame) -> str:
    """Log the figures of every plant and the daily rows, and return the run's id."""
    metrics = {
        f"{plant}/{key}": float(figure)
        for plant, of in told["by_plant"].items()
        for key, figure in of.items()
        if isinstance(figure, int | float)
    }
    days = rows["day"]
    with open_context(profile) as ctx:
        run = registry.log(
            ctx,
            name=f"plan backtest {days.min()} to {days.max()}",
            params={"from": days.min(), "to": days.max(), "baseline": BASELINE, "counted": COUNTED},
            metrics=metrics,
            models={},
            tags={"kind": "plan_backtest", "origin": ctx.store.origin},
            artifacts={
                "figures.json": json.dumps(told, default=float),
                "days.csv": rows.to_csv(index=False),
            },
            figures={},
        )
    return run.run_id


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
