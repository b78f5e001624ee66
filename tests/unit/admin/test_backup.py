"""Backups: complete, checked, taken while others write, never restored under a running job."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from factory_lib.admin import backup, maintenance
from factory_lib.context import RunContext, open_context
from factory_lib.errors import BadInput, JobLocked, WriteNotConfirmed
from factory_lib.files import lock
from factory_lib.models import registry
from factory_lib.settings import Settings
from factory_lib.state.calls import count_tick
from factory_lib.state.marks import Mark, get_mark, set_mark
from factory_lib.store import copying
from factory_lib.store.base import Store
from factory_sim.clock import SimulatedClock
from tests.conftest import NOW
from tests.unit.conftest import SLOTS, Fill, FillIn


def checksums(ctx: RunContext) -> list[str]:
    """Return the checksums of what the files hold now, whatever ``ctx`` has open."""
    with open_context(settings=ctx.settings, clock=ctx.clock) as opened:
        return list(opened.store.inventory()["checksum"])


def newest_mark(ctx: RunContext) -> Mark | None:
    with open_context(settings=ctx.settings, clock=ctx.clock) as opened:
        return get_mark(opened.state, "latest", "spot_eur_mwh")


def restore(ctx: RunContext, folder: Path | None = None) -> backup.Restored:
    return backup.restore_backup(ctx.settings, ctx.clock, folder)


def test_what_is_brought_back_is_what_was_taken(ctx: RunContext, fill: Fill) -> None:
    fill()
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())
    before = checksums(ctx)
    folder = backup.take_backup(ctx)
    assert sorted(file.name for file in folder.iterdir()) == [
        "manifest.json",
        "state.db",
        "store.db",
    ]
    fill(value=70.0)
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now() + timedelta(days=1))
    assert checksums(ctx) != before
    restored = restore(ctx)
    assert restored.source == folder
    assert list(restored.inventory["checksum"]) == checksums(ctx) == before
    assert newest_mark(ctx) == (ctx.clock.now(), None)
    assert restored.aside is not None
    assert {"state.db", "store.db"} <= {file.name for file in restored.aside.iterdir()}
    again = restore(ctx)  # at the same instant, as in a demo, whose clock stands still
    assert again.aside not in (None, restored.aside)


def test_a_backup_taken_while_another_writes_is_whole(ctx: RunContext, fill: Fill) -> None:
    fill()
    stop = threading.Event()

    def write() -> (
        None
    ):  # prices that no slot has yet, or a slot would be unchanged and get no new revision
        with open_context(settings=ctx.settings, clock=ctx.clock, as_of=ctx.as_of) as other:
            number = 0
            while not stop.is_set():
                number += 1
                count_tick(other.state, "ingest", "ok", other.clock.now())
                rows = other.store.read(
                    "spot_eur_mwh",
                    places=["ES"],
                    start=ctx.as_of - timedelta(days=5),
                    end=ctx.as_of,
                )
                tidy = rows[["series", "place", "source", "kind", "resolution_s", "start", "value"]]
                later = {
                    "retrieved_at": rows["retrieved_at"],
                    "provider_updated_at": rows["provider_updated_at"],
                }
                other.store.write(tidy.assign(**later, value=100.0 + number), run_id="other")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        folder = backup.take_backup(ctx)
    finally:
        stop.set()
        writer.join()
    inventory = restore(ctx, folder).inventory
    assert inventory["rows"].sum() % SLOTS == 0  # each write was one transaction: all of it or none
    assert ctx.state.damage() == ""


def test_a_damaged_backup_changes_nothing(ctx: RunContext, fill: Fill) -> None:
    fill()
    folder = backup.take_backup(ctx)
    fill(value=70.0)
    now = checksums(ctx)
    with (folder / "store.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\0\0\1")
    with pytest.raises(BadInput, match=r"store\.db changed since"):
        restore(ctx, folder)
    assert checksums(ctx) == now


def test_an_unfinished_backup_is_none(ctx: RunContext, fill: Fill) -> None:
    fill()
    (backup.take_backup(ctx) / "manifest.json").unlink()
    assert backup.list_backups(ctx.settings) == []
    with pytest.raises(BadInput, match="no complete backup"):
        restore(ctx)


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        '{"sha256": {"store.db"',
        "[]",
        "{}",
        '{"sha256": {"store.db": ""}}',
        '{"sha256": null}',
        "\udcff",
    ],
    ids=["empty", "torn", "list", "no sums", "one sum", "null", "bytes"],
)
def test_a_broken_manifest_is_no_backup(ctx: RunContext, fill: Fill, manifest: str) -> None:
    fill()
    folder = backup.take_backup(ctx)
    (folder / "manifest.json").write_bytes(manifest.encode(errors="surrogateescape"))
    assert backup.list_backups(ctx.settings) == []
    with pytest.raises(BadInput, match="no complete backup") as raised:
        restore(ctx, folder)
    assert raised.value.exit_code == 2


def test_a_backup_without_one_of_its_files_is_none(ctx: RunContext, fill: Fill) -> None:
    fill()
    folder = backup.take_backup(ctx)
    (folder / "state.db").unlink()
    assert backup.list_backups(ctx.settings) == []
    with pytest.raises(BadInput, match="no complete backup"):
        restore(ctx, folder)


def test_the_state_is_copied_before_the_store(
    ctx: RunContext, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    copy = copying.backup

    def later(store: Store, file: Path) -> pd.DataFrame:
        set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())  # what is written meanwhile
        return copy(store, file)

    monkeypatch.setattr(copying, "backup", later)
    backup.take_backup(ctx)
    restore(ctx)
    assert newest_mark(ctx) is None


def test_a_restore_killed_between_the_two_knows_too_little_and_another_completes_it(
    ctx: RunContext, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())
    before = checksums(ctx)
    backup.take_backup(ctx)
    fill(value=70.0)
    later = checksums(ctx)
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now() + timedelta(days=1))

    replace = backup._replace

    def killed(copy: Path, target: Path, aside: Path) -> None:
        if target.name == "store.db":
            raise KeyboardInterrupt
        replace(copy, target, aside)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(backup, "_replace", killed)
        restore(ctx)
    assert checksums(ctx) == later
    assert newest_mark(ctx) == (ctx.clock.now(), None)
    ctx.clock.sleep(1)
    restore(ctx)
    assert checksums(ctx) == before


def test_a_backup_never_replaces_another(ctx: RunContext, fill: Fill) -> None:
    fill()
    before = (backup.take_backup(ctx) / "state.db").read_bytes()
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())
    with pytest.raises(BadInput, match="exists"):
        backup.take_backup(ctx)
    assert (backup.list_backups(ctx.settings)[0] / "state.db").read_bytes() == before


def test_nothing_is_brought_back_while_a_job_runs(ctx: RunContext, fill: Fill) -> None:
    fill()
    backup.take_backup(ctx)
    with lock(ctx.settings.paths.lock("ml_training"), wait=False), pytest.raises(JobLocked):
        restore(ctx)


def test_the_backend_in_use_is_no_target(ctx: RunContext) -> None:
    with pytest.raises(BadInput, match="already uses sqlite"):
        maintenance.copy_to(ctx, "sqlite")


DAMAGE = {
    "damaged": lambda file: file.write_bytes(b"not a database" * 999),
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("names", [("store.db",), ("state.db",), ("store.db", "state.db")])
def test_a_restore_needs_nothing_of_what_it_restores(
    settings: Settings, fill_in: FillIn, damage: Callable[[Path], None], names: tuple[str, ...]
) -> None:
    clock = SimulatedClock(NOW)
    with open_context(settings=settings, clock=clock) as opened:
        fill_in(opened)
        before = list(opened.store.inventory()["checksum"])
        folder = backup.take_backup(opened)
    for name in names:
        damage(settings.paths.data / name)
    restored = backup.restore_backup(settings, clock)
    assert list(restored.inventory["checksum"]) == before
    assert restored.source == folder
    with open_context(settings=settings, clock=clock) as opened:
        assert list(opened.store.inventory()["checksum"]) == before
        assert opened.state.damage() == ""


@pytest.mark.parametrize(("key", "value"), [("profile", "history"), ("origin", "simulated")])
def test_a_backup_of_another_profile_or_origin_changes_nothing(
    ctx: RunContext, fill: Fill, key: str, value: str
) -> None:
    fill()
    folder = backup.take_backup(ctx)
    file = folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), key: value}), "utf-8")
    fill(value=70.0)
    later = checksums(ctx)
    with pytest.raises(BadInput, match=f"is a backup of .*{value}"):
        restore(ctx, folder)
    assert checksums(ctx) == later
    assert not (ctx.settings.paths.data / backup.REPLACED).exists()


def test_a_backup_is_verified_by_restoring_it_elsewhere(ctx: RunContext, fill: Fill) -> None:
    fill()
    folder = backup.take_backup(ctx)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    source, inventory = backup.verify(ctx.settings)
    assert (source, int(inventory["rows"].sum())) == (folder, SLOTS)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["store"][0]["rows"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(WriteNotConfirmed, match="differ from those"):
        backup.verify(ctx.settings)


def test_champions_are_part_of_a_backup(ctx: RunContext) -> None:
    estimator = LinearRegression().fit(np.arange(4.0).reshape(-1, 1), 2 * np.arange(4.0))
    promote(ctx, estimator, "2026-04-01T00:00Z")
    folder = backup.take_backup(ctx)
    assert (folder / "models" / "spot_price.skops").is_file()
    assert backup.verify(ctx.settings)[0] == folder
    promote(ctx, LinearRegression().fit([[0.0], [1.0]], [9.0, 9.0]), "2026-04-02T00:00Z")
    restored_champion(ctx)
    (ctx.settings.paths.runs / "mlflow.db").write_bytes(b"not a database" * 999)
    restored_champion(ctx)


def restored_champion(ctx: RunContext) -> None:
    restored = restore(ctx)
    assert restored.models == ["spot_price"]
    served = registry.load_version(ctx, "spot_price")
    assert served.estimator.predict([[3.0]])[0] == pytest.approx(6.0)
    assert served.tags["as_of"] == "2026-04-01T00:00Z"


def promote(ctx: RunContext, estimator: LinearRegression, as_of: str) -> None:
    logged = registry.log(
        ctx,
        name="training",
        params={},
        metrics={},
        models={"spot_price": estimator},
        tags={"as_of": as_of, "origin": "real"},
        artifacts={},
        figures={},
    )
    version = logged.versions["spot_price"]
    registry.assign(ctx, "spot_price", version, registry.CHAMPION, "better")
