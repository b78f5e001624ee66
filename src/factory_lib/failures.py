"""Errors of others that reach a command or a page: one sentence, a next step, an exit code.

The table names what the machine, SQLite, MLflow or a text can do to them. What it
does not name is a fault of this library, and shows its traceback.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator

from factory_lib.errors import BadInput, FactoryError, MachineError, RegistryUnavailable

DISK_FULL = (
    "Free space on the disk, for instance old days below runs/ or old backups; then "
    "`make maintenance` removes what is past its retention."
)
NO_PERMISSION = "Give this user the right to read and write it."
NOT_WRITABLE = f"{NO_PERMISSION[:-1]}; mount a disk for writing that is mounted for reading only."
_DAMAGED = "Run `factory doctor`; `factory restore` brings the newest backup back."
_STEPS = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EACCES: NO_PERMISSION,
    errno.EPERM: NO_PERMISSION,
    errno.EROFS: "Its disk is mounted for reading only: mount it for writing.",
    errno.EMFILE: "Raise the limit of open files (`ulimit -n`).",
    errno.EIO: "The disk reports an error: check it before anything else.",
}
# Words of SQLite's messages, first match first.
_SQLITE_STEPS = {
    "locked": "Another process is writing; run the command again.",
    "busy": "Another process is writing; run the command again.",
    "full": DISK_FULL,
    "readonly": NOT_WRITABLE,
    "unable to open": NOT_WRITABLE,
    "disk i/o": "The disk reports an error, or is full: check it before anything else.",
}


class Explained:
    """A block that raises an error of this library in place of one of others, where there is one.

    With ``FACTORY_DEBUG`` set they keep their traceback.
    """

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        explained = None if error is None or os.environ.get("FACTORY_DEBUG") else explain(error)
        if explained:
            raise explained from error


def explain(error: BaseException) -> FactoryError | None:
    """Return the error of this library for one of others; None where the table has none."""
    return next(filter(None, (_read(error, cls) for cls in type(error).__mro__)), None)


def _read(error: BaseException, cls: type) -> FactoryError | None:
    reader = _READERS.get(f"{cls.__module__.partition('.')[0]}.{cls.__name__}")
    return reader(error) if reader else None


def _os_error(error: BaseException) -> FactoryError:
    assert isinstance(error, OSError)
    file = f"{error.filename}: " if error.filename else ""
    step = _STEPS.get(error.errno or 0, "Check the file and its disk.")
    return MachineError(f"{file}{error.strerror or first_line(error)}.", next_step=step)


def _sqlite_error(error: BaseException) -> FactoryError:
    text = first_line(error)
    step = sqlite_step(text) or _DAMAGED
    return MachineError(f"A database of this profile: {text}.", next_step=step)


def sqlite_step(message: str) -> str:
    """Return what to do where the machine refuses SQLite its file; nothing for other messages."""
    steps: Iterator[str] = (step for word, step in _SQLITE_STEPS.items() if word in message.lower())
    return next(steps, "")


def _registry(error: BaseException) -> FactoryError:
    return RegistryUnavailable(f"{type(error).__name__}: {first_line(error)}")


def _network(error: BaseException) -> FactoryError:
    return MachineError(
        f"No answer: {first_line(error)}.", next_step="Check the network with `factory doctor`."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:300]


# By package and class, so that nothing has to be imported to ask.
_READERS: dict[str, Callable[[BaseException], FactoryError]] = {
    f"{OSError.__module__}.OSError": _os_error,
    f"{sqlite3.Error.__module__}.Error": _sqlite_error,
    "builtins.MemoryError": lambda _: MachineError(
        "There is not enough memory.", next_step="End other programs, or ask for a shorter window."
    ),
    "builtins.UnicodeError": lambda error: BadInput(
        f"A text is not what its encoding says: {first_line(error)}.",
        next_step="Save the file as UTF-8.",
    ),
    "mlflow.MlflowException": _registry,
    "sqlalchemy.SQLAlchemyError": _registry,
    "requests.RequestException": _network,
    "urllib3.HTTPError": _network,
    "adbc_driver_manager.Error": _sqlite_error,
}
