"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write beside ``file`` and rename, so that a reader or a crash never sees half of it.

    Text is written as UTF-8; the folder must exist.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(file)
