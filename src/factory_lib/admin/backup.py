"""Backups of what cannot be fetched again: the store and the shared state, taken while others go on writing.

A backup is a folder ``data/<profile>/backup/<instant>/`` with both files and a manifest
of their checksums. The models are none of it: they can be trained again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pandas as pd

from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.files import lock, write_atomically
from factory_lib.settings.records import StoreSettings
from factory_lib.store import copying, open_store

FILES = ("store.db", "state.db")
MANIFEST = "manifest.json"


def take(ctx: RunContext) -> Path:
    """Write a backup and return its folder; it is complete once it has its manifest.

    The state comes first: what it has heard of is then in the store as well, and what
    it has not is only asked again.
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
    return sorted(
        (file.parent for file in _root(ctx).glob(f"*/{MANIFEST}") if _promised(file.parent)),
        reverse=True,
    )


def restore(ctx: RunContext, folder: Path | None = None) -> tuple[Path, pd.DataFrame]:
    """Make store and state what they were, after checking every checksum; return the backup and the store's inventory.

    The state comes first, as in ``take``: killed between the two, it has not heard of
    all that the store still holds, which is only asked for again, and repeating the
    restore completes it. The other way round it would know as stored what is gone.

    Raises
    ------
    BadInput
        If there is no such backup, or it is damaged; nothing was changed then.
    JobLocked
        If a job is running.
    """
    chosen = folder or next(iter(list_backups(ctx)), None)
    promised = _promised(chosen) if chosen else None
    if chosen is None or promised is None:
        raise BadInput(
            f"There is no complete backup {chosen or f'in {_root(ctx)}'}.",
            next_step="Take or name another backup.",
        )
    damaged = [name for name in FILES if _sha256(chosen / name) != promised[name]]
    if damaged:
        raise BadInput(
            f"{', '.join(damaged)} of {chosen} differ from the manifest.",
            next_step="Name another backup.",
        )
    with ExitStack() as running:
        for job in ctx.settings.jobs:
            running.enter_context(lock(ctx.settings.paths.lock(job), wait=False))
        ctx.state.restore_from(chosen / FILES[1])
        inventory = copying.restore(chosen / FILES[0], ctx.store)
    return chosen, inventory


def copy_to(ctx: RunContext, backend: str) -> pd.DataFrame:
    """Copy everything into the other backend of this profile and return what was there, with ``copied``.

    Raises
    ------
    BadInput
        If ``backend`` is the one in use.
    """
    if backend == ctx.settings.store.backend:
        raise BadInput(f"Profile {ctx.profile} already uses {backend}.")
    with closing(open_store(replace(ctx.settings, store=StoreSettings(backend)))) as target:  # type: ignore[arg-type]
        return copying.copy(ctx.store, target)


def _promised(folder: Path) -> dict[str, str] | None:
    """Return the checksums that a backup's manifest promises; None if it cannot be read or a file is not there."""
    try:
        promised = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        return {name: str(promised[name]) for name in FILES if (folder / name).stat()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _root(ctx: RunContext) -> Path:
    return ctx.settings.paths.data / "backup"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
