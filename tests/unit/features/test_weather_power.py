"""Generation of further days from weather forecasts, learnt from what the operator forecast."""

import numpy as np
import pandas as pd
import pytest

from factory_lib.features.weather import RADIATION, WIND_SPEED, system_ahead

HOURS = pd.date_range("2024-03-01", "2024-06-29", freq="h", inclusive="left", tz="UTC", unit="s")
DAYS = 120


def world(seed: int = 1) -> tuple[pd.DataFrame, dict[str, pd.Series], dict[str, pd.Series]]:
    """Power by curves of the weather, which the forecasts of both leads show with some error."""
    rng = np.random.default_rng(seed)
    speed = 6 + 3 * np.sin(np.arange(len(HOURS)) / 37) + rng.normal(0, 0.3, len(HOURS))
    sun = np.clip(800 * np.sin((HOURS.hour - 5) / 14 * np.pi), 0, None).to_numpy()
    wind_mw = 20_000 / (1 + np.exp(-(speed - 8)))
    load = 28_000 + 4_000 * np.sin(HOURS.hour / 24 * 2 * np.pi) - 3_000 * (HOURS.day_of_week > 4)
    columns = {"load_mw": load.to_numpy(float), "wind_mw": wind_mw, "solar_mw": 18.0 * sun}
    then = {WIND_SPEED: speed, RADIATION: sun}
    ahead = {WIND_SPEED: speed + rng.normal(0, 0.3, len(HOURS)), RADIATION: 1.02 * sun}
    return (
        pd.DataFrame(columns, HOURS),
        {name: pd.Series(values, HOURS) for name, values in then.items()},
        {name: pd.Series(values, HOURS) for name, values in ahead.items()},
    )


@pytest.mark.parametrize("lead", [2, 7])
def test_curves_are_learnt_and_the_load_repeats_its_weekday(lead):
    day_ahead, then, ahead = world()
    made = system_ahead(day_ahead, then, ahead, lead)
    assert set(made) == {
        f"{name}_{lead}d_ahead" for name in ("residual_load_mw", "load_mw", "wind_mw")
    }
    wind = made[f"wind_mw_{lead}d_ahead"].grid[40:-1]
    actual = day_ahead["wind_mw"].tz_convert("Europe/Madrid").iloc[:-1]
    by_day = actual.groupby(actual.index.floor("D")).apply(np.asarray)
    own = np.stack([day for day in by_day.iloc[40:-1] if len(day) == 24])
    error = np.abs(wind[-20:] - own[-20:]).mean()
    assert error < 0.15 * actual.mean()
    load = made[f"load_mw_{lead}d_ahead"].grid
    assert load[60] == pytest.approx(load[53])


def test_nothing_after_the_issue_but_the_weather_ahead_is_used():
    day_ahead, then, ahead = world()
    row, lead = 80, 4
    issue_end = HOURS[0] + pd.Timedelta(days=row - lead + 2)  # the day after the issue is forecast
    later = issue_end <= HOURS
    spoilt = day_ahead.mask(np.repeat(later[:, None], 3, axis=1), 1e6)
    learnt = {name: column.mask(later, 99.0) for name, column in then.items()}
    for name, matrix in system_ahead(day_ahead, then, ahead, lead).items():
        changed = system_ahead(spoilt, learnt, ahead, lead)[name]
        assert np.array_equal(matrix.grid[row], changed.grid[row], equal_nan=True), name
        assert not np.array_equal(matrix.grid[row + 9], changed.grid[row + 9], equal_nan=True)


def test_the_operators_load_of_the_week_goes_before_and_no_weather_makes_nothing():
    day_ahead, then, ahead = world()
    of_week = pd.Series(31_000.0, HOURS[24 * 90 :])
    made = system_ahead(day_ahead, then, ahead | {"load_mw": of_week}, 3)
    load = made["load_mw_3d_ahead"].grid
    assert (load[92] == 31_000).all()
    assert not (load[80] == 31_000).any()
    nothing = {name: column[:0] for name, column in ahead.items()}
    assert system_ahead(day_ahead, then, nothing, 3) == {}
