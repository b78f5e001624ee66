"""The plant in its engineer's words, and whether it can make what it owes on each weekday."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pandas as pd

from factory_lib.clock import day_start
from factory_lib.domain.plant import auxiliary_kw, is_open
from factory_lib.errors import BadInput
from factory_lib.plan.request import for_days
from factory_lib.plan.solve import solve
from factory_lib.settings import Settings
from factory_lib.settings.plant import WEEKDAYS, Plant, RoomLimits, Stage

TYPICAL_MONDAY = date(
    2026, 3, 9
)  # the first of an ordinary week: no holiday of any region, no clock change
NO_LIMIT = RoomLimits()
PRICE_EUR_MWH = 50.0  # any price will do to see whether there is a plan


def describe(settings: Settings) -> Iterator[str]:
    """Yield what is set, one line each, from process to tariff."""
    plant = settings.plant
    lead_in = f"a day may begin at {plant.lead_in:%H:%M} of the day before"
    yield f"Plant {plant.name}, planned in slots of {plant.slot_min} minutes; {lead_in}."
    yield "Stages, in order:"
    yield from (f"  {line}" for stage in plant.stages for line in _stage(plant, stage))
    kwh = sum(stage.power_kw * stage.duration_min for stage in plant.stages) / 60
    hours = sum(stage.duration_min for stage in plant.stages) / 60
    yield f"  A batch takes {hours:.4g} h on the machines and {kwh:,.0f} kWh."
    for name, variant in plant.variants.items():
        own = ", ".join(
            f"{stage} {minutes / 60:g} h" for stage, minutes in variant.duration_min.items()
        )
        yield f"Batches of {name}: {variant.batch_min_kg:g} to {variant.batch_max_kg:g} kg" + (
            f"; {own}." if own else "."
        )
    for shift in plant.shifts:
        people = f"{shift.operators} operators" if shift.operators > 1 else "one operator"
        yield f"Shift {shift.name}: {shift.begin:%H:%M} to {shift.end:%H:%M}, {', '.join(shift.days)}; {people}."
    calendar = plant.calendar
    holidays = (
        f"public holidays of ES-{calendar.region}"
        if calendar.public_holidays
        else "no public holiday"
    )
    yield f"Closed: {', '.join([holidays, *map(str, calendar.closed)])}." + (
        f" Worked all the same: {', '.join(map(str, calendar.open))}." if calendar.open else ""
    )
    for name, weekly in plant.demand.weekly_kg.items():
        days = ", ".join(
            f"{day} {kg:g}" for day, kg in plant.demand.preferred_kg[name].items() if kg
        )
        yield f"Owed: {weekly:,.0f} kg {name} a week, shared like {days}."
    always = auxiliary_kw(plant, _quarters(TYPICAL_MONDAY)).sum() / 4
    limit = f", never above {plant.power.limit_kw:g} kW" if plant.power.limit_kw < 1e6 else ""
    yield (
        f"Power: {plant.power.contracted_kw:g} kW contracted{limit}; each kW above costs {plant.power.excess_eur_kw:g} "
        f"EUR a quarter-hour. Always on: {', '.join(load.name for load in plant.auxiliaries)}, {always:,.0f} kWh a day."
    )
    yield f"Tariff: {settings.tariff.price_basis}, {settings.tariff.access}; {settings.tariff.counted}."


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
        yield f"  its {stage.duration_min} min are planned as {planned}: whole slots of {plant.slot_min}"
    if stage.room != NO_LIMIT:
        room, limits = stage.room, []
        if room.temperature_min_c > NO_LIMIT.temperature_min_c:
            limits.append(f"at least {room.temperature_min_c:g} °C")
        if room.temperature_max_c < NO_LIMIT.temperature_max_c:
            limits.append(f"at most {room.temperature_max_c:g} °C")
        if room.humidity_max_pct < NO_LIMIT.humidity_max_pct:
            limits.append(f"at most {room.humidity_max_pct:g} % humidity")
        yield f"  the room: {', '.join(limits)}"


def cannot(plant: Plant) -> Iterator[str]:
    """Yield for each weekday of an ordinary week why it has no plan; nothing where every one has.

    Any weather and any price are taken to do: what is left is the plant's own
    arithmetic.
    """
    for number, name in enumerate(WEEKDAYS):
        day = TYPICAL_MONDAY + timedelta(days=number)
        if not is_open(plant.calendar, day):
            continue
        index = pd.date_range(
            day_start(day - timedelta(days=2)), day_start(day + timedelta(days=1)), freq="15min"
        )
        prices = pd.DataFrame({"p50": PRICE_EUR_MWH}, index=index.as_unit("s").rename("start"))
        try:
            plan = solve(for_days(plant, prices, None, day), time_limit_s=5.0)
        except BadInput as error:
            yield f"{name}: {error}"
            continue
        if plan.status == "infeasible":
            yield f"{name}: {'; '.join(map(str, plan.obstacles)) or 'no single change that was tried would help'}"
            return  # the other days are in the same way
