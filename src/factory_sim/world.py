"""The simulated world: every series of the catalogue at any instant, from a seed alone.

The one synthetic data generator of the project: for the demo, tests and benchmarks,
never for an evaluation.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from factory_lib.catalogue import QUARTERS_SINCE, Measurement
from factory_lib.clock import DAY_S, HOUR_S, epoch
from factory_lib.slots import expected, local_midnights, to_index
from factory_sim import DEFAULT_SEED, SERIES
from factory_sim.climate import Climate
from factory_sim.market import Market
from factory_sim.noise import Floats, Ints, Noise

_AREA_SIZE = {"FR": 1.2, "PT": 0.2}  # of the power system, beside Spain's
_SD = {"load_mw": 0.012, "wind_mw": 0.08, "solar_mw": 0.06}  # of the operators' forecasts
_QUARTERS_SINCE_S = epoch(QUARTERS_SINCE)

PUBLISHED = tuple(
    name
    for name, entry in SERIES.items()
    if entry.measurement is not Measurement.PLANT and not entry.forecast_of
)


class World:
    """Prices, power system and weather; a seed gives the same values in any window and process."""

    def __init__(self, seed: int = DEFAULT_SEED) -> None:
        self.seed = seed
        self.noise = Noise(seed)
        self.climate = Climate(self.noise)
        self.market = Market(self.noise, self.climate)

    def spot(self, starts: Ints, resolution_s: int) -> Floats:
        """Return the day-ahead price (EUR/MWh) of hours or quarters that begin at ``starts``."""
        return self.market.spot_eur_mwh(starts, resolution_s)

    def pvpc(self, starts: Ints) -> Floats:
        """Return the regulated tariff (EUR/MWh) of hours, made from the mean price of the hour."""
        return self.market.pvpc_eur_mwh(starts, self.spot(starts, HOUR_S))

    def window(self, name: str, start: datetime, end: datetime) -> tuple[Ints, Floats]:
        """Return starts (s since 1970) and true values of a series in the half-open window."""
        starts = expected(SERIES[name], start, end)
        return starts, self.values(name, starts)

    def values(self, name: str, starts: Ints) -> Floats:
        """Return the true values of a catalogue series at its own slots."""
        if name == "spot_eur_mwh":
            quarters = starts >= _QUARTERS_SINCE_S
            values = np.empty(len(starts))
            values[~quarters] = self.spot(starts[~quarters], HOUR_S)
            values[quarters] = self.spot(starts[quarters], 900)
            return values
        if name == "pvpc_eur_mwh":
            return self.pvpc(starts)
        if SERIES[name].forecast_of:
            return self.forecast_mw(name, starts)
        if name == "gas_generation_mwh":
            return self.market.gas_generation_mwh(starts, _day_lengths(starts))
        measurement = SERIES[name].measurement
        if measurement is Measurement.WEATHER:
            return self.climate.hourly(name, starts)
        if measurement is Measurement.CLIMATE:
            return self.climate.daily(name, starts)
        quantity: Floats = np.round(getattr(self.market, name)(starts), 1)
        return quantity

    def forecast_mw(self, name: str, starts: Ints) -> Floats:
        """Return the operator's forecast of ``load_mw``, or a series of forecasts."""
        entry = SERIES[name]
        quantity = entry.forecast_of or name
        if quantity not in _SD:
            return np.asarray(getattr(self.market, quantity)(starts), dtype=np.float64)
        noise = f"forecast/{quantity}" + (f"/{entry.area}" if entry.area in _AREA_SIZE else "")
        error = 1 + _SD[quantity] * self.noise.smooth(noise, starts, 6 * HOUR_S)
        size = _AREA_SIZE.get(entry.area, 1.0)
        forecast: Floats = np.round(getattr(self.market, quantity)(starts) * error * size, 1)
        return forecast

    def everything(self, start: datetime, end: datetime) -> Mapping[str, tuple[Ints, Floats]]:
        """Return every published series in the window."""
        return {name: self.window(name, start, end) for name in PUBLISHED}


def _day_lengths(starts: Ints) -> Ints:
    """Return how long (s) the market days that begin at ``starts`` last."""
    if not len(starts):
        return starts
    index = to_index(np.array([starts.min(), starts.max() + 2 * DAY_S]))
    midnights = local_midnights(*(stamp.to_pydatetime() for stamp in index))
    following = midnights[np.searchsorted(midnights, starts, side="right")]
    return np.asarray(following - starts, dtype=np.int64)
