"""What the end-to-end tests share: the console command, and a finished demo."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from factory_lib import settings as factory_settings
from factory_lib.settings import ROOT, Settings


@dataclass(frozen=True)
class Demo:
    """A demo: its home, how it ended, what it printed, and a copy of the home as it was then."""

    home: Path
    code: int
    printed: str
    finished: Path

    @property
    def settings(self) -> Settings:
        """The demo's settings."""
        return factory_settings.load("demo", env={"FACTORY_HOME": str(self.home)})


def factory(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the console command as a user would."""
    return start(home, str(Path(sys.executable).with_name("factory")), *words, **env)


def start(home: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a home, without the settings of whoever runs the tests."""
    plain = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("FACTORY_", "INFLUXDB_"))
    }
    return subprocess.run(
        command,
        env={**plain, "FACTORY_HOME": str(home), **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
