"""Classes of start hours by what waiting would save."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from factory_lib.domain.indices import start_regret


def judged(costs: list[float], usual: float = 40.0) -> pd.DataFrame:
    index = pd.date_range("2026-03-02", periods=len(costs), freq="h", tz="UTC")
    return start_regret(index, np.array(costs), usual)


def test_each_class_is_the_saving_of_the_best_start_ahead():
    frame = judged([30.0, 30.9, 38.0, 50.0, 60.0, np.inf, 30.0])
    assert frame["production_recommendation"].tolist() == [
        "Optimal",
        "Optimal",
        "Moderate",
        "Reduced",
        "Halt Production",
        "Halt Production",
        "Optimal",
    ]
    assert frame["regret_eur"].tolist()[:5] == pytest.approx([0.0, 0.9, 8.0, 20.0, 30.0])
    assert (frame["best_start"] >= frame.index).all()
    assert frame["best_start"].iloc[4] == frame.index[6]


def test_the_best_start_lies_within_a_day():
    costs = [50.0] * 24 + [10.0]
    frame = judged(costs)
    assert frame["regret_eur"].iloc[0] == 0.0
    assert frame["regret_eur"].iloc[1] == 40.0


def test_where_no_chain_begins_all_day_there_is_nothing_to_wait_for():
    frame = judged([np.inf] * 30)
    assert set(frame["production_recommendation"]) == {"Halt Production"}
    assert frame["best_start"].isna().all()
    assert np.isinf(frame["regret_eur"]).all()


def test_a_negative_cost_is_a_cost():
    frame = judged([-5.0, -4.5, 20.0])
    assert frame["production_recommendation"].tolist()[:2] == ["Optimal", "Optimal"]
    assert frame["regret_eur"].iloc[0] == 0.0
