"""From everything stored to what a reader sees: one value per slot, and an inventory.

The inventory has counts, extents and checksums. Equal checksums mean equal content, in any
order and backend.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue, Kind, Series
from factory_lib.frames import FORECAST_COLUMNS, QUANTILES, UTC_S
from factory_lib.slots import Slots, from_index, resolutions, to_index
from factory_lib.store.backend import FORECAST, Backend, Channel, Rows, Window

VIEW_COLUMNS = (
    "series",
    "place",
    "source",
    "kind",
    "resolution_s",
    "start",
    "rev",
    "value",
    "available_at",
    "retrieved_at",
    "provider_updated_at",
    "run_id",
)
_REV_BITS = 20  # space for a million revisions of one value
_TIMES = ("available_at", "retrieved_at", "provider_updated_at")


def to_frame(rows: Rows) -> pd.DataFrame:
    """Return rows as a frame with ``VIEW_COLUMNS``."""
    columns: dict[str, Any] = {name: rows.dimension(name) for name in Channel._fields}
    columns |= {name: to_index(rows[name]) for name in ("start", *_TIMES)}
    columns |= {
        "rev": rows["rev"],
        "value": rows["value"].astype(np.float64, copy=False),
        "run_id": rows["run"],
    }
    return pd.DataFrame({name: columns[name] for name in VIEW_COLUMNS}, copy=False)


def joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames of view rows one below the other."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts, ignore_index=True)


def forecast_frame(rows: Rows, places: Sequence[str], *, latest: bool) -> pd.DataFrame:
    """Return forecasts by model, target and issue.

    Returns
    -------
    DataFrame
        ``frames.FORECAST_COLUMNS``, ``available_at`` and ``run_id``.
    """
    issued_at = to_index(rows["issued_at"])
    frame = pd.DataFrame(
        {
            **{name: rows.dimension(name) for name in ("series", "place", "resolution_s")},
            **{name: rows[name] for name in QUANTILES},
            "model": rows.dimension("source"),
            "target_start": to_index(rows["start"]),
            "issued_at": issued_at,
            "available_at": issued_at,
            "tier": rows["tier"],
            "run_id": rows["run"],
        }
    )
    distrust = [places.index(channel.place) for channel in rows.channels]
    frame["distrust"] = np.array(distrust or [0])[rows["channel"]]
    frame = frame.sort_values(
        ["model", "target_start", "distrust", "issued_at"], ascending=[True, True, False, True]
    )
    if latest:
        frame = frame.drop_duplicates(["model", "target_start"], keep="last")
    return frame[[*FORECAST_COLUMNS, "available_at", "run_id"]].reset_index(drop=True)


def forecast_values(
    frame: pd.DataFrame, entry: Series, models: Mapping[str, str], *, raw: bool
) -> pd.DataFrame:
    """Return forecasts (``forecast_frame``) as rows of a series that consists of them.

    Parameters
    ----------
    models : mapping of str to str
        The source of each model, most trusted first.
    raw : bool
        All of them, else of each slot that of the most trusted source.

    Returns
    -------
    DataFrame
        ``VIEW_COLUMNS``, by start; ``value`` is the median, available since its issue.
    """
    rows = frame.rename(columns={"target_start": "start", "p50": "value"})
    rank = {model: position for position, model in enumerate(models)}
    rows = rows.assign(
        series=entry.name,
        source=rows["model"].map(dict(models)),
        kind=Kind.FORECAST.value,
        rev=1,
        retrieved_at=rows["issued_at"],
        provider_updated_at=pd.Series(pd.NaT, rows.index, dtype=UTC_S),
        rank=rows["model"].map(rank),
    ).sort_values(["start", "rank", "issued_at"], kind="stable")
    rows = rows if raw else rows.drop_duplicates("start")
    return rows[list(VIEW_COLUMNS)].reset_index(drop=True)


def eligible(
    rows: Rows, quarantined: pd.DataFrame, catalogue: Catalogue, coarse_s: int | None = None
) -> np.ndarray[Any, Any]:
    """Return a mask of the rows that may be shown.

    Their kind is one that the catalogue accepts, their cadence the one valid then (with
    ``coarse_s``: that one, where a finer one is valid), and no open verdict lies on them.
    """
    good = np.ones(len(rows), dtype=bool)
    judged_at = ["series", "place", "source"]
    verdicts = quarantined.groupby(judged_at).indices if len(quarantined) else {}
    for number, channel in enumerate(rows.channels):
        entry = catalogue[channel.series]
        mine = np.flatnonzero(rows["channel"] == number) if len(rows.channels) > 1 else slice(None)
        if Kind(channel.kind) not in entry.publication:
            good[mine] = False
        elif coarse_s is not None:
            finer = resolutions(entry, rows["start"][mine]) < coarse_s
            good[mine] = finer & (channel.resolution_s == coarse_s)
        elif {c.resolution_s for c in entry.cadences} != {channel.resolution_s}:
            good[mine] = resolutions(entry, rows["start"][mine]) == channel.resolution_s
        if channel[:3] in verdicts:
            judged = quarantined.iloc[verdicts[channel[:3]]]
            values = (from_index(judged["start"]) << _REV_BITS) + judged["rev"].to_numpy()
            identity = (rows["start"][mine] << _REV_BITS) + rows["rev"][mine]
            good[mine] &= ~np.isin(identity, values)
    return good


def ranks(rows: Rows, places: Sequence[str], catalogue: Catalogue) -> Slots:
    """Return each row's distance from the best channel.

    The kind decides first, then the place, then the source in the catalogue's order.
    """

    def trust(channel: Channel) -> tuple[int, int, int, str]:
        sources = [*catalogue[channel.series].sources, channel.source]
        return (
            list(Kind).index(Kind(channel.kind)),
            places.index(channel.place),
            sources.index(channel.source),
            channel.source,
        )

    return rows.codes(sorted(rows.channels, key=trust))


def select_best(
    rows: Rows, series: Sequence[str], places: Sequence[str], catalogue: Catalogue
) -> Rows:
    """Return the best row of each slot, in the order of ``series``, then by start."""
    keys = series_keys(rows, series)
    if (np.diff(keys) > 0).all():
        return rows  # one channel per series and nothing revised: the usual case costs no sort
    order = np.lexsort((-rows["rev"], ranks(rows, places, catalogue), keys))
    return rows.take(order[np.diff(keys[order], prepend=-1) != 0])


def in_series_order(rows: Rows, series: Sequence[str]) -> Rows:
    """Return every row, in the order of ``series``, then start, channel and rev."""
    return rows.take(np.lexsort((rows["rev"], rows["channel"], series_keys(rows, series))))


def series_keys(rows: Rows, series: Sequence[str]) -> Slots:
    """Return an integer per row that orders by ``series`` and start."""
    number = [series.index(channel.series) for channel in rows.channels]
    return rows.having(channel=np.array(number or [0])[rows["channel"]]).keys()


def coarsen(
    rows: Rows, series: Sequence[str], places: Sequence[str], grid_s: int, catalogue: Catalogue
) -> Rows:
    """Return finer slots as the mean of each complete ``grid_s`` slot.

    ``rows`` come from ``select_best``. A mean carries the latest times and the highest
    rev of its parts, and for the rest the least trusted of them.
    """
    resolution = rows.dimension("resolution_s")
    if (resolution == grid_s).all():
        return rows
    rank = ranks(rows, places, catalogue)
    rows = rows.having(start=rows["start"] - rows["start"] % grid_s)
    keys = series_keys(rows, series)
    begin = np.flatnonzero(np.diff(keys, prepend=-1))
    size = np.diff(begin, append=len(rows))
    by_rank = np.lexsort((rank, keys))
    latest = {name: np.maximum.reduceat(rows[name], begin) for name in ("rev", *_TIMES)}
    mean = np.add.reduceat(rows["value"], begin) / size
    means = rows.take(by_rank[begin + size - 1]).having(value=mean, **latest)
    channels = tuple(channel._replace(resolution_s=grid_s) for channel in rows.channels)
    complete = size * resolution[begin] == grid_s
    return Rows(channels, means.column).take(complete)


def completed(frame: pd.DataFrame, coarse: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """Return view rows on a grid, and of ``coarse`` those of slots that they lack."""
    if coarse.empty:
        return frame
    both = joined([frame, coarse]).drop_duplicates(["series", "start"])
    order = np.lexsort((both["start"], both["series"].map(series.index)))
    return both.iloc[order].reset_index(drop=True)


# -- the inventory ---------

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
