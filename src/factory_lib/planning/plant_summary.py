"""The plant in its engineer's words, and whether it can meet its weekly demand in time."""

from collections.abc import Iterator
from datetime import date, timedelta

import pandas as pd

from factory_lib.clock import day_start
from factory_lib.domain.plant import auxiliary_kw
from factory_lib.domain.tariff import all_in
from factory_lib.errors import BadInput
from factory_lib.planner.request import PlanRequest, weekly_orders
from factory_lib.planner.solve import solve
from factory_lib.planning import inputs
from factory_lib.settings import Settings
from factory_lib.settings.plant import Plant, RoomLimits, Stage

TYPICAL_MONDAY = date(
    2026, 3, 9
)  # the first of an ordinary week: no holiday of any region, no clock change
NO_LIMIT = RoomLimits()
PRICE_EUR_MWH = 50.0  # any price will do to see whether there is a plan


def describe(settings: Settings) -> Iterator[str]:
    """Yield what is set, one line each, from process to tariff."""
    plant = settings.plant
    yield f"Plant {plant.name}, planned in slots of {plant.slot_min} minutes."
    yield "Stages, in order:"
    yield from (f"  {line}" for stage in plant.stages for line in _stage(plant, stage))
    kwh = sum(stage.power_kw * stage.duration_min for stage in plant.stages) / 60
    hours = sum(stage.duration_min for stage in plant.stages) / 60
    yield f"  A batch takes {hours:.4g} h on the machines and {kwh:,.0f} kWh."
    yield from _products(plant)
    yield from _people(plant)
    always = auxiliary_kw(plant, _quarters(TYPICAL_MONDAY)).sum() / 4
    limit = f", never above {plant.power.limit_kw:g} kW" if plant.power.limit_kw < 1e6 else ""
    contracted = ", ".join(f"{kw:g}" for kw in settings.contract.by_period)
    loads = ", ".join(load.name for load in plant.auxiliaries)
    yield f"Power: {contracted} kW contracted by period{limit}. "
    yield f"Always on: {loads}, {always:,.0f} kWh a day."
    basis = settings.tariff.price_basis
    yield f"Tariff: {basis} price, tolls and charges of {settings.tariff.access}."


def _products(plant: Plant) -> Iterator[str]:
    for name, product in plant.variants.items():
        own = "".join(
            f"; {stage} {minutes / 60:g} h" for stage, minutes in product.duration_min.items()
        )
        yield f"Batches of {name}: {product.batch_min_kg:g} to {product.batch_max_kg:g} kg{own}."
    for name, weekly in plant.demand.weekly_kg.items():
        preferred = plant.demand.preferred_kg[name]
        days = ", ".join(f"{day} {kg:g}" for day, kg in preferred.items() if kg)
        yield f"Demand: {weekly:,.0f} kg {name} a week, shared like {days}."


def _people(plant: Plant) -> Iterator[str]:
    for shift in plant.shifts:
        people = f"{shift.operators} operators" if shift.operators > 1 else "one operator"
        hours = f"{shift.begin:%H:%M} to {shift.end:%H:%M}"
        yield f"Shift {shift.name}: {hours}, {', '.join(shift.days)}; {people}."
    calendar = plant.calendar
    public = "no public holiday"
    if calendar.public_holidays:
        public = f"public holidays of ES-{calendar.region}"
    yield f"Closed: {', '.join([public, *map(str, calendar.closed)])}."
    if calendar.open:
        yield f"Worked all the same: {', '.join(map(str, calendar.open))}."


def _quarters(day: date) -> pd.DatetimeIndex:
    ends = (day_start(day), day_start(day + timedelta(days=1)))
    return pd.date_range(*ends, freq="15min", inclusive="left", unit="s", name="start")


def _stage(plant: Plant, stage: Stage) -> Iterator[str]:
    need = {
        "always": f"{stage.operators} operator(s) throughout",
        "start": f"{stage.operators} operator(s) for the first {stage.attended_min} min",
        "never": "unattended",
    }
    hold = f", held up to {stage.hold_h:g} h at {stage.hold_kw:g} kW" if stage.hold_h else ""
    yield (
        f"{stage.name}: {stage.power_kw:g} kW, {stage.duration_min / 60:.4g} h, {stage.machine} "
        f"({plant.machines[stage.machine]}), {need[stage.attended]}{hold}"
    )
    if stage.duration_min % plant.slot_min:
        planned = -(-stage.duration_min // plant.slot_min) * plant.slot_min
        minutes = f"{stage.duration_min} min are planned as {planned}"
        yield f"  its {minutes}: whole slots of {plant.slot_min}"
    if stage.room != NO_LIMIT:
        room = stage.room
        limits = []
        if room.temperature_min_c > NO_LIMIT.temperature_min_c:
            limits.append(f"at least {room.temperature_min_c:g} °C")
        if room.temperature_max_c < NO_LIMIT.temperature_max_c:
            limits.append(f"at most {room.temperature_max_c:g} °C")
        if room.humidity_max_pct < NO_LIMIT.humidity_max_pct:
            limits.append(f"at most {room.humidity_max_pct:g} % humidity")
        yield f"  the room: {', '.join(limits)}"


def cannot(settings: Settings) -> Iterator[str]:
    """Yield why an ordinary week cannot make the demand in time; nothing where it can.

    Any weather and any price are taken to do: what is left is the plant's own
    arithmetic.
    """
    plant = settings.plant
    begin = day_start(TYPICAL_MONDAY)
    end = day_start(TYPICAL_MONDAY + timedelta(days=7))
    index = pd.date_range(begin, end, freq="h", inclusive="left", unit="s", name="start")
    tariff = inputs.published_tariff(settings)
    request = PlanRequest(
        plant=plant,
        prices=all_in(index, [PRICE_EUR_MWH] * len(index), tariff, settings.contract),
        tariff=tariff,
        contract=settings.contract,
        begin=begin,
        end=end,
        orders=weekly_orders(plant, TYPICAL_MONDAY, TYPICAL_MONDAY + timedelta(days=6)),
    )
    try:
        plan = solve(request, gap=0.05, time_limit_s=10.0)
    except BadInput as error:
        yield str(error)
        return
    for item in plan.costs.relaxations:
        if item.kind in ("late", "firm_late", "overtime"):
            kind = "late" if "late" in item.kind else "needed beyond the shifts"
            yield f"{item.subject}: {item.amount:,.0f} {item.unit} {kind}"
