"""The state of the air at an issue time: what a linear forecast of temperature and humidity ahead is made from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S
from factory_lib.features.documented import HUMIDITY, TEMPERATURE
from factory_lib.features.horizon import Floats, KnownUntil, Past
from factory_lib.features.lags import known_mean

VAPOUR = "vapour_pressure_hpa"
BASE_DAYS = 7  # the forecast is a correction of the mean of so many days at the same hour
_SLOW_DAYS = 28


def with_vapour(hourly: pd.DataFrame, known_until: KnownUntil) -> tuple[pd.DataFrame, KnownUntil]:
    """Return the hours with vapour pressure beside: unlike relative humidity it hardly moves with the hour of the day.

    Saturation by Magnus' formula over water, Sonntag (1990), Z. Meteorol. 70, 340-344.
    """
    temperature = hourly[TEMPERATURE]
    saturation = 6.112 * np.exp(17.62 * temperature / (243.12 + temperature))
    return hourly.assign(**{VAPOUR: saturation * hourly[HUMIDITY] / 100.0}), {
        **known_until,
        VAPOUR: known_until[HUMIDITY],
    }


def recent_mean(past: Past, name: str, days: int = BASE_DAYS) -> Floats:
    """Return the mean of the latest ``days`` known values at each target's hour of the day."""
    return known_mean(_same_hours(past, name, days))


def air_state(past: Past, rows: pd.DataFrame) -> Floats:
    """Return one line per row: the last hours, how they differ from the day before, and the last days at the hour.

    Returns
    -------
    array, shape (rows, features)
        NaN where not known at issue.
    """
    columns: list[Floats] = []
    for name in (TEMPERATURE, VAPOUR):
        last, before = past.last_hours(name), past.last_hours(name, skipped=24)
        columns += [
            last[0],
            last[1],
            last[2],
            known_mean(last[3:6]),
            known_mean(last[6:12]),
            known_mean(last[12:]),
        ]
        columns += [
            known_mean(last[:3]) - known_mean(before[:3]),
            known_mean(last) - known_mean(before),
        ]
        columns += [np.max(last, axis=0), np.min(last, axis=0)]
    for name in (TEMPERATURE, HUMIDITY):
        days = _same_hours(past, name, _SLOW_DAYS)
        columns += [
            days[0],
            days[1],
            known_mean(days[:3]),
            known_mean(days[:BASE_DAYS]),
            known_mean(days),
        ]
    angle = (
        2
        * np.pi
        * pd.DatetimeIndex(rows["target_start"]).day_of_year.to_numpy(dtype=np.float64)
        / 365.25
    )
    season = [np.sin(angle), np.cos(angle)]
    columns += season + [part * now for part in season for now in columns[:3]]
    return np.column_stack(columns)


def _same_hours(past: Past, name: str, days: int) -> list[Floats]:
    back = np.maximum(1, past.days_back(name))
    return [past.known(name, past.target_s - (back + n) * DAY_S) for n in range(days)]
