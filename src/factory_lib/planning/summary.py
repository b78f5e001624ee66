"""A plan, a preview and the plant, as pages, records and ``--json`` show them."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from msgspec import structs

from factory_lib.clock import HOUR_S, QUARTER_S, display_zone, local_day, local_time
from factory_lib.context import RunContext
from factory_lib.domain.indices import uncut_production_index
from factory_lib.domain.plant import operators
from factory_lib.domain.tariff import EXCESS_ASSUMPTION, local_dates, zone_of
from factory_lib.features.horizon import HUMIDITY, PRICE, TEMPERATURE, documented_features
from factory_lib.models.history import load_hours
from factory_lib.planner.plan import Plan
from factory_lib.planning import inputs, overrides
from factory_lib.planning.daily import GAP, DailyPlan
from factory_lib.planning.documents import BASELINE, with_latest_start
from factory_lib.results import JobResult
from factory_lib.settings import Settings

SCHEDULE_NAMES = {
    "plan": "plan",
    "shift_full": "full batches, started with the shift",
    "shift_begin": "each day's batches, started with the shift",
    "fixed_start": "the cheapest fixed start of four weeks",
}
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
USUAL = 0.95  # of working hours; of all hours it would call an ordinary evening exceptional
EXCEPTIONAL_EUR_MWH = 50.0  # beyond the usual: an ordinary evening peak stays below
LEAST_QUARTERS = 320  # of working hours, about a week: fewer do not say what is usual
LEAST_HOURS = 72  # of a month


def summarise_plan(ctx: RunContext, made: DailyPlan, begin: datetime, end: datetime) -> JobResult:
    """Return a view of the plan; its money is of the whole rolling plan.

    Parameters
    ----------
    begin, end : datetime
        Starts of stages in between are on the shift sheet (table ``sheet``).
    """
    plan = made.plan
    rows = with_latest_start(plan.stages, plan.problem.plant)
    inside = (rows["start"] >= pd.Timestamp(begin)) & (rows["start"] < pd.Timestamp(end))
    serious = plan.gave_way["kind"].isin(SERIOUS).any()
    proven = plan.source == "solver" and plan.gap <= GAP
    same_kg_eur = made.costs["paid_eur"] / made.costs["kg"] * made.costs["kg"]["plan"]
    costs = made.costs.assign(saved_eur=same_kg_eur - plan.costs["paid"])
    metrics = _metrics(made, costs)
    metrics["sheet_until"] = str(local_day(end - timedelta(seconds=1), display_zone()))
    return JobResult(
        status="ok" if proven and not serious and not [*_left_out(made)] else "warn",
        summary=_sentence(made, metrics),
        metrics=metrics,
        tables={
            "sheet": rows[inside].reset_index(drop=True),
            "schedule": plan.stages,
            "prices": made.prices,
            "power": plan.power(),
            "costs": costs.rename(index=SCHEDULE_NAMES)
            .rename_axis("schedule")
            .reset_index()
            .sort_values("paid_eur", ignore_index=True),
            "gave_way": plan.gave_way.replace({"kind": RELAXATIONS}).rename(
                columns={"kind": "gave_way", "eur": "stated_eur"}
            ),
            "attention": attention_items(ctx, made),
            "contract": made.contract.reset_index(),
        },
        notes=_notes(made),
    )


def _metrics(made: DailyPlan, costs: pd.DataFrame) -> dict[str, Any]:
    plan = made.plan
    metrics: dict[str, Any] = {
        "kg": costs["kg"]["plan"],
        "batches": len(plan.jobs),
        "cost_eur": plan.costs["paid"],
        "excess_eur": plan.costs["excess"],
        "gap": plan.gap if np.isfinite(plan.gap) else None,
        "source": plan.source,
        "gave_way": len(plan.gave_way),
        "saved_this_month_eur": made.month_eur,
        "solve_seconds": plan.seconds,
    }
    if BASELINE in costs.index and costs.loc[BASELINE, "kg"]:
        baseline = costs.loc[BASELINE]
        metrics |= {
            "baseline": SCHEDULE_NAMES[BASELINE],
            "baseline_cost_eur": baseline["paid_eur"],
            "baseline_kg": baseline["kg"],
            "saving_eur": baseline["saved_eur"],
        }
    return metrics


def _sentence(made: DailyPlan, metrics: dict[str, Any]) -> str:
    plan = made.plan
    ahead = plan.stages["start"][~plan.stages["begun"]]
    batches = "one batch" if metrics["batches"] == 1 else f"{metrics['batches']} batches"
    parts = [
        f"{metrics['kg']:,.0f} kg in {batches} for {metrics['cost_eur']:,.0f} EUR",
        f"the next stage begins {local_time(ahead.min())}" if len(ahead) else "",
        _against_baseline(metrics) if "baseline" in metrics else "",
        f"{made.month_eur:,.0f} EUR less this month than begun with the shift"
        if made.month_eur
        else "",
        *_serious(plan),
        f"no plan was found in time: {plan.source.replace('_', ' ')} stands in"
        if plan.source != "solver"
        else "",
    ]
    return "; ".join(filter(None, parts)) + "."


def _against_baseline(metrics: dict[str, Any]) -> str:
    """Return what the plan saves on the same kilograms; a simple schedule may make fewer."""
    saving = metrics["saving_eur"]
    less = f"{saving:,.0f} EUR less than" if saving >= 0.5 else "no cheaper than"
    fewer = metrics["baseline_kg"] < 0.99 * metrics["kg"]
    makes = f", which makes {metrics['baseline_kg']:,.0f} kg" if fewer else ""
    return f"{less} as many kilograms with “{metrics['baseline']}”{makes}"


def _serious(plan: Plan) -> Iterator[str]:
    """Yield by kind what gave way, by how much in all, and until when."""
    serious = plan.gave_way[plan.gave_way["kind"].isin(SERIOUS)]
    for _, items in serious.groupby("kind", sort=False):
        more = f" and {len(items) - 1} more" if len(items) > 1 else ""
        last = items.sort_values("until").iloc[-1]  # beyond the window comes last
        yield (
            f"{RELAXATIONS[last['kind']]}: {items['subject'].iloc[0]}{more}, "
            f"{items['amount'].sum():,.0f} {last['unit']}{until_when(last)}"
        )


def until_when(item: Mapping[Any, Any] | pd.Series) -> str:
    """Return until when something gave way, as words that follow its amount."""
    if pd.notna(item["until"]):
        return f" until {local_time(item['until'])}"
    return ", not made in the days of this plan" if item["kind"] in ("late", "firm_late") else ""


def _not_compared(made: DailyPlan) -> list[str]:
    """Return which simple schedules could not be laid, or not in time."""
    names = [text for name, text in SCHEDULE_NAMES.items() if name not in made.costs.index]
    return [f"Not found in time, and not compared: {'; '.join(names)}."] if names else []


def _notes(made: DailyPlan) -> tuple[str, ...]:
    request = made.request
    contract = request.contract
    before = made.before
    notes = [
        *_left_out(made),
        f"Prices of the window, in quarters: {_counts(made.prices['known'])}.",
        f"Outdoor air, in hours: {_counts(made.weather['weather_source'])}.",
        "Every euro is the whole marginal price of production: market, toll and charge, "
        "electricity tax and excess power; the power term and loads that always run are the same "
        "for every schedule.",
        "Contracted power may change once in twelve months; the cheapest is that of the load and "
        "days beside it, and never below the loads that always run.",
        *_not_compared(made),
        *_critical(made.plan),
        *request.tariff.notes(local_dates(made.plan.problem.index, request.plant.zone)),
        f"Not set in [contract] and not counted: {', '.join(contract.unset)}."
        if contract.unset
        else "",
        EXCESS_ASSUMPTION
        if request.tariff.published and not (contract.small or contract.excess_eur_kw)
        else "",
        f"The plan made at {local_time(before.made_at)} is taken as carried out until "
        "this one begins; batches keep their numbers."
        if before
        else "",
        *overrides.remarks(made.overrides, request.plant, request.begin, request.end),
    ]
    return tuple(filter(None, notes))


def _critical(plan: Plan) -> Iterator[str]:
    """Yield the stages that the room is too hot for, and when."""
    problem = plan.problem
    for stage, critical in zip(problem.stages, problem.critical, strict=True):
        if critical.any():
            slots = np.flatnonzero(critical)
            since, until = map(local_time, problem.stamps[[slots[0], slots[-1] + 1]])
            yield (
                f"The room is above {stage.room.temperature_critical_c:g} °C, critical for "
                f"{stage.name}, in {len(slots) * problem.slot_h:g} h "
                f"between {since} and {until}."
            )


def _left_out(made: DailyPlan) -> Iterator[str]:
    """Yield a sentence for each file and each batch of earlier plans that was not used."""
    for file in made.unreadable:
        yield (f"{file} is damaged and left out: what it alone says is unknown. Mend or remove it.")
    if made.before:
        stages = made.before.stages
        ahead = stages.loc[stages["end"] > pd.Timestamp(made.request.begin), "batch"]
        for number in sorted({*ahead} - {*made.request.previous["batch"]}):
            yield (
                f"Batch {number} of the plan before is left out: the plant has no such product or "
                "stages any more."
            )


def _counts(values: pd.Series) -> str:
    """Return how many slots are known in which way."""
    return ", ".join(f"{n} {how}" for how, n in values.value_counts().items())


def attention_items(ctx: RunContext, made: DailyPlan) -> pd.DataFrame:
    """Return the hours of each local day that deserve attention, with the energy planned in them.

    Prices far above those of the last weeks' working hours (kind ``exceptional``), and an
    outdoor index below nearly all working hours of the month (``index``).

    Returns
    -------
    DataFrame
        kind, start, end, reason, planned_kwh.
    """
    kwh = made.plan.power()["production_kw"] * made.plan.problem.slot_h
    rows = []
    for kind, hours, reason in (*_exceptional(made), *_low_index(ctx, made)):
        step = pd.Timedelta(hours=1) if kind == "index" else pd.Timedelta(minutes=15)
        inside = pd.DatetimeIndex(kwh.index).floor(step).isin(hours)
        rows.append((kind, hours[0], hours[-1] + step, reason, kwh[inside].sum()))
    return pd.DataFrame(rows, columns=["kind", "start", "end", "reason", "planned_kwh"])


def _exceptional(made: DailyPlan) -> Iterator[tuple[str, pd.Index, str]]:
    price = made.request.prices["p50"]
    working = operators(made.request.plant, pd.DatetimeIndex(price.index), QUARTER_S) > 0
    behind = price[working & (price.index < made.prices.index[0])].dropna()
    if len(behind) < LEAST_QUARTERS:
        return
    usual = behind.quantile(USUAL)
    high = made.prices["p50"][made.prices["p50"] > usual + EXCEPTIONAL_EUR_MWH]
    for _, day in high.groupby(pd.DatetimeIndex(high.index).tz_convert(display_zone()).date):
        reason = (
            f"up to {day.max():.0f} EUR/MWh; {USUAL:.0%} of the working hours of the last weeks "
            f"were below {usual:.0f}"
        )
        yield "exceptional", day.index, reason


def _low_index(ctx: RunContext, made: DailyPlan) -> Iterator[tuple[str, pd.Index, str]]:
    """Yield the hours whose documented index, not cut at 0, is low for the month.

    The index calls two hours in three of southern Spain "Halt": its class says nothing.
    """
    past = load_hours(ctx, inputs.CLIMATE_DAYS).hourly
    price = made.prices["p50"].resample("h").mean().reindex(made.weather.index)
    ahead = made.weather[[TEMPERATURE, HUMIDITY]].assign(**{PRICE: price})
    hourly = pd.concat([past[past.index < ahead.index[0]], ahead]).asfreq("h")
    parts = documented_features(hourly, ctx.as_of)
    names = ("temperature_comfort_index", "energy_cost_index", "humidity_stress_factor")
    index = pd.Series(uncut_production_index(*(parts[name] for name in names)), parts.index)
    index = index[operators(ctx.settings.plant, pd.DatetimeIndex(index.index), HOUR_S) > 0]
    past_index = index.where(index.index < ahead.index[0])
    of_month = past_index.groupby(pd.DatetimeIndex(index.index).tz_convert(display_zone()).month)
    usual = of_month.transform("quantile", 1 - USUAL)
    low = index[(index < usual) & past_index.isna() & (of_month.transform("count") >= LEAST_HOURS)]
    for day, hours in low.groupby(pd.DatetimeIndex(low.index).tz_convert(display_zone()).date):
        worst = ahead.loc[pd.Timestamp(str(hours.idxmin()))]
        reason = (
            f"worse than {USUAL:.0%} of the working hours of {day:%B}: up to "
            f"{worst[PRICE]:.0f} EUR/MWh, {worst[TEMPERATURE]:.0f} °C and {worst[HUMIDITY]:.0f} % "
            "humidity outdoors"
        )
        yield "index", hours.index, reason


def compare_previews(base: Plan, changed: Plan) -> JobResult:
    """Return two plans of the same days side by side, and each start that differs."""
    rows = {}
    starts = {}
    for name, plan in {"as it is": base, "with the change": changed}.items():
        rows[name] = {
            "kg": float(plan.kg.sum()),
            "batches": len(plan.jobs),
            "paid_eur": plan.costs["paid"],
            "objective_eur": plan.costs["objective"],
            "gave_way": ", ".join(plan.gave_way["kind"].map(RELAXATIONS).unique()),
        }
        starts[name] = plan.stages.set_index(["batch", "stage"])["start"]
    plans = pd.DataFrame.from_dict(rows, orient="index")
    moved = pd.DataFrame(starts)
    moved = moved[moved["as it is"] != moved["with the change"]]
    more = plans[["kg", "objective_eur"]].diff().iloc[1]
    return JobResult(
        status="ok",
        summary=f"The change costs {more['objective_eur']:+,.2f} EUR, wishes included, for "
        f"{more['kg']:+,.0f} kg; {len(moved)} starts differ.",
        metrics={"more_eur": more["objective_eur"], "more_kg": more["kg"], "moved": len(moved)},
        tables={"plans": plans.rename_axis("plan").reset_index(), "moved": moved.reset_index()},
    )


def describe_plant(settings: Settings) -> str:
    """Return the plant, its contract and its tariff as text."""
    plant = settings.plant
    stages = pd.DataFrame([structs.asdict(stage) for stage in plant.stages])
    shifts = pd.DataFrame([structs.asdict(shift) for shift in plant.shifts])
    kwh = sum(stage.power_kw * stage.duration_min for stage in plant.stages) / 60
    hours = sum(stage.duration_min for stage in plant.stages) / 60
    products = [
        f"{name}: batches of {one.batch_min_kg:g} to {one.batch_max_kg:g} kg, "
        f"{plant.demand.weekly_kg.get(name, 0):g} kg a week"
        for name, one in plant.variants.items()
    ]
    contracted = ", ".join(f"{kw:g}" for kw in settings.contract.by_period)
    tariff = settings.tariff
    tolls = tariff.access if tariff.published else "the contract"
    hours_of = zone_of(tariff.area).key
    clocks = f": its periods are hours of {hours_of}, the shifts those of {plant.time_zone}"
    return "\n".join(
        [
            f"Plant {plant.name}, in slots of {plant.slot_min} minutes; a batch takes {hours:g} h "
            f"and {kwh:g} kWh.",
            stages.drop(columns="room").to_string(index=False),
            shifts.to_string(index=False),
            *products,
            f"{contracted} kW contracted by period; {tariff.price_basis} price, tolls of {tolls}, "
            f"area {tariff.area}{clocks * (hours_of != plant.time_zone)}.",
        ]
    )
