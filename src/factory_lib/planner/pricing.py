"""What a program pays beside the energy of its starts, and the rows that lift its bound.

A *resource combination* is a set of running and holding stages that a slot allows, with the power it draws above the
contract. Whatever a schedule does in a slot lies under one of them. Asking of a relaxation that it lies under a
weighted mean of combinations, and pays their mean excess, describes the slot exactly: the hull of its whole solutions.
Without it half of refining beside half of conching would be free where both together exceed the contract.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.planner.milp import NONE
from factory_lib.planner.model import MilpModel

MOST_COUNTS, MOST_COMBINATIONS = (
    1024,
    24,
)  # beyond, a slot keeps its plain rows, which are right but looser
POINT_KW, WIDER = (
    10.0,
    4,
)  # excess at which the charge is described before any is known, and how stretches grow


def price(model: MilpModel, tangents: Sequence[Floats] = ()) -> None:
    """Add excess power, solar power, starts that should stay, and the rows that lift the bound.

    ``tangents`` are excess power by slot at which the excess charge is described: it is convex, and the program sees it
    from below.
    """
    over = _excess(model, tangents)
    _combinations(model, over)
    _solar(model)
    _keeps(model)
    _whole_batches(model)


def _excess(model: MilpModel, tangents: Sequence[Floats]) -> Ints:
    """Price what production adds to each month's excess charge; return the column of each slot's excess."""
    problem, rule = model.problem, model.problem.excess
    contract, over = rule.contract_kw[rule.group], np.full(len(model.slots), NONE)
    slots = model.slots[
        (problem.meter_kw + model.most_kw() > contract) & (model.slots >= problem.now)
    ]
    if not len(slots):
        return over
    over[slots] = model.rows.add(len(slots), low=rule.over_kw(problem.meter_kw)[slots])
    drawn = model.use([activity.kw for activity in problem.activities], slots)
    model.rows.rows([*drawn, (over[slots], -1.0)], high=(contract - problem.meter_kw)[slots])
    unavoidable = rule.norm(problem.meter_kw, problem.so_far)
    tax = 1 + problem.request.contract.electricity_tax_pct / 100
    for group in np.unique(rule.group[slots]):
        mine = slots[rule.group[slots] == group]
        charge = model.rows.add(1, cost=rule.rate_eur[group] * tax)
        before = problem.so_far[group]
        for point in _stretches(len(mine), rule.small) + [
            tangent[mine] for tangent in tangents if not rule.small
        ]:
            norm = np.hypot(before, np.linalg.norm(rule.weight * point))
            slope, low = rule.weight**2 * point / norm, before**2 / norm - unavoidable[group]
            if rule.small:
                slope, low = point / POINT_KW, -unavoidable[group]
            model.rows.row([(charge, 1.0), (over[mine], -slope)], low)
    return over


def _stretches(size: int, single: bool) -> list[Floats]:
    """Return excess in single slots and, unless ``single``, in stretches of several lengths, half overlapping."""
    points, length = [], 1
    while length <= (1 if single else size):
        for begin in range(0, size, max(length // 2, 1)):
            points.append(np.zeros(size))
            points[-1][begin : begin + length] = POINT_KW
        length *= WIDER
    return points


def _combinations(model: MilpModel, over: Ints) -> None:
    """Keep what goes on in a slot under a mean of its combinations, where power is short."""
    problem, rows = model.problem, model.rows
    parts = [activity for activity in problem.activities if activity.kind != "attend"]
    possible = np.array([model.possible(part) for part in parts])
    limit_kw = problem.plant.power.limit_kw - problem.base_kw
    contract_kw = problem.excess.contract_kw[problem.excess.group] - problem.meter_kw
    facts = problem.use(
        model.facts, [1.0] * len(problem.activities)
    )  # what has begun may exceed what is allowed
    slots = model.slots[((over != NONE) | (model.most_kw() > limit_kw)) & (facts == 0)]
    kind = np.vstack(
        [limit_kw, contract_kw, model.people, over != NONE, *problem.capacity.values(), possible]
    )
    _, of = np.unique(kind[:, slots], axis=1, return_inverse=True)
    for number in range(int(of.max(initial=-1)) + 1):
        alike = slots[of == number]
        first = alike[0]
        most = [
            problem.capacity[part.machine][first] * can
            for part, can in zip(parts, possible[:, first], strict=True)
        ]
        if np.prod([n + 1.0 for n in most]) > MOST_COUNTS:
            continue
        counts = np.stack(
            np.meshgrid(*map(np.arange, np.array(most) + 1), indexing="ij"), axis=-1
        ).reshape(-1, len(parts))
        kw = counts @ np.array([part.kw for part in parts])
        allowed = (kw <= limit_kw[first] + 1e-9) & (
            counts @ np.array([part.people for part in parts]) <= model.people[first]
        )
        for machine, capacity in problem.capacity.items():
            allowed &= (
                counts @ np.array([part.machine == machine for part in parts]) <= capacity[first]
            )
        excess = np.maximum(0.0, kw - max(contract_kw[first], 0.0))
        allowed[allowed] = _undominated(counts[allowed], excess[allowed])
        if not 0 < allowed.sum() <= MOST_COMBINATIONS:
            continue
        share = [rows.add(len(alike)) for _ in range(allowed.sum())]
        rows.rows([(columns, 1.0) for columns in share], high=1.0)
        paid = list(zip(share, excess[allowed], strict=True))
        rows.rows(
            [*paid, (over[alike], -1.0)], high=-problem.excess.over_kw(problem.meter_kw)[alike]
        )
        for part, of_part in zip(parts, counts[allowed].T, strict=True):
            if possible[parts.index(part), first]:
                under = list(zip(share, -of_part.astype(float), strict=True))
                rows.rows([*model.active(part, alike), *under], high=0.0)


def _undominated(counts: Ints, excess: Floats) -> Bools:
    """Return which combinations no other equals or exceeds in every part at no more excess."""
    more = (counts[None, :, :] >= counts[:, None, :]).all(axis=2) & (
        excess[None, :] <= excess[:, None] + 1e-9
    )
    np.fill_diagonal(more, False)
    return np.asarray(~more.any(axis=1))


def _solar(model: MilpModel) -> None:
    """Credit solar power that production uses instead of importing."""
    problem = model.problem
    slots = np.flatnonzero(problem.spare_kw)
    if len(slots) and len(model.jobs):
        worth = problem.saved[slots] * problem.slot_h / 1000
        used = model.rows.add(len(slots), high=problem.spare_kw[slots], cost=-worth)
        drawn = model.use([-activity.kw for activity in problem.activities], slots)
        model.rows.rows([(used, 1.0), *drawn], high=0.0)


def _keeps(model: MilpModel) -> None:
    """Price every start that is moved away from where it should stay."""
    for keep in model.problem.keeps:
        here = np.array([keep.slot])
        jobs = [j for j in model.jobs if model.problem.jobs[j].product == keep.product]
        if 0 <= keep.slot < len(model.slots):
            starts = [
                (model.at(j, keep.stage, here - lag), 1.0 - 2 * lag) for j in jobs for lag in (0, 1)
            ]
            gone = model.rows.add(1, high=keep.count, cost=keep.eur)
            model.rows.rows([(gone, 1.0), *starts], low=keep.count)


def _whole_batches(model: MilpModel) -> None:
    """Round up the batches that the orders due at a mark need (a mixed-integer rounding cut).

    Where ``kg`` are not a whole number of batches, ``n`` batches and ``b`` kilograms lacking satisfy
    ``n + b / (kg modulo batch) ≥ ⌈kg / batch⌉``.
    """
    jobs, last = model.problem.jobs, model.stages[-1]
    for product, book in model.problem.books.items():
        begun = sum(job.max_kg for job in jobs if job.product == product and job.facts)
        (fresh,) = (j for j in model.jobs if jobs[j].product == product and not jobs[j].facts)
        done = model.at(fresh, last, book.marks - jobs[fresh].duration[last])
        for m in range(len(book.marks)):
            wanted = float(book.kg[book.due[:, m]].sum()) - begun
            rest = wanted % jobs[fresh].max_kg
            if wanted > 0 and rest > 1e-6 * wanted:
                lacking = model.undelivered[product][book.due[:, m], m]
                model.rows.row(
                    [(done[m : m + 1], 1.0), (lacking, 1 / rest)],
                    np.ceil(wanted / jobs[fresh].max_kg),
                )
