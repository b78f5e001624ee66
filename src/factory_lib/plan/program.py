"""The mixed-integer program of a planning problem, in step form.

The unknown of a stage is how many batches have begun it up to each slot, not whether
one begins in a slot. Order, waits and machine capacity then compare two unknowns at a
time (``x − y ≤ constant``): the matrix of those rows is a network's and totally
unimodular, so the relaxation is whole by itself except where people, power and
kilograms couple stages. Slots in which nothing may start share their predecessor's
unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.plan.modes import Part, modes_at, parts_of
from factory_lib.plan.problem import Job, Problem
from factory_lib.plan.rows import NONE, Rows, Terms
from factory_lib.plan.starts import Masks, ahead, start_cost, startable

TIE = 1e-4  # weighs a second aim so little that it only settles ties
FAMILIES = ("pins", "room", "machines", "operators", "power", "waits", "time", "demand")


class Program:
    """The program of ``problem``; with ``relaxed`` families it asks instead how little they would have to give way.

    The objective is then the slack alone, in the family's own unit: batches (pins),
    kelvin- or percent-hours (room), machine-hours, operator-hours, most kW above the
    limit, batch-hours of waiting or lateness, kilograms. ``masks`` narrow the slots in
    which stages may begin.
    """

    def __init__(
        self, problem: Problem, relaxed: frozenset[str] = frozenset(), *, masks: Masks | None = None
    ) -> None:
        self.problem, self.relaxed = problem, relaxed
        self.rows = Rows()
        self.gave_way: list[
            tuple[str, str, Ints, Ints]
        ] = []  # family, what a slack is of, its columns, their slots
        self.slots = np.arange(len(problem.index))
        self.masks = startable(problem, relaxed) if masks is None else masks
        self.excess = np.full(
            len(problem.index), NONE
        )  # the column of each slot's kilowatts above the contract
        self.feasible = all(mask.any() for job in self.masks for mask in job)
        if self.feasible:
            self.count = [
                [self._steps(j, s) for s in range(len(problem.stages))]
                for j in range(len(problem.jobs))
            ]
            self.alike = self._alike()
            self._order_and_waits()
            self._machines()
            self._people()
            self._power()
            if not relaxed:
                self._modes()
            self._finish()
            self._kilograms()

    def solve(
        self, time_limit_s: float, gap: float, *, below: float | None = None, any_plan: bool = False
    ) -> OptimizeResult:
        """Run HiGHS and return its result, ``x`` None where it found no plan.

        ``below`` asks for an objective of at most that, and ``any_plan`` forgets the
        objective.
        """
        return self.rows.solve(time_limit_s, gap, below=below, any_point=any_plan)

    def starts(self, solution: Floats) -> list[list[Ints]]:
        """Return, for each job and stage, the slots in which its batches begin, ascending."""
        return [
            [
                np.repeat(self.slots, np.diff(self._values(columns, solution), prepend=0))
                for columns in job
            ]
            for job in self.count
        ]

    @staticmethod
    def _values(columns: Ints, solution: Floats) -> Ints:
        return np.where(columns == NONE, 0, np.rint(solution[columns])).astype(np.int64)

    def _at(self, job: int, stage: int, slots: Ints) -> Ints:
        return np.where(
            slots < 0, NONE, self.count[job][stage][np.clip(slots, 0, len(self.slots) - 1)]
        )

    def _steps(self, j: int, s: int) -> Ints:
        """Add the counts of one stage; the last equals the batches, and each is at least the one before."""
        mask, job = self.masks[j][s], self.problem.jobs[j]
        columns = self.rows.columns(int(mask.sum()), high=job.count, whole=1)
        if not ("demand" in self.relaxed and job.fresh):
            self.rows.bounds[-1][0, -1] = job.count
        self.rows.add([(columns[1:], 1.0), (columns[:-1], -1.0)], low=0.0)
        cost = self._room_slack(job, s) if self.relaxed else start_cost(self.problem, job, s)
        self.rows.cost[-1] += -np.diff(cost[mask], append=0.0)
        return np.where(np.cumsum(mask) == 0, NONE, columns[0] + np.cumsum(mask) - 1)

    def _alike(self) -> Ints:
        """Return for each slot how many slots it speaks for: those of the same unknowns and room; 0 if one before does.

        Where nothing starts or ends for a while, one row says it for all. Slacks are
        reported by slot and need each.
        """
        problem, alike = self.problem, (self.slots >= self.problem.now).astype(np.int64)
        if self.relaxed:
            return alike
        ahead_of_now = self.slots[problem.now :]
        key = [problem.base_kw, problem.people, *problem.capacity.values()]
        for j, job in enumerate(problem.jobs):
            for s, span in enumerate(job.duration):
                key += [self._at(j, s, self.slots - past) for past in (0, span)]
        _, first, slots = np.unique(
            np.column_stack(key)[ahead_of_now], axis=0, return_index=True, return_counts=True
        )
        alike[:] = 0
        alike[ahead_of_now[first]] = slots
        return alike

    def _room_slack(self, job: Job, s: int) -> Floats:
        if "room" not in self.relaxed:
            return np.zeros(len(self.slots))
        return ahead(self.problem.hurdle["room"][s], job.duration[s]) * self.problem.slot_h

    def _slack(self, family: str, of: str, slots: Ints, unit: float, sign: float = 1.0) -> Terms:
        """Return a term that loosens the rows of ``slots`` at a cost of ``unit`` each, if the family is relaxed."""
        if family not in self.relaxed:
            return []
        columns = self.rows.columns(len(slots), cost=unit)
        self.gave_way.append((family, of, columns, slots))
        return [(columns, sign)]

    def _order_and_waits(self) -> None:
        problem, unit = self.problem, self.problem.slot_h
        for j, job in enumerate(problem.jobs):
            for s in range(len(problem.stages) - 1):
                mine, following = (
                    np.flatnonzero(self.masks[j][s]),
                    np.flatnonzero(self.masks[j][s + 1]),
                )
                before = self._at(j, s, following - job.duration[s])
                self.rows.add([(self.count[j][s + 1][following], 1.0), (before, -1.0)], high=0.0)
                longest = job.duration[s] + problem.wait[s]
                if "waits" in self.relaxed:
                    mine = self.slots[: len(self.slots) - longest]
                slack = self._slack("waits", problem.stages[s].name, mine, unit)
                self.rows.add(
                    [
                        (self._at(j, s + 1, mine + longest), 1.0),
                        (self._at(j, s, mine), -1.0),
                        *slack,
                    ],
                    low=0.0,
                )
                if "waits" in self.relaxed:
                    last = self.slots[-1:]
                    self.rows.add(
                        [(self._at(j, s + 1, last), 1.0), (self._at(j, s, last), -1.0)], low=0.0
                    )

    def _machines(self) -> None:
        problem, most = self.problem, sum(job.count for job in self.problem.jobs)
        for machine, capacity in problem.capacity.items():
            slots = np.flatnonzero(self.alike)
            if "machines" not in self.relaxed:
                slots = slots[capacity[slots] < most]
            terms: Terms = []
            for s, spec in enumerate(problem.stages):
                for j, job in enumerate(problem.jobs):
                    if spec.machine == machine:
                        free = (
                            self._at(j, s + 1, slots)
                            if spec.hold_h
                            else self._at(j, s, slots - job.duration[s])
                        )
                        terms += [(self._at(j, s, slots), 1.0), (free, -1.0)]
            if len(slots) and terms:
                slack = self._slack("machines", machine, slots, problem.slot_h, -1.0)
                self.rows.add(terms + slack, high=capacity[slots])

    def _people(self) -> None:
        problem = self.problem
        attended = [
            (j, s, problem.attention(job, s), spec.operators)
            for j, job in enumerate(problem.jobs)
            for s, spec in enumerate(problem.stages)
            if problem.attention(job, s)
        ]
        slots = self.slots[problem.now :]
        if "operators" not in self.relaxed:
            needed = [
                (j, self._reach(j, s, length) * float(operators))
                for j, s, length, operators in attended
            ]
            slots = self._crowded(needed, problem.people.astype(float))
        terms: Terms = []
        for j, s, length, operators in attended:
            terms += [
                (self._at(j, s, slots), operators),
                (self._at(j, s, slots - length), -operators),
            ]
        if len(slots) and terms:
            slack = self._slack("operators", "operators", slots, problem.slot_h, -1.0)
            self.rows.add(terms + slack, high=problem.people[slots])

    def _power(self) -> None:
        problem, power = self.problem, self.problem.plant.power
        drawn = [
            (j, self._possible(j, part) * part.power_kw)
            for part in parts_of(problem)
            for j in range(len(problem.jobs))
        ]
        slots = self._crowded(drawn, power.contracted_kw - problem.base_kw)
        slots = slots[self.alike[slots] > 0]
        if not len(slots):
            return
        terms = [
            (columns, sign * part.power_kw)
            for part in parts_of(problem)
            for columns, sign in self._going_on(part, slots)
        ]
        price = 0.0 if self.relaxed else power.excess_eur_kw * problem.slot_h * 4
        excess = self.excess[slots] = self.rows.columns(len(slots))
        self.rows.cost[-1] = np.asarray(price * self.alike[slots], dtype=float)
        self.rows.bounds[-1][1] = np.maximum(
            power.limit_kw - np.maximum(problem.base_kw[slots], power.contracted_kw), 0.0
        )
        over = self._slack("power", "limit", slots, problem.slot_h * TIE, -1.0)
        if over:  # the limit would be raised once, for the slot that needs most
            peak = np.repeat(self.rows.columns(1, cost=1.0), len(slots))
            self.rows.add([(over[0][0], 1.0), (peak, -1.0)], high=0.0)
        room = np.maximum(power.contracted_kw - problem.base_kw[slots], 0.0)
        self.rows.add([*terms, (excess, -1.0), *over], high=room)

    def _modes(self) -> None:
        """Keep what goes on in a slot under a mean of its modes, wherever their excess could cost something."""
        problem, parts = self.problem, parts_of(self.problem)
        slots, jobs = np.flatnonzero(self.excess != NONE), range(len(problem.jobs))
        possible = np.array(
            [np.any([self._possible(j, part) for j in jobs], axis=0) for part in parts]
        ).T
        kind = np.column_stack(
            [problem.base_kw, problem.people, *problem.capacity.values(), possible]
        )[slots]
        kinds, of = np.unique(kind, axis=0, return_inverse=True)
        for number in range(len(kinds)):
            alike = slots[of == number]
            modes = modes_at(problem, int(alike[0]), parts, possible[alike[0]])
            if modes is None:
                continue
            share = [self.rows.columns(len(alike)) for _ in modes.excess_kw]
            self.rows.add([(columns, 1.0) for columns in share], high=1.0)
            paid = [(columns, kw) for columns, kw in zip(share, modes.excess_kw, strict=True) if kw]
            self.rows.add([*paid, (self.excess[alike], -1.0)], high=0.0)
            for p in np.flatnonzero(possible[alike[0]]):
                under = [
                    (columns, -float(n))
                    for columns, n in zip(share, modes.counts[:, p], strict=True)
                    if n
                ]
                self.rows.add([*self._going_on(parts[p], alike), *under], high=0.0)

    def _going_on(self, part: Part, slots: Ints) -> Terms:
        """Return the terms that count the batches of all jobs in a part."""
        terms: Terms = []
        for j, job in enumerate(self.problem.jobs):
            begun, ended = (
                self._at(j, part.stage, slots),
                self._at(j, part.stage, slots - job.duration[part.stage]),
            )
            if part.held:
                begun, ended = ended, self._at(j, part.stage + 1, slots)
            terms += [(begun, 1.0), (ended, -1.0)]
        return terms

    def _possible(self, j: int, part: Part) -> Bools:
        """Return the slots in which a batch of job ``j`` may be in a part."""
        wait = (
            0
            if not part.held
            else len(self.slots)
            if "waits" in self.relaxed
            else self.problem.wait[part.stage]
        )
        return self._reach(j, part.stage, self.problem.jobs[j].duration[part.stage] + wait)

    def _reach(self, j: int, s: int, length: int) -> Bools:
        """Return the slots that lie less than ``length`` after a start of the stage."""
        return np.asarray(np.convolve(self.masks[j][s], np.ones(length))[: len(self.slots)] > 0.5)

    def _crowded(self, needs: list[tuple[int, npt.NDArray[Any]]], room: Floats) -> Ints:
        """Return the slots where batches, each of a job in one place at a time, could together exceed ``room``."""
        most = np.zeros((len(self.problem.jobs), len(self.slots)))
        for j, need in needs:
            most[j] = np.maximum(most[j], need)
        together = np.array([job.count for job in self.problem.jobs]) @ most
        return np.flatnonzero((together > room) & (self.slots >= self.problem.now))

    def _finish(self) -> None:
        """Pins, firm orders, and the deadline where the grid is longer than the window."""
        problem = self.problem
        for jobs, s, slot in problem.pins:
            here = np.array([slot])
            row = [
                (self._at(j, s, here - ago), sign)
                for j in jobs
                for ago, sign in ((0, 1.0), (1, -1.0))
            ]
            self.rows.add([*row, *self._slack("pins", problem.stages[s].name, here, 1.0)], low=1.0)
        for j, job in enumerate(problem.jobs):
            self._by(problem.deadline, {j: 1.0}, job.count)
        for variant in problem.wanted_kg:
            largest = problem.plant.variants[variant].batch_max_kg
            makers = {
                j: job.max_kg / largest
                for j, job in enumerate(problem.jobs)
                if job.variant == variant
            }
            for due, kg in problem.due_kg(variant).items():
                self._by(due, makers, kg / largest)

    def _by(self, due: int, makers: dict[int, float], count: float) -> None:
        """Demand ``count`` full batches by slot ``due``; relaxed, each slot of lateness counts.

        ``makers`` are the jobs that count, with how much of a full batch each of theirs
        can be.
        """
        if due >= len(self.slots):
            return
        last = len(self.problem.stages) - 1
        slots = np.arange(due, len(self.slots) + 1) if "time" in self.relaxed else np.array([due])
        done = [
            (self._at(j, last, slots - self.problem.jobs[j].duration[last]), full)
            for j, full in makers.items()
        ]
        if "demand" in self.relaxed:  # what is made at all is made in time
            made = [
                (np.broadcast_to(self.count[j][last][-1], slots.shape), -full)
                for j, full in makers.items()
            ]
            self.rows.add([*done, *made], low=0.0)
        else:
            variant = self.problem.jobs[next(iter(makers))].variant
            self.rows.add(
                [*done, *self._slack("time", variant, slots, self.problem.slot_h)], low=count
            )

    def _kilograms(self) -> None:
        """Lay the batches' kilograms on the days they are finished on, and price what is early or late.

        What firm orders want by a slot within a day is a point of its own, so that its
        kilograms are the day's too.
        """
        problem, last = self.problem, len(self.problem.stages) - 1
        price = 0.0 if self.relaxed else problem.plant.demand.preference_eur_kg_day
        for variant, wanted in problem.wanted_kg.items():
            makers = [(j, job) for j, job in enumerate(problem.jobs) if job.variant == variant]
            if not makers:
                continue
            due = {} if self.relaxed & {"time", "demand"} else problem.due_kg(variant)
            until = np.union1d(problem.day_end, np.array(list(due), dtype=np.int64))
            points = self.rows.columns(len(until))
            before = np.concatenate([[NONE], points[:-1]])
            low, high = [(points, 1.0), (before, -1.0)], [(points, 1.0), (before, -1.0)]
            for j, job in makers:
                now = self._at(j, last, until - job.duration[last])
                then = self._at(j, last, np.concatenate([[0], until[:-1]]) - job.duration[last])
                low += [(now, -job.min_kg), (then, job.min_kg)]
                high += [(now, -job.max_kg), (then, job.max_kg)]
            self.rows.add(low, low=0.0)
            self.rows.add(high, high=0.0)
            if due:
                self.rows.add(
                    [(points[np.searchsorted(until, list(due))], 1.0)], low=list(due.values())
                )
            made = points[np.searchsorted(until, problem.day_end)]
            early, late = (
                self.rows.columns(len(wanted), cost=price),
                self.rows.columns(len(wanted), cost=price),
            )
            self.rows.add([(made, 1.0), (early, -1.0), (late, 1.0)], *[np.cumsum(wanted)] * 2)
            self.rows.add(
                [(made[-1:], 1.0), *self._slack("demand", variant, problem.day_end[-1:], 1.0)],
                low=wanted.sum(),
            )
