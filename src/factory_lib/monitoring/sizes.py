"""Sizes of folders, from which others may remove files meanwhile."""

import os
from contextlib import suppress
from pathlib import Path


def size_mb(folder: Path) -> float:
    """Return the size (MB) of the files below a folder."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # removed just now
                size += Path(place, name).lstat().st_size
    return size / 1e6
