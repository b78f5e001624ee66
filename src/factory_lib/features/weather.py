"""Features of the weather: of temperature and humidity, and of the power of wind and sun.

A provider forecasts a grid cell, the factory is a point: most of the error is the same
every day at the same hour, and goes away by subtracting it.
"""

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S, floored
from factory_lib.domain.plant import saturation_hpa
from factory_lib.features.days import YEAR_DAYS, DayMatrix, Matrix, day_matrix, known_mean, lag
from factory_lib.features.horizon import HUMIDITY, TEMPERATURE, AsOfView, KnownUntil
from factory_lib.features.prices import RESIDUAL_LOAD, ahead_name
from factory_lib.slots import Slots, from_index, to_index

# UTC hours of the usual coldest (about sunrise) and warmest hour, as in the hourly
# means of Seville 2015–2017.
COLDEST_HOUR_UTC, WARMEST_HOUR_UTC = 5, 15
CLIMATE_COLUMNS = ("temperature_min_c", "temperature_max_c", "humidity_max_pct", "humidity_min_pct")
BIAS_DAYS = 14
_PRIOR_DAYS = 5.0  # an hour's mean error counts fully only when many days agree on it
_SEASON_DAYS = 10  # climatology uses so many days on either side of the day of the year
VAPOUR = "vapour_pressure_hpa"
BASE_DAYS = 7  # the forecast is a correction of the mean of so many days at the same hour
_SLOW_DAYS = 28


def hourly_from_daily(daily: pd.DataFrame) -> pd.DataFrame:
    """Return hourly temperature and humidity as half cosines from extreme to extreme.

    The humid extreme is taken to fall on the cold hour and the dry one on the warm hour.
    Fronts, showers and warm nights are lost: every day follows the ideal course.

    Parameters
    ----------
    daily : DataFrame
        UTC days as index, columns ``CLIMATE_COLUMNS``; absent or NaN days leave their hours
        unknown.

    Returns
    -------
    DataFrame
        Hourly UTC index over the days given; ``temperature_c``, ``humidity_pct``.
        Imputed: never stored.
    """
    whole = daily.asfreq("D")
    days_s = from_index(pd.DatetimeIndex(whole.index))
    hours_s = np.arange(days_s[0], days_s[-1] + DAY_S, HOUR_S, dtype=np.int64)
    coldest_c, warmest_c, wettest, driest = (whole[name] for name in CLIMATE_COLUMNS)
    columns = {
        TEMPERATURE: _between(hours_s, days_s, coldest_c, warmest_c),
        HUMIDITY: _between(hours_s, days_s, wettest, driest),
    }
    return pd.DataFrame(columns, index=to_index(hours_s))


def hourly_from_daily_until(days_until: datetime) -> datetime:
    """Return the end of the hours that need no later day than those that end by ``days_until``.

    The hours after a day's warmest lead on to the next day's coldest, so they are known
    only with it.
    """
    last_day = floored(days_until, DAY_S) - timedelta(days=1)
    return last_day + timedelta(hours=WARMEST_HOUR_UTC + 1)


def _between(hours_s: Slots, days_s: Slots, at_coldest: pd.Series, at_warmest: pd.Series) -> Matrix:
    anchor_hours = np.array([COLDEST_HOUR_UTC, WARMEST_HOUR_UTC]) * HOUR_S
    anchors = (days_s[:, None] + anchor_hours).ravel()
    values = np.column_stack([at_coldest, at_warmest]).ravel()
    left = np.searchsorted(anchors, hours_s, side="right") - 1
    inside = (left >= 0) & (left < len(anchors) - 1)
    left = np.where(inside, left, 0)
    share = (hours_s - anchors[left]) / (anchors[left + 1] - anchors[left])
    weight = (1.0 - np.cos(np.pi * share)) / 2.0
    mixed = values[left] * (1.0 - weight) + values[left + 1] * weight
    # An anchor needs no neighbour: the warmest hour of the last known day is known.
    return np.where(inside, np.where(share == 0, values[left], mixed), np.nan)


def hourly_bias(error: pd.Series, *, days: int = BIAS_DAYS) -> pd.Series:
    """Return the mean error of each UTC hour over the last ``days`` days with one.

    Parameters
    ----------
    error : Series
        Forecast minus observation, indexed by ``start`` (UTC), NaN where either is
        unknown; forecasts as issued a day ahead.

    Returns
    -------
    Series
        Indexed 0 … 23; shrunk towards 0 where few days can be compared, 0 where none
        can.
    """
    errors: pd.Series = error.dropna()
    errors = errors[errors.index > errors.index.max() - pd.Timedelta(days=days)]
    by_hour = errors.groupby(pd.DatetimeIndex(errors.index).hour).agg(["mean", "count"])
    shrunk = by_hour["mean"] * by_hour["count"] / (by_hour["count"] + _PRIOR_DAYS)
    return shrunk.reindex(range(24), fill_value=0.0).astype(float)


def climatology(observed: pd.Series, index: pd.DatetimeIndex) -> pd.Series:
    """Return the median of the same hour within ten days of the same day of any past year.

    Parameters
    ----------
    observed : Series
        Indexed by ``start`` (UTC), hourly; only values known at the issue time.

    Returns
    -------
    Series
        Indexed like ``index``; NaN where the past has no such hour.
    """
    values = observed.dropna()
    past = pd.DatetimeIndex(values.index)
    past_values = values.to_numpy(dtype=np.float64)
    past_days = past.day_of_year.to_numpy()
    past_hours = past.hour.to_numpy()
    medians = []
    for slot in index:
        apart = np.abs(past_days - slot.day_of_year)
        in_season = np.minimum(apart, YEAR_DAYS - apart) <= _SEASON_DAYS
        near = past_values[in_season & (past_hours == slot.hour)]
        medians.append(np.quantile(near, 0.5) if len(near) else np.nan)
    return pd.Series(medians, index=index, dtype="float64")


def corrected_forecast(
    index: pd.DatetimeIndex, forecast: pd.Series, bias: pd.Series, observed: pd.Series
) -> pd.DataFrame:
    """Return the forecast less its bias at each slot of ``index``, climatology where there is none.

    Parameters
    ----------
    forecast : Series
        The provider's latest, indexed by ``start`` (UTC); may be empty or end early.
    bias : Series
        From ``hourly_bias``.
    observed : Series
        The site's past, for ``climatology``.

    Returns
    -------
    DataFrame
        Indexed like ``index``: ``value``, and ``source``: "forecast", "climatology" or
        "unknown".
    """
    corrected = forecast.reindex(index) - bias.reindex(index.hour).to_numpy()
    missing = index[corrected.isna().to_numpy()]
    value = corrected.fillna(climatology(observed, missing))
    conditions = [corrected.notna(), value.notna()]
    source = np.select(conditions, ["forecast", "climatology"], default="unknown")
    return pd.DataFrame({"value": value, "source": source}, index=index)


def with_vapour(hourly: pd.DataFrame, known_until: KnownUntil) -> tuple[pd.DataFrame, KnownUntil]:
    """Return the hours with vapour pressure, which varies far less by hour than humidity does."""
    saturation = saturation_hpa(hourly[TEMPERATURE].to_numpy(dtype=np.float64))
    hours = hourly.assign(**{VAPOUR: saturation * hourly[HUMIDITY] / 100.0})
    return hours, {**known_until, VAPOUR: known_until[HUMIDITY]}


def weather_state(view: AsOfView, rows: pd.DataFrame) -> Matrix:
    """Return the state of the air at the issue of each row, from which its change is learnt.

    Temperature and vapour pressure of the last hours, their change since the day before,
    the last days at the target's hour, and the season.

    Returns
    -------
    array, shape (rows, features)
        NaN where not known at issue.
    """
    columns: list[Matrix] = []
    for name in (TEMPERATURE, VAPOUR):
        last = view.last_hours(name)
        before = view.last_hours(name, skipped=24)
        columns += [
            *last[:3],
            known_mean(last[3:6]),
            known_mean(last[6:12]),
            known_mean(last[12:]),
            known_mean(last[:3]) - known_mean(before[:3]),
            known_mean(last) - known_mean(before),
            np.max(last, axis=0),
            np.min(last, axis=0),
        ]
    for name in (TEMPERATURE, HUMIDITY):
        days = view.same_hour(name, _SLOW_DAYS, nearest=1)
        means = [known_mean(days[:3]), known_mean(days[:BASE_DAYS]), known_mean(days)]
        columns += [*days[:2], *means]
    day_of_year = pd.DatetimeIndex(rows["target_start"]).day_of_year.to_numpy(dtype=np.float64)
    angle = 2 * np.pi * day_of_year / YEAR_DAYS
    season = [np.sin(angle), np.cos(angle)]
    columns += season + [part * latest for part in season for latest in columns[:3]]
    return np.column_stack(columns)


# -- load, wind and solar power of Spain two to seven days ahead ---------
# The operator forecasts tomorrow; weather is forecast for a week. Wind power follows the
# wind at 100 m where Spain has wind turbines, solar power the radiation where it has solar
# panels: by curves fitted to the operator's own day-ahead forecasts and the weather as
# forecast then, over the last weeks, because installed power grows. The load is the
# operator's forecast of the week, else that of the same weekday a week before.

WIND_SPEED = "wind_speed_100m_ms"
RADIATION = "solar_radiation_wm2"
FIT_DAYS = 90
LEAST_FIT_HOURS = 14 * 24
# Quantity -> scale and powers of its curve: a turbine's output rises with the cube of
# the wind and levels off; panels lose a little in strong sun.
CURVES = {WIND_SPEED: (10.0, (0, 1, 2, 3)), RADIATION: (500.0, (1, 2))}
_RIDGE = 1e-3  # against a curve that few hours bend


def system_ahead(
    day_ahead: pd.DataFrame,
    weather_then: Mapping[Hashable, pd.Series],
    ahead: Mapping[Hashable, pd.Series],
    lead: int,
) -> dict[str, DayMatrix]:
    """Return load, wind and residual load (MW) of each target day, as known before.

    Parameters
    ----------
    day_ahead : DataFrame
        Hourly UTC index; ``load_mw``, ``wind_mw``, ``solar_mw`` as forecast by noon of the
        day before.
    weather_then : mapping of str to Series
        ``WIND_SPEED`` and ``RADIATION`` as forecast by then, UTC index.
    ahead : mapping of str to Series
        The same as forecast by noon ``lead`` days before, and ``load_mw`` where it was.

    Returns
    -------
    dict of str to DayMatrix
        By ``features.prices.ahead_name``; NaN where the weather is unknown, empty
        without any.
    """
    if any(ahead[name].dropna().empty for name in CURVES):
        return {}
    present, learnt, coming = _aligned(dict(day_ahead.items()), weather_then, ahead)
    wind, sun = (
        _power(present[name].grid, learnt[of].grid, coming[of].grid, CURVES[of], lead)
        for name, of in (("wind_mw", WIND_SPEED), ("solar_mw", RADIATION))
    )
    load = lag(present["load_mw"].grid, 7)
    if "load_mw" in coming:
        of_operator = coming["load_mw"].grid
        load = np.where(np.isfinite(of_operator), of_operator, load)
    made = {RESIDUAL_LOAD: load - wind - sun, "load_mw": load, "wind_mw": wind}
    every = present["load_mw"].days
    return {ahead_name(name, lead): DayMatrix(every, grid) for name, grid in made.items()}


def _aligned(*tables: Mapping[Hashable, pd.Series]) -> Iterator[dict[str, DayMatrix]]:
    """Yield each table's series by day, on the days of all of them; unknown ones are left out."""
    matrices: list[dict[str, DayMatrix]] = []
    for table in tables:
        filled = {name: part for name, part in table.items() if part.notna().any()}
        matrices.append({str(name): day_matrix(part) for name, part in filled.items()})
    parts = [matrix.days for table in matrices for matrix in table.values()]
    days = np.concatenate(parts)
    for by_day in matrices:
        yield {name: matrix.spanning(days.min(), days.max()) for name, matrix in by_day.items()}


def _power(
    mw: Matrix, then: Matrix, ahead: Matrix, curve: tuple[float, tuple[int, ...]], lead: int
) -> Matrix:
    """Return the power at the weather ahead, by the curve of the days known at each issue."""
    scale, exponents = curve
    powers = np.array(exponents)
    present = np.isfinite(mw + then)
    x = np.where(present, then, 0.0)[:, :, None] / scale
    x = np.where(present[:, :, None], x**powers, 0.0)
    y = np.where(present, mw, 0.0)
    size = len(powers)
    sums = np.column_stack(
        [
            np.einsum("dhi,dhj->dij", x, x).reshape(len(y), -1),
            np.einsum("dhi,dh->di", x, y),
            present.sum(axis=1),
        ]
    )
    # the day-ahead forecasts of the day after the issue are known, too
    trailing = pd.DataFrame(sums).rolling(FIT_DAYS, min_periods=1).sum().shift(lead - 1)
    table = trailing.fillna(0.0).to_numpy()
    squares = table[:, : size * size].reshape(-1, size, size) + _RIDGE * np.eye(size)
    coefficients = np.linalg.solve(squares, table[:, size * size : -1, None])[:, :, 0]
    coefficients[table[:, -1] < LEAST_FIT_HOURS] = np.nan
    made = np.einsum("dhi,di->dh", (ahead[:, :, None] / scale) ** powers, coefficients)
    return np.asarray(np.maximum(made, 0.0))
