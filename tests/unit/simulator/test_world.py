"""The world: the same for ever, inside the catalogue's ranges, and worth forecasting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib import settings as factory_settings
from factory_lib.catalogue import default_catalogue
from factory_lib.clock import DAY_S, HOUR_S, MADRID, QUARTER_S, day_bounds, epoch
from factory_lib.domain.indices import CLASSES, MODERATE_SHARE
from factory_lib.planning import recommendation
from factory_lib.runs import simulation
from factory_lib.slots import to_index
from factory_sim.noise import Noise
from factory_sim.world import PUBLISHED, World

CATALOGUE = default_catalogue()

TWO_YEARS = datetime(2024, 7, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", PUBLISHED)
def test_two_years_of_every_series_lie_in_the_catalogues_range(world: World, name: str) -> None:
    starts, values = world.window(name, *TWO_YEARS)
    assert len(starts) >= 729
    assert np.isfinite(values).all()
    assert values.min() >= CATALOGUE[name].low
    assert values.max() <= CATALOGUE[name].high
    assert len(np.unique(values)) > 50


@pytest.mark.parametrize("name", PUBLISHED)
def test_any_window_agrees_with_any_other(world: World, name: str) -> None:
    start = datetime(2025, 9, 20, tzinfo=UTC)
    whole = dict(
        zip(
            *map(np.ndarray.tolist, world.window(name, start, start + timedelta(days=30))),
            strict=True,
        )
    )
    inner = World(world.seed).window(
        name, start + timedelta(days=7, hours=5), start + timedelta(days=19, hours=1)
    )
    assert len(inner[0]) > 10
    assert [whole[at] for at in inner[0].tolist()] == inner[1].tolist()


def test_the_days_of_the_demo_have_starts_of_every_class_with_room_to_spare() -> None:
    """A forecast is flatter than what comes: Reduced begins at a quarter of a usual batch."""
    settings = factory_settings.load("demo")
    begin = simulation.BEGIN.replace(minute=0)
    starts = np.arange(epoch(begin - timedelta(days=28)), epoch(begin + timedelta(days=7)), HOUR_S)
    columns = ("temperature_c", "humidity_pct")
    hourly = pd.DataFrame({name: World().values(name, starts) for name in columns})
    hourly = hourly.assign(price_eur_mwh=World().spot(starts, HOUR_S)).set_index(to_index(starts))
    lay = recommendation.lay_for(settings)
    usual_eur = lay(hourly).usual_eur()
    ahead = hourly[begin:]
    advice = recommendation.recommend(lay(ahead), usual_eur, np.zeros((1, len(ahead))))
    two_days = advice[: pd.Timestamp(begin) + pd.Timedelta(hours=36)]
    assert set(two_days["production_recommendation"]) == set(CLASSES)
    regret = two_days["regret_eur"].replace(np.inf, np.nan)
    assert regret.max() > 1.4 * MODERATE_SHARE * usual_eur


def test_another_seed_is_another_world(world: World) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    ours, theirs = (
        one.window("spot_eur_mwh", start, end)[1] for one in (world, World(world.seed + 1))
    )
    assert np.mean(ours == theirs) < 0.1


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-29", 23), ("2025-10-26", 25), ("2026-05-05", 24)],
    ids=["spring", "autumn", "plain"],
)
def test_market_days_have_their_own_length(world: World, day: str, hours: int) -> None:
    bounds = day_bounds(datetime.fromisoformat(day).date())
    assert len(world.window("spot_eur_mwh", *bounds)[0]) == 4 * hours
    assert len(world.window("pvpc_eur_mwh", *bounds)[0]) == hours


def test_the_market_changes_to_quarters_in_october_2025(world: World) -> None:
    midnight = datetime(2025, 9, 30, 22, tzinfo=UTC)
    starts, _ = world.window(
        "spot_eur_mwh", midnight - timedelta(hours=2), midnight + timedelta(hours=1)
    )
    assert np.diff(starts).tolist() == [HOUR_S, HOUR_S, QUARTER_S, QUARTER_S, QUARTER_S]


def test_an_hour_is_the_mean_of_its_quarters(world: World) -> None:
    starts = epoch(datetime(2026, 2, 3, tzinfo=UTC)) + np.arange(24) * HOUR_S
    quarters = (starts[:, None] + np.arange(4) * QUARTER_S).ravel()
    means = world.spot(quarters, QUARTER_S).reshape(-1, 4).mean(axis=1)
    assert world.spot(starts, HOUR_S) == pytest.approx(means, abs=0.0051)


def test_prices_have_what_forecasters_look_for(world: World) -> None:
    starts, values = world.window(
        "spot_eur_mwh", datetime(2023, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    )
    price = pd.Series(values, index=to_index(starts).tz_convert(MADRID))
    hour, weekday, month = price.index.hour, price.index.day_of_week, price.index.month
    spring = price[month.isin([4, 5])].groupby(hour[month.isin([4, 5])]).mean()
    assert spring[13:16].mean() < 0.4 * spring[20:22].mean()  # the sun depresses noon
    assert price[weekday >= 5].mean() < 0.9 * price[weekday < 5].mean()
    assert 0.02 < (price <= 0).mean() < 0.2
    assert (price < 0).any()
    assert price.max() > 2.5 * price.mean()  # spikes
    daily = price.resample("D").mean()
    assert daily.autocorr(1) > 0.6  # wind and gas last for days
    assert abs(daily.autocorr(100)) < 0.5


def test_no_market_day_is_all_zero(world: World) -> None:
    """An all-zero day would look like one that is not published."""
    starts, values = world.window("spot_eur_mwh", *TWO_YEARS)
    daily = pd.Series(np.abs(values), index=to_index(starts).tz_convert(MADRID)).resample("D").max()
    assert daily.min() > 0


def test_pvpc_is_the_hours_price_and_the_periods_adder(world: World) -> None:
    starts, pvpc = world.window(
        "pvpc_eur_mwh", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    )
    above = pd.Series(pvpc - world.spot(starts, HOUR_S), index=to_index(starts).tz_convert(MADRID))
    working = above[(above.index.day_of_week < 5) & (above.index.day > 6)]
    by_hour = working.groupby(working.index.hour).mean()
    assert by_hour[[10, 13, 18, 21]].min() > by_hour[[8, 9, 14, 17, 22]].max() + 30
    assert by_hour[[8, 9, 14, 17, 22]].min() > by_hour[0:7].max() + 10


def test_weather_is_that_of_the_upper_guadalquivir(world: World) -> None:
    hours = epoch(TWO_YEARS[0]) + np.arange(2 * 365 * 24) * HOUR_S
    index = to_index(hours)
    temperature = pd.Series(world.climate.hourly("temperature_c", hours), index=index)
    assert 16 < temperature.mean() < 19
    assert 5 < temperature[index.month == 1].mean() < 11
    assert 25 < temperature[index.month == 7].mean() < 31
    sun = world.climate.hourly("solar_radiation_wm2", hours)
    assert sun[index.hour == 0].max() == 0
    assert sun[index.hour == 12].min() > 30
    rain = world.climate.hourly("precipitation_mm", hours).sum() / 2
    assert 250 < rain < 900
    sea, station = (
        world.climate.hourly(f"pressure_{level}_hpa", hours) for level in ("sea_level", "station")
    )
    assert (sea - station).min() > 50


def test_a_provider_is_near_the_station_and_not_equal(world: World) -> None:
    hours = epoch(TWO_YEARS[0]) + np.arange(2000) * HOUR_S
    truth = world.climate.hourly("temperature_c", hours)
    assert world.climate.as_seen_by("aemet", "temperature_c", hours).tolist() == truth.tolist()
    error = world.climate.as_seen_by("open_meteo", "temperature_c", hours) - truth
    assert -0.8 < error.mean() < 0
    assert 0.3 < error.std() < 1.0


def test_a_forecast_gets_worse_with_its_lead(world: World) -> None:
    issues = epoch(TWO_YEARS[0]) + np.arange(200) * DAY_S

    def rmse(lead_h: int) -> float:
        errors = [
            world.climate.forecast(
                "open_meteo", "temperature_c", np.array([issue + lead_h * HOUR_S]), issue
            )
            - world.climate.as_seen_by(
                "open_meteo", "temperature_c", np.array([issue + lead_h * HOUR_S])
            )
            for issue in issues.tolist()
        ]
        return float(np.sqrt(np.mean(np.square(errors))))

    assert rmse(0) == 0
    assert 0.1 < rmse(6) < rmse(48) < rmse(120) < 5


def test_noise_is_nearly_normal_bounded_and_independent() -> None:
    values = Noise(1).normal("a", np.arange(100_000))
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert np.abs(values).max() < 3.47
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(values, Noise(1).normal("b", np.arange(100_000)))[0, 1]) < 0.02


def test_smooth_noise_keeps_its_variance_and_its_scale() -> None:
    at = np.arange(0, 4000 * DAY_S, HOUR_S * 6)
    values = Noise(3).smooth("x", at, 2 * DAY_S)
    assert abs(values.std() - 1) < 0.05
    assert np.corrcoef(values[1:], values[:-1])[0, 1] > 0.9
    assert abs(np.corrcoef(values[16:], values[:-16])[0, 1]) < 0.1
