"""Broken situations: each gets a plan that says what gave way, by how much and until when."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec import structs

from factory_lib.context import RunContext, open_context
from factory_lib.domain.tariff import bill
from factory_lib.errors import BadInput
from factory_lib.monitoring import plan_alerts
from factory_lib.planning import daily, documents, inputs, overrides, review, summary
from factory_lib.results import JobResult
from factory_lib.settings.tariff import PERIODS
from factory_sim.clock import SimulatedClock
from tests.support.week import NOON, THURSDAY, furnish

HOUR = timedelta(hours=1)
LATE = "late kilograms: "


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(daily, "GAP", 0.05)
    monkeypatch.setattr(summary, "GAP", 0.05)
    monkeypatch.setattr(review, "contract_advice", lambda *_: pd.DataFrame())


def changed(ctx: RunContext, **fields: Any) -> RunContext:
    """Return a context with another plant."""
    plant = structs.replace(ctx.settings.plant, **fields)
    return replace(ctx, settings=structs.replace(ctx.settings, plant=plant))


def part(ctx: RunContext, name: str, **fields: Any) -> RunContext:
    """Return a context with another part of the plant."""
    return changed(ctx, **{name: structs.replace(getattr(ctx.settings.plant, name), **fields)})


def hourly(ctx: RunContext) -> RunContext:
    """Return a context whose plant is planned by the hour."""
    stages = tuple(structs.replace(one, wait_min=60) for one in ctx.settings.plant.stages)
    return changed(ctx, slot_min=60, stages=stages)


def added(ctx: RunContext, *words: str) -> RunContext:
    """Store overrides and return the context."""
    plant = ctx.settings.plant
    items = [overrides.parse(text, plant, THURSDAY, ctx.as_of, "ana", "test") for text in words]
    overrides.add(documents.plans_folder(ctx), items, ctx.as_of)
    return ctx


def planned(ctx: RunContext) -> tuple[daily.DailyPlan, JobResult]:
    made = daily.make_plan(ctx)
    today = daily.day_of("today", ctx.as_of, ctx.settings.plant.zone)
    view = daily.view(ctx, today, 7)
    return made, summary.summarise_plan(ctx, made, *view)


def alerts_of(made: daily.DailyPlan, result: JobResult) -> str:
    return "\n".join(event.message for event in plan_alerts.events(made, result))


def conche_out(ctx: RunContext) -> RunContext:
    return added(ctx, "out conche 2025-11-26T12:00")


def one_operator(ctx: RunContext) -> RunContext:
    shifts = [structs.replace(shift, operators=1) for shift in ctx.settings.plant.shifts]
    return changed(ctx, shifts=tuple(shifts))


def one_machine_at_a_time(ctx: RunContext) -> RunContext:
    return part(ctx, "power", limit_kw=70.0)


def too_much_by_five(ctx: RunContext) -> RunContext:
    return added(ctx, "order standard 900 2025-11-20T05:00")


def a_small_week(ctx: RunContext) -> RunContext:
    return part(ctx, "demand", weekly_kg={"standard": 200.0})


def beyond_capacity(ctx: RunContext) -> RunContext:
    return part(ctx, "demand", weekly_kg={"standard": 9000.0})


def closed_and_no_overtime(ctx: RunContext) -> RunContext:
    closed = tuple(THURSDAY + timedelta(days=n) for n in range(3))
    return part(part(ctx, "calendar", closed=closed), "slack", overtime_eur_h=1e5)


def pin_on_a_broken_machine(ctx: RunContext) -> RunContext:
    return added(ctx, "out mixer 2025-11-21T00:00", "pin standard mixing 09:00")


def override_of_another_plant(ctx: RunContext) -> RunContext:
    item = overrides.Override("outage", "oven", ctx.as_of, ctx.as_of + 9 * HOUR)
    overrides.add(documents.plans_folder(ctx), [item], ctx.as_of)
    return ctx


def order_of_next_month(ctx: RunContext) -> RunContext:
    return added(ctx, "order standard 100 2025-12-20T05:00")


@pytest.mark.parametrize(
    ("situation", "status", "summary_says", "alerts_say", "notes_say"),
    [
        (conche_out, "warn", "1,000 kg, not made", "not made in the days", "conche out of order"),
        (one_operator, "ok", "1,000 kg in 4 batches", "", ""),
        (one_machine_at_a_time, "ok", "1,000 kg in 4 batches", "", ""),
        (a_small_week, "ok", "200 kg in one batch for ", "", ""),
        (too_much_by_five, "warn", "a firm order is late: order 1, ", "until Thu 20 Nov", "900 kg"),
        (beyond_capacity, "warn", "not made in the days of this plan", "Late kilograms", ""),
        (closed_and_no_overtime, "warn", LATE, "until ", ""),
        (
            pin_on_a_broken_machine,
            "warn",
            "pinned start is not kept",
            "standard mixing from Thu 20 Nov 09:00",
            "Override 2: pin",
        ),
        (
            override_of_another_plant,
            "ok",
            "1,000 kg",
            "",
            "Left out: the plant has no oven",
        ),
        (order_of_next_month, "ok", "1,000 kg", "", "Left out: it is not of the days"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_plan_says_what_gave_way(small, situation, status, summary_says, alerts_say, notes_say):
    made, result = planned(situation(small))
    assert result.status == status, result.summary
    assert summary_says in result.summary
    assert alerts_say in alerts_of(made, result)
    assert notes_say in "\n".join(result.notes)
    serious = result["gave_way"]["gave_way"].isin([summary.RELAXATIONS[k] for k in summary.SERIOUS])
    assert serious.any() == (status == "warn")
    if situation is closed_and_no_overtime:
        assert not made.plan.stated_eur("overtime")
    if situation is one_machine_at_a_time:
        assert made.plan.power()["import_kw"].max() <= 70.0
    json.dumps(dict(result.metrics), allow_nan=False)


def test_the_saving_is_of_the_plans_kilograms(small):
    made, _ = planned(small)
    made.costs.loc["shift_full", ["kg", "paid_eur"]] /= 2  # as where it cannot make all
    result = summary.summarise_plan(small, made, made.request.begin, made.request.end)
    costs = result["costs"].set_index("schedule")
    name = summary.SCHEDULE_NAMES["shift_full"]
    assert result.metrics["saving_eur"] == pytest.approx(costs["saved_eur"][name])
    assert result.metrics["saving_eur"] > 0


def test_the_parts_of_the_bill_add_up_and_are_those_of_the_tariff(small):
    contract = structs.replace(small.settings.contract, kw=dict.fromkeys(PERIODS, 55.0))
    tight = replace(small, settings=structs.replace(small.settings, contract=contract))
    made, result = planned(tight)
    document = json.loads((documents.plans_folder(tight) / "plan.json").read_text("utf-8"))
    parts = made.costs.loc["plan", ["energy_eur", "toll_eur", "other_eur", "excess_eur"]]
    paid = made.costs["paid_eur"]["plan"]
    assert parts.sum() == pytest.approx(paid)
    assert parts["excess_eur"] > 0
    assert document["costs_eur"]["paid"] == pytest.approx(paid)
    assert result.metrics["cost_eur"] == pytest.approx(paid)

    request = made.request
    power = made.plan.power().reindex(request.prices.loc[request.begin :].index, method="ffill")
    totals = []
    for load in (power["import_kw"], power["import_kw"] - power["production_kw"]):
        month = pd.concat([request.load_so_far, load])
        table = bill(month, request.prices, contract, inputs.tariff_of(tight.settings))
        totals.append(table["total_eur"].sum())
    assert totals[0] - totals[1] == pytest.approx(paid, abs=0.01)


def test_without_time_the_shifts_stand_in_and_nothing_is_infinite(small, monkeypatch):
    monkeypatch.setattr(daily, "LIMIT_S", 0.0)
    made, result = planned(small)
    assert result.status == "warn"
    assert "no plan was found in time: shift begin stands in" in result.summary
    assert "stands in" in alerts_of(made, result)
    json.dumps(dict(result.metrics), allow_nan=False)


@pytest.mark.parametrize("whole", [False, True], ids=["plan.json is whole", "nothing is"])
@pytest.mark.parametrize(
    "content", [b"", b'{"made_at": 1}', b"\xff", b'{"stages": [{}]}'], ids=range(4)
)
def test_a_damaged_plan_file_costs_that_plan_alone(small, whole, content):
    folder = documents.plans_folder(small)
    stages = pd.DataFrame(columns=documents.STAGE_COLUMNS)
    fields = {"begin": NOON, "end": NOON, "stages": stages, "eur_kg": {}}
    for hours in (24, 2):
        made_at = NOON - hours * HOUR
        day = {"made_at": made_at, "first_demand": made_at.date()}
        documents.write(folder, {**fields, **day}, None)
    file = max(folder.glob(documents.KEPT))
    file.write_bytes(content)
    if not whole:
        (folder / "plan.json").write_bytes(content)
    assert [plan.made_at for plan in documents.kept(small)[0]] == (
        [NOON - 24 * HOUR, NOON - 2 * HOUR] if whole else [NOON - 24 * HOUR]
    )
    named = (str(file),) if whole else (str(file), str(folder / "plan.json"))
    assert documents.kept(small)[1] == named


def test_a_damaged_plan_file_is_named_beside_the_plan(small):
    folder = documents.plans_folder(small) / "2025-11-18"
    folder.mkdir(parents=True)
    (folder / "110000Z.json").write_text("{")
    _, result = planned(small)
    assert result.status == "warn"
    assert "110000Z.json is damaged and left out" in result.notes[0]


def test_a_damaged_file_of_overrides_costs_itself_alone_and_is_set_aside_by_the_next_one(small):
    folder = documents.plans_folder(small)
    folder.mkdir(parents=True)
    (folder / overrides.FILE).write_text("[{")
    daily.preview(small, {})
    made, result = planned(small)
    assert len(made.plan.jobs)
    assert result.status == "warn"
    assert f"{overrides.FILE} is damaged and left out" in result.notes[0]
    assert (folder / overrides.FILE).read_text() == "[{"
    added(small, "out conche 2025-11-26T12:00")
    assert [item.kind for item in overrides.stored(folder)] == ["outage"]
    (aside,) = overrides.damaged(folder)
    assert Path(aside).read_text() == "[{"
    assert f"{aside} is damaged and left out" in planned(small)[1].notes[0]


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("pin standard mixing 2025-11-18T08:00", "has passed"),
        ("pin standard mixing 08:37", "is no start of a slot"),
        ("out conche 2025-11-19T11:59", "has passed"),
        ("order standard 100 2025-11-19T05:00", "has passed"),
        ("pin standard baking 2025-11-21T20:00", "has no baking, but mixing, refining, "),
    ],
)
def test_an_override_that_no_plan_can_keep_is_refused(small, word, problem):
    with pytest.raises(BadInput, match=problem):
        added(small, word)


def test_batches_of_another_plant_are_left_out_and_named(small):
    first, _ = planned(small)
    start = first.plan.stages["start"].min().to_pydatetime()
    stages = small.settings.plant.stages
    renamed = changed(small, stages=(structs.replace(stages[0], name="blending"), *stages[1:]))
    later = replace(renamed, as_of=start + 2 * HOUR)
    _, result = planned(later)
    named = [note for note in result.notes if "of the plan before is left out" in note]
    assert result.status == "warn"
    assert len(named) == len(first.plan.jobs)


def test_a_batch_lost_in_its_last_stage_is_never_counted_as_made():
    def plan(hours: int, *numbers: int) -> documents.PlanDocument:
        rows = [
            {"batch": n, "product": "standard", "kg": 200.0, "stage": "moulding", "machine": "m"}
            | {"kw": 1.0, "start": pd.Timestamp(NOON), "end": pd.Timestamp(NOON + 3 * HOUR)}
            for n in numbers
        ]
        begin = NOON + hours * HOUR
        return documents.PlanDocument(
            made_at=begin,
            begin=begin,
            end=begin + 99 * HOUR,
            first_demand=THURSDAY,
            stages=documents._stages(pd.DataFrame, rows),
        )

    def done(*plans: documents.PlanDocument) -> list[int]:
        return documents.carried_out(plans, NOON + 20 * HOUR)["batch"].tolist()

    assert done(plan(-1, 1, 2)) == [1, 2]
    assert done(plan(-1, 1, 2), plan(1, 2)) == [2]
    assert done(plan(-1, 1, 2), plan(3)) == [1, 2]  # finished before


def test_a_replay_knows_no_override_of_later(small):
    added(replace(small, as_of=NOON + HOUR), "out conche 2025-11-21T00:00")
    added(replace(small, as_of=NOON + HOUR), "order standard 100 2025-11-21T00:00")
    added(replace(small, as_of=NOON + HOUR), "pin standard mixing 08:00")
    request, _ = daily.request_of(small, [])
    assert not request.outages
    assert not request.pins
    assert not any(order.firm for order in request.orders)
    assert not overrides.active(documents.plans_folder(small), NOON)
    assert daily.request_of(replace(small, as_of=NOON + HOUR), [])[0].outages


def test_prices_that_are_missing_are_named_by_their_hours(small):
    with pytest.raises(BadInput, match=r"slots of the window have no price, from .* to .*\."):
        daily.make_plan(replace(small, as_of=NOON + timedelta(days=60)))


@pytest.mark.parametrize(
    ("now", "warmer_k", "quarters", "says"),
    [
        (datetime(2025, 7, 16, 10, tzinfo=UTC), 14.0, False, "critical for tempering"),
        (datetime(2026, 3, 27, 11, tzinfo=UTC), 0.0, True, ""),
        (datetime(2025, 10, 24, 10, tzinfo=UTC), 0.0, True, ""),
    ],
    ids=["heat wave", "clocks go forward", "clocks go back"],
)
def test_a_plan_over_a_special_day(settings, monkeypatch, now, warmer_k, quarters, says):
    outdoor = inputs.weather

    def warmer(*window):
        frame = outdoor(*window)
        return frame.assign(temperature_c=frame["temperature_c"] + warmer_k)

    monkeypatch.setattr(inputs, "weather", warmer)
    with open_context(settings=settings, as_of=now, clock=SimulatedClock(now)) as ctx:
        furnish(ctx, now, days=35, quarters=quarters)
        ctx = hourly(ctx)
        made, result = planned(ctx)
        critical = made.plan.problem.critical
        runs = made.plan.stages
        for s, stage in enumerate(ctx.settings.plant.stages):
            hot = made.plan.problem.index[critical[s]]
            for row in runs[runs["stage"] == stage.name].itertuples():
                assert not ((hot >= row.start) & (hot < row.end)).any()
        assert says in "\n".join(result.notes)
        late = made.plan.stated_eur("late")
        assert (late > 0) == (result.status == "warn")
        assert (runs["end"] - runs["start"]).dt.total_seconds().min() >= 3600
        assert made.plan.kg.sum() > 0 or late > 0
