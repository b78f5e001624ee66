"""Run records: one ``run.json`` beside each executed notebook, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from factory_lib import errors
from factory_lib.files import write_atomically

Status = Literal["started", "ok", "failed", "killed"]
VERSION = 1
REAPED_DAYS = 2


@dataclass(frozen=True)
class RunRecord:
    """What is known of one run; times are ISO 8601 UTC."""

    job: str
    profile: str
    notebook: str
    status: Status
    as_of: str
    started_at: str
    pid: int
    parameters: Mapping[str, Any]
    finished_at: str | None = None
    seconds: float | None = None
    verdict: str = ""
    level: str = ""
    simulated: bool = False
    figures: Mapping[str, Any] = field(default_factory=dict)
    mlflow_run_id: str | None = None
    error: str | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    version: int = VERSION

    @property
    def exit_code(self) -> int:
        """What the command line returns: that of the error that ended the run, or of providers that are all away."""
        if self.status == "ok":
            return 0
        if self.figures.get("providers_away"):
            return errors.SourceError.exit_code
        raised = getattr(errors, (self.error or "").partition(":")[0], None)
        return (
            raised.exit_code
            if isinstance(raised, type) and issubclass(raised, errors.FactoryError)
            else 1
        )

    @property
    def ending(self) -> str:
        """How it ended: its status, or ``warn`` where a run that went well found something amiss."""
        return "warn" if self.status == "ok" and self.level == "warn" else self.status

    def finish(self, status: Status, at: datetime, **known: Any) -> RunRecord:
        """Return the record of the same run, ended."""
        started = datetime.fromisoformat(self.started_at)
        seconds = round((at - started).total_seconds(), 2)
        return replace(self, status=status, finished_at=stamp(at), seconds=seconds, **known)


_KNOWN = frozenset(spec.name for spec in fields(RunRecord))


def stamp(instant: datetime) -> str:
    """Return an instant as ISO 8601 with Z."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def save(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``."""
    write_atomically(
        folder / "run.json", json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n"
    )


def load(folder: Path) -> RunRecord:
    """Read ``run.json`` of a run folder; what a later version added to it is left out.

    Raises
    ------
    OSError, ValueError, TypeError
        If there is none, or it is not the record of a run.
    """
    found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise TypeError(f"{folder / 'run.json'} is not the record of a run.")
    record = RunRecord(**{name: value for name, value in found.items() if name in _KNOWN})
    if not (
        isinstance(record.job, str)
        and isinstance(record.pid, int)
        and datetime.fromisoformat(record.started_at)
    ):
        raise TypeError(f"{folder / 'run.json'} is not the record of a run.")
    return record


def new_folder(runs: Path, job: str, at: datetime) -> Path:
    """Create ``YYYY-MM-DD/HHMMSSZ-<job>``, with ``-2``, ``-3``, … where that second is taken."""
    day = runs / f"{at:%Y-%m-%d}"
    day.mkdir(parents=True, exist_ok=True)
    base = f"{at:%H%M%SZ}-{job}"
    for suffix in range(1, 1000):
        folder = day / (base if suffix == 1 else f"{base}-{suffix}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(day / base)


def folders(runs: Path) -> Iterator[Path]:
    """Yield the folders of one profile's runs, newest first."""
    for day in _days(runs):
        yield from _of_day(day)


def readable(found: Iterable[Path]) -> Iterator[tuple[Path, RunRecord]]:
    """Yield run folders with their records; one that cannot be read is passed over, for no other run depends on it."""
    for folder in found:
        try:
            record = load(folder)
        except (OSError, ValueError, TypeError):
            continue
        yield folder, record


def _days(runs: Path) -> list[Path]:
    return sorted(runs.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"), reverse=True)


def _of_day(day: Path) -> list[Path]:
    return sorted(
        (folder for folder in day.iterdir() if (folder / "run.json").is_file()), reverse=True
    )


def reap(runs: Path, at: datetime) -> int:
    """Mark runs that say ``started`` though their process is gone as ``killed``; return how many.

    Only the last two days with runs are looked at: every run looks, so none is older
    when it is found.
    """
    reaped = 0
    for folder, record in readable(
        folder for day in _days(runs)[:REAPED_DAYS] for folder in _of_day(day)
    ):
        if record.status == "started" and not _alive(record.pid):
            save(
                folder,
                record.finish("killed", at, error="The process ended before the notebook did."),
            )
            reaped += 1
    return reaped


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
