"""What every provider's client promises, against the simulator as a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factory_lib import settings as factory_settings
from factory_lib import sources
from factory_lib.catalogue import Measurement, default_catalogue
from factory_lib.clock import day_start, epoch, market_day
from factory_lib.errors import BadInput, NoDataYet, SourceError
from factory_lib.frames import FORECAST_COLUMNS, TIDY_COLUMNS
from factory_lib.slots import expected, from_index
from factory_lib.sources.base import Source
from factory_lib.state import open_state
from factory_sim import KEYS
from factory_sim.clock import SimulatedClock
from factory_sim.launch import Remote, launched
from factory_sim.world import World

CATALOGUE = default_catalogue()

NOW = datetime(
    2026, 4, 15, 12, 40, tzinfo=UTC
)  # 14:40 in Madrid: spot of tomorrow is out, PVPC is not
ONLINE = [name for name in sources.SOURCES if name != "datosclima"]  # which reads a folder
PRICES = [name for name in ONLINE if "spot_eur_mwh" in sources.SOURCES[name].serves]
PAIRS = [
    pytest.param(name, series, id=f"{name}-{series}")
    for name in ONLINE
    for series in sources.SOURCES[name].serves
]

Opener = Callable[..., Source]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Remote]:
    with launched(now=NOW) as remote:
        yield remote


@pytest.fixture
def open_source(simulator: Remote, home: Path) -> Iterator[Opener]:
    env = {**KEYS, "FACTORY_HOME": str(home), "FACTORY_SIMULATOR_URL": simulator.url}
    loaded = factory_settings.load("demo", env=env)
    state = open_state(loaded)
    with ExitStack() as closing:
        closing.callback(state.close)

        def opener(name: str, now: datetime = NOW) -> Source:
            source = sources.open_source(name, loaded, state, SimulatedClock(now))
            closing.callback(source.close)
            return source

        yield opener


def question(source: Source, series: str) -> tuple[datetime, datetime]:
    """Return the last day that the source can be asked about; of daily values the last ten."""
    first, last = source.available_window(series)
    return max(
        first,
        last - timedelta(days=10 if CATALOGUE[series].measurement is Measurement.CLIMATE else 1),
    ), last


@pytest.mark.parametrize(("name", "series"), PAIRS)
def test_rows_are_tidy_inside_the_window_on_the_grid_and_say_where_they_are_from(
    open_source: Opener, name: str, series: str
) -> None:
    source = open_source(name)
    start, end = question(source, series)
    entry = CATALOGUE[series]
    place = entry.area or source.places()[0]
    rows = source.fetch([series], place, start, end)
    assert tuple(rows.columns) == TIDY_COLUMNS
    assert set(rows["series"]) == {series}
    assert set(rows["source"]) == {name}
    assert set(rows["place"]) == {place}
    assert set(rows["kind"]) <= {kind.value for kind in entry.publication}
    assert rows["start"].between(pd.Timestamp(start), pd.Timestamp(end), inclusive="left").all()
    assert np.isin(from_index(rows["start"]), expected(entry, start - timedelta(days=1), end)).all()
    assert not rows.duplicated(["series", "start"]).any()
    assert rows["value"].between(entry.low, entry.high).all()
    assert not source.rejected


@pytest.mark.parametrize("name", ONLINE)
def test_a_clock_that_is_ahead_observes_and_issues_nothing_later_than_the_provider(
    open_source: Opener, name: str
) -> None:
    source = open_source(name, NOW + timedelta(days=1))
    spec = sources.SOURCES[name]
    weather = [each for each in source.serves if CATALOGUE[each].measurement is Measurement.WEATHER]
    place = source.places()[0]
    rows, issued = [], []
    if weather:
        with suppress(SourceError):  # it may refuse to be asked about tomorrow
            window = (NOW - timedelta(days=1), NOW + timedelta(days=1))
            rows = source.fetch(weather, place, *window)["start"].tolist()
    if spec.forecasts:
        issued = source.forecast(spec.forecasts, place)["issued_at"].tolist()
    assert [at for at in (*rows, *issued) if at > NOW] == []


@pytest.mark.parametrize("name", PRICES)
def test_prices_are_those_of_the_world_slot_by_slot(
    open_source: Opener, simulator: Remote, name: str
) -> None:
    source, world = open_source(name), World(simulator.seed)
    start, end = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)
    for series in source.serves:
        rows = source.fetch([series], "ES", start, end).sort_values("start")
        slots = expected(CATALOGUE[series], start, end)
        assert from_index(rows["start"]).tolist() == slots.tolist()
        np.testing.assert_allclose(
            rows["value"], np.round(world.values(series, slots), 2), atol=1e-9
        )


@pytest.mark.parametrize("name", ["open_meteo", "open_meteo_recent", "aemet"])
@pytest.mark.parametrize("series", ["temperature_c", "precipitation_mm"])
def test_weather_of_every_provider_is_of_the_same_slots(
    open_source: Opener, simulator: Remote, name: str, series: str
) -> None:
    source, climate = open_source(name), World(simulator.seed).climate
    start, end = question(source, series)
    rows = source.fetch([series], source.places()[0], start, end)
    seen = climate.as_seen_by(name, series, from_index(rows["start"]))
    np.testing.assert_allclose(rows["value"], seen, atol=0.051)


@pytest.mark.parametrize("name", ONLINE)
def test_windows_meet_and_cover_and_are_no_longer_than_allowed(
    open_source: Opener, name: str
) -> None:
    source = open_source(name)
    start, end = datetime(2025, 3, 1, 7, tzinfo=UTC), datetime(2026, 4, 1, 19, tzinfo=UTC)
    parts = source.windows(
        start, end, source.serves[:1] if name != "aemet" else ["temperature_mean_c"]
    )
    assert (parts[0][0], parts[-1][1]) == (start, end)
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    if name != "openweathermap":  # which has the present only
        longest = max((b - a) / timedelta(days=1) for a, b in parts)
        assert longest <= source.limits.max_range_days + 1 / 24


def test_three_years_of_prices_are_forty_requests_and_a_year_of_weather_is_one(
    open_source: Opener,
) -> None:
    end = day_start(market_day(NOW))
    start = day_start(market_day(NOW).replace(year=2023))
    assert len(open_source("ree").windows(start, end)) == 40
    assert len(open_source("open_meteo").windows(end - timedelta(days=365), end)) <= 2
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(open_source("open_meteo").windows(midnight.replace(year=2025), midnight)) == 1


def test_tomorrow_is_there_as_far_as_it_is_published(open_source: Opener) -> None:
    tomorrow = day_start(market_day(NOW) + timedelta(days=1))
    rows = open_source("ree").fetch(
        ("spot_eur_mwh", "pvpc_eur_mwh"), "ES", tomorrow, tomorrow + timedelta(days=1)
    )
    assert rows.groupby("series").size().to_dict() == {"spot_eur_mwh": 96}
    with pytest.raises(NoDataYet):
        open_source("ree").fetch(("pvpc_eur_mwh",), "ES", tomorrow, tomorrow + timedelta(days=1))


@pytest.mark.parametrize("name", [name for name, spec in sources.SOURCES.items() if spec.forecasts])
def test_forecasts_are_forecast_rows_of_hours_to_come(open_source: Opener, name: str) -> None:
    asked = sources.SOURCES[name].forecasts[:3]
    source = open_source(name)
    rows = source.forecast(asked, source.places()[0])
    assert tuple(rows.columns) == FORECAST_COLUMNS
    assert set(rows["series"]) == set(asked)
    assert (rows["target_start"] >= rows["issued_at"]).all()
    assert (from_index(rows["target_start"]) % 3600 == 0).all()
    assert (rows["issued_at"] <= pd.Timestamp(NOW) + pd.Timedelta(minutes=1)).all()
    assert not rows.duplicated(["series", "target_start"]).any()
    assert rows["target_start"].max() >= pd.Timestamp(NOW) + pd.Timedelta(hours=24)


@pytest.mark.parametrize("name", ONLINE)
def test_what_a_source_does_not_serve_is_refused_before_anything_is_asked(
    open_source: Opener, name: str
) -> None:
    source = open_source(name)
    other = next(series for series in CATALOGUE if series not in source.serves)
    with pytest.raises(BadInput, match=other):
        source.fetch([other], source.places()[0], NOW - timedelta(days=1), NOW)


def test_the_catalogue_and_the_sources_name_each_other() -> None:
    served = {(name, series) for name, spec in sources.SOURCES.items() for series in spec.serves}
    trusted = {(name, entry.name) for entry in CATALOGUE.values() for name in entry.sources}
    assert served <= trusted


def test_a_source_without_its_key_is_named_and_left_out(home: Path) -> None:
    bare = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
    keyless = [name for name in ONLINE if not sources.SOURCES[name].keys]
    assert sources.configured(bare) == keyless
    assert sources.missing("aemet", bare) == "AEMET_API_KEY not set"
    assert sources.missing("siar", bare) == "SIAR_USER and SIAR_PASSWORD not set"
    assert sources.missing("datosclima", bare) == "[sources.datosclima] enabled = false"
    assert sources.SOURCES["esios"].served(bare) == ("pvpc_eur_mwh",)
    assert sources.SOURCES["esios"].served(bare, forecasts=True) == ()


def test_without_a_token_the_archive_still_has_pvpc(simulator: Remote, home: Path) -> None:
    env = {"FACTORY_HOME": str(home), "FACTORY_SIMULATOR_URL": simulator.url}
    bare = factory_settings.load("demo", env=env)
    state = open_state(bare)
    source = sources.open_source("esios", bare, state, SimulatedClock(NOW))
    start = day_start(market_day(NOW) - timedelta(days=2))
    rows = source.fetch(source.serves, "ES", start, start + timedelta(days=2))
    assert (epoch(start), len(rows)) == (int(rows["start"].min().timestamp()), 48)
    source.close()
    state.close()
