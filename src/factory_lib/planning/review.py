"""Accounts: the last days as planned and billed, the month's saving, the contract that fits."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import numpy as np
import pandas as pd
from msgspec import structs

from factory_lib.clock import day_start, local_day
from factory_lib.context import RunContext
from factory_lib.domain.tariff import best_contract, bill
from factory_lib.frames import QUANTILES
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import with_peak_limit
from factory_lib.planner.solve import solve
from factory_lib.planning import documents, inputs
from factory_lib.planning.documents import PlanDocument
from factory_lib.results import JobResult

LEAST_METERED_DAYS = 28  # of the meter file, before contract advice rests on it
LIMITED_GAP, LIMITED_S = 0.02, 20.0  # of the plan below a peak
DAY_COLUMNS = [
    "day",
    "planned_kg",
    "produced_kg",
    "planned_kwh",
    "metered_kwh",
    "expected_eur_mwh",
    "published_eur_mwh",
    "planned_eur",
    "billed_eur",
]
DAY = timedelta(days=1)


def review_plans(ctx: RunContext, days: int = 7) -> JobResult:
    """Compare the last local days, as far as they are known at ``ctx.as_of``.

    Energy and euros (whole marginal price) are of the whole plant, loads that always run
    included; what is not known of a whole day is NaN.
    """
    zone = ctx.settings.plant.zone
    today = local_day(ctx.as_of, zone)
    past = [today - days_back * DAY for days_back in range(days, 0, -1)]
    plans, _ = documents.kept(ctx, past[0] - documents.MONTH)
    stages = documents.carried_out(plans, day_start(today, zone))
    frame = _quarters(ctx, plans, stages, past)
    by_day = frame.groupby(pd.DatetimeIndex(frame.index).tz_convert(zone).date)
    ended = stages[stages["stage"] == ctx.settings.plant.stages[-1].name]
    planned_kg = ended["kg"].groupby(documents.day_ended(ended, zone)).sum()
    table = by_day[["planned_kwh", "metered_kwh", "planned_eur", "billed_eur"]].sum(skipna=False)
    table = table.assign(
        planned_kg=planned_kg.reindex(table.index, fill_value=0.0),
        produced_kg=inputs.produced_kg(ctx, past[0], today).reindex(table.index),
        expected_eur_mwh=by_day["p50"].mean(skipna=False),
        published_eur_mwh=by_day["actual"].mean(skipna=False),
    )
    first = local_day(plans[0].begin, zone) if plans else today
    table.loc[table.index < first, ["planned_kg", "planned_kwh", "planned_eur"]] = np.nan
    kg = table[["planned_kg", "produced_kg"]].sum()
    recorded = f"{kg['produced_kg']:,.0f} kg" if table["produced_kg"].any() else "nothing"
    text = f"{kg['planned_kg']:,.0f} kg were planned in the last {days} days, {recorded} recorded."
    return JobResult(
        status="ok",
        summary=text if plans else "No plan is stored of the last days.",
        metrics={str(name): value for name, value in kg.items()},
        tables={
            "days": table.rename_axis("day").reset_index()[DAY_COLUMNS],
            "prices": frame[[*QUANTILES, "actual"]],
        },
        notes=(
            "Planned: what began under each plan before the next one was made, at the published "
            "whole price. Billed: the metered energy at the same price. Power term and excess are "
            "not counted. What `factory import meter FILE` and `factory import production FILE` "
            "have not stored is unknown.",
        ),
    )


def _quarters(
    ctx: RunContext, plans: Sequence[PlanDocument], stages: pd.DataFrame, days: Sequence[date]
) -> pd.DataFrame:
    """Return the quarters of the days: expected and published price, planned and metered load.

    A day's price is expected as it was when the plan in force at its begin was made.
    """
    start_of = partial(day_start, zone=ctx.settings.plant.zone)
    start = start_of(days[0])
    prices = inputs.prices(ctx, start, start_of(days[-1] + DAY)).loc[start:]
    index = pd.DatetimeIndex(prices.index)
    expected = [prices[[*QUANTILES]].iloc[:0]]
    for day in days:
        begin = start_of(day)
        made = [plan.made_at for plan in plans if plan.made_at <= begin]
        if made:
            then = replace(ctx, as_of=made[-1])
            expected.append(
                inputs.prices(then, begin, start_of(day + DAY)).loc[begin:, [*QUANTILES]]
            )
    published = prices.where(prices["known"] == inputs.PUBLISHED)
    planned_kwh = inputs.planned_kw(ctx, stages, index) / 4
    metered_kwh = inputs.metered_kw(ctx, index) / 4
    return (
        pd.concat(expected)
        .reindex(index)
        .assign(
            actual=published["p50"],
            planned_kwh=planned_kwh,
            metered_kwh=metered_kwh,
            planned_eur=planned_kwh * published["price_eur_mwh"] / 1000,
            billed_eur=metered_kwh * published["price_eur_mwh"] / 1000,
        )
    )


def contract_advice(ctx: RunContext, plan: Plan) -> pd.DataFrame:
    """Return contracted power by period: as it is, cheapest for the load, and below a peak.

    The load is the meter's of the last year where it has four weeks, else that of the
    year's plans. The peak is the least that lets every stage run.

    Returns
    -------
    DataFrame
        Index: ``contract now`` and ``cheapest`` for the load; ``plan`` and ``plan below a
        peak`` for the days of the plan. P1 … P6 (kW), ``load``, ``days``,
        ``power_and_excess_eur`` of these days, ``kg`` and ``energy_eur`` (with tolls and
        tax) of a plan's production.
    """
    request = plan.problem.request
    contract = request.contract
    load, kind = _year(ctx, plan)
    stage_kw = max(stage.power_kw for stage in request.plant.stages)
    always_kw = float(np.ceil(plan.problem.base_kw.max()))
    cheapest = best_contract(load, contract, request.tariff)
    levels = {period: max(kw, always_kw) for period, kw in cheapest.kw.items()}
    unplanned = replace(request, previous=plan.problem.begun)
    limited = with_peak_limit(unplanned, always_kw + stage_kw)
    below = solve(limited, gap=LIMITED_GAP, time_limit_s=LIMITED_S)
    rows = {
        "contract now": (contract, load, kind, None),
        "cheapest": (structs.replace(contract, kw=levels), load, kind, None),
        "plan": (contract, plan.power()["import_kw"], "this plan", plan),
        "plan below a peak": (limited.contract, below.power()["import_kw"], "this plan", below),
    }
    table = {}
    for name, (terms, kw, of, made) in rows.items():
        free = pd.DataFrame(0.0, kw.index, ["market_eur_mwh", "toll_eur_mwh", "other_eur_mwh"])
        table[name] = {
            **terms.kw,
            "load": of,
            "days": len(set(pd.DatetimeIndex(kw.index).tz_convert(request.plant.zone).date)),
            "power_and_excess_eur": bill(kw, free, terms, request.tariff)["total_eur"].sum(),
            "kg": made.kg.sum() if made else np.nan,
            "energy_eur": made.costs["paid"] - made.costs["excess"] if made else np.nan,
        }
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("contract")


def _year(ctx: RunContext, plan: Plan) -> tuple[pd.Series, str]:
    """Return the load of the last year by quarter, and whether it is metered or planned."""
    request = plan.problem.request
    zone = request.plant.zone
    since = local_day(ctx.as_of, zone) - 365 * DAY
    load = inputs.metered_kw(ctx, inputs.quarters(day_start(since, zone), request.begin)).dropna()
    if len(load) >= LEAST_METERED_DAYS * 96:
        return load, "metered"
    plans, _ = documents.kept(ctx, since)
    index = inputs.quarters(plans[0].begin if plans else request.begin, request.end)
    begun = inputs.load_kw(ctx, documents.carried_out(plans, request.begin), index)
    return plan.power()["import_kw"].reindex(index, method="ffill").fillna(begun), "planned"
