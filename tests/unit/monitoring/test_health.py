"""Diagnostics: each finding has a status and, where it is bad, a next step.

Keys end with notice.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.clock import SystemClock
from factory_lib.context import RunContext
from factory_lib.files import size_mb
from factory_lib.http import Http, Reply
from factory_lib.monitoring import alerts, diagnostics, growth, health
from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret
from factory_lib.state import marks, open_state
from factory_lib.store.sqlite import SqliteBackend
from factory_sim import KEYS
from factory_sim.launch import Remote, launched


def token(expiry: datetime) -> str:
    parts = ({"alg": "HS256"}, {"sub": "ana@example.org", "exp": int(expiry.timestamp())})
    coded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    ]
    return ".".join([*coded, "c2lnbmF0dXJl"])


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with launched() as started:
        yield started


@pytest.fixture
def demo(home: Path, remote: Remote) -> Settings:
    return factory_settings.load(
        "demo", env={"FACTORY_HOME": str(home), "FACTORY_SIMULATOR_URL": remote.url}
    )


def with_key(settings: Settings, text: str) -> Settings:
    return structs.replace(settings, secrets=replace(settings.secrets, aemet_api_key=Secret(text)))


def check_of(
    settings: Settings, name: str, *, providers: bool = False
) -> diagnostics.DiagnosticCheck:
    (check,) = [c for c in diagnostics.examine(settings, providers=providers) if c.name == name]
    return check


def open_alerts(settings: Settings) -> list[tuple[str, str]]:
    state = open_state(settings)
    rows = [(row["entity"], row["severity"]) for row in alerts.alert_rows(state)]
    state.close()
    return rows


def test_a_key_s_end_is_read_from_it() -> None:
    expiry = datetime.fromisoformat("2026-07-01T12:00:00+00:00")
    assert diagnostics.token_expiry(token(expiry)) == expiry


@pytest.mark.parametrize(
    "text", ["", "x", "a.b", "a.b.c", "e30.e30.e30", "e30.W10.x", "e30.bnVsbA.x"]
)
def test_what_is_no_token_has_no_end(text: str) -> None:
    assert diagnostics.token_expiry(text) is None


@pytest.mark.parametrize(
    ("days", "status", "severity"),
    [
        pytest.param(90, "ok", None, id="fresh"),
        pytest.param(13, "warn", "warning", id="ending"),
        pytest.param(-1, "fail", "critical", id="ended"),
    ],
)
def test_a_key_is_warned_of_before_it_ends(
    demo: Settings, days: int, status: str, severity: str | None
) -> None:
    settings = with_key(demo, token(SystemClock().now() + timedelta(days=days, hours=1)))
    check = check_of(settings, "aemet_api_key")
    assert check.status == status
    assert bool(check.next_step) == (status != "ok")
    assert open_alerts(settings) == ([("aemet_api_key", severity)] if severity else [])
    assert settings.secrets.aemet_api_key.reveal() not in f"{check}"


def test_a_replay_raises_no_alert_of_a_key(demo: Settings) -> None:
    diagnostics.examine(with_key(demo, "no token"), keys_only=True, notify=False)
    assert open_alerts(demo) == []


def test_a_renewed_key_ends_the_alert(demo: Settings) -> None:
    diagnostics.examine(with_key(demo, "no token"))
    assert open_alerts(demo) == [("aemet_api_key", "critical")]
    diagnostics.examine(with_key(demo, token(SystemClock().now() + timedelta(days=90))))
    assert open_alerts(demo) == []


def test_providers_that_answer_are_well(demo: Settings) -> None:
    checks = diagnostics.examine(demo, providers=True)
    statuses = {check.name: check.status for check in checks}
    assert {statuses[name] for name in ("ree", "omie", "esios", "open_meteo")} == {"ok"}
    assert diagnostics.worst(checks) == "ok"


KEYED = {
    "esios": ("ESIOS_TOKEN", 1),
    "openweathermap": ("OPENWEATHERMAP_API_KEY", 1),
    "siar": ("SIAR_PASSWORD and SIAR_USER", 4),  # three steps of its authentication
}


@pytest.fixture
def keyed(home: Path, remote: Remote) -> Settings:
    remote.reset_requests()
    env = {**KEYS, "FACTORY_HOME": str(home), "FACTORY_SIMULATOR_URL": remote.url}
    return factory_settings.load("demo", env=env)


def test_every_key_is_proved_by_the_cheapest_request(keyed: Settings, remote: Remote) -> None:
    checks = {check.name: check for check in diagnostics.examine(keyed, providers=True)}
    for name, (_, requests) in KEYED.items():
        assert checks[name].status == "ok"
        assert "accepts" in checks[name].finding
        assert remote.requests()[name]["count"] == requests
    assert checks["siar"].finding.endswith("J05 open, J17 closed 2025-11-11, J09 closed 2017-12-31")


@pytest.mark.parametrize("name", KEYED)
def test_a_refused_key_fails_and_is_named(keyed: Settings, remote: Remote, name: str) -> None:
    remote.set_faults([{"kind": "unauthorised", "source": name}])
    try:
        check = check_of(keyed, name, providers=True)
    finally:
        remote.set_faults([])
    assert check.status == "fail"
    assert check.next_step == f"Correct {KEYED[name][0]} in .env."


def test_a_site_without_an_open_station_is_warned_with_those_of_its_province(
    keyed: Settings,
) -> None:
    places = structs.replace(keyed.site.places, climate=("J17", "J09", "J99"))
    site = structs.replace(keyed.site, places=places)
    check = check_of(structs.replace(keyed, site=site), "siar", providers=True)
    assert check.status == "warn"
    assert "J99 unknown to it" in check.finding
    assert check.next_step == "Name an open one in [site.places] climate: J05."


@pytest.mark.parametrize("date", ["yesterday", "Wed, 15 Apr 2026 10:00:00 -0000", ""])
def test_a_provider_whose_date_says_little_answers(
    demo: Settings, monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    monkeypatch.setattr(Http, "_send", lambda *_: Reply(200, {"date": date}, b"{}"))
    assert check_of(demo, "ree", providers=True).finding == "answers"


def test_a_machine_without_network_fails_and_says_what_to_do(home: Path) -> None:
    offline = factory_settings.load("demo", env={"FACTORY_HOME": str(home)})
    check = check_of(offline, "ree", providers=True)
    assert check.status == "fail"
    assert "network" in check.next_step


def test_a_damaged_store_fails(demo: Settings) -> None:
    demo.paths.store.parent.mkdir(parents=True, exist_ok=True)
    demo.paths.store.write_bytes(b"not a database" * 100)
    assert check_of(demo, "store").status == "fail"


@pytest.mark.parametrize(
    ("free_gb", "status"), [(50, "ok"), (3, "warn"), (0.5, "fail")], ids=["much", "little", "none"]
)
def test_a_full_disk_is_seen(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free_gb: float, status: str
) -> None:
    monkeypatch.setattr(
        diagnostics.shutil, "disk_usage", lambda _: SimpleNamespace(free=free_gb * 1e9)
    )
    assert check_of(settings, "disk").status == status


@pytest.mark.parametrize("sealed", ["data", "runs"])
def test_a_disk_for_reading_only_is_seen(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, sealed: str
) -> None:
    folder = getattr(settings.paths, sealed)
    folder.mkdir(parents=True, exist_ok=True)
    flags = {str(folder): os.ST_RDONLY}
    monkeypatch.setattr(
        diagnostics.os, "statvfs", lambda place: SimpleNamespace(f_flag=flags.get(str(place), 0))
    )
    check = check_of(settings, "disk")
    assert (check.status, check.next_step) == ("fail", "Mount it for writing.")
    assert f"{folder} is mounted for reading only" in check.finding


@pytest.mark.parametrize(
    ("state", "arrived", "said"),
    [
        ("never", None, "no job has run yet"),
        ("ok", None, "nothing was ingested yet"),
        ("ok", "2026-04-15T10:00Z", "every series are well. Open alerts: 1."),
    ],
    ids=["fresh", "without values", "in use"],
)
def test_what_is_not_there_yet_is_not_called_well(
    state: str, arrived: str | None, said: str
) -> None:
    tables = {
        "jobs": pd.DataFrame(
            {"job": ["ingest"], "status": [state], "overdue_since": [pd.NaT], "pause": [""]}
        ),
        "latest": pd.DataFrame(
            {"series": ["spot_eur_mwh"], "until": [pd.Timestamp(arrived)], "behind_h": [0.0]}
        ),
        "alerts": pd.DataFrame({"topic": ["plan"], "severity": ["warning"]}),
    }
    result = health.summarise([diagnostics.DiagnosticCheck("disk", "ok", "82 GB free")], tables)
    assert said in result.summary
    assert result.status == "warn"


def test_the_size_of_a_folder_leaves_out_what_was_just_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").write_bytes(bytes(2_000_000))
    listing = [(str(tmp_path), [], ["removed", "stays"])]
    monkeypatch.setattr(diagnostics.os, "walk", lambda _: listing)
    assert size_mb(tmp_path) == 2.0


@pytest.mark.parametrize(
    ("ages", "mb_a_day", "expected_gb"),
    [
        pytest.param(range(3), 1.0, None, id="too early"),
        pytest.param(range(8), 0.0, 0.17, id="as large as now"),
        # five copies of databases that grow by 83 days, and by 15 % of 282; 39 days of runs
        pytest.param(range(8), 4.0, 2.77, id="growing, not thinned yet"),
        # five copies of databases that grow by 365 days
        pytest.param([*range(35), 200], 1.5, 2.91, id="growing, though thinned"),
    ],
)
def test_the_size_of_a_year_is_foretold(
    settings: Settings, ages: Iterable[int], mb_a_day: float, expected_gb: float | None
) -> None:
    now = SystemClock().now()
    sizes = {
        f"{now - timedelta(days=age):%Y-%m-%d}": (20 - age * mb_a_day, 60 - age * mb_a_day, 10)
        for age in ages
    }
    with open_state(settings) as state:
        marks.set_mark(state, marks.SIZE, growth.WEIGHED, now, sizes)
        foretold = growth.year_gb(settings, state)
    assert foretold == (expected_gb and pytest.approx(expected_gb, abs=0.01))
    check = check_of(settings, "growth")
    assert check.status == ("warn" if mb_a_day and expected_gb else "ok")
    assert bool(check.next_step) == (check.status == "warn")


def test_the_job_remembers_the_size_of_a_day_once(settings: Settings) -> None:
    now = SystemClock().now()
    with open_state(settings) as state:
        for hours in (0, 0, 24):
            growth.keep_size(settings, state, now + timedelta(hours=hours))
        assert len(marks.get_mark(state, marks.SIZE, growth.WEIGHED).note) == 2


def test_a_finding_on_the_machine_is_told_once_and_ends(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(free_gb: float) -> list[tuple[str, str]]:
        usage = SimpleNamespace(free=free_gb * 1e9)
        monkeypatch.setattr(diagnostics.shutil, "disk_usage", lambda _: usage)
        health.check_health(ctx)
        return [
            (topic, line["news"])
            for line in alerts.deliver(ctx.state, ctx.settings, ctx.clock.now())
            for topic in line["entities"]
            if line["topic"] == "machine"
        ]

    assert told(0.5) == [("disk", "opened")]
    assert told(0.4) == []
    assert told(50) == [("disk", "resolved")]


def test_a_look_writes_nothing_into_the_store_and_a_check_tries(
    ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(
        SqliteBackend, "probe", lambda self: tried.append(self.origin), raising=False
    )
    health.look(ctx.settings)
    health.check_health(ctx, notify=False)
    assert not tried
    health.check_health(ctx)
    assert tried == ["real"]
