"""What a person or a job asks of the optimiser: a window, prices, kilograms, and what must be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from factory_lib.clock import day_start
from factory_lib.plan import demand
from factory_lib.settings.plant import Plant


@dataclass(frozen=True)
class Running:
    """A batch in progress: the stages already begun, from the first on, with their starts."""

    variant: str
    kg: float
    starts: Mapping[str, datetime]


@dataclass(frozen=True)
class Pin:
    """The shift leader's hand: some batch of ``variant`` begins ``stage`` in the slot of ``start``."""

    variant: str
    stage: str
    start: datetime


@dataclass(frozen=True)
class Outage:
    """``count`` units of a machine are out of order until an instant, from the window's begin or a later one."""

    machine: str
    until: datetime
    begin: datetime | None = None
    count: int = 1


@dataclass(frozen=True)
class Order:
    """Kilograms wanted beside the weekly demand, finished by ``due`` without fail."""

    variant: str
    kg: float
    due: datetime


@dataclass(frozen=True)
class Request:
    """What is asked of the optimiser.

    Parameters
    ----------
    prices : DataFrame
        UTC index ``start``, regular, hours or quarters, covering the window. ``p50``
        (with ``p10`` and ``p90``) or one price column, EUR/MWh; optional
        ``toll_eur_mwh``, known of the whole window, and ``period``.
    weather : DataFrame or None
        Outdoor ``temperature_c`` and ``humidity_pct`` on a UTC index. A room that is
        not known limits nothing, and the plan says how many slots that were.
    begin, end : datetime
        The window in which stages may start and by whose end every batch is finished;
        UTC, on the grid.
    kilograms : mapping
        Preferred kilograms by local day and variant;
        :func:`factory_lib.plan.demand.by_day` gives the plant's own.
    """

    plant: Plant
    prices: pd.DataFrame
    weather: pd.DataFrame | None
    begin: datetime
    end: datetime
    kilograms: demand.Kilograms
    running: tuple[Running, ...] = ()
    pins: tuple[Pin, ...] = ()
    outages: tuple[Outage, ...] = ()
    orders: tuple[Order, ...] = ()


def for_days(
    plant: Plant,
    prices: pd.DataFrame,
    weather: pd.DataFrame | None,
    first: date,
    days: int = 1,
    *,
    early: bool = True,
    **more: Any,
) -> Request:
    """Return the request for ``days`` local days, from the lead-in of the day before.

    Without ``early`` it begins at midnight unless the first day's own shifts are too
    short. ``more`` are fields of :class:`Request`: running batches, pins, outages,
    orders, another ``begin``.
    """
    last = first + timedelta(days=days - 1)
    begin, end = demand.begin(plant, first, early=early), day_start(last + timedelta(days=1))
    window = {"begin": begin, "end": end, **more}
    return Request(plant, prices, weather, kilograms=demand.by_day(plant, first, last), **window)
