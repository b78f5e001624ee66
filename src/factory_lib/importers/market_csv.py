"""Tables of the market: spot prices in hours or quarters, and the system's hourly energy table."""

from datetime import time, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import (
    HOUR_S,
    MADRID,
    QUARTER_S,
    epoch,
    from_epoch,
    local_instant,
    market_day,
)
from factory_lib.frames import FORECAST_COLUMNS
from factory_lib.importers.files import Member
from factory_lib.importers.reading import Format, Lines, Reading, one_by_one
from factory_lib.slots import Slots, from_index, local_midnights, to_index
from factory_lib.sources.parsing import TIER

_SOURCES = {"ree": "ree", "esios": "esios", "omie": "omie", "entsoe": "entsoe"}
ISSUED_AT = time(11)  # local wall time on the day before; the file itself has no such column
_FORECASTS = {
    "total load forecast": "load_mw",
    "forecast wind onshore day ahead": "wind_mw",
    "forecast solar day ahead": "solar_mw",
}
ENERGY_NOTES = (
    f"Assumed: the system operator issued its forecasts at {ISSUED_AT:%H:%M} local time "
    "of the day before.",
    "`price actual` is the final price with system costs, not the market's: left out, "
    "as are the generation columns.",
)


@one_by_one
def parse_spot(member: Member, fmt: Format) -> Reading:
    """Read prices, whose source is in the column ``src`` where there is one."""
    lines = Lines(member, fmt)
    start = fmt.time(lines)
    source = None
    if "src" in lines.text:
        texts = lines.column("src")
        source = texts.str.extract(r"^(\w+)", expand=False).map(_SOURCES)
        lines.reject(source.isna(), texts, "unknown source")
    return lines.reading(start, source=source, resolution_s=_resolution(start))


def _resolution(start: pd.Series) -> np.ndarray:
    """Return quarters for a market day with any value off the full hour, else hours."""
    off_hour = start.dt.minute != 0
    in_quarters = off_hour.groupby(start.dt.tz_convert(MADRID).dt.date).transform("any")
    return np.where(in_quarters.to_numpy(dtype=bool, na_value=False), QUARTER_S, HOUR_S)


@one_by_one
def parse_energy(member: Member, fmt: Format) -> Reading:
    """Read observed values, and the operator's own day-ahead forecasts."""
    lines = Lines(member, fmt)
    start = fmt.time(lines)
    tables = [_forecast(start, series, lines.numbers(name)) for name, series in _FORECASTS.items()]
    forecasts = pd.concat(tables, ignore_index=True).assign(member=member.label)
    return lines.reading(start, forecasts=forecasts)


def _forecast(start: pd.Series, series: str, values: np.ndarray) -> pd.DataFrame:
    usable = start.notna().to_numpy() & np.isfinite(values)
    targets = start[usable]
    frame = pd.DataFrame(
        {
            "series": series,
            "place": "ES",
            "model": "ree",
            "issued_at": _issued(from_index(targets)),
            "target_start": targets.to_numpy(),
            "resolution_s": HOUR_S,
            "p10": np.nan,
            "p50": values[usable],
            "p90": np.nan,
            "tier": TIER,
        }
    )
    return frame.drop_duplicates(["series", "target_start"])[list(FORECAST_COLUMNS)]


def _issued(targets: Slots) -> pd.DatetimeIndex:
    """Return the day before's issue time of each target; one zone conversion a day."""
    if not len(targets):
        return to_index(targets)
    day = timedelta(days=1)
    midnights = local_midnights(
        from_epoch(int(targets.min())) - day, from_epoch(int(targets.max()) + 1)
    )
    days_before = [market_day(from_epoch(int(midnight))) - day for midnight in midnights]
    issued = np.array([epoch(local_instant(each, ISSUED_AT)) for each in days_before])
    return to_index(issued[np.searchsorted(midnights, targets, side="right") - 1])
