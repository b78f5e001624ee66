"""The last days: planned, produced and billed, expected against published price."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pandas as pd

from factory_lib.catalogue import SITE
from factory_lib.clock import MADRID, day_start, market_day
from factory_lib.context import RunContext
from factory_lib.planning import documents, inputs
from factory_lib.planning.documents import PlanDocument
from factory_lib.results import JobResult

QUARTER_H = 0.25
DAY_COLUMNS = (
    "day",
    "planned_kg",
    "produced_kg",
    "planned_kwh",
    "metered_kwh",
    "expected_eur_mwh",
    "published_eur_mwh",
    "planned_eur",
    "billed_eur",
)


def review_plans(ctx: RunContext, days: int = 7) -> JobResult:
    """Compare the last local days, as far as they are known at ``ctx.as_of``.

    Energy and euros (whole marginal price) are of the whole plant, loads that always run
    included; what is not known of a whole day is NaN.
    """
    today = market_day(ctx.as_of)
    past = [today - timedelta(days=back) for back in range(days, 0, -1)]
    plans = documents.documents(ctx, past[0] - timedelta(days=documents.REMEMBERED_DAYS))
    stages = documents.carried_out(plans, day_start(today))
    frame = _quarters(ctx, plans, stages, past)
    local = pd.DatetimeIndex(frame.index).tz_convert(MADRID).date
    rows = [_day(ctx, day, frame[local == day], stages) for day in past]
    table = pd.DataFrame(rows, columns=[*DAY_COLUMNS])
    return JobResult(
        status="ok",
        summary=_sentence(table),
        metrics={
            "planned_kg": table["planned_kg"].sum(),
            "produced_kg": table["produced_kg"].sum(),
        },
        tables={"days": table, "prices": frame[["p10", "p50", "p90", "actual"]]},
        notes=_notes(table),
    )


def _quarters(
    ctx: RunContext, plans: Sequence[PlanDocument], stages: pd.DataFrame, days: Sequence[date]
) -> pd.DataFrame:
    """Return the quarters of the days: expected and published price, planned and metered load."""
    start = day_start(days[0])
    end = day_start(days[-1] + timedelta(days=1))
    prices = inputs.prices(ctx, start, end).loc[start:]
    published = prices["known"] == inputs.PUBLISHED
    frame = pd.concat([_expected(ctx, plans, day) for day in days]).reindex(prices.index)
    frame["actual"] = prices["p50"].where(published)
    frame["price_eur_mwh"] = prices["price_eur_mwh"].where(published)
    index = pd.DatetimeIndex(frame.index)
    kw = inputs.planned_kw(ctx, stages, index)
    frame["planned_kwh"] = kw * QUARTER_H if plans else float("nan")
    frame["metered_kwh"] = inputs.metered_kwh(ctx, index)
    return frame


def _expected(ctx: RunContext, plans: Sequence[PlanDocument], day: date) -> pd.DataFrame:
    """Return the market price of a day as the plan in force when it began expected it."""
    begin = day_start(day)
    made = [plan.made_at for plan in plans if plan.made_at <= begin]
    columns = ["p10", "p50", "p90"]
    if not made:
        return pd.DataFrame(columns=columns, dtype="float64", index=pd.DatetimeIndex([], tz="UTC"))
    then = replace(ctx, as_of=made[-1])
    return inputs.prices(then, begin, day_start(day + timedelta(days=1))).loc[begin:, columns]


def _day(ctx: RunContext, day: date, frame: pd.DataFrame, stages: pd.DataFrame) -> dict[str, Any]:
    begin = day_start(day)
    end = day_start(day + timedelta(days=1))
    last_stage = ctx.settings.plant.stages[-1].name
    ended = (stages["stage"] == last_stage) & (stages["end"] > begin) & (stages["end"] <= end)
    produced = ctx.store.read("produced_kg", places=(SITE,), start=begin, end=end, as_of=ctx.as_of)
    price = frame["price_eur_mwh"] / 1000
    return {
        "day": f"{day:%a %d %b}",
        "planned_kg": float(stages.loc[ended, "kg"].sum()) if len(stages) else float("nan"),
        "produced_kg": produced["value"].sum(min_count=1),
        "planned_kwh": _whole(frame["planned_kwh"]),
        "metered_kwh": _whole(frame["metered_kwh"]),
        "expected_eur_mwh": frame["p50"].mean(skipna=False),
        "published_eur_mwh": frame["actual"].mean(skipna=False),
        "planned_eur": _whole(frame["planned_kwh"] * price),
        "billed_eur": _whole(frame["metered_kwh"] * price),
    }


def _whole(values: pd.Series) -> float:
    """Return the sum; NaN where a part of the day is unknown: half of it is not the day's."""
    return float(values.sum(skipna=False))


def _sentence(days: pd.DataFrame) -> str:
    if days["planned_kg"].isna().all():
        return "No plan is stored of the last days."
    planned = days["planned_kg"].sum()
    produced = days["produced_kg"].sum(min_count=1)
    made = "nothing recorded" if pd.isna(produced) else f"{produced:,.0f} kg recorded"
    return f"{planned:,.0f} kg were planned in the last {len(days)} days, {made} as produced."


def _notes(days: pd.DataFrame) -> tuple[str, ...]:
    notes = [
        "Planned: what began under each plan before the next one was made, at the published "
        "whole price. Billed: the metered energy at the same price. Power term and excess are "
        "not counted.",
    ]
    if days["metered_kwh"].isna().all():
        notes.append(
            "Nothing is metered: `factory import meter FILE` and `factory import production FILE` "
            "store the plant's records."
        )
    return tuple(notes)
