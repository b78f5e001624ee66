"""Running jobs: one exit code for all of them."""

from __future__ import annotations

import pytest

from factory_lib import errors
from factory_lib.cli import jobs


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        pytest.param([0, 0], 0, id="all done"),
        pytest.param([0, 75], 75, id="locked"),
        pytest.param([75, 1, 0], 1, id="failed and locked"),
        pytest.param([75, 69], 69, id="unavailable and locked"),
        pytest.param([2, 1], 1, id="failed and wrong input"),
        pytest.param([1, 74, 0], 74, id="failed and damaged"),
    ],
)
def test_the_exit_code_of_several_jobs_is_the_worst(codes: list[int], expected: int) -> None:
    assert jobs.worst(codes) == expected


def test_every_exit_code_of_an_error_can_be_that_of_a_run() -> None:
    codes = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    for code in codes:
        assert jobs.worst([0, code]) == code
