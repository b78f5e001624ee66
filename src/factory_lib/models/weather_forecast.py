"""Temperature and humidity of the hours ahead.

In use, the forecast is a provider's less its recent mean error, else climatology of the
site; beside it stand the errors that such forecasts made together in both series, by hour
of the day and days ahead. Where past issue times are evaluated and no provider's forecast
of then is stored, ``rolling_weather`` forecasts them from the site's own past: one ridge
regression of both per local issue time and lead corrects the mean of the last week at the
target's hour.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.domain.indices import Floats
from factory_lib.features.days import known_mean
from factory_lib.features.horizon import HUMIDITY, TEMPERATURE, AsOfView
from factory_lib.features.weather import (
    BASE_DAYS,
    BIAS_DAYS,
    corrected_forecast,
    hourly_bias,
    weather_state,
)
from factory_lib.models.evaluation import rolling_origin

NAMES = [TEMPERATURE, HUMIDITY]
OWN = "factory"  # the model name of this library's own stored forecasts
PAST_DAYS = 28
NO_LEAD = -1  # the lead of errors that do not depend on one: climatology's
MOST_ERRORS = 300
FEWEST_ERRORS = 30
RIDGE_PENALTY = 10.0
FEWEST_ROWS = 60


@dataclass(frozen=True)
class WeatherForecast:
    """Expected weather of coming hours.

    Attributes
    ----------
    hourly : DataFrame
        UTC index; ``temperature_c``, ``humidity_pct`` and ``weather_source`` (forecast,
        climatology or unknown).
    errors : DataFrame
        Past errors, actual minus forecast: ``temperature_c``, ``humidity_pct``,
        ``hour`` (UTC), ``lead_day``.
    provider : str
        Model of the stored forecast in use; empty without one.
    compared_days : int
        Days whose errors entered the correction.
    """

    hourly: pd.DataFrame
    errors: pd.DataFrame
    provider: str
    compared_days: int

    def errors_like(self, hour: int, lead_day: int, source: str) -> Floats:
        """Return past errors of forecasts like this one, shape (errors, 2); zeros if unknown."""
        # as arrays, of which it is asked for each hour ahead: frames take five times as long
        near = (self.errors["hour"].to_numpy() - hour + 1) % 24 <= 2
        lead_days = self.errors["lead_day"].to_numpy()
        alike = near & (lead_days == lead_day)
        if source != "forecast" or alike.sum() < FEWEST_ERRORS:
            alike = near & (lead_days == NO_LEAD)
        latest = np.flatnonzero(alike)[-MOST_ERRORS:]
        columns = [self.errors[name].to_numpy(dtype=np.float64)[latest] for name in NAMES]
        errors: Floats = np.column_stack(columns)
        return errors if len(errors) else np.zeros((1, 2))


def forecast_weather(
    ctx: RunContext, observed: pd.DataFrame, index: pd.DatetimeIndex
) -> WeatherForecast:
    """Return the expected weather of the hours ``index``, as of ``ctx.as_of``.

    The provider whose forecast covers most of the hours is used.

    Parameters
    ----------
    observed : DataFrame
        Hourly ``NAMES``, only values known at ``ctx.as_of``.
    """
    past, latest = _provider_forecasts(ctx, index)
    covered = {model: int(table.notna().all(axis=1).sum()) for model, table in latest.items()}
    provider = max(covered, key=lambda model: (covered[model], model), default="")
    errors = forecast_errors(past[past["model"] == provider], observed)
    day_ahead = errors[errors["lead_day"] == min(1, errors["lead_day"].max())]
    forecast = latest.get(provider, pd.DataFrame(columns=NAMES, dtype=float))
    columns = {}
    for name in NAMES:
        bias = hourly_bias(-day_ahead[name])
        errors[name] += bias.reindex(errors["hour"]).to_numpy()
        columns[name] = corrected_forecast(index, forecast[name], bias, observed[name])
    hourly = pd.DataFrame({name: column["value"] for name, column in columns.items()})
    hourly[HUMIDITY] = hourly[HUMIDITY].clip(0.0, 100.0)
    hourly["weather_source"] = columns[TEMPERATURE]["source"]
    days = pd.DatetimeIndex(day_ahead.index).normalize().nunique()
    return WeatherForecast(hourly, pd.concat([errors, climate_errors(observed)]), provider, days)


def _provider_forecasts(
    ctx: RunContext, index: pd.DatetimeIndex
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return the providers' past forecasts, and each model's latest of the hours ``index``."""
    rows = pd.concat(
        ctx.store.read_forecasts(
            name,
            places=ctx.settings.site.places.weather,
            start=ctx.as_of - timedelta(days=BIAS_DAYS),
            end=index[-1].to_pydatetime() + timedelta(seconds=HOUR_S),
            as_of=ctx.as_of,
            latest=False,
        )
        for name in NAMES
    )
    rows = rows[rows["model"] != OWN].sort_values("issued_at", kind="stable")
    coming = rows[rows["target_start"] >= index[0] - pd.Timedelta(hours=2)]
    latest = {}
    for model, group in coming.groupby("model"):
        newest = group.drop_duplicates(["series", "target_start"], keep="last")
        table = newest.pivot(index="target_start", columns="series", values="p50")
        hourly = table.reindex(columns=NAMES).resample("h")
        latest[str(model)] = hourly.interpolate(limit=2, limit_area="inside").reindex(index)
    return rows[rows["target_start"] < ctx.as_of], latest


def forecast_errors(past: pd.DataFrame, observed: pd.DataFrame) -> pd.DataFrame:
    """Return actual minus forecast of past slots, of the last issue of each day of lead.

    Parameters
    ----------
    past : DataFrame
        Forecast rows of one model.
    observed : DataFrame
        Hourly ``NAMES``.

    Returns
    -------
    DataFrame
        Indexed by ``target_start``: ``NAMES`` (both known), ``hour``, ``lead_day``.
    """
    rows = past.assign(lead_day=(past["target_start"] - past["issued_at"]).dt.days)
    keys = ["target_start", "lead_day"]
    newest = rows.sort_values("issued_at").drop_duplicates(["series", *keys], keep="last")
    forecast = newest.pivot(index=keys, columns="series", values="p50").reindex(columns=NAMES)
    table = forecast.reset_index("lead_day").rename_axis(columns=None)
    targets = pd.DatetimeIndex(table.index)
    table[NAMES] = observed.reindex(targets)[NAMES] - table[NAMES]
    return table.assign(hour=targets.hour)[[*NAMES, "hour", "lead_day"]].dropna()


def climate_errors(observed: pd.DataFrame) -> pd.DataFrame:
    """Return the deviations of the last weeks from their own mean at each hour.

    They stand for the errors of climatology; shaped like ``forecast_errors``.
    """
    recent = observed[NAMES].dropna()
    recent = recent[recent.index > recent.index.max() - pd.Timedelta(days=PAST_DAYS)]
    hour = pd.DatetimeIndex(recent.index).hour
    errors: pd.DataFrame = recent - recent.groupby(hour).transform("mean")
    return errors.assign(hour=hour, lead_day=NO_LEAD)


def rolling_weather(view: AsOfView, rows: pd.DataFrame, refits: pd.DatetimeIndex) -> pd.DataFrame:
    """Forecast temperature and humidity of every row from the site's past, out of sample.

    Parameters
    ----------
    view : AsOfView
        Over hours from ``features.weather.with_vapour``.
    refits : DatetimeIndex
        Ascending instants; rows issued from one to the next are forecast by models
        fitted on targets that had been observed at the first of them. Rows before the
        first refit are not forecast.

    Returns
    -------
    DataFrame
        Indexed like ``rows``: ``temperature_c``, ``humidity_pct``; NaN where fewer than
        ``FEWEST_ROWS`` rows had been observed, of both.
    """
    # imported here: a plan forecasts its weather without scikit-learn
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    imputer = SimpleImputer(keep_empty_features=True)
    ridge = make_pipeline(imputer, StandardScaler(), Ridge(RIDGE_PENALTY))
    x = weather_state(view, rows)
    wall = rows["issued_at"].dt.tz_convert(MADRID)
    group = pd.MultiIndex.from_arrays([wall.dt.time, rows["lead_h"]]).factorize()[0]
    observed_at = rows["target_start"] + pd.Timedelta(seconds=2 * HOUR_S)
    base = np.column_stack(
        [known_mean(view.same_hour(name, BASE_DAYS, nearest=1)) for name in NAMES]
    )
    actual = np.column_stack([view.actual(name, view.target_s) for name in NAMES])
    correction = actual - base
    forecast = np.full_like(base, np.nan)
    for origin, issued in rolling_origin(rows["issued_at"], refits):
        observed = (observed_at <= origin).to_numpy() & np.isfinite(correction).all(axis=1)
        for key in np.unique(group[issued]):
            train = observed & (group == key)
            test = issued & (group == key)
            if train.sum() >= FEWEST_ROWS:
                ridge.fit(x[train], correction[train])
                forecast[test] = base[test] + ridge.predict(x[test])
    forecasts = pd.DataFrame(forecast, index=rows.index, columns=NAMES)
    return forecasts.assign(**{HUMIDITY: forecasts[HUMIDITY].clip(0.0, 100.0)})
