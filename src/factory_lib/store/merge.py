"""What happens to values at the door: which are refused, which are new, which revise, and when each could be known."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue, Kind, Series
from factory_lib.frames import conform
from factory_lib.slots import Slots, available_at, on_grid
from factory_lib.store.rows import FORECAST, MAX_LEAD_S, NAT, Channel, Rows, encode, seconds


@dataclass(frozen=True)
class WriteResult:
    """What a write did, counted in the store.

    Attributes
    ----------
    unchanged : int
        Rows that say nothing new: equal to what is held, or older than it.
    older : int
        Those of the unchanged ones that differ, and that were replaced before what is
        held.
    """

    new: int = 0
    revised: int = 0
    unchanged: int = 0
    rejected: int = 0
    older: int = 0

    def __add__(self, other: WriteResult) -> WriteResult:
        return WriteResult(
            *(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        )

    @property
    def written(self) -> int:
        """Rows that the store did not hold before."""
        return self.new + self.revised


def admit(frame: pd.DataFrame, run_id: str, catalogue: Catalogue) -> tuple[Rows, int]:
    """Return a tidy frame as rows, ordered by channel, start and arrival, and how many were refused.

    Column ``available_at`` holds the publication rule, as if every value were a first
    one; ``rev`` is 1.

    Raises
    ------
    BadInput
        If the catalogue does not know a series.
    """
    frame = conform(frame)
    distinct, code = encode(frame, Channel._fields)
    rows = Rows(
        tuple(Channel(*parts) for parts in distinct),
        (run_id,),
        {
            "channel": code,
            "start": seconds(frame["start"]),
            "rev": np.ones(len(frame), dtype=np.int64),
            "value": frame["value"].to_numpy(),
            "retrieved_at": seconds(frame["retrieved_at"]),
            "provider_updated_at": seconds(frame["provider_updated_at"]),
            "run": np.zeros(len(frame), dtype=np.int64),
        },
    )
    good = np.zeros(len(rows), dtype=bool)
    known = np.full(len(rows), NAT, dtype=np.int64)
    for number, channel in enumerate(rows.channels):
        mine = np.flatnonzero(code == number) if len(rows.channels) > 1 else slice(None)
        entry = catalogue[channel.series]
        good[mine] = _possible(entry, channel, rows["start"][mine], rows["value"][mine]) & (
            rows["retrieved_at"][mine] > NAT
        )
        known[mine] = _rule(entry, channel, rows["start"][mine], rows["retrieved_at"][mine])
    rows = rows.having(available_at=known)
    return _in_order(rows.take(good)), int((~good).sum())


def _possible(
    entry: Series, channel: Channel, starts: Slots, values: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    return np.asarray(
        np.isfinite(values) & ~entry.outside(values) & on_grid(entry, starts, channel.resolution_s)
    )


def _rule(entry: Series, channel: Channel, starts: Slots, retrieved: Slots) -> Slots:
    if (
        Kind(channel.kind) not in entry.publication
    ):  # a kind that no view shows was known when it was made
        return retrieved
    return available_at(entry.rule(channel.kind, channel.source), starts, channel.resolution_s)


def _in_order(rows: Rows) -> Rows:
    """Order by channel, start and arrival; between two of unknown update, the provider's own order comes first."""
    key = rows.keys()
    if (key[1:] > key[:-1]).all():
        return rows
    rows = rows.take(np.lexsort((rows["retrieved_at"], key)))
    updated = rows["provider_updated_at"]
    return rows.take(np.lexsort((updated, np.cumsum(updated == NAT), rows.keys())))


def settle(rows: Rows, held: Rows) -> tuple[Rows, WriteResult]:
    """Compare what arrives with what is held, and return what is to be appended, with its ``rev`` and ``available_at``.

    ``rows`` come from ``admit``; ``held`` are the stored values of the same window,
    ordered by channel, start and rev. Of several values of one slot the last to arrive
    counts, and the others as unchanged. So does one that its provider updated before
    the newest revision held, and one of unknown update that was held before a revision
    of known update: it was only read again. Any other value of unknown update (or where
    ``held`` does not say) is newer.
    """
    if not len(rows):
        return rows, WriteResult()
    arrived, key = len(rows), rows.keys()
    rows = rows.take(
        np.r_[key[1:] != key[:-1], True]
    )  # all of them would be revisions again when the batch comes again
    key, value = rows.keys(), rows["value"]
    updated = rows["provider_updated_at"]
    last_rev, last_value, last_updated = _latest(held, key, rows.channels)
    differs = value != last_value  # NaN: nothing there before
    again = (last_updated > NAT) & _said_before(rows, held)
    older = differs & np.where(updated > NAT, updated < last_updated, again)
    changed = differs & ~older
    rev = last_rev + changed
    revised = changed & (rev > 1)
    told = np.where(updated > NAT, updated, rows["retrieved_at"])
    known = np.where(revised, np.maximum(rows["available_at"], told), rows["available_at"])
    written = int(changed.sum())
    result = WriteResult(
        written - int(revised.sum()),
        int(revised.sum()),
        arrived - written,
        older=int(np.count_nonzero(older)),
    )
    return rows.having(rev=rev, available_at=known).take(changed), result


def goes_back(rows: Rows, held: Rows) -> bool:
    """Tell whether a value of unknown update is one that a later revision replaced: the time of that one matters."""
    _, last_value, _ = _latest(held, rows.keys(), rows.channels)
    undated = rows["provider_updated_at"] == NAT
    return bool((undated & (rows["value"] != last_value) & _said_before(rows, held)).any())


def _said_before(rows: Rows, held: Rows) -> np.ndarray[Any, Any]:
    """Return a mask of ``rows`` whose value some revision held has."""
    if not len(held) or held["rev"].max() < 2:
        return np.zeros(len(rows), dtype=bool)
    have = pd.MultiIndex.from_arrays([held.keys(rows.channels), held["value"]])
    return np.asarray(pd.MultiIndex.from_arrays([rows.keys(), rows["value"]]).isin(have))


def _latest(
    held: Rows, key: Slots, channels: tuple[Channel, ...]
) -> tuple[Slots, np.ndarray[Any, Any], Slots]:
    """Return the highest stored rev (0 if none), its value (NaN) and its provider's time (``NAT``) for each key."""
    rev, value = np.zeros(len(key), dtype=np.int64), np.full(len(key), np.nan)
    updated = np.full(len(key), NAT, dtype=np.int64)
    if not len(held):
        return rev, value, updated
    held_key = held.keys(channels)
    order = np.lexsort((held["rev"], held_key))
    at = np.searchsorted(held_key, key, side="right", sorter=order) - 1
    at = order[np.maximum(at, 0)]
    found = held_key[at] == key
    rev[found], value[found] = held["rev"][at][found], held["value"][at][found]
    if "provider_updated_at" in held.column:
        updated[found] = held["provider_updated_at"][at][found]
    return rev, value, updated


def absent(rows: Rows, held: Rows) -> np.ndarray[Any, Any]:
    """Return a mask of ``rows`` that ``held`` does not have with the same channel, start, rev and value."""
    if not len(held) or not len(rows):
        return np.ones(len(rows), dtype=bool)
    pairs = (
        (rows.keys(), held.keys(rows.channels)),
        *((rows[name], held[name]) for name in ("rev", "value")),
    )
    if all(np.array_equal(mine, theirs) for mine, theirs in pairs):
        return np.zeros(len(rows), dtype=bool)
    have = pd.MultiIndex.from_arrays([held.keys(rows.channels), held["rev"], held["value"]])
    want = pd.MultiIndex.from_arrays([rows.keys(), rows["rev"], rows["value"]])
    return np.asarray(~want.isin(have))


def admit_forecasts(frame: pd.DataFrame, run_id: str) -> tuple[Rows, int]:
    """Return forecast rows (the last of each identity) as ``Rows`` and how many were refused."""
    identity = frame[["series", "place", "model", "resolution_s"]].assign(kind=FORECAST)
    distinct, code = encode(identity, ("series", "place", "model", "kind", "resolution_s"))
    tiers, labels = pd.factorize(frame["tier"].astype("str").fillna(""))
    rows = Rows(
        tuple(Channel(*parts) for parts in distinct),
        (*map(str, labels), run_id),
        {
            "channel": code,
            "start": seconds(frame["target_start"]),
            "issued_at": seconds(frame["issued_at"]),
            **{
                name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
                for name in ("p10", "p50", "p90")
            },
            "tier": tiers.astype(np.int64),
            "run": np.full(len(frame), len(labels), dtype=np.int64),
        },
    )
    lead = rows["start"] + rows.dimension("resolution_s") - rows["issued_at"]
    good = np.isfinite(rows["p50"]) & (lead > 0) & (lead <= MAX_LEAD_S)
    kept = rows.take(good)
    last = ~pd.MultiIndex.from_arrays([kept.keys(), kept["issued_at"]]).duplicated(keep="last")
    return kept.take(last), int((~good).sum())


def settle_forecasts(rows: Rows, held: Rows) -> tuple[Rows, WriteResult]:
    """Return the forecasts that are new or different, and the count."""

    def table(of: Rows) -> pd.DataFrame:
        index = pd.MultiIndex.from_arrays([of.keys(rows.channels), of["issued_at"]])
        return pd.DataFrame(
            {**{name: of[name] for name in ("p10", "p50", "p90")}, "tier": of.texts("tier")}, index
        )

    held = held.take(
        held.keys(rows.channels) >= 0
    )  # the window also holds other providers' channels
    want, have = table(rows), table(held)
    known = np.asarray(want.index.isin(have.index))
    have = have.reindex(want.index)
    equal = known & np.asarray(((want == have) | (want.isna() & have.isna())).all(axis=1))
    result = WriteResult(int((~known).sum()), int((known & ~equal).sum()), int(equal.sum()))
    return rows.take(~equal), result
