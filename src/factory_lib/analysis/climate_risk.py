"""Climate risk of the plant: months and hours in which its room cannot keep a stage's limits."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, display_zone
from factory_lib.context import RunContext
from factory_lib.domain.plant import Bools, operators, room
from factory_lib.features.horizon import HUMIDITY, TEMPERATURE
from factory_lib.models.history import load_hours
from factory_lib.results import JobResult
from factory_lib.settings.plant import Plant, RoomLimits, Stage

ROUNDING = 1e-6  # the room model keeps its set-point to the last digits only
MODEL_NOTE = (
    "The room is the model of [plant.room]: set-point as far as heating, cooling and drying reach."
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def assess(ctx: RunContext, years: int = 4) -> JobResult:
    """Assess the last ``years`` before ``ctx.as_of``, as far as air is stored.

    Returns
    -------
    JobResult
        With the tables ``months``: per calendar month the outdoor mean and 95th
        percentile, and for each stage with limits ``…_unfit_pct`` of the hours it can
        run in, and ``…_lost_pct`` of the days: without one interval long enough for it;
        ``causes``: per month the hours, and for each stage ``…_hot_pct`` and
        ``…_damp_pct``; ``by_hour``: share (0 to 1) of unfit hours, index local hour,
        columns (stage, month).
    """
    past = load_hours(ctx, 365 * years)
    outdoor = past.hourly[[TEMPERATURE, HUMIDITY]]
    outdoor = outdoor[outdoor.index < pd.Timestamp(ctx.as_of)].dropna()
    if outdoor.empty:
        empty = pd.DataFrame(columns=["month", "hours"])
        tables = dict.fromkeys(("months", "causes", "by_hour"), empty)
        return JobResult("warn", "No outdoor air is stored.", {"hours": 0}, tables, past.notes)
    plant = ctx.settings.plant
    air = pd.concat([outdoor, room(outdoor, plant.room)], axis=1)
    local = pd.DatetimeIndex(air.index).tz_convert(display_zone())
    stages = [stage for stage in plant.stages if stage.room != RoomLimits()]
    months = _outdoor_months(air[TEMPERATURE], local)
    by_hour = {}
    for stage in stages:
        limits = _out_of_limits(air, stage)
        unfit = limits.any(axis=1).to_numpy()
        present = _can_run(plant, stage, pd.DatetimeIndex(air.index))
        shares = limits[["hot", "damp"]].assign(unfit=unfit)[present].astype(float)
        means = 100 * shares.groupby(local.month[present]).mean()
        months = months.join(means.add_prefix(f"{stage.name}_").add_suffix("_pct"))
        lost = _lost_days(pd.Series(~unfit, index=local), present, stage)
        months[f"{stage.name}_lost_pct"] = lost
        by_hour[stage.name] = _hours_by_month(unfit, local)
    places = " / ".join(ctx.settings.site.places.weather)
    notes = (*past.notes, f"Outdoor air as stored for {places}.", MODEL_NOTE)
    return summarise(months, pd.concat(by_hour, axis=1), stages, notes)


def summarise(
    months: pd.DataFrame, by_hour: pd.DataFrame, stages: list[Stage], notes: tuple[str, ...]
) -> JobResult:
    """Compose the result: the worst stage in its worst month."""
    worst = max(stages, key=lambda stage: months[f"{stage.name}_unfit_pct"].max())
    unfit = f"{worst.name}_unfit_pct"
    month = months.nlargest(1, unfit).iloc[0]
    sentence = (
        f"{worst.name.capitalize()} suffers most: in {month['month']} the room is out of limits "
        f"in {month[unfit]:.0f} % of the hours it can run in, and on "
        f"{month[f'{worst.name}_lost_pct']:.0f} of 100 days no interval of "
        f"{worst.duration_min / 60:g} h is left."
    )
    metrics: dict[str, Any] = {"hours": int(months["hours"].sum()), "worst_stage": worst.name}
    for stage in stages:
        name = f"{stage.name}_unfit_pct"
        metrics[name] = round(float(np.average(months[name], weights=months["hours"])), 1)
    reasons = [name for name in months if str(name).endswith(("_hot_pct", "_damp_pct"))]
    tables = {
        "months": months.drop(columns=["hours", *reasons]),
        "causes": months[["month", "hours", *reasons]],
        "by_hour": by_hour,
    }
    return JobResult("ok", sentence, metrics, tables, notes)


def _outdoor_months(temperature_c: pd.Series, local: pd.DatetimeIndex) -> pd.DataFrame:
    """Return hours, mean and 95th percentile by the number of the calendar month."""
    groups = temperature_c.groupby(np.asarray(local.month))
    months = pd.DataFrame(
        {"hours": groups.size(), "mean_c": groups.mean(), "p95_c": groups.quantile(0.95)}
    )
    months.insert(0, "month", [MONTHS[number - 1] for number in months.index])
    return months


def _hours_by_month(unfit: Bools, local: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the share of unfit hours by local hour and month."""
    table = pd.crosstab(local.hour, local.month, values=unfit, aggfunc="mean")
    return table.reindex(range(24)).rename(columns=lambda number: MONTHS[number - 1])


def _out_of_limits(air: pd.DataFrame, stage: Stage) -> pd.DataFrame:
    """Return for each hour whether the room is too ``hot``, ``cold`` or ``damp`` for the stage."""
    celsius = air["room_temperature_c"]
    percent = air["room_humidity_pct"]
    limits = stage.room
    return pd.DataFrame(
        {
            "hot": celsius > limits.temperature_max_c + ROUNDING,
            "cold": celsius < limits.temperature_min_c - ROUNDING,
            "damp": percent > limits.humidity_max_pct + ROUNDING,
        }
    )


def _can_run(plant: Plant, stage: Stage, index: pd.DatetimeIndex) -> Bools:
    """Return the hours in which there are people for the stage, where it needs them throughout."""
    if stage.attended != "always":
        return np.ones(len(index), dtype=bool)
    whole = pd.date_range(index[0], index[-1], freq="h", unit="s")
    present = pd.Series(operators(plant, whole, HOUR_S), index=whole).reindex(index)
    return np.asarray(present >= stage.operators)


def _lost_days(fit: pd.Series, present: Bools, stage: Stage) -> pd.Series:
    """Return by month the working days in a hundred without an interval long enough."""
    index = pd.DatetimeIndex(fit.index)
    usable = fit.to_numpy() & present
    gap = np.asarray(index.to_series().diff() != timedelta(hours=1))
    length = pd.Series(usable.astype(int)).groupby((~usable | gap).cumsum()).cumsum()
    hours = pd.DataFrame({"longest": length.to_numpy(), "worked": present}, index=index)
    days = hours.groupby(index.date).max()
    days = days[days["worked"]]
    too_short = days["longest"] < -(-stage.duration_min // 60)
    return 100 * too_short.groupby(np.asarray(pd.DatetimeIndex(days.index).month)).mean()
