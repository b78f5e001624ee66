"""The daily plan: one rolling plan of seven days, made from what is known, compared and written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
from msgspec import structs

from factory_lib.clock import day_start, epoch, from_epoch, local_day, local_instant
from factory_lib.context import RunContext
from factory_lib.domain.tariff import all_in
from factory_lib.errors import BadInput
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import (
    Order,
    Outage,
    PlanRequest,
    of_plant,
    open_demand,
    weekly_orders,
)
from factory_lib.planner.solve import fixed_start, least_batches, shift_begin, solve
from factory_lib.planning import documents, inputs, overrides, review
from factory_lib.settings import Settings
from factory_lib.settings.plant import Replanning
from factory_lib.settings.tariff import PERIODS

DAYS = 7
GAP = 0.01
LIMIT_S = 60.0
PREVIEW_DAYS = 3
PREVIEW_LIMIT_S = 10.0
OUT = timedelta(hours=24)  # of a machine in a preview
# The first day of an ordinary week: no holiday of any region, no clock change.
ORDINARY_MONDAY = date(2026, 3, 9)


@dataclass(frozen=True, eq=False)
class DailyPlan:
    """A plan beside what it was made from, its alternatives, and the files it is in.

    Attributes
    ----------
    costs : DataFrame
        The plan and simple schedules of the same demand (:func:`compared`).
    contract : DataFrame
        ``planning.review.contract_advice``.
    before : PlanDocument, optional
        The plan that this one follows.
    month_eur : float, optional
        ``planning.documents.saved_this_month``.
    unreadable : tuple of str
        Files of earlier plans that are damaged and left out.
    """

    plan: Plan
    overrides: tuple[overrides.Override, ...]
    costs: pd.DataFrame
    contract: pd.DataFrame
    before: documents.PlanDocument | None
    month_eur: float | None
    files: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def request(self) -> PlanRequest:
        """The request to the optimiser."""
        return self.plan.problem.request

    @property
    def prices(self) -> pd.DataFrame:
        """``planning.inputs.prices`` of the window."""
        return self.request.prices.loc[self.request.begin :]

    @property
    def weather(self) -> pd.DataFrame:
        """``planning.inputs.weather`` of the window."""
        assert self.request.weather is not None
        return self.request.weather


def make_plan(ctx: RunContext) -> DailyPlan:
    """Plan the next seven days, compare, and write the plan to its files.

    Raises
    ------
    BadInput
        If a slot of the window has no price.
    """
    folder = documents.plans_folder(ctx)
    plans, damaged = documents.kept(ctx)
    damaged += overrides.damaged(folder)
    before = plans[-1] if plans else None
    items = overrides.active(folder, ctx.as_of)
    request, carried = request_of(ctx, plans)
    plan = solve(request, gap=GAP, time_limit_s=LIMIT_S)
    costs = compared(plan)
    eur_kg = costs["paid_eur"] / costs["kg"].where(costs["kg"] > 0)
    contract = review.contract_advice(ctx, plan)
    fields = {
        "made_at": ctx.as_of,
        "plant": request.plant.name,
        "begin": request.begin,
        "end": request.end,
        **carried,
        "source": plan.source,
        "gap": plan.gap,
        "costs_eur": plan.costs.to_dict(),
        "stages": plan.stages,
        "gave_way": plan.gave_way,
        "eur_kg": eur_kg.dropna().to_dict(),
        "schedules": costs.rename_axis("schedule").reset_index(),
        "contract": contract.reset_index(),
        "overrides": [str(item) for item in items],
    }
    return DailyPlan(
        plan=plan,
        overrides=items,
        costs=costs,
        contract=contract,
        before=before,
        month_eur=documents.saved_this_month(ctx, documents.carried_out(plans, ctx.as_of)),
        files=documents.write(folder, fields, before),
        unreadable=damaged,
    )


def request_of(
    ctx: RunContext, plans: Sequence[documents.PlanDocument] = (), days: int = DAYS
) -> tuple[PlanRequest, dict[str, Any]]:
    """Return the request for the next days, today from now on, and what ``demand`` carries on."""
    plant = ctx.settings.plant
    slot_s = plant.slot_min * 60
    begin = from_epoch(-(-epoch(ctx.as_of) // slot_s) * slot_s)
    today = local_day(begin, plant.zone)
    end = day_start(today + timedelta(days=days), plant.zone)
    stages = documents.carried_out(plans, begin)
    ahead = plans[-1].stages if plans else stages
    ahead = ahead[ahead.groupby("batch")["end"].transform("max") > pd.Timestamp(begin)]
    so_far = inputs.quarters(day_start(today.replace(day=1), plant.zone), begin)
    items = overrides.fitting(documents.plans_folder(ctx), plant, ctx.as_of)
    orders, carried = demand(ctx, plans, begin, days)
    request = PlanRequest(
        plant=plant,
        prices=inputs.prices(ctx, begin, end),
        tariff=inputs.tariff_of(ctx.settings),
        contract=ctx.settings.contract,
        begin=begin,
        end=end,
        orders=orders,
        weather=inputs.weather(ctx, begin, end),
        pv_kw=inputs.solar_kw(ctx, plant.pv, begin, end),
        outages=overrides.outages(items, begin, end),
        pins=overrides.pins(items, begin, end),
        previous=of_plant(ahead, plant),  # it may have changed since
        next_number=max([0, *(int(n) for plan in plans for n in plan.stages["batch"])]) + 1,
        load_so_far=inputs.load_kw(ctx, stages, so_far) if len(so_far) else None,
    )
    return request, carried


def demand(
    ctx: RunContext, plans: Sequence[documents.PlanDocument], begin: datetime, days: int
) -> tuple[tuple[Order, ...], dict[str, Any]]:
    """Return what is open of the demand of the next days and of the two weeks before.

    All kilograms made since the first day of the plan before serve its orders, the
    earliest first; what is older than two weeks and still open then is not made up for.

    Returns
    -------
    tuple of Order
        All due after the first day began.
    dict
        What the next plan goes on from: the first day, and by product what was made
        before it beyond what was demanded before it.
    """
    plant = ctx.settings.plant
    start_of = partial(day_start, zone=plant.zone)
    today = local_day(begin, plant.zone)
    since = plans[-1].first_demand if plans else today
    first = max(since, today - overrides.REMEMBERED)
    items = overrides.fitting(documents.plans_folder(ctx), plant, ctx.as_of)
    orders = (
        *weekly_orders(plant, since, today + timedelta(days=days - 1)),
        *overrides.orders(items, start_of(since), start_of(today + timedelta(days=days))),
    )
    made = _made_kg(ctx, documents.carried_out(plans, begin), since, begin)
    before = pd.Series(plans[-1].surplus_kg if plans else {}, made.columns, float).fillna(0.0)
    total = before + made.sum()
    past = pd.Series(0.0, made.columns)
    for order in orders:
        past[order.product] += order.kg * (order.due <= start_of(first))
    surplus = before + made[made.index < first].sum() - np.minimum(past, total)
    ahead = [order for order in orders if order.due > start_of(first)]
    rest = open_demand(ahead, dict(zip(plant.variants, np.maximum(total - past, 0), strict=True)))
    return rest, {"first_demand": first, "surplus_kg": surplus.to_dict()}


def _made_kg(ctx: RunContext, stages: pd.DataFrame, since: date, begin: datetime) -> pd.DataFrame:
    """Return the kilograms finished by local day and product.

    As recorded of a day, shared among products as planned for it, else as demanded;
    where nothing is recorded, as planned.
    """
    plant = ctx.settings.plant
    last = stages["stage"] == plant.stages[-1].name
    ended = stages[last & (stages["end"] <= pd.Timestamp(begin))]
    planned = (
        ended["kg"]
        .groupby([documents.day_ended(ended, plant.zone), ended["product"]])
        .sum()
        .unstack()
    )
    recorded = inputs.produced_kg(ctx, since, local_day(begin, plant.zone))
    days = sorted({day for day in planned.index if day >= since} | {*recorded.index})
    planned = planned.reindex(index=days, columns=[*plant.variants]).fillna(0.0)
    usual = np.array([plant.demand.weekly_kg.get(name, 0.0) for name in plant.variants])
    share = planned.copy()
    share.loc[~planned.any(axis=1)] = usual + (not usual.any())
    share = share.div(share.sum(axis=1), axis=0)
    return share.mul(recorded, axis=0).fillna(planned)


def compared(plan: Plan) -> pd.DataFrame:
    """Return what the plan and simple schedules of the same demand make and cost.

    Returns
    -------
    DataFrame
        Index: ``plan``, ``shift_full``, ``shift_begin``, ``fixed_start``, those that
        there are and that were solved in time; ``kg``, parts of the bill and
        ``paid_eur``, ``wishes_eur`` (stated prices of what gave way).
    """
    problem = plan.problem
    counts = Counter(plan.products)
    full = shift_begin(problem, counts)
    schedules = {
        "plan": plan,
        "shift_full": full,
        "shift_begin": full if counts == least_batches(problem) else shift_begin(problem),
        "fixed_start": fixed_start(problem, counts),
    }
    rows = {
        name: {"kg": schedule.kg.sum(), **schedule.costs.add_suffix("_eur").to_dict()}
        for name, schedule in schedules.items()
        if schedule is plan or (schedule is not None and schedule.complete)
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["wishes_eur"] = table.pop("objective_eur") - table["paid_eur"]
    return table


class Changes(msgspec.Struct, forbid_unknown_fields=True):
    """Changes that a preview looks at.

    Attributes
    ----------
    operators : int
        People more or fewer in every shift.
    contract_kw : float, optional
        Contracted in every period.
    out : str
        A machine that is out of order for a day from now on.
    price_eur_mwh : float
        Added to every price.
    pv_kwp : float, optional
        Size of the solar modules.
    """

    operators: int = 0
    contract_kw: float | None = None
    out: str = ""
    price_eur_mwh: float = 0.0
    pv_kwp: float | None = None


def preview(ctx: RunContext, changes: Mapping[str, Any]) -> tuple[Plan, Plan]:
    """Plan the next days as they are and with ``Changes``; nothing is written.

    Both are free to move every start that lies ahead: what a change costs is not what
    moving costs.

    Raises
    ------
    BadInput
        If a change is unknown, or leaves no plant that could work.
    """
    free = structs.replace(ctx.settings.plant, replanning=Replanning(freeze_h=0.0, move_eur=0.0))
    ctx = replace(ctx, settings=structs.replace(ctx.settings, plant=free))
    request, _ = request_of(ctx, documents.kept(ctx)[0], PREVIEW_DAYS)
    try:
        changed = _changed(ctx, request, msgspec.convert(dict(changes), Changes, strict=False))
    except ValueError as error:
        raise BadInput(
            f"This cannot be changed in a preview: {error}.",
            next_step=f"Change {', '.join(Changes.__struct_fields__)}.",
        ) from None
    plan = solve(request, gap=GAP, time_limit_s=PREVIEW_LIMIT_S)
    return plan, solve(changed, gap=GAP, time_limit_s=PREVIEW_LIMIT_S)


def _changed(ctx: RunContext, request: PlanRequest, change: Changes) -> PlanRequest:
    plant = request.plant
    kwp = plant.pv.kwp if change.pv_kwp is None else change.pv_kwp
    shifts = [
        structs.replace(shift, operators=max(shift.operators + change.operators, 0))
        for shift in plant.shifts
    ]
    plant = structs.replace(plant, shifts=tuple(shifts), pv=structs.replace(plant.pv, kwp=kwp))
    contract = request.contract
    if change.contract_kw is not None:
        contract = structs.replace(contract, kw=dict.fromkeys(PERIODS, change.contract_kw))
    prices = request.prices.copy()
    prices[["market_eur_mwh", "price_eur_mwh"]] += change.price_eur_mwh
    out = [Outage(change.out, request.begin, request.begin + OUT)] if change.out else []
    return replace(
        request,
        plant=plant,
        contract=contract,
        prices=prices,
        pv_kw=inputs.solar_kw(ctx, plant.pv, request.begin, request.end),
        outages=(*request.outages, *out),
    )


def week_problems(settings: Settings) -> list[str]:
    """Return why an ordinary week cannot make the demand in time; nothing where it can.

    Any weather and any price are taken to do: what is left is the plant's own
    arithmetic.
    """
    zone = settings.plant.zone
    begin = day_start(ORDINARY_MONDAY, zone)
    end = day_start(ORDINARY_MONDAY + timedelta(days=7), zone)
    index = pd.date_range(begin, end, freq="h", inclusive="left", unit="s", name="start")
    tariff = inputs.tariff_of(settings)
    request = PlanRequest(
        plant=settings.plant,
        prices=all_in(index, [50.0] * len(index), tariff, settings.contract),
        tariff=tariff,
        contract=settings.contract,
        begin=begin,
        end=end,
        orders=weekly_orders(settings.plant, ORDINARY_MONDAY, ORDINARY_MONDAY + timedelta(days=6)),
    )
    plan = solve(request, gap=0.05, time_limit_s=LIMIT_S)
    if plan.source != "solver":
        return [f"No plan of an ordinary week was found within {LIMIT_S:.0f} s: try again."]
    problems = plan.gave_way[plan.gave_way["kind"].isin(("late", "firm_late", "overtime"))]
    items: list[dict[Any, Any]] = problems.replace({"kind": "_"}, " ", regex=True).to_dict(
        "records"
    )
    late = "An ordinary week does not meet its demand in time: "
    late += "{subject}: {amount:,.0f} {unit} {kind}."
    return [late.format_map(item) for item in items]


def day_of(text: str, as_of: datetime, zone: ZoneInfo) -> date:
    """Return the local day of ``today``, ``tomorrow``, nothing (tomorrow) or a date.

    Raises
    ------
    BadInput
        If it is none of them.
    """
    if text in ("", "today", "tomorrow"):
        return local_day(as_of, zone) + timedelta(days=text != "today")
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
    plant = ctx.settings.plant
    today = local_day(ctx.as_of, plant.zone)
    if not (1 <= days <= DAYS and today <= first <= today + timedelta(days=DAYS - days)):
        raise BadInput(
            f"{days} days from {first} are not in the plan of {DAYS} days from {today}.",
            next_step=f"Choose a day in it, and 1 … {DAYS} days.",
        )
    afternoon = local_instant(first - timedelta(days=1), plant.lead_in, plant.zone)
    end = day_start(first + timedelta(days=days), plant.zone)
    return max(afternoon, day_start(today, plant.zone)), end


def logged(ctx: RunContext, made: DailyPlan, metrics: Mapping[str, Any]) -> str:
    """Log metrics and files as an MLflow run and return its id."""
    from factory_lib.models import registry
    from factory_lib.models.tracking import PLANS

    run = registry.log(
        ctx,
        name=f"plan from {local_day(made.request.begin, made.request.plant.zone)}",
        params={"as_of": ctx.as_of.isoformat(), "profile": ctx.profile},
        metrics={f"plan_{name}": value for name, value in metrics.items()},
        models={},
        kind=PLANS,
        tags={"kind": "plan", "status": made.plan.source, "origin": ctx.store.origin},
        artifacts={Path(file).name: Path(file).read_text(encoding="utf-8") for file in made.files},
        figures={},
    )
    return run.run_id
