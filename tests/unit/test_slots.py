"""Slots as int64 seconds."""

import numpy as np
import pytest

from factory_lib.slots import number_runs

QUARTER_S = 900


@pytest.mark.parametrize(
    ("starts", "values", "numbers"),
    [
        pytest.param([], [], [], id="no slots"),
        pytest.param([0], [1.0], [0], id="one slot"),
        pytest.param([0, 900, 1800], [1.0, 1.0, 1.0], [0, 0, 0], id="neighbours"),
        pytest.param([0, 900, 2700], [1.0, 1.0, 1.0], [0, 0, 1], id="a slot is missing"),
        pytest.param([0, 900, 1800], [1.0, 2.0, 1.0], [0, 1, 2], id="the value changes"),
        pytest.param([0, 900], [np.nan, np.nan], [0, 1], id="unknown equals nothing"),
        pytest.param([900, 0], [1.0, 1.0], [0, 1], id="another series begins"),
    ],
)
def test_a_run_ends_with_a_gap_or_another_value(
    starts: list[int], values: list[float], numbers: list[int]
) -> None:
    begin = np.array(starts, dtype=np.int64)
    assert number_runs(begin, begin + QUARTER_S, values).tolist() == numbers


def test_texts_may_decide_as_well() -> None:
    starts = np.array([0, 900, 1800], dtype=np.int64)
    assert number_runs(starts, starts + QUARTER_S, ["a", "a", "b"]).tolist() == [0, 0, 1]
