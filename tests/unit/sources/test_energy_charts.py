"""Energy-Charts: the operators' day-ahead forecasts, and how they are stored."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from factory_lib.clock import MADRID, day_bounds, day_start
from factory_lib.errors import MalformedResponse, NoDataYet
from factory_lib.pipeline.backfill import backfill
from factory_lib.pipeline.gaps import analyse
from factory_lib.pipeline.ingest import ingest
from factory_lib.sources import energy_charts
from factory_sim.faults import Rule
from tests.conftest import NOW, DemoWorld

FIRST = int(datetime(2026, 3, 1, 23, tzinfo=UTC).timestamp())
SERIES = [f"fr_{name}_forecast_mw" for name in ("load", "wind", "solar")]


def answer(values: list[Any], step_s: int = 900, **changes: Any) -> bytes:
    body = {
        "unix_seconds": [FIRST + step_s * n for n in range(len(values))],
        "forecast_values": values,
        "production_type": "load",
        "forecast_type": "day-ahead",
        "deprecated": False,
    }
    return json.dumps({**body, **changes}).encode()


def parse(*bodies: bytes) -> pd.DataFrame:
    kinds = ("load", "wind_offshore")
    replies = dict(zip(kinds, bodies, strict=False))
    return energy_charts.parse_forecast(replies, "fr_load_forecast_mw", "FR", NOW).rows


def test_quarters_are_means_of_hours_and_an_hour_with_a_null_is_absent() -> None:
    rows = parse(answer([1, 2, 3, 4, 5.5, None, 5.5, 5.5, 8, 8, 8, 8]))
    assert rows["value"].tolist() == [2.5, 8.0]
    assert set(rows["resolution_s"]) == {3600}
    assert set(rows["kind"]) == {"forecast"}


def test_hours_stay_hours_and_an_unknown_field_hurts_nothing() -> None:
    rows = parse(answer([10, 20, 30], 3600, licence={"id": 7}, deprecated=True))
    assert rows["value"].tolist() == [10.0, 20.0, 30.0]


def test_hours_before_a_change_to_quarters_are_kept() -> None:
    steps = [3600 * n for n in range(3)] + [3 * 3600 + 900 * n for n in range(7)]
    instants = [FIRST + step for step in steps]
    rows = parse(answer([10, 20, 30, 1, 2, 3, 4, 5, 6, 7], unix_seconds=instants))
    assert rows["value"].tolist() == [10.0, 20.0, 30.0, 2.5], "the last hour is not whole"


def test_wind_at_sea_adds_where_it_has_a_value() -> None:
    sea = answer([1.0, None, 3.0], 3600, production_type="wind_offshore")
    assert parse(answer([10, 20, 30], 3600), sea)["value"].tolist() == [11.0, 20.0, 33.0]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(answer([1, 2], production_type="solar"), id="another type"),
        pytest.param(answer([1, 2], forecast_type="current"), id="another forecast"),
        pytest.param(answer([1, 2], unix_seconds=[FIRST]), id="fewer instants"),
        pytest.param(answer([1, 2], unix_seconds=[FIRST + 900, FIRST]), id="out of order"),
        pytest.param(answer([1, 2], unix_seconds=[FIRST + 7, FIRST + 907]), id="off the grid"),
        pytest.param(answer([1, "2"]), id="text for a number"),
        pytest.param(b'{"forecast_values": []}', id="no instants"),
    ],
)
def test_what_is_not_the_documented_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedResponse):
        parse(body)


def test_nulls_alone_are_no_data() -> None:
    with pytest.raises(NoDataYet):
        parse(answer([None, None]))


def forecasts(ctx: Any, day: date, area: str = "FR") -> pd.DataFrame:
    start, end = day_bounds(day)
    return ctx.store.read_forecasts("load_mw", places=[area], start=start, end=end, latest=False)


def test_a_backfill_takes_an_archive_as_issued_on_the_day_before(demo_world: DemoWorld) -> None:
    ctx = demo_world.ctx()
    since = day_start(date(2026, 1, 1))
    before = analyse(ctx, since, series=SERIES).accounting
    assert (before["missing"] > 0).all()
    result = backfill(ctx, since, automatic=False, series=SERIES)
    assert result.metrics["left"] == 0
    assert demo_world.asked("energy_charts") == 4, "load, sun, wind on land and at sea"
    assert any("assumption" in note for note in result.notes)
    rows = forecasts(ctx, date(2026, 3, 29))
    assert len(rows) == 23
    issued = set(rows["issued_at"].dt.tz_convert(MADRID))
    assert issued == {pd.Timestamp("2026-03-28 11:00", tz=MADRID)}
    assert set(rows["tier"]) == {"archive"}
    after = analyse(ctx, since, series=SERIES)
    assert after.accounting["missing"].sum() == 0
    view = ctx.store.read(SERIES, places=["ES"], start=since, end=NOW)
    assert set(view["series"]) == set(SERIES)
    assert backfill(ctx, since, automatic=False, series=SERIES).metrics["requests"] == 0


def test_a_live_forecast_is_issued_when_it_was_first_seen(demo_world: DemoWorld) -> None:
    tomorrow = date(2026, 4, 16)
    seen_at = NOW.replace(hour=8, minute=50)  # 10:50 in Madrid
    ingest(demo_world.ctx(seen_at), "prices", days=2)
    demo_world.simulator.set_rules((Rule("quarters", source="energy_charts"),))
    ctx = demo_world.ctx(seen_at + timedelta(hours=3))
    ingest(ctx, "energy_charts", days=2)
    rows = forecasts(ctx, tomorrow)
    assert len(rows) == 24
    assert set(rows["issued_at"]) == {pd.Timestamp(seen_at)}
    assert set(rows["tier"]) == {"provider"}
    assert set(forecasts(ctx, date(2026, 4, 14))["tier"]) == {"archive"}


def test_a_limit_of_the_host_is_waited_for(demo_world: DemoWorld) -> None:
    demo_world.simulator.set_rules((Rule("too_many", source="energy_charts", times=1),))
    ctx = demo_world.ctx()
    result = backfill(ctx, NOW - timedelta(days=3), automatic=False, series=SERIES[:1])
    assert result.metrics["left"] == 0
