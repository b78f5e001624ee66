"""Online aggregation of experts: weights by hour, learnt from the errors known at each issue.

Bernstein online aggregation (Wintenberger, Machine Learning 106 (2017) 119) on the
gradient of the absolute loss, which competes with the best fixed mixture of the experts.
A weight depends on matured targets alone, so a replay gives the same. An expert that has
no forecast of a day sleeps: it learns nothing on it, the others share its weight.
"""

from collections.abc import Sequence

import numpy as np

from factory_lib.features.days import Matrix

# Share of the theory's rate of learning: noise ranks experts that differ little as
# much as skill does. Chosen on spot 2023.
CAUTION = 0.3
_TINY = 1e-9


def expert_weights(errors: Matrix, prior: Sequence[float], lead: int) -> Matrix:
    """Return the weights of each row, from the errors of rows ``lead`` or more earlier.

    Parameters
    ----------
    errors : array, shape (experts, days, columns)
        Actual minus forecast, in units of the spread; NaN where unknown or asleep.
    prior : sequence of float
        Weight of each expert before anything is known.

    Returns
    -------
    array, shape (experts, days, columns)
        Each column sums to one over the experts.
    """
    experts, days, columns = errors.shape
    start = np.maximum(np.asarray(prior, dtype=np.float64)[:, None], _TINY)
    start = start / start.sum()
    weights = np.repeat(np.repeat(start[:, :, None], days, axis=1), columns, axis=2)
    regret = np.zeros((experts, columns))
    variation = np.zeros((experts, columns))
    largest = np.full((experts, columns), _TINY)
    for row in range(lead, days if experts > 1 else 0):  # one alone has nothing to learn
        weights[:, row] = weights[:, row - 1]
        error = errors[:, row - lead]
        own = mixture(error, weights[:, row - lead])
        if not np.isfinite(own).all():
            continue
        # gradient of |actual - mixture| times the distance between mixture and expert
        gain = np.nan_to_num(np.sign(own) * (own - error))
        variation += gain**2
        largest = np.maximum(largest, np.abs(gain))
        rate = np.sqrt(-np.log(start) / np.maximum(variation, _TINY))
        rate = CAUTION * np.minimum(rate, 1 / (2 * largest))
        regret += gain - rate * gain**2
        exponent = np.log(start * rate) + rate * regret
        share = np.exp(exponent - exponent.max(axis=0))
        weights[:, row] = share / share.sum(axis=0)
    return weights


def mixture(values: Matrix, weights: Matrix) -> Matrix:
    """Return the weighted mean of the experts (first axis) with a value; NaN where none has one."""
    awake = np.where(np.isfinite(values), weights, 0.0)
    total = awake.sum(axis=0)
    mean: Matrix = np.sum(awake * np.nan_to_num(values), axis=0) / np.where(
        total > 0, total, np.nan
    )
    return mean
