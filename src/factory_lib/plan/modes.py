"""What may run at once: machines, operators and power of one slot taken together.

A *mode* is a combination of running and holding stages that a slot allows, with the
power it draws above the contract. Whatever a schedule does in a slot lies under one of
them. Asking of a relaxation that it lies under a weighted mean of modes, and pays their
mean excess, describes the slot exactly: the hull of its whole solutions. Without it
half of refining beside half of conching would be free where both together exceed the
contract.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factory_lib.domain.plant import Bools, Floats, Ints
from factory_lib.plan.problem import Problem

MOST_COMBINATIONS, MOST_MODES = (
    1024,
    24,
)  # beyond, a slot keeps to its plain rows, which are right but looser


@dataclass(frozen=True)
class Part:
    """Something that goes on in a slot: stage ``stage`` running, or its finished mass held on the machine."""

    stage: int
    held: bool
    machine: str
    power_kw: float
    operators: int


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of a kind of slot: how many of each part run (a row each), and the kilowatts above the contract."""

    counts: Ints
    excess_kw: Floats


def parts_of(problem: Problem) -> tuple[Part, ...]:
    """Return every part of the plant's stages; operators are counted where they stay for the whole stage."""
    parts = []
    for s, stage in enumerate(problem.stages):
        always = stage.operators if stage.attended == "always" else 0
        parts.append(Part(s, False, stage.machine, stage.power_kw, always))
        if stage.hold_kw:
            parts.append(Part(s, True, stage.machine, stage.hold_kw, 0))
    return tuple(parts)


def modes_at(problem: Problem, slot: int, parts: tuple[Part, ...], possible: Bools) -> Modes | None:
    """Return the modes of ``slot`` that no other outdoes, ``possible`` saying which parts can go on at all.

    None where there are too many to be worth it.
    """
    most = [
        problem.capacity[part.machine][slot] * can
        for part, can in zip(parts, possible, strict=True)
    ]
    if np.prod([n + 1.0 for n in most]) > MOST_COMBINATIONS:
        return None
    counts = np.stack(
        np.meshgrid(*(np.arange(n + 1) for n in most), indexing="ij"), axis=-1
    ).reshape(-1, len(parts))
    power, base = problem.plant.power, problem.base_kw[slot]
    total_kw = base + counts @ np.array([part.power_kw for part in parts])
    allowed = total_kw <= max(power.limit_kw, base) + 1e-9
    allowed &= counts @ np.array([part.operators for part in parts]) <= problem.people[slot]
    for machine, capacity in problem.capacity.items():
        allowed &= counts @ np.array([part.machine == machine for part in parts]) <= capacity[slot]
    counts, excess = (
        counts[allowed],
        np.maximum(0.0, total_kw[allowed] - max(power.contracted_kw, base)),
    )
    best = _undominated(counts, excess)
    return Modes(counts[best], excess[best]) if best.sum() <= MOST_MODES else None


def _undominated(counts: Ints, excess: Floats) -> Bools:
    """Return which modes no other equals or exceeds in every part at no more excess."""
    more = (counts[None, :, :] >= counts[:, None, :]).all(axis=2) & (
        excess[None, :] <= excess[:, None] + 1e-9
    )
    np.fill_diagonal(more, False)
    return np.asarray(~more.any(axis=1))
