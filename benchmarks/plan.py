"""Time and proven gap of tomorrow's plan and of a week's, on the committed plants, on real prices in quarter-hours.

The windows are spread over the year; a figure is the worst of its windows. A day is
solved to 1 %; a week to 1 % on the default plant and to 3 % on the others. The schedule
of every window is in ``--out``.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd

from benchmarks._cli import bench
from benchmarks.plan_backtest import NAMES, PLANTS, hourly_spot
from factory_lib.plan.request import for_days
from factory_lib.plan.solve import Plan, solve
from factory_lib.settings.loading import build
from factory_lib.settings.plant import Plant

MONDAYS = (date(2024, 3, 4), date(2024, 7, 15), date(2024, 11, 4))
WEEKDAYS = tuple(date(2024, 11, day) for day in range(4, 11))
WEEK_GAP = {"default": 0.01, "free": 0.03, "tight": 0.03}
DAY_LIMIT_S, WEEK_LIMIT_S = 10.0, 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--plants", nargs="+", default=NAMES, choices=NAMES)


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Plan every window of every plant."""
    prices = hourly_spot(chosen.data).to_frame()
    by_plant, tables = {}, []
    for name in chosen.plants:
        table = tomllib.loads((PLANTS / f"{name}.toml").read_text(encoding="utf-8"))["plant"]
        plant = replace(build(Plant, table, "plant"), slot_min=15)
        days = [_plan(plant, prices, day, 1, 0.01, DAY_LIMIT_S) for day in WEEKDAYS]
        mondays = MONDAYS[-1:] if chosen.quick else MONDAYS
        weeks = [_plan(plant, prices, day, 7, WEEK_GAP[name], WEEK_LIMIT_S) for day in mondays]
        by_plant[name] = {**_worst("tomorrow", days), **_worst("week", weeks)}
        tables += [
            plan.table().assign(plant=name, begin=plan.problem.request.begin)
            for plan in days + weeks
        ]
    return {"by_plant": by_plant, "slot_min": 15}, pd.concat(tables, ignore_index=True)


def _plan(
    plant: Plant, prices: pd.DataFrame, first: date, days: int, gap: float, limit_s: float
) -> Plan:
    plan = solve(for_days(plant, prices, None, first, days), gap=gap, time_limit_s=limit_s)
    sys.stderr.write(
        f"{plant.name}: {first}, {days} d: {plan.status} in {plan.seconds:.2f} s, gap {plan.gap:.4f}\n"
    )
    return plan


def _worst(of: str, plans: list[Plan]) -> dict[str, Any]:
    return {
        f"{of}_s": max(plan.seconds for plan in plans),
        f"{of}_gap": max(plan.gap for plan in plans),
        f"{of}_status": sorted({plan.status for plan in plans}),
    }


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
