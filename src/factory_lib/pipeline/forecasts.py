"""Series of forecasts on their way into the store.

A forecast of a day still to come is issued, as far as anyone here can know, at the
instant it was first seen. One that is fetched later, from a provider's archive, is taken
as issued at an assumed wall time of the day before (``archive_issued_at`` of the source),
or where the archive tells the run it is from, some hours after that began
(``archive_delay_h``; such rows carry it as ``provider_updated_at``): its tier is
``archive``, and whatever rests on it says so.
"""

from datetime import time, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import FORECAST_MODELS
from factory_lib.clock import MADRID, day_start, market_day
from factory_lib.context import RunContext
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.sources.parsing import ARCHIVE_TIER, TIER
from factory_lib.store.base import WriteResult

ISSUED_AT = time(11)  # where the forecasts are of no source of the settings
ASSUMPTION = (
    "Forecasts fetched from an archive are taken as issued at the wall time of the day before "
    "that `archive_issued_at` in [sources] says, those of a weather model's run `archive_delay_h` "
    "after it began, both assumptions; later ones at the instant they were first seen."
)


def issued_on_the_day_before(targets: pd.Series, at: time) -> pd.Series:
    """Return the local wall time ``at`` of the day before each target slot, as UTC."""
    days = targets.dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
    wall = days - pd.Timedelta(days=1) + pd.Timedelta(hours=at.hour, minutes=at.minute)
    issued: pd.Series = wall.dt.tz_localize(MADRID).dt.tz_convert("UTC").astype(UTC_S)
    return issued


def store_forecasts(ctx: RunContext, rows: pd.DataFrame) -> WriteResult:
    """Store tidy rows of one series of forecasts, from one source, as forecasts.

    What is stored already stays as it was first seen: an equal value is not stored again,
    and of a day that has begun nothing replaces a forecast.
    """
    entry = ctx.catalogue[str(rows["series"].iloc[0])]
    source = str(rows["source"].iloc[0])
    model = FORECAST_MODELS.get(source, source)
    stored = ctx.store.read_forecasts(
        entry.forecast_of,
        places=[entry.area],
        start=rows["start"].min().to_pydatetime(),
        end=rows["start"].max().to_pydatetime() + timedelta(seconds=1),
        models=[model],
        as_of=rows["retrieved_at"].max().to_pydatetime(),
    )
    before = rows["start"].map(stored.set_index("target_start")["p50"])
    # A run of the present has seen by its own instant what it fetches seconds later:
    # otherwise it could not read again what it has stored.
    seen_at = rows["retrieved_at"]
    if not ctx.replay:
        run_at = pd.Timestamp(ctx.as_of)
        seen_at = seen_at.mask(seen_at > run_at, run_at)
    tomorrow = day_start(market_day(seen_at.max().to_pydatetime()) + timedelta(days=1))
    is_live = rows["start"] >= pd.Timestamp(tomorrow)
    limits = ctx.settings.sources.get(source)
    issue = limits.archive_issued_at if limits else ISSUED_AT
    assumed = issued_on_the_day_before(rows["start"], issue)
    assumed = rows["provider_updated_at"].fillna(assumed)
    forecasts = pd.DataFrame(
        {
            "series": entry.forecast_of,
            "place": entry.area,
            "model": model,
            "issued_at": seen_at.where(is_live, assumed),
            "target_start": rows["start"],
            "resolution_s": rows["resolution_s"],
            "p10": np.nan,
            "p50": rows["value"],
            "p90": np.nan,
            "tier": np.where(is_live, TIER, ARCHIVE_TIER),
        }
    )
    news = forecasts[before.isna() | (is_live & (before != rows["value"]))]
    written = WriteResult(unchanged=len(rows) - len(news))
    if len(news):
        written += ctx.store.write_forecasts(news[list(FORECAST_COLUMNS)], run_id=ctx.run_id)
    return written
