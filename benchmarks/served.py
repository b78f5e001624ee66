"""Price forecasts as served, through the store and the command line, beside those of the backtest.

Real prices are imported into a store of its own. Every day at noon `factory predict --as-of`
forecasts, every 14th day `factory run ml_training --as-of` trains before; the backtest
(`benchmarks.price_backtest`) refits on the same days. Both should say the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._cli import bench
from benchmarks.price_backtest import FIRST_QUARTERS_DAY, by_day, exogenous, spot
from factory_lib import settings as factory_settings
from factory_lib.analysis.price_backtest import REFIT_DAYS, backtest_prices
from factory_lib.clock import MADRID, local_instant
from factory_lib.context import RunContext, open_context
from factory_lib.frames import QUANTILES
from factory_lib.importers import import_path
from factory_lib.models import prediction, retrain_trigger
from factory_lib.models.evaluation import score
from factory_lib.models.price_forecast import CHAMPION

SERIES = "spot_eur_mwh"
PRICES = ["spot_es_hourly_*", "omie_15min_*"]
FILES = {"none": PRICES, "es,fr,pt": [*PRICES, "entsoe_day_ahead_forecasts_*"]}
EQUAL_EUR_MWH = 0.01
COMMANDS = {"train": ("run", "ml_training", "--force"), "predict": ("predict",)}
DIRECT: dict[str, Callable[[RunContext], object]] = {
    "train": partial(retrain_trigger.train, force=True),
    "predict": prediction.predict,
}


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], pd.DataFrame]:
    """Serve and backtest the days; the raw rows are one per slot and lead, with both forecasts."""
    days = min(chosen.days, 4) if chosen.quick else chosen.days
    refit_days = 2 if chosen.quick else REFIT_DAYS
    with tempfile.TemporaryDirectory() as home:
        served = _served(chosen, Path(home), days, refit_days)
    served = served.set_index(["lead", "start"]).add_suffix("_served")
    sys.stderr.write("backtest…\n")
    scored = _backtest(chosen, days, refit_days).set_index(["lead", "start"])
    both = scored.join(served, how="left").reset_index()
    by_lead = {lead: _compared(rows) for lead, rows in both.groupby("lead")}
    figures = {"from": str(chosen.first), "days": days, "refit_days": refit_days}
    return {**figures, "exogenous": chosen.exogenous, "by_lead": by_lead}, both


def _served(chosen: argparse.Namespace, home: Path, days: int, refit_days: int) -> pd.DataFrame:
    """Return the champion's stored forecasts: ``lead``, ``start`` and quantiles."""
    settings = factory_settings.load("history", env={"FACTORY_HOME": str(home)})
    with open_context(settings=settings, run_id="served") as ctx:
        for file in sorted(f for name in FILES[chosen.exogenous] for f in chosen.data.glob(name)):
            sys.stderr.write(f"{import_path(ctx, file).summary}\n")
    for number in range(days):
        noon = local_instant(chosen.first + timedelta(days=number - 1), time(12))
        for word in ["train", "predict"][number % refit_days > 0 :]:
            if chosen.direct:
                with open_context(settings=settings, as_of=noon) as ctx:
                    DIRECT[word](ctx)
            else:
                _factory(home, *COMMANDS[word], "--as-of", noon.isoformat())
        sys.stderr.write(f"{noon:%Y-%m-%d}\n")
    with open_context(settings=settings, read_only=True) as ctx:
        start = local_instant(chosen.first, time())
        end = start + timedelta(days=days + 8)
        rows = ctx.store.read_forecasts(
            SERIES, places=("ES",), start=start, end=end, as_of=end, latest=False
        )
    rows = rows[rows["tier"] == CHAMPION].rename(columns={"target_start": "start"})
    issue_day, day = (
        rows[name].dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
        for name in ("issued_at", "start")
    )
    return rows.assign(lead=(day - issue_day).dt.days)[["lead", "start", *QUANTILES]]


def _factory(home: Path, *words: str) -> None:
    command = [sys.executable, "-m", "factory_lib.cli", *words, "--profile", "history"]
    environment = {**os.environ, "FACTORY_HOME": str(home)}
    subprocess.run(command, env=environment, stdout=sys.stderr, check=True)


def _backtest(chosen: argparse.Namespace, days: int, refit_days: int) -> pd.DataFrame:
    """Return the backtest's forecasts from the same issues: a lead's first day is its own."""
    market = spot(chosen.data)
    actual, hours, quarters = by_day(market.prices, 60 if chosen.first < FIRST_QUARTERS_DAY else 15)
    inputs = exogenous(chosen.data, market, chosen.exogenous)
    parts = []
    for lead in chosen.leads:
        first = chosen.first + timedelta(days=lead - 1)
        last = first + timedelta(days=days - 1)
        part = backtest_prices(
            hours, first, last, inputs, quarters=quarters, leads=(lead,), refit_days=refit_days
        )
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(actual=actual.reindex(pd.DatetimeIndex(rows["start"])).to_numpy())


def _compared(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what differs; slots that the champion did not serve are counted apart."""
    theirs = {f"{name}_served": name for name in QUANTILES}
    paired = rows.dropna(subset=list(theirs))
    difference = np.abs(paired[list(theirs)].to_numpy() - paired[list(QUANTILES)].to_numpy())
    served = paired.drop(columns=list(QUANTILES)).rename(columns=theirs)
    keys = ("mae", "coverage_80")
    scores = {"backtest": score(paired), "served": score(served)}
    return {
        "slots": len(paired),
        "not_by_champion": len(rows) - len(paired),
        "equal_share": float((difference <= EQUAL_EUR_MWH).mean()),
        "max_difference_eur_mwh": float(difference.max()),
        **{f"{key}_{name}": each[key] for key in keys for name, each in scores.items()},
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument(
        "--from", dest="first", type=date.fromisoformat, default=date(2024, 3, 4), metavar="DAY"
    )
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument(
        "--direct", action="store_true", help="call what the notebooks call, without them: faster"
    )
    parser.add_argument("--exogenous", choices=sorted(FILES), default="none")
    parser.add_argument("--leads", type=lambda text: tuple(map(int, text.split(","))), default=(1,))


if __name__ == "__main__":
    bench(__doc__, run, arguments=arguments)
