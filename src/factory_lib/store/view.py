"""One value per slot: from everything stored to what a reader sees."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue, Kind
from factory_lib.frames import FORECAST_COLUMNS
from factory_lib.slots import Slots, resolutions
from factory_lib.store.rows import Channel, Rows, seconds, times

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
_REV_BITS = 20  # room for a million revisions of one value


def frame_of(rows: Rows) -> pd.DataFrame:
    """Return rows as a frame with ``VIEW_COLUMNS``."""
    columns: dict[str, Any] = {name: rows.dimension(name) for name in Channel._fields}
    columns |= {
        name: times(rows[name])
        for name in ("start", "available_at", "retrieved_at", "provider_updated_at")
    }
    columns |= {
        "rev": rows["rev"],
        "value": rows["value"].astype(np.float64, copy=False),
        "run_id": rows.texts("run"),
    }
    return pd.DataFrame({name: columns[name] for name in VIEW_COLUMNS}, copy=False)


def forecast_frame(rows: Rows, places: Sequence[str], *, latest: bool) -> pd.DataFrame:
    """Return forecast rows by model, target and issue: ``frames.FORECAST_COLUMNS``, ``available_at``, ``run_id``."""
    columns: dict[str, Any] = {
        name: rows.dimension(name) for name in ("series", "place", "source", "resolution_s")
    }
    columns |= {"issued_at": times(rows["issued_at"]), "target_start": times(rows["start"])}
    columns |= {name: rows[name].astype(np.float64) for name in ("p10", "p50", "p90")}
    columns |= {
        "tier": rows.texts("tier"),
        "available_at": columns["issued_at"],
        "run_id": rows.texts("run"),
    }
    columns["trust"] = np.array([-list(places).index(c.place) for c in rows.channels] or [0])[
        rows["channel"]
    ]
    frame = pd.DataFrame(columns).rename(columns={"source": "model"})
    frame = frame.sort_values(["model", "target_start", "trust", "issued_at"])
    if latest:
        frame = frame.drop_duplicates(["model", "target_start"], keep="last")
    return frame[[*FORECAST_COLUMNS, "available_at", "run_id"]].reset_index(drop=True)


def countable(rows: Rows, quarantined: pd.DataFrame, catalogue: Catalogue) -> np.ndarray[Any, Any]:
    """Return a mask of what may be shown: a kind the catalogue accepts, at the cadence valid then, not quarantined."""
    good = np.ones(len(rows), dtype=bool)
    for number, channel in enumerate(rows.channels):
        entry = catalogue[channel.series]
        mine = np.flatnonzero(rows["channel"] == number) if len(rows.channels) > 1 else slice(None)
        if Kind(channel.kind) not in entry.publication:
            good[mine] = False
        elif len(entry.cadences) > 1 or entry.cadences[0].resolution_s != channel.resolution_s:
            good[mine] = resolutions(entry, rows["start"][mine]) == channel.resolution_s
    for (series, place, source), verdicts in quarantined.groupby(
        ["series", "place", "source"], sort=False
    ):
        judged = [
            i
            for i, c in enumerate(rows.channels)
            if (c.series, c.place, c.source) == (series, place, source)
        ]
        if judged:
            barred = (seconds(verdicts["start"]) << _REV_BITS) + verdicts["rev"].to_numpy()
            identity = (rows["start"] << _REV_BITS) + rows["rev"]
            good &= ~(np.isin(rows["channel"], judged) & np.isin(identity, barred))
    return good


def ranks(rows: Rows, places: Sequence[str], catalogue: Catalogue) -> Slots:
    """Return how far each channel is from the best: kind first, then place, then source in the catalogue's order."""

    def trust(channel: Channel) -> tuple[int, int, int, str]:
        entry = catalogue[channel.series]
        known = channel.source in entry.sources
        return (
            list(Kind).index(Kind(channel.kind)),
            list(places).index(channel.place),
            entry.sources.index(channel.source) if known else len(entry.sources),
            channel.source,
        )

    order = sorted(range(len(rows.channels)), key=lambda i: trust(rows.channels[i]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def best(rows: Rows, series: Sequence[str], places: Sequence[str], catalogue: Catalogue) -> Rows:
    """Return the best row of each slot, in the order of ``series``, then by start."""
    if not len(rows):
        return rows
    number = _series_number(rows, series)
    if (np.diff(number) >= 0).all():
        same = np.diff(number) == 0
        if (np.diff(rows["start"])[same] > 0).all():
            return rows  # one channel per series and nothing revised: the usual case costs no sort
    start = rows["start"]
    order = np.lexsort(
        (-rows["rev"], ranks(rows, places, catalogue)[rows["channel"]], start, number)
    )
    first = np.r_[True, (np.diff(start[order]) != 0) | (np.diff(number[order]) != 0)]
    return rows.take(order[first])


def in_series_order(rows: Rows, series: Sequence[str]) -> Rows:
    """Return every row, in the order of ``series``, then start, channel and rev."""
    return rows.take(
        np.lexsort((rows["rev"], rows["channel"], rows["start"], _series_number(rows, series)))
    )


def _series_number(rows: Rows, series: Sequence[str]) -> Slots:
    number = np.array([list(series).index(c.series) for c in rows.channels] or [0], dtype=np.int64)
    return np.asarray(number[rows["channel"]])


def on_grid(
    rows: Rows, series: Sequence[str], places: Sequence[str], grid_s: int, catalogue: Catalogue
) -> Rows:
    """Return finer slots as the mean of each complete ``grid_s`` slot; ``rows`` come from ``best``.

    A mean carries the latest times and the highest rev of its parts, and for the rest
    the least trusted of them.
    """
    resolution = rows.dimension("resolution_s")
    if (resolution == grid_s).all():
        return rows
    number, start = _series_number(rows, series), rows["start"] - rows["start"] % grid_s
    at = np.flatnonzero(np.r_[True, (np.diff(start) != 0) | (np.diff(number) != 0)])
    size = np.diff(np.r_[at, len(rows)])
    position = np.arange(len(rows))
    least = np.maximum.reduceat(
        ranks(rows, places, catalogue)[rows["channel"]] * len(rows) + position, at
    ) % len(rows)
    latest = ("rev", "available_at", "retrieved_at", "provider_updated_at")
    means = rows.take(least).having(
        start=start[at],
        value=np.add.reduceat(rows["value"], at) / size,
        **{name: np.maximum.reduceat(rows[name], at) for name in latest},
    )
    coarse = Rows(
        tuple(c._replace(resolution_s=grid_s) for c in rows.channels), rows.labels, means.column
    )
    return coarse.take(size * resolution[at] == grid_s)
