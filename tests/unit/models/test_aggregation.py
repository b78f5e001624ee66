"""Weights of experts: what they learn from, and what an expert's sleep changes."""

import numpy as np
import pytest

from factory_lib.models.aggregation import expert_weights, mixture


def errors(days: int = 200) -> np.ndarray:
    """Two experts alike, with errors of their own, and one far off; 24 hours."""
    rng = np.random.default_rng(8)
    return np.stack(
        [
            rng.normal(0, 1, (days, 24)),
            rng.normal(0, 1, (days, 24)),
            3 + rng.normal(0, 1, (days, 24)),
        ]
    )


PRIOR = (1.0, 1.0, 1.0)


def test_weight_leaves_the_worse_and_is_shared_by_equals():
    weights = expert_weights(errors(), PRIOR, 1)
    assert weights[:, 0] == pytest.approx(1 / 3)
    assert weights.sum(axis=0) == pytest.approx(1.0)
    last = weights[:, -1].mean(axis=1)
    assert last[2] < 0.1
    assert last[:2] == pytest.approx(0.5, abs=0.15)


def test_the_mixture_is_better_than_the_best_expert():
    made = errors()
    mixed = mixture(made, expert_weights(made, PRIOR, 1))[100:]
    assert np.abs(mixed).mean() < 0.85 * np.abs(made[:, 100:]).mean(axis=(1, 2)).min()


@pytest.mark.parametrize("lead", [1, 5])
def test_only_matured_errors_change_a_weight(lead):
    made = errors()
    changed = made.copy()
    changed[:, 151 - lead :] *= -7
    before, after = (expert_weights(part, PRIOR, lead) for part in (made, changed))
    assert np.array_equal(before[:, :151], after[:, :151])
    assert not np.array_equal(before[:, 151], after[:, 151])


def test_who_sleeps_learns_nothing_and_leaves_its_share_to_the_others():
    made = errors()
    made[0, 100:] = np.nan
    weights = expert_weights(made, PRIOR, 1)
    mixed = mixture(made, weights)
    awake = weights[1:, 150] / weights[1:, 150].sum(axis=0)
    assert mixed[150] == pytest.approx((awake * made[1:, 150]).sum(axis=0))
    assert np.isnan(mixture(np.full((3, 24), np.nan), weights[:, 0])).all()


def test_one_alone_keeps_its_whole_weight():
    alone = errors()[:1]
    weights = expert_weights(alone, (1.0,), 1)
    assert (weights == 1).all()
    assert np.array_equal(mixture(alone, weights), alone[0])


def test_a_day_without_a_price_changes_nothing():
    made = errors()
    made[:, 120] = np.nan
    weights = expert_weights(made, PRIOR, 1)
    assert np.array_equal(weights[:, 121], weights[:, 120])


def test_what_was_learnt_fades():
    good, bad = errors(400)[[0, 2]]
    first_best = np.where(np.arange(400)[:, None] < 300, good, bad)
    weights = expert_weights(np.stack([first_best, 3 + good - first_best]), (1.0, 1.0), 1)
    assert weights[0, 299].mean() > 0.9
    assert weights[0, 399].mean() < 0.5


def test_an_hour_learns_from_those_around_it():
    made = errors()
    made[:, :, 12] = made[0, :, 12]
    weights = expert_weights(made, PRIOR, 1)[:, -1]
    assert weights[2, 12] < 0.1, "its own errors tell nothing"
