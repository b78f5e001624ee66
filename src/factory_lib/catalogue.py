"""The catalogue of series: unit, cadence, range, publication rule and sources by trust.

``default_catalogue()`` holds the series of this library; ``Settings.catalogue`` (in a
run, ``ctx.catalogue``) is the one in use. Adding a series is one entry here; adding a
provider is one file in ``sources`` and its name in the entries it serves. Standard
library only, because a scheduled tick decides from the publication rules whether there
is anything to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Any

from factory_lib.clock import DAY_S, HOUR_S, QUARTER_S, day_start, local_instant, market_day
from factory_lib.errors import BadInput, UnknownSeries


class Measurement(StrEnum):
    """The tables that hold observed values."""

    PRICES = "energy_prices"
    WEATHER = "weather_data"
    CLIMATE = "climate_daily"
    # what a person brings of the plant itself: no source is asked for it, no slot is
    # missed
    PLANT = "plant_records"


class Kind(StrEnum):
    """The origin of a value; forecasts have a table of their own."""

    OBSERVED = "observed"
    REANALYSIS = "reanalysis"
    SYNTHETIC = "synthetic"
    FORECAST = "forecast"  # of a series whose values are forecasts (``Series.forecast_of``)


class Grid(StrEnum):
    """The alignment of slots."""

    UTC = "utc"  # multiples of the resolution since 1970: hours, quarters, UTC days
    LOCAL_DAY = "local_day"  # market days, 23 to 25 hours long


@dataclass(frozen=True)
class Cadence:
    """From when on (UTC) the series comes in slots of ``resolution_s``."""

    since: datetime
    resolution_s: int
    grid: Grid = Grid.UTC


@dataclass(frozen=True)
class DayAhead:
    """Published for a whole market day some ``days`` before it, at a local wall time."""

    at: time
    days: int = 1

    def available_at(self, start: datetime, resolution_s: int) -> datetime:
        """Return when a slot starting at ``start`` can first be known."""
        return local_instant(market_day(start) - timedelta(days=self.days), self.at)

    def known_until(self, now: datetime) -> datetime:
        """Return the end (UTC) of what can be known at ``now``."""
        today = market_day(now)
        days = self.days + (now >= local_instant(today, self.at))
        return day_start(today + timedelta(days=days))


@dataclass(frozen=True)
class AfterSlot:
    """Known a fixed delay after the end of each slot."""

    delay: timedelta

    def available_at(self, start: datetime, resolution_s: int) -> datetime:
        """Return when a slot starting at ``start`` can first be known."""
        return start + timedelta(seconds=resolution_s) + self.delay

    def known_until(self, now: datetime) -> datetime:
        """Return the end (UTC) of what can be known at ``now``."""
        return now - self.delay


Publication = DayAhead | AfterSlot

SITE = "site"  # place and source of the plant's own records
MARKET_PRICES = ("spot_eur_mwh", "pvpc_eur_mwh")  # the plant pays by one of them
ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)  # before any series; daily climate goes back to 1920
# First market day in quarters of an hour: 2025-10-01 local (Iberian day-ahead market,
# change of the time unit).
QUARTERS_SINCE = day_start(date(2025, 10, 1))
HOURLY = (Cadence(ALWAYS, HOUR_S),)
UTC_DAILY = (Cadence(ALWAYS, DAY_S),)


@dataclass(frozen=True)
class Series:
    """One catalogue entry.

    Attributes
    ----------
    name : str
        Column name, unit included.
    low, high : float
        Physically or legally possible range, inclusive; a value outside is rejected.
    cadences : tuple of Cadence
        Resolution with validity, oldest first.
    publication : mapping of Kind to rule
        When a value of that kind can first be known; its keys are the kinds that count
        as present.
    sources : tuple of str
        Providers, most trusted first.
    since : datetime
        Nothing exists before.
    grace : timedelta
        How long after the rule a value is merely late before it is missing.
    publication_by_source : mapping of str to rule
        Sources that publish sooner or later than their kind.
    forecast_of, area : str
        Set where the values are forecasts: the series and place under which the store
        keeps them among its forecasts.
    """

    name: str
    measurement: Measurement
    unit: str
    description: str
    low: float
    high: float
    cadences: tuple[Cadence, ...]
    publication: Mapping[Kind, Publication]
    sources: tuple[str, ...]
    since: datetime = ALWAYS
    grace: timedelta = timedelta(hours=1)
    publication_by_source: Mapping[str, Publication] = field(default_factory=dict)
    forecast_of: str = ""
    area: str = ""

    def outside(self, values: Any) -> Any:
        """Return which values of an array cannot be; NaN is none."""
        return (values < self.low) | (values > self.high)

    @property
    def limits(self) -> str:
        """The range, in words."""
        return f"{self.low:g} to {self.high:g} {self.unit}"

    @property
    def models(self) -> dict[str, str]:
        """The source of each model of a series of forecasts, most trusted first."""
        return {FORECAST_MODELS.get(source, source): source for source in self.sources}

    def rule(self, kind: str, source: str) -> Publication:
        """Return the publication rule of a value of that kind from that source."""
        return self.publication_by_source.get(source) or self.publication[Kind(kind)]

    def resolution_at(self, instant: datetime) -> int:
        """Return the resolution (s) valid for a slot that starts at ``instant``."""
        return next(c.resolution_s for c in reversed(self.cadences) if instant >= c.since)

    def spans(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime, Cadence]]:
        """Split a half-open window at the changes of cadence."""
        edges = [*(c.since for c in self.cadences), datetime.max.replace(tzinfo=UTC)]
        cut = [
            (max(start, a, self.since), min(end, b), c)
            for (a, b), c in zip(pairwise(edges), self.cadences, strict=True)
        ]
        return [(a, b, c) for a, b, c in cut if a < b]

    def due_until(self, now: datetime) -> datetime:
        """Return the end (UTC) of what should be there at ``now``.

        It is published by the fastest kind, and the grace is over.
        """
        return max(
            rule.known_until(now - self.grace)
            for rule in (*self.publication.values(), *self.publication_by_source.values())
        )


def _price(
    name: str,
    description: str,
    at: time,
    cadences: tuple[Cadence, ...],
    sources: tuple[str, ...],
    since: datetime,
    ree_at: time,
) -> Series:
    return Series(
        name,
        Measurement.PRICES,
        "EUR/MWh",
        description,
        -500.0,
        4000.0,
        cadences,
        {Kind.OBSERVED: DayAhead(at)},
        sources,
        since,
        publication_by_source={"ree": DayAhead(ree_at)},
    )


def _weather(name: str, unit: str, description: str, low: float, high: float) -> Series:
    # AEMET, domain facts: observations within the hour; ERA5 reanalysis five days
    # later.
    return Series(
        name,
        Measurement.WEATHER,
        unit,
        description,
        low,
        high,
        HOURLY,
        {
            Kind.OBSERVED: AfterSlot(timedelta(hours=1)),
            Kind.REANALYSIS: AfterSlot(timedelta(days=5)),
        },
        ("aemet", "openweathermap", "open_meteo", "open_meteo_recent"),
        grace=timedelta(hours=2),
        # The forecast endpoint's past days are there within the hour; the archive
        # replaces them five days later.
        publication_by_source={"open_meteo_recent": AfterSlot(timedelta(hours=1))},
    )


def _climate(name: str, unit: str, description: str, low: float, high: float) -> Series:
    # AEMET daily climatology arrives about four days late.
    return Series(
        name,
        Measurement.CLIMATE,
        unit,
        description,
        low,
        high,
        UTC_DAILY,
        {Kind.OBSERVED: AfterSlot(timedelta(days=4))},
        ("aemet", "siar", "datosclima"),
        grace=timedelta(days=1),
    )


def plant_series(
    name: str,
    unit: str,
    description: str,
    limits: tuple[float, float],
    cadence: Cadence,
    grace: timedelta = timedelta(days=40),
) -> Series:
    """Return a series that files bring of the site: known after its slot, there with the file."""
    return Series(
        name,
        Measurement.PLANT,
        unit,
        description,
        *limits,
        (cadence,),
        {Kind.OBSERVED: AfterSlot(timedelta(0))},
        (SITE,),
        grace=grace,
    )


def _day_ahead(area: str, country: str, quantity: str, high: float) -> Series:
    # Operators publish until 11:00 of the day before; the law allows until 18:00 for wind
    # and sun: later than that a forecast is missing.
    return Series(
        f"{area.lower()}_{quantity}_forecast_mw",
        Measurement.PRICES,
        "MW",
        f"Day-ahead forecast of {quantity} in {country}",
        0.0,
        high,
        HOURLY,
        {Kind.FORECAST: DayAhead(FORECAST_FROM)},
        (*(("esios",) if area == "ES" else ()), "energy_charts", "entsoe"),
        since=day_start(date(2018, 1, 1)),
        grace=timedelta(hours=8),
        forecast_of=f"{quantity}_mw",
        area=area,
    )


def _weather_ahead(quantity: str, unit: str, description: str, high: float) -> Series:
    # The archive of model runs holds ECMWF's wind at 100 m from April 2024 on
    # (https://open-meteo.com/en/docs/previous-runs-api).
    name, _, suffix = quantity.rpartition("_")
    return Series(
        f"es_{name}_forecast_{suffix}",
        Measurement.PRICES,
        unit,
        description,
        0.0,
        high,
        HOURLY,
        {Kind.FORECAST: DayAhead(FORECAST_FROM, days=WEATHER_DAYS_AHEAD)},
        ("open_meteo_runs",),
        since=day_start(date(2024, 4, 1)),
        grace=timedelta(hours=8),
        forecast_of=quantity,
        area="ES",
    )


FORECAST_FROM = time(10)  # local wall time of the day before from which forecasts are asked for
WEATHER_DAYS_AHEAD = 7  # for which wind and sun of the country are forecast
# The name under which a provider's forecasts are stored, where it is not its own.
FORECAST_MODELS: Mapping[str, str] = {"esios": "ree", "open_meteo_runs": "open_meteo"}
# Highest values (MW) with a margin above the records and the installed power of 2026.
_DAY_AHEAD = (
    ("ES", "Spain", {"load": 80_000.0, "wind": 40_000.0, "solar": 60_000.0}),
    ("FR", "France", {"load": 120_000.0, "wind": 40_000.0, "solar": 50_000.0}),
    ("PT", "Portugal", {"load": 15_000.0, "wind": 10_000.0, "solar": 12_000.0}),
)
_PVPC_SINCE = day_start(date(2021, 6, 1))  # the 2.0TD tariff, Circular CNMC 3/2020

_ENTRIES = (
    _price(
        "spot_eur_mwh",
        "Day-ahead market price",
        time(13, 45),
        (Cadence(ALWAYS, HOUR_S), Cadence(QUARTERS_SINCE, QUARTER_S)),
        ("omie", "ree", "esios", "entsoe"),
        ALWAYS,
        time(14, 17),  # of REData's own `last-update`, later than the market operator
    ),
    _price(
        "pvpc_eur_mwh",
        "Regulated tariff for small consumers (2.0TD energy term), peninsula",
        time(20, 20),
        HOURLY,
        ("ree", "esios"),
        _PVPC_SINCE,
        time(20, 46),
    ),
    Series(
        "load_mw",
        Measurement.PRICES,
        "MW",
        "System load, peninsula",
        0.0,
        80_000.0,
        HOURLY,
        {Kind.OBSERVED: AfterSlot(timedelta(hours=1))},
        ("ree", "entsoe"),
    ),
    Series(
        "gas_generation_mwh",
        Measurement.PRICES,
        "MWh",
        "Combined-cycle generation of the day",
        0.0,
        900_000.0,
        (Cadence(ALWAYS, DAY_S, Grid.LOCAL_DAY),),
        {Kind.OBSERVED: AfterSlot(timedelta(days=1))},
        ("ree",),
    ),
    # Ranges: outside the records of Spain with a margin; station pressure up to its
    # mountain stations (704 hPa seen).
    _weather("temperature_c", "°C", "Air temperature at 2 m", -25.0, 52.0),
    _weather("humidity_pct", "%", "Relative humidity at 2 m", 0.0, 100.0),
    _weather("precipitation_mm", "mm", "Precipitation of the hour", 0.0, 200.0),
    _weather("pressure_station_hpa", "hPa", "Air pressure at the station", 650.0, 1060.0),
    _weather("pressure_sea_level_hpa", "hPa", "Air pressure reduced to sea level", 920.0, 1060.0),
    _weather("wind_speed_ms", "m/s", "Wind speed at 10 m", 0.0, 60.0),
    _weather("solar_radiation_wm2", "W/m²", "Global shortwave radiation", 0.0, 1400.0),
    _climate("temperature_mean_c", "°C", "Mean air temperature of the UTC day", -25.0, 45.0),
    _climate("temperature_max_c", "°C", "Highest air temperature", -20.0, 52.0),
    _climate("temperature_min_c", "°C", "Lowest air temperature", -30.0, 40.0),
    _climate("humidity_mean_pct", "%", "Mean relative humidity", 0.0, 100.0),
    _climate("humidity_max_pct", "%", "Highest relative humidity", 0.0, 100.0),
    _climate("humidity_min_pct", "%", "Lowest relative humidity", 0.0, 100.0),
    _climate("precipitation_sum_mm", "mm", "Precipitation (AEMET: 07 to 07 UTC)", 0.0, 600.0),
    _climate("wind_speed_mean_ms", "m/s", "Mean wind speed", 0.0, 40.0),
    _climate("solar_radiation_mj_m2", "MJ/m²", "Global radiation of the day", 0.0, 45.0),
    # Two series, because a meter's hour is no four quarters: each is kept as it was
    # read.
    plant_series(
        "metered_quarter_kwh",
        "kWh",
        "Energy metered in the quarter-hour",
        (0.0, 1e6),
        Cadence(ALWAYS, QUARTER_S),
    ),
    plant_series(
        "metered_hour_kwh",
        "kWh",
        "Energy metered in the hour",
        (0.0, 4e6),
        Cadence(ALWAYS, HOUR_S),
    ),
    plant_series(
        "produced_kg",
        "kg",
        "Mass finished on the day",
        (0.0, 1e7),
        Cadence(ALWAYS, DAY_S, Grid.LOCAL_DAY),
    ),
    *(
        _day_ahead(area, country, quantity, high)
        for area, country, limits in _DAY_AHEAD
        for quantity, high in limits.items()
    ),
    _weather_ahead("wind_speed_100m_ms", "m/s", "Wind at 100 m where Spain has wind power", 60.0),
    _weather_ahead("solar_radiation_wm2", "W/m²", "Radiation where Spain has solar power", 1400.0),
)


class Catalogue(Mapping[str, Series]):
    """An immutable mapping of names to series, in order; an unknown name raises ``UnknownSeries``.

    Raises
    ------
    BadInput
        If two series have the same name.
    """

    def __init__(self, entries: Iterable[Series]) -> None:
        self._entries: dict[str, Series] = {}
        for entry in entries:
            if entry.name in self._entries:
                raise BadInput(f"The catalogue has two series {entry.name!r}.")
            self._entries[entry.name] = entry

    def __getitem__(self, name: str) -> Series:
        if name not in self._entries:
            raise UnknownSeries(name, list(self._entries))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, measurement: Measurement) -> tuple[Series, ...]:
        """Return the entries of one measurement, in catalogue order."""
        return tuple(entry for entry in self.values() if entry.measurement is measurement)


@cache
def default_catalogue() -> Catalogue:
    """Return the series that this library comes with."""
    return Catalogue(_ENTRIES)
