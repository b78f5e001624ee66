"""Horizon data set: one row per issue time and hour ahead, with features, targets and naive values.

Features are read through ``AsOfView.known_values`` alone, which gives NaN for every hour that
was unknown at the row's issue time. Prices enter as positions in the price band of the
issue time (0 cheap, 100 expensive, unclipped), so that no price level is learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import (
    DAY_S,
    HOUR_S,
    day_bounds,
    epoch,
    from_epoch,
    local_instant,
    market_day,
)
from factory_lib.domain import indices, tariff
from factory_lib.domain.indices import Floats
from factory_lib.features.calendar import slot_calendar
from factory_lib.features.documented import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE
from factory_lib.features.lags import known_mean
from factory_lib.slots import Slots, from_index, to_index

KnownAt = Callable[[datetime], datetime]
KnownUntil = Mapping[str, KnownAt]

FEATURES_VERSION = 1
BRIDGED_DAYS = 3  # a hole at the latest same hour is bridged by so many days before it at most
WEEK_DAYS = 7
LAST_HOURS = 24
VALUES = (PRICE, TEMPERATURE, HUMIDITY)


def issue_times(first: date, last: date, at: Sequence[time]) -> list[datetime]:
    """Return the issue times (UTC, ascending) at local times ``at`` from ``first`` to ``last``."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [local_instant(day, wall) for day in days for wall in sorted(at)]


def horizon_rows(issues: Sequence[datetime]) -> pd.DataFrame:
    """Return one row per issue time and hour ahead, to the end of the next market day.

    Returns
    -------
    DataFrame
        Default index; ``issued_at``, ``target_start`` (UTC), ``lead_h`` (hours from
        issue to the start of the target) and ``day_ahead`` (whether the target lies in
        the next market day).
    """
    parts = [np.empty((0, 3), dtype=np.int64)]
    for issue in issues:
        begin, end = (epoch(bound) for bound in day_bounds(market_day(issue) + timedelta(days=1)))
        targets = np.arange(-(-epoch(issue) // HOUR_S) * HOUR_S, end, HOUR_S, dtype=np.int64)
        parts.append(
            np.column_stack([np.full_like(targets, epoch(issue)), targets, targets >= begin])
        )
    issued, target, day_ahead = np.concatenate(parts).T
    return pd.DataFrame(
        {
            "issued_at": to_index(issued),
            "target_start": to_index(target),
            "lead_h": (target - issued) / HOUR_S,
            "day_ahead": day_ahead.astype(bool),
        }
    )


class AsOfView:
    """Hourly values as known at the issue time of each row of a horizon data set.

    Parameters
    ----------
    hourly : DataFrame
        Gapless hourly UTC index; EUR/MWh, °C and %, NaN where unknown.
    rows : DataFrame
        From ``horizon_rows``.
    known_until : mapping of column to function
        End (UTC) of the known values of a column at an issue time: the publication
        rules, also for values that were imported later.
    """

    def __init__(self, hourly: pd.DataFrame, rows: pd.DataFrame, known_until: KnownUntil) -> None:
        self._first_s = int(from_index(pd.DatetimeIndex(hourly.index[:1]))[0])
        self._values = {str(name): hourly[name].to_numpy(dtype=np.float64) for name in hourly}
        self.target_s = from_index(rows["target_start"])
        distinct, which = np.unique(from_index(rows["issued_at"]), return_inverse=True)
        issues = [from_epoch(int(issue)) for issue in distinct]
        self.until_s = {}
        for name, rule in known_until.items():
            until = np.array([epoch(rule(issue)) for issue in issues], dtype=np.int64)
            self.until_s[name] = until[which]
        price = hourly[PRICE] * MWH_PER_KWH
        bands = [indices.price_band(price, issue) for issue in issues]
        ends = np.array([(band.low_eur_kwh, band.high_eur_kwh) for band in bands])
        self.low, self.high = ends.reshape(-1, 2)[which].T

    def actual(self, name: str, at_s: Slots) -> Floats:
        """Return the values of the hours that start at ``at_s``, known at issue or not."""
        values = self._values[name]
        position = (at_s - self._first_s) // HOUR_S
        inside = (position >= 0) & (position < len(values))
        return np.where(inside, values[np.where(inside, position, 0)], np.nan)

    def known_values(self, name: str, at_s: Slots) -> Floats:
        """Return the values of the hours that start at ``at_s``; NaN where unknown at issue."""
        return np.where(at_s + HOUR_S <= self.until_s[name], self.actual(name, at_s), np.nan)

    def days_back(self, name: str) -> Slots:
        """Return the days from the target back to its latest known same hour; 0 if it is known."""
        days: Slots = np.maximum(0, -((self.until_s[name] - HOUR_S - self.target_s) // DAY_S))
        return days

    def same_hour(self, name: str, days: int = BRIDGED_DAYS, *, nearest: int = 0) -> list[Floats]:
        """Return the latest known values at the target's hour of the day, newest first.

        The newest lies ``nearest`` days before the target or earlier.
        """
        back = np.maximum(nearest, self.days_back(name))
        return [self.known_values(name, self.target_s - (back + n) * DAY_S) for n in range(days)]

    def last_hours(self, name: str, skipped: int = 0) -> list[Floats]:
        """Return the 24 latest known hours of each row's issue, newest first, after ``skipped``."""
        last_s = (self.until_s[name] // HOUR_S - 1 - skipped) * HOUR_S
        return [self.known_values(name, last_s - n * HOUR_S) for n in range(LAST_HOURS)]

    def position(self, price_eur_mwh: Floats) -> Floats:
        """Return prices as positions in the band of each row's issue time: 0 low, 100 high end."""
        width = np.where(self.high > self.low, self.high - self.low, np.nan)
        position: Floats = 100.0 * (price_eur_mwh * MWH_PER_KWH - self.low) / width
        return position

    def indices(
        self, price_eur_mwh: Floats, temperature_c: Floats, humidity_pct: Floats
    ) -> tuple[Floats, Floats]:
        """Return energy score and production index by rule, in the band of each row's issue."""
        eci = indices.energy_cost_index(price_eur_mwh * MWH_PER_KWH, self.low, self.high)
        tci = indices.temperature_comfort_index(temperature_c)
        hsf = indices.humidity_stress_factor(humidity_pct)
        score = indices.energy_optimization_score(eci, tci)
        return score, indices.chocolate_production_index(tci, eci, hsf)


def horizon_features(view: AsOfView, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the features of each row as floats, NaN where unknown at issue; index of ``rows``."""
    target = pd.DatetimeIndex(rows["target_start"])
    calendar = slot_calendar(target)
    columns: dict[str, Floats] = {"lead_h": rows["lead_h"].to_numpy(dtype=np.float64)}
    columns |= {str(name): calendar[name].to_numpy() for name in calendar}
    columns["tariff_period"] = tariff.periods(target).astype(np.float64)
    columns |= _price_features(view)
    columns |= _weather_features(view, TEMPERATURE, "temperature")
    columns |= _weather_features(view, HUMIDITY, "humidity")
    latest = [_first_known(view.same_hour(name)) for name in VALUES]
    columns["rule_score"], columns["rule_production_index"] = view.indices(*latest)
    return pd.DataFrame(columns, index=rows.index)


def _price_features(view: AsOfView) -> dict[str, Floats]:
    same_hour = view.same_hour(PRICE)
    last_day = np.stack(view.last_hours(PRICE))
    weeks_s = np.maximum(1, -(-view.days_back(PRICE) // WEEK_DAYS)) * WEEK_DAYS * DAY_S
    prices = {
        "latest": _first_known(same_hour),
        "last_week": view.known_values(PRICE, view.target_s - weeks_s),
        "mean_3d": known_mean(same_hour),
        "last_day_mean": known_mean(last_day),
        "last_day_min": last_day.min(axis=0),
        "last_day_max": last_day.max(axis=0),
    }
    return {
        "price_days_back": view.days_back(PRICE).astype(np.float64),
        **{f"price_position_{name}": view.position(price) for name, price in prices.items()},
    }


def _weather_features(view: AsOfView, name: str, prefix: str) -> dict[str, Floats]:
    same_hour = view.same_hour(name)
    last_day = view.last_hours(name)
    day_before = view.last_hours(name, LAST_HOURS)
    recent = 3  # hours: the difference to the same time of the day before
    return {
        f"{prefix}_latest": _first_known(same_hour),
        f"{prefix}_mean_3d": known_mean(same_hour),
        f"{prefix}_last_day_mean": known_mean(last_day),
        f"{prefix}_change": known_mean(last_day[:recent]) - known_mean(day_before[:recent]),
    }


def _first_known(candidates: Sequence[Floats]) -> Floats:
    first = candidates[0]
    for further in candidates[1:]:
        first = np.where(np.isnan(first), further, first)
    return first


def horizon_targets(view: AsOfView, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the actual values and naive forecasts, by rule in the band of each row's issue time.

    Returns
    -------
    DataFrame
        Indexed like ``rows``. ``score`` and ``recommendation`` of the target hour; the
        same with ``_yesterday`` (same hour of the day before the target, even where it
        was unknown at issue: the naive forecast is given that much) and with ``_last``
        (the latest hour known at issue).
    """
    # Prices are known ahead, weather is not: the last value is that of the latest hour
    # with both.
    until_s = np.minimum.reduce([view.until_s[name] for name in VALUES])
    last_s = (until_s // HOUR_S - 1) * HOUR_S
    sources = {
        "": [view.actual(name, view.target_s) for name in VALUES],
        "_yesterday": [view.actual(name, view.target_s - DAY_S) for name in VALUES],
        "_last": [view.known_values(name, last_s) for name in VALUES],
    }
    columns: dict[str, object] = {}
    for suffix, values in sources.items():
        score, production_index = view.indices(*values)
        columns[f"score{suffix}"] = score
        columns[f"recommendation{suffix}"] = indices.production_recommendation(production_index)
    return pd.DataFrame(columns, index=rows.index)
