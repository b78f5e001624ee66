"""Hours that deserve attention: exceptional prices, an outdoor index poor for the month."""

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.context import RunContext
from factory_lib.domain.plant import operators
from factory_lib.planning import outdoor_index
from factory_lib.planning.daily import DailyPlan

QUANTILE = 0.95
USUAL_DAYS = 28
LEAST_DAYS = 7  # of prices behind the window: fewer do not say what is usual
EXCEPTIONAL_EUR_MWH = 50.0  # beyond the quantile: an ordinary evening peak stays below
COLUMNS = ("kind", "start", "end", "reason", "planned_kwh")


def attention_items(ctx: RunContext, made: DailyPlan) -> pd.DataFrame:
    """Return one row (``COLUMNS``) for each local day and kind, with the energy planned in it."""
    rows: list[tuple[str, pd.DatetimeIndex, str]] = []
    price = made.prices["p50"]
    usual = _usual_eur_mwh(made)
    high = price[price > usual + EXCEPTIONAL_EUR_MWH]
    for _, hours in high.groupby(pd.DatetimeIndex(high.index).tz_convert(MADRID).date):
        reason = (
            f"up to {hours.max():.0f} EUR/MWh; 95 % of the working hours of {USUAL_DAYS} days "
            f"were below {usual:.0f}"
        )
        rows.append(("exceptional", pd.DatetimeIndex(hours.index), reason))
    for low in outdoor_index.low_hours(ctx, made.prices, made.weather):
        rows.append(("index", low.starts, low.why))
    kwh = made.plan.power()["production_kw"] * made.plan.problem.slot_h
    table = [
        (kind, starts[0], starts[-1] + _step(starts), reason, _within(kwh, starts))
        for kind, starts, reason in rows
    ]
    return pd.DataFrame(table, columns=[*COLUMNS])


def _within(kwh: pd.Series, starts: pd.DatetimeIndex) -> float:
    """Return the energy of the slots that lie in hours or quarters with these starts."""
    slots = pd.DatetimeIndex(kwh.index).floor(_step(starts))
    return float(kwh[np.asarray(slots.isin(starts))].sum())


def _usual_eur_mwh(made: DailyPlan) -> float:
    """Return the 95th percentile of the last weeks' prices in working hours.

    Infinite where too few are known. Of all hours it would call an ordinary evening
    exceptional one day in twenty.
    """
    begin = pd.Timestamp(made.request.begin)
    behind = made.request.prices["p50"].loc[: begin - pd.Timedelta(minutes=15)].dropna()
    if behind.empty or begin - behind.index[0] < pd.Timedelta(days=LEAST_DAYS):
        return float("inf")
    working = operators(made.request.plant, pd.DatetimeIndex(behind.index), 900) > 0
    return float(behind[working].quantile(QUANTILE))


def _step(starts: pd.DatetimeIndex) -> pd.Timedelta:
    on_hours = bool((starts.minute == 0).all())
    return pd.Timedelta(hours=1) if on_hours else pd.Timedelta(minutes=15)
