"""A year of production re-planned every day, at the whole price, from what was expected that day.

Every day two days are planned from midnight on an hourly grid; what began by the next midnight
is carried out, the rest is planned again. All strategies have the same weekly kilograms to make,
and pay the published price. ``perfect``: both days' prices are known, solved to the end.
``known``: the first day's prices are published, the second day's are yesterday's, solved to 1 %.
``morning``: the first day is forecast at noon of the day before, ahead of publication, by models
fitted every four weeks. ``naive``: both days are yesterday's. ``shift_begin``: batches begin with
the shift. A share is the part of the saving of ``perfect`` over ``shift_begin``. The default plant
lives through all the days, the others through every fourth or eighth whole week, each week from
an idle plant.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from benchmarks._cli import bench
from benchmarks._plants import NAMES, committed_plant, hourly_spot, tariff_of
from factory_lib.analysis.price_backtest import backtest_prices
from factory_lib.clock import day_start
from factory_lib.domain.tariff import Tariff, all_in
from factory_lib.features.days import day_matrix
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import PlanRequest, no_stages, open_demand, weekly_orders
from factory_lib.planner.solve import shift_begin, solve
from factory_lib.settings.plant import Plant
from factory_lib.settings.tariff import ContractSettings

QUICK_FROM, QUICK_DAYS = timedelta(days=274), 14  # autumn, a season of ordinary spreads
LOOK_BACK = timedelta(days=29)
LEARNT = timedelta(days=1200)  # of prices that the forecaster has
REFIT_DAYS = 28
BASELINE = "shift_begin"
EVERY = {"free": 4, "tight": 8}  # weeks between those that other plants live through
TARIFF_YEAR = 2026
Expected = Callable[[date], pd.Series]


@dataclass(eq=False)
class Shop:
    """A plant that lives through days: its batches in progress, and what it made."""

    plant: Plant
    contract: ContractSettings
    tariff: Tariff
    first: date
    begun: pd.DataFrame = field(default_factory=no_stages)
    made_kg: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    load: list[pd.Series] = field(default_factory=list)
    number: int = 1

    def request(self, day: date, market: pd.Series) -> PlanRequest:
        """Return the request for a day and the next at expected market prices."""
        prices = all_in(
            pd.DatetimeIndex(market.index), market.to_numpy(), self.tariff, self.contract
        )
        orders = weekly_orders(self.plant, self.first, day + timedelta(days=1))
        return PlanRequest(
            plant=self.plant,
            prices=prices,
            tariff=self.tariff,
            contract=self.contract,
            begin=day_start(day),
            end=day_start(day + timedelta(days=2)),
            orders=open_demand(orders, self.made_kg),
            previous=self.begun,
            next_number=self.number,
        )

    def carry_out(self, plan: Plan, until: datetime) -> None:
        """Take what begins before ``until`` as done, and count what is finished by then."""
        self.load.append(plan.power()["production_kw"][: until - timedelta(seconds=1)])
        stages = plan.stages
        self.number = max([self.number, *(stages["batch"] + 1)])
        over = stages.groupby("batch")["end"].transform("max") <= pd.Timestamp(until)
        made = stages[over].drop_duplicates("batch").groupby("product")["kg"].sum()
        for product, kg in made.items():
            self.made_kg[str(product)] += kg
        self.begun = stages[~over & (stages["start"] < pd.Timestamp(until))]


def periods_of(name: str, days: list[date]) -> list[list[date]]:
    """Return the days that a plant lives through, in periods that each begin from an idle plant."""
    if name not in EVERY:
        return [days]
    weeks = [days[n : n + 7] for n in range(0, len(days) - 6, 7)]
    return weeks[:: EVERY[name]]


def live(
    name: str, strategy: str, expected: Expected, spot: pd.Series, days: list[date]
) -> dict[str, Any]:
    """Return what one strategy paid and made in one period of days."""
    plant, contract = committed_plant(name, 60)
    shop = Shop(plant, contract, tariff_of(TARIFF_YEAR), days[0])
    for day in days:
        request = shop.request(day, expected(day))
        shop.carry_out(planned(request, strategy), day_start(day + timedelta(days=1)))
    hours = pd.concat(shop.load)
    actual = spot.reindex(hours.index)
    prices = all_in(pd.DatetimeIndex(hours.index), actual, shop.tariff, contract)
    paid = float((prices["price_eur_mwh"] * hours).sum() / 1000)
    return {
        "plant": name,
        "strategy": strategy,
        "first": days[0],
        "days": len(days),
        "paid_eur": paid,
        "kg": float(sum(shop.made_kg.values())),
        "kwh": float(hours.sum()),
    }


def planned(request: PlanRequest, strategy: str) -> Plan:
    """Return the plan of a strategy; the shift's begin is laid, not solved."""
    plan = solve(request, gap=1e-4 if strategy == "perfect" else 0.01, time_limit_s=10.0)
    return plan if strategy != BASELINE else shift_begin(plan.problem) or plan


def expectations(spot: pd.Series, forecast: pd.Series) -> Mapping[str, Expected]:
    """Return, by strategy, the market prices expected for a day and the next."""

    def of(first: Callable[[date], pd.Series], second: Callable[[date], pd.Series]) -> Expected:
        def expected(day: date) -> pd.Series:
            before = spot[day_start(day) - LOOK_BACK : day_start(day) - timedelta(hours=1)]
            parts = [before, first(day), second(day + timedelta(days=1))]
            known: pd.Series = pd.concat(parts).ffill()
            return known

        return expected

    def hours(day: date) -> pd.DatetimeIndex:
        end = day_start(day + timedelta(days=1))
        return pd.date_range(day_start(day), end, freq="h", inclusive="left")

    def published(day: date) -> pd.Series:
        return spot.reindex(hours(day))

    def day_before(back: int) -> Callable[[date], pd.Series]:
        shifted = spot.shift(freq=pd.Timedelta(days=back))

        def earlier(day: date) -> pd.Series:
            return shifted.reindex(hours(day))

        return earlier

    def ahead(day: date) -> pd.Series:
        return forecast.reindex(hours(day)).fillna(day_before(1)(day))

    return {
        "perfect": of(published, published),
        "known": of(published, day_before(1)),
        "morning": of(ahead, day_before(2)),
        "naive": of(day_before(1), day_before(2)),
        BASELINE: of(published, day_before(1)),
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2024, 1, 1))
    parser.add_argument("--to", dest="last", type=date.fromisoformat, default=date(2024, 12, 31))
    parser.add_argument("--plants", nargs="+", default=NAMES, choices=NAMES)


def run(options: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Forecast once, then live through the days with every strategy."""
    first = options.first
    last = options.last
    if options.quick:
        first = min(first + QUICK_FROM, last)
        last = min(last, first + timedelta(days=QUICK_DAYS - 1))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    spot = hourly_spot(options.data)[day_start(first) - LEARNT :]
    sys.stderr.write(f"forecasting {len(days)} days\n")
    began = time.process_time()
    forecasts = backtest_prices(day_matrix(spot), first, last, leads=(1,), refit_days=REFIT_DAYS)
    forecast = forecasts.set_index("start")["p50"]
    sys.stderr.write(f"forecast in {time.process_time() - began:.0f} s\n")
    strategies = expectations(spot, forecast)
    rows: list[dict[str, Any]] = []
    for name in options.plants:
        for strategy, expected in strategies.items():
            began = time.process_time()
            parts = periods_of(name, days)
            rows += [live(name, strategy, expected, spot, part) for part in parts]
            sys.stderr.write(f"{name}: {strategy} {time.process_time() - began:.0f} s\n")
    table = pd.DataFrame(rows)
    by_plant = {str(name): figures(part) for name, part in table.groupby("plant")}
    return {
        "by_plant": by_plant,
        "slot_min": 60,
        "baseline": BASELINE,
        "tariff_year": TARIFF_YEAR,
        "assumptions": [
            "energy, toll, charge and electricity tax of production; power term and excess are "
            "not counted",
            "of a batch in progress at the end, the energy used by then is counted, its "
            "kilograms are not",
        ],
    }, table


def figures(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of one plant; money in EUR per 1,000 kg, since made kilograms differ."""
    total = rows.groupby("strategy")[["days", "paid_eur", "kg"]].sum()
    per_tonne = total["paid_eur"] / total["kg"] * 1000
    saved = per_tonne[BASELINE] - per_tonne
    share = saved / saved["perfect"]
    return {
        "days": int(total["days"].iloc[0]),
        "eur_per_tonne": per_tonne.to_dict(),
        **{f"share_{name}": float(share[name]) for name in ("known", "morning", "naive")},
        "paid_eur": total["paid_eur"].to_dict(),
        "kg": total["kg"].to_dict(),
    }


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
