"""The simulator's faults through the real clients.

Each ends in the value, or in the error that says what happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib import sources
from factory_lib.catalogue import Measurement, default_catalogue
from factory_lib.clock import day_bounds, market_day
from factory_lib.errors import (
    AuthError,
    BadRange,
    MalformedResponse,
    NoDataYet,
    QuotaError,
    ServerError,
    SourceError,
    Unreachable,
)
from factory_lib.settings import Settings
from factory_lib.sources.base import Source
from factory_lib.state import State, open_state
from factory_sim import KEYS
from factory_sim.clock import SimulatedClock
from factory_sim.launch import Remote, launched

# one worker builds what they share

CATALOGUE = default_catalogue()

NOW = datetime(2026, 4, 15, 12, 40, tzinfo=UTC)
ONLINE = [name for name in sources.SOURCES if name != "datosclima"]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Remote]:
    with launched(now=NOW) as remote:
        yield remote


@pytest.fixture
def loaded(simulator: Remote, home: Path) -> Iterator[Settings]:
    env = {**KEYS, "FACTORY_HOME": str(home), "FACTORY_SIMULATOR_URL": simulator.url}
    simulator.reset_requests()
    yield factory_settings.load("demo", env=env)
    simulator.set_faults([])


@pytest.fixture
def state(loaded: Settings) -> Iterator[State]:
    opened = open_state(loaded)
    yield opened
    opened.close()


def ask(source: Source, measurement: Measurement | None = None) -> Any:
    """Ask for the last day of the source's first measurement, or of the one named."""
    wanted = measurement or CATALOGUE[source.serves[0]].measurement
    names = [name for name in source.serves if CATALOGUE[name].measurement is wanted]
    first, last = source.available_window(names[0])
    hours = 240 if wanted is Measurement.CLIMATE else 20
    try:
        return source.fetch(
            names, source.places()[0], max(first, last - timedelta(hours=hours)), last
        )
    finally:
        source.close()


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize("kind", ["server_error", "too_many", "truncated", "reset", "html"])
def test_a_fault_that_passes_loses_nothing(
    simulator: Remote, loaded: Settings, state: State, name: str, kind: str
) -> None:
    simulator.set_faults([{"kind": kind, "source": name, "times": 1}])
    assert len(ask(sources.open_source(name, loaded, state, SimulatedClock(NOW))))


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        pytest.param("outage", ServerError, id="outage"),
        pytest.param("too_many", QuotaError, id="429"),
        pytest.param("reset", Unreachable, id="reset"),
        pytest.param("garbage", SourceError, id="garbage"),
        pytest.param("empty", SourceError, id="empty"),
    ],
)
def test_a_fault_that_stays_is_told_by_its_type(
    simulator: Remote,
    loaded: Settings,
    state: State,
    name: str,
    kind: str,
    error: type[SourceError],
) -> None:
    simulator.set_faults([{"kind": kind, "source": name, "rate": 1.0}])
    once = {key: structs.replace(limits, retries=1) for key, limits in loaded.sources.items()}
    with pytest.raises(error):
        ask(
            sources.open_source(
                name, structs.replace(loaded, sources=once), state, SimulatedClock(NOW)
            )
        )


@pytest.mark.parametrize(
    ("name", "quirk", "error"),
    [
        pytest.param("ree", "all_zero", NoDataYet, id="REE: a day of zeros"),
        pytest.param("omie", "all_zero", NoDataYet, id="OMIE: a day of zeros"),
        pytest.param("omie", "cut_file", ServerError, id="OMIE: a file without its end"),
        pytest.param("esios", "bad_token", AuthError, id="ESIOS: 401"),
        pytest.param("esios", "no_values", NoDataYet, id="ESIOS: an empty list"),
        pytest.param("aemet", "malformed_key", AuthError, id="AEMET: no token"),
        pytest.param("aemet", "expired_key", AuthError, id="AEMET: an expired key"),
        pytest.param("aemet", "no_data", NoDataYet, id="AEMET: estado 404 in a 200"),
        pytest.param("aemet", "without_address", QuotaError, id="AEMET: estado 429 in a 200"),
        pytest.param("aemet", "expired_document", ServerError, id="AEMET: the document is gone"),
        pytest.param("openweathermap", "invalid_key", AuthError, id="OpenWeatherMap: 401"),
        pytest.param("openweathermap", "wrong_coordinate", BadRange, id="OpenWeatherMap: 400"),
        pytest.param(
            "open_meteo", "short_column", MalformedResponse, id="Open-Meteo: a short column"
        ),
        pytest.param("siar", "bad_token", AuthError, id="SIAR: 403, the token"),
        pytest.param("siar", "before_minimum", BadRange, id="SIAR: 403, the range"),
        pytest.param("siar", "requests_per_minute", QuotaError, id="SIAR: 403, the minute"),
        pytest.param("siar", "records_per_day", QuotaError, id="SIAR: 403, the day"),
        pytest.param("siar", "message_in_200", MalformedResponse, id="SIAR: a message in a 200"),
    ],
)
def test_each_providers_way_to_fail_has_its_type(
    simulator: Remote,
    loaded: Settings,
    state: State,
    name: str,
    quirk: str,
    error: type[SourceError],
) -> None:
    simulator.set_faults([{"kind": quirk, "source": name}])
    with pytest.raises(error):
        ask(sources.open_source(name, loaded, state, SimulatedClock(NOW)))


@pytest.mark.parametrize(
    ("name", "quirk"),
    [
        pytest.param("ree", "old_words", id="REE: the titles of 2021"),
        pytest.param("ree", "reversed", id="REE: series in the other order"),
        pytest.param("omie", "republished", id="OMIE: only the second edition"),
        pytest.param("esios", "utc_repeated", id="ESIOS: datetime_utc repeated"),
        pytest.param("esios", "bare_content_type", id="ESIOS: content type json"),
        pytest.param("aemet", "utf8", id="AEMET: UTF-8"),
        pytest.param("aemet", "naive_fint", id="AEMET: no offset"),
        pytest.param("openweathermap", "no_station_pressure", id="OpenWeatherMap: one pressure"),
        pytest.param("siar", "manual_spelling", id="SIAR: HumedadMin"),
    ],
)
def test_a_harmless_quirk_changes_no_value(
    simulator: Remote, loaded: Settings, state: State, name: str, quirk: str
) -> None:
    plain = ask(sources.open_source(name, loaded, state, SimulatedClock(NOW)))
    simulator.set_faults([{"kind": quirk, "source": name}])
    odd = ask(sources.open_source(name, loaded, state, SimulatedClock(NOW)))
    key = ["series", "start", "value"]
    kept = plain[plain["series"].isin(odd["series"])]
    assert kept[key].reset_index(drop=True).equals(odd[key].reset_index(drop=True))
    assert set(plain["series"]) - set(odd["series"]) <= {"pressure_station_hpa"}


@pytest.mark.parametrize("name", ["ree", "omie"])
def test_prices_out_of_range_are_rejected_one_by_one(
    simulator: Remote, loaded: Settings, state: State, name: str
) -> None:
    simulator.set_faults([{"kind": "out_of_range", "source": name}])
    source = sources.open_source(name, loaded, state, SimulatedClock(NOW))
    rows = ask(source)
    assert rows["value"].max() < 4000
    assert source.rejected
    assert all("outside" in row.reason for row in source.rejected)


def test_accumulated_rain_is_absent_and_told(
    simulator: Remote, loaded: Settings, state: State
) -> None:
    simulator.set_faults([{"kind": "accumulated", "source": "aemet"}])
    source = sources.open_source("aemet", loaded, state, SimulatedClock(NOW))
    start, end = NOW - timedelta(days=120), NOW - timedelta(days=5)
    rows = source.fetch(["precipitation_sum_mm", "temperature_mean_c"], "5279X", start, end)
    source.close()
    told = {row.text.split()[-1] for row in source.rejected if "Acum" in row.reason}
    assert told
    rainy = rows[rows["series"] == "precipitation_sum_mm"]
    assert told.isdisjoint(rainy["start"].dt.strftime("%Y-%m-%d"))
    assert set(rows[rows["series"] == "temperature_mean_c"]["start"]) >= set(rainy["start"])


def test_a_provider_that_comes_back_is_asked_again_after_the_circuit_closes(
    simulator: Remote, loaded: Settings, state: State
) -> None:
    simulator.set_faults([{"kind": "outage", "source": "ree"}])
    clock = SimulatedClock(NOW)
    start, end = day_bounds(market_day(NOW))
    for _ in range(4):
        source = sources.open_source("ree", loaded, state, clock)
        with pytest.raises(SourceError):
            source.fetch(["spot_eur_mwh"], "ES", start, end)
        source.close()
    assert simulator.requests()["ree"]["count"] == loaded.breaker.failures
    simulator.set_faults([])
    clock.sleep(loaded.breaker.open_s)
    source = sources.open_source("ree", loaded, state, clock)
    assert len(source.fetch(["spot_eur_mwh"], "ES", start, end)) == 96
    source.close()
