"""The request to the optimiser: a window, prices, an order book, and what must be kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
from msgspec import structs

from factory_lib.clock import day_start
from factory_lib.domain.plant import shifts_on
from factory_lib.domain.tariff import Tariff
from factory_lib.settings.plant import WEEKDAYS, Plant
from factory_lib.settings.tariff import PERIODS, ContractSettings


@dataclass(frozen=True)
class Order:
    """Kilograms of a product that should be finished by ``due``.

    A kilogram finished a day before or after costs ``eur_kg_day``; after ``latest``
    (``due`` where none is given) the plant's price of late kilograms, or of late firm
    ones, applies.
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
    """Units of a machine that cannot be used for a time: a fault or planned maintenance."""

    machine: str
    begin: datetime
    end: datetime
    count: int = 1


@dataclass(frozen=True)
class Pin:
    """A start that a person has fixed: some batch of ``product`` begins ``stage`` then."""

    product: str
    stage: str
    start: datetime


def no_stages() -> pd.DataFrame:
    """Return stages of no batch, with the columns that :class:`PlanRequest` reads."""
    return pd.DataFrame(columns=["batch", "product", "kg", "stage", "start"])


@dataclass(frozen=True, eq=False)
class PlanRequest:
    """The request to the optimiser.

    Parameters
    ----------
    prices : DataFrame
        UTC index ``start``, regular, hours or quarters, covering the window; the
        columns of :func:`factory_lib.domain.tariff.all_in`.
    begin, end : datetime
        The window in which stages may start and by whose end every batch is finished;
        on the grid.
    weather : DataFrame, optional
        Outdoor ``temperature_c`` and ``humidity_pct`` on a UTC index. A room that is
        not known limits nothing.
    pv_kw : Series, optional
        Expected solar power by slot, UTC index.
    previous : DataFrame, optional
        The stages of the plan before that are not over with their batch, in order: batch
        (its number), product, kg, stage, start (UTC). Starts before ``begin`` are facts:
        their batches are in progress. The plan lends its batches their numbers, and moving
        a start that lies ahead costs.
    next_number : int
        The least number a new batch may have.
    load_so_far : Series, optional
        Imported kilowatts by quarter or hour of the window's months, before it.
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
    previous: pd.DataFrame = field(default_factory=no_stages)
    next_number: int = 1
    load_so_far: pd.Series | None = None


def with_peak_limit(request: PlanRequest, kw: float) -> PlanRequest:
    """Return the request with the whole load never above ``kw``, and that contracted."""
    power = structs.replace(request.plant.power, limit_kw=kw)
    contract = structs.replace(request.contract, kw=dict.fromkeys(PERIODS, kw))
    return replace(request, plant=structs.replace(request.plant, power=power), contract=contract)


def of_plant(stages: pd.DataFrame, plant: Plant) -> pd.DataFrame:
    """Return the stages of batches that are the plant's: its product, its stages in order."""
    chain = "".join(f"{stage.name}\n" for stage in plant.stages)
    own = stages.groupby("batch")["stage"].agg(
        lambda names: chain.startswith("\n".join([*names, ""]))
    )
    return stages[stages["batch"].map(own).astype(bool) & stages["product"].isin([*plant.variants])]


def weekly_orders(plant: Plant, first: date, last: date) -> tuple[Order, ...]:
    """Return an order for each preferred day in ``first … last``.

    It is due by the day's end, and at latest by its week's.
    """
    orders = []
    monday = first - timedelta(days=first.weekday())
    while monday <= last:
        for product in plant.demand.weekly_kg:
            orders += [
                Order(
                    product,
                    kg,
                    due=day_start(day + timedelta(days=1), plant.zone),
                    eur_kg_day=plant.demand.preference_eur_kg_day,
                    latest=day_start(monday + timedelta(days=7), plant.zone),
                    name=f"{product} {day}",
                )
                for day, kg in _by_day(plant, product, monday).items()
                if kg > 0 and first <= day <= last
            ]
        monday += timedelta(days=7)
    return tuple(orders)


def _by_day(plant: Plant, product: str, monday: date) -> dict[date, float]:
    """Return the preferred kilograms of a week's worked days; of Sunday without any.

    Those of a day without shifts first go into the space left in the batches of the
    others.
    """
    weekly_kg = plant.demand.weekly_kg[product]
    preferred = plant.demand.preferred_kg[product]
    days = [monday + timedelta(days=n) for n in range(7)]
    worked = [bool(shifts_on(plant, day)) for day in days]
    kg = np.array([preferred.get(name, 0.0) for name in WEEKDAYS]) * worked
    kg *= weekly_kg / max(sum(preferred.values()), 1e-9)
    space = -kg % plant.variants[product].batch_max_kg
    kg += space * min(1.0, (weekly_kg - kg.sum()) / max(space.sum(), 1e-9))
    if not kg.any():
        kg[-1] = weekly_kg
    return dict(zip(days, (kg * weekly_kg / max(kg.sum(), 1e-9)).tolist(), strict=True))


def open_demand(orders: Iterable[Order], made_kg: Mapping[str, float]) -> tuple[Order, ...]:
    """Return the rest of an order book after ``made_kg`` by product, earliest due served first."""
    left = dict(made_kg)
    rest = []
    for order in sorted(orders, key=lambda order: order.due):
        served = min(left.get(order.product, 0.0), order.kg)
        left[order.product] = left.get(order.product, 0.0) - served
        if order.kg - served > 1e-6:
            rest.append(replace(order, kg=order.kg - served))
    return tuple(rest)
