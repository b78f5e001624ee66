"""Commands on a store in InfluxDB: make it, move into it, check it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path

import pytest
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.cli import main
from factory_lib.context import RunContext
from factory_lib.monitoring import diagnostics
from factory_lib.settings import Settings
from factory_lib.settings.records import StoreSettings
from factory_lib.store import create_store, open_store
from tests.support import influx_double as double
from tests.unit.conftest import SLOTS, Fill


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[double.InfluxDouble]:
    with double.serving() as running:
        named = {"URL": running.url, "ORG": double.ORG, "BUCKET": "new", "TOKEN": double.TOKEN}
        for name, value in named.items():
            monkeypatch.setenv(f"INFLUXDB_V2_{name}", value)
        yield running


def in_influx() -> Settings:
    return structs.replace(factory_settings.load(), store=StoreSettings("influx"))


def test_a_store_is_made_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for made in (True, False):
        assert main(["store", "create", "--json"]) == 0
        row = json.loads(capsys.readouterr().out)[0]
        assert row["made"] is made
        assert Path(row["store"]).is_file()


def test_a_bucket_is_made_once_and_the_doctor_writes_beside_the_values(
    home: Path, server: double.InfluxDouble
) -> None:
    missing = diagnostics._store(in_influx(), may_write=True)
    assert missing.status == "fail"
    assert "`factory store create`" in missing.finding
    assert [create_store(in_influx()) for _ in range(2)] == [True, False]
    stamped = deepcopy(server.buckets["new"].series)
    assert diagnostics._store(in_influx(), may_write=False).status == "ok"
    assert server.buckets["new"].series == stamped, "who looks writes nothing"
    assert diagnostics._store(in_influx(), may_write=True).status == "ok"
    assert {key[0] for key in server.buckets["new"].series} == {"meta"}


def test_everything_is_copied_into_the_bucket_that_is_named(
    ctx: RunContext,
    fill: Fill,
    server: double.InfluxDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill()
    server.buckets["other"] = type(server.buckets[double.BUCKET])()
    assert main(["copy", "--to", "influx", "--bucket", "other", "--json"]) == 0
    assert [row["copied"] for row in json.loads(capsys.readouterr().out)] == [SLOTS]
    settings = structs.replace(
        in_influx(), influx=factory_settings.InfluxSettings(server.url, double.ORG, "other")
    )
    with closing(open_store(settings)) as copied:
        assert copied.inventory()["rows"].tolist() == [SLOTS]
    assert main(["copy", "--to", "sqlite"]) == 2
    assert "already uses sqlite" in capsys.readouterr().err
