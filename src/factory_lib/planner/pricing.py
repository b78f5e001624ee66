"""The costs of a program beside the energy of its starts, and the rows that lift its bound.

A *resource combination* is a set of activities of which any two together exceed the
connection or the contract. A relaxation would run half of refining beside half of
conching for free; saying what the second of the set costs takes that away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain, combinations

import numpy as np

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.planner.milp import ZERO
from factory_lib.planner.model import MilpModel
from factory_lib.planner.problem import Activity

LARGEST_SET = 4  # activities in a combination
POINT_KW = 10.0  # excess that the charge is first described at, over
STRETCHES = (1, 4, 16, 64, 256)  # so many slots


def price(model: MilpModel, tangents: Sequence[Floats] = ()) -> None:
    """Add excess power, solar power, starts that should stay, and rows that lift the bound.

    ``tangents`` are excess power by slot at which the excess charge is described: it is
    convex, and the program sees it from below.
    """
    over = _excess(model, tangents)
    _resource_combinations(model, over)
    _solar(model)
    _keeps(model)
    _whole_batches(model)


def _excess(model: MilpModel, tangents: Sequence[Floats]) -> Ints:
    """Price what production adds to each month's excess; return the column of each slot's."""
    problem = model.problem
    rule = problem.excess
    over = np.full(len(model.slots), ZERO)
    room = rule.contract_kw[rule.group] - problem.meter_kw
    slots = np.flatnonzero((model.most_kw() > room) & (model.slots >= problem.now))
    if not len(slots):
        return over
    over[slots] = model.rows.add(len(slots), low=rule.over_kw(problem.meter_kw)[slots])
    drawn = model.use([activity.kw for activity in problem.activities], slots)
    model.rows.rows([*drawn, (over[slots], -1.0)], high=room[slots])
    unavoidable = rule.norm(problem.meter_kw, problem.so_far)
    tax = 1 + problem.request.contract.electricity_tax_pct / 100
    for group in np.unique(rule.group[slots]):
        mine = slots[rule.group[slots] == group]
        charge = model.rows.add(1, cost=rule.rate_eur[group] * tax)
        points = _stretches(len(mine), STRETCHES[:1] if rule.small else STRETCHES)
        if not rule.small:
            points += [tangent[mine] for tangent in tangents]
        for point in rule.weight * np.array(points):
            before = problem.so_far[group] * (not rule.small)
            norm = np.hypot(before, np.linalg.norm(point)) or 1.0
            slope = (over[mine], -rule.weight * point / norm)
            model.rows.row([(charge, 1.0), slope], before**2 / norm - unavoidable[group])
    return over


def _stretches(size: int, lengths: Sequence[int]) -> list[Floats]:
    """Return excess in half overlapping stretches of slots, of several lengths."""
    slots = np.arange(size)
    return [
        np.where((slots >= begin) & (slots < begin + length), POINT_KW, 0.0)
        for length in lengths
        for begin in range(0, size, max(length // 2, 1))
    ]


def _resource_combinations(model: MilpModel, over: Ints) -> None:
    """Bound how many activities of a set go on at once, where any two exceed what is left.

    Above the connection's limit at most one goes on. Above the contract each further
    one costs at least the excess of the two that exceed it least. Both hold while every
    machine of the set has one unit.
    """
    problem = model.problem
    limit_kw = problem.plant.power.limit_kw - problem.base_kw
    room_kw = problem.excess.contract_kw[problem.excess.group] - problem.meter_kw
    able = {act: _single(model, act) for act in problem.activities if act.kw}
    sizes = range(2, LARGEST_SET + 1)
    for some in chain.from_iterable(combinations(able, size) for size in sizes):
        least_kw = _least_pair_kw(some)
        slots = np.flatnonzero(np.all([able[part] for part in some], axis=0))
        weights = [float(activity in some) for activity in problem.activities]
        below = least_kw <= limit_kw[slots] + 1e-9
        model.rows.rows(model.use(weights, slots[~below]), high=1.0)
        below &= max(part.kw for part in some) <= room_kw[slots]
        below &= least_kw > room_kw[slots]
        excess = least_kw - room_kw[slots[below]]
        active = model.use(weights, slots[below])
        more = [(columns, sign * excess) for columns, sign in active]
        model.rows.rows([*more, (over[slots[below]], -1.0)], high=excess)


def _least_pair_kw(some: Sequence[Activity]) -> float:
    pairs = combinations(some, 2)
    return min((a.kw + b.kw for a, b in pairs if a.machine != b.machine), default=0.0)


def _single(model: MilpModel, activity: Activity) -> Bools:
    """Return where an activity is possible on a machine of one unit, free of facts."""
    problem = model.problem
    facts = problem.facts([1.0] * len(problem.activities))  # may exceed what is allowed
    alone = problem.capacity[activity.machine] <= 1
    return np.asarray(model.possible(activity) & (facts == 0) & alone)


def _solar(model: MilpModel) -> None:
    """Credit solar power that production uses instead of importing."""
    problem = model.problem
    slots = np.flatnonzero(problem.spare_kw)
    if len(slots):
        worth = problem.saved[slots] * problem.slot_h / 1000
        used = model.rows.add(len(slots), high=problem.spare_kw[slots], cost=-worth)
        drawn = model.use([-activity.kw for activity in problem.activities], slots)
        model.rows.rows([(used, 1.0), *drawn], high=0.0)


def _keeps(model: MilpModel) -> None:
    """Price every start that is moved away from where it should stay, and what is lost."""
    lost_kg = sum(job.max_kg for job in model.problem.lost)
    model.rows.add(1, low=lost_kg, high=lost_kg, cost=model.problem.plant.slack.lost_eur_kg)
    for keep in model.problem.keeps:
        if not 0 <= keep.slot < len(model.slots):
            continue
        gone = model.rows.add(1, high=keep.count, cost=keep.eur)
        starts = [(gone, 1.0)]
        for j, job in enumerate(model.problem.jobs):
            if job.product == keep.product:
                starts.append((model.at(j, keep.stage, np.array([keep.slot])), 1.0))
                starts.append((model.at(j, keep.stage, np.array([keep.slot - 1])), -1.0))
        model.rows.rows(starts, low=keep.count)


def _whole_batches(model: MilpModel) -> None:
    """Round up the batches that the orders due at a mark need (a mixed-integer rounding cut).

    Where ``kg`` are not a whole number of batches, ``n`` batches and ``b`` kilograms
    lacking satisfy ``n + b / (kg modulo batch) ≥ ⌈kg / batch⌉``.
    """
    problem = model.problem
    begun_kg: Counter[str] = Counter()
    for j, job in enumerate(problem.jobs):
        if job.facts:
            begun_kg[job.product] += job.max_kg  # type: ignore[assignment]
            continue
        mine = np.array([order.product == job.product for order in problem.orders], bool)
        done = model.at(j, len(job.duration) - 1, problem.marks - job.duration[-1])
        for m, due in enumerate(problem.due.T):
            kg = float(problem.order_kg[mine & due].sum()) - begun_kg[job.product]
            if kg > 0 and kg % job.max_kg > 1e-6 * kg:
                lacking = (model.undelivered[mine & due, m], 1 / (kg % job.max_kg))
                model.rows.row([(done[m : m + 1], 1.0), lacking], np.ceil(kg / job.max_kg))
