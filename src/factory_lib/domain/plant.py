"""The plant on a grid of slots: room air, people present, loads that always run, solar power.

All functions take a UTC index named ``start`` and return arrays or frames of its
length; local time is the plant's.
"""

from datetime import date, time, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.clock import day_start, local_instant
from factory_lib.settings.plant import (
    WEEKDAYS,
    Photovoltaics,
    Plant,
    RoomModel,
    Shift,
    WorksCalendar,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def saturation_hpa(temperature_c: Floats) -> Floats:
    """Return the saturation vapour pressure over water.

    Magnus form of Alduchov and Eskridge (1996), within 0.4 % in −40…50 °C.
    """
    return np.asarray(6.1094 * np.exp(17.625 * temperature_c / (temperature_c + 243.04)))


def room(weather: pd.DataFrame, model: RoomModel) -> pd.DataFrame:
    """Return the production room's air for outdoor ``temperature_c`` and ``humidity_pct``.

    Unknown stays NaN. The room keeps its set-point as far as heating and cooling reach.
    Its water content is the outdoor one, dried towards the humidity set-point by at most
    ``dries_g_kg``; it is never humidified.
    """
    outdoor_c = weather["temperature_c"].to_numpy(float)
    room_c = np.clip(model.setpoint_c, outdoor_c - model.cools_k, outdoor_c + model.heats_k)
    outdoor_pct = weather["humidity_pct"].to_numpy(float)
    outdoor_g_kg = _g_kg(outdoor_pct / 100 * saturation_hpa(outdoor_c), model.pressure_hpa)
    target_hpa = model.setpoint_humidity_pct / 100 * saturation_hpa(room_c)
    target_g_kg = np.minimum(outdoor_g_kg, _g_kg(target_hpa, model.pressure_hpa))
    room_g_kg = np.maximum(outdoor_g_kg - model.dries_g_kg, target_g_kg)
    vapour_hpa = room_g_kg * model.pressure_hpa / (621.98 + room_g_kg)
    humidity = np.minimum(100.0, 100 * vapour_hpa / saturation_hpa(room_c))
    return pd.DataFrame(
        {"room_temperature_c": room_c, "room_humidity_pct": humidity}, index=weather.index
    )


def beyond_limits(plant: Plant, celsius: Floats, percent: Floats) -> tuple[Floats, Floats, Bools]:
    """Return by stage (rows) and slot how far the room is beyond the stage's limits.

    Kelvin, percent of humidity, and whether it is critical; an unknown room is within
    all limits.
    """
    limits = [stage.room for stage in plant.stages]
    beyond = [
        celsius - np.clip(celsius, limit.temperature_min_c, limit.temperature_max_c)
        for limit in limits
    ]
    wet = [np.maximum(percent - limit.humidity_max_pct, 0.0) for limit in limits]
    critical = [celsius > limit.temperature_critical_c for limit in limits]
    return np.nan_to_num(np.abs(beyond)), np.nan_to_num(wet), np.array(critical)


def _g_kg(vapour_hpa: Floats, pressure_hpa: float) -> Floats:
    """Return grams of water per kilogram of dry air.

    621.98 is the ratio of the molar masses of water and air times 1000.
    """
    return 621.98 * vapour_hpa / (pressure_hpa - vapour_hpa)


@lru_cache(maxsize=64)
def _public_holidays(region: str, year: int) -> frozenset[date]:
    country, subdivision = ("PT", None) if region == "PT" else ("ES", region)
    return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=year))


def is_open(calendar: WorksCalendar, day: date) -> bool:
    """Whether the shifts of ``day`` are worked."""
    if day in calendar.open or day in calendar.closed:
        return day in calendar.open
    return not (calendar.public_holidays and day in _public_holidays(calendar.region, day.year))


def shifts_on(plant: Plant, day: date) -> tuple[Shift, ...]:
    """Return the shifts that begin on ``day``, in order; none on a closed day."""
    if not is_open(plant.calendar, day):
        return ()
    weekday = WEEKDAYS[day.weekday()]
    return tuple(sorted((s for s in plant.shifts if weekday in s.days), key=lambda s: s.begin))


def local_days(index: pd.DatetimeIndex, zone: ZoneInfo) -> list[date]:
    """Return the local days that the index touches, in order."""
    first = index[0].tz_convert(zone).date()
    last = index[-1].tz_convert(zone).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def operators(plant: Plant, index: pd.DatetimeIndex, slot_s: int) -> Ints:
    """Return how many operators are present during the whole of each slot."""
    present = np.zeros(len(index), dtype=np.int64)
    inside = partial(_inside, index, plant.zone)
    for day in _days_reaching(index, plant.zone):
        for shift in shifts_on(plant, day):
            present += shift.operators * inside(day, shift.begin, shift.end, slot_s)
    return present


def auxiliary_kw(plant: Plant, index: pd.DatetimeIndex) -> Floats:
    """Return the power of the loads that run whatever is produced, at the start of each slot."""
    total = np.zeros(len(index))
    inside = partial(_inside, index, plant.zone)
    for day in _days_reaching(index, plant.zone):
        for load in plant.auxiliaries:
            total += load.power_kw * inside(day, load.begin, load.end, 1)
    return total


def day_ends(index: pd.DatetimeIndex, slot_s: int, zone: ZoneInfo) -> Ints:
    """Return for each local day of the index the slots that start before its end."""
    following = [day + timedelta(days=1) for day in local_days(index, zone)]
    ends = np.array([day_start(day, zone).timestamp() for day in following])
    return np.minimum((ends - index[0].timestamp()) // slot_s, len(index)).astype(np.int64)


def _days_reaching(index: pd.DatetimeIndex, zone: ZoneInfo) -> list[date]:
    """Return the local days of the index, and the one before: intervals run past midnight."""
    days = local_days(index, zone)
    return [days[0] - timedelta(days=1), *days]


def _inside(
    index: pd.DatetimeIndex, zone: ZoneInfo, day: date, begin: time, end: time, least_s: int
) -> Bools:
    """Return where ``least_s`` from the start of each slot lie in a local wall interval.

    An ``end`` not after ``begin`` lies on the next day.
    """
    last = day if end > begin else day + timedelta(days=1)
    starts = index.as_unit("s").asi8
    first = starts >= local_instant(day, begin, zone).timestamp()
    return np.asarray(first & (starts + least_s <= local_instant(last, end, zone).timestamp()))


# -- solar power ---------
# One formula, stated: sun position after Spencer (1971), diffuse share after Erbs, Klein
# and Duffie (1982), an isotropic sky and ground of albedo 0.2 after Liu and Jordan
# (1963), and one performance ratio for everything behind the modules.

SOLAR_CONSTANT_WM2 = 1361.0
ALBEDO = 0.2
LOWEST_COS = 0.065  # sun 3.7 degrees up: below, dividing by its height says nothing
STANDARD_WM2 = 1000.0


def pv_kw(
    radiation_wm2: pd.Series, pv: Photovoltaics, latitude: float, longitude: float, slot_s: int
) -> pd.Series:
    """Return the kilowatts of a plant by slot; unknown radiation stays NaN.

    Parameters
    ----------
    radiation_wm2 : Series
        Mean global horizontal radiation of each slot, on a UTC index.
    slot_s : int
        Length of a slot; the sun is taken in its middle.
    """
    middle = pd.DatetimeIndex(radiation_wm2.index) + pd.Timedelta(seconds=slot_s / 2)
    day = 2 * np.pi * (np.asarray(middle.day_of_year, float) - 1) / 365
    hour_angle, declination = _sun(middle, day, longitude)
    phi, beta, gamma = np.radians([latitude, pv.tilt_deg, pv.azimuth_deg])
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    south = np.sin(phi) * np.cos(declination) * np.cos(hour_angle)
    south = south - np.cos(phi) * np.sin(declination)
    west = np.cos(declination) * np.sin(hour_angle)
    facing = np.cos(beta) * up + np.sin(beta) * (np.cos(gamma) * south + np.sin(gamma) * west)
    ghi = radiation_wm2.to_numpy(float)
    lit = up > LOWEST_COS
    height = np.where(lit, up, 1.0)
    clearness = ghi / (SOLAR_CONSTANT_WM2 * (1 + 0.033 * np.cos(day)) * height)
    diffuse = ghi * np.where(lit, _diffuse_share(np.clip(clearness, 0.0, 1.0)), 1.0)
    beam = (ghi - diffuse) / height * np.maximum(facing, 0.0)
    sky = diffuse * (1 + np.cos(beta)) / 2 + ghi * ALBEDO * (1 - np.cos(beta)) / 2
    kw = pv.kwp * pv.performance * (beam + sky) / STANDARD_WM2
    return pd.Series(np.minimum(kw, pv.kwp), index=radiation_wm2.index, name="pv_kw")


def _sun(middle: pd.DatetimeIndex, day: Floats, longitude: float) -> tuple[Floats, Floats]:
    """Return hour angle (west positive) and declination, radians (Spencer 1971)."""
    minutes = 229.18 * (
        0.000075
        + 0.001868 * np.cos(day)
        - 0.032077 * np.sin(day)
        - 0.014615 * np.cos(2 * day)
        - 0.040849 * np.sin(2 * day)
    )
    declination = (
        0.006918
        - 0.399912 * np.cos(day)
        + 0.070257 * np.sin(day)
        - 0.006758 * np.cos(2 * day)
        + 0.000907 * np.sin(2 * day)
    )
    clock_h = np.asarray(middle.hour + middle.minute / 60 + middle.second / 3600, float)
    return np.radians(15 * (clock_h + minutes / 60 - 12) + longitude), declination


def _diffuse_share(clearness: Floats) -> Floats:
    """Return the diffuse share of global radiation (Erbs, Klein and Duffie 1982)."""
    cloudy = 1 - 0.09 * clearness
    middling = 0.9511 + clearness * (
        -0.1604 + clearness * (4.388 + clearness * (-16.638 + clearness * 12.336))
    )
    share = np.where(clearness <= 0.22, cloudy, middling)
    return np.asarray(np.where(clearness > 0.8, 0.165, share))
