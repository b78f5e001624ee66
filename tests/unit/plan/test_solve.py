"""Plans of the default plant: feasible every weekday, never worse than doing it simply, honest about what is proven."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.errors import BadInput
from factory_lib.plan.export import to_json
from factory_lib.plan.replan import from_now
from factory_lib.plan.request import Order, Outage, Pin, Running, for_days
from factory_lib.plan.solve import solve
from factory_lib.plan.value import Strategy, backtest, by_start_hour, optimal, shares, simple
from factory_lib.settings.plant import Demand, Power, Shift, Stage, Variant

TUESDAY = date(2024, 3, 5)


@pytest.mark.parametrize("offset", range(7), ids=["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
@pytest.mark.parametrize("variant", ["standard", "premium"])
def test_every_weekday_is_feasible(ask, plant, offset, variant):
    demand = structs.replace(
        plant.demand,
        weekly_kg={variant: 1000.0},
        preferred_kg={variant: plant.demand.preferred_kg["standard"]},
    )
    day = date(2024, 3, 4) + timedelta(days=offset)
    plan = solve(ask(day, of=structs.replace(plant, demand=demand)))
    assert plan.status == "solved"
    owed = sum(plan.problem.request.kilograms[day].values())
    assert sum(batch.kg for batch in plan.schedule) == pytest.approx(max(owed, 100.0 * (owed > 0)))


def test_a_week_makes_its_kilograms_within_the_gap(ask):
    plan = solve(ask(date(2024, 3, 4), 7), gap=0.01)
    assert plan.status == "solved"
    assert plan.gap <= 0.01
    assert sum(batch.kg for batch in plan.schedule) == pytest.approx(1000)


def test_no_baseline_is_cheaper_and_each_makes_the_same(ask):
    plan = solve(ask())
    assert set(plan.baselines) == {"shift begin", "fixed start", "greedy"}
    for name, laid in plan.baselines.items():
        assert sum(batch.kg for batch in laid) == pytest.approx(
            sum(batch.kg for batch in plan.schedule)
        ), name


def test_a_time_out_returns_the_best_plan_with_the_gap_it_can_prove(ask, plant):
    tight = structs.replace(
        plant,
        power=structs.replace(plant.power, contracted_kw=60.0),
        demand=structs.replace(plant.demand, weekly_kg={"standard": 1200.0}),
    )
    plan = solve(ask(date(2024, 3, 4), 7, of=tight), gap=1e-6, time_limit_s=0.05)
    assert plan.status == "time_out"
    assert plan.schedule
    assert plan.bound_eur > 0
    assert plan.gap > 1e-6


def test_a_pin_is_kept_although_it_costs(ask):
    free = solve(ask())
    at = datetime(2024, 3, 5, 7, 15, tzinfo=UTC)
    pinned = solve(ask(pins=(Pin("standard", "mixing", at),)))
    table = pinned.table()
    assert table.loc[table["stage"] == "mixing", "start"].iloc[0] == at
    assert pinned.costs.objective >= free.costs.objective - 1e-9


@pytest.mark.parametrize("days", [1, 2], ids=["its only batch", "beside a fresh one"])
def test_a_pin_on_a_later_stage_outlives_the_beginning_of_its_batch(ask, days):
    free = solve(ask(TUESDAY, days)).table()
    at = free.loc[free["stage"] == "tempering", "start"].iloc[0].to_pydatetime()
    plan = solve(ask(TUESDAY, days, pins=(Pin("standard", "tempering", at),)))
    batch = next(rows for rows in plan.by_batch() if at in list(rows["start"]))
    again = solve(from_now(plan, batch["end"].iloc[0].to_pydatetime()))
    kept = again.table().query("stage == 'tempering' and start == @at")
    assert len(kept) == 1
    assert again.table().query("batch == @kept.batch.iloc[0]")["begun"].iloc[0]


@pytest.mark.parametrize(("kg", "due_hour"), [(250.0, 14), (250.0, 20), (120.0, 12)], ids=str)
def test_a_firm_order_is_kept_in_kilograms(ask, kg, due_hour):
    order = Order("standard", kg, datetime(2024, 3, 5, due_hour, tzinfo=UTC))
    plan = solve(ask(orders=(order,)))
    done = plan.table().query("stage == 'moulding' and end <= @order.due")
    assert plan.status == "solved"
    assert done["kg"].sum() >= kg - 1e-6


def test_a_machine_out_of_order_is_not_used_until_it_is_back(ask):
    until = datetime(2024, 3, 5, 6, 7, tzinfo=UTC)
    table = solve(ask(outages=(Outage("mixer", until),))).table()
    assert (table.loc[table["stage"] == "mixing", "start"] >= until).all()


def test_what_is_running_is_finished_and_not_paid_twice(ask):
    begun = {
        "mixing": datetime(2024, 3, 5, 5, tzinfo=UTC),
        "refining": datetime(2024, 3, 5, 6, tzinfo=UTC),
    }
    now = datetime(2024, 3, 5, 8, tzinfo=UTC)
    plan = solve(
        ask(
            begin=now,
            running=(Running("standard", 150.0, begun),),
            kilograms={TUESDAY: {"standard": 150.0}},
        )
    )
    table = plan.table()
    assert table["begun"].tolist() == [True, True, False, False, False]
    assert table["kg"].unique().tolist() == [150.0]
    whole = solve(ask(kilograms={TUESDAY: {"standard": 150.0}}))
    assert plan.costs.paid < whole.costs.paid


def test_heat_of_a_running_stage_is_counted_from_now_on(ask, plant, mild):
    hot = mild.assign(temperature_c=35.9, humidity_pct=15.0)
    wary = structs.replace(
        plant, risk=structs.replace(plant.risk, heat_eur_k_h=5.0, heat_margin_k=8.0)
    )
    begun = {
        "mixing": datetime(2024, 3, 5, 5, tzinfo=UTC),
        "refining": datetime(2024, 3, 5, 6, tzinfo=UTC),
    }
    running = Running("standard", 200.0, begun | {"conching": datetime(2024, 3, 5, 10, tzinfo=UTC)})
    now = datetime(2024, 3, 5, 11, tzinfo=UTC)
    plan = solve(ask(of=wary, weather=hot, begin=now, running=(running,)))
    later = solve(ask(of=wary, weather=hot, begin=now + timedelta(hours=1), running=(running,)))
    assert plan.bound_eur <= plan.costs.objective + 1e-6
    assert plan.costs.heat - later.costs.heat == pytest.approx(
        5.0 * (8.0 - 28.0 + 35.9 - 14.0)
    )  # an hour of conching


def test_a_batch_is_not_held_where_holding_breaks_the_power_limit(plant, prices):
    days = ("mon", "tue", "wed", "thu", "fri")
    heavy = structs.replace(
        plant,
        stages=(
            Stage("cook", "pot", 60.0, 60, hold_h=10.0, hold_kw=50.0),
            Stage("pack", "line", 5.0, 60, attended="always", operators=1),
        ),
        machines={"pot": 2, "line": 1},
        variants={"plain": Variant(100.0, 100.0)},
        shifts=(Shift("late", days, time(16), time(22), 1),),
        demand=Demand({"plain": 1000.0}, {"plain": dict.fromkeys(days, 200.0)}, 0.05),
        power=Power(100.0, 0.0, 100.0),
        auxiliaries=(),
        slot_min=60,
    )
    hour = np.asarray(prices.index.hour)
    cheap = np.select([np.isin(hour, [8, 9]), np.isin(hour, range(10, 17))], [-50.0, 0.0], 60.0)
    plan = solve(for_days(heavy, prices.assign(p50=cheap), None, TUESDAY, 1, early=False))
    assert plan.baselines
    for name, schedule in {"plan": plan.schedule, **plan.baselines}.items():
        assert replace(plan, schedule=schedule).power()["total_kw"].max() <= 100.0, name
    assert plan.bound_eur <= plan.costs.objective + 1e-6


def test_planning_again_keeps_the_batch_and_forgets_what_is_finished(ask):
    plan = solve(ask(TUESDAY, 2))
    ends = [rows["end"].iloc[-1] for rows in plan.by_batch()]
    again = from_now(plan, (ends[0] + timedelta(minutes=5)).to_pydatetime())
    assert sum(sum(of.values()) for of in again.kilograms.values()) == pytest.approx(
        plan.schedule[1].kg
    )


def test_negative_prices_draw_the_load_to_them(ask, prices):
    hour = np.asarray(prices.index.hour)
    plan = solve(ask(prices=prices.assign(p50=np.where((hour >= 11) & (hour < 16), -50.0, 50.0))))
    conching = plan.table().query("stage == 'conching'").iloc[0]
    assert (conching["start"].hour, conching["end"].hour) == (11, 16)


def test_the_upper_band_steers_away_only_when_it_has_a_price(ask, plant, prices):
    hour = np.asarray(prices.index.hour)
    doubtful = (hour >= 11) & (hour < 16)
    banded = prices.assign(p50=np.where(doubtful, 20.0, 50.0), p90=np.where(doubtful, 220.0, 50.0))
    bold = solve(ask(prices=banded))
    wary = solve(
        ask(
            of=structs.replace(plant, risk=structs.replace(plant.risk, band_weight=1.0)),
            prices=banded,
        )
    )
    assert bold.costs.band == 0
    assert bold.costs.energy < wary.costs.energy
    assert (
        wary.costs.objective < bold.costs.energy + 0.2 * 200
    )  # it pays a little more to avoid a lot of doubt


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"begin": datetime(2024, 3, 5, 0, 7, tzinfo=UTC)}, "whole slots"),
        (
            {"pins": (Pin("standard", "melting", datetime(2024, 3, 5, 8, tzinfo=UTC)),)},
            "no stage 'melting'",
        ),
        ({"outages": (Outage("oven", datetime(2024, 3, 5, 8, tzinfo=UTC)),)}, "no machine 'oven'"),
        ({"kilograms": {date(2024, 4, 1): {"standard": 100.0}}}, "outside the window"),
        (
            {
                "running": (
                    Running("standard", 100.0, {"refining": datetime(2024, 3, 5, 1, tzinfo=UTC)}),
                )
            },
            "in order",
        ),
    ],
    ids=["off the grid", "unknown stage", "unknown machine", "another day", "a stage left out"],
)
def test_a_request_that_contradicts_itself_is_refused(ask, change, says):
    with pytest.raises(BadInput, match=says):
        solve(ask(**change))


def test_a_missing_price_is_refused(ask, prices):
    with pytest.raises(BadInput, match=r"4 of \d+ slots of the window have no price"):
        solve(ask(prices=prices.drop(pd.Timestamp("2024-03-05T10:00Z"))))


def test_an_unknown_toll_is_not_a_free_one(ask, prices):
    tolls = prices.assign(toll_eur_mwh=20.0)
    tolls.loc[: pd.Timestamp("2024-03-03T00:00Z"), "toll_eur_mwh"] = np.nan
    assert solve(ask(prices=tolls)).costs.tolls > 0  # the past may lack them
    tolls.loc["2024-03-05T06:00Z":"2024-03-05T07:00Z", "toll_eur_mwh"] = np.nan
    with pytest.raises(BadInput, match=r"8 of \d+ slots of the window have no toll"):
        solve(ask(prices=tolls))


def test_a_quarter_is_no_price_of_its_hour(ask, plant, prices):
    quarters = prices.resample("15min").ffill()
    hourly = structs.replace(plant, slot_min=60)
    assert solve(ask(of=hourly, prices=quarters)).status == "solved"
    quarters.loc[(quarters.index.minute != 0) & (quarters.index.hour == 9), "p50"] = np.nan
    with pytest.raises(BadInput, match=r"slots of the window have no price"):
        solve(ask(of=hourly, prices=quarters))


def test_a_plan_that_is_none_costs_nothing_known(ask, plant):
    limit = structs.replace(plant, power=Power(50.0, 0.1, limit_kw=58.0))
    written = json.loads(
        to_json(solve(ask(of=limit)), made_at=datetime(2024, 3, 4, 12, tzinfo=UTC))
    )
    assert written["status"] == "infeasible"
    assert set(written["costs_eur"].values()) == {None}


def test_costs_by_start_hour_reach_down_to_the_plan(ask):
    request = ask()
    table = by_start_hour(request)
    assert table["cost_eur"].min() == pytest.approx(solve(request, gap=0.0).costs.objective)


def test_a_rolling_backtest_makes_the_same_kilograms_whoever_plans(plant, prices):
    hourly = structs.replace(plant, slot_min=60)
    days = [date(2024, 3, 4) + timedelta(days=n) for n in range(7)]
    strategies = [
        Strategy("perfect", lambda day: prices, optimal(1e-4)),
        Strategy("blind", lambda day: prices.assign(p50=-prices["p50"]), optimal(1e-4)),
        Strategy("shift begin", lambda day: prices, simple("shift begin")),
    ]
    rows = pd.concat([backtest(hourly, prices, strategy, days) for strategy in strategies])
    assert rows.groupby("strategy")["kg"].sum().to_numpy() == pytest.approx(1000)
    assert (rows["excess_eur"] == 0).all()  # the default plant's contract holds one batch at a time
    small = structs.replace(hourly, power=structs.replace(plant.power, contracted_kw=50.0))
    (row,) = backtest(small, prices, strategies[2], days[1:2]).itertuples()
    assert 0 < row.excess_eur < row.paid_eur
    share = shares(rows, baseline="shift begin")
    assert share["perfect"] == 1.0
    assert share["shift begin"] == 0.0
    assert share["blind"] < 1.0
