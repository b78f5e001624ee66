"""The whole of one store into another: copies between backends, backups, and exports.

Copies can be repeated: what is there already is left alone, and each ends by comparing
counts and checksums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from factory_lib.catalogue import Catalogue
from factory_lib.clock import DAY_S, epoch
from factory_lib.errors import BadInput, OriginMismatch, StoreError, WriteNotConfirmed
from factory_lib.files import replacing
from factory_lib.store import merge
from factory_lib.store.backend import Rows, Window
from factory_lib.store.base import COMPARED, Store
from factory_lib.store.sqlite import SqliteBackend
from factory_lib.store.view import INVENTORY_COLUMNS, in_batches

CHUNK_S = 366 * DAY_S
PLACES = 25  # at a time, each a year
_LINE = list(INVENTORY_COLUMNS[:5])


def copy(source: Store, target: Store) -> pd.DataFrame:
    """Copy values, forecasts and verdicts with their revs and times.

    An interrupted copy goes on when repeated.

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
    content = source.inventory()
    before = target.inventory()
    different = content[content["checksum"] != _matching(content, before)["checksum"]]
    for (measurement, series), lines in different.groupby(["measurement", "series"]):
        for places in in_batches(set(lines["place"]), PLACES):
            mine = lines[lines["place"].isin(places)]
            window = Window((str(series),), 0, 0, places)
            _copy_series(source, target, str(measurement), window, mine)
    target.write_verdicts(source.read_verdicts(open_only=False).iloc[::-1])
    return _confirmed(content, before, target.inventory())


def _copy_series(
    source: Store, target: Store, measurement: str, window: Window, lines: pd.DataFrame
) -> None:
    """Copy one series at the places of ``window``, by the year, whatever its time."""
    first, last = (epoch(at) for at in (lines["first"].min(), lines["last"].max()))
    for start in range(first, last + 1, CHUNK_S):
        part = replace(window, start=start, end=start + CHUNK_S)
        if measurement == "forecasts":
            if len(rows := source.backend.load_forecasts(part)):
                target.append_forecasts(rows)
        elif measurement != "verdicts" and len(rows := source.backend.load(part)):
            _copy_values(rows, target, part, measurement)


def _copy_values(rows: Rows, target: Store, window: Window, measurement: str) -> None:
    with target.backend.writing(measurement):
        stored = target.backend.load(window, COMPARED)
        missing = rows.take(merge.absent(rows, stored))
        other = missing.take(~merge.absent(missing, stored, ("rev",)))
        if len(other):
            raise StoreError(
                f"Both stores have values of their own for {window.series[0]} at "
                f"{other.dimension('place')[0]}.",
                next_step="Copy into an empty store.",
            )
        if len(missing):
            target.append(missing, window)


def _confirmed(content: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return ``content`` with ``copied``.

    A line has the same checksum, or more rows: from others, before or since.
    """
    stored = _matching(content, after)
    same = (content["checksum"] == stored["checksum"]) | (stored["rows"] > content["rows"])
    if not same.all():
        lines = content.loc[~same, _LINE].agg("/".join, axis=1)
        raise WriteNotConfirmed(
            f"{len(lines)} of {len(content)} lines differ from their source: {', '.join(lines)}."
        )
    copied = content["rows"].sub(_matching(content, before)["rows"], fill_value=0).clip(lower=0)
    return content.assign(copied=copied.astype("int64"))


def _matching(content: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return rows and checksum of the same lines in another inventory."""
    return content[_LINE].merge(other[[*_LINE, "rows", "checksum"]], how="left")


def backup(store: Store, file: Path) -> pd.DataFrame:
    """Write a consistent copy of ``store`` into a new SQLite file, and return its inventory.

    Others go on writing. The file appears under its name only when it has been checked.

    Raises
    ------
    BadInput
        If the file exists.
    """
    if file.exists():
        raise BadInput(
            f"{file} exists.", next_step="Name a new file: a backup never replaces another."
        )
    embedded = isinstance(store.backend, SqliteBackend)
    with replacing(file) as part:
        if isinstance(store.backend, SqliteBackend):
            store.backend.snapshot(part)
        with _opened(part, store) as kept:
            if not embedded:
                copy(store, kept)
            return kept.inventory()


def restore(file: Path, store: Store) -> pd.DataFrame:
    """Make ``store`` hold what the backup holds, and return the inventory.

    The embedded store is replaced in one transaction, so that others see the old or the
    new. InfluxDB receives what it lacks. Checksums are compared at the end.

    Raises
    ------
    BadInput
        If there is no such file.
    """
    if not file.is_file():
        raise BadInput(f"There is no backup {file}.")
    with _opened(file, store) as kept:
        if not isinstance(store.backend, SqliteBackend):
            return copy(kept, store).drop(columns="copied")
        content = kept.inventory()
    store.backend.replace_by(file)
    return _confirmed(content, content, store.inventory()).drop(columns="copied")


@contextmanager
def _opened(file: Path, like: Store) -> Iterator[Store]:
    """Open a SQLite file as a store of the same world and check it for damage."""
    backend = SqliteBackend(file, like.origin)
    try:
        backend.check()
        yield Store(backend, like.catalogue)
    finally:
        backend.close()


def export(view: pd.DataFrame, file: Path, origin: str, catalogue: Catalogue) -> int:
    """Write a table to ``file`` and return its rows; the suffix decides, CSV or Parquet.

    Beside its own columns (of ``Store.read``: source, kind, times, run) each row
    carries ``origin``, and ``unit`` where it is of a series, so that a file that travels
    alone still says what it holds and whether it is real. A score, which no provider
    gives, counts points.

    Raises
    ------
    BadInput
        If the suffix is another, or the file cannot be written.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{file.name} is neither .csv nor .parquet.")
    rows = view.assign(origin=origin)
    if "series" in view:
        units = {name: entry.unit for name, entry in catalogue.items()}
        unit = view["series"].map(units).fillna("points").astype("str")
        rows.insert(len(view.columns), "unit", unit)
    try:
        with replacing(file) as part:
            if file.suffix == ".csv":
                rows.to_csv(part, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
            else:
                rows.to_parquet(part, index=False)
    except OSError as error:
        raise BadInput(
            f"{file} cannot be written: {error.strerror or error}.", next_step="Name another."
        ) from error
    return len(rows)
