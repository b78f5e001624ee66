"""What is learnt from: one row per issue time and hour ahead, features from what was known, targets from what came.

The only door to the past is ``Past.known``, which gives NaN for every hour that the
row's issue could not know yet. Prices enter as a position in the price band of the
issue time (0 cheap, 100 dear, unclipped): no level to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
from factory_lib.features.calendar import slot_calendar
from factory_lib.features.documented import HUMIDITY, MWH_PER_KWH, PRICE, TEMPERATURE
from factory_lib.features.lags import known_mean
from factory_lib.slots import Slots, from_index, to_index

Floats = NDArray[np.float64]
KnownAt = Callable[[datetime], datetime]
KnownUntil = Mapping[str, KnownAt]

FEATURES_VERSION = 1
BRIDGED_DAYS = 3  # a hole at the latest same hour is bridged by the days before, so many at most
WEEK_DAYS = 7
LAST_HOURS = 24
WEATHER = {TEMPERATURE: "temperature", HUMIDITY: "humidity"}


def issue_times(first: date, last: date, at: Sequence[time]) -> list[datetime]:
    """Return the issue times (UTC, ascending) at the local wall times ``at``, every day from ``first`` to ``last``."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [local_instant(day, wall) for day in days for wall in sorted(at)]


def rows_ahead(issues: Sequence[datetime]) -> pd.DataFrame:
    """Return one row per issue time and hour ahead, up to the end of the next market day.

    Returns
    -------
    DataFrame
        Default index; ``issued_at``, ``target_start`` (UTC), ``lead_h`` (hours from
        issue to the start of the target) and ``day_ahead`` (whether the target lies in
        the next market day).
    """
    parts = []
    for issue in issues:
        begin, end = (epoch(bound) for bound in day_bounds(market_day(issue) + timedelta(days=1)))
        targets = np.arange(-(-epoch(issue) // HOUR_S) * HOUR_S, end, HOUR_S, dtype=np.int64)
        parts.append(
            np.column_stack([np.full_like(targets, epoch(issue)), targets, targets >= begin])
        )
    table = np.concatenate(parts) if parts else np.empty((0, 3), dtype=np.int64)
    return pd.DataFrame(
        {
            "issued_at": to_index(table[:, 0]),
            "target_start": to_index(table[:, 1]),
            "lead_h": (table[:, 1] - table[:, 0]) / HOUR_S,
            "day_ahead": table[:, 2].astype(bool),
        }
    )


class Past:
    """Hourly values, and for each row of a table what its issue time knew of them.

    Parameters
    ----------
    hourly : DataFrame
        Gapless hourly UTC index; EUR/MWh, °C and %, NaN where unknown.
    rows : DataFrame
        From ``rows_ahead``.
    known_until : mapping of column to function
        The end (UTC) of what is known of a column at an issue time: publication rules,
        however the values came.
    """

    def __init__(self, hourly: pd.DataFrame, rows: pd.DataFrame, known_until: KnownUntil) -> None:
        assert isinstance(hourly.index, pd.DatetimeIndex)
        self._first_s = int(from_index(hourly.index[:1])[0])
        self._values = {str(name): hourly[name].to_numpy(dtype=np.float64) for name in hourly}
        self.target_s = from_index(rows["target_start"])
        issues, which = np.unique(from_index(rows["issued_at"]), return_inverse=True)
        self.until_s = {
            name: np.array(
                [epoch(rule(from_epoch(int(issue)))) for issue in issues], dtype=np.int64
            )[which]
            for name, rule in known_until.items()
        }
        price = hourly[PRICE] * MWH_PER_KWH
        bands = [indices.price_band(price, from_epoch(int(issue))) for issue in issues]
        self.low = np.array([band.low_eur_kwh for band in bands])[which] if bands else np.empty(0)
        self.high = np.array([band.high_eur_kwh for band in bands])[which] if bands else np.empty(0)

    def actual(self, name: str, at_s: Slots) -> Floats:
        """Return the values of the hours that start at ``at_s``, whenever they became known."""
        values = self._values[name]
        position = (at_s - self._first_s) // HOUR_S
        inside = (position >= 0) & (position < len(values))
        return np.where(inside, values[np.where(inside, position, 0)], np.nan)

    def known(self, name: str, at_s: Slots) -> Floats:
        """Return the values of the hours that start at ``at_s``; NaN where the row's issue did not know them yet."""
        return np.where(at_s + HOUR_S <= self.until_s[name], self.actual(name, at_s), np.nan)

    def days_back(self, name: str) -> Slots:
        """Return how many days before the target its latest known same hour lies; 0 where the target is known."""
        days: Slots = np.maximum(0, -((self.until_s[name] - HOUR_S - self.target_s) // DAY_S))
        return days

    def same_hour(self, name: str) -> list[Floats]:
        """Return the latest known values at the target's hour of the day, newest first."""
        back = self.days_back(name)
        return [self.known(name, self.target_s - (back + n) * DAY_S) for n in range(BRIDGED_DAYS)]

    def last_hours(self, name: str, skipped: int = 0) -> list[Floats]:
        """Return the 24 latest known hours of each row's issue, newest first, after ``skipped`` newer ones."""
        last_s = (self.until_s[name] // HOUR_S - 1 - skipped) * HOUR_S
        return [self.known(name, last_s - n * HOUR_S) for n in range(LAST_HOURS)]

    def position(self, price_eur_mwh: Floats) -> Floats:
        """Return prices as positions in the band of each row's issue time: 0 at its low end, 100 at its high end."""
        width = self.high - self.low
        return 100.0 * (price_eur_mwh * MWH_PER_KWH - self.low) / np.where(width > 0, width, np.nan)

    def indices(
        self, price_eur_mwh: Floats, temperature_c: Floats, humidity_pct: Floats
    ) -> tuple[Floats, Floats]:
        """Return energy optimisation score and production index by rule, in the band of each row's issue time."""
        eci = indices.energy_cost_index(price_eur_mwh * MWH_PER_KWH, self.low, self.high)
        tci = indices.temperature_comfort_index(temperature_c)
        hsf = indices.humidity_stress_factor(humidity_pct)
        score = indices.energy_optimization_score(eci, tci)
        return score, indices.chocolate_production_index(tci, eci, hsf)


def features(past: Past, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the features of each row, floats, NaN where not known at issue; indexed like ``rows``."""
    target = pd.DatetimeIndex(rows["target_start"])
    calendar = slot_calendar(target)
    columns: dict[str, Floats] = {"lead_h": rows["lead_h"].to_numpy(dtype=np.float64)}
    columns |= {str(name): calendar[name].to_numpy() for name in calendar}
    columns["tariff_period"] = tariff.periods(target).astype(np.float64)
    columns |= _price_features(past)
    for name, word in WEATHER.items():
        columns |= _weather_features(past, name, word)
    latest = [_first_known(past.same_hour(name)) for name in (PRICE, TEMPERATURE, HUMIDITY)]
    columns["rule_score"], columns["rule_production_index"] = past.indices(*latest)
    return pd.DataFrame(columns, index=rows.index)


def _price_features(past: Past) -> dict[str, Floats]:
    same_hour, last_day = past.same_hour(PRICE), np.stack(past.last_hours(PRICE))
    weeks_s = np.maximum(1, -(-past.days_back(PRICE) // WEEK_DAYS)) * WEEK_DAYS * DAY_S
    prices = {
        "latest": _first_known(same_hour),
        "last_week": past.known(PRICE, past.target_s - weeks_s),
        "mean_3d": known_mean(same_hour),
        "last_day_mean": known_mean(last_day),
        "last_day_min": last_day.min(axis=0),
        "last_day_max": last_day.max(axis=0),
    }
    return {
        "price_days_back": past.days_back(PRICE).astype(np.float64),
        **{f"price_position_{name}": past.position(price) for name, price in prices.items()},
    }


def _weather_features(past: Past, name: str, word: str) -> dict[str, Floats]:
    same_hour, last_day, day_before = (
        past.same_hour(name),
        past.last_hours(name),
        past.last_hours(name, LAST_HOURS),
    )
    recent = 3  # hours: how much warmer or damper it just was than at the same time the day before
    return {
        f"{word}_latest": _first_known(same_hour),
        f"{word}_mean_3d": known_mean(same_hour),
        f"{word}_last_day_mean": known_mean(last_day),
        f"{word}_change": known_mean(last_day[:recent]) - known_mean(day_before[:recent]),
    }


def _first_known(candidates: Sequence[Floats]) -> Floats:
    found = candidates[0]
    for further in candidates[1:]:
        found = np.where(np.isnan(found), further, found)
    return found


def outcomes(past: Past, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what came, and what the naive forecasts would have said, as rules in the band of each row's issue time.

    Returns
    -------
    DataFrame
        Indexed like ``rows``. ``score`` and ``recommendation`` of the target hour; the
        same with ``_yesterday`` (same hour of the day before the target, even where the
        issue did not know it yet: the naive forecast is given that much) and with
        ``_last`` (the latest hour known at issue).
    """
    names = (PRICE, TEMPERATURE, HUMIDITY)
    # Prices are known ahead, weather is not: the last value is that of the latest hour
    # with both.
    last_s = (np.minimum.reduce([past.until_s[name] for name in names]) // HOUR_S - 1) * HOUR_S
    sources = {
        "": [past.actual(name, past.target_s) for name in names],
        "_yesterday": [past.actual(name, past.target_s - DAY_S) for name in names],
        "_last": [past.known(name, last_s) for name in names],
    }
    columns: dict[str, object] = {}
    for suffix, values in sources.items():
        score, production_index = past.indices(*values)
        columns[f"score{suffix}"] = score
        columns[f"recommendation{suffix}"] = indices.production_recommendation(production_index)
    return pd.DataFrame(columns, index=rows.index)
