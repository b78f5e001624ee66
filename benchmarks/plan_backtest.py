"""A year of production re-planned every day, at the whole price, from what was expected that day.

Every day two days are planned from midnight on an hourly grid; what began by the next midnight
is carried out, the rest is planned again. All strategies owe the same weekly kilograms and pay
the published price. ``perfect``: both days' prices are known, solved to the end. ``known``: the
first day's prices are published, the second day's are yesterday's, solved to 1 %. ``morning``: the
first day is forecast at noon of the day before, ahead of publication. ``naive``: both days are
yesterday's. ``shift_begin``: batches begin with the shift. A share is the part of the saving of
``perfect`` over ``shift_begin``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from benchmarks._cli import bench
from benchmarks._plants import NAMES, committed_plant, hourly_spot, tariff_of
from factory_lib.analysis.price_backtest import backtest_prices
from factory_lib.clock import day_start
from factory_lib.domain.tariff import EXCESS_ASSUMPTION, Tariff, all_in
from factory_lib.features.days import day_matrix
from factory_lib.planner.request import Batch, PlanRequest, open_demand, weekly_orders
from factory_lib.planner.solve import Plan, shift_begin, solve
from factory_lib.settings.plant import Plant
from factory_lib.settings.tariff import ContractSettings

QUICK_FROM, QUICK_DAYS = timedelta(days=274), 14  # autumn, a season of ordinary spreads
LOOK_BACK = timedelta(days=29)
LEARNT = timedelta(days=1200)  # of prices that the forecaster has
BASELINE = "shift_begin"
TARIFF_YEAR = 2026
Expected = Callable[[date], pd.Series]


@dataclass(eq=False)
class Shop:
    """A plant that lives through days: its batches in progress, and what it made."""

    plant: Plant
    contract: ContractSettings
    tariff: Tariff
    first: date
    begun: tuple[Batch, ...] = ()
    made_kg: Counter[str] = field(default_factory=Counter)
    load: dict[pd.Timestamp, float] = field(default_factory=dict)
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
            begun=self.begun,
            next_number=self.number,
        )

    def carry_out(self, batches: tuple[Batch, ...], until: datetime) -> None:
        """Take what begins before ``until`` as done, and count what is finished by then."""
        self.begun = ()
        for batch in batches:
            starts = {stage: at for stage, at in batch.starts.items() if at < until}
            self.number = max(self.number, batch.number + 1)
            if not starts:
                continue
            stages = {stage.name: stage for stage in self.plant.stages}
            own = self.plant.variants[batch.product].duration_min
            for name, at in starts.items():
                minutes = own.get(name, stages[name].duration_min)
                for hour in pd.date_range(at, periods=-(-minutes // 60), freq="h"):
                    self.load[hour, batch.number] = stages[name].power_kw  # type: ignore[index]
            last = self.plant.stages[-1]
            if (
                len(starts) == len(stages)
                and starts[last.name] + timedelta(minutes=own.get(last.name, last.duration_min))
                <= until
            ):
                self.made_kg[batch.product] += batch.kg
            else:
                self.begun += (Batch(batch.number, batch.product, batch.kg, starts),)


def live(
    name: str, strategy: str, expected: Expected, spot: pd.Series, days: list[date]
) -> dict[str, Any]:
    """Return what one strategy paid and made in all days."""
    plant, contract = committed_plant(name, 60)
    shop = Shop(plant, contract, tariff_of(TARIFF_YEAR), days[0])
    began = time.process_time()
    for day in days:
        request = shop.request(day, expected(day))
        plan = planned(request, strategy)
        shop.carry_out(plan.batches, day_start(day + timedelta(days=1)))
    kw: Counter[pd.Timestamp] = Counter()
    for (hour, _), power in shop.load.items():  # type: ignore[misc]
        kw[hour] += power
    hours = pd.Series(kw).sort_index()
    actual = spot.reindex(hours.index)
    prices = all_in(pd.DatetimeIndex(hours.index), actual, shop.tariff, contract)
    paid = float((prices["price_eur_mwh"] * hours).sum() / 1000)
    sys.stderr.write(f"{name}: {strategy} {time.process_time() - began:.0f} s\n")
    return {
        "plant": name,
        "strategy": strategy,
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
            return pd.concat(parts).ffill()

        return expected

    def hours(day: date) -> pd.DatetimeIndex:
        end = day_start(day + timedelta(days=1))
        return pd.date_range(day_start(day), end, freq="h", inclusive="left")

    def published(day: date) -> pd.Series:
        return spot.reindex(hours(day))

    def day_before(back: int) -> Callable[[date], pd.Series]:
        shifted = spot.shift(freq=pd.Timedelta(days=back))
        return lambda day: shifted.reindex(hours(day))

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
    rows = backtest_prices(day_matrix(spot), first, last, leads=(1,))
    forecast = rows.set_index("start")["p50"]
    strategies = expectations(spot, forecast)
    table = pd.DataFrame(
        [
            live(name, strategy, expected, spot, days)
            for name in options.plants
            for strategy, expected in strategies.items()
        ]
    )
    by_plant = {name: figures(part, len(days)) for name, part in table.groupby("plant")}
    return {
        "by_plant": by_plant,
        "slot_min": 60,
        "baseline": BASELINE,
        "tariff_year": TARIFF_YEAR,
        "assumptions": [
            "energy, toll, charge and electricity tax of production",
            EXCESS_ASSUMPTION,
        ],
    }, table


def figures(rows: pd.DataFrame, days: int) -> dict[str, Any]:
    """Return the figures of one plant; money in EUR per 1,000 kg, since made kilograms differ."""
    per_tonne = rows.set_index("strategy")["paid_eur"] / rows.set_index("strategy")["kg"] * 1000
    saved = per_tonne[BASELINE] - per_tonne
    share = saved / saved["perfect"]
    return {
        "days": days,
        "eur_per_tonne": per_tonne.to_dict(),
        **{f"share_{name}": float(share[name]) for name in ("known", "morning", "naive")},
        "paid_eur": rows.set_index("strategy")["paid_eur"].to_dict(),
        "kg": rows.set_index("strategy")["kg"].to_dict(),
    }


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
