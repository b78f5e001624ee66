"""Providers' forecasts as forecast rows; they are never observations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import Catalogue
from factory_lib.clock import HOUR_S, epoch
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.slots import to_index

TIER = "provider"


def forecast_rows(
    catalogue: Catalogue,
    columns: Mapping[str, tuple[Any, Any]],
    *,
    place: str,
    model: str,
    issued_at: datetime,
    resolution_s: int = HOUR_S,
) -> pd.DataFrame:
    """Build forecast rows from ``{series: (starts, values)}``.

    Slots that have begun, absent values and values outside the catalogue's range are
    left out. A provider gives one value and no spread: it is the median, and p10 and
    p90 are unknown (NaN).

    Returns
    -------
    DataFrame
        Columns ``frames.FORECAST_COLUMNS``.
    """
    parts = []
    for name, (starts, values) in columns.items():
        low, high = catalogue.forecast_range(name)
        index, column = np.asarray(starts, dtype=np.int64), np.asarray(values, dtype=np.float64)
        kept = (index >= epoch(issued_at)) & (column >= low) & (column <= high)
        parts.append(
            pd.DataFrame(
                {"series": name, "target_start": to_index(index[kept]), "p50": column[kept]}
            )
        )
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(
        place=place,
        model=model,
        issued_at=pd.Timestamp(issued_at),
        resolution_s=resolution_s,
        tier=TIER,
    ).assign(p10=np.nan, p90=np.nan)
    return rows[list(FORECAST_COLUMNS)].astype({"issued_at": UTC_S, "target_start": UTC_S})
