"""Commands of several sites side by side: each a process of its own, here or on a Dask cluster."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from factory_lib.errors import BadInput, FactoryError, JobLocked
from factory_lib.settings import ROOT, Settings

if TYPE_CHECKING:  # every tick passes through here
    from concurrent.futures import Executor

PARENT = "FACTORY_PARENT"  # the process that a command belongs to
LOOK_EVERY_S = 1.0
# The command of a worker that was lost ends within LOOK_EVERY_S and what its kernel takes.
PATIENCE_S = 60.0
CONNECT_S = 10.0  # the scheduler is a host of one's own
# Where a cluster's workers find what the command works with; keys are in their own `.env`.
HANDED_ON = ("FACTORY_", "MLFLOW_TRACKING_URI")
Answer = tuple[int, str]


def run_commands(settings: Settings, commands: Iterable[Sequence[str]]) -> Iterator[Answer]:
    """Run commands of ``factory`` side by side; yield exit code and output of each that ended.

    On a cluster, what a lost worker was at is run again by another one.

    Raises
    ------
    FactoryError
        If the cluster does not answer, or has no worker.
    """
    from concurrent.futures import as_completed

    variables = {key: os.environ[key] for key in os.environ if key.startswith(HANDED_ON)}
    patience_s = PATIENCE_S if settings.scale.dask else 0.0
    with _pool(settings) as pool:
        runs = [pool.submit(run_command, words, variables, patience_s) for words in commands]
        for run in as_completed(runs):
            lost = run.exception()  # its workers, each time
            yield (1, f"Not run: {type(lost).__name__}: {lost}") if lost else run.result()


@contextmanager
def _pool(settings: Settings) -> Iterator["Executor"]:
    address = settings.scale.dask
    if not address:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(settings.scale.processes or os.cpu_count()) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ImportError:
        raise BadInput(
            "A Dask cluster needs the package distributed.",
            next_step="Install the extra `dask`, or empty [scale] dask in config/factory.toml.",
        ) from None
    away = "Start scheduler and workers, or empty [scale] dask in config/factory.toml."
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except OSError as error:
        raise FactoryError(f"The scheduler {address} does not answer.", next_step=away) from error
    with client:
        if not client.nthreads():
            raise FactoryError(f"The cluster of {address} has no worker.", next_step=away)
        yield client.get_executor(pure=False)


def run_command(words: Sequence[str], variables: Mapping[str, str], patience_s: float) -> Answer:
    """Run one command of ``factory`` in a process, and return its exit code and output.

    Parameters
    ----------
    patience_s : float
        For so long it is run again where another process holds the job.
    """
    environment = {**os.environ, **variables, PARENT: str(os.getpid())}
    until = time.monotonic() + patience_s
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "factory_lib.cli", *words],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != JobLocked.exit_code or time.monotonic() > until:
            return done.returncode, done.stdout + done.stderr
        time.sleep(LOOK_EVERY_S)


def end_with_parent() -> None:
    """End this process, as a signal would, once the one that it belongs to is gone."""
    parent = os.environ.get(PARENT)
    if parent:
        Thread(target=_follow, args=(int(parent),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
