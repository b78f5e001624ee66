"""What planning is worth: weeks of a year planned at the whole price, beside doing it simply.

Every whole week is planned by itself at published prices, on an hourly grid. `shift_begin`: each
day as many batches as its kilograms need at least, begun with the shift. `shift_full`: the same
with the plan's number of batches. `fixed_start`: batches of `shift_begin` at the time of day that
was cheapest over the last 28 days. `plan`: the plan. `plan_contract`: the plan with a peak limit
and the contract that then costs least. Energy and tolls are those of production; excess power
follows the legal rule on the whole load of each month, of which only the weeks planned are
counted; the power term is that of their days. Weeks of the default plant are all planned, of the
others every fourth.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import pandas as pd

from benchmarks._cli import bench
from benchmarks._plants import NAMES, committed_plant, hourly_spot, tariff_of, weather_laid_on
from factory_lib.clock import day_start
from factory_lib.domain.tariff import EXCESS_ASSUMPTION, Tariff, all_in, best_contract, bill
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import PlanRequest, weekly_orders, with_peak_limit
from factory_lib.planner.solve import fixed_start, shift_begin, solve
from factory_lib.settings.plant import Plant
from factory_lib.settings.tariff import ContractSettings

EVERY = {"default": 1, "free": 4, "tight": 4}
QUICK_EVERY, LIMIT_EVERY = 13, 13  # weeks between those looked at
MOST_LIMITS = 8
GAP, TIME_LIMIT_S = 0.01, 30.0
LOOK_BACK = timedelta(days=29)
NOT_COUNTED = "tax, margin, losses, capacity payments and adjustment services are not counted"


@dataclass(frozen=True)
class Year:
    """A plant with everything its weeks are planned with."""

    plant: Plant
    contract: ContractSettings
    tariff: Tariff
    prices: pd.DataFrame
    weather: pd.DataFrame | None
    mondays: list[date]

    def request(self, monday: date) -> PlanRequest:
        """Return the request for one week."""
        begin, end = day_start(monday), day_start(monday + timedelta(days=7))
        return PlanRequest(
            plant=self.plant,
            prices=self.prices[begin - LOOK_BACK : end - timedelta(seconds=1)],
            tariff=self.tariff,
            contract=self.contract,
            begin=begin,
            end=end,
            orders=weekly_orders(self.plant, monday, monday + timedelta(days=6)),
            weather=self.weather,
        )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2024, 1, 1))
    parser.add_argument("--to", dest="last", type=date.fromisoformat, default=date(2024, 12, 31))
    parser.add_argument("--tariff-year", type=int, default=2026)
    parser.add_argument("--plants", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--weather", choices=("none", "seville"), default="none")


def run(options: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Plan the weeks of every plant."""
    spot, tariff = hourly_spot(options.data), tariff_of(options.tariff_year)
    weather = None
    if options.weather == "seville":
        weather = weather_laid_on(options.data, "Seville", 2016, options.first.year)
    by_plant, rows = {}, []
    for name in options.plants:
        plant, contract = committed_plant(name, 60)
        prices = all_in(pd.DatetimeIndex(spot.index), spot.to_numpy(), tariff, contract)
        step = QUICK_EVERY if options.quick else EVERY[name]
        mondays = whole_weeks(options.first, options.last)[::step]
        year = Year(plant, contract, tariff, prices, weather, mondays)
        began = time.process_time()
        by_plant[name], weeks = figures(year)
        by_plant[name]["cpu_s"] = time.process_time() - began
        rows.append(weeks.assign(plant=name))
        sys.stderr.write(f"{name}: {by_plant[name]['cpu_s']:.0f} s\n")
    result = {
        "by_plant": by_plant,
        "slot_min": 60,
        "tariff_year": options.tariff_year,
        "weather": options.weather,
        "assumptions": [EXCESS_ASSUMPTION, NOT_COUNTED],
    }
    return result, pd.concat(rows, ignore_index=True)


def whole_weeks(first: date, last: date) -> list[date]:
    """Return the Mondays of the weeks that lie between two days."""
    monday = first + timedelta(days=-first.weekday() % 7)
    count = ((last - monday).days + 1) // 7
    return [monday + timedelta(days=7 * n) for n in range(count)]


def figures(year: Year) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the figures of one plant and its weeks."""
    limit_kw = peak_limit(year)
    rows: list[dict[str, Any]] = []
    loads: dict[str, list[pd.Series]] = {}
    for monday in year.mondays:
        for name, plan in schedules(year, monday, limit_kw, loads):
            kw = plan.production_kw + plan.problem.base_kw
            loads.setdefault(name, []).append(pd.Series(kw, index=plan.problem.index))
            costs = plan.costs
            row = {
                "week": monday,
                "schedule": name,
                "batches": len(plan.jobs),
                "kg": float(plan.kg.sum()),
                "late_kg": plan.gave_way.query("kind == 'late'")["amount"].sum(),
                "energy_eur": costs["energy"],
                "toll_eur": costs["toll"],
                "stated_eur": costs["objective"] - costs["paid"],
                "source": plan.source,
                "gap": plan.gap,
                "seconds": plan.seconds,
            }
            rows.append(row)
    weeks = pd.DataFrame(rows)
    plans = weeks[weeks["schedule"] == "plan"]
    missing = (plans["source"] != "solver") | (plans["batches"] == 0) | (plans["late_kg"] > 0)
    by_name = {
        name: priced(year, weeks[weeks["schedule"] == name], pd.concat(parts), name)
        for name, parts in loads.items()
    }
    total = {name: schedule["total_eur"] for name, schedule in by_name.items()}
    result = {
        "weeks": len(year.mondays),
        "kg": float(plans["kg"].sum()),
        "days_without_plan": 7 * int(missing.sum()),
        "peak_limit_kw": limit_kw,
        "worst_gap": float(plans["gap"].max()),
        "ratios": {
            "plan_of_shift_begin": total["plan"] / total["shift_begin"],
            "plan_contract_of_shift_begin": total["plan_contract"] / total["shift_begin"],
            "plan_of_shift_full": total["plan"] / total["shift_full"],
        },
        "schedules": by_name,
    }
    return result, weeks


def schedules(
    year: Year, monday: date, limit_kw: float, loads: dict[str, list[pd.Series]]
) -> list[tuple[str, Plan]]:
    """Return every schedule of a week."""
    request = year.request(monday)
    plan = solve(so_far(request, loads, "plan"), gap=GAP, time_limit_s=TIME_LIMIT_S)
    limited = with_peak_limit(request, limit_kw)
    contract = solve(so_far(limited, loads, "plan_contract"), gap=GAP, time_limit_s=TIME_LIMIT_S)
    counts = {"standard": len(plan.jobs)}
    simple = {
        "shift_begin": shift_begin(plan.problem),
        "shift_full": shift_begin(plan.problem, counts),
        "fixed_start": fixed_start(plan.problem),
    }
    found = [(name, schedule) for name, schedule in simple.items() if schedule is not None]
    assert len(found) == len(simple), "a simple schedule, or 28 days of prices for it, is missing"
    return [*found, ("plan", plan), ("plan_contract", contract)]


def so_far(request: PlanRequest, loads: dict[str, list[pd.Series]], name: str) -> PlanRequest:
    """Return the request with the load of the weeks before."""
    parts = loads.get(name, [])[-5:]
    return replace(request, load_so_far=pd.concat(parts) if parts else None)


def peak_limit(year: Year) -> float:
    """Return the peak limit that costs least over some weeks, its kilowatts contracted.

    Limits are what the base load and some stages draw together, the largest stage at least.
    """
    stages = [stage.power_kw for stage in year.plant.stages]
    problem = solve(year.request(year.mondays[0]), time_limit_s=TIME_LIMIT_S).problem
    base_kw = float(problem.base_kw.max())
    sums = {sum(some) for n in range(1, len(stages)) for some in combinations(stages, n)}
    most = max(year.contract.by_period)
    limits = sorted(base_kw + kw for kw in sums if max(stages) <= kw <= most - base_kw)
    weeks = year.mondays[:: max(1, LIMIT_EVERY // EVERY.get(year.plant.name, 4))]
    costs = {kw: limited_cost(year, weeks, kw) for kw in limits[:MOST_LIMITS]}
    return min(costs, key=costs.__getitem__)


def limited_cost(year: Year, weeks: list[date], kw: float) -> float:
    """Return what some weeks cost with a peak limit: objective and power term, EUR."""
    total = 0.0
    for monday in weeks:
        request = with_peak_limit(year.request(monday), kw)
        plan = solve(request, gap=GAP, time_limit_s=TIME_LIMIT_S)
        load = plan.power()["import_kw"]
        charged = bill(load, year.prices, request.contract, year.tariff)
        total += float(plan.costs["objective"]) + float(charged["power_term_eur"].sum())
    return total


def priced(year: Year, weeks: pd.DataFrame, load: pd.Series, name: str) -> dict[str, Any]:
    """Return a schedule's figures over all weeks, at its contract."""
    contract = year.contract
    if name == "plan_contract":
        contract = best_contract(load, contract, year.tariff)
    charged = bill(load, year.prices, contract, year.tariff).sum()
    energy, toll = float(weeks["energy_eur"].sum()), float(weeks["toll_eur"].sum())
    excess, power = float(charged["excess_eur"]), float(charged["power_term_eur"])
    return {
        "batches": int(weeks["batches"].sum()),
        "kg": float(weeks["kg"].sum()),
        "late_kg": float(weeks["late_kg"].sum()),
        "energy_eur": energy,
        "toll_eur": toll,
        "excess_eur": excess,
        "power_term_eur": power,
        "total_eur": energy + toll + excess + power,
        "contracted_kw": [float(kw) for kw in contract.by_period],
    }


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
