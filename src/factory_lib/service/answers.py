"""The JSON API: each function reads for one endpoint and returns what its JSON holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pandas as pd

from factory_lib.catalogue import Measurement
from factory_lib.clock import day_start, display_midnight, display_zone, market_day
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.models.history import price_series
from factory_lib.monitoring import alerts, diagnostics, health
from factory_lib.pipeline import gaps
from factory_lib.pipeline.ingest import compare_weather
from factory_lib.pipeline.summary import summarise_gaps
from factory_lib.pipeline.targets import read_rows
from factory_lib.planning import documents, recommendation
from factory_lib.runs.records import stamp
from factory_lib.service import facts
from factory_lib.service.reading import PARTS, Part, Reading
from factory_lib.service.run_pages import has_report
from factory_lib.state import marks

Values = Mapping[str, float]
MOST_ROWS = 2000


@dataclass(frozen=True)
class Number:
    """A parameter of an endpoint; without ``default`` it must be given."""

    low: float
    high: float
    default: float | None = None


@dataclass(frozen=True)
class Endpoint:
    """An answer, its parameters, and the parts of the profile it depends on."""

    answer: Callable[[Reading, RunContext, Values], Mapping[str, Any]]
    parameters: Mapping[str, Number] = field(default_factory=dict)
    parts: tuple[Part, ...] = PARTS
    fresh_s: float = 60.0


def values_of(endpoint: Endpoint, query: Mapping[str, str]) -> dict[str, float]:
    """Return the parameters of a request.

    Raises
    ------
    BadInput
        If one is missing, no number or out of its range.
    """
    values = {}
    for name, number in endpoint.parameters.items():
        text = query.get(name)
        if text is None and number.default is None:
            raise BadInput(f"{name} is missing.", next_step=f"Add {name}={number.low:g} or more.")
        try:
            value = number.default if text is None else float(text)
        except ValueError:
            value = None
        if value is None or not number.low <= value <= number.high:
            raise BadInput(
                f"{name} is no number from {number.low:g} to {number.high:g}.",
                next_step="Write it in digits.",
            )
        values[name] = value
    return values


def encode(ctx: RunContext, content: Mapping[str, Any]) -> bytes:
    """Return an answer as JSON, with the instants it is true at and whether it is simulated."""
    head = {
        "as_of": stamp(ctx.as_of),
        "generated_at": stamp(ctx.clock.now()),
        "profile": ctx.profile,
        "simulated": ctx.simulated,
    }
    return msgspec.json.encode({**head, **content}, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Return what JSON can hold in place of a frame, an instant or a number of numpy."""
    if isinstance(value, pd.DataFrame):
        rows = value.head(MOST_ROWS)
        return msgspec.Raw(
            rows.to_json(orient="records", date_format="iso", date_unit="s").encode()
        )
    if value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return stamp(value)
    return value.item() if hasattr(value, "item") else str(value)


# -- health ------------------------------------------------------------------------------


def ready(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return that store and state answer; a store that is away raises."""
    return {"status": "ready", "store": ctx.store.origin, "sources": sorted(ctx.store.sources())}


def scheduler(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return the jobs: cadence, last run, success since yesterday."""
    return {"jobs": health.state_tables(ctx)["jobs"]}


def verify(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return the backend of the store and the newest slot of each series."""
    latest = marks.get_marks(ctx.state, marks.LATEST_SLOT)
    series = [{"series": name, "until": stamp(mark.at)} for name, mark in latest.items()]
    backend = ctx.settings.store.backend
    return {"backend": backend, "sources": sorted(ctx.store.sources()), "series": series}


def initial(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return since when each series is stored and how complete it is."""
    table = facts.gap_report(reading).accounting
    return {"initialised": bool(table["present"].any()), "series": table}


def aemet_token(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return until when AEMET's key is valid by its own text; AEMET is not asked."""
    secret = ctx.settings.secrets.aemet_api_key
    expiry = diagnostics.token_expiry(secret.reveal()) if secret else None
    status = "not_set" if not secret else "unreadable" if expiry is None else "valid"
    if expiry and expiry <= ctx.clock.now():
        status = "expired"
    days = (expiry - ctx.clock.now()) / timedelta(days=1) if expiry else None
    return {"status": status, "expires_at": stamp(expiry) if expiry else None, "days_left": days}


# -- data --------------------------------------------------------------------------------


def prices(reading: Reading, ctx: RunContext, values: Values) -> dict[str, Any]:
    """Return the market prices of the last hours, and those published ahead."""
    since = ctx.as_of - timedelta(hours=values["hours"])
    return {"unit": "EUR/MWh", "values": _values(ctx, price_series(ctx), since)}


def weather(reading: Reading, ctx: RunContext, values: Values) -> dict[str, Any]:
    """Return the best weather value of each of the last hours, whatever its source."""
    names = [entry.name for entry in ctx.catalogue.of(Measurement.WEATHER)]
    since = ctx.as_of - timedelta(hours=values["hours"])
    return {"values": _values(ctx, names, since)}


def _values(ctx: RunContext, names: str | list[str], since: datetime) -> pd.DataFrame:
    names = [names] if isinstance(names, str) else names
    until = max(gaps.expected_until(ctx.catalogue[name], ctx.as_of) for name in names)
    rows = read_rows(ctx, names, since, until, as_of=ctx.as_of, raw=False)
    return rows[["series", "place", "source", "kind", "resolution_s", "start", "value"]]


def comparison(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return how the weather sources differ from the most trusted one."""
    return {"sources": compare_weather(ctx)}


def gap_summary(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return the state of all slots by series, and the gaps counted."""
    report = facts.gap_report(reading)
    result = summarise_gaps(report)
    fields = {"status": result.status, "summary": result.summary, "metrics": dict(result.metrics)}
    return {**fields, "accounting": report.accounting}


def detect(reading: Reading, ctx: RunContext, values: Values) -> dict[str, Any]:
    """Return the gaps of the last days."""
    report = gaps.analyse(ctx, day_start(market_day(ctx.as_of) - timedelta(values["days_back"])))
    return {"metrics": report.metrics, "gaps": report.gaps}


# -- models, plan and advice -------------------------------------------------------------


def models(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return every version with its alias, and the accuracy of what was issued."""
    return {"versions": facts.versions(reading), "accuracy": facts.accuracy(reading)}


def registry(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return whether the model registry can be read, and its champions."""
    versions = facts.versions(reading)
    return {"versions": len(versions), "champions": versions[versions["alias"] == "champion"]}


def week(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return prices and advice of the days ahead, with figures of each day."""
    frame = facts.prices(reading)
    ahead = frame[frame.index >= ctx.as_of]
    day = pd.DatetimeIndex(ahead.index).tz_convert(display_zone()).strftime("%Y-%m-%d")
    statistics = ahead["price_eur_mwh"].groupby(day).agg(["min", "mean", "max"])
    return {"days": statistics.rename_axis("day").reset_index(), **hours(reading, ctx, _)}


def hours(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return the advice by hour."""
    advice = recommendation.load_advice(ctx)
    return {"recommendations": advice.reset_index()}


def rule(reading: Reading, ctx: RunContext, values: Values) -> dict[str, Any]:
    """Return indices and class of one made-up hour by rule; no prediction."""
    from factory_lib.models.one_hour import rule as apply

    given = (values["price"], values["temperature"], values["humidity"])
    result = {
        name: None if value != value else value  # NaN
        for name, value in apply(ctx, *given).items()
    }
    return {"kind": "rule", "given": dict(values), **result}


def plan(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return the latest plan."""
    return {"plan": documents.latest_plan(ctx)}


# -- dashboard ---------------------------------------------------------------------------


def summary(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return what the page of today opens with."""
    today = facts.today(reading)
    return {
        "level": today.level,
        "price_eur_mwh": today.price_now,
        "next_start": today.next_start,
        "saved_this_month_eur": today.saved_eur,
        "open_alerts": len(today.alerts),
        "cheapest": today.windows,
    }


def open_alerts(reading: Reading, ctx: RunContext, _: Values) -> dict[str, Any]:
    """Return all alerts that are stored, resolved ones too."""
    return {"alerts": alerts.alert_rows(ctx.state, every=True)}


def complete(reading: Reading, ctx: RunContext, none: Values) -> dict[str, Any]:
    """Return summary, prices of today and tomorrow, plan, advice, freshness and alerts."""
    end = display_midnight(ctx.as_of, 2)
    frame = facts.prices(reading)
    return {
        **summary(reading, ctx, none),
        **open_alerts(reading, ctx, none),
        **hours(reading, ctx, none),
        **plan(reading, ctx, none),
        "prices": frame[frame.index < end].reset_index(),
        "freshness": health.state_tables(ctx)["latest"],
    }


def jobs_run(reading: Reading, ctx: RunContext, values: Values) -> dict[str, Any]:
    """Return the newest runs."""
    rows = reading.runs.all()
    root = reading.runs.root
    shown = [
        {**row._asdict(), "has_report": has_report(root, row)}
        for row in rows[: int(values["most"])]
    ]
    return {"total": len(rows), "runs": shown}


_HOURS = {"hours": Number(1, 24 * 366, 48)}
_HOUR = {
    "price": Number(-500, 4000),
    "temperature": Number(-25, 52),
    "humidity": Number(0, 100),
}
ENDPOINTS: dict[str, Endpoint] = {
    "/health/ready": Endpoint(ready, fresh_s=5.0),
    "/scheduler/status": Endpoint(scheduler),
    "/gaps/summary": Endpoint(gap_summary),
    "/gaps/detect": Endpoint(detect, {"days_back": Number(1, 3660, 30)}),
    "/ree/prices": Endpoint(prices, _HOURS),
    "/weather/hybrid": Endpoint(weather, _HOURS),
    "/weather/comparison": Endpoint(comparison),
    "/aemet/token/status": Endpoint(aemet_token),
    "/influxdb/verify": Endpoint(verify),
    "/init/status": Endpoint(initial),
    "/mlflow/status": Endpoint(registry),
    "/models/status": Endpoint(models),
    "/predict": Endpoint(week),
    "/predict/energy-optimization": Endpoint(rule, _HOUR),
    "/predict/production-recommendation": Endpoint(rule, _HOUR),
    "/plan.json": Endpoint(plan),
    "/runs.json": Endpoint(jobs_run, {"most": Number(1, 1000, 100)}, ("runs",)),
    "/dashboard/complete": Endpoint(complete),
    "/dashboard/summary": Endpoint(summary),
    "/dashboard/alerts": Endpoint(open_alerts),
    "/dashboard/recommendations": Endpoint(hours),
}
# What acts is a command: these paths of the described system change nothing here.
COMMANDS = {
    "/ingest-now": "factory run ingest",
    "/gaps/backfill": "factory backfill",
    "/gaps/backfill/auto": "factory run auto_backfill_check",
    "/mlflow/train": "factory run ml_training --force",
    "/init/historical-data": "factory backfill --since 2022-01-01",
    "/scheduler/trigger": "factory run JOB",
    "/scheduler/pause": "factory jobs pause JOB",
    "/scheduler/resume": "factory jobs resume JOB",
}
