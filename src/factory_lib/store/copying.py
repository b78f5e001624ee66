"""Everything of one store into another: copies between backends, backups and their return.

All of it can be repeated: what is there already is left alone, and each ends by
comparing counts and checksums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from factory_lib.clock import DAY_S
from factory_lib.errors import BadInput, OriginMismatch, StoreError, WriteNotConfirmed
from factory_lib.files import replacing
from factory_lib.store import merge
from factory_lib.store.backend import Backend, Window
from factory_lib.store.base import Store
from factory_lib.store.rows import seconds
from factory_lib.store.sqlite import SqliteBackend

CHUNK_S = 366 * DAY_S
_LINE = ["measurement", "series", "place", "source", "kind"]


def copy(source: Store, target: Store) -> pd.DataFrame:
    """Copy values, forecasts and verdicts with their revs and times; an interrupted copy goes on when repeated.

    Returns
    -------
    DataFrame
        The inventory of ``source``, with ``copied``: how many rows of the line the
        target did not have before.

    Raises
    ------
    OriginMismatch
        If one is simulated and the other is not.
    StoreError
        If both have values of their own for the same identity and rev; nothing is
        overwritten.
    WriteNotConfirmed
        If the target does not hold at the end what was read. It may hold more: others
        go on writing meanwhile.
    """
    if source.origin != target.origin:
        raise OriginMismatch(f"A {source.origin} store is not copied into a {target.origin} one.")
    wanted, had = source.inventory(), target.inventory()
    for line in (
        wanted[~_equal(wanted, had)]
        .drop_duplicates(["measurement", "series", "place"])
        .itertuples()
    ):
        matching = wanted[(wanted["series"] == line.series) & (wanted["place"] == line.place)]
        ends = seconds(pd.concat([matching["first"], matching["last"]]))
        for start in range(int(ends.min()), int(ends.max()) + 1, CHUNK_S):
            window = Window((str(line.series),), start, start + CHUNK_S, (str(line.place),))
            if line.measurement == "forecasts":
                _copy_forecasts(source.backend, target.backend, window)
            elif line.measurement != "verdicts":
                _copy_values(source.backend, target.backend, window, str(line.measurement))
    target.write_verdicts(source.read_verdicts(open_only=False).iloc[::-1])
    return _confirmed(wanted, had, target.inventory())


def _copy_values(source: Backend, target: Backend, window: Window, measurement: str) -> None:
    rows = source.load(window)
    with target.writing(measurement):
        held = target.load(window, columns=("channel", "start", "rev", "value"))
        missing = rows.take(merge.absent(rows, held))
        blank = np.zeros(len(missing))
        if not merge.absent(
            missing.having(value=blank), held.having(value=np.zeros(len(held)))
        ).all():
            raise StoreError(
                f"Both stores have values of their own for {window.series[0]} at {(window.places or ('',))[0]}.",
                next_step="Copy into an empty store.",
            )
        if len(missing):
            target.append(missing)
            lost = merge.absent(
                missing, target.load(window, columns=("channel", "start", "rev", "value"))
            ).sum()
            if lost:
                raise WriteNotConfirmed(
                    f"{lost} of {len(missing)} rows were copied and not found again."
                )


def _copy_forecasts(source: Backend, target: Backend, window: Window) -> None:
    rows = source.load_forecasts(window)
    with target.writing("forecasts"):
        missing, _ = merge.settle_forecasts(rows, target.load_forecasts(window))
        if len(missing):
            target.append_forecasts(missing)


def _confirmed(wanted: pd.DataFrame, had: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return ``wanted`` with ``copied``; a line has the same checksum, or more rows: from others, before or since."""
    held = wanted[_LINE].merge(found[[*_LINE, "rows"]], how="left")["rows"].fillna(0)
    same = _equal(wanted, found) | (held > wanted["rows"])
    if not same.all():
        lines = wanted.loc[~same, _LINE].agg("/".join, axis=1)
        raise WriteNotConfirmed(
            f"{len(lines)} of {len(wanted)} lines differ from their source: {', '.join(lines)}."
        )
    before = wanted[_LINE].merge(had[[*_LINE, "rows"]], how="left")["rows"].fillna(0)
    return wanted.assign(copied=(wanted["rows"] - before).clip(lower=0).astype("int64"))


def _equal(wanted: pd.DataFrame, found: pd.DataFrame) -> pd.Series:
    columns = [*_LINE, "rows", "checksum"]
    merged = wanted[columns].merge(found[columns], how="left", indicator=True)
    return merged["_merge"] == "both"


def backup(store: Store, file: Path) -> pd.DataFrame:
    """Write a consistent copy of ``store`` into a new SQLite file while others go on writing; return its inventory.

    The file appears under its name only when it has been checked.

    Raises
    ------
    BadInput
        If the file exists.
    """
    if file.exists():
        raise BadInput(
            f"{file} exists.", next_step="Name a new file: a backup never replaces another."
        )
    with replacing(file) as part:
        if isinstance(store.backend, SqliteBackend):
            store.backend.snapshot(part)
        with _opened(part, store) as kept:
            if not isinstance(store.backend, SqliteBackend):
                copy(store, kept)
            found = kept.inventory()
    return found


def restore(file: Path, store: Store) -> pd.DataFrame:
    """Make ``store`` hold what the backup holds, and return the inventory after comparing checksums.

    The embedded store is replaced in one transaction, so that others see the old or the
    new. InfluxDB receives what it lacks.

    Raises
    ------
    BadInput
        If there is no such file.
    """
    if not file.is_file():
        raise BadInput(f"There is no backup {file}.")
    with _opened(file, store) as kept:
        wanted = kept.inventory()
        if not isinstance(store.backend, SqliteBackend):
            return copy(kept, store).drop(columns="copied")
    store.backend.replace_by(file)
    return _confirmed(wanted, wanted, store.inventory()).drop(columns="copied")


@contextmanager
def _opened(file: Path, like: Store) -> Iterator[Store]:
    """Open a SQLite file as a store of the same world and check it for damage."""
    backend = SqliteBackend(file, like.origin)
    try:
        backend.check()
        yield Store(backend, like.catalogue)
    finally:
        backend.close()
