"""What is asked of the optimiser: a window, prices, an order book, and what must be kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import pandas as pd

from factory_lib.clock import day_start
from factory_lib.domain.plant import shifts_on
from factory_lib.domain.tariff import Tariff
from factory_lib.settings.plant import WEEKDAYS, Plant
from factory_lib.settings.tariff import ContractSettings


@dataclass(frozen=True)
class Order:
    """Kilograms of a product wanted by ``due``.

    A kilogram finished a day before or after costs ``eur_kg_day``; after ``latest`` (``due`` where none is given) the
    plant's price of late kilograms, or of late firm ones, applies.
    """

    product: str
    kg: float
    due: datetime
    eur_kg_day: float = 0.05
    latest: datetime | None = None
    firm: bool = False
    name: str = ""


@dataclass(frozen=True)
class Outage:
    """``count`` units of a machine cannot be used from ``begin`` to ``end``: a fault or planned maintenance."""

    machine: str
    begin: datetime
    end: datetime
    count: int = 1


@dataclass(frozen=True)
class Pin:
    """A start that a person has fixed: some batch of ``product`` begins ``stage`` in the slot of ``start``."""

    product: str
    stage: str
    start: datetime


@dataclass(frozen=True)
class Batch:
    """A batch of an earlier plan, or one in progress: ``starts`` of its stages by name, from the first on."""

    number: int
    product: str
    kg: float
    starts: Mapping[str, datetime]


@dataclass(frozen=True, eq=False)
class PlanRequest:
    """What is asked of the optimiser.

    Parameters
    ----------
    prices : DataFrame
        UTC index ``start``, regular, hours or quarters, covering the window; the columns of
        :func:`factory_lib.domain.tariff.all_in`.
    begin, end : datetime
        The window in which stages may start and by whose end every batch is finished; on the grid.
    weather : DataFrame, optional
        Outdoor ``temperature_c`` and ``humidity_pct`` on a UTC index. A room that is not known limits nothing.
    pv_kw : Series, optional
        Expected solar power by slot, UTC index.
    begun : tuple of Batch
        Batches in progress with the stages that have begun: facts.
    previous : tuple of Batch
        The plan before, with all starts: it lends its batches their numbers, and moving a start costs.
    next_number : int
        The least number a new batch may have.
    load_so_far : Series, optional
        Imported kilowatts by quarter or hour of the months of the window, before it: the excess so far.
    """

    plant: Plant
    prices: pd.DataFrame
    tariff: Tariff
    contract: ContractSettings
    begin: datetime
    end: datetime
    orders: tuple[Order, ...] = ()
    weather: pd.DataFrame | None = None
    pv_kw: pd.Series | None = None
    outages: tuple[Outage, ...] = ()
    pins: tuple[Pin, ...] = ()
    begun: tuple[Batch, ...] = ()
    previous: tuple[Batch, ...] = ()
    next_number: int = 1
    load_so_far: pd.Series | None = None


def weekly_orders(plant: Plant, first: date, last: date) -> tuple[Order, ...]:
    """Return an order for each preferred day in ``first … last``, due by its end and at latest by its week's end."""
    orders = []
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        monday = day - timedelta(days=day.weekday())
        due, latest = day_start(day + timedelta(days=1)), day_start(monday + timedelta(days=7))
        for product in plant.demand.weekly_kg:
            kg = _by_day(plant, product, monday).get(day, 0.0)
            if kg > 0:
                price = plant.demand.preference_eur_kg_day
                orders.append(Order(product, kg, due, price, latest, name=f"{product} {day}"))
    return tuple(orders)


def _by_day(plant: Plant, product: str, monday: date) -> dict[date, float]:
    """Return the preferred kilograms of the worked days of a week.

    What falls on a day without shifts first goes into the room left in the batches of the others.
    """
    weekly, preferred = plant.demand.weekly_kg[product], plant.demand.preferred_kg[product]
    week = {monday + timedelta(days=n): preferred.get(name, 0.0) for n, name in enumerate(WEEKDAYS)}
    scale, largest = weekly / (sum(week.values()) or 1.0), plant.variants[product].batch_max_kg
    worked = {day: kg * scale for day, kg in week.items() if kg > 0 and shifts_on(plant, day)}
    room = {day: -kg % largest for day, kg in worked.items()}
    moved = min(1.0, (weekly - sum(worked.values())) / (sum(room.values()) or math.inf))
    filled = {day: kg + moved * room[day] for day, kg in worked.items()}
    scale = weekly / (sum(filled.values()) or 1.0)
    return {day: kg * scale for day, kg in filled.items()} or {monday + timedelta(days=6): weekly}


def open_demand(orders: Iterable[Order], made_kg: Mapping[str, float]) -> tuple[Order, ...]:
    """Return what is left of an order book after ``made_kg`` by product, the earliest due served first."""
    left, rest = dict(made_kg), []
    for order in sorted(orders, key=lambda order: order.due):
        served = min(left.get(order.product, 0.0), order.kg)
        left[order.product] = left.get(order.product, 0.0) - served
        if order.kg - served > 1e-6:
            rest.append(replace(order, kg=order.kg - served))
    return tuple(rest)
