"""The system's hourly energy table: load and day-ahead price, and the operator's own day-ahead forecasts."""

from __future__ import annotations

from datetime import time, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, epoch, from_epoch, local_instant, market_day
from factory_lib.frames import FORECAST_COLUMNS
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Lines, Reading
from factory_lib.importers.tables_csv import PLACE
from factory_lib.slots import from_index, local_midnights, to_index
from factory_lib.sources.parsing import TIER

ISSUED_AT = time(11)  # local wall time on the day before; the file itself does not say
_OBSERVED = {"total load actual": "load_mw", "price day ahead": "spot_eur_mwh"}
_FORECAST = {
    "total load forecast": "load_mw",
    "forecast wind onshore day ahead": "wind_mw",
    "forecast solar day ahead": "solar_mw",
}
_NOTES = (
    f"Assumed: the system operator issued its forecasts at {ISSUED_AT:%H:%M} local time of the day before.",
    "`price actual` is the final price with system costs, not the market's: left out, as are the generation columns.",
)


def read(member: Member) -> Reading:
    """Read ``time_utc,generation …,total load actual,price day ahead,…``."""
    lines = Lines(member, ["time_utc", *_OBSERVED, *_FORECAST])
    start = lines.instants("time_utc")
    forecasts = {series: lines.numbers(name) for name, series in _FORECAST.items()}
    return lines.reading(
        start,
        {series: lines.numbers(name) for name, series in _OBSERVED.items()},
        place=PLACE,
        source="entsoe",
        resolution_s=HOUR_S,
        notes=_NOTES,
        forecasts=pd.concat(
            [_forecast(member, start, *item) for item in forecasts.items()], ignore_index=True
        ),
    )


def _forecast(member: Member, start: pd.Series, series: str, values: np.ndarray) -> pd.DataFrame:
    usable = start.notna().to_numpy() & np.isfinite(values)
    targets, point = start[usable], values[usable]
    frame = pd.DataFrame(
        {
            "series": series,
            "place": PLACE,
            "model": "ree",
            "issued_at": _issued(from_index(targets)),
            "target_start": targets.to_numpy(),
            "resolution_s": HOUR_S,
            "p10": np.nan,
            "p50": point,
            "p90": np.nan,
            "tier": TIER,
        }
    )
    return frame.drop_duplicates(["series", "target_start"])[list(FORECAST_COLUMNS)].assign(
        member=member.label
    )


def _issued(targets: np.ndarray) -> pd.DatetimeIndex:
    """Return the day before's issue time of each target; one zone conversion a day."""
    if not len(targets):
        return to_index(targets)
    midnights = local_midnights(
        from_epoch(int(targets.min())) - timedelta(days=1), from_epoch(int(targets.max()) + 1)
    )
    issued = [
        epoch(local_instant(market_day(from_epoch(int(m))) - timedelta(days=1), ISSUED_AT))
        for m in midnights
    ]
    return to_index(
        np.array(issued, dtype=np.int64)[np.searchsorted(midnights, targets, side="right") - 1]
    )
