"""The journal: every issued forecast against what came, by lead, beside the naive forecast of the same issue time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind, Series
from factory_lib.clock import DAY_S, MADRID, epoch, from_epoch
from factory_lib.context import RunContext
from factory_lib.models.evaluation import coverage, mean_absolute_error
from factory_lib.slots import from_index

WINDOW_DAYS = 28  # what the accuracy metric looks at
RECENT_DAYS = 7
DRIFT_RATIO = 1.5  # the last week's error against that of the weeks before it
FEWEST_SLOTS = 24
COLUMNS = ("model", "lead_days", "slots", "mae", "naive_mae", "rmae", "bias", "coverage_80")


@dataclass(frozen=True)
class Journal:
    """How the forecasts of one series did.

    Attributes
    ----------
    rows : DataFrame
        One per forecast slot whose value came: the forecast's columns, ``lead_days``,
        ``actual``, ``naive``.
    by_lead : DataFrame
        ``COLUMNS``, one row per model and lead in market days.
    """

    rows: pd.DataFrame
    by_lead: pd.DataFrame


def review(ctx: RunContext, series: str, *, days: int = WINDOW_DAYS) -> Journal:
    """Compare the forecasts of the last ``days`` days with what came, as far as it is known at ``as_of``."""
    trusted = ctx.settings.site.places.of(ctx.catalogue[series].measurement)
    start = ctx.as_of - timedelta(days=days)
    forecasts = ctx.store.read_forecasts(
        series, places=trusted, start=start, end=ctx.as_of, as_of=ctx.as_of, latest=False
    )
    if forecasts.empty:
        return Journal(forecasts, pd.DataFrame(columns=list(COLUMNS)))
    parts = []
    for resolution, group in forecasts.groupby("resolution_s"):
        known = _actual(ctx, series, start - timedelta(days=8), int(str(resolution)))
        parts.append(compare(group, known, ctx.catalogue[series]))
    rows = pd.concat(parts, ignore_index=True)
    return Journal(rows, by_lead(rows))


def _actual(ctx: RunContext, series: str, start: datetime, resolution_s: int) -> pd.Series:
    """Return the values from ``start`` to ``as_of`` at one resolution, by start (UTC).

    Where the series was published at a coarser cadence, a value holds for each of its
    parts: the first quarter-hours of a market are compared with the hourly prices of
    the days before.
    """
    entry = ctx.catalogue[series]
    parts = []
    for begin, end, cadence in entry.spans(start, ctx.as_of):
        rows = ctx.store.read(
            series,
            places=ctx.settings.site.places.of(entry.measurement),
            start=begin,
            end=end,
            as_of=ctx.as_of,
            grid_s=max(resolution_s, cadence.resolution_s),
        )
        values = rows.set_index("start")["value"]
        for offset_s in range(0, max(resolution_s, cadence.resolution_s), resolution_s):
            parts.append(values.set_axis(values.index + timedelta(seconds=offset_s)))
    actual: pd.Series = pd.concat(parts).sort_index()
    return actual


def compare(forecasts: pd.DataFrame, actual: pd.Series, entry: Series) -> pd.DataFrame:
    """Put what came, and what the naive forecast would have said, beside each forecast.

    The naive forecast is the latest value at the target's hour of the day that was
    published at the issue time.

    Parameters
    ----------
    forecasts : DataFrame
        ``frames.FORECAST_COLUMNS``, of one resolution.
    actual : Series
        Indexed by ``start`` (UTC).
    """
    targets, issues = from_index(forecasts["target_start"]), from_index(forecasts["issued_at"])
    rule = entry.publication[Kind.OBSERVED]
    distinct, which = np.unique(issues, return_inverse=True)
    known_until = np.array([epoch(rule.known_until(from_epoch(int(issue)))) for issue in distinct])[
        which
    ]
    back = np.maximum(1, -((known_until - forecasts["resolution_s"].to_numpy() - targets) // DAY_S))
    values = pd.Series(
        actual.to_numpy(dtype=np.float64), index=from_index(pd.DatetimeIndex(actual.index))
    )
    days = [
        forecasts[name].dt.tz_convert(MADRID).dt.tz_localize(None).dt.normalize()
        for name in ("target_start", "issued_at")
    ]
    made = forecasts.assign(
        lead_days=(days[0] - days[1]).dt.days.to_numpy(),
        actual=values.reindex(targets).to_numpy(),
        naive=values.reindex(targets - back * DAY_S).to_numpy(),
    )
    return made.dropna(subset=["actual", "p50"])


def by_lead(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy by model and lead; ``rmae`` is over the slots that have a naive forecast."""
    found = [
        (model, lead, *_accuracy(group))
        for (model, lead), group in rows.groupby(["model", "lead_days"])
    ]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _accuracy(rows: pd.DataFrame) -> tuple[int, float, float, float, float, float]:
    actual, said, naive, low, high = (
        rows[name].to_numpy(dtype=np.float64) for name in ("actual", "p50", "naive", "p10", "p90")
    )
    mae, naive_mae, rmae, covered = mean_absolute_error(actual, said), np.nan, np.nan, np.nan
    if (paired := np.isfinite(naive)).any():
        naive_mae = mean_absolute_error(actual, naive)
        rmae = (
            mean_absolute_error(actual[paired], said[paired]) / naive_mae if naive_mae else np.nan
        )
    if (np.isfinite(low) & np.isfinite(high)).any():
        covered = coverage(actual, low, high)
    return len(rows), mae, naive_mae, rmae, float((said - actual).mean()), covered


def drift(rows: pd.DataFrame) -> str:
    """Say whether the last week's day-ahead errors are out of line with those before, or worse than naive."""
    ahead = rows[rows["lead_days"] == 1].dropna(subset=["naive"])
    if ahead.empty:
        return ""
    recent = ahead["target_start"] > ahead["target_start"].max() - timedelta(days=RECENT_DAYS)
    last, before = ahead[recent], ahead[~recent]
    if len(last) < FEWEST_SLOTS:
        return ""
    mae, naive = ((last["actual"] - last[name]).abs().mean() for name in ("p50", "naive"))
    if mae > naive:
        return f"The last {RECENT_DAYS} days were worse than naive: {mae:.1f} against {naive:.1f}."
    usual = (before["actual"] - before["p50"]).abs().mean()
    if len(before) >= FEWEST_SLOTS and mae > DRIFT_RATIO * usual:
        return f"The error of the last {RECENT_DAYS} days, {mae:.1f}, is {mae / usual:.1f} times that before."
    return ""
