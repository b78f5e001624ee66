"""What the bucket itself holds: floats among the values, points of others, an older layout."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factory_lib.catalogue import default_catalogue
from factory_lib.errors import SchemaMismatch
from factory_lib.frames import QUANTILES, concat
from factory_lib.models.weather_forecast import OWN
from factory_lib.store.base import Store, WriteResult
from factory_lib.store.copying import copy
from factory_lib.store.influx import _FORECAST_TAGS, _TAGS, InfluxBackend
from tests.contract.conftest import INFLUX, REAL
from tests.contract.test_store_contract import (
    DAY,
    EVER,
    filled,
    forecast,
    quarantine_first,
    rows,
    spot,
)

Open = Callable[..., Store]
ROOT = Path(__file__).parents[2]
DOCUMENTED = re.findall(r"```flux\n(.*?)```", (ROOT / "docs/influxdb.md").read_text(), re.DOTALL)
DASHBOARD = [
    target["query"]
    for panel in json.loads((ROOT / "deploy/grafana/factory.json").read_text())["panels"]
    for target in panel["targets"]
]
VALUES = ("energy_prices", "weather_data", "climate_daily", "plant_records", "forecasts")
HEAD = "weather_data,kind=observed,place=5279X,res=3600,rev=1,source=aemet"


def influx(store: Store) -> InfluxBackend:
    assert isinstance(store.backend, InfluxBackend)
    return store.backend


def test_every_field_of_values_and_forecasts_is_a_float(open_store: Open) -> None:
    backend = influx(filled(open_store(INFLUX)))
    names = " or ".join(f'r._measurement == "{name}"' for name in VALUES)
    bucket = backend.where.bucket
    flux = (
        f'from(bucket: "{bucket}") |> range(start: 1970-01-01T00:00:00Z, '
        f"stop: 2100-01-01T00:00:00Z) |> filter(fn: (r) => {names}) |> first()"
    )
    tables = backend._client.query_api().query(flux)
    fields = {record.get_field(): record.get_value() for table in tables for record in table}
    assert {"spot_eur_mwh", "temperature_c", "humidity_pct", "p10", "p50", "p90"} == set(fields)
    assert all(isinstance(value, float) for value in fields.values())


def test_points_of_others_are_left_alone(open_store: Open) -> None:
    store, same = open_store(INFLUX, "a"), open_store(INFLUX, "b")
    at = int(DAY.timestamp())
    foreign = [
        f"weather_data,place=5279X,sensor=hall temperature_c=99 {at}",
        f'weather_data,place=5279X,sensor=hall remark="warm",pieces=3i {at}',
        f"{HEAD},batch=7 moisture=0.4 {at}",
        f"forecasts,place=ES,series=spot_eur_mwh p50=1 {at}",
        f'about,host=x about="text" {at}',
        f"verdicts,series=temperature_c,place=5279X strict=true {at}",
        f"cpu,host=x load=1 {at}",
    ]
    influx(store)._send("\n".join(foreign).encode())
    for each in (store, same):
        each.write(rows([1.0, 2.0]), run_id="a")
        each.write_forecasts(forecast([1.0]), run_id="a")
        quarantine_first(each)
    pd.testing.assert_frame_equal(store.inventory(), same.inventory())
    window = {"places": ["5279X"], "raw": True, **EVER}
    assert store.read("temperature_c", **window)["value"].tolist() == [1.0, 2.0]


def test_any_number_of_places(open_store: Open) -> None:
    store = open_store(INFLUX)
    places = [f"{number}.5/ {number} (x|y)." for number in range(1500)]
    frame = concat([rows([20.0])] * len(places)).assign(place=places)
    assert store.write(frame, run_id="a") == WriteResult(new=len(places))
    assert store.write(frame, run_id="b") == WriteResult(unchanged=len(places))
    found = store.read("temperature_c", places=places[:1200], raw=True, **EVER)
    assert set(found["place"]) == set(places[:1200])


@pytest.fixture
def old_bucket(open_store: Open) -> Store:
    """Return a store whose bucket has texts beside its values, as schema 1 wrote them."""
    store = open_store(INFLUX, "old", lazy=True)
    at = int(DAY.timestamp())
    backend = influx(store)
    lines = [
        'meta schema="1",world="real" 0',
        f'{HEAD} temperature_c=1.5,temperature_c_about="+7200;99;;one" {at}',
        f"{HEAD} temperature_c=2.5 {at + 3600}",
        f"forecasts,lead_min=60,model=day_ahead,place=ES,res=3600,series=spot_eur_mwh "
        f'p50=50.0,p10=40.0,tier="full",run="one" {at}',
    ]
    backend._send("\n".join(lines).encode())
    backend._compare_stamps()
    return store


def test_an_old_bucket_is_read_and_not_written(old_bucket: Store) -> None:
    found = old_bucket.read("temperature_c", places=["5279X"], **EVER)
    assert found["value"].tolist() == [1.5, 2.5]
    assert found["run_id"].tolist() == ["one", "one"]
    lag = found["available_at"].astype("int64") - found["start"].astype("int64")
    assert lag.tolist() == [7200, 7200]
    with pytest.raises(SchemaMismatch, match="factory copy --to influx --bucket NEW"):
        old_bucket.write(rows([1.0]), run_id="b")


@pytest.mark.parametrize("backend", ["sqlite", INFLUX])
def test_a_copy_migrates_an_old_bucket(old_bucket: Store, open_store: Open, backend: str) -> None:
    target = open_store(backend, "new")
    assert copy(old_bucket, target)["copied"].sum() == 3
    pd.testing.assert_frame_equal(target.inventory(), old_bucket.inventory())
    window = {"places": ["ES"], **EVER}
    both = [store.read_forecasts("spot_eur_mwh", **window) for store in (old_bucket, target)]
    pd.testing.assert_frame_equal(*both)
    assert both[1][["p10", "p50", "tier", "run_id"]].to_numpy().tolist() == [
        [40.0, 50.0, "full", "one"]
    ]
    assert np.isnan(both[1]["p90"]).all()
    assert target.write(rows([1.5, 9.0]), run_id="b") == WriteResult(revised=1, unchanged=1)


class TestReadingTheBucket:
    def test_the_queries_name_what_the_store_writes(self) -> None:
        assert len(DOCUMENTED) == 3
        entries = default_catalogue()
        for query in [*DOCUMENTED, *DASHBOARD]:
            named = dict.fromkeys(re.findall(r'r\.(\w+) == "([^"]+)"', query))
            tags = [name for name, _ in named]
            (measurement,) = [value for name, value in named if name == "_measurement"]
            fields = {value for name, value in named if name == "_field"}
            if measurement == "forecasts":
                assert fields <= set(QUANTILES)
                assert set(tags) - {"_measurement", "_field"} <= set(_FORECAST_TAGS)
                assert all(value in entries for name, value in named if name == "series")
                assert (("model", OWN) in named) or "model" not in tags
            elif measurement == "verdicts":
                assert fields <= {"verdict", "rule", "reason", "at", "by"}
            else:
                assert all(entries[field].measurement == measurement for field in fields)
                sources = {source for field in fields for source in entries[field].sources}
                assert {value for name, value in named if name == "source"} <= sources
                assert set(tags) - {"_measurement", "_field"} <= set(_TAGS)

    def test_the_dashboard_has_the_documented_queries(self) -> None:
        for query in DOCUMENTED:
            mine = query.replace('"factory")', "v.defaultBucket)", 1).strip()
            mine = re.sub(
                r"range\(.*?\)", "range(start: v.timeRangeStart, stop: v.timeRangeStop)", mine
            )
            assert mine in DASHBOARD

    @pytest.mark.skipif(not REAL, reason="the double knows no map, sort and unique")
    def test_the_queries_give_what_the_library_shows(self, open_store: Open) -> None:
        store = open_store(INFLUX)
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        first = now - timedelta(hours=30)
        store.write(spot(np.arange(100.0).tolist(), first=first), run_id="a")
        for value in range(11):  # to rev 11: revs are texts, and "9" is after "11"
            store.write(spot([float(value)], first=first), run_id="b")
        other = {"first": first, "source": "open_meteo", "place": "38.151,-3.629"}
        store.write(rows([9.0] * 20, **other), run_id="a")
        store.write(rows([1.0] * 8, first=first), run_id="a")
        ahead = (now + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M")
        for hours, value in ((2, 50.0), (1, 60.0)):
            issue = forecast([value], issued_at=now - timedelta(hours=hours), model=OWN)
            issue["target_start"] = pd.to_datetime([ahead], utc=True).as_unit("s")
            store.write_forecasts(issue, run_id="a")
        bucket = influx(store).where.bucket
        window = {"start": first, "end": now + timedelta(days=2)}
        prices, temperatures, forecasts = [self._ask(store, q, bucket) for q in DOCUMENTED]
        shown = store.read("spot_eur_mwh", places=["ES"], **window)
        assert prices == dict(zip(shown["start"], shown["value"], strict=True))
        places = ["5279X", "38.151,-3.629"]
        shown = store.read("temperature_c", places=places, **window)
        assert temperatures == dict(zip(shown["start"], shown["value"], strict=True))
        assert forecasts == {pd.Timestamp(ahead, tz="UTC"): 60.0}
        for query in DASHBOARD:
            query = query.replace("v.timeRangeStart", "-2d").replace("v.timeRangeStop", "2d")
            self._ask(store, query.replace("v.defaultBucket", f'"{bucket}"'), bucket)

    @staticmethod
    def _ask(store: Store, query: str, bucket: str) -> dict[pd.Timestamp, float]:
        flux = query.replace('bucket: "factory"', f'bucket: "{bucket}"')
        tables = influx(store)._client.query_api().query(flux)
        records = [record for table in tables for record in table.records]
        return {
            pd.Timestamp(record.values["_time"]): record.values.get("_value") for record in records
        }
