"""Tomorrow's plan as the store stands: what is known and expected, solved, compared, explained and written to files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from factory_lib.clock import MADRID, day_start, epoch, from_epoch, local_instant, market_day
from factory_lib.errors import BadInput
from factory_lib.house import House
from factory_lib.ops import alerts, outlook
from factory_lib.ops.records import write_atomically
from factory_lib.plan import demand, export
from factory_lib.plan.brief import Language, brief
from factory_lib.plan.problem import Order, Outage, Pin, Request, Running, for_days
from factory_lib.plan.replan import settle
from factory_lib.plan.schedule import Costs, costs
from factory_lib.plan.solve import Plan, solve
from factory_lib.plan.value import WORTH_SAYING_EUR, by_start_hour
from factory_lib.plan.watch import Watch, watch

REFERENCE = ("shift begin", "fixed start", "greedy")  # doing it simply: the first of these that fits
HAND = "hand.json"
GRAMMAR = "'pin VARIANT STAGE WHEN', 'out MACHINE UNTIL' or 'order VARIANT KG DUE', local times"


@dataclass(frozen=True, eq=False)
class PlanOutcome:
    """A plan as its page, its files and its run record tell it; ``warn`` where there is none, or its gap is open.

    Attributes
    ----------
    schedule : DataFrame
        One row for each stage of each batch; instants in UTC, shown local.
    power : DataFrame
        UTC index; production, auxiliary, total and excess kilowatts.
    prices : DataFrame
        UTC index over the window: ``p10``, ``p50``, ``p90`` (EUR/MWh), ``period``, ``known``.
    costs : DataFrame
        The plan and the simple schedules of the same kilograms, cheapest first.
    starts : DataFrame
        What one batch alone costs at least by the local hour it begins in.
    watched : DataFrame
        Hours to watch, and what the plan did about them.
    brief : str
        The shift brief.
    """

    plan: Plan
    day: date
    schedule: pd.DataFrame
    power: pd.DataFrame
    prices: pd.DataFrame
    costs: pd.DataFrame
    starts: pd.DataFrame
    watched: pd.DataFrame
    brief: str
    notes: tuple[str, ...]
    figures: dict[str, int | float | str]
    verdict: str
    level: str
    folder: Path


def plan_today(
    house: House,
    days: int = 1,
    first: date | None = None,
    *,
    hand: Sequence[str] = (),
    language: Language = "es",
) -> PlanOutcome:
    """Plan ``days`` local days from ``first`` (default: tomorrow) as of ``house.as_of``.

    Parameters
    ----------
    hand : sequence of str
        The shift leader's wishes (``GRAMMAR``). They stay until others are given; ``"none"`` takes them away.

    Raises
    ------
    BadInput
        If a wish is not understood, the day is over, or there is no price to go by.
    """
    plant, slot_s = house.settings.plant, house.settings.plant.slot_min * 60
    first = first or market_day(house.as_of) + timedelta(days=1)
    soonest = from_epoch(-(-epoch(house.as_of) // slot_s) * slot_s)
    begin = max(demand.begin(plant, first, early=True), soonest)
    end = day_start(first + timedelta(days=days))
    if begin >= end or not 1 <= days <= 7:
        raise BadInput(f"{days} day(s) from {first} cannot be planned at {house.as_of:%Y-%m-%d %H:%MZ}.")
    folder = house.settings.paths.data / "plans" / str(first)
    wishes = _wishes(folder, hand)
    prices, weather = outlook.prices(house, begin, end), outlook.weather(house, begin, end)
    if (missing := int(prices.loc[begin:, "p50"].isna().sum())) > 0:
        raise BadInput(f"{missing} quarters of the window have no price.", next_step="Run `factory run ingest` first.")
    asked = _read(wishes)
    asked["pins"] = tuple(pin for pin in asked["pins"] if pin.start >= begin)  # what has begun is a fact
    request = for_days(plant, prices, weather, first, days, begin=begin, **asked)
    earlier = _earlier(house, first, begin)
    request = _left_over(request, earlier, first) if earlier else request
    plan = solve(request, time_limit_s=8.0 if days == 1 else 60.0)
    outcome = _told(plan, first, language, folder, _notes(plan, weather, earlier, wishes))
    _write(outcome, house.as_of, wishes)
    return outcome


def _wishes(folder: Path, hand: Sequence[str]) -> list[str]:
    kept = folder / HAND
    if hand:
        return [wish for wish in hand if wish != "none"]
    return list(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else []


def _read(wishes: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a request that the wishes stand for."""
    fields: dict[str, tuple[Any, ...]] = {"pins": (), "outages": (), "orders": ()}
    for wish in wishes:
        try:
            match wish.split(maxsplit=3):
                case ["pin", variant, stage, at]:
                    fields["pins"] += (Pin(variant, stage, _local(at)),)
                case ["out", machine, *until]:
                    fields["outages"] += (Outage(machine, _local(" ".join(until))),)
                case ["order", variant, kg, due]:
                    fields["orders"] += (Order(variant, float(kg), _local(due)),)
                case _:
                    raise ValueError("not a wish")
        except ValueError:
            raise BadInput(f"{wish!r} is not understood.", next_step=f"Say {GRAMMAR}.") from None
    return fields


def _local(text: str) -> datetime:
    """Return an instant as the shift leader says it: local, unless it carries an offset."""
    said = datetime.fromisoformat(text)
    return local_instant(said.date(), said.time()) if said.tzinfo is None else said.astimezone(UTC)


def _earlier(house: House, first: date, begin: datetime) -> dict[str, Any] | None:
    """Return the plan carried out at ``begin``: this day's own once it has begun, else the day before's."""
    for day in (first, first - timedelta(days=1)):
        file = house.settings.paths.data / "plans" / str(day) / "plan.json"
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            begun = any(_instant(batch["stages"][0]["start"]) < begin for batch in found["batches"])
            if _instant(found["made_at"]) <= house.as_of and (begun or day < first):
                return found
    return None


def _left_over(request: Request, earlier: Mapping[str, Any], first: date) -> Request:
    """Add what an earlier plan, taken as carried out until the window's begin, has running and still owes."""
    begin, today = request.begin, market_day(request.begin)
    owed: dict[date, dict[str, float]] = {}
    before = {day: kg for text, kg in earlier["kilograms"].items() if (day := date.fromisoformat(text)) < first}
    for day, by_variant in [*before.items(), *request.kilograms.items()]:
        for variant, kg in by_variant.items():  # what is late is wanted at once
            wanted = owed.setdefault(max(day, today), {})
            wanted[variant] = wanted.get(variant, 0.0) + kg
    running = []
    for batch in earlier["batches"]:
        starts = {stage["stage"]: at for stage in batch["stages"] if (at := _instant(stage["start"])) < begin}
        if _instant(batch["stages"][-1]["end"]) <= begin:
            settle(owed, batch["variant"], batch["kg"])
        elif starts:
            running.append(Running(batch["variant"], batch["kg"], starts))
    owed = {day: {name: kg for name, kg in wanted.items() if kg > 1e-6} for day, wanted in owed.items()}
    return replace(request, kilograms=owed, running=tuple(running))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _told(plan: Plan, first: date, language: Language, folder: Path, notes: list[str]) -> PlanOutcome:
    watched = watch(plan) if plan.schedule else ()
    table, figures = _compared(plan), _figures(plan)
    if "saving_eur_year" in figures and float(figures["saving_eur_year"]) < WORTH_SAYING_EUR:
        notes.insert(
            0,
            f"At this window's rate planning saves {figures['saving_eur_year']:,.0f} EUR a year against "
            f"“{figures['baseline']}”: less than {WORTH_SAYING_EUR:,.0f}.",
        )
    return PlanOutcome(
        plan=plan,
        day=first,
        schedule=plan.table(),
        power=plan.power(),
        prices=plan.problem.request.prices.loc[plan.problem.request.begin :],
        costs=table,
        starts=_by_local_hour(plan),
        watched=_as_rows(watched),
        brief=brief(plan, watched, language=language),
        notes=tuple(notes),
        figures=figures,
        verdict=_verdict(plan, first, figures),
        level="ok" if plan.status == "solved" else "warn",
        folder=folder,
    )


def _compared(plan: Plan) -> pd.DataFrame:
    """Return what the plan and the simple schedules cost, on the same account."""
    made = {"plan": plan.schedule, **plan.baselines} if plan.schedule else {}
    rows = []
    for name, schedule in made.items():
        cost: Costs = costs(plan.problem, schedule)
        kg = sum(batch.kg for batch in schedule)
        rows.append(
            {
                "schedule": name, "made_kg": kg, "paid_eur": cost.paid, "energy_eur": cost.energy,
                "tolls_eur": cost.tolls, "excess_eur": cost.excess, "wishes_eur": cost.objective - cost.paid,
                "per_kg_eur": cost.paid / kg,
            }
        )  # fmt: skip
    columns = ["schedule", "made_kg", "paid_eur"]
    return pd.DataFrame(rows, columns=None if rows else columns).sort_values("paid_eur", kind="stable")


def _figures(plan: Plan) -> dict[str, int | float | str]:
    figures: dict[str, int | float | str] = {"status": plan.status, "solve_s": round(plan.seconds, 2)}
    if not plan.schedule:
        return figures
    kg, paid = sum(batch.kg for batch in plan.schedule), plan.costs.paid
    figures |= {"batches": len(plan.schedule), "kg": round(kg, 1), "cost_eur": round(paid, 2), "gap": plan.gap}
    if name := next((name for name in REFERENCE if name in plan.baselines), None):
        simply = costs(plan.problem, plan.baselines[name]).paid
        yearly_kg = 52 * sum(plan.problem.plant.demand.weekly_kg.values())
        figures |= {
            "baseline": name,
            "baseline_cost_eur": round(simply, 2),
            "saving_eur": round(simply - paid, 2),
            "saving_eur_year": round((simply - paid) / kg * yearly_kg),
        }
    return figures


def _verdict(plan: Plan, first: date, figures: Mapping[str, Any]) -> str:
    day = f"{first:%A %-d %B}"
    if plan.status == "infeasible":
        ways = "; ".join(map(str, plan.obstacles)) or "no single change that was tried would help"
        return f"No plan is possible for {day}. In the way, smallest change first: {ways}."
    if not plan.schedule:
        return f"Nothing to produce for {day}." if plan.status == "solved" else f"No plan for {day} was found in time."
    begin = plan.table()["start"].min().tz_convert(MADRID)
    told = f"{day}: {figures['kg']:,.0f} kg for {figures['cost_eur']:.2f} EUR, first start {begin:%A %H:%M}"
    if "baseline" in figures:
        told += f"; {figures['saving_eur']:.2f} EUR less than “{figures['baseline']}”"
    return told + ("." if plan.status == "solved" else f"; time ran out with {plan.gap:.1%} unproven.")


def _notes(plan: Plan, weather: pd.DataFrame, earlier: Mapping[str, Any] | None, wishes: Sequence[str]) -> list[str]:
    request = plan.problem.request
    tolls = "tolls included" if "toll_eur_mwh" in request.prices else "energy only, tolls are not set"
    known = request.prices.loc[request.begin :, "known"].value_counts()
    air = weather["known"].replace("", "unknown").value_counts()
    notes = [
        "Prices of the window: " + ", ".join(f"{count} quarters {how}" for how, count in known.items()) + ".",
        "Outdoor air: " + ", ".join(f"{count} hours {how}" for how, count in air.items()) + ".",
        f"Price basis and account: {tolls}; loads that always run, capacity terms and taxes are the same for every "
        "schedule and not counted. Power above the contract is charged linearly; the legal rule is quadratic.",
    ]
    if earlier:
        notes.append(
            f"The plan made at {_instant(earlier['made_at']).astimezone(MADRID):%d %b %H:%M} is taken as carried out: "
            f"{len(request.running)} batch(es) running as the window begins; money is counted from then on."
        )
    return notes + [f"By the shift leader's hand: {wish}." for wish in wishes]


def _by_local_hour(plan: Plan) -> pd.DataFrame:
    """Return the least cost of a batch by the local hour it begins in, EUR and EUR per kg of the largest batch."""
    found = by_start_hour(plan.problem.request)
    hour = pd.DatetimeIndex(found["start"]).floor("h") if len(found) else found["start"]
    least = found.assign(start=hour).groupby(["variant", "start"], as_index=False).min()
    return least.rename(columns={"cost_eur": "one_batch_eur", "cost_eur_kg": "per_kg_eur"})


def _as_rows(watched: Sequence[Watch]) -> pd.DataFrame:
    rows = [
        {
            "watch": item.kind, "stage": item.stage, "start": begin, "end": end,
            "the_plan": ("moved the stage" if item.moved else "would not run it then anyway") if item.kind == "heat"
            else f"uses {item.running_kwh:.0f} kWh in such hours",
        }
        for item in watched
        for begin, end in item.spans
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["watch", "stage", "start", "end", "the_plan"])


def _write(outcome: PlanOutcome, as_of: datetime, wishes: list[str]) -> None:
    outcome.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(outcome.folder / HAND, json.dumps(wishes))
    write_atomically(outcome.folder / "plan.json", export.to_json(outcome.plan, made_at=as_of))
    write_atomically(outcome.folder / "plan.csv", export.to_csv(outcome.plan))
    write_atomically(outcome.folder / "plan.ics", export.to_ics(outcome.plan, made_at=as_of))


def raise_alerts(house: House, outcome: PlanOutcome) -> None:
    """Tell of a plan of now: that there is none, which stages the room moved, and hours of very high price."""
    if house.clock.now() - house.as_of > alerts.REPLAY:
        return
    found = []
    if outcome.plan.status != "solved":
        found.append(("plan", outcome.verdict))
    for (kind, stage), rows in outcome.watched.groupby(["watch", "stage"]):
        if kind == "spike" or (rows["the_plan"] == "moved the stage").any():
            begin, end = (rows[name].iloc[at].tz_convert(MADRID) for name, at in (("start", 0), ("end", -1)))
            said = f"{begin:%A %H:%M} to {end:%A %H:%M}: {kind} {stage}; the plan {rows['the_plan'].iloc[0]}."
            found.append((f"{kind} {stage}".strip(), said))
    events = [alerts.Event(alerts.Topic.PLAN, name, alerts.Severity.WARNING, said) for name, said in found]
    alerts.settle(house.state, alerts.Topic.PLAN, events, house.clock.now())
