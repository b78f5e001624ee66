"""The rolling plan: made from what is known, followed by the next one, and never missing."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from time import sleep
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.clock import MADRID, day_start, market_day
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.monitoring import alerts, plan_alerts
from factory_lib.planner.model import Model
from factory_lib.planning import daily, documents, inputs, overrides, review, summary
from factory_lib.results import JobResult
from factory_sim.clock import SimulatedClock
from tests.support.batches import batches
from tests.support.stored import store_observed
from tests.support.week import EVENING, NOON, THURSDAY


def at(ctx: RunContext, instant: datetime) -> RunContext:
    return replace(ctx, as_of=instant)


def shown(ctx: RunContext, made: daily.DailyPlan, day: str = "", days: int = 1) -> JobResult:
    first = daily.day_of(day, ctx.as_of, ctx.settings.plant.zone)
    return summary.summarise_plan(ctx, made, *daily.view(ctx, first, days))


def added(ctx: RunContext, *words: str) -> None:
    folder = documents.plans_folder(ctx)
    plant = ctx.settings.plant
    items = [overrides.parse(text, plant, THURSDAY, ctx.as_of, "ana", "test") for text in words]
    overrides.add(folder, items, ctx.as_of)


def test_a_week_is_planned_cheaper_than_simple_schedules_and_its_files_say_so(planned):
    small, made = planned
    result = shown(small, made)
    assert result.status == "ok", result.summary
    assert made.plan.source == "solver"
    week_kg = sum(small.settings.plant.demand.weekly_kg.values())
    assert result.metrics["kg"] == pytest.approx(week_kg, rel=0.3)
    assert result.metrics["saving_eur"] > 0
    written = json.loads((documents.plans_folder(small) / "plan.json").read_text(encoding="utf-8"))
    assert written["schema"] == documents.SCHEMA
    assert written["costs_eur"]["paid"] == pytest.approx(result.metrics["cost_eur"])
    assert len(written["stages"]) == len(result["schedule"])
    assert [file.split("/")[-1] for file in made.files] == ["plan.json", "plan.csv", "plan.ics"]


def test_a_simple_schedule_of_fewer_kilograms_is_compared_by_the_kilogram(planned):
    small, made = planned
    costs = made.costs.copy()
    costs.loc["shift_full", "kg"] = costs.loc["plan", "kg"] / 4
    costs.loc["shift_full", "paid_eur"] = made.plan.costs.paid / 2
    result = shown(small, replace(made, costs=costs))
    assert result.metrics["saving_eur"] == pytest.approx(made.plan.costs.paid)
    assert "as many kilograms" in result.summary
    assert "which makes" in result.summary


def test_a_simple_schedule_cut_off_by_the_clock_is_not_compared(planned, monkeypatch):
    made = planned.made
    assert set(made.costs.index) > {"plan", "shift_full"}
    whole = Model.solve

    def cut_off(self, *limits):
        result = whole(self, *limits)
        result.status = 1  # as scipy says that the time was over
        return result

    monkeypatch.setattr(Model, "solve", cut_off)
    assert list(daily.compared(made.plan).index) == ["plan"]


def test_an_hour_of_attention_is_an_alert_where_the_price_is_exceptional_and_energy_is_used(
    planned,
):
    small, made = planned
    result = shown(small, made)
    hour = pd.Timestamp(THURSDAY, tz="UTC") + pd.Timedelta(hours=10)
    row = {"start": hour, "end": hour + pd.Timedelta(hours=1), "reason": "high"}
    for kind, planned_kwh, count in (
        ("exceptional", 0.0, 0),
        ("exceptional", 12.0, 1),
        ("index", 12.0, 0),
    ):
        attention = {**row, "kind": kind, "planned_kwh": planned_kwh}
        result.tables["attention"] = pd.DataFrame([attention])
        events = [item.entity for item in plan_alerts.events(made, result)]
        assert sum(name.endswith(("exceptional", "index")) for name in events) == count


def test_the_sheet_of_a_day_begins_in_the_afternoon_before_and_leaves_time_where_there_is_some(
    planned,
):
    small, made = planned
    week = shown(small, made, "today", 7)["sheet"]
    assert len(week) == len(made.plan.stages)
    assert (week["latest_start"] >= week["start"]).all()
    day = shown(small, made)["sheet"]
    begin, end = daily.view(small, THURSDAY, 1)
    assert day["start"].between(pd.Timestamp(begin), pd.Timestamp(end)).all()


def test_the_next_plan_keeps_numbers_facts_and_the_starts_of_the_next_hours(planned):
    small, first = planned
    planned = {batch.number: batch for batch in batches(first.plan)}
    start = min(at for batch in planned.values() for at in batch.starts.values())
    later = at(small, start + timedelta(hours=1))
    second = daily.make_plan(later)
    begun = set(second.plan.problem.begun["batch"])
    assert begun == {n for n, b in planned.items() if min(b.starts.values()) < second.request.begin}
    after = {batch.number: batch for batch in batches(second.plan)}
    assert begun <= set(after)
    soon = second.request.begin + timedelta(hours=small.settings.plant.replanning.freeze_h)
    for number, batch in planned.items():
        for stage, instant in batch.starts.items():
            if number in after and second.request.begin <= instant < soon:
                assert after[number].starts[stage] == instant
    assert second.before is not None
    assert second.before.made_at == small.as_of


def test_planning_twice_at_the_same_instant_changes_nothing(planned):
    small, first = planned
    second = daily.make_plan(small)
    assert second.plan.costs.paid == pytest.approx(first.plan.costs.paid, rel=0.01)
    assert {b.number for b in batches(second.plan)} == {b.number for b in batches(first.plan)}


def test_what_was_planned_and_finished_is_not_demanded_again(planned):
    small, first = planned
    ends = first.plan.stages.groupby("batch")["end"].max().sort_values()
    later = at(small, ends.iloc[0].to_pydatetime() + timedelta(hours=1))
    request, _ = daily.request_of(later, documents.kept(later)[0])
    finished_kg = first.plan.kg[0]
    week_later = market_day(request.end - timedelta(hours=1))
    weekly = daily.weekly_orders(small.settings.plant, market_day(NOON), week_later)
    demanded = sum(order.kg for order in request.orders)
    assert demanded == pytest.approx(sum(order.kg for order in weekly) - finished_kg, abs=1.0)


def test_a_machine_out_of_order_delays_and_is_never_in_the_way_of_a_plan(small):
    added(small, "out conche 2025-11-24T12:00")
    made = daily.make_plan(small)
    result = shown(small, made, "today", 7)
    conching = result["schedule"].query("machine == 'conche'")
    assert (conching["start"] >= pd.Timestamp("2025-11-24T11:00Z")).all()
    assert {"late", "preferred_day"} & set(made.plan.gave_way["kind"])
    assert any("conche out of order until" in note for note in result.notes)


def test_a_pinned_start_is_kept_and_an_impossible_one_is_said(small):
    added(small, "pin standard mixing 08:00")
    result = shown(small, daily.make_plan(small), "today", 7)
    mixing = result["schedule"].query("stage == 'mixing'")["start"]
    assert pd.Timestamp("2025-11-20T07:00Z") in set(mixing)
    added(small, "pin standard tempering 03:00")
    result = shown(small, daily.make_plan(small), "today", 7)
    assert result.status == "warn"
    assert "pinned start is not kept" in result.summary


def test_an_extra_order_is_made_by_its_time(planned):
    small, base = planned.ctx, planned.made.plan.kg.sum()
    added(small, "order standard 200 2025-11-21T18:00")
    made = daily.make_plan(small)
    assert made.plan.kg.sum() >= base + 190
    assert not made.plan.stated_eur("firm_late")


def test_an_order_that_was_made_is_not_taken_from_the_week(small):
    added(small, "order standard 200 2025-11-21T18:00")
    daily.make_plan(small)
    later = at(small, NOON + timedelta(days=6))
    added(later, "out conche 2025-11-26T00:00")
    request, _ = daily.request_of(later, documents.kept(later)[0])
    kept = [item.kind for item in overrides.stored(documents.plans_folder(later))]
    assert kept == ["order", "outage"]
    ended = documents.carried_out(documents.kept(later)[0], request.begin)
    made_kg = ended.loc[ended["stage"] == "moulding", "kg"].sum()
    last = market_day(request.end - timedelta(hours=1))
    weekly = daily.weekly_orders(small.settings.plant, market_day(NOON), last)
    demanded = sum(order.kg for order in request.orders)
    assert demanded == pytest.approx(200 + sum(order.kg for order in weekly) - made_kg, abs=1.0)


def test_a_preview_writes_nothing_and_says_what_a_change_costs(small):
    before = sorted(small.settings.paths.data.rglob("*"))
    base, changed = daily.preview(small, {"price_eur_mwh": "50", "operators": "0"})
    assert sorted(small.settings.paths.data.rglob("*")) == before
    assert changed.costs.energy > base.costs.energy
    result = summary.compare_previews(base, changed)
    assert result.metrics["more_eur"] > 0
    with pytest.raises(BadInput, match="cannot be changed"):
        daily.preview(small, {"weather": "3"})


def test_a_preview_moves_planned_starts_freely_and_says_which(planned):
    small = planned.ctx
    base, changed = daily.preview(small, {"out": "conche"})
    assert changed.kg.sum() > 0
    conching = changed.stages.query("machine == 'conche' and not begun")
    assert (conching["start"] >= pd.Timestamp(changed.problem.request.begin + daily.OUT)).all()
    for plan in (base, changed):
        assert plan.stated_eur("moved", "frozen") == 0
    result = summary.compare_previews(base, changed)
    assert (result["moved"]["as it is"] != result["moved"]["with the change"]).all()
    with pytest.raises(BadInput, match="no shift has more"):
        daily.preview(small, {"operators": "-2"})


def test_calendar_entries_update_and_are_cancelled(planned):
    small, first = planned
    stages = first.plan.stages
    fewer = stages[stages["batch"] != stages["batch"].max()]
    text = documents.to_ics(fewer, small.as_of, stages)
    events = text.split("BEGIN:VEVENT")[1:]
    assert len(events) == len(stages)
    cancelled = [event for event in events if "STATUS:CANCELLED" in event]
    assert len(cancelled) == len(stages) - len(fewer)
    assert len({event.split("UID:")[1].split("\r\n")[0] for event in events}) == len(stages)
    later = documents.to_ics(fewer, small.as_of + timedelta(hours=1))
    assert later.count("SEQUENCE:29392") == later.count("BEGIN:VEVENT")
    assert max(len(line.encode()) for line in text.split("\r\n")) <= 75


def test_the_review_knows_nothing_of_days_before_the_first_plan(planned):
    small = planned.ctx
    result = review.review_plans(at(small, NOON + timedelta(days=3)))
    days = result["days"].set_index("day")
    assert list(days.index) == [THURSDAY + timedelta(days=back) for back in range(-5, 2)]
    assert days["planned_kg"].isna().sum() == 4
    assert days["planned_kg"][THURSDAY] > 0
    assert days["planned_kwh"][THURSDAY] > days["planned_kwh"][NOON.date()] > 0
    assert days["metered_kwh"].isna().all()
    assert days["published_eur_mwh"].notna().all()
    assert result["prices"]["p50"].notna().sum() == 2 * 96


def test_overrides_keep_author_reason_and_number(small):
    folder = documents.plans_folder(small)
    added(small, "pin standard mixing 08:00", "out conche 22:00")
    added(small, "out conche 23:00")
    items = overrides.stored(folder)
    assert [(item.number, item.kind) for item in items] == [(1, "pin"), (3, "outage")]
    assert {(item.author, item.reason) for item in items} == {("ana", "test")}
    assert overrides.remove_override(folder, 1) == items[0]
    for text, problem in {
        "pin dark mixing 08:00": "no dark",
        "pin standard melting 08:00": "no melting",
        "out conche 2025-11-19T08:00": "has passed",
        "order standard -5 08:00": "not understood",
        "out conche 25:00": "not understood",
        "out conche 0001-01-01T00:00+05:00": "not understood",
        "order standard 200 9999-12-31T23:59-05:00": "not understood",
        "out conche 2026-03-29T02:30": "clocks go forward",
    }.items():
        with pytest.raises(BadInput, match=problem):
            added(small, text)


def test_people_who_add_and_remove_overrides_at_once_lose_none(small):
    folder = documents.plans_folder(small)
    ends = [NOON + timedelta(hours=1 + n) for n in range(40)]
    items = [overrides.Override("order", "standard", NOON, end, kg=100.0) for end in ends]
    added(small, "out conche 22:00")
    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(lambda item: overrides.add(folder, [item], NOON), items))
        list(pool.map(lambda n: overrides.remove_override(folder, n), range(2, 12)))
    assert sorted(item.number for (item,) in new) == list(range(2, 42))
    left = overrides.stored(folder)
    assert sorted(item.number for item in left) == [1, *range(12, 42)]


def test_two_who_plan_at_once_follow_each_other(small, monkeypatch):
    """Else both give the next numbers, to different batches."""
    make_plan = daily.make_plan

    def slowly(ctx: RunContext) -> daily.DailyPlan:
        made = make_plan(ctx)
        sleep(0.1)  # the files are there, the other one must have waited
        return made

    monkeypatch.setattr(daily, "make_plan", slowly)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(plan_alerts.plan_with_alerts, small, "", 1) for _ in range(2)]
        plans = [run.result()[0] for run in runs]
    assert sum(made.before is None for made in plans) == 1


def test_a_plan_that_waited_for_a_newer_one_follows_it(small):
    """A job's present is that of its start, before its kernel's: a person is faster."""
    waited = replace(small, clock=SimulatedClock(small.as_of + timedelta(seconds=30)))
    newer, _ = plan_alerts.plan_with_alerts(at(waited, small.as_of + timedelta(seconds=5)), "", 1)
    made, _ = plan_alerts.plan_with_alerts(waited, "", 1)
    assert made.before is not None
    assert newer.plan.stages["batch"].isin(made.before.stages["batch"]).all()
    written = json.loads((documents.plans_folder(small) / "plan.json").read_text(encoding="utf-8"))
    assert datetime.fromisoformat(written["made_at"]) == waited.clock.now()


def test_a_replay_reads_no_later_plan_and_writes_beside_the_real_ones(small):
    daily.make_plan(at(small, EVENING))
    assert documents.kept(small)[0] == []
    replayed = replace(small, explicit_as_of=True)
    files = daily.make_plan(replayed).files
    assert all("replayed" in file for file in files)


def test_a_price_that_is_not_known_is_refused_with_what_to_do(small):
    with pytest.raises(BadInput, match="have no price"):
        daily.make_plan(at(small, NOON + timedelta(days=60)))


def test_alerts_are_raised_once_and_end_with_their_reason(small):
    added(small, "pin standard tempering 03:00")
    live = replace(small, explicit_as_of=False)
    made = daily.make_plan(live)
    plan_alerts.raise_alerts(live, made, shown(live, made))
    names = {event.entity for event in plan_alerts.events(made, shown(live, made))}
    assert any(name.endswith(" pin") for name in names)
    overrides.add(documents.plans_folder(live), [], live.as_of, clear=True)
    made = daily.make_plan(live)
    plan_alerts.raise_alerts(live, made, shown(live, made))
    rows = [
        row for row in alerts.alert_rows(live.state, every=True) if row["entity"].endswith(" pin")
    ]
    assert {row["status"] for row in rows} == {"resolved"}


@pytest.mark.parametrize(
    ("text", "day"),
    [("", THURSDAY), ("tomorrow", THURSDAY), ("today", market_day(NOON)), ("2025-11-21", None)],
)
def test_days_are_named_as_people_name_them(text, day):
    assert daily.day_of(text, NOON, MADRID) == (day or day_start(THURSDAY).date().replace(day=21))


@pytest.mark.parametrize(
    ("day", "days"),
    [(THURSDAY + timedelta(days=30), 1), (date.max, 1), (date.min, 1), (THURSDAY, 0)],
)
def test_a_day_beyond_the_plan_is_refused(works, day, days):
    with pytest.raises(BadInput, match="are not in the plan"):
        daily.view(works, day, days)


def test_a_word_is_no_day():
    with pytest.raises(BadInput, match="is no day"):
        daily.day_of("someday", NOON, MADRID)


def test_contract_advice_costs_no_more_than_the_contract(planned):
    table = planned.made.contract
    eur = table["power_and_excess_eur"]
    assert eur["cheapest"] <= eur["contract now"]
    assert set(table.loc[["contract now", "cheapest"], "load"]) == {"planned"}
    assert table["days"]["cheapest"] == 7
    assert table["P1"]["cheapest"] == 18, "loads that always run"
    below = table.loc["plan below a peak"]
    assert below["kg"] == pytest.approx(table["kg"]["plan"], rel=0.02)
    assert below["P1"] < table["P1"]["plan"]
    assert (
        below[["energy_eur", "power_and_excess_eur"]].sum()
        < table.loc["plan", ["energy_eur", "power_and_excess_eur"]].sum()
    )


def test_no_contract_is_advised_where_no_power_term_is_published(small):
    tariff = structs.replace(small.settings.tariff, area="portugal_weekly")
    lisbon = replace(small, settings=structs.replace(small.settings, tariff=tariff))
    made = daily.make_plan(lisbon)
    assert made.contract.empty
    assert shown(lisbon, made)["contract"].empty


def test_contract_advice_rests_on_the_meter_where_there_are_four_weeks(small):
    index = inputs.quarters(NOON - timedelta(days=40), NOON)
    kwh = np.where(index.hour == 12, 20.0, 5.0)
    store_observed(
        small,
        "metered_quarter_kwh",
        index,
        kwh,
        place="site",
        source="meter_file",
        at=NOON,
        step_s=900,
    )
    plan = daily.make_plan(small)
    assert plan.contract["load"]["cheapest"] == "metered"
    assert plan.contract["days"]["cheapest"] > 30
    assert plan.request.load_so_far.max() == 80.0


def test_the_saving_of_the_month_is_of_finished_kilograms(planned):
    small, first = planned
    end = first.plan.stages.groupby("batch")["end"].max().min()
    later = at(small, end.to_pydatetime())
    eur_kg = first.costs["paid_eur"] / first.costs["kg"]

    def saved(ctx):
        return documents.saved_this_month(
            ctx, documents.carried_out(documents.kept(ctx)[0], ctx.as_of)
        )

    assert saved(later) == pytest.approx(250 * (eur_kg["shift_full"] - eur_kg["plan"]))
    assert saved(at(small, NOON + timedelta(days=30))) == 0
    done = documents.carried_out(documents.kept(later)[0], later.as_of)
    not_compared = done.assign(saved_eur_kg=np.nan)
    assert documents.saved_this_month(later, not_compared) is None, "unknown is not 0"


def test_an_outage_that_begins_between_two_seconds_is_laid_on_the_grid(small):
    added(at(small, NOON + timedelta(microseconds=1234)), "out conche 2025-11-20T12:00")
    made = daily.make_plan(at(small, NOON + timedelta(microseconds=5000)))
    conching = made.plan.stages.query("machine == 'conche'")
    assert (conching["start"] >= pd.Timestamp("2025-11-20T11:00Z")).all()


def test_a_week_that_was_not_solved_in_time_is_not_said_to_be_late(small, monkeypatch):
    monkeypatch.setattr(daily, "solve", lambda *_args, **_limits: SimpleNamespace(source="nothing"))
    (problem,) = daily.week_problems(small.settings)
    assert problem == "No plan of an ordinary week was found within 60 s: try again."
