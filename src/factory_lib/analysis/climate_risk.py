"""What the climate means for the plant: months and hours in which the room cannot keep a stage's limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from factory_lib.clock import HOUR_S, MADRID
from factory_lib.context import RunContext
from factory_lib.domain.plant import Bools, operators, room
from factory_lib.features.documented import HUMIDITY, TEMPERATURE
from factory_lib.models import history
from factory_lib.settings.plant import Plant, RoomLimits, Stage

ROUNDING = 1e-6  # the room model keeps its set-point to the last digits only
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class ClimateRisk:
    """How often the room is out of limits, from hours of outdoor air and the plant's room model.

    Attributes
    ----------
    months : DataFrame
        One row per calendar month: outdoor mean and 95th percentile, and for each stage
        with limits ``…_unfit_pct`` of the hours it can run in, and ``…_lost_pct`` of
        the days: without one stretch long enough for it.
    causes : DataFrame
        One row per calendar month: hours known, and for each stage ``…_hot_pct`` and
        ``…_damp_pct``.
    by_hour : mapping of stage to DataFrame
        Share (0 to 1) of unfit hours; index local hour, columns months.
    notes : tuple of str
        Where the air is from.
    """

    months: pd.DataFrame
    causes: pd.DataFrame
    by_hour: dict[str, pd.DataFrame]
    notes: tuple[str, ...]
    verdict: str
    level: str
    figures: dict[str, int | float | str]


def assess(ctx: RunContext, years: int = 4) -> ClimateRisk:
    """Assess the last ``years`` before ``ctx.as_of``, as far as air is known."""
    known = history.load(ctx, 365 * years)
    outdoors = known.hourly[[TEMPERATURE, HUMIDITY]]
    outdoors = outdoors[outdoors.index < pd.Timestamp(ctx.as_of)].dropna()
    plant = ctx.settings.plant
    stages = [stage for stage in plant.stages if stage.room != RoomLimits()]
    if outdoors.empty:
        nothing = pd.DataFrame(columns=["month", "hours"])
        return ClimateRisk(
            nothing, nothing, {}, known.notes, "No outdoor air is known here.", "warn", {"hours": 0}
        )
    air = pd.concat([outdoors, room(outdoors, plant.room)], axis=1)
    local = pd.DatetimeIndex(air.index).tz_convert(MADRID)
    month = np.asarray(local.month)
    rows = pd.DataFrame({"hours": 1, TEMPERATURE: air[TEMPERATURE]}).groupby(month)
    months = pd.DataFrame(
        {
            "hours": rows["hours"].sum(),
            "mean_c": rows[TEMPERATURE].mean(),
            "p95_c": rows[TEMPERATURE].quantile(0.95),
        }
    )
    by_hour = {}
    for stage in stages:
        bad = _out_of_limits(air, stage)
        unfit = bad.any(axis=1).to_numpy()
        may = _may_run(plant, stage, pd.DatetimeIndex(air.index))
        share = bad[["hot", "damp"]].assign(unfit=unfit)[may].astype(float)
        means = 100 * share.groupby(month[may]).mean()
        for name in ("unfit", "hot", "damp"):
            months[f"{stage.name}_{name}_pct"] = means[name]
        months[f"{stage.name}_lost_pct"] = _lost_days(pd.Series(~unfit, index=local), may, stage)
        table = pd.crosstab(local.hour, month, values=unfit, aggfunc="mean")
        by_hour[stage.name] = table.reindex(range(24)).rename(
            columns=lambda number: MONTHS[number - 1]
        )
    worst = max(stages, key=lambda stage: months[f"{stage.name}_unfit_pct"].max())
    months.insert(0, "month", [MONTHS[int(number) - 1] for number in months.index])
    at = months.nlargest(1, f"{worst.name}_unfit_pct").iloc[0]
    verdict = (
        f"{worst.name.capitalize()} suffers most: in {at['month']} the room is out of limits in "
        f"{at[f'{worst.name}_unfit_pct']:.0f} % of the hours it can run in, and on {at[f'{worst.name}_lost_pct']:.0f} "
        f"of 100 days no stretch of {worst.duration_min / 60:g} h is left."
    )
    figures: dict[str, int | float | str] = {"hours": len(air), "worst_stage": worst.name}
    figures |= {f"{stage.name}_unfit_pct": round(_mean(months, stage), 1) for stage in stages}
    places = " / ".join(ctx.settings.site.places.weather)
    notes = (
        *known.notes,
        f"Outdoor air as stored for {places}.",
        "The room is the model of [plant.room]: set-point as far as heating, cooling and drying reach.",
    )
    causes = [
        "month",
        "hours",
        *(name for name in months if str(name).endswith(("_hot_pct", "_damp_pct"))),
    ]
    shown = months.drop(columns=causes[1:])
    return ClimateRisk(shown, months[causes], by_hour, notes, verdict, "ok", figures)


def _mean(months: pd.DataFrame, stage: Stage) -> float:
    return float(np.average(months[f"{stage.name}_unfit_pct"], weights=months["hours"]))


def _out_of_limits(air: pd.DataFrame, stage: Stage) -> pd.DataFrame:
    """Return of each hour whether the room is too ``hot``, ``cold`` or ``damp`` for the stage."""
    celsius, percent, limits = air["room_temperature_c"], air["room_humidity_pct"], stage.room
    return pd.DataFrame(
        {
            "hot": celsius > limits.temperature_max_c + ROUNDING,
            "cold": celsius < limits.temperature_min_c - ROUNDING,
            "damp": percent > limits.humidity_max_pct + ROUNDING,
        }
    )


def _may_run(plant: Plant, stage: Stage, index: pd.DatetimeIndex) -> Bools:
    """Return the hours in which there are people for the stage, where it needs them throughout."""
    if stage.attended != "always":
        return np.ones(len(index), dtype=bool)
    whole = pd.date_range(index[0], index[-1], freq="h", unit="s")
    present = pd.Series(operators(plant, whole, HOUR_S), index=whole).reindex(index)
    return np.asarray(present >= stage.operators)


def _lost_days(fit: pd.Series, may: Bools, stage: Stage) -> pd.Series:
    """Return by month how many days in a hundred have no stretch long enough; days that nobody works do not count."""
    index, usable = pd.DatetimeIndex(fit.index), fit.to_numpy() & may
    gap = np.asarray(index.to_series().diff() != timedelta(hours=1))
    length = pd.Series(usable.astype(int)).groupby((~usable | gap).cumsum()).cumsum()
    days = (
        pd.DataFrame({"longest": length.to_numpy(), "worked": may}, index=index)
        .groupby(index.date)
        .max()
    )
    days = days[days["worked"]]
    months = np.asarray(pd.DatetimeIndex(days.index).month)
    return 100 * (days["longest"] < -(-stage.duration_min // 60)).groupby(months).mean()
