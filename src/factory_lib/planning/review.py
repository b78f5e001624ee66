"""The last days: what was planned, what was expected to be paid, and what was really made, metered and charged.

A day whose plan was made and kept is held to that plan. A day without one is planned
afterwards, from what was known at noon of the day before, so that the page tells
something from the first day on; it says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from factory_lib.catalogue import SITE
from factory_lib.clock import HOUR_S, day_start, local_instant, market_day
from factory_lib.context import RunContext
from factory_lib.domain.plant import Floats, auxiliary_kw
from factory_lib.errors import BadInput
from factory_lib.plan import demand
from factory_lib.plan.request import for_days
from factory_lib.plan.solve import solve
from factory_lib.planning import daily, inputs

QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
QUARTER_H = 0.25
KEPT, AFTERWARDS, NONE = "kept", "made afterwards", "none"
HINDCAST_S = 4.0
NOON = time(12)  # when day-ahead forecasts are issued: before the prices of the day are published
_BAND = ["p10", "p50", "p90"]
COLUMNS = (
    "day",
    "plan",
    "planned_kg",
    "produced_kg",
    "planned_kwh",
    "metered_kwh",
    "expected_eur_mwh",
    "charged_eur_mwh",
    "planned_eur",
    "plan_as_charged_eur",
    "billed_eur",
)


@dataclass(frozen=True)
class PlanReview:
    """Planned, produced and billed side by side.

    Attributes
    ----------
    days : DataFrame
        ``COLUMNS``, one row per local day. Kilowatt-hours and euros are of the whole
        plant, loads that always run included. What is not known of the whole day is
        NaN.
    prices : DataFrame
        UTC quarters: ``p10``, ``p50``, ``p90`` as believed when each day was planned,
        ``actual`` as published.
    notes : tuple of str
        How to read them.
    """

    days: pd.DataFrame
    prices: pd.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Kept:
    """One day's plan: how it came to be, from when on it held, what was believed, and its stages."""

    how: str
    begin: datetime
    believed: pd.DataFrame
    stages: pd.DataFrame


def review(ctx: RunContext, days: int = 7) -> PlanReview:
    """Put the plans of the last ``days`` local days beside what came, as far as it is known at ``ctx.as_of``."""
    today = market_day(ctx.as_of)
    wanted = [today - timedelta(days=back) for back in range(days, 0, -1)]
    # That of today began yesterday evening.
    plans = {
        day: found
        for day in [*wanted, today]
        if (found := _kept(ctx, day) or _afterwards(ctx, day))
    }
    start, end = day_start(wanted[0]), day_start(today)
    index = pd.date_range(start, end, freq=QUARTER, inclusive="left", unit="s", name="start")
    believed = [
        plan.believed[day_start(day) : day_start(day + DAY) - QUARTER]
        for day, plan in plans.items()
    ]
    unknown = pd.DataFrame(index=index, columns=[*_BAND, "expected"], dtype="float64")
    frame = _quarters(ctx, index, pd.concat(believed) if believed else unknown)
    stages = _carried_out(plans)
    frame["planned_kw"] = _power_kw(ctx, stages, index) + auxiliary_kw(ctx.settings.plant, index)
    local = pd.Series(index.tz_convert("Europe/Madrid").date, index=index)
    rows = [
        _day(day, plans.get(day), frame[(local == day).to_numpy()], stages, ctx) for day in wanted
    ]
    return PlanReview(
        pd.DataFrame(rows, columns=list(COLUMNS)), frame[[*_BAND, "actual"]], _notes(ctx, rows)
    )


def metered_kwh(ctx: RunContext, index: pd.DatetimeIndex) -> pd.Series:
    """Return metered energy by quarter; an hour that was metered as a whole is spread evenly over its quarters."""
    start, end = index[0].to_pydatetime(), (index[-1] + QUARTER).to_pydatetime()
    quarters, hours = (
        ctx.store.read(name, places=(SITE,), start=start, end=end, as_of=ctx.as_of).set_index(
            "start"
        )["value"]
        for name in ("metered_quarter_kwh", "metered_hour_kwh")
    )
    spread = hours.reindex(index.floor(f"{HOUR_S}s")).set_axis(index) / 4
    return quarters.reindex(index).fillna(spread)


def _quarters(ctx: RunContext, index: pd.DatetimeIndex, believed: pd.DataFrame) -> pd.DataFrame:
    known = inputs.prices(
        ctx, index[0].to_pydatetime(), (index[-1] + QUARTER).to_pydatetime()
    ).reindex(index)
    frame = believed.reindex(index)
    frame["actual"] = known["p50"].where(known["known"] == inputs.PUBLISHED)
    frame["charged"] = frame["actual"] + _added(ctx, known)
    frame["metered_kwh"] = metered_kwh(ctx, index)
    return frame


def _added(ctx: RunContext, prices: pd.DataFrame) -> pd.Series | float:
    """Return what tolls and taxes add: nothing where none are set, unknown where they are not known of every slot."""
    if "toll_eur_mwh" in prices:
        return prices["toll_eur_mwh"]
    return np.nan if ctx.settings.tariff.tolls or ctx.settings.tariff.taxes else 0.0


def _believed(ctx: RunContext, begin: datetime, end: datetime) -> pd.DataFrame:
    """Return the prices as known at ``ctx.as_of``: the band, and ``expected`` with tolls and taxes."""
    prices = inputs.prices(ctx, begin, end).loc[begin:]
    return prices[_BAND].assign(expected=prices["p50"] + _added(ctx, prices))


def _kept(ctx: RunContext, day: date) -> _Kept | None:
    """Return the plan kept of a day, as far as it was made by ``ctx.as_of``; a replay looks at the real ones too."""
    folders = dict.fromkeys((daily.plans_folder(ctx), ctx.settings.paths.data / "plans"))
    files = (folder / str(day) / "plan.json" for folder in folders)
    documents = (json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists())
    found = next((d for d in documents if datetime.fromisoformat(d["made_at"]) <= ctx.as_of), None)
    if found is None:
        return None
    made_at, end = (datetime.fromisoformat(found[name]) for name in ("made_at", "end"))
    begin = datetime.fromisoformat(
        found.get("first_begin", found["begin"])
    )  # it held from then on, made again or not
    rows = [
        {
            **stage,
            "variant": batch["variant"],
            "kg": batch["kg"],
            "last": stage is batch["stages"][-1],
        }
        for batch in [*found["batches"], *found.get("running", ()), *found.get("finished", ())]
        for stage in batch["stages"]
    ]
    stages = pd.DataFrame(rows, columns=[*_STAGE_COLUMNS])
    stages = stages.assign(
        **{name: pd.to_datetime(stages[name], utc=True) for name in ("start", "end", "held_until")}
    )
    return _Kept(KEPT, begin, _believed(replace(ctx, as_of=made_at), begin, end), stages)


_STAGE_COLUMNS = ("variant", "kg", "stage", "start", "end", "held_until", "power_kw", "last")


def _afterwards(ctx: RunContext, day: date) -> _Kept | None:
    """Plan a past day from what was known at ``NOON`` of the day before; None where that is impossible."""
    plant = ctx.settings.plant
    begin, end = demand.begin(plant, day, early=True), day_start(day + timedelta(days=1))
    then = replace(ctx, as_of=local_instant(day - timedelta(days=1), NOON))
    prices = inputs.prices(then, begin, end)
    if prices.loc[begin:, "p50"].isna().any():
        return None
    request = for_days(plant, prices, inputs.weather(then, begin, end), day, begin=begin)
    try:
        table = solve(request, time_limit_s=HINDCAST_S).table()
    except BadInput:
        return None
    stages = table.assign(last=table["stage"] == plant.stages[-1].name)
    return _Kept(AFTERWARDS, begin, _believed(then, begin, end), stages[[*_STAGE_COLUMNS]])


def _carried_out(plans: Mapping[date, _Kept]) -> pd.DataFrame:
    """Return the stages that were begun under each plan before the next one took over, each once."""
    following, parts = dict(pairwise(sorted(plans))), []
    for day, plan in sorted(plans.items()):
        stages = plan.stages
        after = plans[following[day]] if day in following else plan
        if after is not plan and after.how == plan.how == KEPT:
            stages = stages[stages["start"] < pd.Timestamp(after.begin)]
        twin = stages.groupby(
            ["variant", "stage", "start"]
        ).cumcount()  # alike batches on two machines
        parts.append(stages.assign(twin=twin))
    if not parts:
        return pd.DataFrame(columns=[*_STAGE_COLUMNS, "twin"])
    stages = pd.concat(parts, ignore_index=True)
    return stages.drop_duplicates(["variant", "stage", "start", "twin"], keep="last")


def _power_kw(ctx: RunContext, stages: pd.DataFrame, index: pd.DatetimeIndex) -> Floats:
    """Return the power of stages and of holding in each quarter."""
    hold_kw = {stage.name: stage.hold_kw for stage in ctx.settings.plant.stages}
    kw = np.zeros(len(index))
    for row in stages.to_dict("records"):
        kw[(index >= row["start"]) & (index < row["end"])] += row["power_kw"]
        kw[(index >= row["end"]) & (index < row["held_until"])] += hold_kw.get(row["stage"], 0.0)
    return kw


def _day(
    day: date, plan: _Kept | None, frame: pd.DataFrame, stages: pd.DataFrame, ctx: RunContext
) -> dict[str, Any]:
    start, end = day_start(day), day_start(day + timedelta(days=1))
    finished = stages[
        stages["last"].astype(bool) & (stages["end"] > start) & (stages["end"] <= end)
    ]
    produced = ctx.store.read("produced_kg", places=(SITE,), start=start, end=end, as_of=ctx.as_of)[
        "value"
    ]
    planned_kwh = frame["planned_kw"] * QUARTER_H
    expected, charged = frame["expected"], frame["charged"]
    row = {
        "day": f"{day:%a %d %b}",
        "plan": plan.how if plan else NONE,
        "produced_kg": produced.sum(min_count=1),
        "metered_kwh": _whole(frame["metered_kwh"]),
        "expected_eur_mwh": frame["p50"].mean(skipna=False),
        "charged_eur_mwh": frame["actual"].mean(skipna=False),
        "billed_eur": _whole(frame["metered_kwh"] * charged) / 1000,
    }
    if plan is None:
        return row | dict.fromkeys(
            ("planned_kg", "planned_kwh", "planned_eur", "plan_as_charged_eur"), np.nan
        )
    return row | {
        "planned_kg": finished["kg"].sum(),
        "planned_kwh": planned_kwh.sum(),
        "planned_eur": _whole(planned_kwh * expected) / 1000,
        "plan_as_charged_eur": _whole(planned_kwh * charged) / 1000,
    }


def _whole(values: pd.Series) -> float:
    """Return the sum, NaN where a part of the day is unknown: half a day's energy is not the day's."""
    return float(values.sum(skipna=False))


def _notes(ctx: RunContext, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    said = [
        "Energy and euros are of the whole plant, loads that always run included. Every euro here: "
        f"{ctx.settings.tariff.counted}; capacity terms and excess power are not counted.",
        "Planned: as believed when the plan was made. As charged: the same plan at the published price. Billed: the "
        "metered energy at the published price.",
    ]
    if any(row["plan"] == AFTERWARDS for row in rows):
        said.append(
            "Made afterwards: no plan was kept of that day, so it was planned now from what was known at noon of the "
            "day before."
        )
    if all(np.isnan(row["metered_kwh"]) for row in rows):
        said.append(
            "Nothing was metered: `factory import meter FILE` and `factory import production FILE` bring it."
        )
    return tuple(said)
