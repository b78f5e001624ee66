"""Backups: taken while others write, verified by restoring them, and restored.

A backup is a folder ``data/<profile>/backup/<instant>/`` with store, shared state, the
champions of the registry, and a manifest of their checksums. A restore needs nothing of
what it restores: it opens neither store nor state before they are replaced, and keeps
aside what it replaces.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from factory_lib.clock import Clock
from factory_lib.context import RunContext, open_context
from factory_lib.errors import BadInput, ModelError, WriteNotConfirmed
from factory_lib.files import write_atomically
from factory_lib.models import registry
from factory_lib.settings import Settings
from factory_lib.state import State, hold_all, open_state
from factory_lib.store import copying
from factory_lib.store.base import Store
from factory_lib.store.sqlite import SqliteBackend

FILES = ("store.db", "state.db")
MODELS = "models"
MANIFEST = "manifest.json"
REPLACED = "replaced"
STAMP = "%Y-%m-%dT%H%M%SZ"
_SIDE_FILES = ("-wal", "-shm")
_LINE = ["measurement", "series", "place", "source", "kind", "rows", "checksum"]


def take_backup(ctx: RunContext) -> Path:
    """Write a backup and return its folder; it is complete once it has its manifest.

    The state comes first: every value that it counts as stored is then in the store as
    well, and a value that it does not know yet is only requested again. A registry that
    cannot be read costs the models alone; the manifest says so.
    """
    folder = _root(ctx.settings) / f"{ctx.clock.now():{STAMP}}"
    if folder.exists():
        raise BadInput(
            f"{folder} exists.", next_step="Try again in a second: a backup never replaces another."
        )
    folder.mkdir(parents=True)
    ctx.state.backup_to(folder / FILES[1])
    sites = dict(_further_sites(ctx.settings))
    for name, site in sites.items():
        with open_state(site) as state:
            state.backup_to(folder / name)
    inventory = copying.backup(ctx.store, folder / FILES[0])
    problem = ""
    models: Mapping[str, Any] = {}
    try:
        models = registry.export_champions(ctx, folder / MODELS)
    except (ModelError, OSError) as error:
        problem = ctx.settings.secrets.mask(str(error))
    files = [*FILES, *sites, *(f"{MODELS}/{model}.skops" for model in models)]
    manifest = {
        "profile": ctx.profile,
        "origin": ctx.store.origin,
        "sha256": {name: _sha256(folder / name) for name in files},
        "models": models,
        "models_missing": problem,
        "store": json.loads(inventory.to_json(orient="records", date_format="iso")),
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return folder


def list_backups(settings: Settings) -> list[Path]:
    """Return the complete backups, newest first."""
    folders = [file.parent for file in _root(settings).glob(f"*/{MANIFEST}")]
    return sorted(filter(_read_manifest, folders), reverse=True)


def select_backup(settings: Settings, folder: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Return a backup that is whole and of this profile, by default the newest, and its manifest.

    Raises
    ------
    BadInput
        If there is none, a file differs from the manifest, or it is of another profile or
        origin.
    """
    source = folder or next(iter(list_backups(settings)), None)
    manifest = _read_manifest(source) if source else None
    if source is None or manifest is None:
        raise BadInput(
            f"There is no complete backup {source or f'in {_root(settings)}'}.",
            next_step="Take or name another backup.",
        )
    owner = (manifest["profile"], manifest["origin"])
    if owner != (settings.profile, settings.origin):
        raise BadInput(
            f"{source} is a backup of profile {owner[0]} ({owner[1]}), "
            f"not of {settings.profile} ({settings.origin}).",
            next_step="Name a backup of this profile, or choose another with --profile.",
        )
    damaged = [name for name, sum_ in manifest["sha256"].items() if _sha256(source / name) != sum_]
    if damaged:
        raise BadInput(
            f"{source} is not as its manifest says: {', '.join(damaged)} changed since.",
            next_step="Name another backup.",
        )
    return source, manifest


def verify(settings: Settings, folder: Path | None = None) -> tuple[Path, pd.DataFrame]:
    """Restore a backup into a temporary folder and compare; return it, and the store's inventory.

    Raises
    ------
    BadInput
        If it is not whole, or of another profile (``select_backup``).
    WriteNotConfirmed, StoreUnavailable
        If what it holds is not what the manifest says.
    """
    source, manifest = select_backup(settings, folder)
    with TemporaryDirectory(prefix="factory-verify-") as place:
        for name in manifest["sha256"]:
            target = Path(place, name)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, target)
        with State(Path(place, FILES[1]), Path(place, "hosts.db")) as state:
            if damage := state.damage():
                raise WriteNotConfirmed(f"{FILES[1]} of {source} is damaged: {damage}.")
        backend = SqliteBackend(Path(place, FILES[0]), settings.origin)
        with closing(Store(backend, settings.catalogue)) as store:
            backend.check()
            inventory = store.inventory()
        for model in manifest.get("models", {}):
            registry.read_model(Path(place, MODELS, f"{model}.skops"))
    _compare(inventory, manifest["store"], source)
    return source, inventory


@dataclass(frozen=True)
class Restored:
    """A restore that is done.

    Attributes
    ----------
    inventory : DataFrame
        Of the store, equal to that of the backup.
    aside : Path or None
        Where that lies which was replaced.
    models : list of str
        Models that are champions again.
    notes : tuple of str
    """

    source: Path
    inventory: pd.DataFrame
    aside: Path | None
    models: Sequence[str]
    notes: tuple[str, ...] = ()


def restore_backup(settings: Settings, clock: Clock, folder: Path | None = None) -> Restored:
    """Restore state, store and champions from a backup, after checking every file.

    The state comes first, as in ``take_backup``: after a kill between the two it counts less as
    stored than the store holds, which is only requested again, and repeating the restore
    completes it. The other way round it would count as stored what is gone.

    Raises
    ------
    BadInput
        If there is no such backup, or it is damaged or of another profile; nothing was
        changed then.
    JobLocked
        If a job is running.
    WriteNotConfirmed
        If the store does not hold at the end what the backup holds.
    """
    source, manifest = select_backup(settings, folder)
    aside = _free_folder(settings.paths.data / REPLACED, clock.now())
    sites = [settings.for_site(name) for name in settings.site_ids]
    with hold_all([(site, job) for site in sites for job in site.jobs]):
        _replace_state(settings, source / FILES[1], aside)
        for name, site in _further_sites(settings):
            if name in manifest["sha256"]:
                _replace_state(site, source / name, aside / site.site_id)
        if settings.store.backend == "sqlite":
            _replace(source / FILES[0], settings.paths.store, aside)
        with open_context(settings=settings, clock=clock) as ctx:
            if settings.store.backend == "sqlite":
                inventory = ctx.store.inventory()
                _compare(inventory, manifest["store"], source)
            else:
                inventory = copying.restore(source / FILES[0], ctx.store)
            models, notes = _restore_models(ctx, source, manifest.get("models", {}), aside)
    return Restored(source, inventory, aside if aside.exists() else None, models, notes)


def _further_sites(settings: Settings) -> Iterator[tuple[str, Settings]]:
    """Yield the file in a backup of the state of each further site that has one, and the site."""
    for site in map(settings.for_site, settings.sites):
        if site.paths.state.exists() or settings.state.backend == "postgres":
            yield f"state-{site.site_id}.db", site


def _replace_state(settings: Settings, file: Path, aside: Path) -> None:
    """Put a backup of the state in the place of what there is, which is kept aside."""
    if settings.state.backend == "sqlite":
        _replace(file, settings.paths.state, aside)
        return
    from factory_lib.state.shared import SharedState

    with SharedState(settings) as state:
        aside.mkdir(parents=True, exist_ok=True)
        state.backup_to(aside / FILES[1])
        state.restore_from(file)


def _free_folder(root: Path, at: datetime) -> Path:
    """Return the folder of an instant, or of the next one that no restore has taken.

    The clock of a demo stands still: a second restore must not write over the first.
    """
    while (folder := root / f"{at:{STAMP}}").exists():
        at += timedelta(seconds=1)
    return folder


def _restore_models(
    ctx: RunContext, source: Path, models: Mapping[str, Any], aside: Path
) -> tuple[list[str], tuple[str, ...]]:
    """Make the champions champions again; a damaged registry of this profile is kept aside."""
    if not models:
        return [], ("This backup holds no models: `make train` makes them.",)
    try:
        return registry.import_champions(ctx, source / MODELS, models), ()
    except ModelError as error:
        if ctx.settings.tracking_uri:
            return [], (f"The models were not restored: {error}",)
    for name in ("mlflow.db", "mlflow.lock", "mlartifacts"):
        _move_aside(ctx.settings.paths.registry / name, aside)
    notes = ("The registry was damaged: a new one holds the champions.",)
    return registry.import_champions(ctx, source / MODELS, models), notes


def _replace(copy: Path, target: Path, aside: Path) -> None:
    """Put a copy of a file in the place of another, which is kept aside.

    The write-ahead log goes first: one that is left beside another database would be
    played into it.
    """
    part = target.with_name(f".{target.name}.restoring")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(copy, part)  # a full disk is noticed before anything is moved
    for suffix in _SIDE_FILES:
        _move_aside(target.with_name(target.name + suffix), aside)
    _move_aside(target, aside)
    part.replace(target)


def _move_aside(file: Path, aside: Path) -> None:
    if file.exists():
        aside.mkdir(parents=True, exist_ok=True)
        shutil.move(file, aside / file.name)


def _compare(inventory: pd.DataFrame, expected: Sequence[Mapping[str, Any]], source: Path) -> None:
    """Raise WriteNotConfirmed where an inventory differs from that of the manifest."""
    lines = inventory[_LINE].to_dict("records")
    kept = pd.DataFrame(expected, columns=_LINE).to_dict("records")
    different = [line for line in kept if line not in lines]
    if different or len(lines) != len(kept):
        raise WriteNotConfirmed(f"{len(different)} lines differ from those of {source}.")


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a backup; None if it or a file cannot be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        sums = {name: str(sum_) for name, sum_ in manifest["sha256"].items()}
        outside = any(".." in Path(name).parts or Path(name).is_absolute() for name in sums)
        if outside or not set(FILES) <= set(sums):
            return None
        for name in sums:
            (folder / name).stat()
        owner = {name: str(manifest[name]) for name in ("profile", "origin")}
        return {**manifest, **owner, "sha256": sums, "store": list(manifest["store"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _root(settings: Settings) -> Path:
    return settings.paths.data / "backup"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
