"""A planning problem: a request on a grid of slots, as arrays.

Identical batches are counted, not named: a job is a number of like batches whose k-th
start of one stage belongs to the k-th start of the next. Every batch in progress is a
job of its own; its starts are facts on slots before ``now``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factory_lib.domain.bill import ExcessRule
from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.planner.request import Order, PlanRequest
from factory_lib.settings.plant import Plant, Stage


@dataclass(frozen=True, eq=False)
class Job:
    """Up to ``count`` like batches; ``facts`` are the slots in which batch ``number`` began."""

    product: str
    count: int
    min_kg: float
    max_kg: float
    duration: Ints
    facts: tuple[int, ...] = ()
    number: int = 0


@dataclass(frozen=True, eq=False)
class Activity:
    """Something that takes a machine, power or people, for ``slots`` by job.

    ``run``: a stage runs. ``attend``: people attend its first minutes. ``hold``: the
    machine keeps the finished mass, for at most ``slots``.
    """

    stage: int
    kind: str
    machine: str
    kw: float
    people: int
    slots: Ints


@dataclass(frozen=True)
class Keep:
    """A start that should stay: ``count`` batches begin a stage in a slot, else it costs."""

    kind: str
    product: str
    stage: int
    slot: int
    count: int
    eur: float


@dataclass(frozen=True, eq=False)
class Problem:
    """A request on its grid: arrays over ``index``, whose slots before ``now`` are history.

    ``price`` is the whole price by slot, EUR/MWh, 0 in history, which is sunk.
    ``spare_kw`` is solar power beyond the loads that always run, ``saved`` what using
    it saves, EUR/MWh. ``kelvin`` and ``percent`` are how far the room is beyond each
    stage's limits, ``critical`` where it would spoil a batch. ``meter_kw`` is the
    import without production, negative where the sun gives more; ``so_far`` the norm of
    the months' excess power until now.

    Orders are looked at after the slots ``marks``, each for ``mark_days``; arrays of
    orders by marks. A kilogram delivered at a mark before its order is ``due`` costs
    ``eur_kg`` there, one not delivered at a mark at or after it, too. ``keeps`` are
    starts that should stay, ``lost`` batches in progress that are given up.
    """

    request: PlanRequest
    index: pd.DatetimeIndex
    now: int
    slot_h: float
    jobs: tuple[Job, ...]
    activities: tuple[Activity, ...]
    wait: Ints
    people: Ints
    capacity: Mapping[str, Ints]
    base_kw: Floats
    meter_kw: Floats
    price: Floats
    spare_kw: Floats
    saved: Floats
    kelvin: Floats
    percent: Floats
    critical: Bools
    excess: ExcessRule
    so_far: Floats
    orders: tuple[Order, ...]
    marks: Ints
    mark_days: Floats
    due: Bools
    late: Bools
    eur_kg: Floats
    keeps: tuple[Keep, ...]
    lost: tuple[Job, ...] = ()

    @property
    def plant(self) -> Plant:
        """The plant the request is for."""
        return self.request.plant

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The plant's stages in order."""
        return self.request.plant.stages

    @property
    def most_people(self) -> int:
        """Most people of any shift: as many may be asked for at any time, for overtime."""
        return max((shift.operators for shift in self.plant.shifts), default=0)

    @property
    def stamps(self) -> pd.DatetimeIndex:
        """Return the starts of all slots and the end of the last."""
        return self.index.union(self.index[-1:] + (self.index[1] - self.index[0]))

    @property
    def order_kg(self) -> Floats:
        """Kilograms of the orders, a column."""
        return as_column([order.kg for order in self.orders])

    @property
    def extra_eur_kg(self) -> Floats:
        """Price by mark of a kilogram beyond all orders: twice that of a preferred day."""
        return 2 * self.plant.demand.preference_eur_kg_day * self.mark_days

    def span(self, activity: Activity, jobs: Ints, starts: Ints) -> tuple[Ints, Ints]:
        """Return from which slots to which batches are in an activity; starts by stage."""
        begin = starts[:, activity.stage]
        if activity.kind != "hold":
            return begin, begin + activity.slots[jobs]
        duration = np.array([job.duration[activity.stage] for job in self.jobs], np.int64)
        return begin + duration[jobs], starts[:, activity.stage + 1]

    def use(self, jobs: Ints, starts: Ints, weights: Sequence[float]) -> Floats:
        """Return by slot what batches take of something that activities take ``weights`` of."""
        step = np.zeros(len(self.index) + 1)
        for activity, weight in zip(self.activities, weights, strict=True):
            for slots, sign in zip(self.span(activity, jobs, starts), (1, -1), strict=True):
                np.add.at(step, np.clip(slots, 0, len(self.index)), sign * weight)
        return np.cumsum(step)[:-1]

    def facts(self, weights: Sequence[float], product: str | None = None) -> Floats:
        """Return by slot what stages (of a product) that have begun take; holding may end."""
        mine = [bool(job.facts) and product in (None, job.product) for job in self.jobs]
        begun = np.flatnonzero(mine)
        starts = np.full((len(begun), len(self.stages)), len(self.index))
        for row, j in enumerate(begun):
            starts[row, : len(self.jobs[j].facts)] = self.jobs[j].facts
        runs = [act.kind != "hold" for act in self.activities]
        return self.use(begun, starts, np.multiply(runs, weights).tolist())


def slot_of(index: pd.DatetimeIndex, instant: datetime) -> int:
    """Return the slot in which ``instant`` lies, from the index's first; may lie outside."""
    step_s = (index[1] - index[0]).total_seconds()
    return int((instant.timestamp() - index[0].timestamp()) // step_s)


def laid_on(frame: pd.DataFrame, index: pd.DatetimeIndex) -> Floats:
    """Lay a regular frame on an index, a row for each column: coarser values are repeated.

    Finer ones are averaged where all are known.
    """
    slot = index[1] - index[0]
    step = frame.index[1] - frame.index[0]
    if step < slot:
        parts = frame.groupby(pd.DatetimeIndex(frame.index).floor(slot))
        frame = parts.mean().where(parts.count() == slot // step)
    return frame.reindex(index.floor(max(step, slot))).to_numpy(float).T


def as_column(values: list[Any]) -> npt.NDArray[Any]:
    """Return values as a column, to be laid against marks."""
    return np.array(values).reshape(-1, 1)
