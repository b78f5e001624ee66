"""The brief, the exports and what is watched."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from factory_lib.plan.brief import brief
from factory_lib.plan.export import SCHEMA, to_csv, to_ics, to_json
from factory_lib.plan.request import Outage, Running, for_days
from factory_lib.plan.solve import solve
from factory_lib.plan.watch import watch
from tests.unit.plan.conftest import hours, read_plant

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)


@pytest.fixture
def hot(mild):
    """Weather whose afternoons no cooling reaches."""
    hour = np.asarray(mild.index.hour)
    return mild.assign(
        temperature_c=np.where((hour >= 9) & (hour < 20), 44.0, 25.0), humidity_pct=20.0
    )


def test_the_brief_says_what_to_start_when_in_spanish_and_local_time(ask):
    plan = solve(ask())
    text = brief(plan)
    mixing = plan.table().iloc[0]["start"].tz_convert("Europe/Madrid")
    assert f"mezcla: empezar el martes 5, {mixing:%H:%M}" in text
    assert "Evitar:" in text
    assert "solo energía" in text


def test_the_brief_speaks_english_when_asked(ask):
    text = brief(solve(ask()), language="en")
    assert "mixing: begin Tuesday 5," in text
    assert "energy only" in text


def test_tolls_change_what_the_euros_are_called(ask, prices):
    text = brief(solve(ask(prices=prices.assign(toll_eur_mwh=12.0))))
    assert "energía y peajes" in text


def test_an_impossible_day_is_told_with_what_would_help(ask):
    plan = solve(ask(outages=(Outage("conche", datetime(2024, 3, 5, 20, tzinfo=UTC)),)))
    text = brief(plan)
    assert text.startswith("NO HAY PLAN POSIBLE")
    assert "- máquinas: 5 horas de máquina (conche martes 05 " in text
    assert not {"Tue", "Wed", "to"} & set(text.replace("(", " ").split()), "no English in it"
    assert brief(plan, to_blame=["out conche 20:00"]).endswith(
        "Sin el encargo «out conche 20:00» habría plan."
    )
    document = json.loads(to_json(plan, made_at=NOON))
    assert document["status"] == "infeasible"
    assert document["obstacles"][0]["family"] == "machines"
    assert document["gap"] is None


def test_heat_names_the_stages_it_moved(ask, hot):
    plan = solve(ask(weather=hot))
    assert plan.status == "solved"
    found = {item.stage: item for item in watch(plan) if item.kind == "heat"}
    assert found["tempering"].moved
    assert "Vigilar: la sala no admite templado" in brief(plan, watch(plan))


def test_a_quiet_mild_day_has_no_heat_to_watch(ask):
    assert [item for item in watch(solve(ask())) if item.kind == "heat"] == []


def test_unknown_air_is_said_aloud(ask):
    assert "Sin previsión de sala" in brief(solve(ask(weather=None)))


def test_exports_agree_with_the_plan(ask):
    plan = solve(ask())
    document = json.loads(to_json(plan, made_at=NOON))
    assert document["schema"] == SCHEMA
    assert [stage["stage"] for stage in document["batches"][0]["stages"]] == [
        s.name for s in plan.problem.stages
    ]
    assert (
        document["batches"][0]["stages"][0]["start"]
        == f"{plan.table().iloc[0]['start']:%Y-%m-%dT%H:%M:%SZ}"
    )
    assert len(to_csv(plan).splitlines()) == 1 + 5


def test_the_calendar_has_an_event_for_each_stage_in_lines_of_75_bytes(ask):
    text = to_ics(solve(ask()), made_at=NOON)
    assert text.count("BEGIN:VEVENT") == text.count("END:VEVENT") == 5
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert text.endswith("END:VCALENDAR\r\n")


def test_nothing_to_do_is_said_as_such(ask):
    plan = solve(ask(kilograms={}))
    assert brief(plan).startswith("No hay nada que producir")
    assert to_csv(plan).count("\n") == 1


def test_a_stage_that_runs_already_was_not_moved_by_the_room(ask, mild):
    at = datetime(2024, 3, 5, 5, tzinfo=UTC)
    starts = {"mixing": at, "refining": at.replace(hour=6), "conching": at.replace(hour=10)}
    wet = (mild.index >= at.replace(hour=10)) & (mild.index < at.replace(hour=15))
    weather = mild.assign(temperature_c=np.where(wet, 43.5, 16.0))
    running = (Running("standard", 200.0, starts),)
    plan = solve(ask(weather=weather, begin=at.replace(hour=11), running=running))
    conching = [item for item in watch(plan) if (item.kind, item.stage) == ("heat", "conching")]
    assert conching
    assert not any(item.moved for item in conching)


def test_spanish_has_decimal_commas_and_counts_one_batch_as_one(ask):
    head = brief(solve(ask())).splitlines()[1]
    assert " kg en 1 lote, " in head
    assert re.search(r"\d,\d\d EUR", head)
    assert "0.0" not in head
    assert "0,0 %" not in head


def test_a_batch_in_a_room_above_the_critical_temperature_is_a_danger(ask, mild):
    at = datetime(2024, 3, 5, 5, tzinfo=UTC)
    starts = {"mixing": at, "refining": at.replace(hour=6), "conching": at.replace(hour=10)}
    peak = (mild.index >= at.replace(hour=12)) & (mild.index < at.replace(hour=14))
    weather = mild.assign(temperature_c=np.where(peak, 47.0, 16.0), humidity_pct=10.0)
    plan = solve(
        ask(
            weather=weather,
            begin=at.replace(hour=11),
            running=(Running("standard", 200.0, starts),),
        )
    )
    (danger,) = [item for item in watch(plan) if item.kind == "critical"]
    assert (danger.stage, danger.why) == ("conching", "above 32 °C what is in it is lost")
    assert (
        "PELIGRO: la sala echa a perder el lote en conchado el martes 5 de 13:00 a 15:00."
        in brief(plan, watch(plan))
    )
    safe = mild.assign(
        temperature_c=np.where(peak, 45.0, 16.0), humidity_pct=10.0
    )  # 31 °C in the room
    plan = solve(
        ask(weather=safe, begin=at.replace(hour=11), running=(Running("standard", 200.0, starts),))
    )
    assert {item.kind for item in watch(plan) if item.stage == "conching"} == {"heat"}


def test_the_shift_hears_only_of_hours_in_which_something_runs(ask, prices):
    dear = prices.assign(p50=np.where(prices.index == "2024-03-05T00:00Z", 150.0, prices["p50"]))
    plan = solve(ask(prices=dear))
    assert [item.kind for item in watch(plan) if not item.running_kwh]
    assert "Vigilar" not in brief(plan, watch(plan))


def test_obstacles_in_spanish_have_decimal_commas(ask, mild):
    text = brief(solve(ask(weather=mild.assign(temperature_c=37.5, humidity_pct=10.0))))
    assert "1,5 K" in text
    assert "1.5" not in text


def test_the_hour_that_a_long_day_has_twice_is_told_apart(ask):
    """On 27 October 2024 the clocks show 02:30 twice."""
    first = datetime(2024, 10, 26, 23, 30, tzinfo=UTC)
    day = hours(datetime(2024, 10, 25, tzinfo=UTC), datetime(2024, 10, 29, tzinfo=UTC))
    frames = {
        "prices": pd.DataFrame({"p50": np.linspace(20, 60, len(day))}, day),
        "weather": pd.DataFrame({"temperature_c": 16.0, "humidity_pct": 45.0}, day),
    }
    starts = {"mixing": first, "refining": first + timedelta(hours=1)}
    request = for_days(
        read_plant("free"),
        **frames,
        first=date(2024, 10, 27),
        begin=first + timedelta(hours=2),
        running=(Running("standard", 200.0, starts),),
    )
    plan = solve(request)
    assert len(plan.power()) == (25 - 3.5) * 4
    text = brief(plan)
    assert "mezcla: en marcha desde el domingo 27, 01:30, termina 02:30 CEST" in text
    assert "refinado: en marcha desde el domingo 27, 02:30 CEST, termina 05:30" in text
    starts_of = set(plan.table().query("not begun")["start"].dt.strftime("DTSTART:%Y%m%dT%H%M%SZ"))
    assert starts_of <= set(to_ics(plan, made_at=NOON).split("\r\n"))
