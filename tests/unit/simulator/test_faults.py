"""Faults, holes, clock and control, partly over a real connection."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from factory_lib.clock import HOUR_S, SystemClock, epoch, parse_instant
from factory_lib.errors import BadInput
from factory_sim.__main__ import main
from factory_sim.engine import PROVIDERS, WorldClock, assemble
from factory_sim.faults import LINE, read_rules, read_script
from factory_sim.holes import PRICES, WEATHER, Hole, Holes, demo_holes
from factory_sim.launch import launched

PATH = (
    "/ree/es/datos/mercados/precios-mercados-tiempo-real"
    "?start_date=2026-04-10T00:00&end_date=2026-04-10T23:59"
)
NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)
REQUESTS = 400


def test_rates_hold_and_repeat(bench: Any) -> None:
    rates = {"server_error": 0.05, "too_many": 0.05, "html": 0.02}
    rules = [{"kind": kind, "rate": rate} for kind, rate in rates.items()]

    def faults() -> list[str]:
        bench.faults(*rules)
        bench.simulator.log.clear()
        for _ in range(REQUESTS):
            bench.get("/omie/es/file-download")
        return [entry.fault for entry in bench.simulator.log]

    first = faults()
    counts = Counter(first)
    assert 8 <= counts["server_error"] <= 36
    assert 8 <= counts["too_many"] <= 36
    assert 1 <= counts["html"] <= 20
    assert faults() == first


def test_a_rule_may_be_bound_to_time_path_source_and_number(bench: Any) -> None:
    bench.faults(
        {
            "kind": "outage",
            "source": "omie",
            "since": "2026-04-15T11:00:00Z",
            "until": "2026-04-15T14:00:00Z",
        },
        {"kind": "server_error", "source": "ree", "times": 2},
        {"kind": "empty", "source": "aemet", "path": "/sh/"},
    )
    omie = "/omie/es/file-download?parents=marginalpdbc&filename=marginalpdbc_20260410.1"
    assert [
        bench.at(f"2026-04-15T{hour}:00:00Z").get(omie).status for hour in (10, 11, 13, 14)
    ] == [200, 503, 503, 200]
    assert [bench.get(PATH).status >= 500 for _ in range(3)] == [True, True, False]
    assert bench.get("/aemet/opendata/sh/0").body == b""


@pytest.mark.parametrize("source", PROVIDERS)
@pytest.mark.parametrize(
    "kind", ["too_many", "server_error", "unauthorised", "forbidden", "html", "garbage", "empty"]
)
def test_every_provider_has_a_refusal_of_every_kind(bench: Any, source: str, kind: str) -> None:
    bench.faults({"kind": kind, "source": source})
    answer = bench.get(f"/{source}/anything")
    expected = {
        "too_many": {403 if source == "siar" else 429},
        "server_error": {500, 502, 503, 504},
        "unauthorised": {403 if source == "siar" else 401},
        "forbidden": {403},
    }.get(kind, {200})
    assert answer.status in expected


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ({"kind": "nonsense"}, "server_error"),
        ({"kind": "outage", "source": "nobody"}, "open_meteo"),
        ({"kind": "expired_key", "source": "ree"}, "spot_missing"),
        ({"kind": "outage", "chance": 1}, "chance"),
        ({"kind": "outage", "since": "2026-04-15T11:00:00"}, "no time zone"),
    ],
    ids=["kind", "source", "another's quirk", "key", "naive"],
)
def test_a_script_is_checked(rule: dict[str, Any], hint: str) -> None:
    with pytest.raises(BadInput, match=hint):
        read_rules([rule], PROVIDERS)


def test_scripts_are_read_from_toml_and_json(tmp_path: Path) -> None:
    toml, plain = tmp_path / "script.toml", tmp_path / "script.json"
    rule = {"kind": "outage", "since": "2026-04-15T11:00:00Z"}
    hole = {"series": ["prices"], "start": "2026-04-10T04:00:00Z", "end": "2026-04-10T06:00:00Z"}
    plain.write_text(json.dumps({"rules": [rule], "holes": [hole]}), encoding="utf-8")
    lines = ["[[rules]]", 'kind = "outage"', "since = 2026-04-15T11:00:00Z"]
    lines += [
        "[[holes]]",
        'series = "prices"',
        "start = 2026-04-10T04:00:00Z",
        "end = 2026-04-10T06:00:00Z",
    ]
    toml.write_text("\n".join(lines), encoding="utf-8")
    for file in (toml, plain):
        simulator = assemble(1, now=NOW, script=file)
        assert [found.since for found in simulator.rules] == [NOW + timedelta(hours=1)]
        assert [found.series for found in simulator.holes.holes] == [PRICES]
    with pytest.raises(BadInput, match="not a fault script"):
        read_script(tmp_path / "none.toml")


def test_the_clock_stands_still_runs_or_is_real() -> None:
    assert WorldClock(NOW).now() == NOW
    fast = WorldClock(NOW, speed=1e6)
    readings = [
        fast.now() - NOW for _ in range(1000)
    ]  # the machine's clock may stand still for a microsecond
    assert timedelta() < readings[-1] < timedelta(days=2000)
    assert readings == sorted(readings)
    clock = WorldClock(NOW)
    clock.set(None)
    assert abs(clock.now() - SystemClock().now()) < timedelta(minutes=1)


# -- over a connection -----------------------------------------------------------------


def ask(address: str, path: str, method: str = "GET", body: str | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request(method, path, body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def test_the_line_breaks_answers(bench: Any, serving: str) -> None:
    _, whole = ask(serving, PATH)
    bench.faults(
        {"kind": "truncated", "times": 1},
        {"kind": "reset", "times": 1},
        {"kind": "slow", "seconds": 0.01},
    )
    assert ask(serving, PATH) == (200, whole[: len(whole) // 2])
    with pytest.raises((ConnectionResetError, IncompleteRead)):
        ask(serving, PATH)
    assert ask(serving, PATH) == (200, whole)


def test_one_connection_serves_many_requests(serving: str) -> None:
    connection = HTTPConnection(urlsplit(serving).netloc, timeout=10)
    bodies = set()
    for _ in range(3):
        connection.request("GET", PATH)
        bodies.add(connection.getresponse().read())
    connection.close()
    assert len(bodies) == 1


def test_control_steers_over_http(serving: str) -> None:
    assert json.loads(ask(serving, "/")[1])["simulated"] is True
    clock = '{"now": "2026-04-14T11:00:00Z"}'
    assert json.loads(ask(serving, "/control/clock", "POST", clock)[1]) == {
        "now": "2026-04-14T11:00:00+00:00"
    }
    moved = ask(serving, "/control/clock", "POST", '{"advance_s": 90}')
    assert json.loads(moved[1]) == {"now": "2026-04-14T11:01:30+00:00"}
    rules = '{"rules": [{"kind": "outage", "source": "ree"}]}'
    assert ask(serving, "/control/faults", "POST", rules)[0] == 200
    assert ask(serving, PATH)[0] == 503
    assert json.loads(ask(serving, "/control/requests")[1])["ree"]["by_status"] == {"503": 1}
    ask(serving, "/control/requests", "POST", "{}")
    assert json.loads(ask(serving, "/control/requests")[1]) == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/control/faults", '{"rules": [{"kind": "nonsense"}]}'),
        ("/control/clock", '{"now": "yesterday"}'),
        ("/control/nothing", "{}"),
        ("/control/clock", "no JSON"),
        ("/ree/x", "{}"),
    ],
)
def test_control_refuses_what_it_cannot_read(serving: str, path: str, body: str) -> None:
    assert ask(serving, path, "POST", body)[0] == 400


def test_an_unknown_source_is_named(serving: str) -> None:
    status, body = ask(serving, "/nobody/x")
    assert status == 404
    assert b"nobody" in body


def test_requests_are_counted_in_half_open_minutes(bench: Any) -> None:
    for second in (0, 30, 59.9, 60, 61, 89.9):
        bench.at(NOW + timedelta(seconds=second)).get(PATH)
    counted = bench.simulator.requests()["ree"]
    assert counted["count"] == 6
    assert counted["max_in_60s"] == 5  # seconds 30 up to, not including, 90


def test_it_runs_as_a_process_of_its_own() -> None:
    with launched(seed=3, now=NOW, holes="demo") as remote:
        assert remote.url.startswith("http://127.0.0.1:")
        remote.set_faults([{"kind": "outage", "until": NOW + timedelta(hours=1)}])
        assert ask(remote.url, PATH)[0] == 503
        remote.set_clock(NOW + timedelta(hours=1))
        assert ask(remote.url, PATH)[0] == 200
        assert remote.requests()["ree"]["count"] == 2
        remote.reset_requests()
        assert remote.requests() == {}
    with pytest.raises(ConnectionRefusedError):
        ask(remote.url, "/")


# -- holes -----------------------------------------------------------------------------


def test_a_late_value_comes_with_the_second_request_of_each_source(bench: Any) -> None:
    bench.holes(
        {"series": "pvpc_eur_mwh", "start": "2026-04-10T04:00:00Z", "end": "2026-04-10T06:00:00Z"}
    )

    def hours() -> int:
        found = json.loads(bench.get(PATH).body)["included"]
        return len(next(item for item in found if item["id"] == "1001")["attributes"]["values"])

    assert [hours() for _ in range(3)] == [22, 24, 24]
    esios = "/esios/archives/70/download_json?date=2026-04-10"
    assert ["PVPC" in json.loads(bench.get(esios).body) for _ in range(2)] == [False, True]


def test_a_lost_value_never_comes(bench: Any) -> None:
    bench.holes(
        {
            "series": ["weather"],
            "start": "2026-04-01T04:00:00Z",
            "end": "2026-04-01T06:00:00Z",
            "lost": True,
        }
    )
    query = {"latitude": 38, "longitude": -3, "start_date": "2026-04-01", "end_date": "2026-04-01"}
    for _ in range(3):
        hourly = bench.json(
            "/open_meteo/v1/archive", hourly="temperature_2m,shortwave_radiation", **query
        )["hourly"]
        absent = {
            name: [at for at, value in enumerate(column) if value is None]
            for name, column in hourly.items()
        }
        # Radiation is of the hour before its stamp.
        assert absent == {"time": [], "temperature_2m": [4, 5], "shortwave_radiation": [5, 6]}


def test_part_of_a_hole_asked_early_is_still_late_elsewhere() -> None:
    hole = Hole(PRICES, NOW, NOW + timedelta(hours=4))
    holes = Holes([hole])
    starts = epoch(NOW) + np.arange(4) * HOUR_S
    assert not holes.delivered("ree", "spot_eur_mwh", starts[:2]).any()
    assert holes.delivered("ree", "spot_eur_mwh", starts).tolist() == [True, True, False, False]
    assert not holes.delivered("omie", "spot_eur_mwh", starts).any()


def test_the_demos_holes_are_a_mix() -> None:
    holes = demo_holes(NOW)
    assert holes == demo_holes(NOW + timedelta(hours=5))
    assert {name for hole in holes for name in hole.series} == {*PRICES, *WEATHER}
    hours = [(hole.end - hole.start) / timedelta(hours=1) for hole in holes]
    assert min(hours) < 1
    assert sum(2 < length <= 12 for length in hours) >= 3
    assert max(hours) > 48
    assert sum(hole.lost for hole in holes) == 2
    assert all(hole.end < parse_instant("2026-04-15") for hole in holes)


def test_every_fault_can_be_named() -> None:
    for source, provider in PROVIDERS.items():
        assert read_rules(
            [{"kind": kind, "source": source} for kind in (*LINE, *provider.quirks)], PROVIDERS
        )


def test_the_command_lists_what_can_go_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-faults"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["any source"].keys() == LINE.keys()
    assert listed["aemet"].keys() == PROVIDERS["aemet"].quirks.keys()


def test_the_command_refuses_a_naive_instant() -> None:
    with pytest.raises(BadInput, match="no time zone"):
        main(["--now", "2026-04-15T10:00:00"])
