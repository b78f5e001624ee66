"""Solar power against what is known of the sun."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from factory_lib.domain.plant import pv_kw
from factory_lib.settings.plant import Photovoltaics

LATITUDE, LONGITUDE = 38.151107, -3.629453


def day(date: str, peak_wm2: float) -> pd.Series:
    index = pd.date_range(date, periods=24, freq="h", tz="UTC")
    return pd.Series(
        peak_wm2 * np.maximum(0, np.sin(np.pi * (index.hour - 4.75) / 15)), index=index
    )


def power(radiation: pd.Series, **of: float) -> pd.Series:
    return pv_kw(radiation, Photovoltaics(kwp=100, **of), LATITUDE, LONGITUDE, 3600)


def test_flat_modules_give_the_radiation_times_the_performance():
    radiation = day("2026-06-21", 900.0)
    assert power(radiation, tilt_deg=0.0).to_numpy() == pytest.approx(radiation.to_numpy() * 0.08)


def test_south_gains_in_winter_and_the_peak_is_near_noon_of_the_sun():
    winter = day("2026-12-21", 420.0)
    assert power(winter).sum() > 1.3 * power(winter, tilt_deg=0.0).sum()
    assert power(day("2026-06-21", 900.0)).idxmax().hour == 12  # the sun is south at 12:17 UTC


def test_east_gives_in_the_morning_and_west_in_the_evening():
    radiation = day("2026-06-21", 900.0)
    east, west = (power(radiation, azimuth_deg=side, tilt_deg=40.0) for side in (-90.0, 90.0))
    assert east.iloc[6:10].sum() > west.iloc[6:10].sum()
    assert east.iloc[14:18].sum() < west.iloc[14:18].sum()


def test_night_gives_nothing_unknown_stays_unknown_and_no_module_gives_more_than_its_peak():
    radiation = day("2026-06-21", 1400.0)
    radiation.iloc[12] = np.nan
    kw = power(radiation)
    assert kw.iloc[[0, 1, 2, 3, 22, 23]].tolist() == [0.0] * 6
    assert np.isnan(kw.iloc[12])
    assert kw.max() <= 100.0
