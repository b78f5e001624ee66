from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib import sources
from factory_lib.catalogue import Kind, default_catalogue
from factory_lib.clock import MADRID, day_bounds, day_start
from factory_lib.errors import BadInput
from factory_lib.pipeline import summary
from factory_lib.pipeline.ingest import compare_weather, ingest, recent_rows
from factory_lib.pipeline.targets import targets
from factory_lib.runs import due
from factory_lib.settings.secrets import Secret
from factory_lib.state import attempts
from factory_lib.state.attempts import RetryPass
from factory_lib.state.marks import LATEST_SLOT, STORED, get_marks, set_mark
from factory_sim.clock import SimulatedClock
from factory_sim.faults import Rule
from factory_sim.holes import Hole

CATALOGUE = default_catalogue()

NOW = datetime(
    2026, 4, 15, 10, tzinfo=UTC
)  # noon in Madrid: today's prices are known, tomorrow's are not
HOUR = timedelta(hours=1)


def shown(ctx, name: str, start: datetime, end: datetime) -> pd.DataFrame:
    """What the store shows of a series at the site's trusted places."""
    places = (
        ("ES",)
        if name.startswith("es_") or name.endswith("eur_mwh")
        else ctx.settings.site.places.weather
    )
    return ctx.store.read(name, places=places, start=start, end=end)


def test_what_is_stored_is_what_the_world_has(demo_world) -> None:
    ctx = demo_world.ctx()
    result = ingest(ctx, "all", days=3)
    assert result.status == "ok"
    # Prices to the cent; each weather provider has its own view of the air.
    for name in ("spot_eur_mwh", "pvpc_eur_mwh", "temperature_c"):
        rows = shown(ctx, name, NOW - timedelta(days=2), NOW - 3 * HOUR)
        starts, values = demo_world.simulator.world.window(
            name, NOW - timedelta(days=2), NOW - 3 * HOUR
        )
        np.testing.assert_array_equal(pd.DatetimeIndex(rows["start"]).as_unit("s").asi8, starts)
        np.testing.assert_allclose(rows["value"], values, atol=0.006 if "eur" in name else 2.5)


def test_a_second_run_writes_nothing(demo_world) -> None:
    ctx = demo_world.ctx()
    ingest(ctx, days=3)
    again = ingest(ctx, days=3)
    assert (again.metrics["new"], again.metrics["revised"]) == (0, 0)
    assert again.status == "ok"


def test_a_steady_run_sends_the_fewest_requests_to_each_provider_of_prices(demo_world) -> None:
    ingest(demo_world.ctx(), days=3)
    demo_world.simulator.log.clear()
    ingest(demo_world.ctx(NOW + 24 * HOUR), "prices")
    assert {source: demo_world.asked(source) for source in ("ree", "omie", "esios")} == {
        "ree": 1,
        "omie": 6,  # of three days the file, and whether there is a correction
        "esios": 1,
    }


def test_a_correction_of_the_day_before_arrives_with_the_next_day(demo_world) -> None:
    ctx = demo_world.ctx()
    yesterday = day_bounds((NOW - timedelta(days=1)).date())
    ingest(ctx, "omie", days=3)
    right = shown(ctx, "spot_eur_mwh", *yesterday)["value"].tolist()
    demo_world.simulator.set_rules((Rule("late_correction", source="omie"),))
    later = demo_world.ctx(NOW + 24 * HOUR)
    ingest(later, "omie")
    assert shown(later, "spot_eur_mwh", *yesterday)["value"].tolist() == [
        pytest.approx(value + 1) for value in right
    ]


def test_the_prices_of_tomorrow_are_fetched_once_they_are_published(demo_world) -> None:
    evening = datetime(2026, 4, 15, 19, tzinfo=UTC)  # 21:00 in Madrid
    ctx = demo_world.ctx(evening)
    ingest(ctx, "prices", days=2)
    start, end = day_bounds((evening + timedelta(days=1)).date())
    assert len(shown(ctx, "spot_eur_mwh", start, end)) == 96
    assert len(shown(ctx, "pvpc_eur_mwh", start, end)) == 24


def test_a_failing_provider_holds_up_no_other(demo_world) -> None:
    demo_world.simulator.set_rules((Rule("outage", source="open_meteo_recent"),))
    result = ingest(demo_world.ctx(), "all", days=2)
    assert result.metrics["sources_failed"] == 1
    rows = result["by_source"].set_index(["source", "series"])["new"]
    assert rows["ree", "spot_eur_mwh"] > 0
    assert any("open_meteo_recent" in note for note in result.notes)


def test_rows_that_were_due_and_did_not_come_fail_the_job(demo_world) -> None:
    names = sources.select(demo_world.ctx().settings, "prices")
    demo_world.simulator.set_rules(tuple(Rule("outage", source=name) for name in names))
    result = ingest(demo_world.ctx(), "prices")
    assert result.status == "fail"
    assert "spot_eur_mwh, pvpc_eur_mwh" in result.summary
    assert "had values due" in result.summary
    assert result.metrics["providers_away"] == 1
    assert "ree: " in result.summary


def test_a_provider_that_stops_publishing_is_overdue_although_old_rows_come(demo_world) -> None:
    ingest(demo_world.ctx(), "weather", days=3)
    demo_world.simulator.set_holes((Hole(("temperature_c",), NOW, NOW + 48 * HOUR, lost=True),))
    result = ingest(demo_world.ctx(NOW + 12 * HOUR), "weather")
    assert "but temperature_c had values due" in result.summary


def test_hours_where_quarters_are_due_came(demo_world) -> None:
    demo_world.simulator.set_rules((Rule("hours", source="ree"),))
    result = ingest(demo_world.ctx(), "ree", days=1)
    assert (result.status, result.metrics["new"] > 24) == ("ok", True)
    rows = shown(demo_world.ctx(), "spot_eur_mwh", *day_bounds(NOW.date()))
    assert rows.empty, "of quarters nothing is known"


def test_an_outage_shorter_than_the_grace_is_not_overdue(demo_world) -> None:
    ingest(demo_world.ctx(), "weather", days=3)
    demo_world.simulator.set_rules((Rule("outage", source="open_meteo_recent"),))
    assert ingest(demo_world.ctx(NOW + HOUR), "weather").status == "warn"


def test_a_missing_key_is_named_and_the_rest_goes_on(demo_world) -> None:
    result = ingest(demo_world.ctx(), "weather", days=2)
    assert "Skipped aemet: AEMET_API_KEY not set." in result.notes
    assert result.metrics["new"] > 0


def test_only_a_provider_without_its_key_is_no_success(demo_world) -> None:
    result = ingest(demo_world.ctx(), "aemet")
    assert result.status == "fail"
    assert "AEMET_API_KEY" in result.summary


def test_an_unknown_source_is_bad_input(demo_world) -> None:
    with pytest.raises(BadInput, match="all, prices, weather"):
        ingest(demo_world.ctx(), "rae")


def test_providers_forecasts_are_no_observations(demo_world) -> None:
    ctx = demo_world.ctx()
    assert ingest(ctx, "weather", days=2).metrics["forecasts"] > 0
    ahead = shown(ctx, "temperature_c", NOW, NOW + timedelta(days=7))
    assert ahead.empty
    issued = ctx.store.read_forecasts(
        "temperature_c",
        places=ctx.settings.site.places.weather,
        start=NOW,
        end=NOW + timedelta(days=7),
    )
    assert len(issued) > 100


def test_after_a_run_nothing_is_due_until_something_new_can_exist(demo_world) -> None:
    ctx = demo_world.ctx()
    assert due.nothing_due(ctx.settings, ctx.state, "ree_price_ingestion", NOW) is None
    ingest(ctx, days=2)

    def prices(now: datetime) -> bool:
        return due.nothing_due(ctx.settings, ctx.state, "ree_price_ingestion", now) is None

    def weather(now: datetime) -> bool:
        return due.nothing_due(ctx.settings, ctx.state, "hybrid_weather_ingestion", now) is None

    five = timedelta(minutes=5)
    assert not prices(NOW + five)
    assert not prices(datetime(2026, 4, 15, 11, 40, tzinfo=UTC))
    assert prices(
        datetime(2026, 4, 15, 11, 45, tzinfo=UTC)
    )  # 13:45 in Madrid: the market's results
    assert not weather(NOW + five)
    assert weather(NOW + 3 * HOUR)


def test_late_values_are_requested_ever_more_seldom(demo_world) -> None:
    ctx = demo_world.ctx()
    ingest(ctx, "prices", days=2)
    published = datetime(2026, 4, 15, 11, 45, tzinfo=UTC)
    demo_world.simulator.set_rules((Rule("outage"),))
    asked = []
    for tick in range(24):
        now = published + timedelta(minutes=5 * tick)
        if due.nothing_due(ctx.settings, ctx.state, "ree_price_ingestion", now) is None:
            asked.append(5 * tick)
            ingest(demo_world.ctx(now), "prices")
    pauses = np.diff(asked)
    assert asked[:2] == [0, 5]
    assert (np.diff(pauses) >= -5).all()
    assert pauses.max() <= 35
    assert len(asked) < 12


@pytest.mark.parametrize(
    ("back", "explicit_as_of"),
    [
        pytest.param(6 * HOUR, False, id="demo"),
        pytest.param(72 * HOUR, False, id="long-ago"),
        pytest.param(HOUR / 6, True, id="explicit"),
    ],
)
def test_a_run_as_of_the_past_moves_no_mark_back_and_sees_only_what_was_known(
    demo_world, back: timedelta, explicit_as_of: bool
) -> None:
    ctx = demo_world.ctx()
    ingest(ctx, "weather", days=5)
    marks = {topic: get_marks(ctx.state, topic) for topic in (LATEST_SLOT, STORED)}
    requests = attempts.last_requests(ctx.state)
    demo_world.clock.set(NOW + HOUR)
    past = dataclasses.replace(ctx, as_of=NOW - back, explicit_as_of=explicit_as_of)
    assert past.replay == (explicit_as_of or back > 24 * HOUR)
    result = ingest(past, "weather", days=2)
    assert get_marks(ctx.state, LATEST_SLOT) == marks[LATEST_SLOT]
    latest = result["latest"].set_index("series")["start"]
    assert latest["temperature_c"] < past.as_of
    assert (attempts.last_requests(ctx.state) == requests) == past.replay
    if past.replay:
        assert get_marks(ctx.state, STORED) == marks[STORED]


def test_who_has_nothing_new_is_not_asked_again_while_another_is_late(demo_world) -> None:
    """A provider that is away for days must not use up the requests of the others."""
    ingest(demo_world.ctx(), "prices", days=2)
    before = demo_world.asked("open_meteo_runs")
    demo_world.simulator.set_rules((Rule("outage", source="ree"),))
    for minutes in (10, 20, 40):
        again = ingest(demo_world.ctx(NOW + timedelta(minutes=minutes)), "prices")
        assert again.metrics["new"] == 0
    assert demo_world.asked("open_meteo_runs") == before
    ingest(demo_world.ctx(NOW + 2 * HOUR), "prices")
    assert demo_world.asked("open_meteo_runs") > before, "its newest run replaces the one before"


def test_a_second_call_soon_after_asks_nobody_but_the_provider_that_is_named(demo_world) -> None:
    ingest(demo_world.ctx(), "prices", days=2)
    before = len(demo_world.simulator.log)
    again = ingest(demo_world.ctx(NOW + timedelta(minutes=5)), "prices")
    assert again.status == "ok"
    assert again.summary.startswith("Every source answered within the last hour")
    assert len(demo_world.simulator.log) == before
    ingest(demo_world.ctx(NOW + timedelta(minutes=6)), "ree")
    assert demo_world.asked("ree") > 0
    assert len(demo_world.simulator.log) > before


def test_a_newest_slot_of_the_future_is_forgotten(demo_world) -> None:
    """A clock that was ahead must not keep a series from being asked for."""
    ctx = demo_world.ctx()
    ingest(ctx, days=2)
    right = get_marks(ctx.state, LATEST_SLOT)
    for name in right:
        set_mark(ctx.state, LATEST_SLOT, name, NOW + 72 * HOUR)
    ingest(ctx, days=2)
    assert get_marks(ctx.state, LATEST_SLOT) == right


@pytest.mark.parametrize("stored", ["by the clock ahead", "before"])
def test_forecasts_of_a_clock_that_was_ahead_hide_none_of_the_present(
    demo_world, stored: str
) -> None:
    """The same value may have come while the clock was ahead: it is known now all the same."""
    ctx = demo_world.ctx()
    name = "es_solar_radiation_forecast_wm2"  # at night it is the same every day
    tomorrow = NOW + 24 * HOUR
    if stored == "before":  # as older versions stored them
        ingest(demo_world.ctx(tomorrow), "open_meteo_runs", days=2)
        ctx = demo_world.ctx()
    else:
        ahead = dataclasses.replace(ctx, as_of=tomorrow, clock=SimulatedClock(tomorrow))
        ingest(ahead, "open_meteo_runs", days=2)
        seen = shown(ctx, name, NOW, NOW + 200 * HOUR)
        assert seen["retrieved_at"].max() <= pd.Timestamp(NOW), "a provider's own time is known"
    ingest(ctx, "open_meteo_runs", days=2)
    due_until = CATALOGUE[name].publication[Kind.FORECAST].known_until(NOW)
    known = ctx.store.read(name, places=["ES"], start=NOW, end=due_until, as_of=NOW)
    assert len(known) == (due_until - NOW) / HOUR
    again = ingest(ctx, "open_meteo_runs", days=2)
    assert again.metrics["new"] == 0


def test_recent_rows_and_comparison_hold_only_what_was_available(demo_world) -> None:
    ctx = demo_world.ctx()
    ingest(ctx, "weather", days=8)
    past = dataclasses.replace(ctx, as_of=NOW - timedelta(days=2))
    rows = recent_rows(past, targets(past, ["temperature_c"]), 5, raw=True)
    assert len(rows)
    assert (rows["available_at"] <= past.as_of).all()
    assert compare_weather(past)["hours"].max() < compare_weather(ctx, days=9)["hours"].max()


@pytest.mark.parametrize("name", ["temperature_mean_c", "gas_generation_mwh"])
def test_a_daily_series_is_due_only_when_a_whole_day_is(demo_world, name: str) -> None:
    ctx = demo_world.ctx()
    job = next(job for job, spec in ctx.settings.jobs.items() if spec.notebook == "03_backfill")
    due_until = CATALOGUE[name].due_until(NOW)
    whole = (
        day_start(due_until.date())
        if name.startswith("gas")
        else datetime(*due_until.timetuple()[:3], tzinfo=UTC)
    )
    set_mark(ctx.state, "job", job, NOW - HOUR, {"status": "ok"})
    attempts.record_pass(ctx.state, RetryPass(NOW - attempts.LOOK_EVERY), [])
    for until, quiet in ((whole, True), (whole - timedelta(days=1), False)):
        set_mark(ctx.state, LATEST_SLOT, name, until)
        assert (due.nothing_due(ctx.settings, ctx.state, job, NOW) is not None) == quiet


def test_the_operators_forecasts_come_with_the_prices(demo_world) -> None:
    ctx = demo_world.ctx()
    secrets = dataclasses.replace(ctx.settings.secrets, esios_token=Secret("esios-token"))
    ctx = dataclasses.replace(ctx, settings=structs.replace(ctx.settings, secrets=secrets))
    ingest(ctx, "prices", days=2)
    for name in ("load_mw", "wind_mw", "solar_mw"):
        issued = ctx.store.read_forecasts(
            name,
            places=("ES",),
            start=NOW - timedelta(days=2),
            end=NOW + timedelta(days=2),
            models=("ree",),
        )
        assert issued["p50"].between(0, 60_000).all()
        assert len(issued) >= 48, "to the end of today at least"
        assert (issued["issued_at"] <= NOW).all()
        noon = issued["target_start"].dt.tz_convert(MADRID).dt.normalize() - 12 * HOUR
        assert (issued["issued_at"] <= noon).all(), "known at noon of the day before"


def test_a_run_reads_again_the_forecasts_that_it_fetched_seconds_after_its_instant(
    demo_world,
) -> None:
    evening = NOW.replace(hour=19)  # when tomorrow's forecasts have been due for an hour
    ctx = dataclasses.replace(demo_world.ctx(evening), explicit_as_of=False)
    demo_world.clock.sleep(7)
    ingest(ctx, "prices", days=2)
    start, end = day_bounds(evening.date() + timedelta(days=1))
    for area in ("ES", "FR", "PT"):
        tomorrow = ctx.store.read_forecasts("load_mw", places=(area,), start=start, end=end)
        assert len(tomorrow) == (end - start) / HOUR
        assert (tomorrow["issued_at"] <= pd.Timestamp(evening)).all()


def test_one_value_of_one_source_is_no_plural():
    numbers = {"new": 1, "revised": 0, "sources_asked": 1}
    assert summary._counts(numbers) == "1 new value and 0 revised from 1 source"
    numbers = {"new": 0, "revised": 2, "sources_asked": 3}
    assert summary._counts(numbers) == "0 new values and 2 revised from 3 sources"
