"""Errors on their way between processes."""

import pickle

import pytest

from factory_lib.errors import ConfigError, FactoryError, ServerError, TooFewRows


@pytest.mark.parametrize(
    "error",
    [
        TooFewRows("fit", 3, 60),
        ConfigError("tariff", "is wrong"),
        ServerError("ree", "is down", status=503),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_a_process_border_whole(error: FactoryError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
