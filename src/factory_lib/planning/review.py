"""Accounts: the last days as planned and billed, the contract that fits, worth of forecasts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial

import numpy as np
import pandas as pd
from msgspec import structs

from factory_lib.catalogue import Kind
from factory_lib.clock import DAY, HOUR_S, MADRID, day_start, local_day
from factory_lib.context import RunContext
from factory_lib.domain.plant import Bools, operators
from factory_lib.domain.tariff import best_contract, bill
from factory_lib.features.horizon import PRICE, VALUES
from factory_lib.frames import QUANTILES
from factory_lib.models.history import load_hours, price_series
from factory_lib.models.verification import WINDOW_DAYS, verification_pairs
from factory_lib.models.weather_forecast import OWN
from factory_lib.planner.plan import Plan
from factory_lib.planner.request import with_peak_limit
from factory_lib.planner.solve import solve
from factory_lib.planning import documents, inputs
from factory_lib.planning.documents import PlanDocument
from factory_lib.planning.recommendation import OneBatch, lay_for
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
REGRETS = ("market_day", "mae", "regret_eur", "naive_regret_eur")
_CHAIN_DAYS = 3  # that chains begun on the next day may reach into
_FORECASTS = {"regret_eur": "p50", "naive_regret_eur": "naive"}


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
        tax) of a plan's production. No rows where no power term is published: without
        one a contract has no price.
    """
    request = plan.problem.request
    if not request.tariff.published:
        return pd.DataFrame(index=pd.Index([], name="contract"))
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


# -- what errors of the price forecast cost --------------------------------------------


def forecast_regret(ctx: RunContext) -> pd.DataFrame:
    """Return for each of the last days what the start believed best before publication cost.

    Once tomorrow's prices are published their forecast decides nothing any more: what it was
    worth is what a batch cost that was begun at the hour it showed as the best one.

    Returns
    -------
    DataFrame
        ``market_day``; ``mae``, the error of the forecast (EUR/MWh); ``regret_eur`` and
        ``naive_regret_eur``: the cost of one batch begun in the working hour that the
        forecast, and the naive one, showed as cheapest, above that of the best such hour.
    """
    paths = unpublished_paths(ctx)
    history = load_hours(ctx, WINDOW_DAYS + 1).hourly
    last = history[PRICE].last_valid_index()
    if not paths or last is None:
        return pd.DataFrame(columns=list(REGRETS))
    observed = history.loc[:last, list(VALUES)]
    observed = observed.assign(**{PRICE: observed[PRICE].interpolate(limit_direction="both")})
    batch = lay_for(ctx.settings)(observed)
    working = operators(ctx.settings.plant, pd.DatetimeIndex(observed.index), HOUR_S) > 0
    return regret_by_day(batch, working, paths)


def regret_by_day(
    batch: OneBatch, working: Bools, paths: Mapping[date, pd.DataFrame]
) -> pd.DataFrame:
    """Return ``REGRETS`` of the days whose chains end within the paths.

    Parameters
    ----------
    batch : OneBatch
        At the prices that came.
    working : array
        Its hours with people.
    paths : mapping
        By market day, from its first hour on (UTC): ``p50``, ``naive`` and ``actual``.
    """
    index = batch.problem.index
    actual = batch.eur()
    local_day = index.tz_convert(MADRID).date
    chain = pd.Timedelta(hours=batch.chain_h)
    rows: list[dict[str, str | float]] = []
    for day, path in paths.items():
        begins = working & (local_day == day) & np.isfinite(actual)
        if not begins.any() or index[begins][-1] + chain > path.index[-1]:
            continue
        errors = path[list(_FORECASTS.values())].sub(path["actual"], axis=0).reindex(index)
        own_day = pd.DatetimeIndex(path.index).tz_convert(MADRID).date == day
        mae = float(errors["p50"].loc[path.index][own_day].abs().mean())
        row: dict[str, str | float] = {"market_day": str(day), "mae": mae}
        for name, forecast in _FORECASTS.items():
            believed = np.where(begins, batch.eur(errors[forecast].fillna(0.0).to_numpy()), np.inf)
            row[name] = float(actual[believed.argmin()] - actual[begins].min())
        rows.append(row)
    return pd.DataFrame(rows, columns=list(REGRETS))


def unpublished_paths(ctx: RunContext) -> dict[date, pd.DataFrame]:
    """Return the last forecasts of each day that were issued before its prices were published.

    Returns
    -------
    dict of date to DataFrame
        By market day, its hours and those of the next two (UTC): ``p50``, ``naive``,
        ``actual``, EUR/MWh.
    """
    entry = ctx.catalogue[price_series(ctx)]
    pairs = verification_pairs(ctx, entry.name)
    pairs = pairs[(pairs["model"] == OWN) & pairs["lead_days"].between(1, _CHAIN_DAYS)]
    local = pairs["issued_at"].dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
    next_day = (local + pd.Timedelta(days=1)).dt.tz_localize(MADRID)
    known_until = entry.publication[Kind.OBSERVED].known_until
    issues = pairs["issued_at"].drop_duplicates().tolist()
    ends = {issue: known_until(issue.to_pydatetime()) for issue in issues}
    unpublished = pd.to_datetime(pairs["issued_at"].map(ends), utc=True) <= next_day
    pairs = pairs.assign(day=next_day)[unpublished]
    pairs = pairs.sort_values("issued_at")
    latest = pairs.drop_duplicates(["day", "target_start"], keep="last")
    hour = latest["target_start"].dt.floor("h")
    hourly = latest.groupby(["day", hour])[["p50", "naive", "actual"]].mean()
    paths = {pd.Timestamp(str(day)).date(): path for day, path in hourly.groupby("day")}
    return {day: path.droplevel("day") for day, path in paths.items()}
