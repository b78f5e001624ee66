"""Open-Meteo's earlier runs: weighted means of points, each with the time it was issued."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.clock import day_bounds, day_start
from factory_lib.errors import MalformedResponse, NoDataYet
from factory_lib.pipeline.backfill import backfill
from factory_lib.pipeline.gaps import analyse
from factory_lib.pipeline.ingest import ingest
from factory_lib.sources import missing
from factory_lib.sources.open_meteo import parse_runs
from factory_sim.faults import Rule
from tests.conftest import NOW, DemoWorld

SERIES = ("es_wind_speed_100m_forecast_ms", "es_solar_radiation_forecast_wm2")
POINTS = {"42.20,-3.80": 3.0, "36.40,-5.80": 1.0}
TOMORROW = datetime(2026, 3, 3, 23, tzinfo=UTC)
SEEN = datetime(2026, 3, 3, 9, tzinfo=UTC)
FIRST = datetime(2026, 3, 3, 20, tzinfo=UTC)  # four hours before tomorrow begins, then more
HOURS = 6


def point(place: str, columns: dict[str, list[Any]], unit: str = "m/s", **changes: Any) -> Any:
    latitude, longitude = map(float, place.split(","))
    times = [f"{FIRST + timedelta(hours=n):%Y-%m-%dT%H:%M}" for n in range(HOURS)]
    return {
        "latitude": latitude + 0.1,
        "longitude": longitude - 0.1,
        "utc_offset_seconds": 0,
        "hourly_units": {"time": "iso8601", **dict.fromkeys(columns, unit)},
        "hourly": {"time": times, **columns},
        **changes,
    }


def wind(suffix: str = "", first: float = 4.0) -> list[Any]:
    return [
        point(place, {f"wind_speed_100m{suffix}": [first + n + 4 * number for n in range(HOURS)]})
        for number, place in enumerate(POINTS)
    ]


def parse(answers: Any, *leads: int, quantity: str = "wind_speed_100m_ms") -> pd.DataFrame:
    body = json.dumps(answers).encode()
    delay = timedelta(hours=9)
    args = (SERIES[0], quantity, POINTS, leads, SEEN, TOMORROW, delay)
    return parse_runs(body, *args).rows


def test_the_newest_run_counts_from_tomorrow_on_as_the_weighted_mean() -> None:
    rows = parse(wind(), 0)
    assert rows["start"].min() == pd.Timestamp(TOMORROW)
    assert rows["value"].tolist() == [8.0, 9.0, 10.0]
    assert rows["provider_updated_at"].isna().all()
    assert set(rows["place"]) == {"ES"}


def test_an_earlier_run_is_known_hours_after_the_last_start_that_is_early_enough() -> None:
    rows = parse(wind("_previous_day1"), 1)
    assert rows["value"].tolist() == [5.0, 6.0, 7.0], "hours of today"
    assert set(rows["provider_updated_at"]) == {pd.Timestamp("2026-03-03 03:00", tz=UTC)}


def test_what_no_run_could_have_told_by_now_is_left_out() -> None:
    early = datetime(2026, 3, 3, 2, 59, tzinfo=UTC)
    body = json.dumps(wind("_previous_day1")).encode()
    with pytest.raises(NoDataYet):
        args = (SERIES[0], "wind_speed_100m_ms", POINTS, (1,), early, TOMORROW)
        parse_runs(body, *args, timedelta(hours=9))


def test_radiation_belongs_to_the_hour_before_its_stamp() -> None:
    columns = {"shortwave_radiation": [100.0] * HOURS}
    answers = [point(place, columns, "W/m²") for place in POINTS]
    rows = parse(answers, 0, quantity="solar_radiation_wm2")
    assert rows["start"].tolist() == [
        pd.Timestamp(TOMORROW) + pd.Timedelta(hours=n) for n in range(2)
    ]


def test_an_hour_that_one_point_lacks_is_absent_and_other_readings_are_the_same() -> None:
    answers = wind()
    answers[1]["hourly"]["wind_speed_100m"][4] = None
    assert parse(answers, 0)["value"].tolist() == [8.0, 10.0]
    named = json.loads(json.dumps(wind()).replace("speed_100m", "speed_100m_ecmwf_ifs025"))
    for answer in named:
        answer |= {"location_id": 1, "new": {"field": []}}
        answer.pop("generationtime_ms", None)
    assert parse(named, 0)["value"].tolist() == [8.0, 9.0, 10.0]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(wind()[:1], id="a point less"),
        pytest.param(wind()[::-1], id="the points exchanged"),
        pytest.param([{**each, "utc_offset_seconds": 3600} for each in wind()], id="not in GMT"),
        pytest.param([point(place, {}) for place in POINTS], id="no column"),
        pytest.param(
            [point(p, {"wind_speed_100m": [9.0] * HOURS}, "km/h") for p in POINTS], id="km/h"
        ),
        pytest.param(
            [point(p, {"wind_speed_100m": [9.0] * (HOURS - 1)}) for p in POINTS], id="short"
        ),
        pytest.param([[], "x"], id="no objects"),
    ],
)
def test_what_is_not_the_documented_answer_is_malformed(answers: Any) -> None:
    with pytest.raises(MalformedResponse):
        parse(answers, 0)


def forecasts(ctx: Any, quantity: str, day: date, **options: Any) -> pd.DataFrame:
    start, end = day_bounds(day)
    return ctx.store.read_forecasts(
        quantity, places=["ES"], start=start, end=end, latest=False, **options
    )


def test_a_backfill_keeps_every_lead_as_issued_and_needs_a_request_a_year(
    demo_world: DemoWorld,
) -> None:
    ctx = demo_world.ctx()
    since = day_start(date(2026, 1, 1))
    assert (analyse(ctx, since, series=SERIES).accounting["missing"] > 0).all()
    result = backfill(ctx, since, automatic=False, series=SERIES)
    assert result.metrics["left"] == 0
    assert demo_world.asked("open_meteo_runs") == 2, "wind and sun have points of their own"
    assert any("archive_delay_h" in note for note in result.notes)
    rows = forecasts(ctx, "wind_speed_100m_ms", date(2026, 2, 3))
    assert rows.groupby("target_start").size().eq(7).all()
    assert set(rows["tier"]) == {"archive"}
    assert set(rows["model"]) == {"open_meteo"}
    lead = rows["target_start"] - rows["issued_at"]
    assert lead.between(pd.Timedelta(hours=15), pd.Timedelta(days=7)).all()
    noon = datetime(2026, 2, 2, 11, tzinfo=UTC)
    known = forecasts(ctx, "wind_speed_100m_ms", date(2026, 2, 3), as_of=noon)
    assert known.groupby("target_start").size().between(5, 7).all()
    assert analyse(ctx, since, series=SERIES).accounting["missing"].sum() == 0
    assert backfill(ctx, since, automatic=False, series=SERIES).metrics["requests"] == 0


def test_the_days_ahead_are_kept_as_first_seen_and_again_where_a_newer_run_differs(
    demo_world: DemoWorld,
) -> None:
    seen_at = NOW.replace(hour=8, minute=50)  # 10:50 in Madrid
    ingest(demo_world.ctx(seen_at), "open_meteo_runs", days=2)
    later = demo_world.ctx(seen_at + timedelta(minutes=30))
    ingest(later, "open_meteo_runs")
    for ahead in range(1, 8):
        rows = forecasts(later, "solar_radiation_wm2", date(2026, 4, 15) + timedelta(days=ahead))
        assert len(rows) == 24
        assert set(rows["issued_at"]) == {pd.Timestamp(seen_at)}
    ingest(demo_world.ctx(seen_at + timedelta(days=1)), "open_meteo_runs")
    rows = forecasts(later, "solar_radiation_wm2", date(2026, 4, 17))
    days = rows["issued_at"].dt.date.unique().tolist()
    assert days == [date(2026, 4, 15), date(2026, 4, 16)]


@pytest.mark.parametrize("quirk", ["null_run", "short_column", "error_in_200", "model_named"])
def test_quirks_lose_what_cannot_be_read_alone(demo_world: DemoWorld, quirk: str) -> None:
    demo_world.simulator.set_rules((Rule(quirk, source="open_meteo_runs"),))
    ctx = demo_world.ctx()
    since = day_start(date(2026, 4, 1))
    metrics = backfill(ctx, since, automatic=False, series=SERIES[:1]).metrics
    readable = quirk in ("null_run", "model_named")
    assert (metrics["recovered"] > 0) == readable
    assert np.isfinite(forecasts(ctx, "wind_speed_100m_ms", date(2026, 4, 3))["p50"]).all()


def test_without_points_the_source_is_left_out_with_the_table_that_it_needs(
    demo_world: DemoWorld,
) -> None:
    settings = demo_world.ctx().settings
    bare = structs.replace(settings.sources["open_meteo_runs"], points={})
    changed = structs.replace(settings, sources={**settings.sources, "open_meteo_runs": bare})
    assert missing("open_meteo_runs", changed) == (
        "there is no [sources.open_meteo_runs.points.wind_speed_100m_ms]"
    )
