"""The providers: one file each, ``fetch(window) -> tidy frame``; no storage, no clock of their own.

Adding a provider is one file, one line in ``SOURCES``, one table ``[sources.NAME]`` and
its name in the catalogue entries it serves. This module imports none of them, so that
asking which sources there are costs nothing.

Slots of hourly weather, the same for every provider so that they can be compared: a
reading of an instant T is the slot that starts at T; a value over the preceding hour
(precipitation, radiation) stamped T is the slot that starts at T − 1 h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from factory_lib.catalogue import MARKET_PRICES, Measurement
from factory_lib.clock import Clock
from factory_lib.errors import BadInput
from factory_lib.settings import Settings
from factory_lib.state import State

if TYPE_CHECKING:
    from factory_lib.sources.base import Source

_DAY_AHEAD_ES = ("es_load_forecast_mw", "es_wind_forecast_mw", "es_solar_forecast_mw")
_DAY_AHEAD = (
    *_DAY_AHEAD_ES,
    *("fr_load_forecast_mw", "fr_wind_forecast_mw", "fr_solar_forecast_mw"),
    *("pt_load_forecast_mw", "pt_wind_forecast_mw", "pt_solar_forecast_mw"),
)
_WEATHER_AHEAD = ("es_wind_speed_100m_forecast_ms", "es_solar_radiation_forecast_wm2")
_WEATHER = (
    "temperature_c",
    "humidity_pct",
    "precipitation_mm",
    "pressure_station_hpa",
    "pressure_sea_level_hpa",
    "wind_speed_ms",
    "solar_radiation_wm2",
)
_CLIMATE = (
    "temperature_mean_c",
    "temperature_max_c",
    "temperature_min_c",
    "humidity_mean_pct",
    "humidity_max_pct",
    "humidity_min_pct",
    "precipitation_sum_mm",
    "wind_speed_mean_ms",
    "solar_radiation_mj_m2",
)
_DAILY_EXTREMES = (
    "temperature_mean_c",
    "temperature_max_c",
    "temperature_min_c",
    "precipitation_sum_mm",
)


@dataclass(frozen=True)
class Spec:
    """The offer of a provider.

    Attributes
    ----------
    path : str
        ``module:class`` of the client, below this package.
    serves : tuple of str
        Series it has values of.
    keys : tuple of str
        Secrets without which it cannot be asked at all.
    keyed : tuple of (str, str)
        Series, served or forecast, that need a further secret; without it the others
        are still there.
    forecasts : tuple of str
        Series it has forecasts of.
    points : tuple of str
        Quantities whose weighted points the settings must name.
    """

    path: str
    serves: tuple[str, ...]
    keys: tuple[str, ...] = ()
    keyed: tuple[tuple[str, str], ...] = ()
    forecasts: tuple[str, ...] = ()
    points: tuple[str, ...] = ()

    def served(self, settings: Settings, *, forecasts: bool = False) -> tuple[str, ...]:
        """Return the series, or forecasts, it can be asked for with the keys that are set."""
        names = self.forecasts if forecasts else self.serves
        closed = {series for series, key in self.keyed if not getattr(settings.secrets, key)}
        return tuple(name for name in names if name not in closed)


MEASUREMENTS = {"prices": Measurement.PRICES, "weather": Measurement.WEATHER}

SOURCES: Mapping[str, Spec] = {
    "ree": Spec("ree:Ree", MARKET_PRICES),
    "omie": Spec("omie:Omie", ("spot_eur_mwh",)),
    "esios": Spec(
        "esios:Esios",
        (*MARKET_PRICES, *_DAY_AHEAD_ES),
        keyed=tuple((name, "esios_token") for name in ("spot_eur_mwh", "load_mw", *_DAY_AHEAD_ES)),
        forecasts=("load_mw",),
    ),
    "energy_charts": Spec("energy_charts:EnergyCharts", _DAY_AHEAD),
    "aemet": Spec(
        "aemet:Aemet",
        tuple(name for name in _WEATHER if name != "solar_radiation_wm2")
        + tuple(name for name in _CLIMATE if name != "solar_radiation_mj_m2"),
        keys=("aemet_api_key",),
        forecasts=("temperature_c", "humidity_pct"),
    ),
    "openweathermap": Spec(
        "openweathermap:OpenWeatherMap",
        tuple(name for name in _WEATHER if name != "solar_radiation_wm2"),
        keys=("openweathermap_api_key",),
        forecasts=("temperature_c", "humidity_pct"),
    ),
    "open_meteo": Spec("open_meteo:OpenMeteoArchive", _WEATHER),
    "open_meteo_recent": Spec("open_meteo:OpenMeteoRecent", _WEATHER, forecasts=_WEATHER),
    "open_meteo_runs": Spec(
        "open_meteo:OpenMeteoRuns",
        _WEATHER_AHEAD,
        points=("wind_speed_100m_ms", "solar_radiation_wm2"),
    ),
    "siar": Spec("siar:Siar", _CLIMATE, keys=("siar_user", "siar_password")),
    "datosclima": Spec("datosclima:Datosclima", _DAILY_EXTREMES),
}


def select(settings: Settings, sources: str) -> list[str]:
    """Return the providers of ``all``, ``prices``, ``weather`` or of a provider's own name.

    Raises
    ------
    BadInput
        If there is none of that name.
    """
    if sources in SOURCES:
        return [sources]
    enabled = [
        name for name in SOURCES if name in settings.sources and settings.sources[name].enabled
    ]
    if sources == "all":
        return enabled
    if sources not in MEASUREMENTS:
        names = ", ".join(("all", *MEASUREMENTS, *SOURCES))
        raise BadInput(f"There is no source {sources!r}.", next_step=f"Known: {names}.")
    series = {entry.name for entry in settings.catalogue.of(MEASUREMENTS[sources])}
    return [name for name in enabled if series.intersection(SOURCES[name].served(settings))]


def configured(settings: Settings) -> list[str]:
    """Return the sources that are switched on and have the keys they need."""
    return [name for name in SOURCES if not missing(name, settings)]


def missing(name: str, settings: Settings) -> str:
    """Return why a source cannot be asked, or an empty string if it can."""
    limits = settings.sources.get(name)
    if limits is None:
        return f"there is no [sources.{name}]"
    if not limits.enabled:
        return f"[sources.{name}] enabled = false"
    for quantity in SOURCES[name].points:
        if not limits.points.get(quantity):
            return f"there is no [sources.{name}.points.{quantity}]"
    unset = [key.upper() for key in SOURCES[name].keys if not getattr(settings.secrets, key)]
    return f"{' and '.join(unset)} not set" if unset else ""


def open_source(name: str, settings: Settings, state: State, clock: Clock) -> Source:
    """Return the client of one provider.

    Raises
    ------
    BadInput
        If there is no such provider, or it cannot be asked as things are set.
    """
    if name not in SOURCES:
        raise BadInput(f"There is no source {name!r}.", next_step=f"Known: {', '.join(SOURCES)}.")
    if why := missing(name, settings):
        raise BadInput(
            f"Source {name} cannot be asked: {why}.", next_step="Set it, or leave this source out."
        )
    return source_class(name)(name, settings, state, clock)


def source_class(name: str) -> type[Source]:
    """Return the class of a provider's client."""
    module, _, cls = SOURCES[name].path.partition(":")
    source: type[Source] = getattr(import_module(f"{__name__}.{module}"), cls)
    return source
