"""A disk that is mounted for reading only: what reads works, what writes says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from factory_lib import settings as factory_settings
from factory_lib.admin.backup import take_backup
from factory_lib.cli.app import COMMANDS
from factory_lib.clock import epoch
from factory_lib.context import open_context
from factory_lib.frames import tidy
from factory_lib.monitoring import alerts
from tests.support import read_only

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
# A mount of its own, which needs no more rights than a user has where user namespaces are
# allowed.
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'
NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def called_on(home: Path, what: str) -> dict[str, tuple[int, str]]:
    """Return exit code and standard error of each command, by its words."""
    command = ["bash", "-c", MOUNT, str(home), sys.executable, "-m", "tests.support.read_only"]
    environment = {name: text for name, text in os.environ.items() if "FACTORY" not in name}
    done = subprocess.run(
        [*NAMESPACE, *command, what],
        env={**environment, "FACTORY_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {words: (code, said) for words, code, said in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with a value, an alert and a backup."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*NAMESPACE, "true"], check=False).returncode
    ):
        pytest.skip("no file system can be mounted here")
    home = tmp_path_factory.mktemp("home")
    settings = factory_settings.load("live", env={"FACTORY_HOME": str(home)})
    start = epoch(datetime(2026, 3, 1, tzinfo=UTC))
    with open_context(settings=settings) as ctx:
        origin = {"place": "ES", "source": "omie", "kind": "observed", "resolution_s": 900}
        rows = tidy("spot_eur_mwh", np.array([start]), [50.0], **origin, retrieved_at=ctx.as_of)
        ctx.store.write(rows, run_id="test")
        event = alerts.Event("job", "ingest", alerts.Severity.WARNING, "failed")
        alerts.raise_event(ctx.state, event, ctx.as_of)
        take_backup(ctx)
    lines = (f"2026-03-01T{hour:02}:00Z,12.5\n" for hour in range(24))
    (home / "meter.csv").write_text(f"time_utc,energy_kwh\n{''.join(lines)}")
    return home


def test_every_command_that_reads_works(home: Path) -> None:
    answers = called_on(home, "readers")
    assert {words: said for words, (_, said) in answers.items() if said} == {}
    # these two report what is wrong with the home
    assert {words for words, (code, _) in answers.items() if code} == {"health", "doctor"}


def test_every_command_that_writes_ends_with_one_sentence(home: Path) -> None:
    answers = called_on(home, "writers")
    assert {words: answer for words, answer in answers.items() if answer[0] != 74} == {}
    for words, (_, said) in answers.items():
        (line,) = said.splitlines()
        assert line.startswith("factory: "), words
        assert "right to read and write" in line or "mount" in line, words


def test_every_command_either_reads_or_writes() -> None:
    called = {words[0] for words in (*read_only.READERS, *read_only.WRITERS)}
    assert called | read_only.OTHERS >= set(COMMANDS)
