"""Features of an hour: the documented ones, and those of a horizon data set with its targets.

A horizon data set has one row per issue time and hour ahead. Its features are read through
``AsOfView.known_values`` alone, which gives NaN for every hour that was unknown at the
row's issue time. Prices enter as positions in the price band of the
issue time (0 cheap, 100 expensive, unclipped), so that no price level is learnt.
"""

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
from factory_lib.features.days import Matrix, known_mean, slot_calendar
from factory_lib.slots import Slots, from_index, to_index

KnownAt = Callable[[datetime], datetime]
KnownUntil = Mapping[str, KnownAt]

# The price basis of the plant (spot or PVPC, a setting) and the weather, as columns of
# every hourly frame here.
PRICE, TEMPERATURE, HUMIDITY = "price_eur_mwh", "temperature_c", "humidity_pct"
MWH_PER_KWH = 1e-3
BRIDGED_DAYS = 3  # a hole at the latest same hour is bridged by so many days before it at most
LAST_HOURS = 24
VALUES = (PRICE, TEMPERATURE, HUMIDITY)


def documented_features(
    hourly: pd.DataFrame, issued_at: datetime, area: str = tariff.PENINSULA
) -> pd.DataFrame:
    """Return the thirteen documented features of every hour in ``hourly``.

    Parameters
    ----------
    hourly : DataFrame
        Values available at ``issued_at``: a gapless hourly UTC index, columns
        ``price_eur_mwh``, ``temperature_c`` and ``humidity_pct``, NaN where unknown.
        Hours after ``issued_at`` may be there, such as tomorrow's prices.
    issued_at : datetime
        One price band, of the 90 days before it, serves every hour, past and future: so
        a row is comparable with every other row, and with the input of a model trained
        for this issue time.
    area : str
        Whose tariff periods.

    Returns
    -------
    DataFrame
        Index of ``hourly``: floats, but
        ``tariff_period`` and ``outdoor_index_class`` are categories.
        ``price_trend_1h`` is the difference to the hour before, ``price_volatility_24h``
        the standard deviation of the 24 hours that end with this one, both in EUR/kWh:
        prices may be zero, so ratios are of no use.
    """
    price_eur_kwh = hourly[PRICE] * MWH_PER_KWH
    band = indices.price_band(price_eur_kwh, issued_at)
    eci = indices.energy_cost_index(price_eur_kwh, band.low_eur_kwh, band.high_eur_kwh)
    tci = indices.temperature_comfort_index(hourly[TEMPERATURE])
    hsf = indices.humidity_stress_factor(hourly[HUMIDITY])
    cpi = indices.chocolate_production_index(tci, eci, hsf)
    columns = {
        "price_eur_kwh": price_eur_kwh,
        "energy_cost_index": eci,
        "tariff_period": tariff.labels(tariff.periods(pd.DatetimeIndex(hourly.index), area=area)),
        "temperature_c": hourly[TEMPERATURE],
        "humidity_pct": hourly[HUMIDITY],
        "temperature_comfort_index": tci,
        "humidity_stress_factor": hsf,
        "chocolate_production_index": cpi,
        "energy_optimization_score": indices.energy_optimization_score(eci, tci),
        "heat_stress_factor": indices.heat_stress_factor(hourly[TEMPERATURE], hourly[HUMIDITY]),
        "outdoor_index_class": indices.outdoor_index_class(cpi),
        "price_trend_1h": price_eur_kwh.diff(),
        "price_volatility_24h": price_eur_kwh.rolling(24).std(),
    }
    return pd.DataFrame(columns, index=hourly.index)


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

    def actual(self, name: str, at_s: Slots) -> Matrix:
        """Return the values of the hours that start at ``at_s``, known at issue or not."""
        values = self._values[name]
        position = (at_s - self._first_s) // HOUR_S
        inside = (position >= 0) & (position < len(values))
        return np.where(inside, values[np.where(inside, position, 0)], np.nan)

    def known_values(self, name: str, at_s: Slots) -> Matrix:
        """Return the values of the hours that start at ``at_s``; NaN where unknown at issue."""
        return np.where(at_s + HOUR_S <= self.until_s[name], self.actual(name, at_s), np.nan)

    def days_back(self, name: str) -> Slots:
        """Return the days from the target back to its latest known same hour; 0 if it is known."""
        return -((self.until_s[name] - HOUR_S - self.target_s) // DAY_S).clip(max=0)

    def same_hour(self, name: str, days: int = BRIDGED_DAYS, *, nearest: int = 0) -> list[Matrix]:
        """Return the latest known values at the target's hour of the day, newest first.

        The newest lies ``nearest`` days before the target or earlier.
        """
        back = np.maximum(nearest, self.days_back(name))
        return [self.known_values(name, self.target_s - (back + n) * DAY_S) for n in range(days)]

    def last_hours(self, name: str, skipped: int = 0) -> list[Matrix]:
        """Return the 24 latest known hours of each row's issue, newest first, after ``skipped``."""
        last_s = (self.until_s[name] // HOUR_S - 1 - skipped) * HOUR_S
        return [self.known_values(name, last_s - n * HOUR_S) for n in range(LAST_HOURS)]

    def position(self, price_eur_mwh: Matrix) -> Matrix:
        """Return prices as positions in the band of each row's issue time: 0 low, 100 high end."""
        width = np.where(self.high > self.low, self.high - self.low, np.nan)
        return np.asarray(100.0 * (price_eur_mwh * MWH_PER_KWH - self.low) / width)

    def indices(
        self, price_eur_mwh: Matrix, temperature_c: Matrix, humidity_pct: Matrix
    ) -> tuple[Matrix, Matrix]:
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
    latest = [_first_known(view.same_hour(name)) for name in VALUES]
    score, production_index = view.indices(*latest)
    columns = {
        "lead_h": rows["lead_h"].to_numpy(dtype=np.float64),
        **{str(name): calendar[name].to_numpy() for name in calendar},
        "tariff_period": tariff.periods(target).astype(np.float64),
        **_price_features(view),
        **_weather_features(view, TEMPERATURE, "temperature"),
        **_weather_features(view, HUMIDITY, "humidity"),
        "rule_score": score,
        "rule_production_index": production_index,
    }
    return pd.DataFrame(columns, index=rows.index)


def _price_features(view: AsOfView) -> dict[str, Matrix]:
    same_hour = view.same_hour(PRICE)
    last_day = np.stack(view.last_hours(PRICE))
    weeks_s = np.maximum(1, -(-view.days_back(PRICE) // 7)) * 7 * DAY_S
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


def _weather_features(view: AsOfView, name: str, prefix: str) -> dict[str, Matrix]:
    same_hour = view.same_hour(name)
    last_day = view.last_hours(name)
    day_before = view.last_hours(name, LAST_HOURS)
    return {
        f"{prefix}_latest": _first_known(same_hour),
        f"{prefix}_mean_3d": known_mean(same_hour),
        f"{prefix}_last_day_mean": known_mean(last_day),
        f"{prefix}_change": known_mean(last_day[:3]) - known_mean(day_before[:3]),
    }


def _first_known(candidates: Sequence[Matrix]) -> Matrix:
    return pd.DataFrame(np.column_stack(candidates)).bfill(axis=1)[0].to_numpy()


def horizon_targets(view: AsOfView, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the actual values and naive forecasts, by rule in the band of each row's issue time.

    Returns
    -------
    DataFrame
        Indexed like ``rows``. ``score`` and ``outdoor_index_class`` of the target hour; the
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
        columns[f"outdoor_index_class{suffix}"] = indices.outdoor_index_class(production_index)
    return pd.DataFrame(columns, index=rows.index)
