"""The weather of the simulated world: a station in the upper Guadalquivir, and views of it.

Sizes follow the SIAR record of Linares (mean 17–18 °C, January about 8, July about 28
°C) and the clear-sky geometry of its latitude. The values need not be right for any
day; they hang together: clouds dim the sun and damp the day's swing, rain comes from
clouds, humidity follows from temperature and dew point.
"""

import numpy as np

from factory_lib.clock import DAY_S, HOUR_S
from factory_sim import SERIES
from factory_sim.noise import Floats, Ints, Noise, floats

LATITUDE_DEG = 38.151
LONGITUDE_DEG = -3.629
ALTITUDE_M = 515.0
YEAR_S = 365.2425 * DAY_S
# 1 January 2000, so that the season's phase is that of the calendar.
_EPOCH_2000_S = 946_684_800

# What is measured at an instant; the others are sums or means over the hour that begins
# at the slot's start.
INSTANTANEOUS = (
    "temperature_c",
    "humidity_pct",
    "pressure_station_hpa",
    "pressure_sea_level_hpa",
    "wind_speed_ms",
)
ACCUMULATED = ("precipitation_mm", "solar_radiation_wm2")

# How far a provider is off the station: bias, then standard deviation of an error that
# lasts some six hours.
_ERRORS: dict[str, dict[str, tuple[float, float]]] = {
    "open_meteo": {
        "temperature_c": (-0.4, 0.6),
        "humidity_pct": (2.5, 3.5),
        "wind_speed_ms": (0.5, 0.5),
    },
    "open_meteo_recent": {
        "temperature_c": (-0.3, 0.7),
        "humidity_pct": (2.0, 4.0),
        "wind_speed_ms": (0.4, 0.6),
    },
    "openweathermap": {
        "temperature_c": (0.5, 0.8),
        "humidity_pct": (-2.0, 4.0),
        "wind_speed_ms": (0.2, 0.7),
    },
}


class Climate:
    """Weather at any instant; ``at_s`` are seconds since 1970."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise

    def hourly(self, name: str, starts: Ints) -> Floats:
        """Return a weather series of the catalogue at hours from ``starts``, as at the station."""
        return floats(np.clip(getattr(self, name)(starts), SERIES[name].low, SERIES[name].high))

    def as_seen_by(self, source: str, name: str, starts: Ints) -> Floats:
        """Return the same hours by ``source``: the station itself, or a grid with errors."""
        bias, sd = _ERRORS.get(source, {}).get(name, (0.0, 0.0))
        if not sd:
            return self.hourly(name, starts)
        error = bias + sd * self._noise.smooth(f"{source}/{name}", starts, 6 * HOUR_S)
        return np.clip(self.hourly(name, starts) + error, SERIES[name].low, SERIES[name].high)

    def forecast(self, source: str, name: str, starts: Ints, issued_s: int) -> Floats:
        """Return the forecast of ``source``: its error grows with the lead, new every six hours."""
        cycle = issued_s // (6 * HOUR_S)
        lead_days = np.maximum(starts - cycle * 6 * HOUR_S, 0) / DAY_S
        scale = {"temperature_c": 1.2, "humidity_pct": 5.0, "wind_speed_ms": 0.6}.get(name, 0.0)
        error = (
            scale
            * np.sqrt(lead_days)
            * self._noise.smooth(f"{source}/{name}/{cycle}", starts, 12 * HOUR_S)
        )
        return np.clip(
            self.as_seen_by(source, name, starts) + error, SERIES[name].low, SERIES[name].high
        )

    # -- the sky ----------------------------------------------------------------------------------

    def season(self, at_s: Ints, peak_day: float) -> Floats:
        """Return a yearly cosine, 1 on the ``peak_day`` of the year."""
        return floats(np.cos(2 * np.pi * ((at_s - _EPOCH_2000_S) / YEAR_S - peak_day / 365.25)))

    def sun(
        self, at_s: Ints, latitude_deg: float = LATITUDE_DEG, longitude_deg: float = LONGITUDE_DEG
    ) -> Floats:
        """Return the sine of the sun's height, 0 below the horizon."""
        declination = np.radians(23.44) * self.season(at_s, 172.0)
        hour_angle = 2 * np.pi * ((at_s % DAY_S) / DAY_S - 0.5) + np.radians(longitude_deg)
        latitude = np.radians(latitude_deg)
        height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(
            declination
        ) * np.cos(hour_angle)
        return floats(np.maximum(height, 0.0))

    def cloud_share(self, at_s: Ints) -> Floats:
        """Return the share of cloud, 0 to 1; weather systems pass in two to five days."""
        passing = self._noise.layers("cloud", at_s, {4 * DAY_S: 0.75, DAY_S: 0.5, 4 * HOUR_S: 0.4})
        return 1 / (1 + np.exp(-1.8 * (passing - 0.5 - 0.6 * self.season(at_s, 200.0))))

    # -- what is measured -------------------------------------------------------------------------

    def temperature_c(self, at_s: Ints) -> Floats:
        """Return the air temperature."""
        warm = self.season(at_s, 205.0)
        clear = 1 - 0.6 * self.cloud_share(at_s)
        afternoon = np.cos(2 * np.pi * ((at_s % DAY_S) / DAY_S - 15.0 / 24))
        return 17.6 + 10.0 * warm + (7.6 + 2.0 * warm) * clear * afternoon + self._air_mass_k(at_s)

    def _air_mass_k(self, at_s: Ints) -> Floats:
        return self._noise.layers(
            "temperature", at_s, {8 * DAY_S: 2.2, 2 * DAY_S: 1.4, 3 * HOUR_S: 0.35}
        )

    def humidity_pct(self, at_s: Ints) -> Floats:
        """Return the relative humidity, from a slowly varying dew point (Magnus formula)."""
        dew_point = 7.4 + 5.0 * self.season(at_s, 215.0) + 3.0 * (self.cloud_share(at_s) - 0.4)
        dew_point += 0.8 * self._air_mass_k(at_s) + self._noise.layers(
            "dew", at_s, {5 * DAY_S: 1.8, DAY_S: 1.0}
        )
        share = _vapour_hpa(dew_point) / _vapour_hpa(self.temperature_c(at_s))
        # Fog is seldom full saturation: the last tenths are approached, so that no
        # value stands still for hours.
        near = 0.25 * np.tanh(np.maximum(share - 0.75, 0) / 0.25)
        flutter = 1.2 * self._noise.smooth("flutter", at_s, HOUR_S)
        return np.clip(100 * (np.minimum(share, 0.75) + near) - 2.5 + flutter, 8.0, 100.0)

    def precipitation_mm(self, starts: Ints) -> Floats:
        """Return the hour's rain: seldom, from thick cloud, most in the cool half of the year."""
        wet = self.cloud_share(starts) - 0.78 - 0.08 * self.season(starts, 205.0)
        shower = np.maximum(
            self._noise.layers("rain", starts, {6 * HOUR_S: 0.7, 2 * HOUR_S: 0.8}), 0.0
        )
        return floats(np.round(np.maximum(wet, 0.0) * 4.5 * shower**2, 1))

    def pressure_sea_level_hpa(self, at_s: Ints) -> Floats:
        """Return the air pressure at sea level, lower where clouds are."""
        tide = 0.9 * np.cos(4 * np.pi * ((at_s % DAY_S) / DAY_S - 10.0 / 24))
        passing = self._noise.layers("pressure", at_s, {6 * DAY_S: 5.5, 2 * DAY_S: 2.0})
        return (
            1018.0
            + 2.0 * self.season(at_s, 15.0)
            + tide
            + passing
            - 5.0 * (self.cloud_share(at_s) - 0.4)
        )

    def pressure_station_hpa(self, at_s: Ints) -> Floats:
        """Return the air pressure at the station's height (barometric formula, 6.5 K per km)."""
        kelvin = self.temperature_c(at_s) + 273.15
        return self.pressure_sea_level_hpa(at_s) * (1 + 0.0065 * ALTITUDE_M / kelvin) ** -5.257

    def wind_speed_ms(self, at_s: Ints) -> Floats:
        """Return the wind speed: calm nights, a breeze in the afternoon."""
        breeze = np.maximum(np.cos(2 * np.pi * ((at_s % DAY_S) / DAY_S - 16.0 / 24)), 0.0)
        passing = self._noise.layers(
            "wind", at_s, {3 * DAY_S: 0.45, 8 * HOUR_S: 0.35, 2 * HOUR_S: 0.2}
        )
        return (0.9 + 1.5 * breeze) * np.exp(passing)

    def wind_direction_deg(self, at_s: Ints) -> Floats:
        """Return where the wind comes from."""
        return (
            240 + 70 * self._noise.layers("direction", at_s, {2 * DAY_S: 1.0, 6 * HOUR_S: 0.5})
        ) % 360

    def solar_radiation_wm2(self, starts: Ints) -> Floats:
        """Return the global radiation in the middle of the hour (clear sky after Haurwitz 1945)."""
        middle = starts + HOUR_S // 2
        height = self.sun(middle)
        clear = 1098 * height * np.exp(-0.057 / np.maximum(height, 0.01))
        return clear * (1 - 0.75 * self.cloud_share(middle) ** 3)

    # -- days -------------------------------------------------------------------------------------

    def daily(self, name: str, days: Ints) -> Floats:
        """Return a series of daily climate for UTC days from ``days``, from the hours of each."""
        hours = (np.asarray(days)[:, None] + np.arange(24) * HOUR_S).ravel()
        what, statistic = _DAILY[name]
        values = self.hourly(what, hours).reshape(-1, 24)
        if statistic == "energy":  # W/m² over 24 h -> MJ/m²
            return floats(values.mean(axis=1) * DAY_S / 1e6)
        return floats(getattr(values, statistic)(axis=1))


_DAILY = {
    "temperature_mean_c": ("temperature_c", "mean"),
    "temperature_max_c": ("temperature_c", "max"),
    "temperature_min_c": ("temperature_c", "min"),
    "humidity_mean_pct": ("humidity_pct", "mean"),
    "humidity_max_pct": ("humidity_pct", "max"),
    "humidity_min_pct": ("humidity_pct", "min"),
    "precipitation_sum_mm": ("precipitation_mm", "sum"),
    "wind_speed_mean_ms": ("wind_speed_ms", "mean"),
    "solar_radiation_mj_m2": ("solar_radiation_wm2", "energy"),
}


def dew_point_c(temperature_c: Floats, humidity_pct: Floats) -> Floats:
    """Return the dew point (Magnus formula)."""
    gamma = np.log(np.maximum(humidity_pct, 1.0) / 100) + 17.62 * temperature_c / (
        243.12 + temperature_c
    )
    return 243.12 * gamma / (17.62 - gamma)


def _vapour_hpa(celsius: Floats) -> Floats:
    """Return the saturation vapour pressure (Magnus formula, WMO constants)."""
    return 6.112 * np.exp(17.62 * celsius / (243.12 + celsius))
