"""The shapes of frames that pass between packages.

A *tidy* frame holds one value per row with its identity and provenance: what sources
return and stores take. A *wide* frame has a UTC index named ``start`` and one float
column per series: what features, models and pages use.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.slots import Slots, to_index

UTC_S = pd.DatetimeTZDtype("s", "UTC")
TIDY_COLUMNS = (
    "series",
    "place",
    "source",
    "kind",
    "resolution_s",
    "start",
    "value",
    "provider_updated_at",
    "retrieved_at",
)
QUANTILES = ("p10", "p50", "p90")
FORECAST_COLUMNS = (
    "series",
    "place",
    "model",
    "issued_at",
    "target_start",
    "resolution_s",
    *QUANTILES,
    "tier",
)
_TIMES = ("start", "provider_updated_at", "retrieved_at")
_TYPES: dict[str, Any] = {
    **dict.fromkeys(TIDY_COLUMNS, pd.api.types.pandas_dtype("str")),
    "resolution_s": np.dtype("int64"),
    "value": np.dtype("float64"),
    **dict.fromkeys(_TIMES, UTC_S),
}


def tidy(
    series: str | Sequence[str],
    starts: Slots | pd.DatetimeIndex,
    values: Sequence[float] | np.ndarray,
    *,
    place: str,
    source: str,
    kind: str,
    resolution_s: int | Sequence[int] | np.ndarray,
    retrieved_at: datetime,
    provider_updated_at: datetime | pd.DatetimeIndex | None = None,
) -> pd.DataFrame:
    """Build a tidy frame from parallel arrays.

    Values that are not finite are left out, because absent is no row.

    Returns
    -------
    DataFrame
        Columns ``TIDY_COLUMNS``, default index; times are ``datetime64[s, UTC]``.
    """
    index = (
        starts
        if isinstance(starts, pd.DatetimeIndex)
        else to_index(np.asarray(starts, dtype=np.int64))
    )
    frame = pd.DataFrame(
        {
            "series": series if isinstance(series, str) else list(series),
            "place": place,
            "source": source,
            "kind": kind,
            "resolution_s": resolution_s,
            "start": index.as_unit("s"),
            "value": np.asarray(values, dtype=np.float64),
            "provider_updated_at": pd.Series(
                provider_updated_at, index=range(len(index)), dtype=UTC_S
            )
            if not isinstance(provider_updated_at, pd.DatetimeIndex)
            else provider_updated_at.as_unit("s"),
            "retrieved_at": pd.Timestamp(retrieved_at).as_unit("s"),
        }
    )
    finite = np.isfinite(frame["value"].to_numpy())
    return conform(frame if finite.all() else frame[finite].reset_index(drop=True))


def empty_tidy() -> pd.DataFrame:
    """Return a tidy frame without rows."""
    return pd.DataFrame({name: pd.array([], dtype) for name, dtype in _TYPES.items()})


def concat(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join tidy frames; none at all gives an empty one."""
    filled = [part for part in parts if len(part)]
    if len(filled) == 1:
        return filled[0].reset_index(drop=True)
    return pd.concat(filled, ignore_index=True) if filled else empty_tidy()


def conform(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with the tidy columns in order and with their types.

    Raises
    ------
    KeyError
        If a column is missing.
    TypeError
        If a time is naive.
    """
    if tuple(frame) != TIDY_COLUMNS:
        missing = [name for name in TIDY_COLUMNS if name not in frame]
        if missing:
            raise KeyError(f"a tidy frame needs {missing}")
        frame = frame[list(TIDY_COLUMNS)]
    # to cast what has its type already takes longer than all else about an answer
    dtypes = dict(zip(TIDY_COLUMNS, frame.dtypes, strict=True))
    other = dict(_TYPES.items() - dtypes.items())
    for name in _TIMES:
        if name in other and len(frame) and not isinstance(dtypes[name], pd.DatetimeTZDtype):
            raise TypeError(f"{name} must be aware UTC times")
    return frame.astype(other) if other else frame


def wide(rows: pd.DataFrame, index: pd.DatetimeIndex | None = None) -> pd.DataFrame:
    """Turn rows with ``series``, ``start`` and ``value`` into one float column per series.

    ``index`` (optional) gives the regular grid to lay them on; what is unknown there is
    NaN.
    """
    frame = rows.pivot(index="start", columns="series", values="value").rename_axis(columns=None)
    return frame if index is None else frame.reindex(index)
