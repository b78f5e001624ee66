"""The pages: what each shows, and how it becomes HTML."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request

from factory_lib.clock import (
    HOUR_S,
    day_start,
    display_midnight,
    display_zone,
    local_day,
    market_day,
)
from factory_lib.context import RunContext
from factory_lib.errors import BadInput
from factory_lib.models import verification
from factory_lib.models.history import price_series
from factory_lib.models.tracking import EXPERT
from factory_lib.monitoring import alerts
from factory_lib.pipeline import gaps
from factory_lib.pipeline.targets import read_rows
from factory_lib.planning import documents
from factory_lib.runs import records
from factory_lib.runs.listing import RunRow
from factory_lib.runs.report import parted
from factory_lib.service import facts, run_pages
from factory_lib.service.reading import PARTS, Part, Reading
from factory_lib.service.summary import state_sentence
from factory_lib.views import live_charts, shift_sheet
from factory_lib.views.live_charts import Board, Layer
from factory_lib.views.page import prose
from factory_lib.views.timeline import TimeAxis
from factory_lib.views.words import Words

Fields = dict[str, Any]
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
NAVIGATION = ("today", "plan", "prices", "data", "models", "runs")
STRIP_DAYS = 14
CALENDAR_DAYS = 92
RANGES = (7, 28, 92, 366)
MOST_POINTS = 1500
MOST_RUNS = 7
FROM_SPOT = "_from_the_spot"  # of a tariff's experts, the end of the name of those of the spot
HOUR = timedelta(hours=1)


def _verdict(summary: str) -> str:
    """Return the first sentence of a summary."""
    return f"{parted(summary)[0]}." if summary else ""


TEMPLATES.filters |= {"prose": prose, "verdict": _verdict}


@dataclass(frozen=True)
class View:
    """A request for a page, with what it may use."""

    reading: Reading
    ctx: RunContext
    words: Words
    query: Mapping[str, str]

    @property
    def site(self) -> str:
        """Name of the plant's place."""
        return self.ctx.site_name

    def kept(self, key: str, draw: Callable[[], str], *parts: Part) -> str:
        """Return a drawing, drawn again only where one of the parts changed or it grew old."""
        name = (key, self.words.language)
        return self.reading.get(name, lambda _: draw(), parts)

    def choice(self, name: str, allowed: Mapping[Any, Any] | tuple[Any, ...], default: Any) -> Any:
        """Return a parameter that must be one of a few.

        Raises
        ------
        BadInput
            If it is not.
        """
        given = self.query.get(name, str(default))
        for value in allowed:
            if str(value) == given:
                return value
        raise BadInput(f"{name} is none of {', '.join(map(str, allowed))}.")


@dataclass(frozen=True)
class Page:
    """A page: its fields, template, the parameters it knows, and the parts it depends on."""

    name: str
    fields: Callable[[View], Fields]
    parameters: tuple[str, ...] = ()
    parts: tuple[Part, ...] = PARTS


def render(reading: Reading, page: Page, request: Request) -> tuple[bytes, str]:
    """Return a page as HTML, kept until what it shows changes."""
    words = Words(language(reading, request))
    query = {
        name: request.query_params[name] for name in page.parameters if name in request.query_params
    }
    query |= request.path_params
    key = (page.name, words.language, *sorted(query.items()))
    content = reading.get(key, lambda ctx: _html(reading, ctx, page, words, query), page.parts)
    return content, "text/html"


def language(reading: Reading, request: Request) -> Literal["en", "es"]:
    """Return the language that the address names, else that of the settings."""
    given = request.query_params.get("lang")
    if given == "es":
        return "es"
    return "en" if given == "en" else reading.settings.service.language


def _html(
    reading: Reading, ctx: RunContext, page: Page, words: Words, query: Mapping[str, str]
) -> bytes:
    view = View(reading, ctx, words, query)
    fields = page.fields(view)
    if "raw" in fields:
        return bytes(fields["raw"])
    default = reading.settings.service.language
    suffix = "" if words.language == default else f"?lang={words.language}"
    other = "en" if words.language == "es" else "es"
    common = {
        "t": words,
        "page": page.name,
        "ctx": ctx,
        "navigation": NAVIGATION,
        "lang": suffix,
        "amp_lang": suffix.replace("?", "&"),
        "other": other,
        "as_of_local": words.when(ctx.as_of),
        "timestamp": pd.Timestamp,
        "has_report": partial(run_pages.has_report, reading.runs.root),
        "summary": partial(_summary, view),
    }
    template = TEMPLATES.get_template(f"{page.name}.html.j2")
    return str(template.render({**common, **fields})).encode()


def failure(message: str, next_step: str) -> bytes:
    """Return the page that says why another cannot be shown, and what to do."""
    fields = {"message": message, "next_step": next_step, "t": Words("en")}
    return str(TEMPLATES.get_template("failure.html.j2").render(fields)).encode()


# -- today and plan ----------------------------------------------------------------------


def today(view: View) -> Fields:
    """Return the state of now."""
    now = facts.today(view.reading)
    words = view.words
    board = _board(view, now.prices, 2)
    schedules = _schedules(now.plan)
    saved = {"eur": now.saved_eur, "month": words.month(now.now), "plan_eur": _saving(schedules)}
    saved["finished"] = bool(now.saved_eur) or saved["plan_eur"] is None
    four = [window for window in now.windows if window["hours"] == 4]
    at = now.prices[now.prices.index <= pd.Timestamp(now.now)]
    ahead = _ahead(now.advice, now)
    return {
        "now": now,
        "state": state_sentence(now, words),
        "current": None if at.empty else at.iloc[-1],
        "cheapest": min(four, key=lambda one: float(one["price_eur_mwh"])) if four else None,
        "saved": saved,
        "chart": view.kept(
            "today's chart", lambda: live_charts.today(board, words, view.site), "store", "plans"
        ),
        "advice": live_charts.advice_rows(ahead),
        "advice_hours": live_charts.advice_rows(ahead, hourly=True),
        "windows": _window_rows(now),
        "strips": _strips(view),
        "resolved": _resolved(view),
        "schedules": schedules,
    }


def _ahead(advice: pd.DataFrame, now: facts.Today) -> pd.DataFrame:
    """Return the advice of today and tomorrow from this hour on."""
    until = pd.Timestamp(display_midnight(now.now, 2))
    return advice[(advice.index >= pd.Timestamp(now.now).floor("h")) & (advice.index < until)]


def _board(view: View, frame: pd.DataFrame, days: int) -> Board:
    now = facts.today(view.reading)
    begin = display_midnight(now.now)
    end = display_midnight(now.now, days)
    stages = now.stages
    return Board(
        axis=TimeAxis(begin, end, now.now),
        prices=frame,
        windows=now.windows,
        stages=stages[(stages["held_until"] > begin) & (stages["start"] < end)],
        advice=now.advice,
        order=[stage.name for stage in view.ctx.settings.plant.stages],
    )


def _window_rows(now: facts.Today) -> list[Fields]:
    """Return the cheapest windows by length, today's and tomorrow's beside each other."""
    tomorrow = str(local_day(display_midnight(now.now, 1), display_zone()))
    rows: dict[int, Fields] = {hours: {"hours": hours} for hours in facts.WINDOW_HOURS}
    for window in now.windows:
        rows[window["hours"]]["tomorrow" if window["day"] == tomorrow else "today"] = window
    return list(rows.values())


def _resolved(view: View) -> int:
    rows = alerts.alert_rows(view.ctx.state, every=True)
    return sum(row["status"] == "resolved" for row in rows)


def _strips(view: View) -> list[Fields]:
    """Return the groups of series: known until when, how late, and their last days."""
    latest = facts.state_tables(view.reading)["latest"].dropna(subset=["until"]).set_index("series")
    days = _calendar_days(view, STRIP_DAYS)
    groups: dict[str, list[str]] = {}
    for name in latest.index:
        entry = view.ctx.catalogue[str(name)]
        kind = "system_forecasts" if entry.forecast_of else entry.measurement.value
        together = kind in ("weather_data", "climate_daily", "system_forecasts")
        groups.setdefault(kind if together else str(name), []).append(str(name))
    rows = []
    for group, names in groups.items():
        part = latest.loc[names]
        shares = days.reindex(columns=names).min(axis=1)
        cells = [live_charts.completeness_css(share) for share in shares]
        row = {"name": group, "until": part["until"].min(), "behind_h": part["behind_h"].max()}
        rows.append({**row, "cells": cells, "series": ", ".join(names)})
    return rows


def _deviation(item: Mapping[str, Any], words: Words) -> Fields:
    """Return a wish that was not kept, its days as words: ``standard Thu 20, Fri 21``."""
    name, _, day = str(item["subject"]).rpartition(" ")
    parts = [str(item["subject"])]
    if name and re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        parts = [f"{name} {words.weekday(day_start(date.fromisoformat(day), display_zone()))}"]
    if item.get("begin"):
        begin = pd.Timestamp(item["begin"])
        midnight = begin.tz_convert(display_zone()).time() == time()
        parts.append(words.weekday(begin) if midnight else words.when(begin))
    return {**item, "subject": ", ".join(parts)}


def _schedules(plan: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {row["schedule"]: row for row in plan.get("schedules", [])}


def _saving(schedules: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return what a plan costs less than the same kilograms begun with the shift, EUR."""
    own = schedules.get("plan")
    base = schedules.get(documents.BASELINE)
    if not (own and base and base["kg"]):
        return None
    return float(base["paid_eur"] / base["kg"] * own["kg"] - own["paid_eur"])


def plan(view: View) -> Fields:
    """Return the plan in force."""
    now = facts.today(view.reading)
    document = now.plan
    if "made_at" not in document:
        return {"document": None, "damaged": document.get("damaged")}
    words = view.words
    until = display_midnight(now.now, 2)
    steps = documents.with_latest_start(now.stages, view.ctx.settings.plant)
    shown = steps[(steps["end"] > pd.Timestamp(now.now)) & (steps["start"] < pd.Timestamp(until))]
    board = _board(view, facts.prices(view.reading), facts.DAYS)
    schedules = _schedules(document)
    return {
        "document": document,
        "gave_way": [_deviation(item, words) for item in document.get("gave_way", [])],
        "made_at": pd.Timestamp(document["made_at"]),
        "end": pd.Timestamp(document["end"]),
        "chart": view.kept(
            "week's chart", lambda: live_charts.week(board, words, view.site), "store", "plans"
        ),
        "sheet": shift_sheet(view.ctx, shown, words.language).html,
        "sheet_until": until,
        "schedules": list(schedules.values()),
        "own": schedules.get("plan"),
        "less": _saving(schedules),
        "batches": facts.stage_table(document)["batch"].nunique(),
        "contract": document.get("contract", []),
    }


# -- prices ------------------------------------------------------------------------------


def prices(view: View) -> Fields:
    """Return history, forecast against what came, and errors by lead."""
    days = view.choice("days", RANGES, 28)
    name = price_series(view.ctx)
    history = _hourly(view, name, days)
    paired = verification.verification_pairs(view.ctx, name)
    ahead = paired[(paired["model"] == "factory") & (paired["lead_days"] == 1)]
    errors = facts.accuracy(view.reading)
    own = errors[(errors["series"] == name) & (errors["lead_days"] == 1)]
    return {
        "ranges": RANGES,
        "days": days,
        "mean": history["value"].mean() if len(history) else None,
        "own_rmae": own["rmae"].min() if len(own) else None,
        "history": _history_chart(view, history, name, days) if len(history) else "",
        "forecast": _forecast_chart(view, ahead),
        "errors": _error_rows(view, errors[errors["series"] == name]),
        "worth": _newest_metrics(view, "ml_predictions", "regret_eur"),
        "tomorrow_published": facts.tomorrow_is_published(view.reading, view.ctx.as_of),
    }


def _newest_metrics(view: View, job: str, key: str) -> Mapping[str, Any]:
    """Return the metrics of the newest run of a job that have a key with this ending, if any.

    Of the last few: most find nothing new.
    """
    rows = [row for row in view.reading.runs.all() if row.job == job]
    for row in rows[:MOST_RUNS]:
        metrics = records.read_record(view.reading.runs.root / row.folder).metrics
        if any(name.endswith(key) for name in metrics):
            return metrics
    return {}


def _error_rows(view: View, errors: pd.DataFrame) -> list[Fields]:
    """Return the errors by lead, with their unit and the largest of their series for the bars."""
    if errors.empty:
        return []
    largest = errors.groupby("series")[["mae", "naive_mae"]].transform("max").max(axis=1)
    units = {name: view.ctx.catalogue[name].unit for name in errors["series"].unique()}
    unit = errors["series"].map(units).str.replace("EUR", "€")
    rows: list[Any] = errors.assign(largest=largest, unit=unit).to_dict("records")
    return rows


def _hourly(view: View, name: str, days: int) -> pd.DataFrame:
    """Return a series of the last days and what is known ahead: hours, or days where many."""
    entry = view.ctx.catalogue[name]
    end = gaps.expected_until(entry, view.ctx.as_of)
    rows = read_rows(
        view.ctx, [name], end - timedelta(days=days), end, as_of=view.ctx.as_of, raw=False
    )
    frame = rows.set_index("start")[["value"]].sort_index()
    if entry.resolution_at(view.ctx.as_of) < HOUR_S:
        frame = _whole_hours(frame, rows.set_index("start")["resolution_s"])
    if len(frame) > MOST_POINTS:
        frame = frame.tz_convert(display_zone()).resample("D").mean().tz_convert("UTC").dropna()
    return frame


def _whole_hours(frame: pd.DataFrame, resolution_s: pd.Series) -> pd.DataFrame:
    """Return the means by hour, of the hours of which no part is missing."""
    hours = frame.resample("h")
    parts = HOUR_S // resolution_s.resample("h").max()
    return hours.mean().where(hours.count().ge(parts, axis=0)).dropna(how="all")


def _step(frame: pd.DataFrame) -> timedelta:
    steps = pd.DatetimeIndex(frame.index).to_series().diff().dropna()
    return steps.median().to_pytimedelta() if len(steps) else HOUR


def _axis(view: View, frame: pd.DataFrame) -> TimeAxis:
    index = pd.DatetimeIndex(frame.index)
    now = view.ctx.as_of
    return TimeAxis(index[0].to_pydatetime(), (index[-1] + _step(frame)).to_pydatetime(), now)


def _history_chart(view: View, frame: pd.DataFrame, name: str, days: int) -> str:
    words = view.words
    return live_charts.series(
        _axis(view, frame),
        frame,
        [Layer("value", "edge coloured", words.name(name))],
        words,
        title=words("price_title", days=days),
        hint=words("price_hint", site=view.site),
        unit="€/MWh",
        step=_step(frame),
    )


def _forecast_chart(view: View, ahead: pd.DataFrame) -> str:
    words = view.words
    frame = ahead.sort_values("issued_at").drop_duplicates("target_start", keep="last")
    frame = frame.set_index("target_start").sort_index()
    values = frame[["p10", "p50", "p90", "naive", "actual"]]
    frame = _whole_hours(values, frame["resolution_s"])
    if frame.empty:
        return ""
    layers = [
        Layer("p10", "band", words("in_band"), to="p90"),
        Layer("naive", "thin", words("naive")),
        Layer("p50", "edge pale-blue", words("forecast")),
        Layer("actual", "edge", words("actual")),
    ]
    return live_charts.series(
        _axis(view, frame),
        frame,
        layers,
        words,
        title=words("forecast_title"),
        hint=words("forecast_hint"),
        unit="€/MWh",
        step=_step(frame),
    )


# -- data, models, health ----------------------------------------------------------------


def data(view: View) -> Fields:
    """Return completeness, gaps, sources, quarantine and one series."""
    report = facts.gap_report(view.reading)
    words = view.words
    names = tuple(part.target.name for part in report.coverages) or ("spot_eur_mwh",)
    name = view.choice("series", names, names[0])
    days = view.choice("days", RANGES, 28)
    calls = facts.state_tables(view.reading)["calls"]
    due = report.accounting["expected"].sum() - report.accounting["late"].sum()
    holes = report.gaps[report.gaps["state"] != "quarantined"]
    calendar = _calendar_days(view, CALENDAR_DAYS)
    return {
        "share": report.accounting["present"].sum() / due if due else None,
        "holes": _shared_windows(holes),
        "longest_h": holes["duration_h"].max() if len(holes) else 0.0,
        "calendar": view.kept("calendar", lambda: _calendar(calendar, words), "store"),
        "calls": calls[calls["component"] == "http"].to_dict("records"),
        "verdicts": view.ctx.store.read_verdicts().head(50).to_dict("records"),
        "names": names,
        "ranges": RANGES,
        "name": name,
        "days": days,
        "drawn": view.kept(f"{name} {days}", lambda: _drawn(view, name, days), "store"),
    }


def _calendar_days(view: View, days: int) -> pd.DataFrame:
    """Return the completeness of the last days; of days to come little is due."""
    calendar = facts.gap_report(view.reading).calendar
    return calendar[calendar.index <= pd.Timestamp(market_day(view.ctx.as_of))].tail(days)


def _calendar(calendar: pd.DataFrame, words: Words) -> str:
    return live_charts.completeness_chart(calendar, words) if len(calendar) else ""


def _shared_windows(holes: pd.DataFrame) -> list[Fields]:
    """Return the holes, those of several series at the same time as one; the longest first."""
    together = holes.groupby(["start", "end", "state"], as_index=False).agg(
        series=("series", list), duration_h=("duration_h", "max"), severity=("severity", "first")
    )
    rows: list[Any] = together.sort_values("duration_h", ascending=False).to_dict("records")
    return rows


def _drawn(view: View, name: str, days: int) -> str:
    frame = _hourly(view, name, days)
    if frame.empty:
        return ""
    entry = view.ctx.catalogue[name]
    words = view.words
    described = [entry.description] if words.language == "en" else []
    return live_charts.series(
        _axis(view, frame),
        frame,
        [Layer("value", "edge coloured", words.name(name))],
        words,
        title=words.name(name),
        hint="; ".join([*described, words("last_days", n=days)]),
        unit=entry.unit.replace("EUR", "€"),
        step=_step(frame),
        decimals=int(frame["value"].abs().max() < 100),
    )


def models(view: View) -> Fields:
    """Return the versions, their roles and why, and the errors by lead."""
    versions = facts.versions(view.reading)
    names = sorted(set(versions["model"]))
    champions = versions[versions["alias"] == "champion"]
    trainings = [row for row in view.reading.runs.all() if row.job == "ml_training"]
    return {
        "names": names,
        "champions": {row["model"]: row for row in champions.to_dict("records")},
        "versions": versions.to_dict("records"),
        "errors": _error_rows(view, facts.accuracy(view.reading)),
        "training": trainings[0] if trainings else None,
        "experts": _experts(_newest_metrics(view, "ml_training", f"{EXPERT}weight")),
    }


def _experts(metrics: Mapping[str, Any]) -> list[Fields]:
    """Return the experts of tomorrow's price, the weightiest first, by a training's metrics."""
    weights = {key: x for key, x in metrics.items() if key.endswith(f"{EXPERT}weight")}
    return [
        {
            "name": key.partition(EXPERT)[0].removesuffix(FROM_SPOT),
            "from_spot": FROM_SPOT in key,
            "weight": weight,
            "worth": metrics.get(key.replace("weight", "worth")),
        }
        for key, weight in sorted(weights.items(), key=lambda item: -item[1])
    ]


def status(view: View) -> Fields:
    """Return jobs, providers, machine and alerts."""
    tables = facts.state_tables(view.reading)
    every = alerts.alert_rows(view.ctx.state, every=True)
    jobs = tables["jobs"]
    latest = tables["latest"].dropna(subset=["until"])
    return {
        "state": state_sentence(facts.today(view.reading), view.words),
        "jobs": jobs.to_dict("records"),
        "well": int(jobs["status"].isin(["ok", "warn", "running"]).sum()),
        "ran": int((jobs["status"] != "never").sum()),
        "calls": tables["calls"].to_dict("records"),
        "latest": latest.sort_values("behind_h", ascending=False, kind="stable").to_dict("records"),
        "machine": facts.machine(view.reading),
        "open": sum(row["status"] != "resolved" for row in every),
        "alerts": sorted(every, key=lambda row: row["status"] == "resolved"),
    }


# -- runs --------------------------------------------------------------------------------


def _summary(view: View, row: RunRow) -> str:
    """Return the summary of a run in the language of the page."""
    if view.words.language == "en":
        return _verdict(row.text) if row.ending in ("ok", "warn") else row.text
    metrics = records.read_record(view.reading.runs.root / row.folder).metrics
    return view.words.summary(row.job, metrics)


def runs(view: View) -> Fields:
    """Return the list of runs as the query filters it."""
    return run_pages.listing(view.reading.runs.all(), view.query)


def run(view: View) -> Fields:
    """Return a report, with the way to the runs before and after it."""
    rows = view.reading.runs.all()
    return {"raw": run_pages.report(view.reading.runs.root, rows, view.query, view.words)}


PAGES = {
    "/": Page("today", today, parts=("store", "state", "plans")),
    "/plan": Page("plan", plan, parts=("store", "state", "plans")),
    "/prices": Page("prices", prices, ("days",), ("store",)),
    "/data": Page("data", data, ("series", "days"), ("store", "state")),
    "/models": Page("models", models, parts=("store", "registry", "runs")),
    "/status": Page("status", status, parts=("state", "registry")),
    "/runs": Page("runs", runs, ("job", "level", "day", "q", "sort", "page"), ("runs",)),
    "/runs/{day:str}/{name:str}": Page("run", run, parts=("runs",)),
}
