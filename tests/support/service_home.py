"""A home for the live page: stored prices, weather and forecasts, a plan, advice, runs, alerts."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from msgspec import structs

from factory_lib import settings as factory_settings
from factory_lib.clock import day_start, market_day, save_clock
from factory_lib.context import RunContext, open_context
from factory_lib.frames import FORECAST_COLUMNS, UTC_S
from factory_lib.monitoring import alerts
from factory_lib.planning import documents, recommendation
from factory_lib.runs.records import RunRecord, stamp
from factory_lib.state import calls, marks
from factory_sim.clock import SimulatedClock
from factory_sim.world import World
from tests.support.week import furnish

STAGES = {"mixing": 60, "refining": 240, "conching": 300, "tempering": 120, "moulding": 60}
REPORT = (
    '<!DOCTYPE html><html><head><meta name="viewport" content="width=device-width"></head>'
    "<body><main><h1>A report</h1></main></body></html>"
)
JOBS = ("ree_price_ingestion", "gap_analysis", "ml_predictions", "production_optimization")


def build(home: Path, now: datetime, *, days: int, runs: int, forecast_days: int = 7) -> None:
    """Fill the demo profile of a home; its clock stands at ``now``."""
    settings = factory_settings.load("demo", env={"FACTORY_HOME": str(home)})
    clock = SimulatedClock(now)
    with open_context(settings=settings, as_of=now, clock=clock, run_id="built") as ctx:
        furnish(ctx, now, days=days, quarters=True)
        for back in range(forecast_days, -1, -1):
            _forecast(ctx, day_start(market_day(now) - timedelta(days=back)) + timedelta(hours=11))
        _plan(ctx)
        _advice(ctx)
        _state(ctx)
    save_clock(settings.paths.clock, now)
    write_runs(settings.paths.runs, now, runs)


def _forecast(ctx: RunContext, issued_at: datetime) -> None:
    """Store what would have been forecast of two days ahead, wrong by 5 EUR/MWh."""
    begin = day_start(market_day(issued_at) + timedelta(days=1))
    starts, values = World().window("spot_eur_mwh", begin, begin + timedelta(days=2))
    targets = pd.to_datetime(starts, unit="s", utc=True)
    rows = pd.DataFrame({"target_start": targets, "p50": values + 5.0})
    rows = rows.assign(
        p10=rows["p50"] - 9,
        p90=rows["p50"] + 9,
        series="spot_eur_mwh",
        place="ES",
        model="factory",
        issued_at=pd.Timestamp(issued_at),
        resolution_s=900,
        tier="champion",
    )
    rows = rows[list(FORECAST_COLUMNS)].astype({"issued_at": UTC_S, "target_start": UTC_S})
    ctx.store.write_forecasts(rows, run_id="built")


def _plan(ctx: RunContext) -> None:
    stages = []
    for batch in (1, 2):
        start = pd.Timestamp(day_start(market_day(ctx.as_of))) + pd.Timedelta(hours=14 * batch)
        for stage, minutes in STAGES.items():
            end = start + pd.Timedelta(minutes=minutes)
            row = {"batch": batch, "product": "standard", "kg": 250.0, "stage": stage, "kw": 30.0}
            row |= {"machine": "mixer", "people": 1, "begun": False}
            stages.append({**row, "start": start, "end": end, "held_until": end})
            start = end
    schedules = [
        {"schedule": name, "kg": 500.0, "energy_eur": eur, "toll_eur": 9.0, "paid_eur": eur + 9}
        for name, eur in {"plan": 80.0, "shift_full": 100.0}.items()
    ]
    contract = {"contract": "contract now", **{f"P{n}": 150.0 for n in range(1, 7)}}
    fields: dict[str, Any] = {
        "made_at": ctx.as_of,
        "begin": ctx.as_of,
        "end": ctx.as_of + timedelta(days=7),
        "first_demand": market_day(ctx.as_of),
        "surplus_kg": {},
        "source": "solver",
        "gap": 0.0,
        "stages": pd.DataFrame(stages),
        "gave_way": [
            {
                "kind": "late",
                "subject": "standard",
                "amount": 3.0,
                "unit": "kg·d",
                "eur": 6.0,
                "begin": ctx.as_of,
                "until": None,
            }
        ],
        "eur_kg": {"plan": 0.18, "shift_full": 0.22},
        "schedules": schedules,
        "contract": [{**contract, "load": "planned", "days": 7, "power_and_excess_eur": 90.0}],
        "overrides": [],
    }
    documents.write(documents.plans_folder(ctx), fields, None)


def _advice(ctx: RunContext) -> None:
    begin = pd.Timestamp(ctx.as_of).floor("h")
    index = pd.date_range(begin, periods=30, freq="h", name="start")
    cost = 50.0 + 10 * np.cos(np.arange(30) / 4)
    names = np.array(["Optimal", "Moderate", "Reduced", "Halt Production"])
    frame = pd.DataFrame({"cost_eur": cost, "regret_eur": cost - cost.min()}, index)
    frame["best_start"] = index[int(cost.argmin())]
    frame["production_recommendation"] = names[np.minimum((cost - cost.min()) // 6, 3).astype(int)]
    frame.loc[frame.index[-1], "production_recommendation"] = names[-1]
    for name in names:
        frame[f"p_{name}"] = (frame["production_recommendation"] == name) * 0.8
    frame.iloc[-1, :2] = np.nan  # no batch can begin
    recommendation.save_advice(ctx, frame)


def _state(ctx: RunContext) -> None:
    note = {"status": "ok", "summary": "well", "error": None}
    for job in JOBS:
        marks.set_mark(ctx.state, marks.LAST_RUN, job, ctx.as_of, note)
        calls.count_tick(ctx.state, job, "ok", ctx.as_of)
    marks.set_mark(ctx.state, marks.LATEST_SLOT, "spot_eur_mwh", ctx.as_of + timedelta(hours=8))
    marks.set_mark(ctx.state, marks.LATEST_SLOT, "temperature_c", ctx.as_of - timedelta(hours=9))
    for call in (
        calls.Call(ctx.as_of, "http", "ree", "200", size=10, duration_ms=40.0),
        calls.Call(ctx.as_of, "registry", "log", "ok", duration_ms=400.0),
        calls.Call(ctx.as_of, "ingest", "ree", "stored", rows=1440),
        calls.Call(ctx.as_of, "backfill", "source ree", "missing", rows=10),
        calls.Call(ctx.as_of, "backfill", "source ree", "recovered", rows=8),
    ):
        calls.record_call(ctx.state, call)
    warning = alerts.Severity.WARNING
    text = 'AEMET answers <script>alert("no")</script> to `factory doctor`.'
    for event in (
        alerts.Event("circuit", "aemet", warning, text),
        alerts.Event("plan", f"{market_day(ctx.as_of)} index", warning, "Poor air."),
    ):
        alerts.raise_event(ctx.state, event, ctx.as_of)


def write_runs(folder: Path, now: datetime, count: int) -> None:
    """Write so many runs, the newest at ``now``, one each quarter of an hour."""
    for n in range(count):
        at = now - timedelta(minutes=15 * n)
        job = JOBS[n % len(JOBS)]
        place = folder / f"{at:%Y-%m-%d}" / f"{at:%H%M%S}Z-{job}"
        place.mkdir(parents=True)
        ended: Literal["failed", "ok"] = "failed" if n % 97 == 5 else "ok"
        record = RunRecord(
            job,
            "demo",
            "01_ingest",
            ended,
            stamp(at),
            stamp(at),
            1,
            {},
            stamp(at),
            4.0,
            f"{n} values are new; 0 are revised.",
            "warn" if n % 31 == 7 else "ok",
            True,
            {"values": n},
            None,
            "It stopped. Run it again." if ended == "failed" else None,
            3.0,
            210.0,
        )
        text = json.dumps(structs.asdict(record))
        (place / "run.json").write_text(text, encoding="utf-8")
        (place / "report.html").write_text(REPORT, encoding="utf-8")
