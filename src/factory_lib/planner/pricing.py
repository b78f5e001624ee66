"""The costs of a program beside the energy of its starts, and the rows that lift its bound.

A *resource combination* is a set of running and holding stages that a slot allows, with
the power it draws above the contract. Whatever a schedule does in a slot lies under one
of them. Asking of a relaxation that it lies under a weighted mean of combinations, and
pays their mean excess, describes the slot exactly: the hull of its whole solutions.
Without it half of refining beside half of conching would be free where both together
exceed the contract.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.planner.milp import ZERO
from factory_lib.planner.model import MilpModel

MOST_COUNTS, MOST_COMBINATIONS = 1024, 24  # beyond, a slot keeps its plain rows, right but looser
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
    """Keep what goes on in a slot under a mean of its combinations, where power is short."""
    problem = model.problem
    parts = [activity for activity in problem.activities if activity.kind != "attend"]
    possible = np.array([model.possible(part) for part in parts])
    limit_kw = problem.plant.power.limit_kw - problem.base_kw
    contract_kw = problem.excess.contract_kw[problem.excess.group] - problem.meter_kw
    facts = problem.facts([1.0] * len(problem.activities))  # may exceed what is allowed
    short = (over != ZERO) | (model.most_kw() > limit_kw)
    slots = np.flatnonzero(short & (facts == 0))
    kind = [limit_kw, contract_kw, model.people, over != ZERO, *problem.capacity.values()]
    of = np.unique(np.vstack([*kind, possible])[:, slots], axis=1, return_inverse=True)[1]
    for number in range(int(of.max(initial=-1)) + 1):
        alike = slots[of == number]
        first = int(alike[0])
        counts, excess = _combinations_at(model, first, possible[:, first])
        if not 0 < len(counts) <= MOST_COMBINATIONS:
            continue
        share = [model.rows.add(len(alike)) for _ in counts]
        model.rows.rows([(columns, 1.0) for columns in share], high=1.0)
        paid = list(zip(share, excess, strict=True))
        least = problem.excess.over_kw(problem.meter_kw)[alike]
        model.rows.rows([*paid, (over[alike], -1.0)], high=-least)
        for p in np.flatnonzero(possible[:, first]):
            under = list(zip(share, -counts[:, p], strict=True))
            model.rows.rows([*model.active(parts[p], alike), *under], high=0.0)


def _combinations_at(model: MilpModel, slot: int, possible: Bools) -> tuple[Floats, Floats]:
    """Return the combinations of a slot that no other outdoes, and their excess; none if many."""
    problem = model.problem
    parts = [activity for activity in problem.activities if activity.kind != "attend"]
    most = possible * np.array([problem.capacity[part.machine][slot] for part in parts])
    if np.prod(most + 1.0) > MOST_COUNTS:
        return np.empty((0, len(parts))), np.empty(0)
    grid = np.meshgrid(*(np.arange(n + 1.0) for n in most), indexing="ij")
    counts = np.stack(grid, axis=-1).reshape(-1, len(parts))
    kw = counts @ [part.kw for part in parts]
    allowed = kw <= problem.plant.power.limit_kw - problem.base_kw[slot] + 1e-9
    allowed &= counts @ [part.people for part in parts] <= model.people[slot]
    for machine, capacity in problem.capacity.items():
        allowed &= counts @ [part.machine == machine for part in parts] <= capacity[slot]
    contract_kw = problem.excess.contract_kw[problem.excess.group[slot]]
    room = max(contract_kw - problem.meter_kw[slot], 0.0)
    counts = counts[allowed]
    excess = np.maximum(kw[allowed] - room, 0.0)
    more = (counts[None] >= counts[:, None]).all(axis=2) & (excess[None] <= excess[:, None] + 1e-9)
    np.fill_diagonal(more, False)
    best = ~more.any(axis=1)
    return counts[best], excess[best]


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
    """Price every start that is moved away from where it should stay."""
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
    begun_kg = dict.fromkeys(model.problem.books, 0.0)
    for j, job in enumerate(model.problem.jobs):
        if job.facts:
            begun_kg[job.product] = begun_kg.get(job.product, 0.0) + job.max_kg
            continue
        book = model.problem.books[job.product]
        done = model.at(j, len(job.duration) - 1, book.marks - job.duration[-1])
        for m, due in enumerate(book.due.T):
            kg = float(book.kg[due].sum()) - begun_kg[job.product]
            if kg > 0 and kg % job.max_kg > 1e-6 * kg:
                lacking = (model.undelivered[job.product][due, m], 1 / (kg % job.max_kg))
                model.rows.row([(done[m : m + 1], 1.0), lacking], np.ceil(kg / job.max_kg))
