"""Doing it simply: schedules of the same kilograms, under the same constraints, that a plan is measured against.

Each lays batch after batch on a shop floor that remembers what is taken. One batch on a
given floor is a shortest path over its stages, found exactly by going backwards from
the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import MADRID
from factory_lib.domain.plant import Bools, Floats, Ints, shifts_on
from factory_lib.plan.problem import Problem, on_grid
from factory_lib.plan.schedule import Batch, Schedule, filled, keeps_limits, keeps_promises
from factory_lib.plan.starts import ahead, start_cost, startable

LOOK_BACK = timedelta(days=28)
DAY_OFF_EUR = 1e4  # keeps "on its day" before everything else for who does not weigh it


Chain = tuple[int, ...]


class _Floor:
    """What is still free while batches are laid one after another."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.free = {name: count.copy() for name, count in problem.capacity.items()}
        self.people = problem.people.copy()
        self.kw = problem.base_kw.copy()

    def by_start(
        self, j: int, masks: list[Bools], price: list[Floats], *, excess: bool
    ) -> tuple[Floats, list[Ints]]:
        """Return the cost of the best chain of one batch of job ``j`` by its first slot, and how it goes on.

        ``price[s]`` is what stage ``s`` costs by the slot it begins in; infinite cost
        is a start that leads nowhere.
        """
        problem, job = self.problem, self.problem.jobs[j]
        best: Floats = np.zeros(len(problem.index))
        follow: list[Ints] = []
        for s in range(len(problem.stages) - 1, -1, -1):
            if s < len(problem.stages) - 1:
                best, after = self._follow(best, s, job.duration[s])
                follow.insert(0, after)
            fits = masks[s] & (self._fits(j, s) | bool(job.facts[s]))
            best = np.where(
                fits,
                best + price[s] + (self._excess_eur(s, job.duration[s]) if excess else 0.0),
                np.inf,
            )
        return best, follow

    def best_chain(
        self,
        j: int,
        masks: list[Bools],
        price: list[Floats],
        preferred: Iterator[Bools],
        *,
        excess: bool,
    ) -> Chain | None:
        """Return the starts of the cheapest chain of job ``j`` that begins in the first mask any chain begins in."""
        best, follow = self.by_start(j, masks, price, excess=excess)
        for only in preferred:
            slot = int(np.argmin(np.where(only, best, np.inf)))
            if only[slot] and np.isfinite(best[slot]):
                chain = [slot]
                for after in follow:
                    chain.append(int(after[chain[-1]]))
                return tuple(chain)
        return None

    def _follow(self, best: Floats, s: int, span: int) -> tuple[Floats, Ints]:
        """Return, for each start of stage ``s``, the best value of the next stage in reach and its slot."""
        stage, size = self.problem.stages[s], len(best)
        padded = np.concatenate([best, np.full(size, np.inf)])
        slots = np.arange(size)
        full = self.free[stage.machine] < 1
        if stage.hold_kw:
            heavy = self.kw + stage.hold_kw > self.problem.plant.power.limit_kw + 1e-9
            full = full | (heavy & (slots >= self.problem.now))
        taken = np.concatenate([[0], np.cumsum(full), np.full(size, 0)])
        taken[size + 1 :] = taken[size]
        value, after = np.full(size, np.inf), np.zeros(size, dtype=np.int64)
        for gap in range(min(self.problem.wait[s], size - span) + 1):
            candidate = padded[slots + span + gap]
            if stage.hold_h and gap:
                candidate = np.where(
                    taken[slots + span + gap] == taken[slots + span], candidate, np.inf
                )
            better = candidate < value
            value, after = (
                np.where(better, candidate, value),
                np.where(better, slots + span + gap, after),
            )
        return value, after

    def _fits(self, j: int, s: int) -> Bools:
        problem, stage = self.problem, self.problem.stages[s]
        job = problem.jobs[j]
        lack = (self.free[stage.machine] < 1) | (
            self.kw + stage.power_kw > problem.plant.power.limit_kw + 1e-9
        )
        lonely = self.people < stage.operators
        return np.equal(ahead(lack, job.duration[s]) + ahead(lonely, problem.attention(job, s)), 0)

    def _excess_eur(self, s: int, span: int) -> Floats:
        """Return what a stage begun in each slot adds to the excess charge on this floor."""
        power = self.problem.plant.power
        before = np.maximum(0.0, self.kw - power.contracted_kw)
        added = (
            np.maximum(0.0, self.kw + self.problem.stages[s].power_kw - power.contracted_kw)
            - before
        )
        added[: self.problem.now] = 0.0  # paid long ago
        return ahead(added * power.excess_eur_kw * self.problem.slot_h * 4, span)

    def take(self, j: int, chain: Chain) -> None:
        """Occupy the floor with a batch."""
        job = self.problem.jobs[j]
        for s, stage in enumerate(self.problem.stages):
            start, end = chain[s], chain[s] + job.duration[s]
            until = chain[s + 1] if stage.hold_h else end
            self.free[stage.machine][start:until] -= 1
            self.people[start : start + self.problem.attention(job, s)] -= stage.operators
            self.kw[start:end] += stage.power_kw
            self.kw[end:until] += stage.hold_kw


def cost_by_start(problem: Problem, j: int, masks: list[Bools]) -> Floats:
    """Return what one batch of job ``j`` costs at least, alone on an empty floor, by the slot it begins in, EUR."""
    price = [start_cost(problem, problem.jobs[j], s) for s in range(len(problem.stages))]
    return _Floor(problem).by_start(j, masks, price, excess=True)[0]


def bound_eur(problem: Problem) -> float:
    """Return what no schedule can be cheaper than: every batch alone at its cheapest."""
    masks = startable(problem)
    return sum(
        job.count * float(cost_by_start(problem, j, masks[j]).min())
        for j, job in enumerate(problem.jobs)
    )


Preferred = Callable[[int], Iterator[Bools]]


def greedy(problem: Problem) -> Schedule | None:
    """Batch after batch at its cheapest feasible start, energy, excess and day's preference weighed."""
    off = problem.plant.demand.preference_eur_kg_day

    def money(j: int, day: int) -> list[Floats]:
        job = problem.jobs[j]
        price = [start_cost(problem, job, s) for s in range(len(problem.stages))]
        price[-1] = price[-1] + off * (job.min_kg + job.max_kg) / 2 * _days_off(problem, j, day)
        return price

    return _lay(problem, money, lambda _: iter(()), excess=True)


def shift_begin(problem: Problem) -> Schedule | None:
    """Begin each chain with a shift of the day it is due, else of the day before, and go on as soon as possible."""
    begins = np.zeros(len(problem.index), dtype=bool)
    local = problem.index.tz_convert(MADRID)
    minute = np.asarray(local.hour * 60 + local.minute)
    for day in {stamp.date() for stamp in local}:
        for shift in shifts_on(problem.plant, day):
            begins |= (minute == shift.begin.hour * 60 + shift.begin.minute) & np.asarray(
                local.date == day
            )
    return _simple(problem, lambda _: iter([begins]))


def fixed_start(problem: Problem) -> Schedule | None:
    """Begin each chain at the time of day that was cheapest over the last 28 days; None without their prices."""
    prices = problem.request.prices
    past = prices[
        (prices.index < problem.index[0]) & (prices.index >= problem.index[0] - LOOK_BACK)
    ]
    if len(past) < 2 or past.index[0] > problem.index[0] - LOOK_BACK / 2:
        return None
    index = pd.date_range(
        past.index[0], problem.index[0], freq=problem.index.freq, inclusive="left", unit="s"
    )
    frame = on_grid(past.select_dtypes("number"), index)
    price = frame["p50" if "p50" in frame else frame.columns[0]].to_numpy(float)
    clock, here = (
        np.asarray(i.tz_convert(MADRID).hour * 60 + i.tz_convert(MADRID).minute)
        for i in (index, problem.index)
    )

    def ranked(j: int) -> Iterator[Bools]:
        kw = np.repeat([stage.power_kw for stage in problem.stages], problem.jobs[j].duration)
        cost = pd.Series(np.convolve(price, kw[::-1], mode="valid"))
        for minute in cost.groupby(clock[: len(cost)]).mean().sort_values().index:
            yield here == minute

    return _simple(problem, ranked)


def _simple(problem: Problem, preferred: Preferred) -> Schedule | None:
    def soonest(j: int, day: int) -> list[Floats]:
        price = [np.arange(len(problem.index), dtype=float) for _ in problem.stages]
        price[-1] = price[-1] + DAY_OFF_EUR * _days_off(problem, j, day)
        return price

    return _lay(problem, soonest, preferred, excess=False)


def _days_off(problem: Problem, j: int, day: int) -> Floats:
    """Return how many days before or after ``day`` a batch is finished whose last stage begins in each slot."""
    ends = np.arange(len(problem.index)) + problem.jobs[j].duration[-1]
    return np.abs(np.searchsorted(problem.day_end, ends) - day).astype(float)


def _due_days(problem: Problem, j: int) -> list[int]:
    """Return the day each batch of a job is due on, as the weekly demand lays them; spare batches come last."""
    job = problem.jobs[j]
    wanted = problem.wanted_kg[job.variant]
    days = [
        day for day, kg in enumerate(wanted) for _ in range(int(np.ceil(kg / job.max_kg - 1e-9)))
    ]
    if not job.fresh:
        return [days[0] if days else 0]
    spared = sum(
        other.count for other in problem.jobs if other.variant == job.variant and not other.fresh
    )
    return (days[spared:] + [days[-1]] * job.count)[: job.count]


def _lay(
    problem: Problem,
    price: Callable[[int, int], list[Floats]],
    preferred: Preferred,
    *,
    excess: bool,
) -> Schedule | None:
    """Lay every batch in order of its day, each where the floor still has room; None if one does not fit."""
    floor, masks, laid = _Floor(problem), startable(problem), []
    todo = [
        (job.fresh, day, j) for j, job in enumerate(problem.jobs) for day in _due_days(problem, j)
    ]
    for _, day, j in sorted(todo):  # what is running comes first
        begins = _begins(problem, preferred(j), day)
        chain = floor.best_chain(j, masks[j], price(j, day), begins, excess=excess)
        if chain is None:
            return None
        floor.take(j, chain)
        laid.append(Batch(j, 0.0, chain))
    return filled(problem, tuple(sorted(laid, key=lambda batch: batch.starts[-1])))


def _begins(problem: Problem, preferred: Iterator[Bools], day: int) -> Iterator[Bools]:
    """Yield the slots a chain may begin in, best first: each preference on its day, then before it, then any slot."""
    slots = np.arange(len(problem.index))
    ends = [0, *problem.day_end]
    on_day = (slots >= ends[day]) & (slots < ends[day + 1])
    for first in preferred:
        yield first & on_day
        yield first & (slots < ends[day])
    yield np.ones(len(slots), dtype=bool)


BASELINES = {"fixed start": fixed_start, "shift begin": shift_begin, "greedy": greedy}


def schedules(problem: Problem) -> dict[str, Schedule]:
    """Return the simple schedules by name: those that fit, and keep the pins and firm orders of the request."""
    made = {name: make(problem) for name, make in BASELINES.items()}
    return {
        name: laid
        for name, laid in made.items()
        if laid is not None and keeps_limits(problem, laid) and keeps_promises(problem, laid)
    }
