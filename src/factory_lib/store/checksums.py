"""Counts, extents and checksums of a store's content.

Equal checksums mean equal content, in any order and backend.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue
from factory_lib.slots import from_index, to_index
from factory_lib.store.backend import FORECAST, Backend, Channel, Window

INVENTORY_COLUMNS = (
    "measurement",
    "series",
    "place",
    "source",
    "kind",
    "rows",
    "first",
    "last",
    "checksum",
)
_IDENTITY = list(INVENTORY_COLUMNS[1:5])
PLACES = 8  # at a time: thirty years of hours of so many take 1 GB
ALL_TIME = (-(1 << 35), 1 << 35)  # about 880 and 3058: every slot there can be


def inventory(backend: Backend, catalogue: Catalogue) -> pd.DataFrame:
    """Return one row per measurement, series, place, source and kind, ordered."""
    lines = []
    for measurement, table in _tables(backend, catalogue):
        for identity, rows in table.groupby(_IDENTITY):
            content = checksum(rows.drop(columns=_IDENTITY))
            extent = rows["start"].agg(["min", "max"])
            lines.append((measurement, *identity, len(rows), *extent, content))
    frame = pd.DataFrame(lines, columns=list(INVENTORY_COLUMNS))
    for name in ("first", "last"):
        frame[name] = to_index(frame[name].to_numpy(np.int64))
    return frame.sort_values(list(INVENTORY_COLUMNS[:5]), ignore_index=True)


def _tables(backend: Backend, catalogue: Catalogue) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield everything stored, with its measurement: one series at some places at a time."""
    targets: dict[tuple[bool, str], set[str]] = {}
    for channel in backend.channels():
        key = (channel.kind == FORECAST, channel.series)
        targets.setdefault(key, set()).add(channel.place)
    for (is_forecast, series), places in sorted(targets.items()):
        for part in in_batches(places, PLACES):
            yield _table(backend, catalogue, Window((series,), *ALL_TIME, part), is_forecast)
    verdicts = backend.load_verdicts()
    times = {name: from_index(verdicts[name]) for name in ("start", "at")}
    yield "verdicts", verdicts.assign(kind="verdict", **times)


def _table(
    backend: Backend, catalogue: Catalogue, window: Window, is_forecast: bool
) -> tuple[str, pd.DataFrame]:
    """Return the rows of a window, with their measurement."""
    rows = backend.load_forecasts(window) if is_forecast else backend.load(window)
    table = pd.DataFrame(rows.column).drop(columns="channel")
    dimensions = {name: rows.dimension(name) for name in Channel._fields}
    measurement = "forecasts" if is_forecast else str(catalogue[window.series[0]].measurement)
    return measurement, table.assign(**dimensions)


def in_batches(places: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """Yield ordered places, some at a time: a query for each of a country's takes too long."""
    ordered = sorted(places)
    for first in range(0, len(ordered), size):
        yield tuple(ordered[first : first + size])


def checksum(frame: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits of every column of every row; no order changes them."""
    floats = frame.select_dtypes("float64").columns
    frame = frame.assign(**(frame[floats] + 0.0))[sorted(map(str, frame))]  # one zero
    total = pd.util.hash_pandas_object(frame, index=False).sum()
    return f"{int(total):016x}"
