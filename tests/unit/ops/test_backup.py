"""Backups: complete, checked, taken while others write, and never brought back under a running job."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from factory_lib.errors import BadInput, JobLocked
from factory_lib.house import House, open_house
from factory_lib.ops import backup
from factory_lib.state import locked
from factory_lib.store import copying
from factory_lib.store.base import Store
from tests.unit.ops.conftest import SLOTS, Fill


def checksums(house: House) -> list[str]:
    return list(house.store.inventory()["checksum"])


def test_what_is_brought_back_is_what_was_taken(house: House, fill: Fill) -> None:
    fill()
    house.state.mark("latest", "spot_eur_mwh", house.clock.now())
    before = checksums(house)
    folder = backup.take(house)
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "state.db", "store.db"]
    fill(value=70.0)
    house.state.mark("latest", "spot_eur_mwh", house.clock.now() + timedelta(days=1))
    assert checksums(house) != before
    chosen, inventory = backup.bring_back(house)
    assert chosen == folder
    assert list(inventory["checksum"]) == checksums(house) == before
    assert house.state.marked("latest", "spot_eur_mwh") == (house.clock.now(), None)


def test_a_backup_taken_while_another_writes_is_whole(house: House, fill: Fill) -> None:
    fill()
    stop = threading.Event()

    def write() -> None:  # prices that no slot has yet, or a slot would be unchanged and get no new revision
        with open_house(settings=house.settings, clock=house.clock, as_of=house.as_of) as other:
            number = 0
            while not stop.is_set():
                number += 1
                other.state.tick("ingest", "ok", other.clock.now())
                rows = other.store.read(
                    "spot_eur_mwh", places=["ES"], start=house.as_of - timedelta(days=5), end=house.as_of
                )
                tidy = rows[["series", "place", "source", "kind", "resolution_s", "start", "value"]]
                later = {"retrieved_at": rows["retrieved_at"], "provider_updated_at": rows["provider_updated_at"]}
                other.store.write(tidy.assign(**later, value=100.0 + number), run_id="other")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        folder = backup.take(house)
    finally:
        stop.set()
        writer.join()
    _, inventory = backup.bring_back(house, folder)
    assert inventory["rows"].sum() % SLOTS == 0  # each write was one transaction: all of it or none
    assert house.state.query("PRAGMA integrity_check") == [("ok",)]


def test_a_damaged_backup_changes_nothing(house: House, fill: Fill) -> None:
    fill()
    folder = backup.take(house)
    fill(value=70.0)
    now = checksums(house)
    with (folder / "store.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\0\0\1")
    with pytest.raises(BadInput, match=r"store\.db .* differ"):
        backup.bring_back(house, folder)
    assert checksums(house) == now


def test_an_unfinished_backup_is_none(house: House, fill: Fill) -> None:
    fill()
    (backup.take(house) / "manifest.json").unlink()
    assert backup.taken(house) == []
    with pytest.raises(BadInput, match="no complete backup"):
        backup.bring_back(house)


@pytest.mark.parametrize(
    "manifest",
    ["", '{"sha256": {"store.db"', "[]", "{}", '{"sha256": {"store.db": ""}}', '{"sha256": null}', "\udcff"],
    ids=["empty", "torn", "list", "no sums", "one sum", "null", "bytes"],
)
def test_a_broken_manifest_is_no_backup(house: House, fill: Fill, manifest: str) -> None:
    fill()
    folder = backup.take(house)
    (folder / "manifest.json").write_bytes(manifest.encode(errors="surrogateescape"))
    assert backup.taken(house) == []
    with pytest.raises(BadInput, match="no complete backup") as raised:
        backup.bring_back(house, folder)
    assert raised.value.exit_code == 2


def test_a_backup_without_one_of_its_files_is_none(house: House, fill: Fill) -> None:
    fill()
    folder = backup.take(house)
    (folder / "state.db").unlink()
    assert backup.taken(house) == []
    with pytest.raises(BadInput, match="no complete backup"):
        backup.bring_back(house, folder)


def test_the_state_is_copied_before_the_store(house: House, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    copy = copying.backup

    def later(store: Store, file: Path) -> pd.DataFrame:
        house.state.mark("latest", "spot_eur_mwh", house.clock.now())  # what is written meanwhile
        return copy(store, file)

    monkeypatch.setattr(copying, "backup", later)
    backup.take(house)
    backup.bring_back(house)
    assert house.state.marked("latest", "spot_eur_mwh") is None


def test_a_restore_killed_between_the_two_leaves_a_state_that_knows_too_little_and_is_completed_by_another(
    house: House, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    house.state.mark("latest", "spot_eur_mwh", house.clock.now())
    before = checksums(house)
    backup.take(house)
    fill(value=70.0)
    later = checksums(house)
    house.state.mark("latest", "spot_eur_mwh", house.clock.now() + timedelta(days=1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(copying, "restore", killed)
        backup.bring_back(house)
    assert checksums(house) == later
    assert house.state.marked("latest", "spot_eur_mwh") == (house.clock.now(), None)
    backup.bring_back(house)
    assert checksums(house) == before


def test_a_backup_never_replaces_another(house: House, fill: Fill) -> None:
    fill()
    before = (backup.take(house) / "state.db").read_bytes()
    house.state.mark("latest", "spot_eur_mwh", house.clock.now())
    with pytest.raises(BadInput, match="exists"):
        backup.take(house)
    assert (backup.taken(house)[0] / "state.db").read_bytes() == before


def test_nothing_is_brought_back_while_a_job_runs(house: House, fill: Fill) -> None:
    fill()
    backup.take(house)
    with locked(house.settings.paths.data / "locks", "ml_training"), pytest.raises(JobLocked):
        backup.bring_back(house)


def test_the_backend_in_use_is_no_target(house: House) -> None:
    with pytest.raises(BadInput, match="already uses sqlite"):
        backup.copy_to(house, "sqlite")
