"""Running jobs: one exit code for all of them."""

from __future__ import annotations

import pytest

from factory_lib.cli import jobs


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        pytest.param([0, 0], 0, id="all done"),
        pytest.param([0, 75], 75, id="locked"),
        pytest.param([75, 1, 0], 1, id="failed and locked"),
        pytest.param([75, 69], 69, id="unavailable and locked"),
        pytest.param([2, 1], 1, id="failed and wrong input"),
    ],
)
def test_the_exit_code_of_several_jobs_is_the_worst(codes: list[int], expected: int) -> None:
    assert jobs.worst(codes) == expected
