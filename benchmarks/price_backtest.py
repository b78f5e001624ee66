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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from benchmarks._cli import bench, find
from factory_lib.analysis.price_backtest import (
    REFIT_DAYS,
    REFIT_DAYS_BEYOND,
    backtest_prices,
    log_backtest,
)
from factory_lib.clock import HOUR_S, MADRID, QUARTER_S
from factory_lib.context import open_context
from factory_lib.features.days import DayMatrix, day_matrix
from factory_lib.features.prices import SPOT, ahead_name, operator_days
from factory_lib.features.pvpc import pvpc_from_spot
from factory_lib.models.evaluation import day_kinds, naive_forecasts, score
from factory_lib.models.forecasters import LEADS

QUICK_DAYS = 28
QUARTERS = HOUR_S // QUARTER_S
OPERATOR_COLUMNS = {
    "load_mw": "total load forecast",
    "wind_mw": "forecast wind onshore day ahead",
    "solar_mw": "forecast solar day ahead",
}
# degraded forecasts of the target day: standard deviation at day 3, and growth per day of lead
AHEAD_SD = {"wind_mw": (2000.0, 350.0), "solar_mw": (0.15, 0.0225), "load_mw": (0.025, 0.00375)}
AHEAD_PERSISTENCE = 0.97  # of an error from hour to hour
ASSUMPTIONS = [
    "issued at 12:00 Europe/Madrid of day I for market days I+1 ... I+7",
    "prices up to and including day I are known at issue (published on I-1), nothing later is",
    f"models are refitted every {REFIT_DAYS} days for I+1 and every {REFIT_DAYS_BEYOND} beyond, "
    "each lead on targets published by the first issue of its block",
    "both passes of the repeated autumn hour get one forecast",
    "an hour is the mean of its quarters where all four are there",
]
SPOT_ASSUMPTION = "a tariff's forecast uses the spot prices, those up to and including day I"
OPERATOR_ASSUMPTION = (
    "the day-ahead forecasts of load, wind and solar for I+1 are taken as available at 11:00 of I "
    "(legal deadline 18:00); none is taken for I+2 and later"
)
AHEAD_ASSUMPTION = (
    "for I+2 ... I+7, load, wind and sun of Spain on the target day are its day-ahead forecasts "
    "with simulated errors: standard deviation 2 GW of wind, 15 % of sun, 2.5 % of load at day 3, "
    "growing evenly to 3.4 GW, 24 %, 4 % at day 7; autoregressive by hour, 0.97; seed 0"
)


@dataclass(frozen=True)
class Market:
    """Prices (EUR/MWh) and the operator's forecasts (MW), indexed by slot start (UTC).

    Beside the tariff stands the spot price, which it follows.
    """

    prices: pd.Series
    operator: pd.DataFrame | None = None
    spot: pd.Series | None = None


def spot(data: Path) -> Market:
    """Hourly spot prices; an hour whose four quarters are in the folder is those.

    Without the repeated hours of autumn that hold half of one sum each, as in the store.
    """
    hourly = _tables(data, "spot_es_hourly_*")["spot_eur_mwh"]
    wall = pd.DatetimeIndex(hourly.index).tz_convert(MADRID).tz_localize(None)
    alike = hourly.groupby(wall).transform("nunique") == 1
    hourly = hourly[~(wall.duplicated(keep=False) & alike)]
    if not any(data.glob("omie_15min_*")):
        return Market(hourly)
    quarters = _tables(data, "omie_15min_*")["spot_eur_mwh"].dropna()
    quarters = quarters[_is_whole_hour(quarters)]
    rest = hourly[~hourly.index.isin(_hour(quarters))]
    return Market(pd.concat([rest, quarters]).sort_index())


def pvpc(data: Path) -> Market:
    """Regulated tariff, peninsula."""
    tariff = _tables(data, "pvpc_pcb_hourly_*")["pvpc_eur_kwh"] * 1000
    return Market(tariff, spot=spot(data).prices)


def energy(data: Path) -> Market:
    """Day-ahead prices with the operator's day-ahead forecasts beside."""
    table = _tables(data, "es_energy_*")
    operator = table[list(OPERATOR_COLUMNS.values())].set_axis(list(OPERATOR_COLUMNS), axis=1)
    return Market(table["price day ahead"], operator)


def area_forecasts(data: Path, area: str) -> pd.DataFrame:
    """Return the day-ahead forecasts of load, wind and sun (MW) of ``es``, ``fr`` or ``pt``."""
    table = _tables(data, "entsoe_day_ahead_forecasts_*")
    columns = {f"{area}_{name.removesuffix('_mw')}_forecast_mw": name for name in OPERATOR_COLUMNS}
    if missing := set(columns) - set(table):
        raise SystemExit(f"No column {', '.join(sorted(missing))} in {data}: choose other areas.")
    return table[list(columns)].rename(columns=columns)


def degraded(forecasts: pd.DataFrame) -> dict[str, DayMatrix]:
    """Return forecasts of the target day for each lead above 1, see ``AHEAD_ASSUMPTION``."""
    rng = np.random.default_rng(0)
    innovations = rng.normal(0, np.sqrt(1 - AHEAD_PERSISTENCE**2), forecasts.shape)
    noise = lfilter([1.0], [1.0, -AHEAD_PERSISTENCE], innovations, axis=0)
    errors = pd.DataFrame(noise, forecasts.index, forecasts.columns)
    matrices: dict[str, DayMatrix] = {}
    for lead in LEADS[1:]:
        sd = {name: at_3 + growth * (lead - 3) for name, (at_3, growth) in AHEAD_SD.items()}
        scale = forecasts.assign(wind_mw=1.0)
        seen = (forecasts + errors * scale * pd.Series(sd)).clip(lower=0)
        matrices |= {ahead_name(name, lead): matrix for name, matrix in operator_days(seen).items()}
    return matrices


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
        "--exogenous",
        choices=("none", "es", "es,fr,pt"),
        help="day-ahead forecasts of load, wind and sun (default: es for energy, else none)",
    )
    parser.add_argument(
        "--ahead",
        choices=("none", "simulated"),
        default="none",
        help="forecasts of load, wind and sun for days 2 to 7",
    )
    parser.add_argument(
        "--leads",
        type=lambda text: tuple(map(int, text.split(","))),
        default=LEADS,
        help="days ahead, comma-separated, the first with the figures (default 1,2,3,4,5,6,7)",
    )
    parser.add_argument(
        "--phases",
        type=int,
        default=1,
        help="backtests whose refits fall on other days; figures are their means (default 1)",
    )
    parser.add_argument(
        "--log", metavar="PROFILE", help="log the figures as an MLflow run of this profile, too"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="leads computed at once"
    )


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run the backtest; the raw rows are one per slot and lead."""
    market = MARKETS[chosen.market](chosen.data)
    areas = chosen.exogenous or ("es" if chosen.market == "energy" else "none")
    first = chosen.first or (
        FIRST_QUARTERS_DAY if chosen.resolution == 15 else FIRST_DAY[chosen.market]
    )
    last = chosen.last or date(first.year, 12, 31)
    leads = chosen.leads
    if chosen.quick:
        last, leads = min(last, first + timedelta(days=QUICK_DAYS - 1)), (1, 7)
    began = time.monotonic()
    sys.stderr.write(f"{chosen.market}: {first} to {last}, {len(leads)} leads, inputs {areas}\n")
    hours, rows = _backtest(chosen, market, (first, last), leads, areas)
    by_lead = {lead: mean_score(rows[rows["lead"] == lead]) for lead in leads}
    sys.stderr.write(f"done in {time.monotonic() - began:.0f} s\n")
    assumptions = list(ASSUMPTIONS)
    assumptions += [SPOT_ASSUMPTION] if market.spot is not None else []
    assumptions += [OPERATOR_ASSUMPTION] if areas != "none" else []
    assumptions += [AHEAD_ASSUMPTION] if chosen.ahead != "none" else []
    found = {
        "market": chosen.market,
        "resolution": chosen.resolution,
        "exogenous": areas,
        "ahead": chosen.ahead,
        "from": str(first),
        "to": str(last),
        "days_asked": (last - first).days + 1,
        "phases": chosen.phases,
        **by_lead[leads[0]],
        "by_kind": _by_kind(rows[rows["lead"] == leads[0]]),
        "by_lead": by_lead,
        "assumptions": assumptions,
    }
    if market.spot is not None:
        found["from_spot"] = from_spot(hours, day_matrix(market.spot), first, last)
    if chosen.log:
        with open_context(chosen.log) as ctx:
            log_backtest(ctx, f"{chosen.market} {first} to {last}", vars(chosen), found)
    return found, rows


def _backtest(
    chosen: argparse.Namespace,
    market: Market,
    span: tuple[date, date],
    leads: tuple[int, ...],
    areas: str,
) -> tuple[DayMatrix, pd.DataFrame]:
    """Return the hourly prices by day, and the forecasts of every phase with the actual prices."""
    actual, hours, quarters = by_day(market.prices, chosen.resolution)
    inputs = exogenous(chosen.data, market, areas)
    next_day = tuple(lead for lead in leads if lead == 1)
    further = tuple(lead for lead in leads if lead > 1)
    groups = {next_day: inputs, further: _inputs_ahead(chosen, market, inputs)}
    parts = []
    for phase, group in product(range(chosen.phases), filter(None, groups)):
        part = backtest_prices(
            hours,
            *span,
            groups[group],
            quarters=quarters,
            leads=group,
            phase=phase / chosen.phases,
            jobs=chosen.jobs,
        )
        parts.append(part.assign(phase=phase))
    rows = pd.concat(parts, ignore_index=True)
    rows["actual"] = actual.reindex(pd.DatetimeIndex(rows["start"])).to_numpy()
    kinds = pd.Series(day_kinds(hours.grid), hours.days.astype(str))
    rows["kind"] = rows["market_day"].map(kinds)
    return hours, rows


def by_day(prices: pd.Series, resolution_min: int) -> tuple[pd.Series, DayMatrix, DayMatrix | None]:
    """Return the prices of the scored slots, hours by day, and quarters by day where scored."""
    actual = prices.groupby(_hour(prices)).mean()
    hours = day_matrix(actual)
    if resolution_min * 60 == HOUR_S:
        return actual, hours, None
    actual = prices[_is_whole_hour(prices)]
    return actual, hours, day_matrix(actual, QUARTER_S)


def _by_kind(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the next day's scores on days with negative prices, with a spike, and on others."""
    keys = ("days", "mae", "best_naive_mae", "rmae_best", "coverage_80", "save8")
    scores = {str(kind): score(part) for kind, part in rows.groupby("kind")}
    return {kind: {key: scored[key] for key in keys} for kind, scored in scores.items()}


def mean_score(rows: pd.DataFrame) -> dict[str, Any]:
    """Score the forecasts of one lead; figures are the means of those of each phase.

    ``rmae_by_phase`` has one value per phase; words and counts are those of the first.
    """
    scores = [score(part) for _, part in rows.groupby("phase")]
    table = pd.DataFrame(scores)
    means = {str(key): float(x) for key, x in table.select_dtypes("float").mean().items()}
    by_month = pd.DataFrame(table["coverage_by_month"].tolist()).mean().to_dict()
    return scores[0] | means | {"coverage_by_month": by_month, "rmae_by_phase": list(table["rmae"])}


def from_spot(tariff: DayMatrix, market: DayMatrix, first: date, last: date) -> dict[str, Any]:
    """Score the tariff of each day taken from its spot prices, as between 13:45 and 20:15."""
    tariff = tariff.spanning(tariff.days[0], last)
    begin = tariff.row(first)
    error = np.abs(pvpc_from_spot(tariff, market, begin) - tariff.grid[begin:])
    naive = np.abs(naive_forecasts(tariff, 1)["standard"] - tariff.grid)[begin:]
    mae = float(np.nanmean(error))
    naive_mae = float(np.nanmean(naive))
    return {"mae": mae, "naive_mae": naive_mae, "rmae": mae / naive_mae}


def _inputs_ahead(
    chosen: argparse.Namespace, market: Market, inputs: dict[str, DayMatrix] | None
) -> dict[str, DayMatrix] | None:
    """Return the inputs of the leads above 1, with simulated forecasts of their days if chosen."""
    if chosen.ahead == "none":
        return inputs
    forecasts = market.operator
    if forecasts is None:
        forecasts = area_forecasts(chosen.data, "es")
    return operator_days(forecasts) | (inputs or {}) | degraded(forecasts)


def exogenous(data: Path, market: Market, areas: str) -> dict[str, DayMatrix] | None:
    """Return the day-ahead forecasts of the areas (``none``, or comma-separated) by day.

    And the spot price of a tariff.
    """
    matrices = {} if market.spot is None else {SPOT: day_matrix(market.spot)}
    for area in [] if areas == "none" else areas.split(","):
        own = market.operator if area == "es" else None
        forecasts = area_forecasts(data, area) if own is None else own
        matrices |= operator_days(forecasts, area)
    return matrices or None


def _hour(prices: pd.Series) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(prices.index).floor("h")


def _is_whole_hour(quarters: pd.Series) -> pd.Series:
    return quarters.groupby(_hour(quarters)).transform("size") == QUARTERS


def _tables(data: Path, pattern: str) -> pd.DataFrame:
    """Return all files of the pattern as one table; a newer-named one wins."""
    table = pd.concat(map(pd.read_csv, find(data, pattern)))
    index = pd.DatetimeIndex(pd.to_datetime(table.pop("time_utc"), utc=True), name="start")
    table = table.set_index(index.as_unit("s"))
    return table[~table.index.duplicated(keep="last")].sort_index()


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
