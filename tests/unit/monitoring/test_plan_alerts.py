"""Alerts of a plan, by day: heat that moved a stage, poor hours, no plan; and when they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factory_lib import settings as factory_settings
from factory_lib.clock import MADRID, SimulatedClock
from factory_lib.context import RunContext, open_context
from factory_lib.frames import tidy
from factory_lib.monitoring import alerts, plan_alerts
from factory_lib.planning import daily, inputs, outdoor_index, summary
from tests.support.week import EVENING, THURSDAY, furnish

JULY = datetime(2025, 7, 16, 15, 30, tzinfo=UTC)  # a Wednesday afternoon
SUMMER_DAYS = 70  # of history: a price band needs sixty
Warm = Callable[[float], RunContext]


@pytest.fixture
def summer(home: Path) -> Iterator[Warm]:
    """Open a plant in July whose air is so many kelvin warmer from yesterday on."""
    with ExitStack() as stack:

        def warmer(kelvin: float) -> RunContext:
            settings = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
            opened = open_context(
                settings=settings, as_of=JULY, clock=SimulatedClock(JULY), run_id="test"
            )
            ctx = stack.enter_context(opened)
            furnish(ctx, JULY, days=SUMMER_DAYS, quarters=False, warmer_k=kelvin)
            return ctx

        yield warmer


def messages_of(ctx: RunContext) -> dict[str, str]:
    return {
        row["entity"]: row["message"]
        for row in alerts.alert_rows(ctx.state)
        if row["topic"] == "plan"
    }


def test_a_hot_day_names_the_hours_the_stages_and_what_the_plan_did(summer: Warm) -> None:
    ctx = summer(2.0)
    outcome = daily.plan_today(ctx)
    assert outcome.plan.status == "solved"
    plan_alerts.raise_alerts(ctx, outcome)
    message = messages_of(ctx)["2025-07-17 heat"]
    assert "Thursday 17 July" in message
    assert "tempering 15:00 to 22:00" in message
    assert "the plan moved the stage" in message
    own = outcome.schedule[outcome.schedule["stage"] == "tempering"]
    assert (own["end"].dt.tz_convert(MADRID).dt.hour <= 15).all()


def test_a_room_that_allows_no_plan_is_reported_with_its_hours(summer: Warm) -> None:
    ctx = summer(9.0)
    outcome = daily.plan_today(ctx)
    assert (outcome.level, outcome.plan.status) == ("warn", "infeasible")
    plan_alerts.raise_alerts(ctx, outcome)
    messages = messages_of(ctx)
    assert "No plan is possible" in messages["2025-07-17 plan"]
    assert "found no hour for the stage" in messages["2025-07-17 heat"]
    assert "límite movido en" in outcome.brief


def test_a_poor_hour_is_one_below_the_months_own(summer: Warm) -> None:
    ctx = summer(2.0)
    begin, end = JULY, JULY + timedelta(hours=30)
    prices, weather = (
        inputs.prices(ctx, begin, end).loc[begin:],
        inputs.weather(ctx, begin, end),
    )
    found = outdoor_index.low_hours(ctx, prices, weather)
    assert found
    starts = pd.DatetimeIndex([start for low in found for start in low.starts]).tz_convert(MADRID)
    assert ((starts.hour >= 6) & (starts.hour < 22)).all(), "only working hours"
    assert "of the working hours of July" in found[0].why
    mild = weather.assign(temperature_c=21.0, humidity_pct=55.0)
    assert not outdoor_index.low_hours(ctx, prices, mild)


def test_without_the_months_history_no_hour_is_poor(works: RunContext) -> None:
    begin, end = works.as_of, works.as_of + timedelta(hours=24)
    prices, weather = (
        inputs.prices(works, begin, end).loc[begin:],
        inputs.weather(works, begin, end),
    )
    assert not outdoor_index.low_hours(works, prices, weather)


def test_planning_another_day_says_nothing_of_this_one_and_the_day_ends_its_alerts(
    summer: Warm,
) -> None:
    ctx = summer(2.0)
    plan_alerts.raise_alerts(ctx, daily.plan_today(ctx))
    before = messages_of(ctx)
    assert before
    plan_alerts.raise_alerts(ctx, daily.plan_today(ctx, first=date(2025, 7, 19)))
    assert before.items() <= messages_of(ctx).items()
    over = JULY + timedelta(days=3)
    ctx.clock.set(over)  # type: ignore[attr-defined]
    later = replace(ctx, as_of=over)
    plan_alerts.raise_alerts(later, daily.plan_today(later, first=date(2025, 7, 20)))
    assert not [entity for entity in messages_of(ctx) if entity < "2025-07-19"]


def test_a_replay_raises_nothing_and_leaves_the_kept_plan_alone(summer: Warm) -> None:
    ctx = summer(6.0)
    kept = daily.plan_today(ctx)
    ctx.clock.set(JULY + timedelta(days=2))  # type: ignore[attr-defined]
    replayed = daily.plan_today(ctx, wishes=["none"])
    plan_alerts.raise_alerts(ctx, replayed)
    assert messages_of(ctx) == {}
    assert kept.folder != replayed.folder
    assert replayed.folder.parent.name == "replayed"


def test_spans_join_neighbouring_hours() -> None:
    hours = pd.DatetimeIndex(["2025-07-16T18:00Z", "2025-07-16T19:00Z", "2025-07-17T05:00Z"])
    assert [
        (end - begin).total_seconds() / 3600 for begin, end in outdoor_index.spans_of(hours)
    ] == [2, 1]


@pytest.mark.parametrize("hours", [1, 7], ids=["an hour", "a plateau"])
def test_an_exceptional_price_is_reported_with_its_hours_and_what_the_plan_runs_there(
    works: RunContext, hours: int
) -> None:
    works = replace(works, as_of=EVENING)
    assert not [
        event
        for event in plan_alerts.events(daily.plan_today(works))
        if "exceptional" in event.entity
    ]
    spike = pd.date_range("2025-11-20T05:00Z", periods=4 * hours, freq="15min")
    starts = np.array([int(start.timestamp()) for start in spike])
    rows = tidy(
        "spot_eur_mwh",
        starts,
        np.full(len(spike), 3000.0),
        place="ES",
        source="ree",
        kind="observed",
        resolution_s=900,
        retrieved_at=EVENING,
    )
    works.store.write(rows, run_id="test")
    outcome = daily.plan_today(replace(works, as_of=EVENING + timedelta(hours=1)), first=THURSDAY)
    (event,) = (
        event for event in plan_alerts.events(outcome) if event.entity == "2025-11-20 exceptional"
    )
    assert f"06:00 to {6 + hours:02}:00 (up to 3000 EUR/MWh" in event.message
    assert "the plan uses" in event.message
    assert "precio excepcional" in outcome.brief
    assert "Evitar: " in outcome.brief


def test_a_batch_that_the_room_will_spoil_is_a_critical_alert(works: RunContext) -> None:
    outcome = daily.plan_today(works)
    start = outcome.schedule["start"].iloc[0]
    row = {
        "watch": "critical",
        "stage": "conching",
        "start": start,
        "end": start + timedelta(hours=2),
        "why": "above 32 °C what is in it is lost",
        "the_plan": summary.RUNS,
    }
    (event,) = plan_alerts.events(replace(outcome, watched=pd.DataFrame([row])))
    assert event.severity is alerts.Severity.CRITICAL
    assert "The room spoils a batch" in event.message


def test_planning_a_day_ends_no_alert_that_the_day_before_has_no_plan(works: RunContext) -> None:
    outcome = daily.plan_today(works, first=THURSDAY, wishes=["order standard 20000 22:00"])
    plan_alerts.raise_alerts(works, outcome)
    plan_alerts.raise_alerts(
        works, daily.plan_today(works, first=THURSDAY + timedelta(days=1), wishes=["none"])
    )
    assert f"{THURSDAY} plan" in messages_of(works)


@pytest.mark.parametrize(
    ("begin", "hours", "text"),
    [
        pytest.param("2025-10-26T00:00Z", 1, "02:00 CEST to 02:00 CET", id="hour shown twice"),
        pytest.param("2025-11-20T21:00Z", 24, "22:00 to 22:00 on Friday", id="whole day"),
        pytest.param("2025-11-20T21:00Z", 2, "22:00 to 00:00", id="two hours"),
    ],
)
def test_hours_of_an_alert_are_unambiguous(begin: str, hours: int, text: str) -> None:
    start = pd.Timestamp(begin)
    assert plan_alerts._span(start, start + pd.Timedelta(hours=hours)) == text
