"""What is better by chance replaces nothing."""

import numpy as np
import pandas as pd
import pytest

from factory_lib.models.forecasters import PriceForecaster
from factory_lib.models.train import FEWEST_DAYS, CandidateEvaluation, _Champion, _trial


@pytest.mark.parametrize(("rmae", "p_value"), [(0.9, 0.5), (1.1, 0.9), (float("nan"), 0.01)])
def test_a_lead_not_significantly_better_is_naive(rmae, p_value):
    made = PriceForecaster(leads=(1, 2))
    made.rmae_ = {1: 0.7, 2: rmae}
    made.p_values_ = {1: 0.001, 2: p_value}
    assert made.naive_leads == (2,)


def test_versions_of_earlier_code_are_served_as_they_were():
    made = PriceForecaster(leads=(1, 2))
    made.rmae_ = {1: 0.9, 2: 1.0}
    assert made.naive_leads == (2,)


def on_the_same_hours(gain: float, days: int) -> tuple[bool, str]:
    """Hold a version against the champion, whose mean loss is so much higher, on some days."""
    rng = np.random.default_rng(2)
    hours = pd.date_range("2024-01-01", periods=days * 24, freq="h", tz="UTC")
    champion = 10 + rng.normal(0, 3, len(hours))
    model = champion - gain + np.repeat(rng.normal(0, 1, days), 24)
    model += champion.mean() - gain - model.mean()
    rows = pd.DataFrame({"model": model, "champion": champion, "naive": 99.0})
    evaluation = CandidateEvaluation(
        "spot_price", "MAE", rows, pd.Series(hours), lambda _: rows["champion"]
    )
    judgement = _trial(evaluation, _Champion("3", rows), "naive", better=True)
    return judgement.promote, judgement.reason


@pytest.mark.parametrize(("gain", "replaces"), [(0.05, False), (1.0, True), (-1.0, False)])
def test_another_recipe_needs_significance_on_the_same_hours(gain, replaces):
    better, words = on_the_same_hours(gain, 40)
    assert better is replaces
    assert "p-value" in words


def test_a_few_days_decide_nothing():
    better, words = on_the_same_hours(5.0, FEWEST_DAYS - 1)
    assert not better
    assert f"{FEWEST_DAYS} needed" in words
