"""Day-ahead price forecasts judged by rolling origin on real years, beside the naive forecasts.

Each market day is forecast as at 12:00 Europe/Madrid of one to seven days before, from
prices published by then. See `factory_lib.analysis.price_backtest` for how, and `assumptions`
in the output for what is taken as known.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._cli import bench, find
from factory_lib.analysis.price_backtest import (
    REFIT_DAYS,
    REFIT_DAYS_BEYOND,
    backtest_prices,
    log_backtest,
)
from factory_lib.clock import QUARTER_S
from factory_lib.context import open_context
from factory_lib.features.days import DayMatrix, day_matrix
from factory_lib.features.prices import operator_days
from factory_lib.models.evaluation import score
from factory_lib.models.forecasters import LEADS

QUICK_DAYS = 28
OPERATOR_COLUMNS = {
    "load_mw": "total load forecast",
    "wind_mw": "forecast wind onshore day ahead",
    "solar_mw": "forecast solar day ahead",
}
ASSUMPTIONS = [
    "issued at 12:00 Europe/Madrid of day I for market days I+1 ... I+7",
    "prices up to and including day I are known at issue (published on I-1), nothing later is",
    f"models are refitted every {REFIT_DAYS} days for I+1 and every {REFIT_DAYS_BEYOND} beyond, "
    "each lead on targets "
    "published by the first issue of its block",
    "both passes of the repeated autumn hour get one forecast",
]
OPERATOR_ASSUMPTION = (
    "the operator's day-ahead forecasts of load, wind and solar for I+1 are taken as "
    "available at 11:00 of I; "
    "none is taken for I+2 and later"
)


@dataclass(frozen=True)
class Market:
    """Prices (EUR/MWh) and the operator's forecasts (MW), indexed by slot start (UTC)."""

    prices: pd.Series
    operator: pd.DataFrame | None = None


def spot(data: Path) -> Market:
    """Hourly spot prices, followed by quarter-hourly ones where the folder has them."""
    files = sorted({*data.glob("spot_es_hourly_*"), *data.glob("omie_15min_*")})
    if not files:
        find(data, "spot_es_hourly_*")
    prices = pd.concat([_table(file)["spot_eur_mwh"] for file in files])
    return Market(prices[~prices.index.duplicated(keep="last")].sort_index())


def pvpc(data: Path) -> Market:
    """Regulated tariff, peninsula."""
    return Market(_table(find(data, "pvpc_pcb_hourly_*"))["pvpc_eur_kwh"] * 1000)


def energy(data: Path) -> Market:
    """Day-ahead prices with the operator's day-ahead forecasts beside."""
    table = _table(find(data, "es_energy_*"))
    operator = table[list(OPERATOR_COLUMNS.values())].set_axis(list(OPERATOR_COLUMNS), axis=1)
    return Market(table["price day ahead"], operator)


MARKETS: dict[str, Callable[[Path], Market]] = {"spot": spot, "pvpc": pvpc, "energy": energy}
FIRST_DAY = {"spot": date(2024, 1, 1), "pvpc": date(2024, 1, 1), "energy": date(2017, 1, 1)}
FIRST_QUARTERS_DAY = date(2025, 10, 1)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--market", choices=sorted(MARKETS), default="spot")
    parser.add_argument(
        "--from", dest="first", type=date.fromisoformat, help="first market day (default by market)"
    )
    parser.add_argument(
        "--to",
        dest="last",
        type=date.fromisoformat,
        help="last market day (default: the year's last)",
    )
    parser.add_argument("--resolution", type=int, choices=(15, 60), default=60, help="minutes")
    parser.add_argument(
        "--log", metavar="PROFILE", help="log the figures as an MLflow run of this profile, too"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="leads computed at once"
    )


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run the backtest; the raw rows are one per slot and lead."""
    market = MARKETS[chosen.market](chosen.data)
    first = chosen.first or (
        FIRST_QUARTERS_DAY if chosen.resolution == 15 else FIRST_DAY[chosen.market]
    )
    last = chosen.last or date(first.year, 12, 31)
    leads = LEADS
    if chosen.quick:
        last, leads = min(last, first + timedelta(days=QUICK_DAYS - 1)), (1, 7)
    began = time.monotonic()
    sys.stderr.write(f"{chosen.market}: {first} to {last}, {len(leads)} leads\n")
    quarters = day_matrix(market.prices, QUARTER_S) if chosen.resolution == 15 else None
    rows = backtest_prices(
        day_matrix(market.prices),
        first,
        last,
        exogenous(market.operator),
        quarters=quarters,
        leads=leads,
        jobs=chosen.jobs,
    )
    rows["actual"] = _actuals(market.prices, rows)
    by_lead = {int(lead): score(part) for lead, part in rows.groupby("lead")}
    sys.stderr.write(f"done in {time.monotonic() - began:.0f} s\n")
    found = figures(chosen, first, last, by_lead, market.operator is not None)
    if chosen.log:
        with open_context(chosen.log) as ctx:
            log_backtest(ctx, f"{chosen.market} {first} to {last}", vars(chosen), found)
    return found, rows


def figures(
    chosen: argparse.Namespace,
    first: date,
    last: date,
    by_lead: dict[int, dict[str, Any]],
    operator: bool,
) -> dict[str, Any]:
    """Put the day-ahead scores first and every lead's below."""
    return {
        "market": chosen.market,
        "resolution": chosen.resolution,
        "from": str(first),
        "to": str(last),
        "days_asked": (last - first).days + 1,
        **by_lead[1],
        "by_lead": by_lead,
        "assumptions": [*ASSUMPTIONS, OPERATOR_ASSUMPTION] if operator else ASSUMPTIONS,
    }


def exogenous(operator: pd.DataFrame | None) -> dict[str, DayMatrix] | None:
    """Return the operator's forecasts by day, if there are any."""
    return None if operator is None else operator_days(operator)


def _actuals(prices: pd.Series, rows: pd.DataFrame) -> Any:
    return prices.reindex(pd.DatetimeIndex(rows["start"])).to_numpy()


def _table(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file)
    index = pd.DatetimeIndex(pd.to_datetime(table.pop("time_utc"), utc=True), name="start").as_unit(
        "s"
    )
    return table.set_index(index)


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
