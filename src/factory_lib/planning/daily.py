"""The daily plan: one rolling plan of seven days, made from what is known, compared and written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from msgspec import structs

from factory_lib.catalogue import SITE
from factory_lib.clock import MADRID, day_start, epoch, from_epoch, local_instant, market_day
from factory_lib.context import RunContext
from factory_lib.domain.bill import best_contract, bill
from factory_lib.domain.tariff import local_dates
from factory_lib.errors import BadInput
from factory_lib.planner.plan import Costs, Plan
from factory_lib.planner.request import Batch, Outage, PlanRequest, open_demand, weekly_orders
from factory_lib.planner.solve import fixed_start, shift_begin, solve
from factory_lib.planning import documents, inputs, overrides
from factory_lib.planning.documents import PlanDocument
from factory_lib.planning.overrides import Override

DAYS = 7
GAP = 0.01
LIMIT_S = 60.0
PREVIEW_DAYS = 2
PREVIEW_LIMIT_S = 10.0
LEAST_METERED_DAYS = 28  # of the meter file, before contract advice rests on it


@dataclass(frozen=True, eq=False)
class DailyPlan:
    """A plan beside what it was made from, its alternatives, and the files it is in.

    Attributes
    ----------
    prices : DataFrame
        ``planning.inputs.prices`` of the window.
    alternatives : dict of str to Costs
        Simple schedules of the same demand at the same prices; ``kg`` by schedule, too.
    contract : DataFrame
        Contracted power by period, today's and the cheapest for the load.
    before : PlanDocument, optional
        The plan that this one follows.
    """

    plan: Plan
    prices: pd.DataFrame
    weather: pd.DataFrame
    overrides: tuple[Override, ...]
    alternatives: dict[str, Costs]
    kg: dict[str, float]
    contract: pd.DataFrame
    before: PlanDocument | None
    month_eur: float
    notes: tuple[str, ...]
    files: tuple[str, ...] = ()

    @property
    def request(self) -> PlanRequest:
        """The request to the optimiser."""
        return self.plan.problem.request


def make_plan(ctx: RunContext) -> DailyPlan:
    """Plan the next seven days, compare, and write the plan to its files.

    Raises
    ------
    BadInput
        If a slot of the window has no price.
    """
    folder = documents.plans_folder(ctx)
    plans = documents.recent(ctx)
    request = request_of(ctx, plans)
    items = overrides.active(documents.plans_folder(ctx), ctx.as_of)
    plan = solve(overrides.applied(request, items), gap=GAP, time_limit_s=LIMIT_S)
    alternatives, kg = simple_schedules(plan)
    made = DailyPlan(
        plan=plan,
        prices=inputs.prices(ctx, request.begin, request.end).loc[request.begin :],
        weather=inputs.weather(ctx, request.begin, request.end),
        overrides=items,
        alternatives=alternatives,
        kg=kg,
        contract=contract_advice(ctx, plan),
        before=plans[-1] if plans else None,
        month_eur=_saved_this_month(ctx, plans),
        notes=request.tariff.notes(local_dates(plan.problem.index)),
    )
    files = documents.write(
        plan,
        folder,
        ctx.as_of,
        made.before,
        first_demand=str(_first_demand(ctx, plans)),
        eur_kg=_eur_per_kg(made),
        overrides=[str(item) for item in items],
    )
    return replace(made, files=files)


def preview(ctx: RunContext, changes: Mapping[str, Any]) -> tuple[Plan, ...]:
    """Plan the next two days as they are and with ``changes``; nothing is written.

    Parameters
    ----------
    changes : dict
        ``operators`` (people more or fewer in every shift), ``contract_kw``, ``out``
        (a machine, for both days), ``price_eur_mwh`` (added to every price),
        ``pv_kwp``.

    Raises
    ------
    BadInput
        If a change is unknown.
    """
    base = request_of(ctx, documents.recent(ctx), days=PREVIEW_DAYS)
    items = overrides.active(documents.plans_folder(ctx), ctx.as_of)
    base = overrides.applied(base, items)
    changed = base
    for name, value in changes.items():
        changed = _changed(ctx, changed, name, value)
    return tuple(solve(one, gap=GAP, time_limit_s=PREVIEW_LIMIT_S) for one in (base, changed))


def _changed(ctx: RunContext, request: PlanRequest, name: str, value: Any) -> PlanRequest:
    plant = request.plant
    match name:
        case "operators":
            shifts = tuple(
                structs.replace(shift, operators=max(shift.operators + int(value), 0))
                for shift in plant.shifts
            )
            return replace(request, plant=structs.replace(plant, shifts=shifts))
        case "contract_kw":
            contract = structs.replace(
                request.contract, kw=dict.fromkeys(request.contract.kw, float(value))
            )
            return replace(request, contract=contract)
        case "out":
            outage = Outage(str(value), request.begin, request.end)
            return replace(request, outages=(*request.outages, outage))
        case "price_eur_mwh":
            prices = request.prices.copy()
            prices[["market_eur_mwh", "price_eur_mwh"]] += float(value)
            return replace(request, prices=prices)
        case "pv_kwp":
            pv = structs.replace(plant.pv, kwp=float(value))
            other = replace(
                ctx, settings=structs.replace(ctx.settings, plant=structs.replace(plant, pv=pv))
            )
            pv_kw = inputs.solar_kw(other, request.begin, request.end)
            return replace(request, plant=other.settings.plant, pv_kw=pv_kw)
    raise BadInput(
        f"{name!r} cannot be changed in a preview.",
        next_step="Change operators, contract_kw, out, price_eur_mwh or pv_kwp.",
    )


def request_of(
    ctx: RunContext, plans: Sequence[PlanDocument] = (), days: int = DAYS
) -> PlanRequest:
    """Return the request for the next days: today from now on, and the days after it.

    Raises
    ------
    BadInput
        If a slot of the window has no price.
    """
    plant = ctx.settings.plant
    slot_s = plant.slot_min * 60
    begin = from_epoch(-(-epoch(ctx.as_of) // slot_s) * slot_s)
    today = market_day(begin)
    end = day_start(today + timedelta(days=days))
    prices = inputs.prices(ctx, begin, end)
    if missing := int(prices.loc[begin:, "p50"].isna().sum()):
        raise BadInput(
            f"{missing} quarters from {begin:%Y-%m-%d %H:%MZ} on have no price: neither published, "
            "nor forecast, nor of the same hour in the weeks before.",
            next_step="Run `factory run ingest` first.",
        )
    stages = documents.carried_out(plans, begin)
    last = list(plans[-1].batches()) if plans else []
    begun, previous = _in_progress(stages, last, begin)
    month = day_start(today.replace(day=1))
    orders = weekly_orders(plant, _first_demand(ctx, plans), today + timedelta(days=days - 1))
    return PlanRequest(
        plant=plant,
        prices=prices,
        tariff=inputs.tariff_of(ctx),
        contract=ctx.settings.contract,
        begin=begin,
        end=end,
        orders=open_demand(orders, _finished_kg(ctx, stages, begin)),
        weather=inputs.weather(ctx, begin, end)[inputs.AIR],
        pv_kw=inputs.solar_kw(ctx, begin, end),
        begun=begun,
        previous=previous,
        next_number=max([0, *(int(n) for plan in plans for n in plan.stages["batch"])]) + 1,
        load_so_far=inputs.load_kw(ctx, stages, month, begin) if month < begin else None,
    )


def _first_demand(ctx: RunContext, plans: Sequence[PlanDocument]) -> date:
    """Return the first day whose kilograms are demanded: of the first plan kept, or today."""
    today = market_day(ctx.as_of)
    oldest = today - timedelta(days=documents.REMEMBERED_DAYS)
    return max(plans[0].first_demand, oldest) if plans else today


def _in_progress(
    stages: pd.DataFrame, last: Sequence[tuple[Batch, datetime]], begin: datetime
) -> tuple[tuple[Batch, ...], tuple[Batch, ...]]:
    """Return the batches that have begun and not ended, and those that the last plan has ahead."""
    started = {
        int(str(number)): dict(zip(rows["stage"], rows["start"].dt.to_pydatetime(), strict=True))
        for number, rows in stages.groupby("batch")
    }
    ahead = [batch for batch, end in last if end > begin]
    begun = tuple(
        replace(batch, starts=started[batch.number]) for batch in ahead if batch.number in started
    )
    return begun, tuple(ahead)


def _finished_kg(ctx: RunContext, stages: pd.DataFrame, begin: datetime) -> dict[str, float]:
    """Return the kilograms finished by product: as recorded, else as planned."""
    last_stage = ctx.settings.plant.stages[-1].name
    done = stages[(stages["stage"] == last_stage) & (stages["end"] <= pd.Timestamp(begin))]
    if done.empty:
        return {}
    days = done["end"].dt.tz_convert(MADRID).dt.date
    recorded = ctx.store.read(
        "produced_kg",
        places=(SITE,),
        start=day_start(days.min()),
        end=day_start(market_day(begin)),
        as_of=ctx.as_of,
    )
    by_day = dict(
        zip(recorded["start"].dt.tz_convert(MADRID).dt.date, recorded["value"], strict=True)
    )
    planned = done["kg"].groupby(days).sum()
    share = {day: by_day.get(day, kg) / kg for day, kg in planned.items()}
    made: Counter[str] = Counter()
    for product, kg, day in zip(done["product"], done["kg"], days, strict=True):
        made[product] += kg * share[day]
    return dict(made)


def simple_schedules(plan: Plan) -> tuple[dict[str, Costs], dict[str, float]]:
    """Return what simple schedules of the same demand cost, and the kilograms of each."""
    problem = plan.problem
    counts = Counter(batch.product for batch in plan.batches)
    schedules = {
        "shift_full": shift_begin(problem, counts),
        "shift_begin": shift_begin(problem),
        "fixed_start": fixed_start(problem, counts),
    }
    laid = {name: schedule for name, schedule in schedules.items() if schedule is not None}
    costs = {name: schedule.costs for name, schedule in laid.items()}
    return costs, {name: float(schedule.kg.sum()) for name, schedule in laid.items()}


def _eur_per_kg(made: DailyPlan) -> dict[str, float]:
    """Return what a kilogram costs in the plan and with the shift's begin."""
    kg = float(made.plan.kg.sum())
    paid = {"plan": (made.plan.costs.paid, kg)}
    if "shift_begin" in made.alternatives:
        paid["shift_begin"] = (made.alternatives["shift_begin"].paid, made.kg["shift_begin"])
    return {name: eur / of_kg for name, (eur, of_kg) in paid.items() if of_kg}


def _saved_this_month(ctx: RunContext, plans: Sequence[PlanDocument]) -> float:
    """Return what the kilograms finished this month cost less than begun with the shift, EUR.

    Each is valued with the plan that was in force when it was finished.
    """
    month = day_start(market_day(ctx.as_of).replace(day=1))
    last_stage = ctx.settings.plant.stages[-1].name
    saved = 0.0
    for number, plan in enumerate(plans):
        until = plans[number + 1].made_at if number + 1 < len(plans) else ctx.as_of
        per_kg = plan.fields.get("eur_kg", {})
        ends = plan.stages[plan.stages["stage"] == last_stage]
        inside = (ends["end"] > max(plan.made_at, month)) & (ends["end"] <= until)
        if {"plan", "shift_begin"} <= set(per_kg):
            saved += float(ends.loc[inside, "kg"].sum()) * (per_kg["shift_begin"] - per_kg["plan"])
    return saved


def contract_advice(ctx: RunContext, plan: Plan) -> pd.DataFrame:
    """Return contracted power by period, as it is and as it would cost least for the load.

    The load is the meter's of the last year where it has four weeks, else the plan's.

    Returns
    -------
    DataFrame
        Index: ``contract now`` and ``cheapest``; P1 … P6 (kW), ``power_and_excess_eur``
        of the days looked at, ``days`` and ``load`` (metered or planned).
    """
    contract = ctx.settings.contract
    terms = inputs.tariff_of(ctx)
    begin = day_start(market_day(ctx.as_of) - timedelta(days=365))
    end = plan.problem.request.begin
    index = pd.date_range(begin, end, freq="15min", inclusive="left", unit="s", name="start")
    load = (inputs.metered_kwh(ctx, index) * 4).dropna()
    metered = len(load) >= LEAST_METERED_DAYS * 96
    if not metered:
        load = plan.power()["import_kw"]
    zero = pd.DataFrame(
        0.0, index=load.index, columns=["market_eur_mwh", "toll_eur_mwh", "other_eur_mwh"]
    )
    rows = {}
    for name, one in (
        ("contract now", contract),
        ("cheapest", best_contract(load, contract, terms)),
    ):
        amount = bill(load, zero, one, terms)["total_eur"].sum()
        days = len(set(pd.DatetimeIndex(load.index).tz_convert(MADRID).date))
        rows[name] = {
            **one.kw,
            "power_and_excess_eur": amount,
            "days": days,
            "load": "metered" if metered else "planned",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("contract")


def day_of(text: str, as_of: datetime) -> date:
    """Return the local day of ``today``, ``tomorrow``, nothing (tomorrow) or a date.

    Raises
    ------
    BadInput
        If it is none of them.
    """
    today = market_day(as_of)
    if text in ("", "today", "tomorrow"):
        return today + timedelta(days=text != "today")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{text!r} is no day.", next_step="Write today, tomorrow or a date like 2026-01-31."
        ) from None


def view(ctx: RunContext, first: date, days: int) -> tuple[datetime, datetime]:
    """Return the instants between which a view of the plan shows stages.

    A day's batches may begin in the afternoon before (``plant.lead_in``).

    Raises
    ------
    BadInput
        If the rolling plan does not reach that far.
    """
    today = market_day(ctx.as_of)
    if (
        not today <= first
        or first + timedelta(days=days) > today + timedelta(days=DAYS)
        or days < 1
    ):
        last = today + timedelta(days=DAYS - 1)
        raise BadInput(
            f"{days} days from {first} are not in the plan of {today} to {last}.",
            next_step=f"Choose a day in it, and 1 … {DAYS} days.",
        )
    begin = day_start(today)
    if first > today:
        begin = local_instant(first - timedelta(days=1), ctx.settings.plant.lead_in)
    return begin, day_start(first + timedelta(days=days))


def logged(ctx: RunContext, made: DailyPlan, metrics: dict[str, Any]) -> str:
    """Log metrics and files as an MLflow run and return its id."""
    from factory_lib.models import registry

    run = registry.log(
        ctx,
        name=f"plan from {market_day(made.request.begin)}",
        params={"as_of": ctx.as_of.isoformat(), "profile": ctx.profile},
        metrics={key: float(value) for key, value in metrics.items() if not isinstance(value, str)},
        models={},
        tags={"kind": "plan", "status": made.plan.source, "origin": ctx.store.origin},
        artifacts={Path(file).name: Path(file).read_text(encoding="utf-8") for file in made.files},
        figures={},
    )
    return run.run_id
