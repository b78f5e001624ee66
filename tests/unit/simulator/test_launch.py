"""The simulator's process: it ends with its block, whatever the machine is busy with."""

import os
import signal

import pytest

from factory_sim import launch


def test_a_simulator_that_does_not_end_in_time_is_killed_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "STOP_S", 0.1)
    with launch.launched() as remote:
        os.kill(remote.pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(remote.pid, 0)
