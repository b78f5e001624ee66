"""The mixed-integer program of a planning problem, in step form.

The unknown of a stage is how many batches have begun it up to each slot, not whether
one begins in a slot. Order, waits and machine capacity then compare two unknowns at a
time (``x − y ≤ constant``): the matrix of those rows is a network's and totally
unimodular, so the relaxation is whole by itself except where people, power and
kilograms couple stages. Slots in which nothing may start share their predecessor's
unknown. Nothing that may give way is forbidden: it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import numpy as np

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.planner.chains import Masks, start_eur
from factory_lib.planner.milp import ZERO, ConstraintBuilder
from factory_lib.planner.problem import Activity, Problem

Columns = list[tuple[Ints, float]]


class MilpModel:
    """The program of ``problem`` with starts in ``masks``.

    Parameters
    ----------
    overtime : bool
        Whether people beyond the shifts can be paid for.
    counts : mapping, optional
        Number of batches to make, by job; free where none is given.
    start_costs : optional
        Costs of starts by stage instead of energy and room, for schedules that look at
        no price.
    """

    def __init__(
        self,
        problem: Problem,
        masks: Masks,
        *,
        overtime: bool = False,
        counts: Mapping[int, int] | None = None,
        start_costs: Sequence[Floats] | None = None,
    ) -> None:
        self.problem = problem
        self.masks = masks
        self.start_costs = start_costs
        self.rows = ConstraintBuilder()
        self.slots = np.arange(len(problem.index))
        self.people = np.maximum(problem.people, problem.most_people * overtime)
        self.count = [self._steps(j) for j in range(len(problem.jobs))]
        for j, number in (counts or {}).items():
            self.rows.rows([(self.count[j][0][-1:], 1.0)], low=number, high=number)
        self._order_and_waits()
        self._machines()
        self._people()
        self._connection()
        self.extra: dict[str, Ints] = {}
        self.made: dict[int, Ints] = {}
        self.undelivered = self._kilograms()

    def starts(self, solution: Floats) -> list[list[Ints]]:
        """Return, for each job and stage, the slots in which its batches begin, ascending."""
        values = np.rint(solution).astype(np.int64)
        starts = []
        for stages in self.count:
            begun = [np.diff(values[columns], prepend=0) for columns in stages]
            starts.append([np.repeat(self.slots, number) for number in begun])
        return starts

    def at(self, j: int, stage: int, slots: Ints) -> Ints:
        """Return the columns of how many batches have begun a stage up to and with ``slots``."""
        columns = self.count[j][stage][np.clip(slots, 0, len(self.slots) - 1)]
        return np.where(slots < 0, ZERO, columns)

    def active(self, activity: Activity, slots: Ints, product: str | None = None) -> Columns:
        """Return the columns that count the batches (of a product) in an activity."""
        terms = []
        s = activity.stage
        for j, job in enumerate(self.problem.jobs):
            if product not in (None, job.product):
                continue
            if activity.kind == "hold":
                terms.append((self.at(j, s, slots - job.duration[s]), 1.0))
                terms.append((self.at(j, s + 1, slots), -1.0))
            else:
                terms.append((self.at(j, s, slots), 1.0))
                terms.append((self.at(j, s, slots - activity.slots[j]), -1.0))
        return terms

    def use(self, weights: Sequence[float], slots: Ints, product: str | None = None) -> Columns:
        """Return the columns that count what activities (of a product) take ``weights`` of."""
        terms = []
        for activity, weight in zip(self.problem.activities, weights, strict=True):
            if weight:
                active = self.active(activity, slots, product)
                terms += [(column, sign * weight) for column, sign in active]
        return terms

    def possible(self, activity: Activity) -> Bools:
        """Return the slots from now on in which some batch may be in an activity."""
        busy = np.zeros(len(self.slots), bool)
        for j, job in enumerate(self.problem.jobs):
            length = activity.slots[j] + job.duration[activity.stage] * (activity.kind == "hold")
            reach = np.convolve(self.masks[j][activity.stage], np.ones(length))
            busy |= reach[: len(busy)] > 0.5
        return busy & (self.slots >= self.problem.now)

    def most_kw(self) -> Floats:
        """Return the most that production could draw, every machine full of its greediest use."""
        most = np.zeros(len(self.slots))
        for machine, capacity in self.problem.capacity.items():
            mine = [act for act in self.problem.activities if act.machine == machine]
            draws = [act.kw * self.possible(act) for act in mine]
            most += np.max([0 * most, *draws], axis=0) * np.maximum(capacity, 1)
        return most

    def _steps(self, j: int) -> list[Ints]:
        """Add the counts of each stage, each at least the one before; return them by slot."""
        job = self.problem.jobs[j]
        columns_by_slot = []
        for s, mask in enumerate(self.masks[j]):
            cost = self.start_costs[s] if self.start_costs else start_eur(self.problem, job, s)
            columns = self.rows.add(
                int(mask.sum()),
                low=float(s < len(job.facts)),
                high=job.count,
                cost=-np.diff(cost[mask], append=0.0),
                whole=True,
            )
            self.rows.rows([(columns[1:], 1.0), (columns[:-1], -1.0)], low=0.0)
            columns_by_slot.append(np.append(ZERO, columns)[np.cumsum(mask)])
        return columns_by_slot

    def _order_and_waits(self) -> None:
        for j, job in enumerate(self.problem.jobs):
            for s in range(max(len(job.facts) - 1, 0), len(job.duration) - 1):
                begin = np.flatnonzero(self.masks[j][s + 1])
                ended = self.at(j, s, begin - job.duration[s])
                self.rows.rows([(self.at(j, s + 1, begin), 1.0), (ended, -1.0)], high=0.0)
                begin = np.flatnonzero(self.masks[j][s])
                latest = begin + job.duration[s] + self.problem.wait[s]
                gone_on = self.at(j, s + 1, np.minimum(latest, len(self.slots) - 1))
                self.rows.rows([(gone_on, 1.0), (self.at(j, s, begin), -1.0)], low=0.0)

    def _limit(
        self,
        weights: Sequence[float],
        room: Floats | Ints,
        slots: Ints,
        more: Columns | None = None,
    ) -> None:
        """Keep what activities take ``weights`` of within ``room``, or what has begun takes."""
        room = np.maximum(room, self.problem.facts(weights))
        self.rows.rows(self.use(weights, slots) + (more or []), high=room[slots])

    def _machines(self) -> None:
        """Keep to the units of each machine, and two products apart by the time to clean it."""
        plant = self.problem.plant
        for machine, capacity in self.problem.capacity.items():
            mine = [float(act.machine == machine) for act in self.problem.activities]
            self._limit(mine, capacity, self._busy(mine))
            clean = -(-plant.cleaning_min.get(machine, 0) // plant.slot_min)
            for one, other in permutations({job.product for job in self.problem.jobs}, 2):
                if clean:
                    self._clean(mine, one, other, clean)

    def _busy(self, weights: Sequence[float]) -> Ints:
        pairs = zip(self.problem.activities, weights, strict=True)
        return np.flatnonzero(sum(self.possible(act) for act, weight in pairs if weight))

    def _clean(self, mine: Sequence[float], one: str, other: str, clean: int) -> None:
        """Let ``other`` follow ``one`` after cleaning; what has begun is as it is."""
        shortest = min(int(job.duration.min()) for job in self.problem.jobs)
        facts = [self.problem.facts(mine, product) for product in (one, other)]
        for lag in {*range(0, clean, shortest), clean}:
            slots = self.slots[max(self.problem.now - lag, 0) : len(self.slots) - lag]
            both = np.maximum(facts[0][slots] + facts[1][slots + lag], 1.0)
            pair = self.use(mine, slots, one) + self.use(mine, slots + lag, other)
            self.rows.rows(pair, high=both)

    def _people(self) -> None:
        weights = [float(activity.people) for activity in self.problem.activities]
        slots = self._busy(weights)
        beyond = (self.people - self.problem.people)[slots]
        price = self.problem.plant.slack.overtime_eur_h * self.problem.slot_h
        extra = self.rows.add(len(slots), high=beyond, cost=price)
        self._limit(weights, self.problem.people, slots, [(extra, -1.0)])

    def _connection(self) -> None:
        room = self.problem.plant.power.limit_kw - self.problem.base_kw
        weights = [activity.kw for activity in self.problem.activities]
        self._limit(weights, room, np.flatnonzero(self.most_kw() > room))

    def _kilograms(self) -> Ints:
        """Lay the batches' kilograms on the orders; return the columns of orders by marks.

        The column of an order is what is delivered before it is due, and what is
        lacking from then on.
        """
        problem = self.problem
        kg = np.broadcast_to(problem.order_kg, problem.due.shape)
        columns = self.rows.add(kg.size, high=kg.ravel(), cost=problem.eur_kg.ravel())
        columns = columns.reshape(kg.shape)
        sign = np.where(problem.due, -1.0, 1.0)
        lacking = np.where(problem.due, kg, 0.0)
        for product in {job.product for job in problem.jobs}:
            mine = [order.product == product for order in problem.orders]
            extra = self.rows.add(len(problem.marks), cost=problem.extra_eur_kg)
            self.extra[product] = extra
            balance = [*zip(columns[mine], sign[mine], strict=True), (extra, 1.0)]
            balance += [(made, -1.0) for made in self._made(product)]
            total = -lacking[mine].sum(axis=0)
            self.rows.rows(balance, low=total, high=total)
        now = (columns[:, 1:].ravel(), sign[:, 1:].ravel())
        before = (columns[:, :-1].ravel(), -sign[:, :-1].ravel())
        self.rows.rows([now, before], low=-np.diff(lacking).ravel())
        return columns

    def _made(self, product: str) -> Iterator[Ints]:
        """Add the kilograms that each job of a product has made until each mark."""
        for j, job in enumerate(self.problem.jobs):
            if job.product != product:
                continue
            made = self.made[j] = self.rows.add(len(self.problem.marks))
            done = self.at(j, len(job.duration) - 1, self.problem.marks - job.duration[-1])
            steps = [(made, 1.0), (np.append(ZERO, made[:-1]), -1.0)]
            for side, kg in (("low", job.min_kg), ("high", job.max_kg)):
                batches = [(done, -kg), (np.append(ZERO, done[:-1]), kg)]
                self.rows.rows([*steps, *batches], **{side: 0.0})
            yield made
