"""Arriving values against stored ones.

Some are refused, some are new, some revise; and each gets the time at which it could be
known.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue, Kind
from factory_lib.frames import QUANTILES, conform
from factory_lib.slots import Mask, Slots, available_at, from_index, on_grid
from factory_lib.store.backend import (
    FORECAST,
    MAX_LEAD_S,
    NAT,
    Channel,
    Rows,
    as_texts,
    encode,
)


@dataclass(frozen=True)
class WriteResult:
    """The counts of a write, taken in the store.

    Attributes
    ----------
    unchanged : int
        Rows that say nothing new: equal to the stored ones, or older.
    older : int
        Those of the unchanged ones that differ, and that were replaced before the
        stored ones.
    """

    new: int = 0
    revised: int = 0
    unchanged: int = 0
    rejected: int = 0
    older: int = 0

    def __add__(self, other: WriteResult) -> WriteResult:
        return WriteResult(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __len__(self) -> int:
        """Return the rows that arrived."""
        return self.new + self.revised + self.unchanged + self.rejected

    @property
    def written(self) -> int:
        """Rows that the store did not hold before."""
        return self.new + self.revised


def admit(frame: pd.DataFrame, run_id: str, catalogue: Catalogue) -> tuple[Rows, int]:
    """Return a tidy frame as rows, by channel, start and arrival, and the number refused.

    Column ``available_at`` holds the publication rule, as if every value were a first
    one; ``rev`` is 1.

    Raises
    ------
    BadInput
        If the catalogue does not know a series.
    """
    frame = conform(frame)
    distinct, code = encode(frame, Channel._fields)
    start = from_index(frame["start"])
    value = frame["value"].to_numpy()
    retrieved_at = from_index(frame["retrieved_at"])
    good = np.isfinite(value) & (retrieved_at > NAT)
    rule_at = retrieved_at.copy()  # of a kind that no view shows
    channels = [Channel(*parts) for parts in distinct]
    for number, channel in enumerate(channels):
        mine = np.flatnonzero(code == number) if len(channels) > 1 else slice(None)
        entry = catalogue[channel.series]
        good[mine] &= ~entry.outside(value[mine])
        good[mine] &= on_grid(entry, start[mine], channel.resolution_s)
        if Kind(channel.kind) in entry.publication:
            rule = entry.rule(channel.kind, channel.source)
            rule_at[mine] = available_at(rule, start[mine], channel.resolution_s)
    column = {
        "channel": code,
        "start": start,
        "rev": np.ones(len(frame), dtype=np.int64),
        "value": value,
        "available_at": rule_at,
        "retrieved_at": retrieved_at,
        "provider_updated_at": from_index(frame["provider_updated_at"]),
        "run": as_texts([run_id], np.zeros(len(frame), dtype=np.int64)),
    }
    rows = Rows(tuple(channels), column).take(good)
    return _in_order(rows), int((~good).sum())


def _in_order(rows: Rows) -> Rows:
    """Order by channel, start and arrival.

    Between two of unknown update, the provider's own order comes first.
    """
    if (np.diff(rows.keys()) > 0).all():
        return rows
    rows = rows.take(np.lexsort((rows["retrieved_at"], rows.keys())))
    updated = rows["provider_updated_at"]
    return rows.take(np.lexsort((updated, np.cumsum(updated == NAT), rows.keys())))


def merge_values(rows: Rows, stored: Rows) -> tuple[Rows, WriteResult]:
    """Return the rows to be appended, with ``rev`` and ``available_at``, and the counts.

    ``rows`` come from ``admit``; ``stored`` are those of the same window, by channel,
    start and rev. Of several values of one slot the last to arrive counts, and the
    others as unchanged: they would be revisions again when the batch comes again. So
    does one that its provider updated before the newest stored revision, and one of
    unknown update that was stored before a revision of known update: it was only read
    again. Any other value of unknown update (or where ``stored`` does not say) is newer.
    """
    arrived = len(rows)
    rows = rows.take(np.diff(rows.keys(), append=np.iinfo(np.int64).max) != 0)
    updated = rows["provider_updated_at"]
    latest = _latest(stored, rows.keys(), rows.channels)
    differs = rows["value"] != latest["value"]  # NaN: nothing there before
    again = (latest["provider_updated_at"] > NAT) & _stored_before(rows, stored)
    older = differs & np.where(updated > NAT, updated < latest["provider_updated_at"], again)
    changed = differs & ~older
    revised = changed & (latest["rev"] > 0)
    news_at = np.where(updated > NAT, updated, rows["retrieved_at"])
    known_at = np.maximum(rows["available_at"], np.where(revised, news_at, NAT))
    result = WriteResult(
        new=int(changed.sum() - revised.sum()),
        revised=int(revised.sum()),
        unchanged=arrived - int(changed.sum()),
        older=int(older.sum()),
    )
    return rows.having(rev=latest["rev"] + 1, available_at=known_at).take(changed), result


def _latest(stored: Rows, keys: Slots, channels: tuple[Channel, ...]) -> dict[str, Any]:
    """Return for each key its highest stored rev, with its value and its provider's time.

    They are 0, NaN and ``NAT`` where nothing is stored.
    """
    latest: dict[str, Any] = {
        "rev": np.zeros(len(keys), dtype=np.int64),
        "value": np.full(len(keys), np.nan),
        "provider_updated_at": np.full(len(keys), NAT, dtype=np.int64),
    }
    if len(stored):
        stored_keys = stored.keys(channels)
        order = np.lexsort((stored["rev"], stored_keys))
        at = np.searchsorted(stored_keys, keys, side="right", sorter=order) - 1
        at = order[np.maximum(at, 0)]
        match = stored_keys[at] == keys
        for name in latest.keys() & stored.column:
            latest[name][match] = stored[name][at[match]]
    return latest


def _stored_before(rows: Rows, stored: Rows) -> Mask:
    """Return a mask of ``rows`` whose value some stored revision has."""
    if not has_revisions(stored):
        return np.zeros(len(rows), dtype=bool)
    return ~absent(rows, stored, ("value",))


def has_revisions(rows: Rows) -> bool:
    """Return whether any value was revised."""
    return len(rows) > 0 and bool(rows["rev"].max() > 1)


def absent(rows: Rows, stored: Rows, names: tuple[str, ...] = ("rev", "value")) -> Mask:
    """Return a mask of ``rows`` that are not stored with the same channel, start and values."""
    if len(stored):
        stored = stored.take(stored.codes(rows.channels) >= 0)
    keys = stored.keys(rows.channels) if len(stored) else stored["start"]
    mine = [rows.keys(), *(rows[name] for name in names)]
    theirs = [keys, *(stored[name] for name in names)]
    if all(map(np.array_equal, mine, theirs)):
        return np.zeros(len(rows), dtype=bool)
    present = pd.MultiIndex.from_arrays(mine).isin(pd.MultiIndex.from_arrays(theirs))
    return np.asarray(~present)


def admit_forecasts(frame: pd.DataFrame, run_id: str) -> tuple[Rows, int]:
    """Return forecasts (the last of each identity) as rows, and the number refused."""
    identity = frame[["series", "place", "model", "resolution_s"]].assign(kind=FORECAST)
    distinct, code = encode(identity, ("series", "place", "model", "kind", "resolution_s"))
    column = {
        "channel": code,
        "start": from_index(frame["target_start"]),
        "issued_at": from_index(frame["issued_at"]),
        **{name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in QUANTILES},
        "tier": frame["tier"].astype("str").fillna("").array,
        "run": as_texts([run_id], np.zeros(len(frame), dtype=np.int64)),
    }
    rows = Rows(tuple(Channel(*parts) for parts in distinct), column)
    lead = rows["start"] + rows.dimension("resolution_s") - rows["issued_at"]
    good = np.isfinite(rows["p50"]) & (lead > 0) & (lead <= MAX_LEAD_S)
    kept = rows.take(good)
    repeated = pd.MultiIndex.from_arrays([kept.keys(), kept["issued_at"]]).duplicated(keep="last")
    return kept.take(~repeated), int((~good).sum())


def merge_forecasts(rows: Rows, stored: Rows) -> tuple[Rows, WriteResult]:
    """Return the forecasts that are new or different, and the counts."""
    is_new = absent(rows, stored, ("issued_at",))
    differs = absent(rows, stored, ("issued_at", *QUANTILES, "tier"))
    result = WriteResult(
        new=int(is_new.sum()),
        revised=int((differs & ~is_new).sum()),
        unchanged=int((~differs).sum()),
    )
    return rows.take(differs), result
