"""Backups: complete, checked, taken while others write, never restored under a running job."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from factory_lib.admin import maintenance
from factory_lib.context import RunContext, open_context
from factory_lib.errors import BadInput, JobLocked
from factory_lib.files import lock
from factory_lib.state.calls import count_tick
from factory_lib.state.marks import get_mark, set_mark
from factory_lib.store import copying
from factory_lib.store.base import Store
from tests.unit.conftest import SLOTS, Fill


def checksums(ctx: RunContext) -> list[str]:
    return list(ctx.store.inventory()["checksum"])


def test_what_is_brought_back_is_what_was_taken(ctx: RunContext, fill: Fill) -> None:
    fill()
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())
    before = checksums(ctx)
    folder = maintenance.take_backup(ctx)
    assert sorted(file.name for file in folder.iterdir()) == [
        "manifest.json",
        "state.db",
        "store.db",
    ]
    fill(value=70.0)
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now() + timedelta(days=1))
    assert checksums(ctx) != before
    chosen, inventory = maintenance.restore_backup(ctx)
    assert chosen == folder
    assert list(inventory["checksum"]) == checksums(ctx) == before
    assert get_mark(ctx.state, "latest", "spot_eur_mwh") == (ctx.clock.now(), None)


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
        folder = maintenance.take_backup(ctx)
    finally:
        stop.set()
        writer.join()
    _, inventory = maintenance.restore_backup(ctx, folder)
    assert inventory["rows"].sum() % SLOTS == 0  # each write was one transaction: all of it or none
    assert ctx.state.damage() == ""


def test_a_damaged_backup_changes_nothing(ctx: RunContext, fill: Fill) -> None:
    fill()
    folder = maintenance.take_backup(ctx)
    fill(value=70.0)
    now = checksums(ctx)
    with (folder / "store.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\0\0\1")
    with pytest.raises(BadInput, match=r"store\.db .* differ"):
        maintenance.restore_backup(ctx, folder)
    assert checksums(ctx) == now


def test_an_unfinished_backup_is_none(ctx: RunContext, fill: Fill) -> None:
    fill()
    (maintenance.take_backup(ctx) / "manifest.json").unlink()
    assert maintenance.list_backups(ctx) == []
    with pytest.raises(BadInput, match="no complete backup"):
        maintenance.restore_backup(ctx)


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
    folder = maintenance.take_backup(ctx)
    (folder / "manifest.json").write_bytes(manifest.encode(errors="surrogateescape"))
    assert maintenance.list_backups(ctx) == []
    with pytest.raises(BadInput, match="no complete backup") as raised:
        maintenance.restore_backup(ctx, folder)
    assert raised.value.exit_code == 2


def test_a_backup_without_one_of_its_files_is_none(ctx: RunContext, fill: Fill) -> None:
    fill()
    folder = maintenance.take_backup(ctx)
    (folder / "state.db").unlink()
    assert maintenance.list_backups(ctx) == []
    with pytest.raises(BadInput, match="no complete backup"):
        maintenance.restore_backup(ctx, folder)


def test_the_state_is_copied_before_the_store(
    ctx: RunContext, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    copy = copying.backup

    def later(store: Store, file: Path) -> pd.DataFrame:
        set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())  # what is written meanwhile
        return copy(store, file)

    monkeypatch.setattr(copying, "backup", later)
    maintenance.take_backup(ctx)
    maintenance.restore_backup(ctx)
    assert get_mark(ctx.state, "latest", "spot_eur_mwh") is None


def test_a_restore_killed_between_the_two_knows_too_little_and_another_completes_it(
    ctx: RunContext, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())
    before = checksums(ctx)
    maintenance.take_backup(ctx)
    fill(value=70.0)
    later = checksums(ctx)
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now() + timedelta(days=1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(copying, "restore", killed)
        maintenance.restore_backup(ctx)
    assert checksums(ctx) == later
    assert get_mark(ctx.state, "latest", "spot_eur_mwh") == (ctx.clock.now(), None)
    maintenance.restore_backup(ctx)
    assert checksums(ctx) == before


def test_a_backup_never_replaces_another(ctx: RunContext, fill: Fill) -> None:
    fill()
    before = (maintenance.take_backup(ctx) / "state.db").read_bytes()
    set_mark(ctx.state, "latest", "spot_eur_mwh", ctx.clock.now())
    with pytest.raises(BadInput, match="exists"):
        maintenance.take_backup(ctx)
    assert (maintenance.list_backups(ctx)[0] / "state.db").read_bytes() == before


def test_nothing_is_brought_back_while_a_job_runs(ctx: RunContext, fill: Fill) -> None:
    fill()
    maintenance.take_backup(ctx)
    with lock(ctx.settings.paths.lock("ml_training"), wait=False), pytest.raises(JobLocked):
        maintenance.restore_backup(ctx)


def test_the_backend_in_use_is_no_target(ctx: RunContext) -> None:
    with pytest.raises(BadInput, match="already uses sqlite"):
        maintenance.copy_to(ctx, "sqlite")
