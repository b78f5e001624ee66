"""Commands of several sites side by side: each a process of its own, as many as there are cores."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Thread

from factory_lib.settings import ROOT, Settings

PARENT = "FACTORY_PARENT"  # the process that a command belongs to
LOOK_EVERY_S = 1.0
Answer = tuple[int, str]


def run_commands(settings: Settings, commands: Iterable[Sequence[str]]) -> Iterator[Answer]:
    """Run commands of ``factory`` side by side; yield exit code and output of each that ended."""
    with ThreadPoolExecutor(settings.scale.processes or os.cpu_count()) as pool:
        for done in as_completed([pool.submit(run_command, words) for words in commands]):
            yield done.result()


def run_command(words: Sequence[str]) -> Answer:
    """Run one command of ``factory`` in a process, and return its exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "factory_lib.cli", *words],
        env={**os.environ, PARENT: str(os.getpid())},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def end_with_parent() -> None:
    """End this process, as a signal would, once the one that it belongs to is gone."""
    parent = os.environ.get(PARENT)
    if parent:
        Thread(target=_follow, args=(int(parent),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
