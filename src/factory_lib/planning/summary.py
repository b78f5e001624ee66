"""What a plan's page tells: its verdict, its account beside simple schedules, its notes and what is to be watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.plan.diagnose import measured
from factory_lib.plan.schedule import costs
from factory_lib.plan.solve import Plan
from factory_lib.plan.value import REFERENCE, WORTH_SAYING_EUR, by_start_hour
from factory_lib.plan.watch import Watch

MOVED, NOT_THEN, REMOVED = (
    "moved the stage",
    "would not run it then anyway",
    "found no hour for the stage",
)
RUNS = "can move it no more: it has begun"
Figures = dict[str, int | float | str]


def compared(plan: Plan) -> pd.DataFrame:
    """Return what the plan and the simple schedules of the same kilograms cost, on the same account."""
    made = {"plan": plan.schedule, **plan.baselines} if plan.schedule else {}
    rows = []
    for name, schedule in made.items():
        cost = costs(plan.problem, schedule)
        kg = sum(batch.kg for batch in schedule)
        rows.append(
            {
                "schedule": name,
                "made_kg": kg,
                "paid_eur": cost.paid,
                "energy_eur": cost.energy,
                "tolls_eur": cost.tolls,
                "excess_eur": cost.excess,
                "wishes_eur": cost.objective - cost.paid,
                "per_kg_eur": cost.paid / kg,
            }
        )
    columns = ["schedule", "made_kg", "paid_eur"]
    return pd.DataFrame(rows, columns=None if rows else columns).sort_values(
        "paid_eur", kind="stable"
    )


def figures(plan: Plan) -> Figures:
    """Return the key figures; a saving only where there is a simple schedule to compare with."""
    found: Figures = {"status": plan.status, "solve_s": round(plan.seconds, 2)}
    if not plan.schedule:
        return found
    kg, paid = sum(batch.kg for batch in plan.schedule), plan.costs.paid
    found |= {"batches": len(plan.schedule), "kg": round(kg, 1), "cost_eur": round(paid, 2)}
    found |= {"gap": round(plan.gap, 6), "cost_eur_kg": round(paid / kg, 4)}
    simply = {
        name: costs(plan.problem, laid).paid
        for name in REFERENCE
        if (laid := plan.baselines.get(name))
    }
    for name, eur in list(simply.items())[:1]:
        found |= {
            "baseline": name,
            "baseline_cost_eur": round(eur, 2),
            "saving_eur": round(eur - paid, 2),
        }
        found |= {"saving_eur_year": _a_year(plan, eur)}
    return found


def _a_year(plan: Plan, simply_eur: float) -> int:
    """Return what planning saves in a year of the plant's demand at this window's rate per kilogram."""
    kg = sum(batch.kg for batch in plan.schedule)
    return round(
        (simply_eur - plan.costs.paid) / kg * 52 * sum(plan.problem.plant.demand.weekly_kg.values())
    )


def verdict(
    plan: Plan, first: date, days: int, found: Mapping[str, Any], to_blame: Sequence[str]
) -> str:
    """Return one sentence a planner can act on."""
    day = f"{first:%A %-d %B}" + (f" and {days - 1} day{'s' * (days > 2)} more" if days > 1 else "")
    if plan.status == "infeasible":
        ways = "; ".join(map(str, plan.obstacles)) or "no change that was tried would help"
        order = (
            "smallest change first" if all(one.alone for one in plan.obstacles) else "only together"
        )
        hand = (
            f" Without {' or '.join(map(repr, to_blame))} there would be a plan."
            if to_blame
            else ""
        )
        return f"No plan is possible for {day}. In the way, {order}: {ways}.{hand}"
    if not plan.schedule:
        return (
            f"Nothing to produce for {day}."
            if plan.status == "solved"
            else f"No plan for {day} was found in time."
        )
    begin = plan.table()["start"].min().tz_convert(MADRID)
    told = f"{day}: {found['kg']:,.0f} kg for {found['cost_eur']:.2f} EUR, first start {begin:%A %H:%M}"
    if "baseline" in found:
        saved = (
            f"{found['saving_eur']:.2f} EUR less than"
            if found["saving_eur"] >= 0.01
            else "no cheaper than"
        )
        told += f"; {saved} “{found['baseline']}”"
    return told + (
        "." if plan.status == "solved" else f"; time ran out with {plan.gap:.1%} unproven."
    )


def notes(
    plan: Plan,
    found: Mapping[str, Any],
    weather: pd.DataFrame,
    *,
    counted: str,
    earlier: datetime | None,
    late_kg: float,
    wishes: Sequence[str],
) -> tuple[str, ...]:
    """Return what a reader of the figures has to know; the value first where it is small.

    Parameters
    ----------
    counted : str
        What an amount contains, by the tariff's settings.
    earlier : datetime, optional
        When the plan was made that is taken as carried out until this one begins.
    late_kg : float
        What was left unmade of days before, and is made now.
    """
    request, said = plan.problem.request, []
    simply = [name for name in REFERENCE if name in plan.baselines][:2]
    saved = [
        f"{_a_year(plan, costs(plan.problem, plan.baselines[name]).paid):,.0f} EUR a year against “{name}”"
        for name in simply
    ]
    if saved:
        small = float(found["saving_eur_year"]) < WORTH_SAYING_EUR
        first = f"Less than {WORTH_SAYING_EUR:,.0f} EUR a year. " if small else ""
        said.append(f"{first}At this window's rate planning saves {', '.join(saved)}.")
    known = request.prices.loc[request.begin :, "known"].value_counts()
    air = weather["known"].replace("", "unknown").value_counts()
    said += [
        "Prices of the window: "
        + ", ".join(f"{count} quarters ({how})" for how, count in known.items())
        + ".",
        "Outdoor air: " + ", ".join(f"{count} hours ({how})" for how, count in air.items()) + ".",
        f"Every euro here: {counted}; loads that always run, capacity terms and taxes are the same for every schedule "
        "and not counted. Power above the contract is charged linearly; the legal rule is quadratic.",
    ]
    if earlier:
        said.append(
            f"The plan made at {local(earlier)} is taken as carried out: "
            f"{len(request.running)} batch(es) running as the window begins; money is counted from then on."
        )
    if late_kg > 0.5:
        said.append(f"{late_kg:,.0f} kg of days before are still owed, and wanted at once.")
    said += [f"By the shift leader's hand: {wish}." for wish in wishes]
    return tuple(
        said
        + ["Each wish stays until its time has passed; `factory plan --clear` takes all away."]
        * bool(wishes)
    )


def local(instant: datetime) -> str:
    """Return an instant as the plant's clock shows it."""
    return f"{instant.astimezone(MADRID):%-d %B %H:%M}"


def by_local_hour(plan: Plan) -> pd.DataFrame:
    """Return the least cost of a batch by variant and the hour it begins in: ``one_batch_eur``, ``cost_eur_kg``."""
    found = by_start_hour(plan.problem.request)
    hour = pd.DatetimeIndex(found["start"]).floor("h") if len(found) else found["start"]
    least = found.assign(start=hour).groupby(["variant", "start"], as_index=False).min()
    return least.rename(columns={"cost_eur": "one_batch_eur"})


def obstacles(plan: Plan) -> pd.DataFrame:
    """Return what is in the way, smallest change first; empty where nothing is."""
    rows = [
        {
            "in_the_way": found.family,
            "smallest_change": measured(found.amount, found.unit),
            "where": found.detail,
            "helps": "alone" if found.alone else "with the others",
        }
        for found in plan.obstacles
    ]
    return pd.DataFrame(rows, columns=["in_the_way", "smallest_change", "where", "helps"])


def watched_hours(plan: Plan, watched: Sequence[Watch]) -> pd.DataFrame:
    """Return one row for each span to watch: ``watch``, ``stage``, ``start``, ``end``, ``why``, ``the_plan``."""
    rows = [
        {
            "watch": item.kind,
            "stage": item.stage,
            "start": begin,
            "end": end,
            "why": item.why,
            "the_plan": _did(plan, item),
        }
        for item in watched
        for begin, end in item.spans
    ]
    return pd.DataFrame(rows, columns=["watch", "stage", "start", "end", "why", "the_plan"])


def _did(plan: Plan, item: Watch) -> str:
    if item.kind == "critical" or (item.kind == "heat" and item.running_kwh):
        return RUNS
    if item.kind != "heat":
        return f"uses {item.running_kwh:.0f} kWh in such hours"
    if not plan.schedule and any(found.family == "room" for found in plan.obstacles):
        return REMOVED
    return MOVED if item.moved else NOT_THEN
