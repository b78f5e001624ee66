"""A year of production re-planned every day on real prices, against doing it simply and against perfect foresight.

Each day is planned from its own midnight, or from the afternoon before where its shifts are too short (with ``--early``
always), from what the strategy believes; what was really charged is paid. All strategies make the same kilograms under
the same constraints.

`known` plans with the published prices at the production gap of 1 %; `morning` with the forecast issued at 12:00 of
the day before, ahead of publication; `naive` takes yesterday's prices for tomorrow's; `perfect` has the published
prices and solves to the end. A share is the part of the saving of `perfect` over the baseline: the best of the simple
rules that do not look at tomorrow's prices. The other baselines stand beside it.
"""

from __future__ import annotations

import argparse
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

from benchmarks._cli import bench
from benchmarks.price_backtest import spot
from factory_lib.clock import day_start
from factory_lib.features.lags import day_matrix
from factory_lib.models.backtest import backtest as forecast_backtest
from factory_lib.plan import value
from factory_lib.settings.loading import build
from factory_lib.settings.plant import Plant

PLANTS = Path(__file__).parent / "plants"
NAMES = ("default", "free", "tight")
BASELINE = "fixed start"
SIMPLE = ("shift begin", "fixed start", "greedy")
LOOK_BACK = timedelta(days=29)
COUNTED = "market energy and excess power; no tolls, capacity terms, taxes or loads that always run"


def read_plant(name: str) -> Plant:
    """Read a committed plant, on the grid of the hourly prices of these years."""
    file = PLANTS / f"{name}.toml"
    plant = build(Plant, tomllib.loads(file.read_text(encoding="utf-8"))["plant"], "plant", file=str(file))
    return replace(plant, slot_min=60)


def published(prices: pd.Series) -> value.Believed:
    """Believe the market: its prices up to the end of the day are known at the lead-in."""

    def believed(day: date) -> pd.DataFrame:
        first, last = day_start(day) - LOOK_BACK, day_start(day + timedelta(days=1)) - timedelta(hours=1)
        return prices[first:last].to_frame("p50")

    return believed


def instead(prices: pd.Series, tomorrow: Callable[[pd.DatetimeIndex], pd.DataFrame]) -> value.Believed:
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
        *(value.Strategy(name, known, value.simple(name)) for name in SIMPLE),
    ]


def _shifted(prices: pd.Series, hours: pd.DatetimeIndex) -> pd.DataFrame:
    """Yesterday's prices by elapsed hour; the 25th hour of a long day repeats the last one."""
    before = prices[hours[0] - timedelta(hours=24) : hours[0] - timedelta(hours=1)].to_numpy()
    return pd.DataFrame({"p50": [before[min(n, len(before) - 1)] for n in range(len(hours))]}, index=hours)


def one(name: str, prices: pd.Series, forecast: pd.DataFrame, days: list[date], early: bool) -> pd.DataFrame:
    """Run every strategy on one plant."""
    plant, actual, parts = read_plant(name), prices.to_frame("spot_eur_mwh"), []
    for strategy in strategies(prices, forecast):
        began = time.monotonic()
        parts.append(value.backtest(plant, actual, strategy, days, early=early))
        sys.stderr.write(f"{name}: {strategy.name} {time.monotonic() - began:.0f} s\n")
    return pd.concat(parts, ignore_index=True).assign(plant=name)


def figures(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of one plant from its rows."""
    share = value.shares(rows, baseline=BASELINE)
    paid = rows.groupby("strategy")["paid_eur"].sum()
    saving = float(paid[BASELINE] - paid["known"])
    return {
        "days": int(rows["day"].nunique()),
        "baseline": BASELINE,
        **{f"share_{name}": share[name] for name in ("known", "morning", "naive")},
        "saving_eur": saving,
        "saving_pct": 100 * saving / float(paid[BASELINE]),
        "saving_morning_eur": float(paid[BASELINE] - paid["morning"]),
        "paid_eur": {str(name): float(eur) for name, eur in paid.items()},
        "kg": {str(name): float(kg) for name, kg in rows.groupby("strategy")["kg"].sum().items()},
        "by_baseline": {name: value.shares(rows, baseline=name) for name in ("shift begin", "fixed start")},
        "worst_days": _worst_days(rows),
        "under_500_eur": saving < value.WORTH_SAYING_EUR,
    }


def _worst_days(rows: pd.DataFrame, count: int = 5) -> dict[str, float]:
    """Return the days on which planning with the forecast lost most against the baseline, EUR."""
    by_day = rows.pivot(index="day", columns="strategy", values="paid_eur")
    lost = (by_day["morning"] - by_day[BASELINE]).nlargest(count)
    return {str(day): float(eur) for day, eur in lost.items()}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2024, 1, 1))
    parser.add_argument("--to", dest="last", type=date.fromisoformat, default=date(2024, 12, 31))
    parser.add_argument("--early", action="store_true", help="let every day begin the afternoon before")
    parser.add_argument("--plants", nargs="+", default=NAMES, choices=NAMES)


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Forecast once, then run the plants side by side."""
    first = chosen.first
    last = min(chosen.last, first + timedelta(days=27)) if chosen.quick else chosen.last
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    prices = spot(chosen.data).prices.rename("spot_eur_mwh")
    sys.stderr.write(f"forecasting {len(days)} days\n")
    forecast = forecast_backtest(day_matrix(prices), first, last, leads=(1,)).set_index("start")[["p10", "p50", "p90"]]
    shared = (prices, forecast, days, chosen.early)
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(one, chosen.plants, *([item] * len(chosen.plants) for item in shared)))
    by_plant = {name: figures(part) for name, part in zip(chosen.plants, parts, strict=True)}
    return {"by_plant": by_plant, "slot_min": 60, "counted": COUNTED}, pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
