"""Backfill against providers that fail, lie and have only part.

The truth is the simulated world.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from factory_lib import frames
from factory_lib.catalogue import default_catalogue
from factory_lib.clock import day_bounds
from factory_lib.context import RunContext
from factory_lib.pipeline import quality
from factory_lib.pipeline.backfill import Progress, backfill
from factory_lib.pipeline.gaps import analyse
from factory_lib.runs import due
from factory_lib.slots import expected
from factory_lib.state import attempts
from factory_lib.state.attempts import RetryPass
from factory_lib.state.marks import STORED, get_marks, set_mark
from factory_sim.faults import Rule
from factory_sim.holes import Hole

CATALOGUE = default_catalogue()

NOW = datetime(2026, 4, 15, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PRICES = ("spot_eur_mwh", "pvpc_eur_mwh")
ALL_PRICE_SOURCES = ("ree", "omie", "esios")


def fill(
    ctx: RunContext, demo_world: Any, name: str, *holes: tuple[datetime, datetime], days: int = 20
) -> None:
    """Store the world's values of a series but for the holes."""
    slots = expected(CATALOGUE[name], NOW - days * DAY, day_bounds(NOW.date())[1])
    for first, last in holes:
        slots = slots[(slots < first.timestamp()) | (slots >= last.timestamp())]
    place = "ES" if name in PRICES else ctx.settings.site.grid_place
    source, kind = ("ree", "observed") if name in PRICES else ("open_meteo_recent", "reanalysis")
    rows = frames.tidy(
        name,
        slots,
        demo_world.simulator.world.values(name, slots),
        place=place,
        source=source,
        kind=kind,
        resolution_s=900 if name == "spot_eur_mwh" else 3600,
        retrieved_at=NOW,
    )
    ctx.store.write(rows, run_id="before")


def test_a_hole_is_filled_with_what_the_world_has(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    hole = (NOW - 9 * DAY, NOW - 8 * DAY)
    fill(ctx, demo_world, "pvpc_eur_mwh", hole)
    result = backfill(ctx, series=["pvpc_eur_mwh"])
    assert (result.metrics["missing"], result.metrics["recovered"]) == (24, 24)
    rows = ctx.store.read("pvpc_eur_mwh", places=["ES"], start=hole[0], end=hole[1])
    _, values = demo_world.simulator.world.window("pvpc_eur_mwh", *hole)
    np.testing.assert_allclose(rows["value"], values, atol=0.006)


def test_a_day_request_larger_than_its_gap_gives_no_rate_above_one(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    fill(ctx, demo_world, "pvpc_eur_mwh", (NOW - 9 * DAY, NOW - 9 * DAY + 4 * HOUR))
    result = backfill(ctx, series=["pvpc_eur_mwh"])
    assert result.metrics["success_rate"] == 1.0
    assert result["by_source"]["recovered"].sum() == 4
    assert (result["by_source"]["rate"] <= 1).all()


def test_only_gaps_above_the_limit_are_filled_automatically(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    short, long = (
        (NOW - 9 * DAY, NOW - 9 * DAY + 3 * HOUR),
        (NOW - 5 * DAY, NOW - 5 * DAY + 4 * HOUR),
    )
    fill(ctx, demo_world, "pvpc_eur_mwh", short, long)
    automatic = backfill(ctx, series=["pvpc_eur_mwh"])
    assert (automatic.metrics["missing"], automatic.metrics["untouched_gaps"]) == (4, 1)
    all_gaps = backfill(ctx, series=["pvpc_eur_mwh"], automatic=False)
    assert (all_gaps.metrics["missing"], all_gaps.metrics["recovered"]) == (3, 3)


def test_a_dry_run_plans_and_sends_no_request(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    result = backfill(ctx, NOW - 100 * DAY, series=PRICES, automatic=False, dry_run=True)
    assert len(result["plan"]) == result.metrics["requests"] == 4
    assert result.metrics["planned_s"] > 0
    assert not demo_world.simulator.log


def test_the_second_source_is_tried_when_the_first_has_nothing(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    hole = day_bounds((NOW - 9 * DAY).date())
    fill(ctx, demo_world, "spot_eur_mwh", hole)
    demo_world.simulator.set_rules((Rule("spot_missing", source="ree"),))
    result = backfill(ctx, series=["spot_eur_mwh"])
    credit = result["by_source"].set_index("source")["recovered"]
    assert (credit["ree"], credit["omie"]) == (0, 96)
    assert result.status == "ok"


def test_the_second_source_is_tried_when_the_first_is_away(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    fill(ctx, demo_world, "spot_eur_mwh", day_bounds((NOW - 9 * DAY).date()))
    demo_world.simulator.set_rules((Rule("outage", source="ree"),))
    result = backfill(ctx, series=["spot_eur_mwh"])
    assert result.metrics["recovered"] == 96
    assert result["by_source"].set_index("source").loc["ree", "failed"] == 1


def test_what_no_source_has_is_unfillable_and_not_requested_again(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    hole = (NOW - 9 * DAY, NOW - 9 * DAY + 6 * HOUR)
    fill(ctx, demo_world, "pvpc_eur_mwh", hole)
    demo_world.simulator.set_holes((Hole(PRICES, *hole, lost=True),))
    result = backfill(ctx, series=["pvpc_eur_mwh"])
    assert result.metrics["unfillable"] == 6
    assert result["remaining"]["reason"].tolist() == ["no source has it"]
    demo_world.simulator.log.clear()
    assert backfill(ctx, series=["pvpc_eur_mwh"]).metrics["requests"] == 0
    assert not demo_world.simulator.log
    assert analyse(ctx, series=["pvpc_eur_mwh"]).metrics["unfillable"] == 6


def quarantine_window(ctx: RunContext, name: str, first: datetime, last: datetime) -> None:
    """Quarantine what is stored in the window, as a person who does not trust it."""
    selection = quality.Selection(name, first, last)
    quality.record_decision(ctx, selection, "quarantined", "frozen feed", "Ana")


def test_a_value_quarantined_before_is_fetched_from_another_source(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    hole = day_bounds((NOW - 9 * DAY).date())
    fill(ctx, demo_world, "spot_eur_mwh")
    quarantine_window(ctx, "spot_eur_mwh", *hole)
    result = backfill(ctx, series=["spot_eur_mwh"])
    assert (
        result.metrics["missing"],
        result.metrics["missing_quarantined"],
        result.metrics["recovered"],
    ) == (96, 96, 96)
    assert demo_world.asked("ree") == 0  # it gave the quarantined values
    after = analyse(ctx, series=["spot_eur_mwh"]).accounting.iloc[0]
    assert (after["quarantined"], after["missing"]) == (0, 0)


def test_quarantined_values_that_no_other_source_has_are_not_requested_again(
    demo_world: Any,
) -> None:
    ctx = demo_world.ctx()
    hole = day_bounds((NOW - 9 * DAY).date())
    fill(ctx, demo_world, "spot_eur_mwh", (NOW - 5 * DAY, NOW - 5 * DAY + 4 * HOUR))
    quarantine_window(ctx, "spot_eur_mwh", *hole)
    gone = tuple(
        Hole(PRICES, *each, lost=True) for each in (hole, (NOW - 5 * DAY, NOW - 5 * DAY + 4 * HOUR))
    )
    demo_world.simulator.set_holes(gone)
    result = backfill(ctx, series=["spot_eur_mwh"])
    assert (
        result.metrics["only_quarantined"],
        result.metrics["unfillable"],
        result.metrics["left"],
    ) == (
        96,
        16,
        0,
    )
    assert set(result["remaining"]["reason"]) == {
        "its value is quarantined, and no other source in reach has one",
        "no source has it",
    }
    demo_world.simulator.log.clear()
    assert backfill(ctx, series=["spot_eur_mwh"]).metrics["missing"] == 0
    assert not demo_world.simulator.log
    states = ["present", "late", "missing", "quarantined", "unfillable"]
    books = analyse(ctx, series=["spot_eur_mwh"]).accounting.iloc[0]
    assert books[states].tolist()[2:] == [0, 96, 16]
    assert books[states].sum() == books["expected"]


def test_a_value_quarantined_in_this_run_is_not_unfillable(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    hole = (NOW - 9 * DAY, NOW - 9 * DAY + 6 * HOUR)
    fill(ctx, demo_world, "pvpc_eur_mwh", hole)
    implausible = {**ctx.settings.quality.plausible, "pvpc_eur_mwh": (-2.0, -1.0)}
    strict = structs.replace(
        ctx.settings, quality=structs.replace(ctx.settings.quality, plausible=implausible)
    )
    result = backfill(replace(ctx, settings=strict), series=["pvpc_eur_mwh"])
    assert (result.metrics["only_quarantined"], result.metrics["unfillable"]) == (6, 0)
    assert result["remaining"]["reason"].tolist() == [
        "its value is quarantined, and no other source in reach has one"
    ]


def test_a_source_out_of_reach_is_not_one_that_does_not_have_it(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    hole = (NOW - 5 * DAY + HOUR, NOW - 5 * DAY + 6 * HOUR)  # too young for the archive
    fill(ctx, demo_world, "temperature_c", hole)
    demo_world.simulator.set_holes((Hole(("temperature_c",), *hole, lost=True),))
    assert backfill(ctx, series=["temperature_c"])["remaining"]["reason"].tolist() == [
        "no source in reach has it"
    ]


def test_what_could_not_be_requested_is_missing_and_not_unfillable(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    fill(ctx, demo_world, "pvpc_eur_mwh", (NOW - 9 * DAY, NOW - 9 * DAY + 6 * HOUR))
    demo_world.simulator.set_rules(
        tuple(Rule("outage", source=source) for source in ALL_PRICE_SOURCES)
    )
    result = backfill(ctx, series=["pvpc_eur_mwh"])
    assert (result.status, result.metrics["recovered"], result.metrics["unfillable"]) == (
        "fail",
        0,
        0,
    )
    (left,) = result["remaining"].to_dict("records")
    assert "ree" in left["reason"]
    assert left["slots"] == 6
    assert analyse(ctx, series=["pvpc_eur_mwh"]).metrics["missing"] == 6


JOB = "auto_backfill_check"
CRON = [timedelta(minutes=minute) for minute in range(0, 181, 5)]


def run_by_cron(demo_world: Any, ends: datetime | None = None) -> dict[int, RunContext]:
    """Let every tick of three hours run the scheduled job.

    Return the minutes and contexts of its runs.

    Providers are away until ``ends``.
    """
    rules = tuple(Rule("outage", source=source, until=ends) for source in ALL_PRICE_SOURCES)
    demo_world.simulator.set_rules(rules)
    ran = {}
    for tick in CRON:
        ctx = demo_world.ctx(NOW + tick + timedelta(seconds=1 + tick.seconds % 3))
        if due.nothing_due(ctx.settings, ctx.state, JOB, ctx.clock.now()) is None:
            result = backfill(ctx, series=["pvpc_eur_mwh"])
            status = "failed" if result.status == "fail" else "ok"
            set_mark(ctx.state, "job", JOB, ctx.as_of, {"status": status})
            ran[int(tick.total_seconds() / 60)] = ctx
    return ran


@pytest.mark.parametrize(
    ("hours", "minutes"),
    [
        pytest.param(24, [0, 15, 30, 60, 120, 135, 150, 180], id="critical"),
        pytest.param(6, [0, 15, 120, 135], id="moderate"),
    ],
)
def test_failed_requests_are_repeated_as_often_as_their_severity_asks_for(
    demo_world: Any, hours: int, minutes: list[int]
) -> None:
    fill(
        demo_world.ctx(), demo_world, "pvpc_eur_mwh", (NOW - 9 * DAY, NOW - 9 * DAY + hours * HOUR)
    )
    assert list(run_by_cron(demo_world)) == minutes


def test_a_pass_takes_up_what_the_one_before_left_and_is_the_last(demo_world: Any) -> None:
    fill(demo_world.ctx(), demo_world, "pvpc_eur_mwh", (NOW - 9 * DAY, NOW - 8 * DAY))
    ran = run_by_cron(demo_world, NOW + timedelta(minutes=28))
    assert list(ran) == [
        0,
        15,
        30,
        120,
    ]  # then the next look at the whole account, because something was stored
    assert analyse(ran[30], series=["pvpc_eur_mwh"]).metrics["missing"] == 0


def test_a_pass_leaves_gaps_alone_that_are_not_severe_enough(demo_world: Any) -> None:
    fill(
        demo_world.ctx(),
        demo_world,
        "pvpc_eur_mwh",
        (NOW - 9 * DAY, NOW - 8 * DAY),
        (NOW - 5 * DAY, NOW - 5 * DAY + 6 * HOUR),
    )
    demo_world.simulator.set_rules(
        tuple(Rule("outage", source=source) for source in ALL_PRICE_SOURCES)
    )
    for minutes, slots_waiting in ((0, 0), (15, 0), (30, 6), (60, 6), (120, 0)):
        result = backfill(demo_world.ctx(NOW + timedelta(minutes=minutes)), series=["pvpc_eur_mwh"])
        assert result.metrics["left"] == result.metrics["missing"] == 30
        left = result["remaining"]
        assert left.loc[left["reason"].str.contains("next look"), "slots"].sum() == slots_waiting


def test_a_manual_run_looks_at_everything_anew(demo_world: Any) -> None:
    fill(demo_world.ctx(), demo_world, "pvpc_eur_mwh", (NOW - 9 * DAY, NOW - 8 * DAY))
    demo_world.simulator.set_rules(
        tuple(Rule("outage", source=source) for source in ALL_PRICE_SOURCES)
    )
    backfill(demo_world.ctx(), series=["pvpc_eur_mwh"])
    early = demo_world.ctx(NOW + timedelta(minutes=7))
    assert attempts.begin_pass(early.state, early.as_of) == RetryPass(early.as_of)


def test_short_holes_wait_for_the_daily_backfill_which_takes_all(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    fill(
        ctx,
        demo_world,
        "pvpc_eur_mwh",
        (NOW - 9 * DAY, NOW - 9 * DAY + HOUR),
        (NOW - 2 * DAY, NOW - 2 * DAY + 3 * HOUR),
    )
    result = backfill(ctx, series=["pvpc_eur_mwh"])
    assert (result.metrics["missing"], result.metrics["untouched_gaps"], result.status) == (
        0,
        2,
        "ok",
    )
    assert result["remaining"]["slots"].sum() == 4
    assert result["remaining"]["reason"].str.contains("daily_backfill").all()
    assert "2 gaps too short" in result.summary
    given = ctx.settings.jobs["daily_backfill"].parameters
    daily = backfill(ctx, series=["pvpc_eur_mwh"], **given)
    assert (daily.metrics["missing"], daily.metrics["recovered"]) == (4, 4)


@pytest.mark.parametrize(
    ("days_ago", "found"), [pytest.param(1, 1, id="yesterday"), pytest.param(9, 0, id="long ago")]
)
def test_the_daily_backfill_validates_yesterday_and_requests_flagged_values_from_another_source(
    demo_world: Any, days_ago: int, found: int
) -> None:
    ctx = demo_world.ctx()
    at = day_bounds((NOW - days_ago * DAY).date())[0] + 10 * HOUR
    fill(ctx, demo_world, "temperature_c", (at, at + HOUR))
    spike = frames.tidy(
        "temperature_c",
        [int(at.timestamp())],
        [47.0],
        place=ctx.settings.site.grid_place,
        resolution_s=3600,
        source="open_meteo_recent",
        kind="reanalysis",
        retrieved_at=NOW,
    )
    ctx.store.write(spike, run_id="bad")
    result = backfill(
        ctx, series=["temperature_c"], **ctx.settings.jobs["daily_backfill"].parameters
    )
    assert (len(result["quarantined"]), result.metrics["missing_quarantined"]) == (found, found)
    assert ("newly quarantined" in result.summary) == bool(found)
    assert (
        result["remaining"]["start"].tolist() == [at] * found
    )  # the archive does not reach so near, the other gave it


def test_a_window_between_two_requests_is_not_checked(
    demo_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = demo_world.ctx()
    holes = [(NOW - days * DAY, NOW - days * DAY + 6 * HOUR) for days in (19, 2)]
    fill(ctx, demo_world, "temperature_c", *holes)
    at = NOW - 10 * DAY
    spike = frames.tidy(
        "temperature_c",
        [int(at.timestamp())],
        [47.0],
        place=ctx.settings.site.grid_place,
        resolution_s=3600,
        source="open_meteo",
        kind="reanalysis",
        retrieved_at=NOW,
    )
    ctx.store.write(spike, run_id="bad")
    assert len(backfill(ctx, series=["temperature_c"])["quarantined"]) == 0
    assert len(backfill(ctx, NOW - 15 * DAY, series=["temperature_c"])["quarantined"]) == 1


def test_a_request_that_was_not_sent_is_not_counted(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    fill(
        ctx,
        demo_world,
        "spot_eur_mwh",
        *(day_bounds((NOW - ago * DAY).date()) for ago in (9, 11, 13, 15)),
    )
    demo_world.simulator.set_rules((Rule("outage"),))
    omie = backfill(ctx, series=["spot_eur_mwh"])["by_source"].set_index("source").loc["omie"]
    assert (omie["requests"], omie["missing"]) == (2, 2 * 96)  # the second opened its circuit


def test_a_replay_calls_what_was_unknown_then_neither_quarantined_nor_lost(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    then = NOW - 200 * DAY
    hole = (then - 2 * DAY, then - 2 * DAY + 6 * HOUR)
    past = replace(demo_world.ctx(), as_of=then, explicit_as_of=True)
    result = backfill(past, *hole, series=["temperature_c"], automatic=False)
    assert (
        result.metrics["only_quarantined"],
        result.metrics["known_later"],
        result.metrics["left"],
    ) == (
        0,
        6,
        0,
    )
    assert result["remaining"]["reason"].tolist() == ["it is stored, but was not known then"]
    assert (
        len(
            ctx.store.slots(
                "temperature_c",
                places=ctx.settings.site.places.weather,
                start=hole[0],
                end=hole[1],
            )
        )
        == 6
    )


def test_a_replay_fills_and_sets_no_mark_for_the_next_tick(demo_world: Any) -> None:
    ctx = replace(demo_world.ctx(), explicit_as_of=True)
    fill(ctx, demo_world, "pvpc_eur_mwh", (NOW - 9 * DAY, NOW - 8 * DAY))
    fill(ctx, demo_world, "temperature_c", (NOW - 9 * DAY, NOW - 8 * DAY))
    demo_world.simulator.set_rules(
        tuple(Rule("outage", source=source) for source in ("open_meteo", "open_meteo_recent"))
    )
    result = backfill(ctx, series=["pvpc_eur_mwh", "temperature_c"])
    assert (result.metrics["recovered"], result.metrics["left"]) == (24, 24)
    assert get_marks(ctx.state, STORED) == {}
    assert attempts.next_pass(ctx.state) is None


def test_a_replay_of_minutes_ago_takes_no_turn_of_the_presents(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    fill(ctx, demo_world, "pvpc_eur_mwh", (NOW - 9 * DAY, NOW - 9 * DAY + 6 * HOUR))
    attempts.record_pass(
        ctx.state,
        RetryPass(NOW - 40 * MINUTE, 14, 15),
        ctx.settings.gaps.severities[2:3],
    )
    assert attempts.begin_pass(ctx.state, NOW) != RetryPass(NOW)
    result = backfill(replace(ctx, explicit_as_of=True), series=["pvpc_eur_mwh"])
    assert result.metrics["recovered"] == 6


def test_what_came_by_other_means_is_not_requested_for_ever(demo_world: Any) -> None:
    hole = (NOW - 9 * DAY, NOW - 9 * DAY + 6 * HOUR)
    fill(demo_world.ctx(), demo_world, "pvpc_eur_mwh", hole)
    demo_world.simulator.set_holes((Hole(PRICES, *hole, lost=True),))
    ctx = demo_world.ctx()
    backfill(ctx, series=["pvpc_eur_mwh"])
    fill(ctx, demo_world, "pvpc_eur_mwh")
    assert attempts.next_gap_retry(ctx.state, ["pvpc_eur_mwh"]) is not None
    backfill(demo_world.ctx(NOW + 40 * DAY), until=NOW, series=["pvpc_eur_mwh"])
    assert attempts.next_gap_retry(ctx.state, ["pvpc_eur_mwh"]) is None


def test_the_young_end_comes_from_the_forecast_endpoint_and_the_rest_from_the_archive(
    demo_world: Any,
) -> None:
    ctx = demo_world.ctx()
    result = backfill(ctx, NOW - 10 * DAY, series=["temperature_c"], automatic=False)
    asked = result["plan"].set_index("source")
    assert (
        asked.loc["open_meteo", "end"] == asked.loc["open_meteo_recent", "start"] == NOW - 5 * DAY
    )
    assert (
        result.metrics["recovered"] == result.metrics["missing"] == 237
    )  # three hours are not due


def test_what_the_young_end_lacks_is_requested_as_soon_as_the_archive_can_have_it(
    demo_world: Any,
) -> None:
    ctx = demo_world.ctx()
    hole = (NOW - 5 * DAY + HOUR, NOW - 5 * DAY + 6 * HOUR)
    fill(ctx, demo_world, "temperature_c", hole)
    demo_world.simulator.set_holes((Hole(("temperature_c",), *hole, lost=True),))
    assert backfill(ctx, series=["temperature_c"]).metrics["unfillable"] == 5
    demo_world.simulator.set_holes(())
    later = replace(ctx, as_of=NOW + 7 * HOUR)
    demo_world.clock.set(later.as_of)
    result = backfill(later, until=NOW - 4 * DAY, series=["temperature_c"])
    assert result.metrics["recovered"] == result.metrics["missing"] == 5
    assert result["plan"]["source"].tolist() == ["open_meteo"]


def test_a_first_load_reports_its_progress(demo_world: Any) -> None:
    seen: list[Progress] = []
    backfill(
        demo_world.ctx(), NOW - 100 * DAY, series=PRICES, automatic=False, progress=seen.append
    )
    assert [step.done for step in seen] == [1, 2, 3, 4]
    assert [step.remaining_s for step in seen] == sorted(
        (step.remaining_s for step in seen), reverse=True
    )
    assert seen[-1].remaining_s == pytest.approx(0)


def test_a_second_run_has_nothing_to_do(demo_world: Any) -> None:
    ctx = demo_world.ctx()
    backfill(ctx, NOW - 10 * DAY, automatic=False)
    demo_world.simulator.log.clear()
    again = backfill(ctx, NOW - 10 * DAY, automatic=False)
    assert again.metrics["missing"] == again.metrics["new"] == 0
    assert not demo_world.simulator.log


def test_what_came_before_a_crash_is_kept_and_not_requested_again(demo_world: Any) -> None:
    ctx = demo_world.ctx()

    def crash(step: Progress) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(ctx, NOW - 100 * DAY, series=PRICES, automatic=False, progress=crash)
    kept = analyse(ctx, NOW - 100 * DAY, series=PRICES).metrics["present"]
    assert kept > 0
    demo_world.simulator.log.clear()
    rest = backfill(replace(ctx, run_id="next"), NOW - 100 * DAY, series=PRICES, automatic=False)
    assert rest.metrics["recovered"] == rest.metrics["missing"] == rest.metrics["new"]
    assert demo_world.asked("ree") == 2
