"""Files: written whole or not at all, locked by one process at a time, measured."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from factory_lib.errors import JobLocked


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the name of ``file`` when the block ends.

    So a reader or a crash never sees half of a file. An exception leaves ``file`` as it
    was. The folder is created.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(file: Path, content: str | bytes) -> None:
    """Replace ``file`` as a whole; text is written as UTF-8."""
    with replacing(file) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def size_mb(folder: Path) -> float:
    """Return the size (MB) of the files below a folder, from which others may remove some."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # removed just now
                size += Path(place, name).lstat().st_size
    return size / 1e6


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the exclusive lock of a file or folder.

    The kernel releases it when the process ends, however it ends.

    Parameters
    ----------
    path : Path
        A folder that exists, or a file, which is created with its folder.
    wait : bool
        Wait until no other process holds the lock.

    Raises
    ------
    JobLocked
        If another process holds the lock, unless ``wait``.
    """
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise JobLocked(
                f"skipped: locked. {path.stem} is running in another process."
            ) from None
        yield
    finally:
        os.close(handle)
