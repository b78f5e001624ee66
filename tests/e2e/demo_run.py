"""What the end-to-end tests share: the console command, and a finished demo."""

from __future__ import annotations

import hashlib
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
        timeout=1100,
        check=False,
    )


def tree(folder: Path) -> dict[str, str]:
    """Return each file and folder below a folder, files with their checksum."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }
