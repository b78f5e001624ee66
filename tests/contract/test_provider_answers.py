"""Answers as providers really give them: each ends in its rows, or in the error that is right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from msgspec import structs

from benchmarks.wire import judge
from factory_lib import settings as factory_settings
from factory_lib import sources
from factory_lib.clock import day_bounds
from factory_lib.errors import (
    AuthError,
    BadCertificate,
    NoDataYet,
    QuotaError,
    ReadTimeout,
    SourceError,
)
from factory_lib.sources.base import Source
from factory_lib.state import limiter, open_state
from factory_sim import KEYS
from factory_sim.faults import Rule
from tests.conftest import NOW, DemoWorld

DAY = day_bounds(date(2026, 4, 8))
SPOT = ["spot_eur_mwh"]
Opener = Callable[[str], Source]


@pytest.fixture
def client(demo_world: DemoWorld) -> Opener:
    demo_world.clock.set(NOW)
    env = {**KEYS, "FACTORY_HOME": str(demo_world.home), "FACTORY_SIMULATOR_URL": demo_world.url}
    loaded = factory_settings.load("demo", env=env)

    def opener(name: str) -> Source:
        state = demo_world.stack.enter_context(open_state(loaded))
        source = sources.open_source(name, loaded, state, demo_world.clock)
        demo_world.stack.callback(source.close)
        return source

    return opener


def prices(source: Source) -> pd.Series:
    return source.fetch(SPOT, "ES", *DAY).set_index("start")["value"]


@pytest.mark.parametrize(
    ("quirk", "requests_sent"),
    [
        pytest.param("republished", 3, id="the second edition alone"),
        pytest.param("third_edition", 4, id="the third edition alone"),
        pytest.param("corrected", 3, id="a correction"),
    ],
)
@pytest.mark.parametrize("missing", ["", "missing_page", "missing_empty"])
def test_omie_is_read_from_its_last_edition(
    demo_world: DemoWorld, client: Opener, quirk: str, requests_sent: int, missing: str
) -> None:
    right = prices(client("ree"))
    rules = [Rule(name, source="omie") for name in (quirk, missing) if name]
    demo_world.simulator.set_rules(tuple(rules))
    assert prices(client("omie")).tolist() == right.tolist()
    assert demo_world.asked("omie") == requests_sent


@pytest.mark.parametrize("missing", ["missing_page", "missing_empty"])
def test_a_missing_file_of_omie_is_no_failure_of_the_host(
    demo_world: DemoWorld, client: Opener, missing: str
) -> None:
    demo_world.simulator.set_rules((Rule(missing, source="omie"),))
    source = client("omie")
    for days in range(3):
        with pytest.raises(NoDataYet):
            source.fetch(SPOT, "ES", *day_bounds(date(2026, 4, 17 + days)))
    assert demo_world.asked("omie") == 3, "a day to come has no second edition"
    assert limiter.open_hosts(source.http._state.hosts, source.settings.breaker) == {}


def test_a_firewalls_page_is_a_failure_of_omie(demo_world: DemoWorld, client: Opener) -> None:
    demo_world.simulator.set_rules((Rule("html", source="omie"),))
    with pytest.raises(SourceError) as raised:
        client("omie").fetch(SPOT, "ES", *DAY)
    assert not isinstance(raised.value, NoDataYet)


def test_siar_needs_no_number_of_its_station(demo_world: DemoWorld, client: Opener) -> None:
    window = (NOW - timedelta(days=9), NOW - timedelta(days=3))
    plain = client("siar").fetch(["temperature_mean_c"], "J05", *window)
    demo_world.simulator.set_rules((Rule("own_numbers", source="siar"),))
    numbered = client("siar").fetch(["temperature_mean_c"], "J05", *window)
    assert plain["value"].tolist() == numbered["value"].tolist()


@pytest.mark.parametrize("code", ["J05", "J104", "A1020", "TF164"])
def test_siar_stations_have_two_to_four_digits(client: Opener, code: str) -> None:
    source = client("siar")
    site = structs.replace(
        source.settings.site,
        places=structs.replace(source.settings.site.places, climate=(code, "5279X")),
    )
    source.settings = structs.replace(source.settings, site=site)
    assert source.places() == (code,)


def test_an_expired_document_of_aemet_is_asked_for_again(
    demo_world: DemoWorld, client: Opener
) -> None:
    window = (NOW - timedelta(days=40), NOW - timedelta(days=20))
    demo_world.simulator.set_rules((Rule("expired_words", source="aemet", path="/sh/", times=1),))
    rows = client("aemet").fetch(["temperature_max_c"], "5279X", *window)
    assert len(rows) == 20
    assert demo_world.asked("aemet") == 4


def test_a_stray_record_of_aemet_costs_its_own_hour_alone(
    demo_world: DemoWorld, client: Opener
) -> None:
    demo_world.simulator.set_rules((Rule("stray_record", source="aemet"),))
    source = client("aemet")
    rows = source.fetch(["temperature_c"], "5279X", NOW - timedelta(hours=24), NOW)
    assert len(rows) >= 21
    assert any("full hour" in row.reason for row in source.rejected)


def test_a_missing_token_of_esios_is_no_firewall(demo_world: DemoWorld, client: Opener) -> None:
    demo_world.simulator.set_rules((Rule("bad_token", source="esios"),))
    with pytest.raises(AuthError):
        client("esios").fetch(["pvpc_eur_mwh"], "ES", *DAY)
    assert demo_world.asked("esios") == 1


def test_esios_halves_a_window_whose_answer_takes_too_long(
    client: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = client("esios")
    start, end = DAY[0] - timedelta(days=59), DAY[1]
    send = source.http._send
    lengths = []

    def slow(url: str, params: dict[str, Any], *rest: Any) -> Any:
        first, last = (datetime.fromisoformat(params[f"{edge}_date"]) for edge in ("start", "end"))
        lengths.append((last - first).days + 1)
        if lengths[-1] > 20:
            raise ReadTimeout("esios", "no answer (ReadTimeout)")
        return send(url, params, *rest)

    monkeypatch.setattr(source.http, "_send", slow)
    rows = source.fetch(["es_wind_forecast_mw"], "ES", start, end)
    assert len(rows) == (end - start) / timedelta(hours=1)
    assert lengths == [61, 31, 16, 15, 30, 15, 15]


def test_a_certificate_that_cannot_be_checked_is_said_at_once(
    client: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []

    def broken(*_: Any, **options: Any) -> Any:
        sent.append(options["verify"])
        raise requests.exceptions.SSLError("unable to get local issuer certificate")

    monkeypatch.setattr(requests.Session, "get", broken)
    source = client("siar")
    source.http.limits = structs.replace(source.http.limits, ca_bundle="chain.pem")
    with pytest.raises(BadCertificate, match="ca_bundle"):
        source.fetch(["temperature_mean_c"], "J05", *DAY)
    assert sent == ["chain.pem"]


def test_openweather_may_be_minutes_ahead(demo_world: DemoWorld, client: Opener) -> None:
    demo_world.simulator.set_rules((Rule("clock_ahead", source="openweathermap"),))
    demo_world.clock.set(NOW.replace(minute=59))
    source = client("openweathermap")
    start, end = source.available_window("temperature_c")
    rows = source.fetch(["temperature_c"], source.places()[0], start, end)
    assert rows["start"].tolist() == [pd.Timestamp(NOW.replace(minute=0))]


def test_an_error_of_open_meteo_under_200_is_that_error(
    demo_world: DemoWorld, client: Opener
) -> None:
    demo_world.simulator.set_rules((Rule("error_in_200", source="open_meteo"),))
    source = client("open_meteo")
    source.http.limits = structs.replace(source.http.limits, retries=0)
    with pytest.raises(QuotaError, match="Minutely"):
        source.fetch(["temperature_c"], source.places()[0], *DAY)


def test_hours_where_quarters_are_due_are_not_lost(demo_world: DemoWorld, client: Opener) -> None:
    demo_world.simulator.set_rules((Rule("hours", source="ree"),))
    rows = client("ree").fetch(SPOT, "ES", *DAY)
    assert rows["resolution_s"].tolist() == [3600] * 24


def test_esios_forecasts_the_load_of_a_week(client: Opener) -> None:
    rows = client("esios").forecast(["load_mw"], "ES")
    assert set(rows["model"]) == {"ree_week"}
    assert rows["target_start"].max() >= pd.Timestamp(NOW + timedelta(days=7))


def test_recorded_answers_are_read_right(real_data: Path) -> None:
    cases = sorted(path.parent for path in (real_data / "wire").glob("*/case.json"))
    if not cases:
        pytest.skip("no recorded answers")
    problems = {folder.name: judge(folder)[1] for folder in cases}
    assert {name: text for name, text in problems.items() if text} == {}
