"""Which kilograms a horizon owes: the weekly demand laid on the days that can finish a batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from itertools import cycle

from factory_lib.clock import day_start, local_instant
from factory_lib.domain.plant import shifts_on
from factory_lib.settings.plant import WEEKDAYS, Plant

Kilograms = Mapping[date, Mapping[str, float]]


def can_finish(
    plant: Plant, variant: str, day: date, *, batches: int = 1, early: bool = True
) -> bool:
    """Whether a chain, or several behind each other, fits before the last shift of ``day`` ends.

    It begins on the day or, with ``early`` and if worked, from the lead-in of the day
    before.
    """
    today, yesterday = shifts_on(plant, day), shifts_on(plant, day - timedelta(days=1))
    nights = any(time() < shift.end <= shift.begin for shift in yesterday)
    if not today:
        return False
    begin = local_instant(day, time()) if nights else local_instant(day, today[0].begin)
    if early and any(shift.end > plant.lead_in or shift.end <= shift.begin for shift in yesterday):
        begin = local_instant(day - timedelta(days=1), plant.lead_in)
    end = day_start(day + timedelta(days=1))
    if today[-1].end > today[-1].begin:
        end = local_instant(day, today[-1].end)
    minutes = [
        plant.variants[variant].duration_min.get(stage.name, stage.duration_min)
        for stage in plant.stages
    ]
    return end - begin >= timedelta(minutes=sum(minutes) + (batches - 1) * max(minutes))


def begin(plant: Plant, day: date, *, early: bool = False) -> datetime:
    """Return when a plan of ``day`` begins: at its midnight, or at the lead-in where the day needs it or ``early``."""
    wanted = by_day(plant, day, day)[day]
    fits = all(
        can_finish(plant, v, day, batches=batches(plant, v, [kg]), early=False)
        for v, kg in wanted.items()
    )
    return (
        local_instant(day - timedelta(days=1), plant.lead_in)
        if early or not fits
        else day_start(day)
    )


def by_day(plant: Plant, first: date, last: date) -> Kilograms:
    """Return the preferred kilograms of each day in ``first … last`` by variant.

    What falls on a day that cannot finish a batch moves to days of the same week that
    can: first into the room left in their batches, then as batches of its own on the
    nearest of them. Nothing is dropped: where no day can, it stays where it is and the
    plan says that it is infeasible. A week is laid out whole, whatever part of it is
    asked for.
    """
    monday, sunday = (
        first - timedelta(days=first.weekday()),
        last + timedelta(days=6 - last.weekday()),
    )
    owed: dict[date, dict[str, float]] = {
        first + timedelta(days=n): {} for n in range((last - first).days + 1)
    }
    for start in range(0, (sunday - monday).days, 7):
        week = [monday + timedelta(days=start + n) for n in range(7)]
        for variant in plant.demand.weekly_kg:
            for day, kg in _week(plant, variant, week).items():
                if day in owed and kg > 0:
                    owed[day][variant] = kg
    return owed


def _week(plant: Plant, variant: str, week: list[date]) -> dict[date, float]:
    wanted = _scaled(plant, variant, week)
    able = [day for day in week if can_finish(plant, variant, day)]
    largest = plant.variants[variant].batch_max_kg
    for day in week:
        if not wanted[day] or day in able or not able:
            continue
        near = sorted(able, key=lambda other: abs(other - day))
        for other in near:
            _move(wanted, day, other, math.ceil(wanted[other] / largest) * largest - wanted[other])
        roomy = [other for other in near if shifts_on(plant, other - timedelta(days=1))] or near
        for other in cycle(roomy):
            if wanted[day] <= 0:
                break
            _move(wanted, day, other, largest)
    return wanted


def _scaled(plant: Plant, variant: str, week: list[date]) -> dict[date, float]:
    """Scale the preferred days to the week's kilograms, none below the smallest batch.

    Where the week is too small for a batch on each, the least day joins the nearest
    other until it is not.
    """
    due, smallest = plant.demand.weekly_kg[variant], plant.variants[variant].batch_min_kg
    preferred = plant.demand.preferred_kg[variant]
    shape = {day: kg for day in week if (kg := preferred.get(WEEKDAYS[day.weekday()], 0.0))}
    while len(shape) > 1 and due < smallest * len(shape):
        least = min(shape, key=lambda day: (shape[day], -day.toordinal()))
        joined = shape.pop(least)
        shape[min(shape, key=lambda day: (abs(day - least), shape[day]))] += joined
    wanted = {day: shape.get(day, 0.0) for day in week}
    if len(shape) == 1:
        return {day: due * (day in shape) for day in week}
    free = set(shape)
    while free:
        scale = max(
            0.0, due - smallest * sum(kg > 0 for day, kg in wanted.items() if day not in free)
        )
        scale /= sum(shape[day] for day in free)
        for day in free:
            wanted[day] = shape[day] * scale
        small = {day for day in free if wanted[day] < smallest}
        for day in small:
            wanted[day] = smallest
        if not small:
            break
        free -= small
    return wanted


def _move(wanted: dict[date, float], source: date, to: date, most: float) -> None:
    moved = min(most, wanted[source])
    wanted[to] += moved
    wanted[source] -= moved


def batches(plant: Plant, variant: str, kg_of_days: Iterable[float]) -> int:
    """Return how many batches a variant is made in: the fewest of each day, so that no plan saves by dropping some."""
    return sum(math.ceil(kg / plant.variants[variant].batch_max_kg - 1e-9) for kg in kg_of_days)
