"""Tomorrow's plan from a store of simulated values: what is known, what is carried over, what is said and written."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.monitoring import alerts, plan_alerts
from factory_lib.planning import daily, inputs
from factory_lib.settings.tariff import TariffSettings, Tolls
from tests.support.week import EVENING, NOON, THURSDAY


def at(ctx: RunContext, instant: datetime) -> RunContext:
    return replace(ctx, as_of=instant)


def test_tomorrow_is_planned_and_no_simple_schedule_of_the_same_kilograms_is_cheaper(works):
    outcome = daily.plan_today(works)
    assert (outcome.level, outcome.day, outcome.plan.status) == ("ok", THURSDAY, "solved")
    assert outcome.figures["kg"] == pytest.approx(900 * 200 / 1050, abs=0.1), (
        "Saturday keeps its smallest batch"
    )
    assert outcome.figures["cost_eur"] <= outcome.figures["baseline_cost_eur"]
    made = outcome.costs.set_index("schedule")
    assert len(made) > 1
    assert made["made_kg"].to_numpy() == pytest.approx(made.loc["plan", "made_kg"])
    objective = made["paid_eur"] + made["wishes_eur"]
    assert objective["plan"] <= objective.min() + 1e-6
    assert any("energy only" in note for note in outcome.notes)


def test_what_is_not_published_is_the_same_local_hour_a_week_earlier(works):
    begin, end = NOON + timedelta(hours=2), datetime(2025, 11, 20, 23, tzinfo=UTC)
    frame = inputs.prices(works, begin, end)
    unpublished = frame[frame["known"] == inputs.WEEK_EARLIER]
    assert list(frame.loc[begin:, "known"].unique()) == [inputs.PUBLISHED, inputs.WEEK_EARLIER]
    assert len(unpublished) == 96
    earlier = frame["p50"].reindex(unpublished.index - timedelta(days=7)).to_numpy()
    np.testing.assert_allclose(unpublished["p50"], earlier)
    later = inputs.prices(at(works, EVENING), begin, end)
    assert set(later["known"]) == {inputs.PUBLISHED}


def test_a_stored_forecast_comes_before_the_week_earlier_and_the_last_issue_before_the_first(works):
    hours = pd.date_range("2025-11-19T23:00Z", periods=24, freq="h", unit="s")
    for issued, price in ((NOON - timedelta(hours=3), 70.0), (NOON - timedelta(hours=1), 50.0)):
        rows = {
            "series": "spot_eur_mwh",
            "place": "ES",
            "model": "ours",
            "issued_at": pd.Timestamp(issued).as_unit("s"),
            "target_start": hours,
            "resolution_s": 3600,
            "p10": price - 5,
            "p50": price,
            "p90": price + 5,
            "tier": "1",
        }
        works.store.write_forecasts(pd.DataFrame(rows), run_id="test")
    outcome = daily.plan_today(works)
    tomorrow = outcome.prices.loc[hours[0] :]
    assert set(tomorrow["known"]) == {inputs.FORECAST}
    assert set(tomorrow["p90"]) == {55.0}
    before = inputs.prices(at(works, NOON - timedelta(hours=4)), hours[0], hours[-1])
    assert inputs.FORECAST not in set(before["known"]), "nothing issued later is read"


def test_the_air_ahead_is_forecast_else_that_of_the_last_day_observed(works):
    begin, end = datetime(2025, 11, 20, 6, tzinfo=UTC), datetime(2025, 11, 20, 12, tzinfo=UTC)
    hours = pd.date_range(begin, end, freq="h", inclusive="left", unit="s")
    air = inputs.weather(works, begin, end)
    assert set(air["known"]) == {inputs.DAY_EARLIER}
    day = timedelta(days=1)
    seen = works.store.read("temperature_c", places=["5279X"], start=begin - day, end=end - day)
    np.testing.assert_allclose(air["temperature_c"][:3], seen["value"][:3])
    for name, value in (("temperature_c", 31.0), ("humidity_pct", 20.0)):
        rows = {
            "series": name,
            "place": "38.151,-3.629",
            "model": "open_meteo",
            "tier": "",
            "resolution_s": 3600,
            "issued_at": pd.Timestamp(works.as_of).as_unit("s"),
            "target_start": hours,
            "p10": np.nan,
            "p50": value,
            "p90": np.nan,
        }
        works.store.write_forecasts(pd.DataFrame(rows), run_id="test")
    air = inputs.weather(works, begin, end)
    assert set(air["known"]) == {inputs.FORECAST}
    assert set(air["temperature_c"]) == {31.0}


def test_tolls_are_counted_where_they_are_set(works):
    tolls = Tolls(
        since=THURSDAY - timedelta(days=1), eur_mwh={f"P{n}": 10.0 * (7 - n) for n in range(1, 7)}
    )
    tariff = TariffSettings(tolls=(tolls,))
    outcome = daily.plan_today(
        replace(works, settings=structs.replace(works.settings, tariff=tariff))
    )
    made = outcome.costs.set_index("schedule").loc["plan"]
    assert made["tolls_eur"] > 0
    assert made["paid_eur"] == pytest.approx(
        made["energy_eur"] + made["tolls_eur"] + made["excess_eur"]
    )


def test_tolls_that_end_within_the_window_are_unknown_and_not_zero(works):
    tolls = Tolls(
        since=THURSDAY,
        until=THURSDAY + timedelta(days=1),
        eur_mwh={f"P{n}": 9.0 for n in range(1, 7)},
    )
    ended = replace(
        works, settings=structs.replace(works.settings, tariff=TariffSettings(tolls=(tolls,)))
    )
    begin = NOON + timedelta(days=1)
    assert "toll_eur_mwh" in inputs.prices(ended, begin, begin + timedelta(hours=6))
    assert "toll_eur_mwh" not in inputs.prices(ended, begin, begin + timedelta(hours=18))


def test_the_files_say_what_the_outcome_says(works):
    outcome = daily.plan_today(works)
    assert outcome.folder == works.settings.paths.data / "plans" / "2025-11-20"
    written = json.loads((outcome.folder / "plan.json").read_text(encoding="utf-8"))
    assert written["costs_eur"]["paid"] == pytest.approx(outcome.figures["cost_eur"], abs=0.005)
    assert written["made_at"] == "2025-11-19T11:00:00Z"
    assert (outcome.folder / "plan.csv").read_text(encoding="utf-8").count("\n") == 1 + len(
        outcome.schedule
    )
    assert (outcome.folder / "plan.ics").read_text(encoding="utf-8").count("BEGIN:VEVENT") == len(
        outcome.schedule
    )


@pytest.mark.parametrize(("language", "words"), [("es", "Lote 1"), ("en", "Batch 1")])
def test_the_brief_speaks_the_language_asked_for(works, language, words):
    assert words in daily.plan_today(works, language=language).brief


def test_planning_again_takes_the_plan_as_carried_out_and_makes_nothing_twice(works):
    first = daily.plan_today(at(works, EVENING))
    begun = first.schedule["start"].min().to_pydatetime() + timedelta(minutes=20)
    again = daily.plan_today(at(works, begun), first=THURSDAY)
    assert again.schedule["begun"].any()
    assert again.figures["kg"] == first.figures["kg"]
    assert again.schedule.loc[0, "start"] == first.schedule.loc[0, "start"]
    after = at(works, first.schedule["end"].max().to_pydatetime())
    done = daily.plan_today(at(works, after.as_of + timedelta(minutes=15)), first=THURSDAY)
    assert done.verdict.startswith("Nothing to produce")
    friday = daily.plan_today(after, first=date(2025, 11, 21))
    assert not friday.schedule["begun"].any()
    assert friday.figures["batches"] == 1, "what is finished is not owed"


def test_planning_the_same_day_many_times_makes_its_kilograms_once(works):
    first = daily.plan_today(at(works, EVENING))
    made = float(first.figures["kg"])
    now, seen = first.schedule["start"].min().to_pydatetime(), set()
    while now < first.schedule["end"].max().to_pydatetime() + timedelta(hours=2):
        now += timedelta(hours=1)
        again = daily.plan_today(at(works, now), first=THURSDAY)
        assert again.level == "ok"
        seen.add(round(float(again.figures.get("kg", 0.0)), 1))
    assert seen == {made, 0.0}
    friday = daily.plan_today(at(works, now), first=date(2025, 11, 21))
    assert friday.figures["batches"] == 1


def test_an_impossible_plan_forgets_nothing_that_is_on_the_machines(works):
    first = daily.plan_today(at(works, EVENING))
    begun = first.schedule["start"].min().to_pydatetime() + timedelta(minutes=20)
    broken = daily.plan_today(
        at(works, begun), first=THURSDAY, wishes=["out conche 2025-11-20T23:45"]
    )
    assert broken.plan.status == "infeasible"
    mended = daily.plan_today(
        at(works, begun + timedelta(minutes=15)), first=THURSDAY, wishes=["none"]
    )
    assert mended.plan.status == "solved"
    assert mended.schedule["begun"].any()
    assert mended.figures["kg"] == first.figures["kg"]


def test_an_order_that_was_finished_is_not_made_again(works):
    order = "order standard 200 2025-11-20T23:00"
    first = daily.plan_today(at(works, EVENING), wishes=[order])
    assert first.figures["batches"] == 2
    ends = first.schedule.groupby("batch")["end"].max().sort_values()
    between = ends.iloc[0].to_pydatetime() + timedelta(minutes=15)
    again = daily.plan_today(at(works, between), first=THURSDAY)
    assert again.level == "ok"
    assert again.figures["batches"] == 1
    made = first.schedule.drop_duplicates("batch").set_index("batch")["kg"]
    assert again.figures["kg"] == pytest.approx(made[ends.index[1]], abs=0.1)
    after = ends.iloc[1].to_pydatetime() + timedelta(minutes=15)
    for later in (after, after + timedelta(minutes=30)):
        assert daily.plan_today(at(works, later), first=THURSDAY).verdict.startswith(
            "Nothing to produce"
        )


def test_a_replay_knows_no_plan_made_later(works):
    later = daily.plan_today(at(works, EVENING))
    replayed = daily.plan_today(at(works, NOON), first=THURSDAY)
    assert not replayed.schedule["begun"].any()
    assert not any("carried out" in note for note in [*later.notes, *replayed.notes])


def test_the_shift_leaders_hand_stays_until_it_is_taken_away(works):
    pinned = daily.plan_today(works, wishes=["pin standard mixing 2025-11-20T08:15"])
    assert pinned.schedule["start"].min() == pd.Timestamp("2025-11-20T07:15Z")
    assert daily.plan_today(works).schedule["start"].min() == pinned.schedule["start"].min()
    free = daily.plan_today(works, wishes=["none"])
    assert free.figures["cost_eur"] < pinned.figures["cost_eur"]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ("pin standard 08:15", "not understood"),
        ("out conche soon", "not understood"),
        ("out kettle 2025-11-20T12:00", "no machine 'kettle'"),
    ],
)
def test_a_wish_that_cannot_be_read_is_refused_and_not_kept(works, wish, says):
    with pytest.raises(BadInput, match=says):
        daily.plan_today(works, wishes=[wish])
    assert daily.plan_today(works).level == "ok"


def test_no_plan_is_an_answer_with_its_obstacle_and_an_alert(works):
    outcome = daily.plan_today(works, wishes=["out conche 2025-11-20T22:00"])
    assert outcome.level == "warn"
    assert "No plan is possible" in outcome.verdict
    assert "machine-hours (conche" in outcome.verdict
    assert "NO HAY PLAN POSIBLE" in outcome.brief
    assert outcome.schedule.empty
    assert (
        json.loads((outcome.folder / "plan.json").read_text(encoding="utf-8"))["status"]
        == "infeasible"
    )
    plan_alerts.raise_alerts(works, outcome)
    assert ("plan", "open") in {
        (row["topic"], row["status"]) for row in alerts.alert_rows(works.state)
    }
    plan_alerts.raise_alerts(works, daily.plan_today(works, wishes=["none"]))
    assert not [
        row
        for row in alerts.alert_rows(works.state)
        if (row["topic"], row["entity"]) == ("plan", "plan")
    ]


def test_a_sunday_has_nothing_to_make(works):
    outcome = daily.plan_today(works, first=date(2025, 11, 23))
    assert (outcome.level, outcome.verdict) == ("ok", "Nothing to produce for Sunday 23 November.")


@pytest.mark.parametrize(
    ("days", "first"), [(0, None), (8, None), (1, date(2025, 11, 18))], ids=["0", "8", "past"]
)
def test_a_window_that_cannot_be_planned_is_refused(works, days, first):
    with pytest.raises(BadInput, match="cannot be planned"):
        daily.plan_today(works, days, first)


def test_an_empty_store_has_no_price_to_go_by(ctx):
    with pytest.raises(BadInput, match="no price"):
        daily.plan_today(ctx)


FRIDAY = date(2025, 11, 21)
DAY_AFTER = datetime(2025, 11, 20, 13, tzinfo=UTC)  # when Friday is planned as a matter of course


def test_an_order_outlives_the_plan_of_the_next_day(works):
    first = daily.plan_today(
        at(works, EVENING), first=THURSDAY, wishes=["order standard 200 22:00"]
    )
    friday = daily.plan_today(at(works, DAY_AFTER), first=FRIDAY)
    ends = first.schedule.groupby("batch").agg(end=("end", "max"), kg=("kg", "first"))
    done = ends.loc[ends["end"] <= pd.Timestamp(DAY_AFTER), "kg"].sum()
    assert done + friday.figures["kg"] == pytest.approx(171.43 + 200 + 214.29, abs=0.2)


def test_an_outage_holds_for_every_plan_until_it_is_over_or_cleared(works):
    until = pd.Timestamp("2025-11-21T02:00Z")
    wish = "out temperer 2025-11-21T03:00"
    daily.plan_today(at(works, EVENING), first=THURSDAY, wishes=["out mixer 2025-11-20T06:15"])
    told = daily.plan_today(at(works, DAY_AFTER), first=FRIDAY, wishes=[wish])
    assert [outage.until for outage in told.plan.problem.request.outages] == [until]
    assert daily.plan_today(at(works, DAY_AFTER), first=date(2025, 11, 22)).level in ("ok", "warn")
    again = daily.plan_today(at(works, DAY_AFTER + timedelta(hours=1)), first=FRIDAY)
    assert [outage.until for outage in again.plan.problem.request.outages] == [until]
    mended = daily.plan_today(
        at(works, DAY_AFTER + timedelta(hours=1)), first=FRIDAY, wishes=["none"]
    )
    assert not mended.plan.problem.request.outages


def test_a_missed_daily_run_loses_no_kilograms(works):
    late = daily.plan_today(
        at(works, EVENING), first=THURSDAY, wishes=["out mixer 2025-11-20T23:45"]
    )
    assert late.plan.status == "infeasible"
    saturday = daily.plan_today(
        at(works, datetime(2025, 11, 21, 13, tzinfo=UTC)), first=date(2025, 11, 22)
    )
    owed = kept_kg(saturday)
    assert owed == pytest.approx(171.43 + 214.29 + 100, abs=0.1), (
        "Thursday's, Friday's that nobody planned, Saturday's"
    )
    assert saturday.plan.status == "solved"
    assert "386 kg of days before do not fit and stay owed" in saturday.verdict
    monday = daily.plan_today(
        at(works, datetime(2025, 11, 23, 13, tzinfo=UTC)), first=date(2025, 11, 24)
    )
    assert kept_kg(monday) == pytest.approx(171.43 + 214.29 + 171.43, abs=0.1)


def kept_kg(outcome: daily.PlanOutcome) -> float:
    """Return what is owed by the files of a plan."""
    document = json.loads((outcome.folder / "plan.json").read_text(encoding="utf-8"))
    return sum(sum(kg.values()) for kg in document["owed_kg"].values())


def test_planning_today_again_plans_tomorrow_again_with_it(works):
    daily.plan_today(at(works, EVENING), first=THURSDAY)
    daily.plan_today(at(works, DAY_AFTER), first=FRIDAY)
    again = daily.plan_today(
        at(works, DAY_AFTER + timedelta(hours=1)),
        first=THURSDAY,
        wishes=["order standard 200 2025-11-21T12:00"],
    )
    assert "Thursday 20 November and 1 day more" in again.verdict
    today, tomorrow = (
        json.loads((again.folder.parent / str(day) / "plan.json").read_text(encoding="utf-8"))
        for day in (THURSDAY, FRIDAY)
    )
    assert today["batches"] == tomorrow["batches"]
    assert sum(batch["kg"] for batch in today["batches"]) == pytest.approx(414.29, abs=0.1)
    friday = daily.plan_today(at(works, DAY_AFTER + timedelta(hours=1, minutes=20)), first=FRIDAY)
    pd.testing.assert_series_equal(friday.schedule["start"], again.schedule["start"])


def test_today_has_a_plan_of_its_own_where_tomorrow_turns_out_to_be_impossible(works):
    morning = at(works, datetime(2025, 11, 20, 5, tzinfo=UTC))
    daily.plan_today(at(works, EVENING), first=THURSDAY)
    daily.plan_today(morning, first=FRIDAY)
    again = daily.plan_today(
        at(works, morning.as_of + timedelta(hours=1)),
        first=THURSDAY,
        wishes=["out mixer 2025-11-22T00:00"],
    )
    assert again.level == "warn"
    assert again.verdict.endswith("The plan of Friday 21 November no longer fits: plan it again.")


def test_an_impossible_wish_leaves_the_last_plan_in_its_files(works):
    good = daily.plan_today(at(works, EVENING), first=THURSDAY)
    names = ("plan.json", "plan.csv", "plan.ics")
    before = [(good.folder / name).read_bytes() for name in names]
    later = at(works, EVENING + timedelta(minutes=10))
    bad = daily.plan_today(later, first=THURSDAY, wishes=["order standard 20000 22:00"])
    assert bad.verdict.endswith("The plan made at 19 November 16:30 stands.")
    assert [(good.folder / name).read_bytes() for name in names] == before
    assert [file.rsplit("/", 1)[1] for file in bad.files] == ["no_plan.json"]
    mended = daily.plan_today(
        at(works, later.as_of + timedelta(minutes=10)), first=THURSDAY, wishes=["none"]
    )
    assert mended.figures["kg"] == good.figures["kg"]
    assert not (good.folder / "no_plan.json").exists()


def test_a_plan_that_stands_is_carried_out_and_its_batches_are_owed_no_more(works):
    good = daily.plan_today(at(works, EVENING), first=THURSDAY)
    daily.plan_today(
        at(works, EVENING + timedelta(minutes=10)),
        first=THURSDAY,
        wishes=["order standard 20000 22:00"],
    )
    friday = daily.plan_today(at(works, DAY_AFTER), first=FRIDAY, wishes=["none"])
    assert good.schedule["end"].max() < DAY_AFTER
    assert friday.figures["kg"] == pytest.approx(214.29, abs=0.1)


def test_a_batch_is_not_finished_by_a_machine_that_is_out_of_order(works):
    good = daily.plan_today(at(works, EVENING), first=THURSDAY)
    begun = good.schedule["start"].min().to_pydatetime()
    broken = daily.plan_today(
        at(works, begun + timedelta(hours=1)),
        first=THURSDAY,
        wishes=["out conche 2025-11-20T22:00"],
    )
    assert broken.verdict.endswith("stays in its files, but needs a machine that is out of order.")
    friday = daily.plan_today(at(works, datetime(2025, 11, 20, 21, 15, tzinfo=UTC)), first=FRIDAY)
    assert kept_kg(friday) == pytest.approx(171.43 + 214.29, abs=0.1)


def test_what_a_finished_batch_lacks_of_an_order_stays_firm(works):
    first = daily.plan_today(
        at(works, EVENING), first=THURSDAY, wishes=["order standard 200 22:00"]
    )
    ends = (
        first.schedule.groupby("batch")
        .agg(end=("end", "max"), kg=("kg", "first"))
        .sort_values("end")
    )
    between = ends["end"].iloc[0].to_pydatetime() + timedelta(minutes=15)
    again = daily.plan_today(at(works, between), first=THURSDAY)
    (order,) = again.plan.problem.request.orders
    assert order.kg == pytest.approx(200 - ends["kg"].iloc[0])
