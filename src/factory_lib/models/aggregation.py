"""Online aggregation of experts: weights by hour, learnt from the errors known at each issue.

Bernstein online aggregation (Wintenberger, Machine Learning 106 (2017) 119) on the
gradient of the absolute loss, which competes with the best fixed mixture of the experts.
What was learnt fades (discounted regret: Cesa-Bianchi and Lugosi, Prediction, Learning,
and Games (2006), section 2.11): who is best changes with the season and the market. A weight
depends on matured targets alone, so a replay gives the same. An expert that has no forecast
of a day sleeps: it learns nothing on it, the others share its weight.
"""

from collections.abc import Sequence

import numpy as np

from factory_lib.features.days import Matrix

# Of what was learnt, the share kept from day to day, and the hours on each side of an hour
# that learn with it: an hour alone learns more noise than skill. Chosen on spot 2021 to
# 2023 and the energy file 2016, where neighbouring choices differ by 0.2 percent.
_KEPT = 0.98
_HOURS_AROUND = 3
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
    around = range(-_HOURS_AROUND, _HOURS_AROUND + 1)
    for row in range(lead, days if experts > 1 else 0):  # one alone has nothing to learn
        weights[:, row] = weights[:, row - 1]
        error = errors[:, row - lead]
        own = mixture(error, weights[:, row - lead])
        if not np.isfinite(own).all():
            continue
        # gradient of |actual - mixture| times the distance between mixture and expert
        gain = np.nan_to_num(np.sign(own) * (own - error))
        gain = np.mean([np.roll(gain, hours, axis=1) for hours in around], axis=0)
        variation = _KEPT * variation + gain**2
        largest = np.maximum(_KEPT * largest, np.abs(gain))
        rate = np.sqrt(-np.log(start) / np.maximum(variation, _TINY))
        rate = np.minimum(rate, 1 / np.maximum(2 * largest, _TINY))
        regret = _KEPT * regret + gain - rate * gain**2
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
