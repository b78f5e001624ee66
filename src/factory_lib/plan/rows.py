"""Columns and rows of a mixed-integer program as they are added, handed to HiGHS at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_array

from factory_lib.domain.plant import Floats, Ints

NONE = -1  # the column of an unknown that can only be zero

Terms = list[tuple[Ints, float]]
"""Column arrays of one length, each with its coefficient: one row for each position."""


@dataclass
class Rows:
    """A program being written: ``cost`` is minimised; the columns added last may still be changed in place."""

    cost: list[Floats] = field(default_factory=list)
    bounds: list[Floats] = field(default_factory=list)
    whole: list[Ints] = field(default_factory=list)
    limits: list[Floats] = field(default_factory=list)
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    width: int = 0
    height: int = 0

    def columns(
        self,
        count: int,
        *,
        low: float = 0.0,
        high: float = np.inf,
        cost: float = 0.0,
        whole: int = 0,
    ) -> Ints:
        """Add ``count`` unknowns and return their numbers."""
        self.cost.append(np.full(count, cost))
        self.bounds.append(np.tile([[low], [high]], count))
        self.whole.append(np.full(count, whole))
        self.width += count
        return np.arange(self.width - count, self.width)

    def add(self, terms: Terms, low: npt.ArrayLike = -np.inf, high: npt.ArrayLike = np.inf) -> None:
        """Add one row for each position of the terms' column arrays: ``low ≤ Σ coefficient · column ≤ high``."""
        count = len(terms[0][0])
        for columns, coefficient in terms:
            real = np.flatnonzero(columns != NONE)
            self.entries.append(
                (real + self.height, columns[real], np.full(len(real), coefficient))
            )
        self.limits.append(
            np.array([np.broadcast_to(low, count), np.broadcast_to(high, count)], dtype=float)
        )
        self.height += count

    def solve(
        self, time_limit_s: float, gap: float, *, below: float | None, any_point: bool
    ) -> OptimizeResult:
        """Minimise to ``gap``, among points that cost at most ``below``; ``any_point`` forgets the cost."""
        rows, columns, values = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        matrix = coo_array((values, (rows, columns)), shape=(self.height, self.width)).tocsr()
        constraints = [LinearConstraint(matrix, *np.concatenate(self.limits, axis=1))]
        cost = np.concatenate(self.cost)
        if below is not None:
            constraints.append(LinearConstraint(cost[None, :], ub=below))
        low, high = np.concatenate(self.bounds, axis=1)
        return milp(
            cost * (not any_point),
            integrality=np.concatenate(self.whole),
            bounds=Bounds(low, high),
            constraints=constraints,
            options={"time_limit": time_limit_s, "mip_rel_gap": gap},
        )
