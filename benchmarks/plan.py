"""Time and proven gap of the two-day what-if and of a week's plan, on the committed plants.

Real prices at the whole price (tolls and charges of 2026), in quarter-hours, one solver thread. The
windows are spread over the year; a figure is the worst of its windows, in seconds of CPU. Two days
are solved to 1 %; a week to 1 % on the default and the free plant, to 3 % on the tight one. The
batches of every window are in ``--out``.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date, timedelta
from typing import Any

import pandas as pd

from benchmarks._cli import bench
from benchmarks._plants import NAMES, committed_plant, hourly_spot, tariff_of
from factory_lib.clock import day_start
from factory_lib.domain.tariff import all_in
from factory_lib.planner.request import PlanRequest, weekly_orders
from factory_lib.planner.solve import solve

MONDAYS = (date(2024, 3, 4), date(2024, 7, 15), date(2024, 11, 4))
DAYS = tuple(date(2024, 11, day) for day in range(4, 11))
WEEK_GAP = {"default": 0.01, "free": 0.01, "tight": 0.03}
LIMIT_S = 300.0  # of wall time, so that a busy machine does not decide: CPU time is measured


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--plants", nargs="+", default=NAMES, choices=NAMES)


def run(options: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Plan every window of every plant."""
    spot = hourly_spot(options.data)
    by_plant, tables = {}, []
    for name in options.plants:
        mondays = MONDAYS[-1:] if options.quick else MONDAYS
        windows = [("tomorrow", day, 2, 0.01) for day in DAYS]
        windows += [("week", day, 7, WEEK_GAP[name]) for day in mondays]
        figures: dict[str, Any] = {}
        for of, first, days, gap in windows:
            request = request_for(name, spot, first, days)
            began = time.process_time()
            plan = solve(request, gap=gap, time_limit_s=LIMIT_S)
            cpu_s = time.process_time() - began
            sys.stderr.write(
                f"{name}: {first}, {days} days: {plan.source} in {cpu_s:.2f} s, "
                f"gap {plan.gap:.4f}\n"
            )
            figures[f"{of}_s"] = max(cpu_s, figures.get(f"{of}_s", 0.0))
            figures[f"{of}_gap"] = max(plan.gap, figures.get(f"{of}_gap", 0.0))
            tables.append(plan.stages.assign(plant=name, begin=request.begin))
        by_plant[name] = figures
    return {"by_plant": by_plant, "slot_min": 15}, pd.concat(tables, ignore_index=True)


def request_for(name: str, spot: pd.Series, first: date, days: int) -> PlanRequest:
    """Return the request for some days from midnight."""
    plant, contract = committed_plant(name, 15)
    tariff = tariff_of(2026)
    begin, end = day_start(first), day_start(first + timedelta(days=days))
    prices = spot[begin : end - timedelta(seconds=1)]
    return PlanRequest(
        plant=plant,
        prices=all_in(pd.DatetimeIndex(prices.index), prices.to_numpy(), tariff, contract),
        tariff=tariff,
        contract=contract,
        begin=begin,
        end=end,
        orders=weekly_orders(plant, first, first + timedelta(days=days - 1)),
    )


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
