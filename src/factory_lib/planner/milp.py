"""Columns and rows of a mixed-integer program as they are added, handed to HiGHS at once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_array

from factory_lib.domain.plant import Floats, Ints

ZERO = 0  # the column of an unknown that can only be zero
Terms = Sequence[tuple[Ints, float | Floats]]
"""Column arrays of one length, each with its coefficient (or one for each position)."""


class Program:
    """A program being written: the cost of its columns is minimised over its rows."""

    def __init__(self) -> None:
        self.columns = [np.zeros((4, 1))]  # low, high, cost, whole
        self.limits: list[Floats] = []
        self.entries: list[Floats] = []  # row, column, value
        self.width = 1
        self.height = 0

    def add(
        self,
        count: int,
        *,
        low: npt.ArrayLike = 0.0,
        high: npt.ArrayLike = np.inf,
        cost: npt.ArrayLike = 0.0,
        whole: bool = False,
    ) -> Ints:
        """Add ``count`` unknowns and return their numbers."""
        self.columns.append(_table(count, low, high, cost, whole))
        self.width += count
        return np.arange(self.width - count, self.width)

    def rows(
        self,
        terms: Terms,
        low: npt.ArrayLike = -np.inf,
        high: npt.ArrayLike = np.inf,
        *,
        one: bool = False,
    ) -> None:
        """Add one row for each position of the terms: ``low ≤ Σ coefficient · column ≤ high``.

        With ``one``, a single row of all terms at all their positions.
        """
        if not terms:
            return
        count = 1 if one else len(terms[0][0])
        numbers = self.height + np.arange(count)
        self.entries += [_table(len(term[0]), numbers, *term) for term in terms]
        self.limits.append(_table(count, low, high))
        self.height += count

    def solve(self, time_limit_s: float, gap: float) -> OptimizeResult:
        """Minimise to a relative ``gap``; ``x`` is None where nothing was found."""
        self.rows([(np.array([ZERO]), 1.0)])  # a program has a row
        rows, columns, values = np.concatenate(self.entries, axis=1)
        matrix = coo_array(
            (values, (rows.astype(int), columns.astype(int))), shape=(self.height, self.width)
        )
        low, high, cost, whole = np.concatenate(self.columns, axis=1)
        result = milp(
            cost,
            integrality=whole,
            bounds=Bounds(low, high),
            constraints=LinearConstraint(matrix.tocsr(), *np.concatenate(self.limits, axis=1)),
            options={"time_limit": max(time_limit_s, 0.01), "mip_rel_gap": gap},
        )
        if result.x is not None:
            result.x = np.where(whole, np.rint(result.x), result.x)
        if result.mip_dual_bound is None:  # nothing whole: a linear program, or no answer
            result.mip_dual_bound = result.fun if result.status == 0 else -np.inf
        return result


def _table(count: int, *values: npt.ArrayLike) -> Floats:
    return np.array([np.broadcast_to(np.asarray(value, float), count) for value in values])
