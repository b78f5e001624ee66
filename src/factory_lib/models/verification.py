"""Forecast verification: issued forecasts against observations, by lead, beside naive ones."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from factory_lib.catalogue import Kind, Series
from factory_lib.clock import DAY_S, MADRID, epoch, from_epoch
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

    Beside stand ``naive``, the latest value at the target's hour of the day that was
    published at the issue time, and ``simple``, the mean of three: that, the mean of a week,
    and of the same weekday of four weeks.

    Parameters
    ----------
    forecasts : DataFrame
        ``frames.FORECAST_COLUMNS``, of one resolution.
    observed : Series
        Indexed by ``start`` (UTC).
    """
    targets = from_index(forecasts["target_start"])
    rule = entry.publication[Kind.OBSERVED]
    distinct, which = np.unique(from_index(forecasts["issued_at"]), return_inverse=True)
    known_until = [epoch(rule.known_until(from_epoch(int(issue)))) for issue in distinct]
    end_s = targets + forecasts["resolution_s"].to_numpy()
    days_back = np.maximum(1, -((np.array(known_until, dtype=np.int64)[which] - end_s) // DAY_S))
    starts = from_index(pd.DatetimeIndex(observed.index))
    values = pd.Series(observed.to_numpy(dtype=np.float64), index=starts)

    def values_before(days: int | np.ndarray) -> Matrix:
        return values.reindex(targets - days * DAY_S).to_numpy()

    naive = values_before(days_back)
    last_week = known_mean([values_before(days_back + more) for more in range(7)])
    weekday = -(-days_back // 7) * 7
    same_weekday = known_mean([values_before(weekday + 7 * more) for more in range(4)])
    paired = forecasts.assign(
        lead_days=(_local_day(forecasts["target_start"]) - _local_day(forecasts["issued_at"])).days,
        actual=values_before(0),
        naive=naive,
        simple=known_mean([naive, last_week, same_weekday]),
    )
    return paired.dropna(subset=["actual", "p50"])


def _local_day(times: pd.Series) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times).tz_convert(MADRID).tz_localize(None).normalize()


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
    return int(_local_day(rows["target_start"]).nunique())
