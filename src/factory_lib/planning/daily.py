"""The daily plan: one rolling plan of seven days, made from what is known, compared and written."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from msgspec import structs

from factory_lib.clock import day_start, epoch, from_epoch, local_instant, market_day
from factory_lib.context import RunContext
from factory_lib.domain.tariff import all_in
from factory_lib.errors import BadInput
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import Order, Outage, PlanRequest, open_demand, weekly_orders
from factory_lib.planner.solve import fixed_start, shift_begin, solve
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
COST_NAMES = ("energy", "toll", "other", "excess", "paid", "objective")
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
    month_eur : float
        ``planning.review.saved_this_month``.
    unreadable : tuple of str
        Files of earlier plans that are damaged and left out.
    """

    plan: Plan
    overrides: tuple[overrides.Override, ...]
    costs: pd.DataFrame
    contract: pd.DataFrame
    before: documents.PlanDocument | None
    month_eur: float
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


@dataclass(frozen=True)
class OpenOrders:
    """Orders that are still to be made, all due after the day ``first`` began.

    ``surplus_kg`` is by product what was made before that day beyond what was demanded
    before it.
    """

    orders: tuple[Order, ...]
    first: date
    surplus_kg: Mapping[str, float]


def make_plan(ctx: RunContext) -> DailyPlan:
    """Plan the next seven days, compare, and write the plan to its files.

    Raises
    ------
    BadInput
        If a slot of the window has no price.
    """
    folder = documents.plans_folder(ctx)
    plans, damaged = documents.kept(ctx)
    before = plans[-1] if plans else None
    items = overrides.active(folder, ctx.as_of)
    request, demanded = request_of(ctx, plans)
    plan = solve(request, gap=GAP, time_limit_s=LIMIT_S)
    costs = compared(plan)
    eur_kg = costs["paid_eur"] / costs["kg"].where(costs["kg"] > 0)
    fields = {
        "made_at": ctx.as_of,
        "plant": request.plant.name,
        "begin": request.begin,
        "end": request.end,
        "first_demand": demanded.first,
        "surplus_kg": demanded.surplus_kg,
        "source": plan.source,
        "gap": plan.gap,
        "costs_eur": {name: getattr(plan.costs, name) for name in COST_NAMES},
        "stages": documents.stages_of(plan),
        "gave_way": plan.costs.relaxations,
        "eur_kg": eur_kg.dropna().to_dict(),
        "overrides": [str(item) for item in items],
    }
    return DailyPlan(
        plan=plan,
        overrides=items,
        costs=costs,
        contract=review.contract_advice(ctx, plan),
        before=before,
        month_eur=review.saved_this_month(ctx, plans),
        files=documents.write(folder, fields, before),
        unreadable=damaged,
    )


def request_of(
    ctx: RunContext, plans: Sequence[documents.PlanDocument] = (), days: int = DAYS
) -> tuple[PlanRequest, OpenOrders]:
    """Return the request for the next days, today from now on, and the demand it serves.

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
    missing = prices.loc[begin:].query("p50.isna()").index
    if len(missing):
        first, last = map(overrides.local_time, missing[[0, -1]])
        raise BadInput(
            f"{len(missing)} quarters between {first} and {last} have no price: neither "
            "published, nor forecast, nor of the same hour in the four weeks before.",
            next_step="Run `factory run ingest` and `factory predict` first.",
        )
    stages = documents.carried_out(plans, begin)
    ahead = plans[-1].stages if plans else stages
    ahead = ahead[ahead.groupby("batch")["end"].transform("max") > pd.Timestamp(begin)]
    ahead = documents.of_plant(ahead, plant)  # it may have changed since
    so_far = inputs.quarters(day_start(today.replace(day=1)), begin)
    items = overrides.fitting(documents.plans_folder(ctx), plant, ctx.as_of)
    demanded = demand(ctx, plans, begin, days)
    request = PlanRequest(
        plant=plant,
        prices=prices,
        tariff=inputs.tariff_of(ctx.settings),
        contract=ctx.settings.contract,
        begin=begin,
        end=end,
        orders=demanded.orders,
        weather=inputs.weather(ctx, begin, end),
        pv_kw=inputs.solar_kw(ctx, begin, end),
        outages=overrides.outages(items, begin, end),
        pins=overrides.pins(items, begin, end),
        begun=documents.batches(ahead[ahead["start"] < pd.Timestamp(begin)]),
        previous=documents.batches(ahead),
        next_number=max([0, *(int(n) for plan in plans for n in plan.stages["batch"])]) + 1,
        load_so_far=inputs.load_kw(ctx, stages, so_far) if len(so_far) else None,
    )
    return request, demanded


def demand(
    ctx: RunContext, plans: Sequence[documents.PlanDocument], begin: datetime, days: int
) -> OpenOrders:
    """Return what is open of the demand of the next days and of the two weeks before.

    All kilograms made since the first day of the plan before serve its orders, the
    earliest first; what is older than two weeks and still open then is not made up for.
    """
    today = market_day(begin)
    since = plans[-1].first_demand if plans else today
    first = max(since, today - overrides.REMEMBERED)
    items = overrides.fitting(documents.plans_folder(ctx), ctx.settings.plant, ctx.as_of)
    orders = (
        *weekly_orders(ctx.settings.plant, since, today + timedelta(days=days - 1)),
        *overrides.orders(items, day_start(since), day_start(today + timedelta(days=days))),
    )
    made = _finished(ctx, documents.carried_out(plans, begin), since, begin)
    surplus = defaultdict(float, plans[-1].surplus_kg if plans else {})
    total_kg = surplus.copy()
    for product, kg, day in zip(made["product"], made["kg"], made["day"], strict=True):
        total_kg[product] += kg
        surplus[product] += kg * (day < first)
    rest = open_demand(orders, total_kg)
    open_kg = {order.name: order.kg for order in rest}
    for order in orders:
        if order.due <= day_start(first):
            surplus[order.product] -= order.kg - open_kg.get(order.name, 0.0)
    still = tuple(order for order in rest if order.due > day_start(first))
    return OpenOrders(still, first, surplus)


def _finished(ctx: RunContext, stages: pd.DataFrame, since: date, begin: datetime) -> pd.DataFrame:
    """Return day, product and kilograms finished: as recorded of a day, else as planned."""
    ended = stages["end"] <= pd.Timestamp(begin)
    done = stages[ended & (stages["stage"] == ctx.settings.plant.stages[-1].name)]
    done = done.assign(day=documents.day_ended(done))
    done = done[done["day"] >= since]
    recorded = inputs.produced_kg(ctx, since, market_day(begin))
    planned = done.groupby("day")["kg"].transform("sum")
    kg = done["kg"] * done["day"].map(recorded) / planned
    return done.assign(kg=kg.fillna(done["kg"]))


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
    counts = Counter(batch.product for batch in plan.batches)
    schedules = {
        "plan": plan,
        "shift_full": shift_begin(problem, counts),
        "shift_begin": shift_begin(problem),
        "fixed_start": fixed_start(problem, counts),
    }
    rows = {}
    for name, schedule in schedules.items():
        if schedule is plan or (schedule is not None and schedule.complete):
            costs = schedule.costs
            rows[name] = {
                "kg": float(schedule.kg.sum()),
                "energy_eur": costs.energy,
                "toll_eur": costs.toll,
                "other_eur": costs.other,
                "excess_eur": costs.excess,
                "paid_eur": costs.paid,
                "wishes_eur": costs.objective - costs.paid,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


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
    settings = structs.replace(ctx.settings, plant=free)
    try:
        change = msgspec.convert(dict(changes), Changes, strict=False)
        other = _changed(settings, change)
    except ValueError as error:
        raise BadInput(
            f"This cannot be changed in a preview: {error}.",
            next_step=f"Change {', '.join(Changes.__struct_fields__)}.",
        ) from None
    plans = documents.kept(ctx).plans
    base, changed = (
        request_of(replace(ctx, settings=one), plans, PREVIEW_DAYS)[0] for one in (settings, other)
    )
    prices = changed.prices.copy()
    prices[["market_eur_mwh", "price_eur_mwh"]] += change.price_eur_mwh
    out = [Outage(change.out, base.begin, base.begin + OUT)] if change.out else []
    changed = replace(changed, prices=prices, outages=(*changed.outages, *out))
    plan = solve(base, gap=GAP, time_limit_s=PREVIEW_LIMIT_S)
    return plan, solve(changed, gap=GAP, time_limit_s=PREVIEW_LIMIT_S)


def _changed(settings: Settings, change: Changes) -> Settings:
    plant = settings.plant
    contract = settings.contract
    shifts = tuple(
        structs.replace(shift, operators=max(shift.operators + change.operators, 0))
        for shift in plant.shifts
    )
    kwp = plant.pv.kwp if change.pv_kwp is None else change.pv_kwp
    plant = structs.replace(plant, shifts=shifts, pv=structs.replace(plant.pv, kwp=kwp))
    if change.contract_kw is not None:
        contract = structs.replace(contract, kw=dict.fromkeys(PERIODS, change.contract_kw))
    return structs.replace(settings, plant=plant, contract=contract)


def week_problems(settings: Settings) -> list[str]:
    """Return why an ordinary week cannot make the demand in time; nothing where it can.

    Any weather and any price are taken to do: what is left is the plant's own
    arithmetic.
    """
    begin = day_start(ORDINARY_MONDAY)
    end = day_start(ORDINARY_MONDAY + timedelta(days=7))
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
    return [
        f"{item.subject}: {item.amount:,.0f} {item.unit} {item.kind.replace('_', ' ')}"
        for item in solve(request, gap=0.05, time_limit_s=10.0).costs.relaxations
        if item.kind in ("late", "firm_late", "overtime")
    ]


def day_of(text: str, as_of: datetime) -> date:
    """Return the local day of ``today``, ``tomorrow``, nothing (tomorrow) or a date.

    Raises
    ------
    BadInput
        If it is none of them.
    """
    if text in ("", "today", "tomorrow"):
        return market_day(as_of) + timedelta(days=text != "today")
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
    end = first + timedelta(days=days)
    if not today <= first < end <= today + timedelta(days=DAYS):
        raise BadInput(
            f"{days} days from {first} are not in the plan of {DAYS} days from {today}.",
            next_step=f"Choose a day in it, and 1 … {DAYS} days.",
        )
    if first == today:
        return day_start(today), day_start(end)
    lead_in = local_instant(first - timedelta(days=1), ctx.settings.plant.lead_in)
    return lead_in, day_start(end)


def logged(ctx: RunContext, made: DailyPlan, metrics: Mapping[str, Any]) -> str:
    """Log metrics and files as an MLflow run and return its id."""
    from factory_lib.models import registry

    run = registry.log(
        ctx,
        name=f"plan from {market_day(made.request.begin)}",
        params={"as_of": ctx.as_of.isoformat(), "profile": ctx.profile},
        metrics=metrics,
        models={},
        tags={"kind": "plan", "status": made.plan.source, "origin": ctx.store.origin},
        artifacts={Path(file).name: Path(file).read_text(encoding="utf-8") for file in made.files},
        figures={},
    )
    return run.run_id
