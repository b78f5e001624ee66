"""Temperature and humidity of the hours ahead: a provider's forecast less its recent error, else climatology.

Beside them stand the errors that such forecasts made together in both, by hour of the
day and days ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S
from factory_lib.context import RunContext
from factory_lib.features.documented import HUMIDITY, TEMPERATURE
from factory_lib.features.weather import BIAS_DAYS, hourly_bias, weather_ahead
from factory_lib.models.expectation import FEWEST_ERRORS, MOST_ERRORS, Floats

NAMES = [TEMPERATURE, HUMIDITY]
OWN = "factory"  # the model name of the house's own forecasts
PAST_DAYS = 28
NO_LEAD = -1  # the lead of errors that do not depend on one: climatology's


@dataclass(frozen=True)
class AirAhead:
    """Weather to come.

    Attributes
    ----------
    hourly : DataFrame
        UTC index; ``temperature_c``, ``humidity_pct`` and ``weather_source`` (forecast,
        climatology or unknown).
    errors : DataFrame
        Past errors, actual minus forecast: ``temperature_c``, ``humidity_pct``,
        ``hour`` (UTC), ``lead_day``.
    note : str
        Whose forecast, and how it was corrected.
    """

    hourly: pd.DataFrame
    errors: pd.DataFrame
    note: str


def air_ahead(ctx: RunContext, observed: pd.DataFrame, index: pd.DatetimeIndex) -> AirAhead:
    """Return the weather to expect in the hours ``index``.

    Parameters
    ----------
    observed : DataFrame
        Hourly ``NAMES``, only what is known at ``ctx.as_of``.
    """
    past, latest = _issued(ctx, index)
    provider = max(
        latest, key=lambda name: (int(latest[name].notna().all(axis=1).sum()), name), default=""
    )
    pairs = forecast_errors(past[past["model"] == provider], observed)
    bias = pd.DataFrame(0.0, index=range(24), columns=NAMES)
    day_ahead = pairs[pairs["lead_day"] == min(1, pairs["lead_day"].max())] if len(pairs) else pairs
    for name in NAMES:
        bias[name] = hourly_bias(-day_ahead[name], day_ahead[name] * 0.0)
        pairs[name] += bias[name].reindex(pairs["hour"]).to_numpy()
    columns = {
        name: weather_ahead(
            index,
            latest[provider][name] if provider else pd.Series(dtype=float),
            bias[name],
            observed[name],
        )
        for name in NAMES
    }
    hourly = pd.DataFrame({name: said["value"] for name, said in columns.items()})
    hourly[HUMIDITY] = hourly[HUMIDITY].clip(0.0, 100.0)
    hourly["weather_source"] = columns[TEMPERATURE]["source"]
    days = pd.DatetimeIndex(day_ahead.index).normalize().nunique()
    note = "No provider's weather forecast is at hand: climatology of the site's own past."
    if provider:
        error = f"less its mean error by hour over {days} of the last {BIAS_DAYS} days"
        note = f"Weather: forecast of {provider}, {error if days else 'as issued: none can be compared yet'}."
    return AirAhead(hourly, pd.concat([pairs, climate_errors(observed)]), note)


def _issued(
    ctx: RunContext, index: pd.DatetimeIndex
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return all providers' forecasts of the last weeks, and each one's latest of the hours ``index``, hourly."""
    start, end = (
        ctx.as_of - timedelta(days=BIAS_DAYS),
        index[-1].to_pydatetime() + timedelta(seconds=HOUR_S),
    )
    rows = pd.concat(
        ctx.store.read_forecasts(
            name,
            places=ctx.settings.site.places.weather,
            start=start,
            end=end,
            as_of=ctx.as_of,
            latest=False,
        )
        for name in NAMES
    )
    rows = rows[rows["model"] != OWN]
    latest = {}
    coming = rows[rows["target_start"] >= index[0] - pd.Timedelta(hours=2)]
    for model, group in coming.groupby("model"):
        newest = group.sort_values("issued_at").drop_duplicates(
            ["series", "target_start"], keep="last"
        )
        table = newest.pivot(index="target_start", columns="series", values="p50").reindex(
            columns=NAMES
        )
        latest[str(model)] = (
            table.resample("h").interpolate(limit=2, limit_area="inside").reindex(index)
        )
    return rows[rows["target_start"] < ctx.as_of], latest


def forecast_errors(past: pd.DataFrame, observed: pd.DataFrame) -> pd.DataFrame:
    """Return actual minus forecast of past slots, of the last issue of each day of lead, both series together.

    Parameters
    ----------
    past : DataFrame
        Forecast rows of one model.
    observed : DataFrame
        Hourly ``NAMES``.

    Returns
    -------
    DataFrame
        Indexed by ``target_start``: ``NAMES``, ``hour``, ``lead_day``.
    """
    rows = past.assign(lead_day=(past["target_start"] - past["issued_at"]).dt.days)
    rows = rows.sort_values("issued_at").drop_duplicates(
        ["series", "lead_day", "target_start"], keep="last"
    )
    said = rows.pivot(index=["target_start", "lead_day"], columns="series", values="p50").reindex(
        columns=NAMES
    )
    targets = pd.DatetimeIndex(said.index.get_level_values("target_start"))
    came = observed.reindex(targets)[NAMES].to_numpy(dtype=np.float64)
    pairs = pd.DataFrame(came - said.to_numpy(dtype=np.float64), index=targets, columns=NAMES)
    return pairs.assign(
        hour=targets.hour, lead_day=said.index.get_level_values("lead_day")
    ).dropna()


def climate_errors(observed: pd.DataFrame) -> pd.DataFrame:
    """Return how the last weeks strayed from their own mean at each hour: what climatology alone would have missed."""
    known = observed[NAMES].dropna()
    known = (
        known[known.index > known.index[-1] - pd.Timedelta(days=PAST_DAYS)] if len(known) else known
    )
    hour = pd.DatetimeIndex(known.index).hour
    return (known - known.groupby(hour).transform("mean")).assign(hour=hour, lead_day=NO_LEAD)


def errors_of(errors: pd.DataFrame, hour: int, lead_day: int, source: str) -> Floats:
    """Return past errors of forecasts like this one, shape (errors, 2); none known is no error at all."""
    near = errors[
        ((errors["hour"] - hour + 1) % 24 <= 2) & errors["lead_day"].isin([lead_day, NO_LEAD])
    ]
    alike = near[near["lead_day"] == lead_day]
    chosen = (
        alike
        if source == "forecast" and len(alike) >= FEWEST_ERRORS
        else near[near["lead_day"] == NO_LEAD]
    )
    found: Floats = chosen[NAMES].to_numpy(dtype=np.float64)[-MOST_ERRORS:]
    return found if len(found) else np.zeros((1, 2))
