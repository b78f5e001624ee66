"""The electricity system of the simulated world: load, wind, sun, gas, and the price they make.

The price is what the last plant needed costs: nothing when wind, sun and must-run
plants cover the load, about the gas price over its efficiency when gas is needed, more
when it is scarce. So weekday, holiday, wind, sunny noon and the slow gas price are in
it, and a forecaster has something to find. Levels are of the size of the Spanish
peninsula after 2023.
"""

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S, HOUR_S, MADRID, QUARTER_S
from factory_lib.slots import to_index
from factory_sim.climate import Climate
from factory_sim.noise import Floats, Ints, Noise, floats

# Load of a working day by local hour, relative to its mean: night, morning ramp,
# midday, siesta, evening peak.
_SHAPE = np.array(
    [
        0.90,
        0.85,
        0.82,
        0.80,
        0.80,
        0.82,
        0.89,
        0.98,
        1.04,
        1.07,
        1.08,
        1.09,
        1.09,
        1.09,
        1.05,
        1.03,
        1.02,
        1.03,
        1.06,
        1.10,
        1.13,
        1.12,
        1.04,
        0.97,
    ]
)
# Monday to Sunday; a national holiday is a Sunday.
_WEEK = np.array([0.99, 1.02, 1.03, 1.03, 1.02, 0.92, 0.86])
# The tariff's fixed-date holidays, as month · 100 + day (Circular CNMC 3/2020), 6
# January included.
_HOLIDAYS = (101, 106, 501, 815, 1012, 1101, 1206, 1208, 1225)
_MUST_RUN_MW = 8_500.0  # nuclear, run-of-river, cogeneration
_WIND_MW = 24_000.0
_SOLAR_MW = 19_500.0
# Energy term beyond the market price by period of the 2.0TD tariff: tolls, charges,
# system services (EUR/MWh).
_PVPC_ADDER = np.array([0.0, 112.0, 46.0, 17.0])


class Market:
    """Power system and prices at any instant; ``at_s`` are seconds since 1970."""

    def __init__(self, noise: Noise, climate: Climate) -> None:
        self._noise = noise
        self._climate = climate

    # -- quantities -------------------------------------------------------------------------------

    def load_mw(self, at_s: Ints) -> Floats:
        """Return the load of the system."""
        local = _local(at_s)
        hour = local.hour.to_numpy() + local.minute.to_numpy() / 60
        shape = np.interp(hour, np.arange(25), np.append(_SHAPE, _SHAPE[0]))
        rest = _rest_day(local)
        week = np.where(rest, _WEEK[6], _WEEK[local.day_of_week.to_numpy()])
        shape = np.where(week < 0.95, 1 + 0.75 * (shape - 1), shape)  # weekends are flatter
        day_mean = self._climate.temperature_c((at_s // DAY_S) * DAY_S + 8 * HOUR_S)
        thermal = 190 * np.maximum(day_mean - 21, 0) + 230 * np.maximum(11 - day_mean, 0)
        noise = self._noise.layers(
            "load", at_s, {5 * DAY_S: 0.012, DAY_S: 0.010, 2 * HOUR_S: 0.004}
        )
        return floats((26_500 * week * shape + thermal) * (1 + noise))

    def wind_mw(self, at_s: Ints) -> Floats:
        """Return the wind generation; fronts pass in days."""
        passing = self._noise.layers(
            "windpower", at_s, {9 * DAY_S: 0.6, 4 * DAY_S: 0.6, DAY_S: 0.35, 5 * HOUR_S: 0.15}
        )
        season = 0.35 * self._climate.season(at_s, 30.0)
        return _WIND_MW / (1 + np.exp(1.35 - season - passing))

    def solar_mw(self, at_s: Ints) -> Floats:
        """Return the photovoltaic generation of the country, in the middle of each quarter."""
        middle = at_s + QUARTER_S // 2
        height = self._climate.sun(middle, 39.0, -3.7)
        return _SOLAR_MW * height**1.15 * (1 - 0.55 * self._climate.cloud_share(middle))

    def wind_speed_100m_ms(self, at_s: Ints, place: str = "") -> Floats:
        """Return the wind that gives the country's wind power; each place is off by its own."""
        share = self.wind_mw(at_s) / _WIND_MW
        local = 0.8 * self._noise.smooth(f"wind/{place}", at_s, 9 * HOUR_S) if place else 0.0
        return floats(np.maximum(15.0 * share**0.45 + local, 0.0))

    def solar_radiation_wm2(self, starts: Ints, place: str = "") -> Floats:
        """Return the radiation (mean of the hour) under the clouds that dim the solar power."""
        latitude, longitude = map(float, place.split(",")) if place else (39.0, -3.7)
        middle = starts + HOUR_S // 2
        height = self._climate.sun(middle, latitude, longitude)
        clear = 1098 * height * np.exp(-0.057 / np.maximum(height, 0.01))
        return floats(clear * (1 - 0.55 * self._climate.cloud_share(middle)))

    def weather_forecast(self, quantity: str, starts: Ints, run_s: Ints, place: str) -> Floats:
        """Return wind or radiation of a place as runs of a weather model forecast it."""
        truth = getattr(self, quantity)(starts, place)
        lead_days = np.maximum(starts - run_s, 0) / DAY_S
        error = 0.12 * np.sqrt(lead_days) * self._noise.normal(f"run/{quantity}", run_s)
        return floats(np.maximum(truth * (1 + error), 0.0))

    def gas_eur_mwh(self, at_s: Ints) -> Floats:
        """Return the gas price: slow, without a pull to any year's season."""
        slow = self._noise.layers(
            "gas", at_s, {500 * DAY_S: 0.22, 120 * DAY_S: 0.14, 25 * DAY_S: 0.07, 5 * DAY_S: 0.03}
        )
        return 31.0 * np.exp(slow)

    def residual_gw(self, at_s: Ints) -> Floats:
        """Return the load that wind, sun and must-run plants leave to others."""
        return (self.load_mw(at_s) - self.wind_mw(at_s) - self.solar_mw(at_s) - _MUST_RUN_MW) / 1000

    def gas_generation_mwh(self, starts: Ints, length_s: Ints) -> Floats:
        """Return the combined-cycle generation of days from ``starts`` that last ``length_s``."""
        if not len(starts):
            return np.empty(0)
        counts = length_s // HOUR_S
        first = (
            np.cumsum(counts) - counts
        )  # position of each day's first hour when all are laid end to end
        hours = np.repeat(starts - first * HOUR_S, counts) + np.arange(counts.sum()) * HOUR_S
        burnt = np.maximum(self.residual_gw(hours) - 3, 0) * 450
        return floats(np.round(np.add.reduceat(burnt, first), 3))

    # -- prices -----------------------------------------------------------------------------------

    def spot_eur_mwh(self, starts: Ints, resolution_s: int) -> Floats:
        """Return the day-ahead price of hours or quarters, to the cent; hours are means."""
        if resolution_s == HOUR_S:
            quarters = (starts[:, None] + np.arange(4) * QUARTER_S).ravel()
            return floats(
                np.round(self._quarter_price(quarters).reshape(-1, 4).mean(axis=1), 2) + 0.0
            )
        return self._quarter_price(starts)

    def _quarter_price(self, starts: Ints) -> Floats:
        residual = self.residual_gw(starts)
        marginal = (
            self.gas_eur_mwh(starts) / 0.52 + 22.0
        )  # efficiency of combined cycles, CO2 and operation
        price = marginal / (1 + np.exp(-(residual - 5.5) / 1.9)) + 2.2 * _softplus(residual - 15.0)
        price -= 0.9 * _softplus(-residual - 1.0)
        price *= 1 + self._noise.layers(
            "bids", starts, {2 * DAY_S: 0.05, 3 * HOUR_S: 0.05, QUARTER_S: 0.012}
        )
        price += (
            140
            * np.maximum(self._noise.smooth("scarcity", starts, 4 * HOUR_S) - 2.45, 0)
            * (residual > 8)
        )
        # Bids pile up at zero: a price close to it is zero, one below stays negative.
        price = np.where(np.abs(price - 1.0) < 2.5, 0.0, price)
        return floats(np.round(price, 2) + 0.0)

    def pvpc_eur_mwh(self, starts: Ints, spot_hour_eur_mwh: Floats) -> Floats:
        """Return the regulated tariff of hours: the market's hour and the adder of its period."""
        services = 7.0 + 1.5 * self._noise.smooth("services", starts, 12 * HOUR_S)
        return floats(
            np.round(1.015 * spot_hour_eur_mwh + services + pvpc_adder_eur_mwh(starts), 2) + 0.0
        )


def pvpc_adder_eur_mwh(starts: Ints) -> Floats:
    """Return what tolls and charges add to the market price in each hour."""
    return _PVPC_ADDER[period_20td(starts)]


def period_20td(starts: Ints) -> Ints:
    """Return the 2.0TD period 1, 2 or 3 (peninsula); on purpose not the library's calendar."""
    local = _local(starts)
    hour = local.hour.to_numpy()
    peak = ((hour >= 10) & (hour < 14)) | ((hour >= 18) & (hour < 22))
    period = np.where(hour < 8, 3, np.where(peak, 1, 2))
    return np.where(_rest_day(local) | (local.day_of_week.to_numpy() >= 5), 3, period).astype(
        np.int64
    )


def _rest_day(local: pd.DatetimeIndex) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.isin(local.month.to_numpy() * 100 + local.day.to_numpy(), _HOLIDAYS)


def _local(at_s: Ints) -> pd.DatetimeIndex:
    return to_index(at_s).tz_convert(MADRID)


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(0.0, x)
