"""Run records: one ``run.json`` beside each executed notebook, written whole or not at all."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from msgspec import Meta, MsgspecError, Struct, convert, field, structs

from factory_lib import errors
from factory_lib.files import write_atomically
from factory_lib.state import State

Status = Literal["started", "ok", "failed", "killed", "unreadable"]
RECORD_VERSION = 2
CHECKED_DAYS = 2
WORKING_COPY = ".running.ipynb"
# Keys of version 1, which records of earlier runs carry.
RENAMED = {"verdict": "summary", "figures": "metrics"}


class RunRecord(Struct, frozen=True):
    """The record of one run; times are ISO 8601 UTC.

    ``unreadable`` is the status of a run whose ``run.json`` is damaged or foreign: only
    its folder and what is wrong with it are certain.
    """

    job: str
    profile: str
    notebook: str
    status: Status
    as_of: str
    started_at: str
    pid: Annotated[int, Meta(ge=0, lt=2**31)]
    parameters: Mapping[str, Any]
    finished_at: str | None = None
    seconds: float | None = None
    summary: str = ""
    level: str = ""
    simulated: bool = False
    metrics: Mapping[str, Any] = field(default_factory=dict)
    mlflow_run_id: str | None = None
    error: str | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    version: int = RECORD_VERSION

    @property
    def exit_code(self) -> int:
        """Exit code of the command line: that of the error, or of providers that are all away."""
        if self.status == "ok":
            return 0
        if self.metrics.get("providers_away"):
            return errors.SourceError.exit_code
        raised = getattr(errors, (self.error or "").partition(":")[0], None)
        if isinstance(raised, type) and issubclass(raised, errors.FactoryError):
            return raised.exit_code
        return 1

    @property
    def ending(self) -> str:
        """Status, or ``warn`` where a run that ended well found something to look at."""
        return ending_of(self.status, self.level)

    def finish(self, status: Status, at: datetime, **results: Any) -> Self:
        """Return the record of the same run, ended."""
        seconds = round((at - datetime.fromisoformat(self.started_at)).total_seconds(), 2)
        ended = {"status": status, "finished_at": stamp(at), "seconds": seconds}
        return structs.replace(self, **ended, **results)


def ending_of(status: str, level: str) -> str:
    """Return how a run ended: a run that did its work and found trouble is a warning."""
    return "warn" if status == "ok" and level in ("warn", "fail") else status


def stamp(instant: datetime) -> str:
    """Return an instant as ISO 8601 with Z."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def save_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``."""
    content = json.dumps(structs.asdict(record), indent=2, ensure_ascii=False)
    write_atomically(folder / "run.json", content + "\n")


def load_record(folder: Path) -> RunRecord:
    """Read ``run.json`` of a run folder; keys that a later version added are left out.

    Raises
    ------
    OSError, ValueError, TypeError, AttributeError, MsgspecError
        If there is none, or it is not the record of a run.
    """
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    current = {RENAMED.get(key, key): value for key, value in content.items()}
    record = convert(current, RunRecord)
    if datetime.fromisoformat(record.started_at).tzinfo is None:
        raise ValueError("started_at has no time zone")
    return record


def new_folder(runs: Path, job: str, at: datetime) -> Path:
    """Create ``YYYY-MM-DD/HHMMSSZ-<job>``, with ``-2``, ``-3``, … where that second is taken."""
    day = runs / f"{at:%Y-%m-%d}"
    day.mkdir(parents=True, exist_ok=True)
    base = f"{at:%H%M%SZ}-{job}"
    for suffix in count(1):
        folder = day / (base if suffix == 1 else f"{base}-{suffix}")
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def folders(runs: Path, days: int | None = None) -> Iterator[Path]:
    """Yield the folders of one profile's runs, newest first; of the last ``days`` with runs."""
    for day in sorted(runs.glob("????-??-??"), reverse=True)[:days]:
        yield from sorted((file.parent for file in day.glob("*Z-*/run.json")), reverse=True)


def job_of(folder: Path) -> str:
    """Return the job of a run by the name of its folder; of a second run in a second, too."""
    return re.sub(r"-\d+$", "", folder.name.partition("Z-")[2])


def read_record(folder: Path) -> RunRecord:
    """Read ``run.json`` of a run folder; a damaged one gives a record that says so.

    No other run depends on it, so one damaged record must not stop a job or the index.
    """
    try:
        return load_record(folder)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, MsgspecError) as why:
        # of such a run the folder's name alone is certain
        error = f"run.json cannot be read: {why}."
        clock, _, job = folder.name.partition("Z-")
        started = f"{folder.parent.name}T{clock[:2]}:{clock[2:4]}:{clock[4:6]}Z"
        return RunRecord(job, "", "", "unreadable", "", started, 0, {}, error=error)


def is_alive(pid: int) -> bool:
    """Return whether a process of that number runs; another one may have got it since."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return pid > 0


def is_running(state: State, job: str, start: Mapping[str, Any]) -> bool:
    """Return whether the process of a run lives: on another host, while it holds the lock."""
    if start.get("host", "") == state.host:
        return is_alive(int(start["pid"]))
    return state.is_held(job)


def mark_killed(runs: Path, at: datetime, locked_job: str = "") -> list[tuple[Path, RunRecord]]:
    """Mark the runs that say ``started`` though their process is gone as ``killed``.

    Only the last two days with runs are checked: every run does so, and none gets older
    unnoticed. The working copy of the notebook is removed, for it may hold secrets.

    Parameters
    ----------
    locked_job : str
        A job whose lock the caller holds: no run of it is alive, whatever has its
        process number now.

    Returns
    -------
    list of (Path, RunRecord)
        Folder and new record of each.
    """
    killed = []
    for folder in folders(runs, CHECKED_DAYS):
        record = read_record(folder)
        if record.status == "started" and (record.job == locked_job or not is_alive(record.pid)):
            error = "The process ended before the notebook did."
            record = record.finish("killed", at, error=error)
            save_record(folder, record)
            (folder / WORKING_COPY).unlink(missing_ok=True)
            killed.append((folder, record))
    return killed
