"""A plan as its page, its record and ``--json`` show it."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import pandas as pd

from factory_lib.clock import market_day
from factory_lib.context import RunContext
from factory_lib.domain.bill import EXCESS_ASSUMPTION
from factory_lib.planner.plan import Plan
from factory_lib.planning import attention, daily, documents
from factory_lib.planning.daily import DailyPlan
from factory_lib.planning.overrides import local_time
from factory_lib.results import JobResult, ResultStatus

SCHEDULE_NAMES = {
    "plan": "plan",
    "shift_full": "full batches, started with the shift",
    "shift_begin": "each day's batches, started with the shift",
    "fixed_start": "the fixed start that was cheapest over four weeks",
}
BASELINE = "shift_full"
RELAXATIONS = {
    "preferred_day": "made on another day than preferred",
    "extra_kg": "made beyond the demand",
    "room_temperature": "a stage in a room beyond its temperature limits",
    "room_humidity": "a stage in a room beyond its humidity limit",
    "overtime": "people beyond the shifts",
    "late": "late kilograms",
    "lost": "a batch in progress is lost",
    "firm_late": "a firm order is late",
    "moved": "a planned start moves",
    "frozen": "a start of the next hours moves",
    "pin": "a pinned start is not kept",
}
SERIOUS = ("late", "lost", "firm_late", "pin", "frozen")


def summarise_plan(ctx: RunContext, made: DailyPlan, begin: datetime, end: datetime) -> JobResult:
    """Return a view of the plan; its money is of the whole rolling plan.

    Parameters
    ----------
    begin, end : datetime
        Starts of stages in between are on the shift sheet (table ``sheet``).
    """
    stages = documents.stages_of(made.plan)
    rows = steps(made, stages)
    metrics = _metrics(made)
    inside = (rows["start"] >= pd.Timestamp(begin)) & (rows["start"] < pd.Timestamp(end))
    tables = {
        "sheet": rows[inside].reset_index(drop=True),
        "schedule": stages,
        "prices": made.prices,
        "power": made.plan.power(),
        "costs": _costs(made),
        "gave_way": _gave_way(made),
        "attention": attention.attention_items(ctx, made),
        "contract": made.contract.reset_index(),
    }
    return JobResult(
        status=_status(made),
        summary=_sentence(made, metrics),
        metrics=metrics,
        tables=tables,
        notes=_notes(made),
    )


def compare_previews(base: Plan, changed: Plan) -> JobResult:
    """Return two plans of the same days side by side."""
    rows = {"as it is": figures_of(base), "with the change": figures_of(changed)}
    more_eur = changed.costs.objective - base.costs.objective
    more_kg = float(changed.kg.sum() - base.kg.sum())
    return JobResult(
        status="ok",
        summary=f"The change costs {more_eur:+,.2f} EUR in two days, wishes included, "
        f"for {more_kg:+,.0f} kg.",
        metrics={"more_eur": more_eur, "more_kg": more_kg},
        tables={
            "plans": pd.DataFrame.from_dict(rows, orient="index").rename_axis("plan").reset_index()
        },
    )


def figures_of(plan: Plan) -> dict[str, Any]:
    """Return kilograms, batches and money of a plan, and the kinds of what gave way."""
    gave_way = sorted({RELAXATIONS[item.kind] for item in plan.costs.relaxations})
    return {
        "kg": float(plan.kg.sum()),
        "batches": len(plan.jobs),
        "paid_eur": plan.costs.paid,
        "objective_eur": plan.costs.objective,
        "gave_way": ", ".join(gave_way),
    }


def steps(made: DailyPlan, stages: pd.DataFrame) -> pd.DataFrame:
    """Return the stages by start, with the ``latest_start`` that leaves the rest as planned.

    A stage waits no longer than the one before it allows, and is over when the next one
    of its batch begins.
    """
    plant = made.request.plant
    waits_min = {stage.name: max(stage.wait_min, stage.hold_h * 60) for stage in plant.stages}
    rows = stages.sort_values(["batch", "start"], ignore_index=True)
    before_next = rows.groupby("batch")["start"].shift(-1) - (rows["end"] - rows["start"])
    wait = pd.to_timedelta(rows["stage"].map(waits_min), unit="min")
    after_last = (rows["end"] + wait).groupby(rows["batch"]).shift(1)
    latest = pd.concat([before_next, after_last], axis=1).min(axis=1)
    rows["latest_start"] = latest.where(latest > rows["start"], rows["start"])
    return rows.sort_values(["start", "batch"], ignore_index=True)


def _status(made: DailyPlan) -> ResultStatus:
    gave_way = {item.kind for item in made.plan.costs.relaxations}
    proven = made.plan.source == "solver" and made.plan.gap <= daily.GAP
    return "warn" if gave_way & set(SERIOUS) or not proven else "ok"


def _metrics(made: DailyPlan) -> dict[str, Any]:
    plan = made.plan
    kg = float(plan.kg.sum())
    metrics: dict[str, Any] = {
        "kg": kg,
        "batches": len(plan.jobs),
        "cost_eur": plan.costs.paid,
        "excess_eur": plan.costs.excess,
        "gap": plan.gap,
        "source": plan.source,
        "gave_way": len(plan.costs.relaxations),
        "saved_this_month_eur": made.month_eur,
        "solve_seconds": plan.seconds,
    }
    if BASELINE in made.alternatives:
        baseline_eur = made.alternatives[BASELINE].paid
        metrics |= {
            "baseline": SCHEDULE_NAMES[BASELINE],
            "baseline_cost_eur": baseline_eur,
            "baseline_kg": made.kg[BASELINE],
            "saving_eur": baseline_eur - plan.costs.paid,
        }
    return metrics


def _sentence(made: DailyPlan, metrics: dict[str, Any]) -> str:
    plan = made.plan
    days = (market_day(made.request.end) - market_day(made.request.begin)).days
    if not metrics["batches"]:
        return f"Nothing to produce in the next {days} days."
    parts = [
        f"{metrics['kg']:,.0f} kg in {metrics['batches']} batches over {days} days for "
        f"{metrics['cost_eur']:,.0f} EUR{_next_start(made)}{_saving(metrics)}"
    ]
    serious = [item for item in plan.costs.relaxations if item.kind in SERIOUS]
    if serious:
        item = serious[-1]
        kind = RELAXATIONS[item.kind].capitalize()
        parts.append(f"{kind}: {item.subject}, {item.amount:,.0f} {item.unit}")
    if plan.source != "solver":
        source = plan.source.replace("_", " ")
        parts.append(f"No plan was found in time: {source} stands in")
    return ". ".join(parts) + "."


def _next_start(made: DailyPlan) -> str:
    begin = made.request.begin
    starts = [at for batch in made.plan.batches for at in batch.starts.values() if at >= begin]
    return f"; next start {local_time(min(starts))}" if starts else ""


def _saving(metrics: dict[str, Any]) -> str:
    if "baseline" not in metrics:
        return ""
    saving = metrics["saving_eur"]
    words = f"{saving:,.0f} EUR less than" if saving >= 0.5 else "no cheaper than"
    other_kg = abs(metrics["baseline_kg"] - metrics["kg"]) >= 0.5
    made = f", which makes {metrics['baseline_kg']:,.0f} kg" if other_kg else ""
    return f"; {words} “{metrics['baseline']}”{made}"


def _costs(made: DailyPlan) -> pd.DataFrame:
    all_costs = {"plan": made.plan.costs, **made.alternatives}
    kg = {"plan": float(made.plan.kg.sum()), **made.kg}
    rows = [
        {
            "schedule": SCHEDULE_NAMES[name],
            "kg": kg[name],
            "energy_eur": costs.energy,
            "toll_eur": costs.toll,
            "other_eur": costs.other,
            "excess_eur": costs.excess,
            "paid_eur": costs.paid,
            "wishes_eur": costs.objective - costs.paid,
        }
        for name, costs in all_costs.items()
    ]
    return pd.DataFrame(rows).sort_values("paid_eur", ignore_index=True)


def _gave_way(made: DailyPlan) -> pd.DataFrame:
    rows = [
        {**asdict(item), "kind": RELAXATIONS[item.kind]} for item in made.plan.costs.relaxations
    ]
    columns = ["kind", "subject", "amount", "unit", "eur", "begin", "until"]
    return pd.DataFrame(rows, columns=columns).rename(columns={"kind": "gave_way"})


def _notes(made: DailyPlan) -> tuple[str, ...]:
    how_known = made.prices["known"].value_counts()
    air = made.weather["known"].replace("", "unknown").value_counts()
    contract = made.request.contract
    notes = [
        "Prices of the window: "
        + ", ".join(f"{n} quarters ({how})" for how, n in how_known.items())
        + ".",
        "Outdoor air: " + ", ".join(f"{n} hours ({how})" for how, n in air.items()) + ".",
        "Every euro is the whole marginal price of production: market, toll and charge, "
        "electricity tax and excess power; the power term and loads that always run are the same "
        "for every schedule.",
        *made.notes,
    ]
    if contract.unset:
        notes.append(f"Not set in [contract] and not counted: {', '.join(contract.unset)}.")
    if not contract.small and not contract.excess_eur_kw:
        notes.append(EXCESS_ASSUMPTION)
    if made.before:
        notes.append(
            f"The plan made at {local_time(made.before.made_at)} is taken as carried out until "
            "this one begins; batches keep their numbers."
        )
    notes += [f"Override {item.number}: {item}." for item in made.overrides]
    return tuple(notes)
