"""The mixed-integer program of a planning problem, in step form.

The unknown of a stage is how many batches have begun it up to each slot, not whether one begins in a slot. Order, waits
and machine capacity then compare two unknowns at a time (``x − y ≤ constant``): the matrix of those rows is a network's
and totally unimodular, so the relaxation is whole by itself except where people, power and kilograms couple stages.
Slots in which nothing may start share their predecessor's unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_array

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.plan.modes import modes_at, parts_of
from factory_lib.plan.problem import Job, Problem
from factory_lib.plan.starts import Masks, ahead, start_cost, startable

NONE = -1  # the column of a count that can only be zero
FAMILIES = ("pins", "room", "machines", "operators", "power", "waits", "time", "demand")


@dataclass
class _Rows:
    """Columns and rows as they are added; handed to HiGHS at once."""

    cost: list[Floats] = field(default_factory=list)
    bounds: list[Floats] = field(default_factory=list)
    whole: list[Ints] = field(default_factory=list)
    limits: list[Floats] = field(default_factory=list)
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    width: int = 0
    height: int = 0

    def columns(self, count: int, *, low: float = 0.0, high: float = np.inf, cost: float = 0.0, whole: int = 0) -> Ints:
        """Add ``count`` unknowns and return their numbers."""
        self.cost.append(np.full(count, cost))
        self.bounds.append(np.tile([[low], [high]], count))
        self.whole.append(np.full(count, whole))
        self.width += count
        return np.arange(self.width - count, self.width)

    def add(self, terms: list[tuple[Ints, float]], low: npt.ArrayLike = -np.inf, high: npt.ArrayLike = np.inf) -> None:
        """Add one row for each position of the terms' column arrays: ``low ≤ Σ coefficient · column ≤ high``."""
        count = len(terms[0][0])
        for columns, coefficient in terms:
            real = np.flatnonzero(columns != NONE)
            self.entries.append((real + self.height, columns[real], np.full(len(real), coefficient)))
        self.limits.append(np.array([np.broadcast_to(low, count), np.broadcast_to(high, count)], dtype=float))
        self.height += count


class Program:
    """The program of ``problem``; with ``relaxed`` families it asks instead how little they would have to give way.

    The objective is then the slack alone, in the family's own unit: batches (pins), kelvin- or percent-hours (room),
    machine-hours, operator-hours, kWh above the limit, batch-hours of waiting or lateness, kilograms. ``masks`` narrow
    the slots in which stages may begin.
    """

    def __init__(self, problem: Problem, relaxed: frozenset[str] = frozenset(), *, masks: Masks | None = None) -> None:
        self.problem, self.relaxed = problem, relaxed
        self.rows = _Rows()
        self.gave_way: list[tuple[str, Ints, Ints]] = []  # what a slack is of, its columns, their slots
        self.slots = np.arange(len(problem.index))
        self.masks = startable(problem, relaxed) if masks is None else masks
        self.excess = np.full(len(problem.index), NONE)  # the column of each slot's kilowatts above the contract
        self.feasible = all(mask.any() for job in self.masks for mask in job)
        if self.feasible:
            self.count = [[self._steps(j, s) for s in range(len(problem.stages))] for j in range(len(problem.jobs))]
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

        ``below`` asks for an objective of at most that, and ``any_plan`` forgets the objective.
        """
        rows, columns, values = (np.concatenate(part) for part in zip(*self.rows.entries, strict=True))
        matrix = coo_array((values, (rows, columns)), shape=(self.rows.height, self.rows.width)).tocsr()
        constraints = [LinearConstraint(matrix, *np.concatenate(self.rows.limits, axis=1))]
        cost = np.concatenate(self.rows.cost)
        if below is not None:
            constraints.append(LinearConstraint(cost[None, :], ub=below))
        low, high = np.concatenate(self.rows.bounds, axis=1)
        return milp(
            cost * (not any_plan),
            integrality=np.concatenate(self.rows.whole),
            bounds=Bounds(low, high),
            constraints=constraints,
            options={"time_limit": time_limit_s, "mip_rel_gap": gap},
        )

    def starts(self, solution: Floats) -> list[list[Ints]]:
        """Return, for each job and stage, the slots in which its batches begin, ascending."""
        return [
            [np.repeat(self.slots, np.diff(self._values(columns, solution), prepend=0)) for columns in job]
            for job in self.count
        ]

    @staticmethod
    def _values(columns: Ints, solution: Floats) -> Ints:
        return np.where(columns == NONE, 0, np.rint(solution[columns])).astype(np.int64)

    def _at(self, job: int, stage: int, slots: Ints) -> Ints:
        return np.where(slots < 0, NONE, self.count[job][stage][np.clip(slots, 0, len(self.slots) - 1)])

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

        Where nothing starts or ends for a while, one row says it for all. Slacks are reported by slot and need each.
        """
        problem, alike = self.problem, (self.slots >= self.problem.now).astype(np.int64)
        if self.relaxed:
            return alike
        ahead_of_now = self.slots[problem.now :]
        key = [problem.base_kw, problem.people, *problem.capacity.values()]
        for j, job in enumerate(problem.jobs):
            for s, span in enumerate(job.duration):
                key += [self._at(j, s, self.slots - past) for past in (0, span)]
        _, first, slots = np.unique(np.column_stack(key)[ahead_of_now], axis=0, return_index=True, return_counts=True)
        alike[:] = 0
        alike[ahead_of_now[first]] = slots
        return alike

    def _room_slack(self, job: Job, s: int) -> Floats:
        if "room" not in self.relaxed:
            return np.zeros(len(self.slots))
        return ahead(self.problem.hurdle["room"][s], job.duration[s]) * self.problem.slot_h

    def _slack(self, family: str, of: str, slots: Ints, unit: float, sign: float = 1.0) -> list[tuple[Ints, float]]:
        """Return a term that loosens the rows of ``slots`` at a cost of ``unit`` each, if the family is relaxed."""
        if family not in self.relaxed:
            return []
        columns = self.rows.columns(len(slots), cost=unit)
        self.gave_way.append((of, columns, slots))
        return [(columns, sign)]

    def _order_and_waits(self) -> None:
        problem, unit = self.problem, self.problem.slot_h
        for j, job in enumerate(problem.jobs):
            for s in range(len(problem.stages) - 1):
                mine, following = np.flatnonzero(self.masks[j][s]), np.flatnonzero(self.masks[j][s + 1])
                before = self._at(j, s, following - job.duration[s])
                self.rows.add([(self.count[j][s + 1][following], 1.0), (before, -1.0)], high=0.0)
                longest = job.duration[s] + problem.wait[s]
                if "waits" in self.relaxed:
                    mine = self.slots[: len(self.slots) - longest]
                slack = self._slack("waits", problem.stages[s].name, mine, unit)
                self.rows.add(
                    [(self._at(j, s + 1, mine + longest), 1.0), (self._at(j, s, mine), -1.0), *slack], low=0.0
                )
                if "waits" in self.relaxed:
                    last = self.slots[-1:]
                    self.rows.add([(self._at(j, s + 1, last), 1.0), (self._at(j, s, last), -1.0)], low=0.0)

    def _machines(self) -> None:
        problem = self.problem
        for machine, capacity in problem.capacity.items():
            users = [
                (j, s)
                for j in range(len(problem.jobs))
                for s, spec in enumerate(problem.stages)
                if spec.machine == machine
            ]
            most = sum(job.count for job in problem.jobs)
            slots = np.flatnonzero(self.alike)
            if "machines" not in self.relaxed:
                slots = slots[capacity[slots] < most]
            terms: list[tuple[Ints, float]] = []
            for j, s in users:
                held = problem.stages[s].hold_h > 0
                free = self._at(j, s + 1, slots) if held else self._at(j, s, slots - problem.jobs[j].duration[s])
                terms += [(self._at(j, s, slots), 1.0), (free, -1.0)]
            if len(slots) and terms:
                slack = self._slack("machines", machine, slots, problem.slot_h, -1.0)
                self.rows.add(terms + slack, high=capacity[slots])

    def _people(self) -> None:
        problem = self.problem
        need = [spec.operators for spec in problem.stages]
        busy = [
            [self._reach(j, s, problem.attention(job, s)) * need[s] for s in range(len(need))]
            for j, job in enumerate(problem.jobs)
        ]
        slots = self._crowded(busy, problem.people.astype(float))
        if "operators" in self.relaxed:
            slots = self.slots[problem.now :]
        terms: list[tuple[Ints, float]] = []
        for j, job in enumerate(problem.jobs):
            for s, operators in enumerate(need):
                if attention := problem.attention(job, s):
                    terms += [(self._at(j, s, slots), operators), (self._at(j, s, slots - attention), -operators)]
        if len(slots) and terms:
            slack = self._slack("operators", "operators", slots, problem.slot_h, -1.0)
            self.rows.add(terms + slack, high=problem.people[slots])

    def _power(self) -> None:
        problem, power = self.problem, self.problem.plant.power
        kw = [spec.power_kw for spec in problem.stages]
        busy = [
            [self._reach(j, s, job.duration[s]) * kw[s] for s in range(len(kw))] for j, job in enumerate(problem.jobs)
        ]
        for j in range(len(problem.jobs)):
            for s, spec in enumerate(problem.stages):
                if spec.hold_kw:  # while one batch is held another may run, whatever the machine
                    busy[j][s] = busy[j][s] + spec.hold_kw
        slots = self._crowded(busy, power.contracted_kw - problem.base_kw)
        slots = slots[self.alike[slots] > 0]
        if not len(slots):
            return
        terms: list[tuple[Ints, float]] = []
        for j, job in enumerate(problem.jobs):
            for s, spec in enumerate(problem.stages):
                ended = self._at(j, s, slots - job.duration[s])
                terms += [(self._at(j, s, slots), spec.power_kw), (ended, -spec.power_kw)]
                if spec.hold_kw:
                    terms += [(ended, spec.hold_kw), (self._at(j, s + 1, slots), -spec.hold_kw)]
        price = 0.0 if self.relaxed else power.excess_eur_kw * problem.slot_h * 4
        excess = self.excess[slots] = self.rows.columns(len(slots))
        self.rows.cost[-1] = np.asarray(price * self.alike[slots], dtype=float)
        self.rows.bounds[-1][1] = np.maximum(
            power.limit_kw - np.maximum(problem.base_kw[slots], power.contracted_kw), 0.0
        )
        over = self._slack("power", "kW", slots, problem.slot_h, -1.0)
        room = np.maximum(power.contracted_kw - problem.base_kw[slots], 0.0)
        self.rows.add([*terms, (excess, -1.0), *over], high=room)

    def _modes(self) -> None:
        """Keep what runs in a slot under a mean of its modes, wherever their excess could cost something."""
        problem, parts = self.problem, parts_of(self.problem)
        slots = np.flatnonzero(self.excess != NONE)
        possible = np.array([self._possible(part.stage, held=part.held) for part in parts]).T
        kind = np.column_stack([problem.base_kw, problem.people, *problem.capacity.values(), possible])[slots]
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
                under = [(columns, -float(n)) for columns, n in zip(share, modes.counts[:, p], strict=True) if n]
                self.rows.add([*self._going_on(parts[p].stage, alike, held=parts[p].held), *under], high=0.0)

    def _possible(self, s: int, *, held: bool) -> Bools:
        """Return the slots in which stage ``s`` of some batch may run, or its mass be held."""
        wait = self.problem.wait[s] if held else 0
        reach = [self._reach(j, s, job.duration[s] + wait) for j, job in enumerate(self.problem.jobs)]
        return np.asarray(np.any(reach, axis=0))

    def _going_on(self, s: int, slots: Ints, *, held: bool) -> list[tuple[Ints, float]]:
        """Return the terms that count the batches in stage ``s``, running or held on its machine."""
        terms: list[tuple[Ints, float]] = []
        for j, job in enumerate(self.problem.jobs):
            ended = self._at(j, s, slots - job.duration[s])
            first, then = (ended, self._at(j, s + 1, slots)) if held else (self._at(j, s, slots), ended)
            terms += [(first, 1.0), (then, -1.0)]
        return terms

    def _reach(self, j: int, s: int, length: int) -> Bools:
        """Return the slots in which the stage may be running, ``length`` slots from a start."""
        running = np.convolve(self.masks[j][s], np.ones(max(length, 1)))[: len(self.slots)] > 0
        return running & (length > 0)

    def _crowded(self, busy: list[list[npt.NDArray[Any]]], room: Floats) -> Ints:
        """Return the slots where batches together could exceed ``room``; elsewhere no row is needed."""
        each = np.array(
            [load for j, job in enumerate(self.problem.jobs) for load in [np.max(busy[j], axis=0)] * job.count]
        )
        return np.flatnonzero((each.sum(axis=0) > room) & (self.slots >= self.problem.now))

    def _finish(self) -> None:
        """Pins, firm orders, and the deadline where the grid is longer than the window."""
        problem = self.problem
        for j, s, slot in problem.pins:
            here = np.array([slot])
            row = [(self._at(j, s, here), 1.0), (self._at(j, s, here - 1), -1.0)]
            self.rows.add([*row, *self._slack("pins", problem.stages[s].name, here, 1.0)], low=1.0)
        for j, job in enumerate(problem.jobs):
            self._by(problem.deadline, [j], job.count)
        for variant, _, due in problem.due:
            makers = [j for j, job in enumerate(problem.jobs) if job.variant == variant]
            self._by(due, makers, sum(count for name, count, slot in problem.due if name == variant and slot <= due))

    def _by(self, due: int, jobs: list[int], count: int) -> None:
        """Demand ``count`` finished batches of ``jobs`` by slot ``due``; relaxed, each slot of lateness counts."""
        if due >= len(self.slots):
            return
        last = len(self.problem.stages) - 1
        slots = np.arange(due, len(self.slots) + 1) if "time" in self.relaxed else np.array([due])
        done = [(self._at(j, last, slots - self.problem.jobs[j].duration[last]), 1.0) for j in jobs]
        if "demand" in self.relaxed:  # what is made at all is made in time
            made = [(np.broadcast_to(self.count[j][last][-1], slots.shape), -1.0) for j in jobs]
            self.rows.add([*done, *made], low=0.0)
        else:
            self.rows.add(
                [*done, *self._slack("time", self.problem.jobs[jobs[0]].variant, slots, self.problem.slot_h)],
                low=float(count),
            )

    def _kilograms(self) -> None:
        """Lay the batches' kilograms on the days they are finished on, and price what is early or late."""
        problem, last = self.problem, len(self.problem.stages) - 1
        price = 0.0 if self.relaxed else problem.plant.demand.preference_eur_kg_day
        for variant, wanted in problem.wanted_kg.items():
            makers = [(j, job) for j, job in enumerate(problem.jobs) if job.variant == variant]
            if not makers:
                continue
            made = self.rows.columns(len(wanted))
            before = np.concatenate([[NONE], made[:-1]])
            low, high = [(made, 1.0), (before, -1.0)], [(made, 1.0), (before, -1.0)]
            for j, job in makers:
                today = self._at(j, last, problem.day_end - job.duration[last])
                yesterday = self._at(j, last, np.concatenate([[0], problem.day_end[:-1]]) - job.duration[last])
                low += [(today, -job.min_kg), (yesterday, job.min_kg)]
                high += [(today, -job.max_kg), (yesterday, job.max_kg)]
            self.rows.add(low, low=0.0)
            self.rows.add(high, high=0.0)
            early, late = self.rows.columns(len(wanted), cost=price), self.rows.columns(len(wanted), cost=price)
            self.rows.add([(made, 1.0), (early, -1.0), (late, 1.0)], *[np.cumsum(wanted)] * 2)
            self.rows.add(
                [(made[-1:], 1.0), *self._slack("demand", variant, problem.day_end[-1:], 1.0)], low=wanted.sum()
            )
