"""Forecast verification: issued forecasts against observations, by lead, beside naive ones."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind, Series
from factory_lib.clock import DAY, MADRID, from_epoch
from factory_lib.context import RunContext
from factory_lib.features.days import Matrix, known_mean
from factory_lib.slots import from_index

WINDOW_DAYS = 28
RECENT_DAYS = 7
_LOOK_BACK = timedelta(days=36)  # of the observations that naive forecasts are made of
DRIFT_RATIO = 1.5  # the last week's error against that of the weeks before it
FEWEST_DAYS = 5  # of a week: a bad day or two is weather, not drift
ACCURACY_COLUMNS = (
    "model",
    "lead_days",
    "slots",
    "mae",
    "naive_mae",
    "simple_mae",
    "rmae",
    "bias",
    "coverage_80",
)


def verification_pairs(ctx: RunContext, series: str) -> pd.DataFrame:
    """Return the forecasts of the last weeks beside the observations known at ``as_of``.

    Returns
    -------
    DataFrame
        One row per forecast slot with an observation: the forecast's columns and those
        that ``match_observations`` adds.
    """
    start = ctx.as_of - timedelta(days=WINDOW_DAYS)
    forecasts = ctx.store.read_forecasts(
        series,
        places=ctx.settings.site.places.of(ctx.catalogue[series].measurement),
        start=start,
        end=ctx.as_of,
        as_of=ctx.as_of,
        latest=False,
    )
    parts = [forecasts[:0].assign(lead_days=0, actual=np.nan, naive=np.nan, simple=np.nan)]
    for resolution, group in forecasts.groupby("resolution_s"):
        observed = _observed(ctx, series, start - _LOOK_BACK, int(str(resolution)))
        parts.append(match_observations(group, observed, ctx.catalogue[series]))
    return pd.concat(parts, ignore_index=True)


def _observed(ctx: RunContext, series: str, start: datetime, resolution_s: int) -> pd.Series:
    """Return the values from ``start`` to ``as_of`` at one resolution, by start (UTC).

    Where the series was published at a coarser cadence, a value holds for each of its
    parts: the first quarter-hours of a market are compared with the hourly prices of
    the days before.
    """
    entry = ctx.catalogue[series]
    parts = []
    for begin, end, cadence in entry.spans(start, ctx.as_of):
        grid_s = max(resolution_s, cadence.resolution_s)
        rows = ctx.store.read(
            series,
            places=ctx.settings.site.places.of(entry.measurement),
            start=begin,
            end=end,
            as_of=ctx.as_of,
            grid_s=grid_s,
        )
        values = rows.set_index("start")["value"]
        for offset_s in range(0, grid_s, resolution_s):
            parts.append(values.set_axis(values.index + timedelta(seconds=offset_s)))
    observed: pd.Series = pd.concat(parts).sort_index()
    return observed


def match_observations(forecasts: pd.DataFrame, observed: pd.Series, entry: Series) -> pd.DataFrame:
    """Return the forecasts with ``lead_days`` and the actual value, where that is known.

    Beside stand ``naive``, the latest value at the target's local hour of the day that was
    published at the issue time, and ``simple``, the mean of three: that, the mean of a week,
    and of the same weekday of four weeks.

    Parameters
    ----------
    forecasts : DataFrame
        ``frames.FORECAST_COLUMNS``, of one resolution.
    observed : Series
        Indexed by ``start`` (UTC).
    """
    target = _wall(forecasts["target_start"])
    rule = entry.publication[Kind.OBSERVED]
    distinct, which = np.unique(from_index(forecasts["issued_at"]), return_inverse=True)
    ends = [rule.known_until(from_epoch(int(issue))) for issue in distinct]
    known_until = _wall(pd.to_datetime(ends, utc=True))[which]
    slot = pd.to_timedelta(forecasts["resolution_s"].to_numpy(), unit="s")
    days_back = np.maximum(1, -((known_until - target - slot) // DAY).to_numpy())
    by_wall = observed.groupby(_wall(observed.index)).mean()

    def values_before(days: np.ndarray) -> Matrix:
        return by_wall.reindex(target - pd.to_timedelta(days, unit="D")).to_numpy(np.float64)

    naive = values_before(days_back)
    last_week = known_mean([values_before(days_back + more) for more in range(7)])
    weekday = -(-days_back // 7) * 7
    same_weekday = known_mean([values_before(weekday + 7 * more) for more in range(4)])
    paired = forecasts.assign(
        lead_days=(target.normalize() - _wall(forecasts["issued_at"]).normalize()).days,
        actual=observed.reindex(forecasts["target_start"]).to_numpy(np.float64),
        naive=naive,
        simple=known_mean([naive, last_week, same_weekday]),
    )
    return paired.dropna(subset=["actual", "p50"])


def _wall(times: pd.Series | pd.Index) -> pd.DatetimeIndex:
    """Return local wall times: a day before is the same hour of the clock, whatever it was."""
    return pd.DatetimeIndex(times).tz_convert(MADRID).tz_localize(None)


def by_lead(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy by model and lead in market days; ``rmae`` is over slots with a naive.

    Parameters
    ----------
    rows : DataFrame
        From ``match_observations``.

    Returns
    -------
    DataFrame
        ``ACCURACY_COLUMNS``.
    """
    error = rows["p50"] - rows["actual"]
    has_band = rows[["p10", "p90"]].notna().all(axis=1)
    table = rows.assign(
        slots=1,
        mae=error.abs(),
        naive_mae=(rows["naive"] - rows["actual"]).abs(),
        simple_mae=(rows["simple"] - rows["actual"]).abs(),
        rmae=error.abs().where(rows["naive"].notna()),
        bias=error,
        coverage_80=rows["actual"].between(rows["p10"], rows["p90"]).astype(float).where(has_band),
    )
    grouped = table[list(ACCURACY_COLUMNS)].groupby(["model", "lead_days"])
    accuracy = grouped.mean().assign(slots=grouped.size())
    accuracy["rmae"] /= accuracy["naive_mae"].where(accuracy["naive_mae"] > 0)
    return accuracy.reset_index()


def drift(rows: pd.DataFrame) -> str:
    """Return a sentence if the last week's day-ahead errors are out of line, else nothing.

    Out of line: worse than naive, or ``DRIFT_RATIO`` times those of the weeks before.
    """
    ahead = rows[rows["lead_days"] == 1].dropna(subset=["naive"])
    recent = ahead["target_start"] > ahead["target_start"].max() - timedelta(days=RECENT_DAYS)
    last = ahead[recent]
    before = ahead[~recent]
    if _days(last) < FEWEST_DAYS:
        return ""
    mae, naive = ((last["actual"] - last[name]).abs().mean() for name in ("p50", "naive"))
    if mae > naive:
        return f"The last {RECENT_DAYS} days were worse than naive: {mae:.1f} against {naive:.1f}."
    usual = (before["actual"] - before["p50"]).abs().mean()
    if _days(before) >= FEWEST_DAYS and mae > DRIFT_RATIO * usual:
        ratio = f"{mae / usual:.1f} times that before"
        return f"The error of the last {RECENT_DAYS} days, {mae:.1f}, is {ratio}."
    return ""


def _days(rows: pd.DataFrame) -> int:
    return int(_wall(rows["target_start"]).normalize().nunique())
