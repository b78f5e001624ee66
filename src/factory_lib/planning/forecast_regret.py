"""Euros that errors of the price forecast cost: starts chosen before publication.

Once tomorrow's prices are published their forecast decides nothing any more. What it was
worth is what a batch cost that was begun at the hour it showed as the best one.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind
from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.domain.plant import Bools, operators
from factory_lib.features.horizon import PRICE, VALUES
from factory_lib.models.history import load_hours, price_series
from factory_lib.models.verification import WINDOW_DAYS, verification_pairs
from factory_lib.models.weather_forecast import OWN
from factory_lib.planning.recommendation import OneBatch, lay_for

REGRETS = ("market_day", "mae", "regret_eur", "naive_regret_eur")
_CHAIN_DAYS = 3  # that chains begun on the next day may reach into
_FORECASTS = {"regret_eur": "p50", "naive_regret_eur": "naive"}


def forecast_regret(ctx: RunContext) -> pd.DataFrame:
    """Return for each of the last days what the start believed best before publication cost.

    Returns
    -------
    DataFrame
        ``market_day``; ``mae``, the error of the forecast (EUR/MWh); ``regret_eur`` and
        ``naive_regret_eur``: the cost of one batch begun in the working hour that the
        forecast, and the naive one, showed as cheapest, above that of the best such hour.
    """
    paths = unpublished_paths(ctx)
    history = load_hours(ctx, WINDOW_DAYS + 1).hourly
    last = history[PRICE].last_valid_index()
    if not paths or last is None:
        return pd.DataFrame(columns=list(REGRETS))
    observed = history.loc[:last, list(VALUES)]
    observed = observed.assign(**{PRICE: observed[PRICE].interpolate(limit_direction="both")})
    batch = lay_for(ctx.settings)(observed)
    working = operators(ctx.settings.plant, pd.DatetimeIndex(observed.index), HOUR_S) > 0
    return regret_by_day(batch, working, paths)


def regret_by_day(
    batch: OneBatch, working: Bools, paths: Mapping[date, pd.DataFrame]
) -> pd.DataFrame:
    """Return ``REGRETS`` of the days whose chains end within the paths.

    Parameters
    ----------
    batch : OneBatch
        At the prices that came.
    working : array
        Its hours with people.
    paths : mapping
        By market day, from its first hour on (UTC): ``p50``, ``naive`` and ``actual``.
    """
    index = batch.problem.index
    actual = batch.eur()
    local_day = index.tz_convert(MADRID).date
    chain = pd.Timedelta(hours=batch.chain_h)
    rows: list[dict[str, str | float]] = []
    for day, path in paths.items():
        begins = working & (local_day == day) & np.isfinite(actual)
        if not begins.any() or index[begins][-1] + chain > path.index[-1]:
            continue
        errors = path[list(_FORECASTS.values())].sub(path["actual"], axis=0).reindex(index)
        own_day = pd.DatetimeIndex(path.index).tz_convert(MADRID).date == day
        mae = float(errors["p50"].loc[path.index][own_day].abs().mean())
        row: dict[str, str | float] = {"market_day": str(day), "mae": mae}
        for name, forecast in _FORECASTS.items():
            believed = np.where(begins, batch.eur(errors[forecast].fillna(0.0).to_numpy()), np.inf)
            row[name] = float(actual[believed.argmin()] - actual[begins].min())
        rows.append(row)
    return pd.DataFrame(rows, columns=list(REGRETS))


def unpublished_paths(ctx: RunContext) -> dict[date, pd.DataFrame]:
    """Return the last forecasts of each day that were issued before its prices were published.

    Returns
    -------
    dict of date to DataFrame
        By market day, its hours and those of the next two (UTC): ``p50``, ``naive``,
        ``actual``, EUR/MWh.
    """
    entry = ctx.catalogue[price_series(ctx)]
    pairs = verification_pairs(ctx, entry.name)
    pairs = pairs[(pairs["model"] == OWN) & pairs["lead_days"].between(1, _CHAIN_DAYS)]
    local = pairs["issued_at"].dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
    next_day = (local + pd.Timedelta(days=1)).dt.tz_localize(MADRID)
    known_until = entry.publication[Kind.OBSERVED].known_until
    issues = pairs["issued_at"].drop_duplicates().tolist()
    ends = {issue: known_until(issue.to_pydatetime()) for issue in issues}
    unpublished = pd.to_datetime(pairs["issued_at"].map(ends), utc=True) <= next_day
    pairs = pairs.assign(day=next_day)[unpublished]
    pairs = pairs.sort_values("issued_at")
    latest = pairs.drop_duplicates(["day", "target_start"], keep="last")
    hour = latest["target_start"].dt.floor("h")
    hourly = latest.groupby(["day", hour])[["p50", "naive", "actual"]].mean()
    paths = {pd.Timestamp(str(day)).date(): path for day, path in hourly.groupby("day")}
    return {day: path.droplevel("day") for day, path in paths.items()}
