"""What a plan may count on as of one instant: prices and outdoor air of the hours ahead, and how each is known."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.domain import tariff
from factory_lib.frames import wide

LOOK_BACK = timedelta(days=28)  # what the cheapest fixed start is judged on
AIR = ["temperature_c", "humidity_pct"]
PUBLISHED, FORECAST, WEEK_EARLIER = "published", "forecast", "same hour a week earlier"
DAY_EARLIER = "same hour of the last day observed"


def prices(ctx: RunContext, begin: datetime, end: datetime) -> pd.DataFrame:
    """Return the price of every quarter from four weeks before ``begin`` to ``end``, in the plant's price basis.

    Returns
    -------
    DataFrame
        UTC index ``start``; ``p10``, ``p50``, ``p90`` (EUR/MWh; a band only where
        forecast), ``period`` (P1…P6), ``known`` (how the price is known) and
        ``toll_eur_mwh``, what tolls and taxes add, where they are known of every slot
        from ``begin`` on.
    """
    settings, index = ctx.settings, _quarters(begin - LOOK_BACK, end)
    name, places = f"{settings.tariff.price_basis}_eur_mwh", settings.site.places.prices
    start = begin - LOOK_BACK
    rows = ctx.store.read([name], places=places, start=start, end=end, as_of=ctx.as_of)
    published = _in_quarters(rows, "value", index)
    said = ctx.store.read_forecasts(name, places=places, start=start, end=end, as_of=ctx.as_of)
    said = said.sort_values("issued_at").drop_duplicates(
        ["target_start", "resolution_s"], keep="last"
    )
    said = said.rename(columns={"target_start": "start"})
    week = _first_known(published, index, range(7, 29, 7))
    band = {
        key: _in_quarters(said, key, index).where(published.isna()) for key in ("p10", "p50", "p90")
    }
    known = np.select(
        [published.notna(), band["p50"].notna(), week.notna()],
        [PUBLISHED, FORECAST, WEEK_EARLIER],
        default="",
    )
    frame = pd.DataFrame(
        {key: published.fillna(value).fillna(week) for key, value in band.items()}, index=index
    )
    frame["period"] = np.asarray(tariff.labels(tariff.periods(index, settings.tariff.access)))
    frame["known"] = known
    added = tariff.adder(index, frame["p50"], settings.tariff)
    if np.isfinite(added[index >= pd.Timestamp(begin)]).all():
        frame["toll_eur_mwh"] = added
    return frame


def weather(ctx: RunContext, begin: datetime, end: datetime) -> pd.DataFrame:
    """Return outdoor ``temperature_c`` and ``humidity_pct`` by hour, and how each hour is ``known``.

    The provider whose forecast covers most of the window comes first; where there is
    none, the same hour of the last day that was observed. UTC index ``start``; unknown
    is NaN.
    """
    places, back = ctx.settings.site.places.weather, timedelta(days=7)
    index = pd.date_range(
        pd.Timestamp(begin).floor("h"), end, freq="h", inclusive="left", unit="s", name="start"
    )
    seen = wide(
        ctx.store.read(
            AIR, places=places, start=begin - back, end=end, as_of=ctx.as_of, grid_s=HOUR_S
        )
    )
    parts, forecast = {}, np.ones(len(index), dtype=bool)
    for name in AIR:
        said = ctx.store.read_forecasts(name, places=places, start=begin, end=end, as_of=ctx.as_of)
        models = said.pivot(index="target_start", columns="model", values="p50").reindex(index)
        models = models[
            models.count().sort_values(ascending=False, kind="stable").index
        ].interpolate(limit=2)
        ahead = (
            models.bfill(axis="columns").iloc[:, 0]
            if models.shape[1]
            else pd.Series(np.nan, index=index)
        )
        forecast &= ahead.notna().to_numpy()
        observed = seen[name] if name in seen else pd.Series(dtype="float64", index=index[:0])
        parts[name] = ahead.fillna(_first_known(observed, index, range(1, 8)))
    frame = pd.DataFrame(parts, index=index)
    frame["known"] = np.select(
        [forecast, frame.notna().all(axis=1)], [FORECAST, DAY_EARLIER], default=""
    )
    return frame


def _quarters(begin: datetime, end: datetime) -> pd.DatetimeIndex:
    return pd.date_range(begin, end, freq="15min", inclusive="left", unit="s", name="start")


def _in_quarters(rows: pd.DataFrame, column: str, index: pd.DatetimeIndex) -> pd.Series:
    """Lay hours and quarters on the grid of quarters; a quarter's own value comes before its hour's."""
    found = pd.Series(np.nan, index=index)
    for resolution_s, part in rows.groupby("resolution_s"):
        values = part.set_index("start")[column]
        found = found.fillna(values.reindex(index.floor(f"{resolution_s}s")).set_axis(index))
    return found


def _first_known(values: pd.Series, index: pd.DatetimeIndex, days: Iterable[int]) -> pd.Series:
    """Return the value of the same local time so many days earlier, the first of them that is known."""
    wall, found = index.tz_convert(MADRID).tz_localize(None), pd.Series(np.nan, index=index)
    for back in days:
        earlier = (wall - timedelta(days=back)).tz_localize(
            MADRID, ambiguous=np.ones(len(index), dtype=bool), nonexistent="shift_forward"
        )
        found = found.fillna(values.reindex(earlier.tz_convert("UTC")).set_axis(index))
    return found
