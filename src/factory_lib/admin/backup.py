"""Backups of the store and the shared state, taken while other processes go on writing.

A backup is a folder ``data/<profile>/backup/<instant>/`` with both files and a manifest
of their checksums. The models are none of it: they can be trained again.
"""

import hashlib
import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Literal

import pandas as pd
from msgspec import structs

from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.files import lock, write_atomically
from factory_lib.settings.records import StoreSettings
from factory_lib.store import copying, open_store

FILES = ("store.db", "state.db")
MANIFEST = "manifest.json"


def take_backup(ctx: RunContext) -> Path:
    """Write a backup and return its folder; it is complete once it has its manifest.

    The state comes first: every value that it counts as stored is then in the store as
    well, and a value that it does not know yet is only requested again.
    """
    folder = _root(ctx) / f"{ctx.clock.now():%Y-%m-%dT%H%M%SZ}"
    if folder.exists():
        raise BadInput(
            f"{folder} exists.", next_step="Try again in a second: a backup never replaces another."
        )
    folder.mkdir(parents=True)
    ctx.state.backup_to(folder / FILES[1])
    inventory = copying.backup(ctx.store, folder / FILES[0])
    manifest = {
        "profile": ctx.profile,
        "origin": ctx.store.origin,
        "sha256": {name: _sha256(folder / name) for name in FILES},
        "store": json.loads(inventory.to_json(orient="records", date_format="iso")),
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return folder


def list_backups(ctx: RunContext) -> list[Path]:
    """Return the complete backups, newest first."""
    folders = [file.parent for file in _root(ctx).glob(f"*/{MANIFEST}")]
    return sorted(filter(_manifest_checksums, folders), reverse=True)


def restore_backup(ctx: RunContext, folder: Path | None = None) -> tuple[Path, pd.DataFrame]:
    """Restore store and state from a backup, by default the newest, after checking every file.

    The state comes first, as in ``take_backup``: after a kill between the two it counts less as
    stored than the store holds, which is only requested again, and repeating the restore
    completes it. The other way round it would count as stored what is gone.

    Returns
    -------
    (Path, DataFrame)
        The backup, and the inventory of the store.

    Raises
    ------
    BadInput
        If there is no such backup, or it is damaged; nothing was changed then.
    JobLocked
        If a job is running.
    """
    source = folder or next(iter(list_backups(ctx)), None)
    checksums = _manifest_checksums(source) if source else None
    if source is None or checksums is None:
        raise BadInput(
            f"There is no complete backup {source or f'in {_root(ctx)}'}.",
            next_step="Take or name another backup.",
        )
    damaged = [name for name in FILES if _sha256(source / name) != checksums[name]]
    if damaged:
        raise BadInput(
            f"{', '.join(damaged)} of {source} differ from the manifest.",
            next_step="Name another backup.",
        )
    with ExitStack() as locks:
        for job in ctx.settings.jobs:
            locks.enter_context(lock(ctx.settings.paths.lock(job), wait=False))
        ctx.state.restore_from(source / FILES[1])
        inventory = copying.restore(source / FILES[0], ctx.store)
    return source, inventory


def copy_to(ctx: RunContext, backend: Literal["sqlite", "influx"]) -> pd.DataFrame:
    """Copy everything into the other backend of this profile.

    Returns
    -------
    DataFrame
        The inventory of the store in use, with the column ``copied``.

    Raises
    ------
    BadInput
        If ``backend`` is the one in use.
    """
    if backend == ctx.settings.store.backend:
        raise BadInput(f"Profile {ctx.profile} already uses {backend}.")
    settings = structs.replace(ctx.settings, store=StoreSettings(backend))
    with closing(open_store(settings)) as target:
        return copying.copy(ctx.store, target)


def _manifest_checksums(folder: Path) -> dict[str, str] | None:
    """Return the checksums of a backup's manifest; None if it or a file cannot be read."""
    try:
        checksums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        return {name: str(checksums[name]) for name in FILES if (folder / name).stat()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _root(ctx: RunContext) -> Path:
    return ctx.settings.paths.data / "backup"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
