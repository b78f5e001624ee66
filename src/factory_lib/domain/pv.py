"""Power of a photovoltaic plant from forecast global radiation.

One formula, stated: sun position after Spencer (1971), diffuse share after Erbs, Klein
and Duffie (1982), an isotropic sky and ground of albedo 0.2 after Liu and Jordan
(1963), and one performance ratio for everything behind the modules.
"""

import numpy as np
import pandas as pd

from factory_lib.domain.plant import Floats
from factory_lib.settings.plant import Photovoltaics

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
