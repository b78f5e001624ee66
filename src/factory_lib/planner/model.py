"""The mixed-integer program of a planning problem, in step form.

The unknown of a stage is how many batches have begun it up to each slot, not whether one begins in a slot. Order, waits
and machine capacity then compare two unknowns at a time (``x − y ≤ constant``): the matrix of those rows is a network's
and totally unimodular, so the relaxation is whole by itself except where people, power and kilograms couple stages.
Slots in which nothing may start share their predecessor's unknown. Nothing that may give way is forbidden: it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.planner.chains import Masks, start_eur
from factory_lib.planner.milp import NONE, ConstraintBuilder
from factory_lib.planner.problem import Activity, OrderBook, Problem

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
        Costs of starts by stage instead of energy and room, for schedules that look at no price.
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
        self.problem, self.masks = problem, masks
        self.rows = ConstraintBuilder()
        self.slots = np.arange(len(problem.index))
        self.jobs, self.stages = range(len(problem.jobs)), range(len(problem.stages))
        self.facts = [(j, job.facts) for j, job in enumerate(problem.jobs)]
        self.people = np.maximum(problem.people, problem.most_people * overtime)
        self.start_costs = start_costs
        self.count = [[self._steps(j, s) for s in self.stages] for j in self.jobs]
        for j, number in (counts or {}).items():
            self.rows.rows([(self.count[j][0][-1:], 1.0)], low=number, high=number)
        self._order_and_waits()
        self._machines()
        self._people()
        self._connection()
        self.made: dict[str, Ints] = {}
        self.stock: dict[str, Ints] = {}
        self.undelivered = {
            product: self._kilograms(product, book) for product, book in problem.books.items()
        }

    def starts(self, solution: Floats) -> list[list[Ints]]:
        """Return, for each job and stage, the slots in which its batches begin, ascending."""
        values = np.append(np.rint(solution).astype(np.int64), 0)  # the last is that of NONE
        return [
            [np.repeat(self.slots, np.diff(values[columns], prepend=0)) for columns in job]
            for job in self.count
        ]

    def at(self, j: int, stage: int, slots: Ints) -> Ints:
        """Return the columns of how many batches have begun a stage up to and with ``slots``."""
        return np.where(
            slots < 0, NONE, self.count[j][stage][np.clip(slots, 0, len(self.slots) - 1)]
        )

    def active(self, activity: Activity, slots: Ints, product: str | None = None) -> Columns:
        """Return the columns that count the batches (of a product) in an activity."""
        terms, s = [], activity.stage
        for j in self.jobs:
            job = self.problem.jobs[j]
            if product not in (None, job.product):
                continue
            if activity.kind == "hold":
                terms += [
                    (self.at(j, s, slots - job.duration[s]), 1.0),
                    (self.at(j, s + 1, slots), -1.0),
                ]
            else:
                length = job.attention[s] if activity.kind == "attend" else job.duration[s]
                terms += [(self.at(j, s, slots), 1.0), (self.at(j, s, slots - length), -1.0)]
        return terms

    def use(self, weights: Sequence[float], slots: Ints) -> Columns:
        """Return the columns that count what activities take ``weights`` of."""
        pairs = zip(self.problem.activities, weights, strict=True)
        return [
            (column, sign * weight)
            for act, weight in pairs
            if weight
            for column, sign in self.active(act, slots)
        ]

    def possible(self, activity: Activity) -> Bools:
        """Return the future slots in which some batch may be in an activity."""
        problem, s, busy = self.problem, activity.stage, np.zeros(len(self.slots), bool)
        for j in self.jobs:
            length = problem.jobs[j].duration[s] + problem.wait[s] * (activity.kind == "hold")
            busy |= np.convolve(self.masks[j][s], np.ones(length))[: len(busy)] > 0.5
        return busy & (self.slots >= problem.now)

    def _steps(self, j: int, s: int) -> Ints:
        """Add the counts of one stage, each at least the one before."""
        mask, job = self.masks[j][s], self.problem.jobs[j]
        cost = self.start_costs[s] if self.start_costs else start_eur(self.problem, job, s)
        columns = self.rows.add(
            int(mask.sum()),
            low=float(s < len(job.facts)),
            high=job.count,
            cost=-np.diff(cost[mask], append=0.0),
            whole=True,
        )
        self.rows.rows([(columns[1:], 1.0), (columns[:-1], -1.0)], low=0.0)
        return np.concatenate([[NONE], columns])[np.cumsum(mask)]

    def _order_and_waits(self) -> None:
        for j in self.jobs:
            job = self.problem.jobs[j]
            for s in range(max(len(job.facts) - 1, 0), len(self.stages) - 1):
                following, mine = (np.flatnonzero(self.masks[j][stage]) for stage in (s + 1, s))
                ended = self.at(j, s, following - job.duration[s])
                self.rows.rows([(self.at(j, s + 1, following), 1.0), (ended, -1.0)], high=0.0)
                until = np.minimum(mine + job.duration[s] + self.problem.wait[s], self.slots[-1])
                self.rows.rows(
                    [(self.at(j, s + 1, until), 1.0), (self.at(j, s, mine), -1.0)], low=0.0
                )

    def _machines(self) -> None:
        """Keep to the units of each machine, and two products apart by the time it takes to clean it."""
        problem = self.problem
        for machine, capacity in problem.capacity.items():
            mine = [activity for activity in problem.activities if activity.machine == machine]
            slots = (
                self.slots[np.any([self.possible(activity) for activity in mine], axis=0)]
                if mine
                else self.slots[:0]
            )
            if len(slots):
                weights = [float(activity.machine == machine) for activity in problem.activities]
                room = np.maximum(capacity, problem.use(self.facts, weights))
                self.rows.rows(self.use(weights, slots), high=room[slots])
            clean = -(-problem.plant.cleaning_min.get(machine, 0) // problem.plant.slot_min)
            if clean and mine:
                self._cleaning(mine, clean)

    def _cleaning(self, mine: Sequence[Activity], clean: int) -> None:
        problem, size = self.problem, len(self.slots)
        shortest = min(job.duration[activity.stage] for job in problem.jobs for activity in mine)
        products = {job.product for job in problem.jobs}
        for one, other in ((a, b) for a in products for b in products if a != b):
            for lag in {*range(0, clean, shortest), clean}:
                slots = self.slots[max(problem.now - lag, 0) : size - lag]
                pair = [term for activity in mine for term in self.active(activity, slots, one)]
                pair += [
                    term for activity in mine for term in self.active(activity, slots + lag, other)
                ]
                both = self._facts_on(mine, one)[slots] + self._facts_on(mine, other)[slots + lag]
                self.rows.rows(pair, high=np.maximum(both, 1.0))

    def _facts_on(self, mine: Sequence[Activity], product: str) -> Floats:
        facts = [(j, starts) for j, starts in self.facts if self.problem.jobs[j].product == product]
        return self.problem.use(
            facts, [float(activity in mine) for activity in self.problem.activities]
        )

    def _people(self) -> None:
        problem, weights = self.problem, [activity.people for activity in self.problem.activities]
        busy = [self.possible(activity) for activity in problem.activities if activity.people]
        slots = self.slots[np.any(busy, axis=0)] if busy and len(self.jobs) else self.slots[:0]
        if len(slots):
            price = problem.plant.slack.overtime_eur_h * problem.slot_h
            extra = self.rows.add(
                len(slots), high=(self.people - problem.people)[slots], cost=price
            )
            room = np.maximum(problem.people, problem.use(self.facts, weights))
            self.rows.rows([*self.use(weights, slots), (extra, -1.0)], high=room[slots])

    def _connection(self) -> None:
        problem, weights = self.problem, [activity.kw for activity in self.problem.activities]
        room = np.maximum(
            problem.plant.power.limit_kw - problem.base_kw, problem.use(self.facts, weights)
        )
        slots = self.slots[self.most_kw() > room]
        if len(slots):
            self.rows.rows(self.use(weights, slots), high=room[slots])

    def _kilograms(self, product: str, book: OrderBook) -> Ints:
        """Lay the batches' kilograms on the orders; return the columns of orders by marks.

        The column of an order is what is delivered before it is due, and what is lacking from then on.
        """
        shape, last = book.eur_kg.shape, self.stages[-1]
        made = self.made[product] = self.rows.add(shape[1])
        stock = self.stock[product] = self.rows.add(shape[1], cost=book.stock_eur_kg)
        columns = self.rows.add(
            book.eur_kg.size, high=book.kg.repeat(shape[1]), cost=book.eur_kg.ravel()
        ).reshape(shape)
        sign, offset = np.where(book.due, -1.0, 1.0), np.where(book.due, book.kg[:, None], 0.0)
        delivered = [(columns[o], sign[o]) for o in range(shape[0])]
        balance = -offset.sum(axis=0)
        self.rows.rows([*delivered, (stock, 1.0), (made, -1.0)], low=balance, high=balance)
        step = (
            (columns[:, 1:].ravel(), sign[:, 1:].ravel()),
            (columns[:, :-1].ravel(), -sign[:, :-1].ravel()),
        )
        self.rows.rows(step, low=-np.diff(offset).ravel())
        least = [(made, 1.0), (np.append(NONE, made[:-1]), -1.0)]
        most = list(least)
        for j in self.jobs:
            job = self.problem.jobs[j]
            if job.product == product:
                done = self.at(j, last, book.marks - job.duration[last])
                for kg, terms in ((job.min_kg, least), (job.max_kg, most)):
                    terms += [(done, -kg), (np.append(NONE, done[:-1]), kg)]
        self.rows.rows(least, low=0.0)
        self.rows.rows(most, high=0.0)
        return columns

    def most_kw(self) -> Floats:
        """Return the most that production could draw in each slot, every machine full of its greediest activity."""
        problem, most = self.problem, np.zeros(len(self.slots))
        for machine, capacity in problem.capacity.items():
            mine = [
                act.kw * self.possible(act) for act in problem.activities if act.machine == machine
            ]
            most += np.max([np.zeros(len(most)), *mine], axis=0) * np.maximum(capacity, 1)
        return most
