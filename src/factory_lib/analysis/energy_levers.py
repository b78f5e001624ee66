"""Energy levers: a year with other contracts, shifts, batches or solar modules."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pandas as pd
from msgspec import structs

from factory_lib.clock import HOUR_S, day_start
from factory_lib.domain.plant import pv_kw
from factory_lib.domain.tariff import Tariff, all_in, best_contract, bill
from factory_lib.errors import BadInput
from factory_lib.planner.request import PlanRequest, weekly_orders, with_peak_limit
from factory_lib.planner.solve import solve
from factory_lib.results import JobResult
from factory_lib.settings import Settings

INPUTS = ("spot_eur_mwh", "temperature_c", "humidity_pct", "solar_radiation_wm2")
WEEK = pd.DateOffset(days=7)
NOTES = (
    "Each of the weeks is planned by itself on an hourly grid at published prices, and "
    "stands for the weeks around it. Excess power is counted as if the months had these "
    "weeks only.",
    "The bill is that of the whole plant: energy, tolls, charges, power term, excess and "
    "tax. Kilograms more or fewer than today's are valued at what the lever's own cost.",
    "Not counted: wages, machines, modules, and the fee for a change of contract. Solar "
    "modules are shown where radiation is stored.",
)


def study(settings: Settings, tariff: Tariff, hours: pd.DataFrame, every: int = 4) -> JobResult:
    """Plan every so many weeks with each lever, and compare the year's bill with today's.

    Parameters
    ----------
    hours : DataFrame
        UTC index, gapless; ``INPUTS``, NaN where unknown.

    Returns
    -------
    JobResult
        With the table ``levers``: for each what is ``assumed``, and of a year
        ``batches``, ``kg``, ``late_kg``, ``bill_eur`` of today's kilograms, and
        ``saved_eur`` beside today.

    Raises
    ------
    BadInput
        If no whole week of prices is known.
    """
    # a week that misses more than six prices in a row is left out
    hours = hours.interpolate(limit=6, limit_area="inside")
    prices = all_in(pd.DatetimeIndex(hours.index), hours[INPUTS[0]], tariff, settings.contract)
    local = prices["price_eur_mwh"].tz_convert(settings.plant.zone)
    mondays = pd.date_range(local.index[0].ceil("D"), local.index[-1] - WEEK, freq="W-MON")
    weeks = [day.date() for day in mondays if local[day : day + WEEK].notna().all()][::every]
    one_kwp = structs.replace(settings.plant.pv, kwp=1.0)
    kw_per_kwp = pv_kw(
        hours[INPUTS[-1]], one_kwp, settings.site.latitude, settings.site.longitude, HOUR_S
    )
    if not weeks:
        raise BadInput(
            "No whole week of prices is stored.", next_step="Run `factory run backfill` first."
        )
    base = PlanRequest(
        plant=structs.replace(settings.plant, slot_min=60),
        prices=prices,
        tariff=tariff,
        contract=settings.contract,
        begin=hours.index[0],
        end=hours.index[0],
        weather=hours[[*INPUTS[1:3]]],
        pv_kw=settings.plant.pv.kwp * kw_per_kwp,
    )
    load, today = year(base, weeks)
    rows = {"as today": {"assumed": "plant and contract of the settings, planned", **today}}
    for name, (assumed, request) in levers(base, load, kw_per_kwp).items():
        rows[name] = {"assumed": assumed, **year(request, weeks)[1]}
    return summarise(pd.DataFrame.from_dict(rows, orient="index").rename_axis("lever"), weeks)


def summarise(table: pd.DataFrame, weeks: list[date]) -> JobResult:
    """Compose the result from a row for each lever, today's first."""
    other_kg = table["kg"].iloc[0] - table["kg"]
    table["bill_eur"] += other_kg * table.pop("production_eur") / table["kg"]
    today = table.iloc[0]
    table["saved_eur"] = today["bill_eur"] - table["bill_eur"]
    best = table.sort_values("saved_eur").iloc[-1]
    return JobResult(
        status="ok",
        summary=f"“{best.name}” would save most: {best['saved_eur']:,.0f} of "
        f"{today['bill_eur']:,.0f} EUR a year; judged by {len(weeks)} weeks from "
        f"{weeks[0]} to {weeks[-1]}.",
        metrics={
            "weeks": len(weeks),
            "bill_eur": today["bill_eur"],
            "saved_eur": best["saved_eur"],
        },
        tables={"levers": table.reset_index()},
        notes=NOTES,
    )


def levers(
    base: PlanRequest, load: pd.Series, kw_per_kwp: pd.Series
) -> dict[str, tuple[str, PlanRequest]]:
    """Return by name what each lever assumes, and the request that is planned with it.

    ``load`` is what the plant imports as it is, by which another contract is chosen.
    """
    plant = base.plant
    first = plant.shifts[0]
    night = structs.replace(first, name="night", begin=plant.shifts[-1].end, end=first.begin)
    large = {
        name: structs.replace(variant, batch_max_kg=1.5 * variant.batch_max_kg)
        for name, variant in plant.variants.items()
    }
    limit_kw = max(stage.power_kw for stage in plant.stages)
    limit_kw += sum(auxiliary.power_kw for auxiliary in plant.auxiliaries)
    contract = best_contract(load, base.contract, base.tariff)
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        f"a night shift of {night.operators}": (
            "from the last shift's end to the first's begin",
            {"shifts": (*plant.shifts, night)},
        ),
        "the first shift alone": ("no other shifts", {"shifts": (first,)}),
        "batches half as large again": ("in the same time at the same power", {"variants": large}),
    }
    return {
        "another contract": (
            f"the cheapest for today's plan: {contract.by_period[0]:g} kW in P1, "
            f"{contract.by_period[-1]:g} kW in P6",
            replace(base, contract=contract),
        ),
        "a peak limit": (
            f"never above {limit_kw:g} kW, one large stage at a time, and that contracted",
            with_peak_limit(base, limit_kw),
        ),
        **{
            name: (assumed, replace(base, plant=structs.replace(plant, **changed)))
            for name, (assumed, changed) in changes.items()
        },
        **{
            f"{kwp} kWp of solar modules": (
                "behind the meter; the surplus is paid as in [plant.pv]",
                replace(base, pv_kw=kwp * kw_per_kwp),
            )
            for kwp in (50, 100)
            if kw_per_kwp.notna().any()
        },
    }


def year(request: PlanRequest, weeks: list[date]) -> tuple[pd.Series, Any]:
    """Return the imported kilowatts of the weeks, and their figures as those of a year."""
    loads = []
    rows = []
    zone = request.plant.zone
    for monday in weeks:
        plan = solve(
            replace(
                request,
                begin=day_start(monday, zone),
                end=day_start(monday + timedelta(days=7), zone),
                orders=weekly_orders(request.plant, monday, monday + timedelta(days=6)),
            )
        )
        loads.append(plan.power()["import_kw"])
        late_kg = plan.gave_way.query("kind == 'late'")["amount"].sum()
        rows.append((len(plan.jobs), plan.kg.sum(), late_kg, plan.costs["paid"]))
    load = pd.concat(loads)
    total = pd.DataFrame(rows, columns=["batches", "kg", "late_kg", "production_eur"]).sum()
    charged = bill(load, request.prices, request.contract, request.tariff)
    total["bill_eur"] = charged["total_eur"].sum()
    return load, (total * 365.25 / 7 / len(weeks)).to_dict()
